//! One host: a smoltcp stack between two queues.

use crate::agent::frame::Tags;
use crate::agent::invalid;
use crate::spec::{UserHost, derived_mac, parse_mac};
use smoltcp::iface::{Config, Interface, SocketHandle, SocketSet};
use smoltcp::phy::{Checksum, Device, DeviceCapabilities, Medium, RxToken, TxToken};
use smoltcp::socket::{icmp, tcp, udp};
use smoltcp::time::Instant as StackTime;
use smoltcp::wire::{
    EthernetAddress, HardwareAddress, Icmpv4Packet, Icmpv4Repr, Icmpv6Packet, Icmpv6Repr, IpAddress, IpCidr,
};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::time::Instant;

const ECHO_PORT: u16 = 7;
/// Identifier of our echo requests.
const IDENT: u16 = 0x5047;
const MTU: usize = 1500;

/// A host and its stack.
pub(super) struct Player {
    pub mac: [u8; 6],
    pub tags: Tags,
    pub host_tags: Vec<u16>,
    /// When the stack wants to run again.
    pub next: Option<Instant>,
    addresses: Vec<IpAddr>,
    interface: Interface,
    sockets: SocketSet<'static>,
    echo: SocketHandle,
    udp: SocketHandle,
    tcp: [SocketHandle; 2],
    queues: Queues,
    epoch: Instant,
}

impl Player {
    pub fn new(host: &UserHost) -> io::Result<Self> {
        let mac_text = host.mac.clone().unwrap_or_else(|| derived_mac(&host.name));
        let mac = parse_mac(&mac_text).ok_or_else(|| invalid(format!("{}: MAC {mac_text}", host.name)))?;
        let epoch = Instant::now();
        let mut queues = Queues::default();
        let mut config = Config::new(HardwareAddress::Ethernet(EthernetAddress(mac)));
        config.random_seed = mac.iter().fold(0, |s, b| (s << 8) | u64::from(*b));
        let mut interface = Interface::new(config, &mut queues, StackTime::ZERO);
        let mut full = false;
        interface.update_ip_addrs(|list| {
            for address in &host.addresses {
                let cidr = IpCidr::new(address.addr().into(), address.prefix_len());
                full |= list.push(cidr).is_err();
            }
            // NDP wants a link-local address.
            full |= list.push(IpCidr::new(IpAddress::Ipv6(link_local(mac)), 64)).is_err();
        });
        for gateway in &host.gateways {
            full |= match gateway {
                IpAddr::V4(a) => interface.routes_mut().add_default_ipv4_route(*a).is_err(),
                IpAddr::V6(a) => interface.routes_mut().add_default_ipv6_route(*a).is_err(),
            };
        }
        if full {
            return Err(invalid(format!("{}: more addresses or routes than the stack holds", host.name)));
        }
        let mut sockets = SocketSet::new(Vec::new());
        let echo = sockets.add(echo_socket()?);
        let udp = sockets.add(udp_socket()?);
        let tcp = [sockets.add(tcp_socket()), sockets.add(tcp_socket())];
        let addresses = host.addresses.iter().map(|a| a.addr()).collect();
        Ok(Self {
            mac,
            tags: Tags::of(&host.tags),
            host_tags: host.tags.clone(),
            next: Some(epoch),
            addresses,
            interface,
            sockets,
            echo,
            udp,
            tcp,
            queues,
            epoch,
        })
    }

    /// Whether a frame is worth a run of the stack: of the ARP and NDP questions that everybody hears, only those for us.
    pub fn wants(&self, frame: &[u8]) -> bool {
        if frame[0] & 1 == 0 {
            return true;
        }
        let mine = |a: IpAddr| self.addresses.contains(&a);
        match (&frame[12..14], frame.get(54)) {
            ([0x08, 0x06], _) => frame.get(38..42).is_some_and(|t| mine(IpAddr::from([t[0], t[1], t[2], t[3]]))),
            // A neighbour solicitation names its target.
            ([0x86, 0xdd], Some(135)) => {
                let target = frame.get(62..78).and_then(|t| <[u8; 16]>::try_from(t).ok());
                target.is_some_and(|t| mine(IpAddr::from(t)) || Ipv6Addr::from(t) == link_local(self.mac))
            }
            _ => true,
        }
    }

