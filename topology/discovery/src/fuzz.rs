//! Bodies of the fuzz targets under `fuzz/`; the tests run each for a moment.

use crate::dhcp::Circuit;
use crate::guard::GuardConfig;
use crate::hosts::HostsConfig;
use crate::links::LinksConfig;
use crate::machine::{Change, Input, MILLIS, Nanos, Output, SECONDS, Why};
use crate::net::{DhcpRelay, Net, PortRef, PortRole, PortVlans, RouterAdvert};
use crate::testnet::TestNet;
use crate::wire::dhcp::{Dhcp4, Relay6, RelayInfo, leased6};
use crate::wire::lldp::{Key, Lldp};
use crate::wire::ndp::Ndp;
use crate::wire::{Frame, Ip, arp, icmp};
use std::net::Ipv4Addr;

/// Every codec on the same bytes; what parses must build and parse again to the same.
pub fn codecs(data: &[u8]) {
    if let Ok(unit) = Lldp::parse(data) {
        assert_eq!(Lldp::parse(&unit.to_bytes()).as_ref(), Ok(&unit));
    }
    if let Ok(a) = arp::Arp::parse(data) {
        assert_eq!(arp::Arp::parse(&a.to_bytes()), Ok(a));
    }
    if let Ok(m) = Dhcp4::parse(data) {
        let relayed =
            m.relayed(Ipv4Addr::LOCALHOST, Some(RelayInfo { circuit_id: b"leaf1/1:10", remote_id: b"leaf1" }));
        let again = Dhcp4::parse(&relayed);
        assert_eq!(
            again.map(|m| (m.giaddr, m.circuit_id().map(<[u8]>::to_vec))),
            Ok((Ipv4Addr::LOCALHOST, Some(b"leaf1/1:10".to_vec())))
        );
    }
    if let Ok(r) = Relay6::parse(data) {
        assert_eq!(Relay6::parse(&r.to_bytes(None)), Ok(r));
    }
    leased6(data);
    Circuit::parse(data);
    if let Ok(frame) = Frame::parse(data)
        && let Ok(ip) = Ip::parse(&frame)
    {
        let _ = (
            ip.udp(),
            Ndp::parse(&ip),
            crate::wire::group::Membership::parse(&ip),
            icmp::message(&ip).map(|m| icmp::echo_reply(m, ip.dst, ip.src)),
        );
    }
}

/// A small fabric with everything configured.
pub fn fabric() -> TestNet {
    let mut n = TestNet::default();
    n.switch("leaf1", 1).switch("leaf2", 2).switch("spine1", 3);
    n.pairs.push(("leaf1".into(), "leaf2".into()));
    n.link(("leaf1", 1), ("spine1", 1)).link(("leaf2", 1), ("spine1", 2));
    n.edge("leaf1", 2, 10).edge("leaf2", 2, 10).edge("leaf2", 3, 20);
    let vlans = PortVlans { untagged: Some(20), tagged: vec![10], double: vec![(100, 7, 10)] };
    n.add_port("leaf1", 3, PortRole::Edge, vlans);
    n.add_port("leaf1", 4, PortRole::Unknown, PortVlans::default());
    n.add_gateway(10, "10.0.10.1", 24).add_gateway(20, "10.0.20.1", 24).add_gateway(10, "2001:db8:10::1", 64);
    n.adverts.insert(10, RouterAdvert::default());
    n.relays.insert(
        10,
        DhcpRelay {
            v4_servers: vec![Ipv4Addr::new(10, 0, 20, 2)],
            v6_servers: "2001:db8:10::2".parse().into_iter().collect(),
        },
    );
    n.wanted.push((20, [10, 0, 20, 2].into()));
    n
}

const WHYS: [Why; 5] = [Why::Rule, Why::Answered, Why::Unknown, Why::Expired, Why::Mirrored];

