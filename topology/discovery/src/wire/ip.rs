//! IPv4 and IPv6 headers, UDP, and the checksums over them. Parsing is etherparse's; building is ours.

use super::{ETH_IPV4, ETH_IPV6, Frame, Mac, Tags, WireError, be16, ethernet, take};
use etherparse::IpSlice;
use etherparse::checksum::Sum16BitWords;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub const PROTO_ICMP: u8 = 1;
pub const PROTO_IGMP: u8 = 2;
pub const PROTO_UDP: u8 = 17;
pub const PROTO_ICMP6: u8 = 58;

/// The parts of an IP packet that matter here. `payload` starts after all IPv6 extension headers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ip<'a> {
    pub src: IpAddr,
    pub dst: IpAddr,
    pub proto: u8,
    /// TTL or hop limit.
    pub ttl: u8,
    /// True for any fragment but a whole packet.
    pub fragment: bool,
    pub payload: &'a [u8],
}

impl<'a> Ip<'a> {
    /// Parses what follows the EtherType; padding behind the packet is cut off. Errors also on a wrong IPv4 header
    /// checksum and on a version that does not fit the EtherType.
    pub fn parse(frame: &Frame<'a>) -> Result<Ip<'a>, WireError> {
        let short = WireError::Short { what: "ip", have: frame.payload.len(), need: 20 };
        match (frame.ether_type, IpSlice::from_slice(frame.payload).map_err(|_| short)?) {
            (ETH_IPV4, IpSlice::Ipv4(_)) => {
                let header = etherparse::Ipv4HeaderSlice::from_slice(frame.payload).map_err(|_| short)?;
                let hl = header.slice().len();
                if checksum(&frame.payload[..hl]) != 0 {
                    return Err(WireError::Checksum { what: "ipv4 header" });
                }
                let total = usize::from(header.total_len());
                let payload = take(frame.payload, hl, total.saturating_sub(hl), "ipv4 payload")?;
                Ok(Ip {
                    src: header.source_addr().into(),
                    dst: header.destination_addr().into(),
                    proto: header.protocol().0,
                    ttl: header.ttl(),
                    fragment: header.is_fragmenting_payload(),
                    payload,
                })
            }
            (ETH_IPV6, IpSlice::Ipv6(_)) => {
                let p = frame.payload;
                let len = usize::from(be16(p, 4, "ipv6 length")?);
                let mut rest = take(p, 40, len, "ipv6 payload")?;
                let mut proto = p[6];
                let mut fragment = false;
                // Extension headers that may stand before what is looked for here (RFC 8200 §4.1).
                while matches!(proto, 0 | 43 | 44 | 51 | 60) {
                    let fixed = proto == 44;
                    let unit = usize::from(*take(rest, 1, 1, "ipv6 extension")?.first().unwrap_or(&0));
                    let size = match proto {
                        44 => 8,
                        51 => (unit + 2) * 4,
                        _ => (unit + 1) * 8,
                    };
                    take(rest, 0, size, "ipv6 extension")?;
                    if fixed && be16(rest, 2, "ipv6 fragment")? & 0xfff9 != 0 {
                        fragment = true;
                    }
                    proto = rest[0];
                    rest = &rest[size..];
                    if fragment {
                        break;
                    }
                }
                Ok(Ip {
                    src: super::addr6(p, 8, "ipv6")?.into(),
                    dst: super::addr6(p, 24, "ipv6")?.into(),
                    proto,
                    ttl: p[7],
                    fragment,
                    payload: rest,
                })
            }
            _ => Err(WireError::Value {
                field: "ip version",
                found: u64::from(frame.ether_type),
                allowed: "as the EtherType says",
            }),
        }
    }

    /// Source port, destination port and data of a UDP packet; checks length and checksum.
    pub fn udp(&self) -> Result<Udp<'a>, WireError> {
        if self.proto != PROTO_UDP || self.fragment {
            return Err(WireError::Value {
                field: "ip protocol",
                found: u64::from(self.proto),
                allowed: "17 and no fragment",
            });
        }
        let len = usize::from(be16(self.payload, 4, "udp length")?);
        if len < 8 {
            return Err(WireError::Value { field: "udp length", found: len as u64, allowed: "8 and above" });
        }
        let whole = take(self.payload, 0, len, "udp")?;
        let sum = be16(whole, 6, "udp")?;
        // RFC 768: 0 means none with IPv4; RFC 8200 §8.1 forbids it with IPv6.
        if (sum != 0 || self.src.is_ipv6()) && transport_checksum(self.src, self.dst, PROTO_UDP, whole) != 0 {
            return Err(WireError::Checksum { what: "udp" });
        }
        Ok(Udp { src: be16(whole, 0, "udp")?, dst: be16(whole, 2, "udp")?, data: &whole[8..] })
    }