    pub fn give(&mut self, frame: &[u8]) {
        self.queues.received.push_back(frame.to_vec());
    }

    pub fn take_frame(&mut self) -> Option<Vec<u8>> {
        self.queues.to_send.pop_front()
    }

    /// Runs the stack until it has nothing to do at this moment.
    pub fn work(&mut self, now: Instant) {
        let time = self.stack_time(now);
        loop {
            self.interface.poll(time, &mut self.queues, &mut self.sockets);
            let answered = self.answer_udp() | self.answer_tcp();
            if !answered && self.queues.received.is_empty() {
                break;
            }
        }
        let delay = self.interface.poll_delay(time, &self.sockets);
        self.next = delay.map(|d| now + std::time::Duration::from_micros(d.total_micros().max(1000)));
    }

    /// Queues an echo request; false when there is no room or no way there.
    pub fn send_echo(&mut self, to: IpAddr, sequence: u16) -> bool {
        let socket = self.sockets.get_mut::<icmp::Socket>(self.echo);
        let data = [0x70; 32];
        match to {
            IpAddr::V4(v4) => {
                let repr = Icmpv4Repr::EchoRequest { ident: IDENT, seq_no: sequence, data: &data };
                let Ok(room) = socket.send(repr.buffer_len(), v4.into()) else { return false };
                repr.emit(&mut Icmpv4Packet::new_unchecked(room), &self.queues.capabilities().checksum);
            }
            IpAddr::V6(v6) => {
                let from = self.interface.get_source_address_ipv6(&v6);
                let repr = Icmpv6Repr::EchoRequest { ident: IDENT, seq_no: sequence, data: &data };
                let Ok(room) = socket.send(repr.buffer_len(), v6.into()) else { return false };
                let checksum = self.queues.capabilities().checksum;
                repr.emit(&from, &v6, &mut Icmpv6Packet::new_unchecked(room), &checksum);
            }
        }
        true
    }

    /// Answers that came in: sequence number, and whether it was ICMPv6.
    pub fn take_echoes(&mut self) -> Vec<(u16, bool)> {
        let socket = self.sockets.get_mut::<icmp::Socket>(self.echo);
        let mut out = Vec::new();
        while let Ok((bytes, from)) = socket.recv() {
            // Type, code, checksum, identifier, sequence number: the same in both families.
            const REPLY_V4: u8 = 0;
            const REPLY_V6: u8 = 129;
            let v6 = matches!(from, IpAddress::Ipv6(_));
            if let Some(&[kind, _, _, _, _, _, s1, s2]) = bytes.first_chunk::<8>()
                && kind == if v6 { REPLY_V6 } else { REPLY_V4 }
            {
                out.push((u16::from_be_bytes([s1, s2]), v6));
            }
        }
        out
    }

    /// Says on the wire which addresses are here.
    pub fn announce(&mut self) {
        for address in self.addresses.clone() {
            let frame = match address {
                IpAddr::V4(a) => gratuitous_arp(self.mac, a.octets()),
                IpAddr::V6(a) => unsolicited_advert(self.mac, a),
            };
            self.queues.to_send.push_back(frame);
        }
    }

    fn stack_time(&self, now: Instant) -> StackTime {
        let micros = now.saturating_duration_since(self.epoch).as_micros();
        StackTime::from_micros(i64::try_from(micros).unwrap_or(i64::MAX))
    }

    fn answer_udp(&mut self) -> bool {
        let socket = self.sockets.get_mut::<udp::Socket>(self.udp);
        let mut worked = false;
        while socket.can_send() {
            let Ok((bytes, from)) = socket.recv().map(|(b, m)| (b.to_vec(), m)) else { break };
            worked |= socket.send_slice(&bytes, from).is_ok();
        }
        worked
    }

