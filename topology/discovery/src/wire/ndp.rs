//! Neighbour discovery (RFC 4861): solicitations, advertisements, router solicitations and advertisements.

use super::ip::{Ip, Link, PROTO_ICMP6, ipv6};
use super::{ALL_NODES, Mac, Tags, WireError, addr6, be16, be32, icmp, solicited_node, take};
use std::net::{IpAddr, Ipv6Addr};

pub const ROUTER_SOLICIT: u8 = 133;
pub const ROUTER_ADVERT: u8 = 134;
pub const NEIGHBOR_SOLICIT: u8 = 135;
pub const NEIGHBOR_ADVERT: u8 = 136;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ndp {
    /// `lladdr`: source link-layer address option.
    RouterSolicit {
        lladdr: Option<Mac>,
    },
    RouterAdvert(RouterAdvertMsg),
    /// `lladdr`: source link-layer address option; absent in duplicate address detection.
    NeighborSolicit {
        target: Ipv6Addr,
        lladdr: Option<Mac>,
    },
    /// `lladdr`: target link-layer address option.
    NeighborAdvert {
        target: Ipv6Addr,
        router: bool,
        solicited: bool,
        override_: bool,
        lladdr: Option<Mac>,
    },
}

/// RFC 4861 §4.2 with the options of §4.6.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RouterAdvertMsg {
    pub hop_limit: u8,
    pub managed: bool,
    pub other: bool,
    pub lifetime_s: u16,
    pub reachable_ms: u32,
    pub retrans_ms: u32,
    pub lladdr: Option<Mac>,
    pub mtu_bytes: Option<u32>,
    pub prefixes: Vec<Prefix>,
    /// Name servers and how long they may be used (RFC 8106 §5.1). One option.
    pub dns: Vec<Ipv6Addr>,
    pub dns_lifetime_s: u32,
}

/// Prefix information option (RFC 4861 §4.6.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Prefix {
    pub addr: Ipv6Addr,
    /// 0 to 128.
    pub len: u8,
    pub on_link: bool,
    pub autonomous: bool,
    pub valid_s: u32,
    pub preferred_s: u32,
}

const OPT_SOURCE: u8 = 1;
const OPT_TARGET: u8 = 2;
const OPT_PREFIX: u8 = 3;
const OPT_MTU: u8 = 5;
const OPT_DNS: u8 = 25;

impl Ndp {
    /// Parses and makes the checks of RFC 4861 §6.1 and §7.1: hop limit 255, code 0, checksum, lengths, no group
    /// address as target, no link-layer option from the unspecified address.
    pub fn parse(ip: &Ip<'_>) -> Result<Ndp, WireError> {
        let m = icmp::message(ip)?;
        if ip.ttl != 255 {
            return Err(WireError::Value { field: "ndp hop limit", found: u64::from(ip.ttl), allowed: "255" });
        }
        if m[1] != 0 {
            return Err(WireError::Value { field: "ndp code", found: u64::from(m[1]), allowed: "0" });
        }
        let unspecified = ip.src.is_unspecified();
        let target = |m: &[u8]| {
            let t = addr6(m, 8, "ndp target")?;
            if t.is_multicast() {
                Err(WireError::Value { field: "ndp target", found: 0xff, allowed: "no multicast address" })
            } else {
                Ok(t)
            }
        };
        let no_lladdr = |l: Option<Mac>| {
            if unspecified && l.is_some() {
                Err(WireError::Value {
                    field: "ndp source link-layer option",
                    found: 1,
                    allowed: "none from the unspecified address",
                })
            } else {
                Ok(l)
            }
        };
        match m[0] {
            ROUTER_SOLICIT => {
                let o = Options::parse(m, 8)?;
                Ok(Ndp::RouterSolicit { lladdr: no_lladdr(o.source)? })
            }
            ROUTER_ADVERT => {
                let flags = take(m, 4, 12, "router advertisement")?;
                let o = Options::parse(m, 16)?;
                Ok(Ndp::RouterAdvert(RouterAdvertMsg {
                    hop_limit: flags[0],
                    managed: flags[1] & 0x80 != 0,
                    other: flags[1] & 0x40 != 0,
                    lifetime_s: be16(m, 6, "router advertisement")?,
                    reachable_ms: be32(m, 8, "router advertisement")?,
                    retrans_ms: be32(m, 12, "router advertisement")?,
                    lladdr: o.source,
                    mtu_bytes: o.mtu,
                    prefixes: o.prefixes,
                    dns: o.dns,
                    dns_lifetime_s: o.dns_lifetime_s,
                }))
            }
            NEIGHBOR_SOLICIT => {
                let target = target(m)?;
                let o = Options::parse(m, 24)?;
                Ok(Ndp::NeighborSolicit { target, lladdr: no_lladdr(o.source)? })
            }
            NEIGHBOR_ADVERT => {
                let target = target(m)?;
                let flags = m[4];
                let o = Options::parse(m, 24)?;
                Ok(Ndp::NeighborAdvert {
                    target,
                    router: flags & 0x80 != 0,
                    solicited: flags & 0x40 != 0,
                    override_: flags & 0x20 != 0,
                    lladdr: o.target,
                })
            }
            n => Err(WireError::Value { field: "icmpv6 type", found: u64::from(n), allowed: "133 to 136" }),
        }
    }

