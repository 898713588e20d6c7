//! Packets that a leaf could not route: those to a neighbour that is not known yet wait while it is asked for, and
//! senders are told of what is lost (RFC 1812 §4.3.3 and §5.2.7, RFC 4443 §3, RFC 4861 §7.2.2).

use crate::hosts::ask_everywhere;
use crate::machine::{Change, Input, Nanos, Output, PacketMachine, Punt, SECONDS, Why};
use crate::net::{Net, PortRef};
use crate::wire::icmp::fill_checksum;
use crate::wire::ip::{Ip, Link, PROTO_ICMP, PROTO_ICMP6, checksum, ipv4, ipv6};
use crate::wire::{ETH_IPV4, ETH_IPV6, Frame, Mac, Tags, ethernet};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;
use std::sync::Arc;

/// Between two questions for a neighbour, and how many there are (RFC 4861 §10: RETRANS_TIMER, MAX_MULTICAST_SOLICIT).
const AGAIN: Nanos = SECONDS;
const TRIES: u8 = 3;
/// Neighbours asked for at once, and packets that wait for each.
const NEIGHBOURS: usize = 256;
const PACKETS: usize = 4;
/// Errors a second and at once that one switch sends (RFC 4443 §2.4 f).
const ERRORS_PER_S: u64 = 100;
const ERRORS_BURST: u64 = 50;
/// An error with what it quotes: RFC 1812 §4.3.2.3, RFC 4443 §3.1.
const LONGEST_V4: usize = 576;
const LONGEST_V6: usize = 1280;

/// A packet as it came, and from where.
#[derive(Clone, Debug)]
struct Held {
    at: PortRef,
    from: Mac,
    tags: Tags,
    /// The VLAN it came in on; `None` from inside the fabric.
    vlan: Option<u16>,
    packet: Vec<u8>,
    src: IpAddr,
    dst: IpAddr,
    /// An error may be sent about it.
    answerable: bool,
}

#[derive(Debug)]
struct Asked {
    tries: u8,
    due: Nanos,
    held: Vec<Held>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Count {
    expired: u64,
    unreachable: u64,
    asked: u64,
    delivered: u64,
    limited: u64,
    dropped: u64,
}

/// What is wrong, as an ICMP type and code in either family.
#[derive(Clone, Copy)]
enum Problem {
    Expired,
    NoSuchHost,
}

impl Problem {
    fn code(self, v6: bool) -> [u8; 2] {
        match (self, v6) {
            (Problem::Expired, false) => [11, 0],
            (Problem::Expired, true) => [3, 0],
            (Problem::NoSuchHost, false) => [3, 1],
            (Problem::NoSuchHost, true) => [1, 3],
        }
    }
}

/// The machine for packets that cannot go on.
#[derive(Debug, Default)]
pub struct Unreachable {
    asked: BTreeMap<(u16, IpAddr), Asked>,
    /// Ports that are down by their switch's word.
    down: HashSet<PortRef>,
    /// Errors that a switch may send, in thousandths, and when that was true.
    allowed: HashMap<Arc<str>, (u64, Nanos)>,
    count: Count,
}

impl Unreachable {
    fn unknown(&mut self, held: Held, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let Some((vlan, hop)) = net.next_hop(held.vlan.unwrap_or(0), held.dst) else {
            self.count.dropped += 1;
            return;
        };
        // Perhaps it has become known while the packet was under way.
        if let Some(frame) = onward(net, &self.down, vlan, hop, &held.packet) {
            self.count.delivered += 1;
            out.push(frame);
            return;
        }
        if let Some(asked) = self.asked.get_mut(&(vlan, hop)) {
            if asked.held.len() >= PACKETS {
                asked.held.remove(0);
                self.count.dropped += 1;
            }
            asked.held.push(held);
        } else if self.asked.len() < NEIGHBOURS {
            self.asked.insert((vlan, hop), Asked { tries: 1, due: now + AGAIN, held: vec![held] });
            self.count.asked += 1;
            ask_everywhere(net, vlan, hop, out);
        } else {
            self.count.dropped += 1;
        }
    }