    fn answer_tcp(&mut self) -> bool {
        let mut worked = false;
        for handle in self.tcp {
            let socket = self.sockets.get_mut::<tcp::Socket>(handle);
            if !socket.is_open() {
                worked |= socket.listen(ECHO_PORT).is_ok();
            }
            let room = socket.send_capacity() - socket.send_queue();
            if socket.can_recv() && room > 0 {
                let bytes = socket.recv(|b| (b.len().min(room), b[..b.len().min(room)].to_vec()));
                worked |= bytes.is_ok_and(|b| socket.send_slice(&b).is_ok_and(|n| n > 0));
            } else if !socket.may_recv() && socket.may_send() && socket.send_queue() == 0 {
                socket.close();
                worked = true;
            }
        }
        worked
    }
}

fn echo_socket() -> io::Result<icmp::Socket<'static>> {
    let buffer = || icmp::PacketBuffer::new(vec![icmp::PacketMetadata::EMPTY; 64], vec![0; 64 * 64]);
    let mut socket = icmp::Socket::new(buffer(), buffer());
    socket.bind(icmp::Endpoint::Ident(IDENT)).map_err(|e| invalid(format!("echo socket: {e:?}")))?;
    Ok(socket)
}

fn udp_socket() -> io::Result<udp::Socket<'static>> {
    let buffer = || udp::PacketBuffer::new(vec![udp::PacketMetadata::EMPTY; 8], vec![0; 8 * 1500]);
    let mut socket = udp::Socket::new(buffer(), buffer());
    socket.bind(ECHO_PORT).map_err(|e| invalid(format!("UDP socket: {e:?}")))?;
    Ok(socket)
}

fn tcp_socket() -> tcp::Socket<'static> {
    tcp::Socket::new(tcp::SocketBuffer::new(vec![0; 8192]), tcp::SocketBuffer::new(vec![0; 8192]))
}

/// RFC 4291 appendix A.
pub(super) fn link_local(mac: [u8; 6]) -> Ipv6Addr {
    let [a, b, c, d, e, f] = mac.map(u16::from);
    Ipv6Addr::new(0xfe80, 0, 0, 0, ((a ^ 2) << 8) | b, (c << 8) | 0xff, 0xfe00 | d, (e << 8) | f)
}

/// RFC 5227 section 3: sender and target are the announced address.
fn gratuitous_arp(mac: [u8; 6], address: [u8; 4]) -> Vec<u8> {
    let mut out = vec![0xff; 6];
    out.extend(mac);
    out.extend([0x08, 0x06, 0, 1, 0x08, 0, 6, 4, 0, 1]);
    out.extend(mac);
    out.extend(address);
    out.extend([0; 6]);
    out.extend(address);
    out
}

/// RFC 4861 section 4.4, to all nodes, override set.
fn unsolicited_advert(mac: [u8; 6], address: Ipv6Addr) -> Vec<u8> {
    let all_nodes = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
    let mut message = vec![136, 0, 0, 0, 0x20, 0, 0, 0];
    message.extend(address.octets());
    message.extend([2, 1]);
    message.extend(mac);
    let pseudo =
        [&address.octets()[..], &all_nodes.octets(), &[0, 0, 0, message.len() as u8, 0, 0, 0, 58], &message].concat();
    let sum = crate::checksum::internet(&pseudo);
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let mut out = vec![0x33, 0x33, 0, 0, 0, 1];
    out.extend(mac);
    out.extend([0x86, 0xdd, 0x60, 0, 0, 0, 0, message.len() as u8, 58, 255]);
    out.extend(address.octets());
    out.extend(all_nodes.octets());
    out.extend(message);
    out
}

