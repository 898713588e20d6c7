//! Frames on the wire: addresses, tags, and codecs that never panic on any input.

pub mod arp;
pub mod dhcp;
pub mod eth;
pub mod group;
pub mod icmp;
pub mod ip;
pub mod lldp;
pub mod ndp;

pub use eth::{Frame, Tags, ethernet};
pub use ip::Ip;

use std::fmt;
use std::net::Ipv6Addr;
use std::str::FromStr;

pub const ETH_IPV4: u16 = 0x0800;
pub const ETH_ARP: u16 = 0x0806;
pub const ETH_IPV6: u16 = 0x86dd;
pub const ETH_MPLS: u16 = 0x8847;
pub const ETH_LLDP: u16 = 0x88cc;

/// A frame or message that does not follow its standard.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    #[error("{what}: {have} bytes, {need} needed")]
    Short { what: &'static str, have: usize, need: usize },
    #[error("{field}: found {found}, allowed {allowed}")]
    Value { field: &'static str, found: u64, allowed: &'static str },
    #[error("{what}: checksum does not fit")]
    Checksum { what: &'static str },
}

/// `data[at..at + len]` or an error that says what was cut off.
pub(crate) fn take<'a>(data: &'a [u8], at: usize, len: usize, what: &'static str) -> Result<&'a [u8], WireError> {
    data.get(at..at.saturating_add(len)).ok_or(WireError::Short {
        what,
        have: data.len(),
        need: at.saturating_add(len),
    })
}

pub(crate) fn be16(data: &[u8], at: usize, what: &'static str) -> Result<u16, WireError> {
    let b = take(data, at, 2, what)?;
    Ok(u16::from_be_bytes([b[0], b[1]]))
}

pub(crate) fn be32(data: &[u8], at: usize, what: &'static str) -> Result<u32, WireError> {
    let b = take(data, at, 4, what)?;
    Ok(u32::from_be_bytes([b[0], b[1], b[2], b[3]]))
}

pub(crate) fn addr6(data: &[u8], at: usize, what: &'static str) -> Result<Ipv6Addr, WireError> {
    let mut bytes = [0; 16];
    bytes.copy_from_slice(take(data, at, 16, what)?);
    Ok(Ipv6Addr::from(bytes))
}

/// A MAC address; prints as `02:00:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct Mac(pub [u8; 6]);

impl Mac {
    pub const BROADCAST: Mac = Mac([0xff; 6]);
    pub const ZERO: Mac = Mac([0; 6]);

    /// Broadcast counts as a group address.
    pub const fn is_group(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// One that a host can have: neither a group nor zero.
    pub fn is_host(self) -> bool {
        !self.is_group() && self != Mac::ZERO
    }

    pub(crate) fn at(data: &[u8], at: usize, what: &'static str) -> Result<Mac, WireError> {
        let mut mac = [0; 6];
        mac.copy_from_slice(take(data, at, 6, what)?);
        Ok(Mac(mac))
    }

    /// The group address of an IPv6 multicast address (RFC 2464 §7).
    pub fn for_multicast6(ip: Ipv6Addr) -> Mac {
        let o = ip.octets();
        Mac([0x33, 0x33, o[12], o[13], o[14], o[15]])
    }

    /// The link-local address formed from this MAC (RFC 4291 appendix A).
    pub fn link_local(self) -> Ipv6Addr {
        let m = self.0;
        Ipv6Addr::from([0xfe, 0x80, 0, 0, 0, 0, 0, 0, m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]])
    }

    /// The MAC inside an EUI-64 interface identifier, when it is one.
    pub fn from_eui64(ip: Ipv6Addr) -> Option<Mac> {
        let o = ip.octets();
        (o[11] == 0xff && o[12] == 0xfe).then_some(Mac([o[8] ^ 2, o[9], o[10], o[13], o[14], o[15]]))
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let m = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", m[0], m[1], m[2], m[3], m[4], m[5])
    }
}

impl fmt::Debug for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Mac {
    type Err = WireError;

    fn from_str(text: &str) -> Result<Self, WireError> {
        let bad = WireError::Value { field: "mac", found: text.len() as u64, allowed: "six hex pairs with colons" };
        let mut mac = [0; 6];
        let mut parts = text.split(':');
        for byte in &mut mac {
            let part = parts.next().filter(|p| p.len() == 2).ok_or(bad)?;
            *byte = u8::from_str_radix(part, 16).map_err(|_| bad)?;
        }
        if parts.next().is_some() { Err(bad) } else { Ok(Mac(mac)) }
    }
}

/// `ff02::1:ffXX:XXXX` of an address (RFC 4291 §2.7.1).
pub fn solicited_node(ip: Ipv6Addr) -> Ipv6Addr {
    let o = ip.octets();
    Ipv6Addr::from([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0xff, o[13], o[14], o[15]])
}

pub const ALL_NODES: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 1);
pub const ALL_ROUTERS: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 2);
