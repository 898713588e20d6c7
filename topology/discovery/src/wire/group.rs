//! Group membership: IGMPv1 to v3 (RFC 1112, 2236, 3376) and MLDv1 and v2 (RFC 2710, 3810) in one shape.

use super::ip::{Ip, Link, PROTO_ICMP6, PROTO_IGMP, checksum, ipv4, ipv6};
use super::{Mac, Tags, WireError, addr6, be16, icmp, take};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const MLD_QUERY: u8 = 130;
pub const MLD_REPORT: u8 = 131;
pub const MLD_DONE: u8 = 132;
pub const MLD2_REPORT: u8 = 143;

const IGMP_QUERY: u8 = 0x11;
const IGMP1_REPORT: u8 = 0x12;
const IGMP2_REPORT: u8 = 0x16;
const IGMP_LEAVE: u8 = 0x17;
const IGMP3_REPORT: u8 = 0x22;

/// 224.0.0.22 and ff02::16: where reports of the newest version go.
pub const IGMP3_ROUTERS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 22);
pub const MLD2_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x16);
const ALL_SYSTEMS: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 1);

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Membership {
    Query(Query),
    /// Reports and leaves of every version, as records. An old report is "exclude nothing", a leave "include nothing".
    Report {
        records: Vec<Record>,
        old: bool,
    },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    /// `None`: a general query.
    pub group: Option<IpAddr>,
    pub sources: Vec<IpAddr>,
    pub max_response_ms: u32,
    /// S flag, robustness and interval are only in IGMPv3 and MLDv2; 0 before.
    pub suppress: bool,
    pub robustness: u8,
    pub interval_s: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RecordKind {
    IsInclude = 1,
    IsExclude = 2,
    ToInclude = 3,
    ToExclude = 4,
    Allow = 5,
    Block = 6,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    pub kind: RecordKind,
    pub group: IpAddr,
    pub sources: Vec<IpAddr>,
}

impl Membership {
    /// The membership message of a packet; checks checksum, hop limit 1 and, for MLD, a link-local source
    /// (RFC 3810 §6.2; reports may come from the unspecified address).
    pub fn parse(ip: &Ip<'_>) -> Result<Membership, WireError> {
        if ip.ttl != 1 || ip.fragment {
            return Err(WireError::Value {
                field: "membership hop limit",
                found: u64::from(ip.ttl),
                allowed: "1, no fragment",
            });
        }
        match ip.src {
            IpAddr::V4(_) if ip.proto == PROTO_IGMP => {
                let m = ip.payload;
                take(m, 0, 8, "igmp")?;
                if checksum(m) != 0 {
                    return Err(WireError::Checksum { what: "igmp" });
                }
                igmp(m)
            }
            IpAddr::V6(src) if ip.proto == PROTO_ICMP6 => {
                let m = icmp::message(ip)?;
                if !(src.is_unicast_link_local() || (src.is_unspecified() && m[0] != MLD_QUERY)) {
                    return Err(WireError::Value {
                        field: "mld source",
                        found: u64::from(src.octets()[0]),
                        allowed: "link-local",
                    });
                }
                mld(m)
            }
            _ => Err(WireError::Value { field: "ip protocol", found: u64::from(ip.proto), allowed: "IGMP or ICMPv6" }),
        }
    }

    /// The message of the newest version. Addresses of another family than `src` are left out.
    pub fn to_bytes(&self, src: IpAddr, dst: IpAddr) -> Vec<u8> {
        let v6 = src.is_ipv6();
        let same = |a: &&IpAddr| a.is_ipv6() == v6;
        let put = |m: &mut Vec<u8>, a: &IpAddr| match a {
            IpAddr::V4(a) => m.extend_from_slice(&a.octets()),
            IpAddr::V6(a) => m.extend_from_slice(&a.octets()),
        };
        let mut m = Vec::with_capacity(64);
        match self {
            Membership::Query(q) => {
                if v6 {
                    m.extend_from_slice(&[MLD_QUERY, 0, 0, 0]);
                    m.extend_from_slice(&code16(q.max_response_ms).to_be_bytes());
                    m.extend_from_slice(&[0, 0]);
                } else {
                    m.extend_from_slice(&[IGMP_QUERY, code8(q.max_response_ms / 100), 0, 0]);
                }
                let any: IpAddr = if v6 { Ipv6Addr::UNSPECIFIED.into() } else { Ipv4Addr::UNSPECIFIED.into() };
                put(&mut m, q.group.as_ref().filter(same).unwrap_or(&any));
                m.extend_from_slice(&[u8::from(q.suppress) << 3 | (q.robustness & 7), code8(q.interval_s)]);
                let sources: Vec<_> = q.sources.iter().filter(same).collect();
                m.extend_from_slice(&(sources.len() as u16).to_be_bytes());
                sources.into_iter().for_each(|s| put(&mut m, s));
            }
            Membership::Report { records, .. } => {
                let records: Vec<_> = records.iter().filter(|r| r.group.is_ipv6() == v6).collect();
                m.extend_from_slice(&[if v6 { MLD2_REPORT } else { IGMP3_REPORT }, 0, 0, 0, 0, 0]);
                m.extend_from_slice(&(records.len() as u16).to_be_bytes());
                for r in records {
                    let sources: Vec<_> = r.sources.iter().filter(same).collect();
                    m.extend_from_slice(&[r.kind as u8, 0]);
                    m.extend_from_slice(&(sources.len() as u16).to_be_bytes());
                    put(&mut m, &r.group);
                    sources.into_iter().for_each(|s| put(&mut m, s));
                }
            }
        }
        icmp::fill_checksum(&mut m, src, dst);
        m
    }

    /// A whole frame with the router alert that the standards ask for; `None` when the families differ.
    pub fn frame(&self, src_mac: Mac, tags: Tags, src: IpAddr, dst: IpAddr) -> Option<Vec<u8>> {
        let body = self.to_bytes(src, dst);
        match (src, dst) {
            (IpAddr::V4(s), IpAddr::V4(d)) => {
                let link = Link { dst: multicast_mac(dst), src: src_mac, tags };
                Some(ipv4(link, s, d, PROTO_IGMP, 1, &[0x94, 4, 0, 0], &body))
            }
            (IpAddr::V6(s), IpAddr::V6(d)) => {
                // Hop-by-hop header with router alert "MLD" (RFC 2711), then ICMPv6.
                let mut p = vec![PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0];
                p.extend_from_slice(&body);
                let link = Link { dst: multicast_mac(dst), src: src_mac, tags };
                Some(ipv6(link, s, d, 0, 1, &p))
            }
            _ => None,
        }
    }
}

/// Where a query goes: to the group it asks for, or to all.
pub fn query_destination(group: Option<IpAddr>, v6: bool) -> IpAddr {
    group.unwrap_or(if v6 { super::ALL_NODES.into() } else { ALL_SYSTEMS.into() })
}

/// The group MAC of a multicast address (RFC 1112 §6.4, RFC 2464 §7).
pub fn multicast_mac(ip: IpAddr) -> Mac {
    match ip {
        IpAddr::V4(a) => {
            let o = a.octets();
            Mac([1, 0, 0x5e, o[1] & 0x7f, o[2], o[3]])
        }
        IpAddr::V6(a) => Mac::for_multicast6(a),
    }
}

fn igmp(m: &[u8]) -> Result<Membership, WireError> {
    let addr = |at: usize| -> Result<IpAddr, WireError> {
        let b = take(m, at, 4, "igmp")?;
        Ok(Ipv4Addr::new(b[0], b[1], b[2], b[3]).into())
    };
    let one = |kind, old| -> Result<Membership, WireError> {
        Ok(Membership::Report { records: vec![record(kind, addr(4)?, Vec::new())?], old })
    };
    match m[0] {
        IGMP_QUERY => {
            let group = addr(4)?;
            let v3 = m.len() >= 12;
            let mut q = Query {
                group: (!group.is_unspecified()).then_some(group),
                sources: Vec::new(),
                // RFC 3376 §4.1.1: tenths of a second; IGMPv1 says 0 and means 10 s.
                max_response_ms: if m[1] == 0 && !v3 {
                    10_000
                } else if v3 {
                    value8(m[1]) * 100
                } else {
                    u32::from(m[1]) * 100
                },
                suppress: false,
                robustness: 0,
                interval_s: 0,
            };
            if v3 {
                (q.suppress, q.robustness, q.interval_s) = (m[8] & 8 != 0, m[8] & 7, value8(m[9]));
                for i in 0..usize::from(be16(m, 10, "igmp")?) {
                    q.sources.push(addr(12 + 4 * i)?);
                }
            }
            Ok(Membership::Query(q))
        }
        IGMP1_REPORT | IGMP2_REPORT => one(RecordKind::IsExclude, true),
        IGMP_LEAVE => one(RecordKind::ToInclude, true),
        IGMP3_REPORT => records(m, 4, addr),
        n => Err(WireError::Value { field: "igmp type", found: u64::from(n), allowed: "0x11, 0x12, 0x16, 0x17, 0x22" }),
    }
}

fn mld(m: &[u8]) -> Result<Membership, WireError> {
    let addr = |at: usize| -> Result<IpAddr, WireError> { Ok(addr6(m, at, "mld")?.into()) };
    let one = |kind| -> Result<Membership, WireError> {
        Ok(Membership::Report { records: vec![record(kind, addr(8)?, Vec::new())?], old: true })
    };
    match m[0] {
        MLD_QUERY => {
            let group = addr(8)?;
            let v2 = m.len() >= 28;
            let code = be16(m, 4, "mld")?;
            let mut q = Query {
                group: (!group.is_unspecified()).then_some(group),
                sources: Vec::new(),
                max_response_ms: if v2 { value16(code) } else { u32::from(code) },
                suppress: false,
                robustness: 0,
                interval_s: 0,
            };
            if v2 {
                (q.suppress, q.robustness, q.interval_s) = (m[24] & 8 != 0, m[24] & 7, value8(m[25]));
                for i in 0..usize::from(be16(m, 26, "mld")?) {
                    q.sources.push(addr(28 + 16 * i)?);
                }
            }
            Ok(Membership::Query(q))
        }
        MLD_REPORT => one(RecordKind::IsExclude),
        MLD_DONE => one(RecordKind::ToInclude),
        MLD2_REPORT => records(m, 16, addr),
        n => Err(WireError::Value { field: "mld type", found: u64::from(n), allowed: "130, 131, 132, 143" }),
    }
}

/// RFC 3376 §4.2, RFC 3810 §5.2: the same layout but for the size of an address. Unknown record types are skipped.
fn records(m: &[u8], size: usize, addr: impl Fn(usize) -> Result<IpAddr, WireError>) -> Result<Membership, WireError> {
    let mut all = Vec::new();
    let mut at = 8;
    for _ in 0..be16(m, 6, "membership report")? {
        let head = take(m, at, 4 + size, "membership record")?;
        let (kind, aux) = (head[0], usize::from(head[1]) * 4);
        let sources = usize::from(u16::from_be_bytes([head[2], head[3]]));
        let first = at + 4 + size;
        let body = sources * size;
        take(m, first, body + aux, "membership record")?;
        let kind = match kind {
            1 => Some(RecordKind::IsInclude),
            2 => Some(RecordKind::IsExclude),
            3 => Some(RecordKind::ToInclude),
            4 => Some(RecordKind::ToExclude),
            5 => Some(RecordKind::Allow),
            6 => Some(RecordKind::Block),
            _ => None,
        };
        if let Some(kind) = kind {
            let list = (0..sources).map(|i| addr(first + i * size)).collect::<Result<_, _>>()?;
            all.push(record(kind, addr(at + 4)?, list)?);
        }
        at = first + body + aux;
    }
    Ok(Membership::Report { records: all, old: false })
}

fn record(kind: RecordKind, group: IpAddr, sources: Vec<IpAddr>) -> Result<Record, WireError> {
    if group.is_multicast() {
        Ok(Record { kind, group, sources })
    } else {
        Err(WireError::Value { field: "membership group", found: 0, allowed: "a multicast address" })
    }
}

/// RFC 3376 §4.1.1: above 127 a floating-point number.
fn value8(code: u8) -> u32 {
    if code < 128 {
        return u32::from(code);
    }
    (u32::from(code & 0x0f) | 0x10) << (u32::from(code >> 4 & 7) + 3)
}

/// The largest code that does not exceed the value.
fn code8(value: u32) -> u8 {
    if value < 128 {
        return value as u8;
    }
    (128..=255u8).rev().find(|c| value8(*c) <= value).unwrap_or(127)
}

/// RFC 3810 §5.1.3.
fn value16(code: u16) -> u32 {
    if code < 0x8000 {
        return u32::from(code);
    }
    (u32::from(code & 0x0fff) | 0x1000) << (u32::from(code >> 12 & 7) + 3)
}

fn code16(value: u32) -> u16 {
    if value < 0x8000 {
        return value as u16;
    }
    let exponent = (0..7u32).find(|e| value >> (e + 3) < 0x2000).unwrap_or(7);
    let mantissa = (value >> (exponent + 3)).min(0x1fff) & 0x0fff;
    0x8000 | (exponent as u16) << 12 | mantissa as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Frame;
    use proptest::prelude::*;

    fn back(frame: &[u8]) -> Membership {
        let f = Frame::parse(frame).unwrap();
        Membership::parse(&Ip::parse(&f).unwrap()).unwrap()
    }

    #[test]
    fn rfc_3376_layouts() {
        let q = Membership::Query(Query {
            group: None,
            sources: vec![],
            max_response_ms: 10_000,
            suppress: false,
            robustness: 2,
            interval_s: 125,
        });
        let f = q.frame(Mac([2, 0, 0, 0, 0, 1]), Tags::None, [10, 0, 10, 1].into(), [224, 0, 0, 1].into()).unwrap();
        assert_eq!(&f[..6], &[1, 0, 0x5e, 0, 0, 1]);
        assert_eq!((f[14], f[22], f[23], &f[34..38]), (0x46, 1, 2, &[0x94, 4, 0, 0][..]));
        assert_eq!((&f[38..40], &f[42..50]), (&[0x11, 100][..], &[0, 0, 0, 0, 2, 125, 0, 0][..]));
        assert_eq!(back(&f), q);
        let group: IpAddr = [239, 1, 2, 3].into();
        let r = Membership::Report {
            records: vec![Record { kind: RecordKind::ToExclude, group, sources: vec![] }],
            old: false,
        };
        let b = r.to_bytes([10, 0, 10, 9].into(), IGMP3_ROUTERS.into());
        assert_eq!((b[0], &b[4..]), (0x22, &[0, 0, 0, 1, 4, 0, 0, 0, 239, 1, 2, 3][..]));
    }

    #[test]
    fn old_versions() {
        let v2 = |kind: u8| {
            let mut m = vec![kind, 0, 0, 0, 239, 1, 2, 3];
            icmp::fill_checksum(&mut m, [10, 0, 10, 9].into(), [239, 1, 2, 3].into());
            m
        };
        for (kind, want) in
            [(0x16, RecordKind::IsExclude), (0x12, RecordKind::IsExclude), (0x17, RecordKind::ToInclude)]
        {
            let m = v2(kind);
            let ip = Ip {
                src: [10, 0, 10, 9].into(),
                dst: [239, 1, 2, 3].into(),
                proto: 2,
                ttl: 1,
                fragment: false,
                payload: &m,
            };
            let Ok(Membership::Report { records, old: true }) = Membership::parse(&ip) else { panic!() };
            assert_eq!(records, [Record { kind: want, group: [239, 1, 2, 3].into(), sources: vec![] }]);
            assert!(Membership::parse(&Ip { ttl: 2, ..ip }).is_err());
        }
    }

    #[test]
    fn floating_codes() {
        assert_eq!((value8(127), value8(128), value8(255)), (127, 128, 31_744));
        assert_eq!((code8(128), code8(31_744), code8(u32::MAX)), (128, 255, 255));
        assert_eq!((value16(0x8000), value16(0xffff)), (32_768, 8_387_584));
        for code in 0x8000..=0xffffu16 {
            assert_eq!(code16(value16(code)), code);
        }
    }

    fn ip(v6: bool) -> impl Strategy<Value = IpAddr> {
        any::<[u8; 16]>().prop_map(move |b| if v6 { b.into() } else { [b[0], b[1], b[2], b[3]].into() })
    }

    fn group(v6: bool) -> impl Strategy<Value = IpAddr> {
        any::<[u8; 15]>().prop_map(move |b| {
            let mut o = [0xff; 16];
            o[1..].copy_from_slice(&b);
            if v6 { o.into() } else { [0xe0 | b[0] & 15, b[1], b[2], b[3]].into() }
        })
    }

    fn any_message(v6: bool) -> impl Strategy<Value = Membership> {
        let kinds = [
            RecordKind::IsInclude,
            RecordKind::IsExclude,
            RecordKind::ToInclude,
            RecordKind::ToExclude,
            RecordKind::Allow,
            RecordKind::Block,
        ];
        let rec = (0usize..6, group(v6), proptest::collection::vec(ip(v6), 0..4))
            .prop_map(move |(k, group, sources)| Record { kind: kinds[k], group, sources });
        prop_oneof![
            proptest::collection::vec(rec, 0..4).prop_map(|records| Membership::Report { records, old: false }),
            (
                proptest::option::of(group(v6)),
                proptest::collection::vec(ip(v6), 0..4),
                1u32..128,
                any::<bool>(),
                0u8..8,
                0u32..128
            )
                .prop_map(|(group, sources, r, suppress, robustness, interval_s)| Membership::Query(
                    Query { group, sources, max_response_ms: r * 100, suppress, robustness, interval_s }
                )),
        ]
    }

    proptest! {
        #[test]
        fn round_trip((v6, m) in any::<bool>().prop_flat_map(|v6| (Just(v6), any_message(v6)))) {
            let (s, d): (IpAddr, IpAddr) = if v6 { ("fe80::1".parse().unwrap(), MLD2_ROUTERS.into()) } else {
                ([10, 0, 0, 1].into(), IGMP3_ROUTERS.into()) };
            prop_assert_eq!(back(&m.frame(Mac([2; 6]), Tags::One(5), s, d).unwrap()), m);
        }

        #[test]
        fn any_bytes(mut m in proptest::collection::vec(any::<u8>(), 8..90), v6: bool, kind in 0usize..9) {
            m[0] = [0x11, 0x12, 0x16, 0x17, 0x22, 130, 131, 132, 143][kind];
            let (s, d): (IpAddr, IpAddr) = if v6 { ("fe80::1".parse().unwrap(), MLD2_ROUTERS.into()) } else {
                ([10, 0, 0, 1].into(), IGMP3_ROUTERS.into()) };
            icmp::fill_checksum(&mut m, s, d);
            let ip = Ip { src: s, dst: d, proto: if v6 { 58 } else { 2 }, ttl: 1, fragment: false, payload: &m };
            let _ = Membership::parse(&ip);
        }
    }
}
