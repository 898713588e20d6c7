//! Settings of an interface that only rtnetlink has.
#![allow(unsafe_code)] // Netlink sockets have no safe form in std.

use super::check;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// The bit of an attribute that holds attributes.
pub(super) const NESTED: u16 = 0x8000;

/// Makes an interface of the calling thread's namespace dormant (RFC 2863), or up again: its owner sees it down although it
/// is switched on and has carrier.
pub fn set_dormant(index: u32, dormant: bool) -> io::Result<()> {
    const IFLA_OPERSTATE: u16 = 16;
    const IFLA_LINKMODE: u16 = 17;
    const OPER_DORMANT: u8 = 5;
    const OPER_UP: u8 = 6;
    // The mode keeps it so when carrier goes and comes meanwhile.
    let state = if dormant { OPER_DORMANT } else { OPER_UP };
    set_link(index, &[attribute(IFLA_LINKMODE, &[dormant.into()]), attribute(IFLA_OPERSTATE, &[state])].concat())
}

/// RTM_SETLINK with these attributes.
pub(super) fn set_link(index: u32, attributes: &[u8]) -> io::Result<()> {
    let total = 16 + 16 + attributes.len();
    let mut message = Vec::with_capacity(total);
    message.extend((total as u32).to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence, sender
    message.extend([0; 4]); // family, padding, device type
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]); // flags, change mask
    message.extend(attributes);
    acknowledged(&message)
}

/// A number, and its value with padding to four bytes.
pub(super) fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn acknowledged(message: &[u8]) -> io::Result<()> {
    // SAFETY: plain calls on a descriptor owned at once and buffers of the stated lengths.
    let mut answer = [0u8; 4096];
    let n = unsafe {
        let fd = check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE))?;
        let socket = OwnedFd::from_raw_fd(fd);
        super::check_size(libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0))?;
        super::check_size(libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0))?
    };
    let code = answer
        .get(16..20)
        .filter(|_| n >= 20)
        .and_then(|b| b.try_into().ok())
        .map_or(-libc::EPROTO, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}
