//! Link state from the kernel's route netlink: events as they happen, questions, and setting an interface up or down.
//! Also whether frames that leave an interface are queued or listened to.

use super::sys;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const RTM_NEWLINK: u16 = 16;
const RTM_DELLINK: u16 = 17;
const RTM_GETLINK: u16 = 18;
const RTM_NEWQDISC: u16 = 36;
const RTM_DELQDISC: u16 = 37;
const RTM_GETQDISC: u16 = 38;
const RTMGRP_TC: u32 = 8;
const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 1;
const NLM_F_ACK: u16 = 4;
const NLM_F_DUMP: u16 = 0x300;
const IFLA_IFNAME: u16 = 3;
const IFLA_PROMISCUITY: u16 = 30;
const TCA_KIND: u16 = 1;
const IFF_UP: u32 = 1;
const IFF_LOWER_UP: u32 = 0x1_0000;
const HEADER: usize = 16;
const LINK_INFO: usize = 16;
const QDISC_INFO: usize = 20;
const EVENT_QUEUE_BYTES: i32 = 4 << 20;

/// The state of one interface.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LinkState {
    pub ifindex: u32,
    pub name: String,
    /// Set up by an administrator.
    pub enabled: bool,
    /// Enabled and with carrier.
    pub up: bool,
    /// The interface went away.
    pub removed: bool,
    /// How many want to see every frame of the interface.
    pub promiscuity: u32,
}

/// What a monitor hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    Link(LinkState),
    /// A queueing discipline of this interface was added or removed.
    Queueing(u32),
}

/// A socket that hears of every change of an interface in this network namespace.
pub struct Monitor {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Monitor {
    pub fn open() -> io::Result<Self> {
        let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
        sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &EVENT_QUEUE_BYTES)
            .or_else(|_| sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &EVENT_QUEUE_BYTES))?;
        sys::bind_netlink(&fd, libc::RTMGRP_LINK as u32 | RTMGRP_TC)?;
        Ok(Self { fd, buffer: vec![0; 1 << 16] })
    }

    pub fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    /// Passes every waiting event to `take`. When events were lost, every interface's state is passed instead.
    pub fn receive(&mut self, take: &mut dyn FnMut(Event)) -> io::Result<()> {
        loop {
            match sys::recv(&self.fd, &mut self.buffer, libc::MSG_DONTWAIT) {
                Ok(len) => {
                    messages(&self.buffer[..len], &mut |kind, body| {
                        if let Some(state) = link_state(kind, body) {
                            take(Event::Link(state));
                        } else if matches!(kind, RTM_NEWQDISC | RTM_DELQDISC) && body.len() >= QDISC_INFO {
                            take(Event::Queueing(u32::from_ne_bytes([body[4], body[5], body[6], body[7]])));
                        }
                    });
                }
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) => {
                    links()?.into_iter().for_each(|state| take(Event::Link(state)))
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
    }
}

/// Walks the messages of one datagram: type and body.
fn messages(mut bytes: &[u8], take: &mut dyn FnMut(u16, &[u8])) {
    while bytes.len() >= HEADER {
        let len = u32::from_ne_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]) as usize;
        if len < HEADER || len > bytes.len() {
            return;
        }
        take(u16::from_ne_bytes([bytes[4], bytes[5]]), &bytes[HEADER..len]);
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
}

/// Walks attributes: type and value.
fn attributes(mut bytes: &[u8], take: &mut dyn FnMut(u16, &[u8])) {
    while bytes.len() >= 4 {
        let len = usize::from(u16::from_ne_bytes([bytes[0], bytes[1]]));
        if len < 4 || len > bytes.len() {
            return;
        }
        take(u16::from_ne_bytes([bytes[2], bytes[3]]), &bytes[4..len]);
        bytes = &bytes[len.next_multiple_of(4).min(bytes.len())..];
    }
}

/// A zero-terminated string.
fn text(value: &[u8]) -> String {
    String::from_utf8_lossy(value.split(|b| *b == 0).next().unwrap_or_default()).into_owned()
}

/// The state told by an RTM_NEWLINK or RTM_DELLINK message (`struct ifinfomsg`, then attributes).
fn link_state(kind: u16, body: &[u8]) -> Option<LinkState> {
    if !matches!(kind, RTM_NEWLINK | RTM_DELLINK) || body.len() < LINK_INFO {
        return None;
    }
    let word = |at: usize| u32::from_ne_bytes([body[at], body[at + 1], body[at + 2], body[at + 3]]);
    // Messages of bridge ports carry family AF_BRIDGE and tell of the port's membership, not of the interface.
    if body[0] != libc::AF_UNSPEC as u8 {
        return None;
    }
    let flags = word(8);
    let (mut name, mut promiscuity) = (String::new(), 0);
    attributes(&body[LINK_INFO..], &mut |kind, value| match kind {
        IFLA_IFNAME => name = text(value),
        IFLA_PROMISCUITY => promiscuity = value.first_chunk::<4>().map_or(0, |v| u32::from_ne_bytes(*v)),
        _ => {}
    });
    let removed = kind == RTM_DELLINK;
    let enabled = !removed && flags & IFF_UP != 0;
    Some(LinkState { ifindex: word(4), name, enabled, up: enabled && flags & IFF_LOWER_UP != 0, removed, promiscuity })
}