    /// The ICMPv6 message with its checksum.
    pub fn to_bytes(&self, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        let mut m = Vec::with_capacity(64);
        let lladdr = |m: &mut Vec<u8>, kind: u8, mac: Option<Mac>| {
            if let Some(mac) = mac {
                m.extend_from_slice(&[kind, 1]);
                m.extend_from_slice(&mac.0);
            }
        };
        match self {
            Ndp::RouterSolicit { lladdr: l } => {
                m.extend_from_slice(&[ROUTER_SOLICIT, 0, 0, 0, 0, 0, 0, 0]);
                lladdr(&mut m, OPT_SOURCE, *l);
            }
            Ndp::RouterAdvert(ra) => {
                let flags = u8::from(ra.managed) << 7 | u8::from(ra.other) << 6;
                m.extend_from_slice(&[ROUTER_ADVERT, 0, 0, 0, ra.hop_limit, flags]);
                m.extend_from_slice(&ra.lifetime_s.to_be_bytes());
                m.extend_from_slice(&ra.reachable_ms.to_be_bytes());
                m.extend_from_slice(&ra.retrans_ms.to_be_bytes());
                lladdr(&mut m, OPT_SOURCE, ra.lladdr);
                if let Some(mtu) = ra.mtu_bytes {
                    m.extend_from_slice(&[OPT_MTU, 1, 0, 0]);
                    m.extend_from_slice(&mtu.to_be_bytes());
                }
                for p in &ra.prefixes {
                    let flags = u8::from(p.on_link) << 7 | u8::from(p.autonomous) << 6;
                    m.extend_from_slice(&[OPT_PREFIX, 4, p.len, flags]);
                    m.extend_from_slice(&p.valid_s.to_be_bytes());
                    m.extend_from_slice(&p.preferred_s.to_be_bytes());
                    m.extend_from_slice(&[0; 4]);
                    m.extend_from_slice(&p.addr.octets());
                }
                let dns = &ra.dns[..ra.dns.len().min(8)];
                if !dns.is_empty() {
                    m.extend_from_slice(&[OPT_DNS, 1 + 2 * dns.len() as u8, 0, 0]);
                    m.extend_from_slice(&ra.dns_lifetime_s.to_be_bytes());
                    dns.iter().for_each(|a| m.extend_from_slice(&a.octets()));
                }
            }
            Ndp::NeighborSolicit { target, lladdr: l } => {
                m.extend_from_slice(&[NEIGHBOR_SOLICIT, 0, 0, 0, 0, 0, 0, 0]);
                m.extend_from_slice(&target.octets());
                lladdr(&mut m, OPT_SOURCE, *l);
            }
            Ndp::NeighborAdvert { target, router, solicited, override_, lladdr: l } => {
                let flags = u8::from(*router) << 7 | u8::from(*solicited) << 6 | u8::from(*override_) << 5;
                m.extend_from_slice(&[NEIGHBOR_ADVERT, 0, 0, 0, flags, 0, 0, 0]);
                m.extend_from_slice(&target.octets());
                lladdr(&mut m, OPT_TARGET, *l);
            }
        }
        icmp::fill_checksum(&mut m, IpAddr::V6(src), IpAddr::V6(dst));
        m
    }

    /// The whole frame.
    pub fn frame(&self, link: Link, src: Ipv6Addr, dst: Ipv6Addr) -> Vec<u8> {
        ipv6(link, src, dst, PROTO_ICMP6, 255, &self.to_bytes(src, dst))
    }
}

/// A solicitation for `target` from the fabric: to its solicited-node group, or straight to a known owner.
pub fn solicit(src: Mac, src_ip: Ipv6Addr, target: Ipv6Addr, to: Option<Mac>, tags: Tags) -> Vec<u8> {
    let group = solicited_node(target);
    let (mac, ip) = match to {
        Some(mac) => (mac, target),
        None => (Mac::for_multicast6(group), group),
    };
    Ndp::NeighborSolicit { target, lladdr: Some(src) }.frame(Link { dst: mac, src, tags }, src_ip, ip)
}