    /// Sends what waits for neighbours of a VLAN that are known now.
    fn known(&mut self, vlan: u16, net: &dyn Net, out: &mut Vec<Output>) {
        let (count, down) = (&mut self.count, &self.down);
        self.asked.retain(|&(v, hop), asked| {
            if v != vlan || place(net, down, v, hop).is_none() {
                return true;
            }
            let frames = asked.held.iter().filter_map(|held| onward(net, down, v, hop, &held.packet));
            let before = out.len();
            out.extend(frames);
            count.delivered += (out.len() - before) as u64;
            false
        });
    }

    fn tick(&mut self, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        let mut lost = Vec::new();
        self.asked.retain(|&(vlan, hop), asked| {
            if asked.due > now {
                return true;
            }
            if asked.tries >= TRIES {
                lost.append(&mut asked.held);
                return false;
            }
            asked.tries += 1;
            asked.due = now + AGAIN;
            ask_everywhere(net, vlan, hop, out);
            true
        });
        for held in lost {
            if self.error(&held, Problem::NoSuchHost, net, now, out) {
                self.count.unreachable += 1;
            }
        }
    }

    /// Tells the sender; false when that is not allowed or not possible.
    fn error(&mut self, held: &Held, what: Problem, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) -> bool {
        let v6 = held.src.is_ipv6();
        // A leaf at the far end of the fabric speaks as the gateway of the subnet the packet was for.
        let speaks_in = held.vlan.or_else(|| net.next_hop(0, held.dst).map(|(vlan, _)| vlan));
        let from = speaks_in.and_then(|vlan| net.gateway(vlan, v6)).map(|g| g.ip);
        let (true, Some(from)) = (held.answerable, from) else {
            self.count.dropped += 1;
            return false;
        };
        let to = match held.vlan {
            Some(_) => Some((held.at.clone(), held.from, held.tags)),
            None => net.next_hop(0, held.src).and_then(|(vlan, hop)| place(net, &self.down, vlan, hop)),
        };
        let Some((at, dst, tags)) = to else {
            self.count.dropped += 1;
            return false;
        };
        let Some(src) = net.router_mac(&at.device) else { return false };
        if !self.allow(&held.at.device, now) {
            self.count.limited += 1;
            return false;
        }
        let room = if v6 { LONGEST_V6 - 40 - 8 } else { LONGEST_V4 - 20 - 8 };
        let quoted = &held.packet[..held.packet.len().min(room)];
        let mut message = what.code(v6).to_vec();
        message.extend_from_slice(&[0; 6]);
        message.extend_from_slice(quoted);
        fill_checksum(&mut message, from, held.src);
        let link = Link { dst, src, tags };
        let frame = match (from, held.src) {
            (IpAddr::V4(from), IpAddr::V4(to)) => ipv4(link, from, to, PROTO_ICMP, 64, &[], &message),
            (IpAddr::V6(from), IpAddr::V6(to)) => ipv6(link, from, to, PROTO_ICMP6, 64, &message),
            _ => return false,
        };
        out.push(Output::PacketOut { at, frame });
        true
    }