/// Frames towards and from the stack.
#[derive(Default)]
struct Queues {
    received: VecDeque<Vec<u8>>,
    to_send: VecDeque<Vec<u8>>,
}

struct Rx(Vec<u8>);
struct Tx<'a>(&'a mut VecDeque<Vec<u8>>);

impl Device for Queues {
    type RxToken<'a> = Rx;
    type TxToken<'a> = Tx<'a>;

    fn receive(&mut self, _now: StackTime) -> Option<(Rx, Tx<'_>)> {
        let frame = self.received.pop_front()?;
        Some((Rx(frame), Tx(&mut self.to_send)))
    }

    fn transmit(&mut self, _now: StackTime) -> Option<Tx<'_>> {
        Some(Tx(&mut self.to_send))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut caps = DeviceCapabilities::default();
        caps.medium = Medium::Ethernet;
        caps.max_transmission_unit = MTU + 14;
        // A Linux peer on the same machine may leave these to hardware that is not there.
        caps.checksum.tcp = Checksum::Tx;
        caps.checksum.udp = Checksum::Tx;
        caps
    }
}

impl RxToken for Rx {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, f: F) -> R {
        f(&self.0)
    }
}

impl TxToken for Tx<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, f: F) -> R {
        let mut frame = vec![0; length];
        let result = f(&mut frame);
        self.0.push_back(frame);
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use smoltcp::wire::{EthernetFrame, Ipv6Packet, NdiscRepr};

    fn player(name: &str, address: &str) -> Player {
        let addresses = vec![address.parse().unwrap()];
        Player::new(&UserHost { name: name.into(), mac: None, tags: vec![], addresses, gateways: vec![] }).unwrap()
    }

    /// Carries frames between the two until both are silent.
    fn settle(a: &mut Player, b: &mut Player) {
        let now = Instant::now();
        loop {
            a.work(now);
            b.work(now);
            let (mut moved, to_b, to_a) = (false, a.take_frame(), b.take_frame());
            if let Some(frame) = to_b.filter(|f| b.wants(f)) {
                b.give(&frame);
                moved = true;
            }
            if let Some(frame) = to_a.filter(|f| a.wants(f)) {
                a.give(&frame);
                moved = true;
            }
            if !moved {
                return;
            }
        }
    }

    #[test]
    fn echo_in_both_families() {
        for (one, two) in [("10.0.0.1/24", "10.0.0.2/24"), ("2001:db8::1/64", "2001:db8::2/64")] {
            let (mut a, mut b) = (player("a", one), player("b", two));
            let to = b.addresses[0];
            assert!(a.send_echo(to, 77));
            settle(&mut a, &mut b);
            assert_eq!(a.take_echoes(), vec![(77, to.is_ipv6())]);
        }
    }

    #[test]
    fn questions_for_others_are_not_taken() {
        let a = player("a", "10.0.0.1/24");
        assert!(a.wants(&gratuitous_arp([2, 0, 0, 0, 0, 9], [10, 0, 0, 1])));
        assert!(!a.wants(&gratuitous_arp([2, 0, 0, 0, 0, 9], [10, 0, 0, 2])));
    }

    #[test]
    fn the_advert_is_what_a_decoder_reads() {
        let address: Ipv6Addr = "2001:db8::5".parse().unwrap();
        let mac = [2, 0, 0, 0, 0, 5];
        let bytes = unsolicited_advert(mac, address);
        let ethernet = EthernetFrame::new_checked(&bytes).unwrap();
        let ip = Ipv6Packet::new_checked(ethernet.payload()).unwrap();
        let icmp = Icmpv6Packet::new_checked(ip.payload()).unwrap();
        let repr = Icmpv6Repr::parse(&ip.src_addr(), &ip.dst_addr(), &icmp, &Default::default()).unwrap();
        let Icmpv6Repr::Ndisc(NdiscRepr::NeighborAdvert { target_addr, .. }) = repr else { panic!("{repr:?}") };
        assert_eq!(target_addr, address);
    }
}