/// The answer to a solicitation. A question from the unspecified address (duplicate address detection) is answered to
/// all nodes and not marked as solicited (RFC 4861 §7.2.4).
pub fn advertise(
    target: Ipv6Addr,
    owner: Mac,
    router: bool,
    override_: bool,
    to: (Mac, Ipv6Addr),
    link_src: Mac,
    tags: Tags,
) -> Vec<u8> {
    let dad = to.1.is_unspecified();
    let (mac, ip) = if dad { (Mac::for_multicast6(ALL_NODES), ALL_NODES) } else { to };
    Ndp::NeighborAdvert { target, router, solicited: !dad, override_, lladdr: Some(owner) }.frame(
        Link { dst: mac, src: link_src, tags },
        target,
        ip,
    )
}

#[derive(Default)]
struct Options {
    source: Option<Mac>,
    target: Option<Mac>,
    mtu: Option<u32>,
    prefixes: Vec<Prefix>,
    dns: Vec<Ipv6Addr>,
    dns_lifetime_s: u32,
}

impl Options {
    /// RFC 4861 §4.6: an option of length 0 makes the message invalid; unknown ones are skipped.
    fn parse(m: &[u8], from: usize) -> Result<Options, WireError> {
        let mut o = Options::default();
        let mut at = from;
        take(m, 0, from, "ndp")?;
        while at < m.len() {
            let len = usize::from(take(m, at, 2, "ndp option")?[1]) * 8;
            if len == 0 {
                return Err(WireError::Value { field: "ndp option length", found: 0, allowed: "1 and above" });
            }
            let opt = take(m, at, len, "ndp option")?;
            match (opt[0], len) {
                (OPT_SOURCE, 8) => o.source = Some(Mac::at(opt, 2, "ndp option")?),
                (OPT_TARGET, 8) => o.target = Some(Mac::at(opt, 2, "ndp option")?),
                (OPT_MTU, 8) => o.mtu = Some(be32(opt, 4, "ndp mtu")?),
                (OPT_PREFIX, 32) if opt[2] <= 128 => o.prefixes.push(Prefix {
                    addr: addr6(opt, 16, "ndp prefix")?,
                    len: opt[2],
                    on_link: opt[3] & 0x80 != 0,
                    autonomous: opt[3] & 0x40 != 0,
                    valid_s: be32(opt, 4, "ndp prefix")?,
                    preferred_s: be32(opt, 8, "ndp prefix")?,
                }),
                (OPT_DNS, 24..) => {
                    o.dns_lifetime_s = be32(opt, 4, "ndp name servers")?;
                    for at in (8..len - 15).step_by(16) {
                        o.dns.push(addr6(opt, at, "ndp name servers")?);
                    }
                }
                _ => {}
            }
            at += len;
        }
        Ok(o)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;
    use proptest::prelude::*;

    fn a(s: &str) -> Ipv6Addr {
        s.parse().unwrap()
    }

    #[test]
    fn rfc_4861_solicitation_layout() {
        let f = solicit(Mac([2, 0, 0, 0, 0, 1]), a("fe80::1"), a("2001:db8::5:6"), None, Tags::None);
        assert_eq!(&f[..6], &[0x33, 0x33, 0xff, 5, 0, 6]);
        assert_eq!(&f[12..22], &[0x86, 0xdd, 0x60, 0, 0, 0, 0, 32, 58, 255]);
        assert_eq!(&f[38..54], &a("ff02::1:ff05:6").octets());
        assert_eq!(&f[54..56], &[135, 0]);
        assert_eq!(&f[62..78], &a("2001:db8::5:6").octets());
        assert_eq!(&f[78..], &[1, 1, 2, 0, 0, 0, 0, 1]);
        let p = Frame::parse(&f).unwrap();
        let n = Ndp::parse(&Ip::parse(&p).unwrap()).unwrap();
        assert_eq!(n, Ndp::NeighborSolicit { target: a("2001:db8::5:6"), lladdr: Some(Mac([2, 0, 0, 0, 0, 1])) });
    }

    #[test]
    fn rfc_4861_router_advertisement_layout() {
        let ra = RouterAdvertMsg {
            hop_limit: 64,
            managed: true,
            other: false,
            lifetime_s: 1800,
            lladdr: Some(Mac([2, 0, 0, 0, 0, 1])),
            mtu_bytes: Some(1500),
            prefixes: vec![Prefix {
                addr: a("2001:db8::"),
                len: 64,
                on_link: true,
                autonomous: true,
                valid_s: 7200,
                preferred_s: 3600,
            }],
            ..Default::default()
        };
        let b = Ndp::RouterAdvert(ra).to_bytes(a("fe80::1"), a("ff02::1"));
        assert_eq!((b[0], b[4], b[5], &b[6..8]), (134, 64, 0x80, &1800u16.to_be_bytes()[..]));
        assert_eq!(&b[16..24], &[1, 1, 2, 0, 0, 0, 0, 1]);
        assert_eq!(&b[24..32], &[5, 1, 0, 0, 0, 0, 5, 0xdc]);
        assert_eq!(&b[32..36], &[3, 4, 64, 0xc0]);
        assert_eq!(b.len(), 64);
    }

    #[test]
    fn rules_of_section_7_1_1() {
        let good = solicit(Mac([2, 0, 0, 0, 0, 1]), a("fe80::1"), a("fe80::9"), None, Tags::None);
        let mut far = good.clone();
        far[21] = 64;
        let f = Frame::parse(&far).unwrap();
        assert_eq!(
            Ndp::parse(&Ip::parse(&f).unwrap()),
            Err(WireError::Value { field: "ndp hop limit", found: 64, allowed: "255" })
        );
        let dad = solicit(Mac([2, 0, 0, 0, 0, 1]), a("::"), a("fe80::9"), None, Tags::None);
        let f = Frame::parse(&dad).unwrap();
        assert!(Ndp::parse(&Ip::parse(&f).unwrap()).is_err());
    }

    fn any_ndp() -> impl Strategy<Value = Ndp> {
        let mac = proptest::option::of(any::<[u8; 6]>().prop_map(Mac));
        let ip = any::<[u8; 16]>().prop_map(|mut b| {
            b[0] &= 0x7f;
            Ipv6Addr::from(b)
        });
        let prefix = (any::<[u8; 16]>(), 0u8..=128, any::<bool>(), any::<bool>(), any::<u32>(), any::<u32>()).prop_map(
            |(a, len, on_link, autonomous, valid_s, preferred_s)| Prefix {
                addr: a.into(),
                len,
                on_link,
                autonomous,
                valid_s,
                preferred_s,
            },
        );
        prop_oneof![
            mac.clone().prop_map(|lladdr| Ndp::RouterSolicit { lladdr }),
            (ip.clone(), mac.clone()).prop_map(|(target, lladdr)| Ndp::NeighborSolicit { target, lladdr }),
            (ip, mac.clone(), any::<[bool; 3]>()).prop_map(|(target, lladdr, f)| Ndp::NeighborAdvert {
                target,
                lladdr,
                router: f[0],
                solicited: f[1],
                override_: f[2]
            }),
            (
                any::<(u8, bool, bool, u16, u32, u32)>(),
                mac,
                proptest::option::of(any::<u32>()),
                proptest::collection::vec(prefix, 0..4),
                proptest::collection::vec(any::<[u8; 16]>().prop_map(Ipv6Addr::from), 0..3)
            )
                .prop_map(|(x, lladdr, mtu_bytes, prefixes, dns)| Ndp::RouterAdvert(RouterAdvertMsg {
                    hop_limit: x.0,
                    managed: x.1,
                    other: x.2,
                    lifetime_s: x.3,
                    reachable_ms: x.4,
                    retrans_ms: x.5,
                    lladdr,
                    mtu_bytes,
                    prefixes,
                    dns_lifetime_s: if dns.is_empty() { 0 } else { 600 },
                    dns
                })),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(n in any_ndp()) {
            let bytes = n.frame(Link { dst: Mac([1; 6]), src: Mac([2; 6]), tags: Tags::One(5) }, a("fe80::1"), a("fe80::2"));
            let f = Frame::parse(&bytes).unwrap();
            prop_assert_eq!(Ndp::parse(&Ip::parse(&f).unwrap()).unwrap(), n);
        }

        #[test]
        fn any_body(kind in 133u8..137, body in proptest::collection::vec(any::<u8>(), 2..90)) {
            let (s, d) = (a("fe80::1"), a("fe80::2"));
            let mut m = vec![kind, 0];
            m.extend_from_slice(&body);
            icmp::fill_checksum(&mut m, s.into(), d.into());
            let ip = Ip { src: s.into(), dst: d.into(), proto: 58, ttl: 255, fragment: false, payload: &m };
            let _ = Ndp::parse(&ip);
        }
    }
}