/// Sends one request and passes the answers to `take` until it is done.
fn ask(kind: u16, flags: u16, body: &[u8], take: &mut dyn FnMut(u16, &[u8])) -> io::Result<()> {
    let fd = sys::socket(libc::AF_NETLINK, libc::SOCK_RAW, libc::NETLINK_ROUTE)?;
    let mut request = Vec::with_capacity(HEADER + body.len());
    request.extend(((HEADER + body.len()) as u32).to_ne_bytes());
    request.extend(kind.to_ne_bytes());
    request.extend((flags | NLM_F_REQUEST).to_ne_bytes());
    request.extend([1, 0, 0, 0, 0, 0, 0, 0]);
    request.extend(body);
    sys::send(&fd, &request, 0)?;
    let mut buffer = vec![0u8; 1 << 16];
    loop {
        sys::poll(&mut [sys::poll_in(fd.as_raw_fd())], -1)?;
        let len = match sys::recv(&fd, &mut buffer, 0) {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => continue,
            other => other?,
        };
        let mut end = None;
        messages(&buffer[..len], &mut |kind, body| match kind {
            NLMSG_DONE => end = Some(0),
            NLMSG_ERROR => {
                end = Some(body.first_chunk::<4>().map_or(libc::EPROTO, |code| -i32::from_ne_bytes(*code)));
            }
            _ => take(kind, body),
        });
        match end {
            Some(0) => return Ok(()),
            Some(code) => return Err(io::Error::from_raw_os_error(code)),
            None => {}
        }
    }
}

fn link_info(ifindex: u32, flags: u32, change: u32) -> [u8; LINK_INFO] {
    let mut body = [0u8; LINK_INFO];
    body[4..8].copy_from_slice(&ifindex.to_ne_bytes());
    body[8..12].copy_from_slice(&flags.to_ne_bytes());
    body[12..16].copy_from_slice(&change.to_ne_bytes());
    body
}

/// The state of every interface.
pub fn links() -> io::Result<Vec<LinkState>> {
    let mut found = Vec::new();
    ask(RTM_GETLINK, NLM_F_DUMP, &link_info(0, 0, 0), &mut |kind, body| found.extend(link_state(kind, body)))?;
    Ok(found)
}

/// The state of one interface.
///
/// # Errors
/// ENODEV when there is none.
pub fn link(ifindex: u32) -> io::Result<LinkState> {
    let mut found = None;
    ask(RTM_GETLINK, NLM_F_ACK, &link_info(ifindex, 0, 0), &mut |kind, body| {
        found = found.take().or(link_state(kind, body))
    })?;
    found.ok_or_else(|| io::Error::from_raw_os_error(libc::ENODEV))
}

/// Whether frames that leave the interface pass a queueing discipline (tc): a shaper, a delay, a filter.
pub fn has_queueing(ifindex: u32) -> io::Result<bool> {
    let mut found = false;
    ask(RTM_GETQDISC, NLM_F_DUMP, &[0; QDISC_INFO], &mut |kind, body| {
        let same = kind == RTM_NEWQDISC && body.len() >= QDISC_INFO && body[4..8] == ifindex.to_ne_bytes();
        if same {
            attributes(&body[QDISC_INFO..], &mut |kind, value| found |= kind == TCA_KIND && text(value) != "noqueue");
        }
    })?;
    Ok(found)
}

/// Sets an interface up or down.
pub fn set_enabled(ifindex: u32, enabled: bool) -> io::Result<()> {
    let flags = if enabled { IFF_UP } else { 0 };
    ask(RTM_NEWLINK, NLM_F_ACK, &link_info(ifindex, flags, IFF_UP), &mut |_, _| {})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loopback_is_there() {
        let all = links().unwrap();
        let lo = all.iter().find(|l| l.name == "lo").unwrap();
        assert_eq!(&link(lo.ifindex).unwrap(), lo);
        assert_eq!(sys::interface_index("lo").unwrap(), lo.ifindex);
    }

    #[test]
    fn a_missing_interface_is_an_error() {
        assert_eq!(link(0x7fff_0000).unwrap_err().raw_os_error(), Some(libc::ENODEV));
        assert!(sys::interface_index("no-such-if").is_err());
    }

    #[test]
    fn cut_messages_are_ignored() {
        let mut body = link_info(3, IFF_UP | IFF_LOWER_UP, 0).to_vec();
        body.extend([8, 0, 3, 0, b'e', b't', b'h', 0]);
        let state = link_state(RTM_NEWLINK, &body).unwrap();
        assert_eq!((state.ifindex, state.name.as_str(), state.up), (3, "eth", true));
        assert_eq!(link_state(RTM_NEWLINK, &body[..15]), None);
        assert_eq!(link_state(RTM_NEWLINK, &body[..20]).unwrap().name, "");
        let gone = link_state(RTM_DELLINK, &body).unwrap();
        assert!(gone.removed && !gone.up);
        messages(&[5, 0, 0, 0], &mut |_, _| panic!("no message"));
        messages(&[0xff; 40], &mut |_, _| panic!("no message"));
    }
}