    pub fn src4(&self) -> Option<Ipv4Addr> {
        if let IpAddr::V4(a) = self.src { Some(a) } else { None }
    }

    pub fn src6(&self) -> Option<Ipv6Addr> {
        if let IpAddr::V6(a) = self.src { Some(a) } else { None }
    }

    pub fn dst6(&self) -> Option<Ipv6Addr> {
        if let IpAddr::V6(a) = self.dst { Some(a) } else { None }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Udp<'a> {
    pub src: u16,
    pub dst: u16,
    pub data: &'a [u8],
}

/// Internet checksum (RFC 1071) in network byte order; 0 over data that holds a right checksum.
pub fn checksum(data: &[u8]) -> u16 {
    u16::from_be_bytes(Sum16BitWords::new().add_slice(data).ones_complement().to_ne_bytes())
}

/// Checksum with the pseudo header of the addresses' family; 0 over data that holds a right checksum.
/// Addresses of different families give a sum that fits nothing.
pub fn transport_checksum(src: IpAddr, dst: IpAddr, proto: u8, data: &[u8]) -> u16 {
    let len = (data.len() as u32).to_be_bytes();
    let mut sum = Sum16BitWords::new();
    for ip in [src, dst] {
        sum = match ip {
            IpAddr::V4(a) => sum.add_4bytes(a.octets()),
            IpAddr::V6(a) => sum.add_16bytes(a.octets()),
        };
    }
    let sum = sum.add_4bytes(len).add_2bytes([0, proto]).add_slice(data);
    u16::from_be_bytes(sum.ones_complement().to_ne_bytes())
}

/// Where a built packet goes, below IP.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub dst: Mac,
    pub src: Mac,
    pub tags: Tags,
}

/// A whole frame with an IPv4 header without options in front of `payload`. `options` are put behind the header and
/// must be a multiple of four bytes (IGMP's router alert).
pub fn ipv4(link: Link, src: Ipv4Addr, dst: Ipv4Addr, proto: u8, ttl: u8, options: &[u8], payload: &[u8]) -> Vec<u8> {
    let header = 20 + options.len();
    debug_assert!(options.len().is_multiple_of(4) && options.len() <= 40);
    let mut p = Vec::with_capacity(header + payload.len());
    p.extend_from_slice(&[0x40 | (header / 4) as u8, 0]);
    p.extend_from_slice(&((header + payload.len()) as u16).to_be_bytes());
    p.extend_from_slice(&[0, 0, 0x40, 0, ttl, proto, 0, 0]);
    p.extend_from_slice(&src.octets());
    p.extend_from_slice(&dst.octets());
    p.extend_from_slice(options);
    let sum = checksum(&p);
    p[10..12].copy_from_slice(&sum.to_be_bytes());
    p.extend_from_slice(payload);
    ethernet(link.dst, link.src, link.tags, ETH_IPV4, &p)
}

/// A whole frame with an IPv6 header in front of `payload`, whose first header is `next`.
pub fn ipv6(link: Link, src: Ipv6Addr, dst: Ipv6Addr, next: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut p = Vec::with_capacity(40 + payload.len());
    p.extend_from_slice(&[0x60, 0, 0, 0]);
    p.extend_from_slice(&(payload.len() as u16).to_be_bytes());
    p.extend_from_slice(&[next, hops]);
    p.extend_from_slice(&src.octets());
    p.extend_from_slice(&dst.octets());
    p.extend_from_slice(payload);
    ethernet(link.dst, link.src, link.tags, ETH_IPV6, &p)
}

