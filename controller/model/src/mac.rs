//! Ethernet addresses, plain and with a mask.

use std::fmt;
use std::str::FromStr;

use crate::value::{ValueError, string_form};

/// An Ethernet address, written `02:00:00:00:00:01`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct MacAddr(pub [u8; 6]);

impl MacAddr {
    pub const ZERO: MacAddr = MacAddr([0; 6]);
    pub const BROADCAST: MacAddr = MacAddr([0xff; 6]);

    pub const fn octets(self) -> [u8; 6] {
        self.0
    }

    /// From the low 48 bits of a number.
    pub const fn from_u64(value: u64) -> Self {
        let b = value.to_be_bytes();
        MacAddr([b[2], b[3], b[4], b[5], b[6], b[7]])
    }

    /// As a number of 48 bits.
    pub const fn to_u64(self) -> u64 {
        let b = self.0;
        u64::from_be_bytes([0, 0, b[0], b[1], b[2], b[3], b[4], b[5]])
    }

    /// The group bit (IEEE 802 8.2.2): multicast or broadcast.
    pub const fn is_multicast(self) -> bool {
        self.0[0] & 1 != 0
    }

    /// Whether one station can have this address: neither zero nor a group.
    pub fn is_unicast(self) -> bool {
        !self.is_multicast() && self != MacAddr::ZERO
    }
}

impl fmt::Display for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let b = self.0;
        write!(f, "{:02x}:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0], b[1], b[2], b[3], b[4], b[5])
    }
}

impl fmt::Debug for MacAddr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacAddr {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("Ethernet address", text, "six pairs of hex digits, 02:00:00:00:00:01");
        let bytes = text.as_bytes();
        if bytes.len() != 17 {
            return Err(error());
        }
        let digit = |b: u8| (b as char).to_digit(16).map(|d| d as u8);
        let mut out = [0; 6];
        for (i, octet) in out.iter_mut().enumerate() {
            let (high, low) = (digit(bytes[i * 3]), digit(bytes[i * 3 + 1]));
            let separated = i == 5 || matches!(bytes[i * 3 + 2], b':' | b'-');
            match (high, low) {
                (Some(h), Some(l)) if separated => *octet = h << 4 | l,
                _ => return Err(error()),
            }
        }
        Ok(MacAddr(out))
    }
}

string_form!(
    MacAddr,
    "MacAddr",
    "an Ethernet address, such as 02:00:00:00:00:01",
    "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$"
);

/// An Ethernet address of which only the bits set in the mask count, written `02:00:00:00:00:00/ff:00:00:00:00:00`, or
/// plain when every bit counts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MacMatch {
    value: MacAddr,
    mask: MacAddr,
}

impl MacMatch {
    /// Bits outside the mask are cleared; refuses a mask of zero, which would match everything.
    pub fn new(value: MacAddr, mask: MacAddr) -> Result<Self, ValueError> {
        if mask == MacAddr::ZERO {
            return Err(ValueError::new("Ethernet address mask", mask, "a mask with a bit set, or no field"));
        }
        Ok(MacMatch { value: MacAddr::from_u64(value.to_u64() & mask.to_u64()), mask })
    }

    pub fn exact(value: MacAddr) -> Self {
        MacMatch { value, mask: MacAddr::BROADCAST }
    }

    pub fn value(&self) -> MacAddr {
        self.value
    }

    pub fn mask(&self) -> MacAddr {
        self.mask
    }
}

impl fmt::Display for MacMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.mask == MacAddr::BROADCAST { self.value.fmt(f) } else { write!(f, "{}/{}", self.value, self.mask) }
    }
}

impl fmt::Debug for MacMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MacMatch {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text.split_once('/') {
            Some((value, mask)) => MacMatch::new(value.parse()?, mask.parse()?),
            None => Ok(MacMatch::exact(text.parse()?)),
        }
    }
}

string_form!(
    MacMatch,
    "MacMatch",
    "an Ethernet address, or ADDRESS/MASK",
    "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}(/[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5})?$"
);