    /// Takes one of the errors that a switch may send.
    fn allow(&mut self, device: &Arc<str>, now: Nanos) -> bool {
        let full = ERRORS_BURST * 1000;
        let (tokens, at) = self.allowed.entry(device.clone()).or_insert((full, now));
        let earned = u128::from(now.saturating_sub(*at)) * u128::from(ERRORS_PER_S) * 1000 / u128::from(SECONDS);
        *tokens = full.min(tokens.saturating_add(u64::try_from(earned).unwrap_or(full)));
        *at = now;
        let some = *tokens >= 1000;
        *tokens -= if some { 1000 } else { 0 };
        some
    }
}

/// The IP packet in a frame, without padding.
fn packet_of(frame: &Frame<'_>) -> Option<Vec<u8>> {
    let p = frame.payload;
    let length = match frame.ether_type {
        ETH_IPV4 => usize::from(u16::from_be_bytes([*p.get(2)?, *p.get(3)?])),
        ETH_IPV6 => 40 + usize::from(u16::from_be_bytes([*p.get(4)?, *p.get(5)?])),
        _ => return None,
    };
    p.get(..length).map(<[u8]>::to_vec)
}

/// Whether an error may be sent about a packet (RFC 1812 §4.3.2.7, RFC 4443 §2.4 e).
fn answerable(frame: &Frame<'_>, ip: &Ip<'_>) -> bool {
    let one = |a: IpAddr| !(a.is_unspecified() || a.is_multicast() || a.is_loopback() || a == IpAddr::from([255; 4]));
    let error = match (ip.proto, ip.payload.first()) {
        (PROTO_ICMP, Some(kind)) => matches!(kind, 3 | 4 | 5 | 11 | 12),
        (PROTO_ICMP6, Some(kind)) => *kind < 128 || *kind == 137,
        (PROTO_ICMP | PROTO_ICMP6, None) => true,
        _ => false,
    };
    !error && !ip.fragment && one(ip.src) && one(ip.dst) && !frame.dst.is_group()
}

/// Port, address and tags by which a neighbour is reached.
fn place(net: &dyn Net, down: &HashSet<PortRef>, vlan: u16, hop: IpAddr) -> Option<(PortRef, Mac, Tags)> {
    let host = net.host_by_ip(vlan, hop)?;
    let mut up = host.locations.iter().filter(|at| !down.contains(at));
    let (at, tags) = up.find_map(|at| Some((at.clone(), net.port(at)?.vlans.tags_for(vlan)?)))?;
    Some((at, host.mac, tags))
}

/// The packet one hop on, when the neighbour is known and the packet may go on.
fn onward(net: &dyn Net, down: &HashSet<PortRef>, vlan: u16, hop: IpAddr, packet: &[u8]) -> Option<Output> {
    let (at, dst, tags) = place(net, down, vlan, hop)?;
    let mut packet = packet.to_vec();
    let (ether_type, ttl) = match packet.first()? >> 4 {
        4 => (ETH_IPV4, 8),
        _ => (ETH_IPV6, 7),
    };
    *packet.get_mut(ttl)? = packet.get(ttl)?.checked_sub(1).filter(|left| *left > 0)?;
    if ether_type == ETH_IPV4 {
        let header = usize::from(packet[0] & 0xf) * 4;
        packet.get_mut(10..12)?.fill(0);
        let sum = checksum(packet.get(..header)?);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
    }
    let frame = ethernet(dst, net.router_mac(&at.device)?, tags, ether_type, &packet);
    Some(Output::PacketOut { at, frame })
}

impl PacketMachine for Unreachable {
    fn name(&self) -> &'static str {
        "unreachable"
    }

    fn wants(&self) -> Vec<Punt> {
        Vec::new()
    }

    fn takes(&self, why: Why) -> bool {
        matches!(why, Why::Unknown | Why::Expired)
    }

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        match input {
            Input::PacketIn { at, frame, why } => {
                let (Ok(ip), Some(packet)) = (Ip::parse(frame), packet_of(frame)) else { return };
                let vlan = net.classify(at, frame.tags);
                // Nobody on an edge port is a router of the fabric.
                let forged = vlan.is_some() && net.is_router_mac(frame.src);
                let held = Held {
                    at: (*at).clone(),
                    from: frame.src,
                    tags: frame.tags,
                    vlan,
                    packet,
                    src: ip.src,
                    dst: ip.dst,
                    answerable: answerable(frame, &ip) && !forged,
                };
                match why {
                    Why::Unknown => self.unknown(held, net, now, out),
                    Why::Expired if self.error(&held, Problem::Expired, net, now, out) => self.count.expired += 1,
                    _ => {}
                }
            }
            Input::Changed(Change::Host { vlan, .. }) if !self.asked.is_empty() => self.known(*vlan, net, out),
            Input::Port { at, up: true } => {
                self.down.remove(at);
            }
            Input::Port { at, up: false } => {
                self.down.insert((*at).clone());
            }
            Input::Tick => self.tick(net, now, out),
            _ => {}
        }
    }

    fn next_timeout(&self) -> Option<Nanos> {
        self.asked.values().map(|a| a.due).min()
    }

    fn counters(&self) -> Vec<(&'static str, u64)> {
        let c = self.count;
        vec![
            ("expired", c.expired),
            ("unreachable", c.unreachable),
            ("asked", c.asked),
            ("delivered", c.delivered),
            ("limited", c.limited),
            ("dropped", c.dropped),
        ]
    }
}