/// A whole UDP frame in the family of the addresses, or `None` when they differ or `data` is too long.
pub fn udp(link: Link, src: (IpAddr, u16), dst: (IpAddr, u16), data: &[u8]) -> Option<Vec<u8>> {
    let len = u16::try_from(data.len() + 8).ok().filter(|l| *l <= 65_000)?;
    let mut u = Vec::with_capacity(usize::from(len));
    u.extend_from_slice(&src.1.to_be_bytes());
    u.extend_from_slice(&dst.1.to_be_bytes());
    u.extend_from_slice(&len.to_be_bytes());
    u.extend_from_slice(&[0, 0]);
    u.extend_from_slice(data);
    let sum = match transport_checksum(src.0, dst.0, PROTO_UDP, &u) {
        0 => 0xffff, // RFC 768: 0 would mean "no checksum"
        n => n,
    };
    u[6..8].copy_from_slice(&sum.to_be_bytes());
    match (src.0, dst.0) {
        (IpAddr::V4(s), IpAddr::V4(d)) => Some(ipv4(link, s, d, PROTO_UDP, 64, &[], &u)),
        (IpAddr::V6(s), IpAddr::V6(d)) => Some(ipv6(link, s, d, PROTO_UDP, 64, &u)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use etherparse::{PacketBuilder, SlicedPacket};
    use proptest::prelude::*;

    const LINK: Link = Link { dst: Mac([2, 0, 0, 0, 0, 2]), src: Mac([2, 0, 0, 0, 0, 1]), tags: Tags::None };

    #[test]
    fn same_bytes_as_etherparse_builds() {
        let mut want = Vec::new();
        PacketBuilder::ethernet2(LINK.src.0, LINK.dst.0)
            .ipv4([10, 0, 0, 1], [10, 0, 0, 2], 64)
            .udp(67, 68)
            .write(&mut want, &[7; 33])
            .unwrap();
        let ours = udp(LINK, ([10, 0, 0, 1].into(), 67), ([10, 0, 0, 2].into(), 68), &[7; 33]).unwrap();
        assert_eq!(ours, want);

        let (s, d) = ("fe80::1".parse::<Ipv6Addr>().unwrap(), "fe80::2".parse::<Ipv6Addr>().unwrap());
        let mut want = Vec::new();
        PacketBuilder::ethernet2(LINK.src.0, LINK.dst.0)
            .ipv6(s.octets(), d.octets(), 64)
            .udp(547, 546)
            .write(&mut want, &[7; 33])
            .unwrap();
        assert_eq!(udp(LINK, (s.into(), 547), (d.into(), 546), &[7; 33]).unwrap(), want);
    }

    #[test]
    fn damage_is_seen() {
        let good = udp(LINK, ([10, 0, 0, 1].into(), 67), ([10, 0, 0, 2].into(), 68), &[7; 33]).unwrap();
        for at in 14..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let f = Frame::parse(&bad).unwrap();
            let seen = Ip::parse(&f).and_then(|ip| ip.udp().map(|_| ip));
            // Only a flipped bit that the checksum cannot see may pass: there is none for a single bit.
            assert!(seen.is_err(), "byte {at}");
        }
    }

    #[test]
    fn extension_headers_are_skipped() {
        // hop-by-hop with router alert, then ICMPv6
        let mut p = vec![PROTO_ICMP6, 0, 5, 2, 0, 0, 1, 0];
        p.extend_from_slice(&[143, 0, 0, 0]);
        let f = ipv6(LINK, "fe80::1".parse().unwrap(), "ff02::16".parse().unwrap(), 0, 1, &p);
        let f = Frame::parse(&f).unwrap();
        let ip = Ip::parse(&f).unwrap();
        assert_eq!((ip.proto, ip.payload), (PROTO_ICMP6, &[143, 0, 0, 0][..]));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..120), v6: bool) {
            let frame = Frame { dst: Mac::ZERO, src: Mac::ZERO, tags: Tags::None,
                                ether_type: if v6 { ETH_IPV6 } else { ETH_IPV4 }, payload: &bytes };
            if let Ok(ip) = Ip::parse(&frame) { let _ = ip.udp(); }
        }

        #[test]
        fn round_trip(s: [u8; 16], d: [u8; 16], sp: u16, dp: u16, data in proptest::collection::vec(any::<u8>(), 0..200), v6: bool) {
            let (s, d): (IpAddr, IpAddr) = if v6 { (s.into(), d.into()) } else {
                ([s[0], s[1], s[2], s[3]].into(), [d[0], d[1], d[2], d[3]].into())
            };
            let bytes = udp(LINK, (s, sp), (d, dp), &data).unwrap();
            let f = Frame::parse(&bytes).unwrap();
            let ip = Ip::parse(&f).unwrap();
            prop_assert_eq!((ip.src, ip.dst), (s, d));
            prop_assert_eq!(ip.udp().unwrap(), Udp { src: sp, dst: dp, data: &data });
            prop_assert!(SlicedPacket::from_ethernet(&bytes).is_ok());
        }
    }
}