/// All machines together: each step of `data` is a frame on a port, a port or device state, or time. Checks that what
/// comes out is well formed, goes to known ports and stays in proportion.
pub fn machines(data: &[u8]) {
    let mut net = fabric();
    let Ok(key) = Key::new(1, b"0123456789abcdef") else { return };
    let guard = GuardConfig { rate_pps: 100, burst: 100, quiet: SECONDS };
    let mut all = crate::standard_machines(guard, LinksConfig::new(vec![key], 0), HostsConfig::default());
    let ports: Vec<PortRef> = net.ports.keys().cloned().chain([PortRef::new("leaf9", 9)]).collect();
    let mut now: Nanos = SECONDS;
    let mut out = Vec::new();
    all.handle(&Input::Changed(Change::All), &net, now, &mut out);
    for device in ["leaf1", "leaf2", "spine1"] {
        all.handle(&Input::Device { device, connected: true }, &net, now, &mut out);
    }
    let mut rest = data;
    while let [kind, port, len, tail @ ..] = rest {
        let at = &ports[usize::from(*port) % ports.len()];
        let (frame, next) = tail.split_at(usize::from(*len).min(tail.len()));
        rest = next;
        match kind % 8 {
            0..=4 => all.packet_in(at, frame, WHYS[usize::from(*kind / 8) % WHYS.len()], &net, now, &mut out),
            5 => all.handle(&Input::Port { at, up: len % 2 == 0 }, &net, now, &mut out),
            6 => all.handle(&Input::Device { device: &at.device, connected: len % 2 == 0 }, &net, now, &mut out),
            _ => {
                now += u64::from(*len) * 500 * MILLIS;
                all.handle(&Input::Tick, &net, now, &mut out);
            }
        }
        assert!(out.len() < 2000, "{} outputs of one step", out.len());
        net.observe(&out);
        for o in out.drain(..) {
            if let Output::PacketOut { at, frame } = o {
                assert!(Frame::parse(&frame).is_ok() && frame.len() >= 60);
                assert!(net.port(&at).is_some(), "{at} is no port");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timers::Jitter;
    use crate::wire::{Mac, Tags, ndp};

    /// Good frames that the random runs start from.
    fn seeds() -> Vec<Vec<u8>> {
        let host = Mac([2, 0, 0, 0, 0, 9]);
        let mut seeds = vec![
            arp::request(host, Ipv4Addr::new(10, 0, 10, 9), Ipv4Addr::new(10, 0, 10, 1), Mac::BROADCAST, Tags::None),
            arp::request(host, Ipv4Addr::new(10, 0, 10, 9), Ipv4Addr::new(10, 0, 10, 8), Mac::BROADCAST, Tags::One(10)),
            ndp::solicit(host, host.link_local(), "2001:db8:10::1".parse().unwrap(), None, Tags::Two(100, 7)),
        ];
        let unit = Lldp {
            chassis: crate::wire::lldp::Id::Local("spine1".into()),
            port: crate::wire::lldp::Id::Local("1".into()),
            ttl_s: 3,
            system_name: None,
            hears: None,
            signature: None,
        };
        let key = Key::new(1, b"0123456789abcdef").unwrap();
        seeds.push(crate::wire::lldp::frame(host, &unit.signed(&key, SECONDS, 1)));
        let mut d = vec![1, 1, 6, 0];
        d.resize(236, 0);
        d[28..34].copy_from_slice(&host.0);
        d.extend_from_slice(&[99, 130, 83, 99, 53, 1, 1, 255]);
        let link = crate::wire::ip::Link { dst: Mac::BROADCAST, src: host, tags: Tags::None };
        seeds.extend(crate::wire::ip::udp(
            link,
            (Ipv4Addr::UNSPECIFIED.into(), 68),
            (Ipv4Addr::BROADCAST.into(), 67),
            &d,
        ));
        seeds
    }

    fn mutated(seed: &[u8], r: &mut Jitter) -> Vec<u8> {
        let mut b = seed.to_vec();
        for _ in 0..r.below(4) {
            let at = r.below(b.len() as u64) as usize;
            b[at] = r.below(256) as u8;
        }
        if r.below(8) == 0 {
            b.truncate(r.below(b.len() as u64 + 1) as usize);
        }
        b
    }

    #[test]
    fn codecs_for_a_moment() {
        let mut r = Jitter::new(42);
        for seed in seeds() {
            for _ in 0..2000 {
                let b = mutated(&seed, &mut r);
                codecs(&b);
                codecs(b.get(14..).unwrap_or_default());
                codecs(b.get(42..).unwrap_or_default());
            }
        }
    }

    #[test]
    fn machines_for_a_moment() {
        let seeds = seeds();
        let mut r = Jitter::new(43);
        for _ in 0..300 {
            let mut steps = Vec::new();
            for _ in 0..40 {
                let frame = mutated(&seeds[r.below(seeds.len() as u64) as usize], &mut r);
                let frame = &frame[..frame.len().min(255)];
                let kind = r.below(8) as u8;
                let body = if kind < 5 { frame } else { &[] };
                let len = if kind < 5 { frame.len() as u8 } else { r.below(256) as u8 };
                steps.extend_from_slice(&[kind, r.below(16) as u8, len]);
                steps.extend_from_slice(body);
                if kind >= 5 {
                    // `len` says how long or which way, and takes so many bytes with it.
                    steps.resize(steps.len() + usize::from(len), 0);
                }
            }
            machines(&steps);
        }
    }
}
