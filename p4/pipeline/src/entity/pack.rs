//! Packing: canonical byte strings and the little encodings that keys and values are made of.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};

use smallvec::SmallVec;

/// A value of a match field or action parameter as P4Runtime's canonical byte string: big endian, no leading zero bytes,
/// at least one byte (P4Runtime 1.4 §8.4).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct P4Value(SmallVec<[u8; 16]>);

impl P4Value {
    /// The canonical form of a big-endian number.
    pub fn new(bytes: &[u8]) -> P4Value {
        P4Value(SmallVec::from_slice(canonical(bytes)))
    }

    pub fn as_slice(&self) -> &[u8] {
        &self.0
    }

    /// The number, when it fits.
    pub fn to_u64(&self) -> Option<u64> {
        (self.0.len() <= 8).then(|| self.0.iter().fold(0, |n, b| (n << 8) | u64::from(*b)))
    }

    /// This value with only the bits of `mask` left: a ternary value must not have others (§9.1.1).
    pub fn masked(&self, mask: &P4Value) -> P4Value {
        let (v, m) = (&self.0, &mask.0);
        let n = v.len().min(m.len());
        let out: SmallVec<[u8; 16]> = (0..n).map(|i| v[v.len() - n + i] & m[m.len() - n + i]).collect();
        P4Value::new(&out)
    }

    /// True for the number 0.
    pub fn is_zero(&self) -> bool {
        self.0.as_slice() == [0]
    }
}

impl fmt::Debug for P4Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("0x")?;
        self.0.iter().try_for_each(|b| write!(f, "{b:02x}"))
    }
}

impl From<&[u8]> for P4Value {
    fn from(b: &[u8]) -> P4Value {
        P4Value::new(b)
    }
}

impl From<&Vec<u8>> for P4Value {
    fn from(b: &Vec<u8>) -> P4Value {
        P4Value::new(b)
    }
}

impl<const N: usize> From<[u8; N]> for P4Value {
    fn from(b: [u8; N]) -> P4Value {
        P4Value::new(&b)
    }
}

impl<const N: usize> From<&[u8; N]> for P4Value {
    fn from(b: &[u8; N]) -> P4Value {
        P4Value::new(b)
    }
}

impl From<bool> for P4Value {
    fn from(b: bool) -> P4Value {
        P4Value::new(&[u8::from(b)])
    }
}

impl From<Ipv4Addr> for P4Value {
    fn from(a: Ipv4Addr) -> P4Value {
        P4Value::new(&a.octets())
    }
}

impl From<Ipv6Addr> for P4Value {
    fn from(a: Ipv6Addr) -> P4Value {
        P4Value::new(&a.octets())
    }
}

macro_rules! from_number {
    ($($t:ty),*) => {$(
        impl From<$t> for P4Value {
            fn from(n: $t) -> P4Value {
                P4Value::new(&n.to_be_bytes())
            }
        }
    )*};
}
from_number!(u8, u16, u32, u64, u128);

/// Without leading zero bytes, but at least one byte.
pub(crate) fn canonical(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|b| *b != 0) {
        Some(i) => &bytes[i..],
        None => &[0],
    }
}

/// Appends; implemented for the small vectors that keys and values live in.
pub(crate) trait Put {
    fn put(&mut self, bytes: &[u8]);

    fn byte(&mut self, b: u8) {
        self.put(&[b]);
    }

    fn be32(&mut self, n: u32) {
        self.put(&n.to_be_bytes());
    }

    /// LEB128.
    fn varint(&mut self, mut n: u64) {
        while n >= 0x80 {
            self.byte(n as u8 | 0x80);
            n >>= 7;
        }
        self.byte(n as u8);
    }

    /// A length and the bytes.
    fn bytes(&mut self, b: &[u8]) {
        self.varint(b.len() as u64);
        self.put(b);
    }
}

impl<const N: usize> Put for SmallVec<[u8; N]> {
    fn put(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Takes back what [`Put`] appended. Every method is `None` past the end.
pub(crate) struct Take<'a>(pub &'a [u8]);

impl<'a> Take<'a> {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (a, b) = self.0.split_at_checked(n)?;
        self.0 = b;
        Some(a)
    }

    pub fn byte(&mut self) -> Option<u8> {
        Some(self.take(1)?[0])
    }

    pub fn be32(&mut self) -> Option<u32> {
        Some(u32::from_be_bytes(self.take(4)?.try_into().ok()?))
    }

    pub fn varint(&mut self) -> Option<u64> {
        let mut n = 0u64;
        for shift in (0..64).step_by(7) {
            let b = self.byte()?;
            n |= u64::from(b & 0x7f) << shift;
            if b & 0x80 == 0 {
                return Some(n);
            }
        }
        None
    }

    pub fn varint32(&mut self) -> Option<u32> {
        u32::try_from(self.varint()?).ok()
    }

    pub fn bytes(&mut self) -> Option<&'a [u8]> {
        let n = usize::try_from(self.varint()?).ok()?;
        self.take(n)
    }

    pub fn value(&mut self) -> Option<P4Value> {
        self.bytes().map(P4Value::new)
    }
}
