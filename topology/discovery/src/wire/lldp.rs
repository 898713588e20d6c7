//! LLDP data units (IEEE 802.1AB-2016 clause 8) with two TLVs of this project.
//!
//! `Hears` is an organizationally specific TLV, OUI (3), subtype 2 (1), text: the port whose frames arrive at the port that
//! sends this. So each end of a link knows that it works in both directions, whoever is the master of the other one.
//!
//! The signature is an organizationally specific TLV and always the last before the end:
//! ```text
//!  OUI (3)  subtype 1 (1)  version 1 (1)  key id (1)  time ns (8)  term (8)  HMAC-SHA256 (32)
//! ```
//! The HMAC covers a fixed label and every byte of the data unit before the HMAC, so chassis, port, TTL, time and
//! term cannot be changed apart from one another. `time` is Unix time of the sender in nanoseconds, `term` the revision at
//! which the sender's mastership of the switch began: frames of a port are in order of term and then of time, so that a new
//! master is believed at once although its clock may be behind.

use super::{ETH_LLDP, Mac, Tags, WireError, be16, ethernet, take};
use hmac::{Hmac, KeyInit, Mac as _};
use sha2::Sha256;

/// Nearest bridge (IEEE 802.1AB table 7-1): never forwarded by a bridge in between.
pub const NEAREST_BRIDGE: Mac = Mac([0x01, 0x80, 0xc2, 0x00, 0x00, 0x0e]);

/// Locally administered, as this project has no registered OUI.
const OUI: [u8; 3] = [0x02, 0x50, 0x47];
const SUBTYPE_SIGNATURE: u8 = 1;
const SUBTYPE_HEARS: u8 = 2;
const VERSION: u8 = 1;
const SIGNATURE_LEN: usize = 4 + 2 + 8 + 8 + 32;
const LABEL: &[u8] = b"pergola lldp v1";

const CHASSIS_MAC: u8 = 4;
const CHASSIS_LOCAL: u8 = 7;
const PORT_MAC: u8 = 3;
const PORT_NAME: u8 = 5;
const PORT_LOCAL: u8 = 7;

/// A chassis or port identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    /// Text of the sender's choice (chassis and port subtype 7).
    Local(String),
    Mac(Mac),
    /// An interface name (chassis subtype 6, port subtype 5).
    Name(String),
    /// Another subtype with its bytes.
    Other(u8, Vec<u8>),
}

impl std::fmt::Display for Id {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Id::Local(s) | Id::Name(s) => write!(f, "{}", s.escape_debug()),
            Id::Mac(m) => write!(f, "{m}"),
            Id::Other(kind, bytes) => {
                write!(f, "subtype {kind} ")?;
                bytes.iter().try_for_each(|b| write!(f, "{b:02x}"))
            }
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lldp {
    pub chassis: Id,
    pub port: Id,
    pub ttl_s: u16,
    /// Left out when it is no UTF-8 or longer than the 255 bytes of clause 8.5.6.
    pub system_name: Option<String>,
    /// The port that the sending port hears, as `device/port`. Left out when it is no UTF-8.
    pub hears: Option<String>,
    pub signature: Option<Signature>,
}

/// The signature as it was in the frame; [`Key::verify`] says whether it is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    pub key_id: u8,
    pub time_ns: u64,
    pub term: u64,
    pub hmac: [u8; 32],
}

/// A signing key of the site.
#[derive(Clone)]
pub struct Key {
    pub id: u8,
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Key {{ id: {} }}", self.id)
    }
}

impl Key {
    /// Errors when the secret has fewer than 16 bytes.
    pub fn new(id: u8, secret: &[u8]) -> Result<Key, WireError> {
        let bad = WireError::Value { field: "lldp key bytes", found: secret.len() as u64, allowed: "16 and above" };
        if secret.len() < 16 {
            return Err(bad);
        }
        let mut mac = Hmac::<Sha256>::new_from_slice(secret).map_err(|_| bad)?;
        mac.update(LABEL);
        Ok(Key { id, mac })
    }

    fn sign(&self, covered: &[u8]) -> [u8; 32] {
        let mut mac = self.mac.clone();
        mac.update(covered);
        mac.finalize().into_bytes().into()
    }

    /// Whether the data unit `payload` carries a right signature of this key. Takes the same time for every wrong one.
    pub fn verify(&self, payload: &[u8]) -> bool {
        let Ok(tlvs) = walk(payload) else { return false };
        let Some((at, value)) = tlvs.signature else { return false };
        if value[5] != self.id {
            return false;
        }
        let mut mac = self.mac.clone();
        mac.update(&payload[..at + SIGNATURE_LEN - 32]);
        mac.verify_slice(&value[SIGNATURE_LEN - 32..]).is_ok()
    }
}

impl Lldp {
    /// Errors when the three mandatory TLVs are not first and in order (clause 8.2), or a TLV is cut off.
    pub fn parse(payload: &[u8]) -> Result<Lldp, WireError> {
        let t = walk(payload)?;
        let signature = t.signature.map(|(_, v)| {
            let mut hmac = [0; 32];
            hmac.copy_from_slice(&v[22..54]);
            Signature {
                key_id: v[5],
                time_ns: u64::from_be_bytes([v[6], v[7], v[8], v[9], v[10], v[11], v[12], v[13]]),
                term: u64::from_be_bytes([v[14], v[15], v[16], v[17], v[18], v[19], v[20], v[21]]),
                hmac,
            }
        });
        Ok(Lldp {
            chassis: id(t.chassis, CHASSIS_MAC, 6),
            port: id(t.port, PORT_MAC, PORT_NAME),
            ttl_s: t.ttl_s,
            system_name: t
                .system_name
                .filter(|n| n.len() <= 255)
                .and_then(|n| std::str::from_utf8(n).ok())
                .map(str::to_owned),
            hears: t.hears.and_then(|n| std::str::from_utf8(n).ok()).map(str::to_owned),
            signature,
        })
    }

    /// The data unit; `signature`'s `hmac` is written as it is. Texts longer than a TLV holds are cut.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut b = self.head();
        if let Some(s) = &self.signature {
            push_signature(&mut b, s.key_id, s.time_ns, s.term);
            b.extend_from_slice(&s.hmac);
        }
        b.extend_from_slice(&[0, 0]);
        b
    }

    /// The data unit signed with `key`; a `signature` already there is replaced.
    pub fn signed(&self, key: &Key, time_ns: u64, term: u64) -> Vec<u8> {
        let mut b = self.head();
        push_signature(&mut b, key.id, time_ns, term);
        let hmac = key.sign(&b);
        b.extend_from_slice(&hmac);
        b.extend_from_slice(&[0, 0]);
        b
    }

    fn head(&self) -> Vec<u8> {
        let mut b = Vec::with_capacity(128);
        push_id(&mut b, 1, &self.chassis, (CHASSIS_LOCAL, CHASSIS_MAC, 6));
        push_id(&mut b, 2, &self.port, (PORT_LOCAL, PORT_MAC, PORT_NAME));
        push(&mut b, 3, &self.ttl_s.to_be_bytes());
        if let Some(name) = &self.system_name {
            push(&mut b, 5, &name.as_bytes()[..name.len().min(255)]);
        }
        if let Some(port) = &self.hears {
            let text = &port.as_bytes()[..port.len().min(507)];
            push(&mut b, 127, &[&OUI[..], &[SUBTYPE_HEARS], text].concat());
        }
        b
    }
}

/// An LLDP frame around a data unit.
pub fn frame(src: Mac, unit: &[u8]) -> Vec<u8> {
    ethernet(NEAREST_BRIDGE, src, Tags::None, ETH_LLDP, unit)
}

fn push(b: &mut Vec<u8>, kind: u8, value: &[u8]) {
    let head = u16::from(kind) << 9 | (value.len() as u16 & 0x1ff);
    b.extend_from_slice(&head.to_be_bytes());
    b.extend_from_slice(value);
}

fn push_id(b: &mut Vec<u8>, kind: u8, id: &Id, (local, mac, name): (u8, u8, u8)) {
    let mut v = Vec::with_capacity(32);
    match id {
        Id::Local(s) => {
            v.push(local);
            v.extend_from_slice(s.as_bytes());
        }
        Id::Name(s) => {
            v.push(name);
            v.extend_from_slice(s.as_bytes());
        }
        Id::Mac(m) => {
            v.push(mac);
            v.extend_from_slice(&m.0);
        }
        Id::Other(k, bytes) => {
            v.push(*k);
            v.extend_from_slice(bytes);
        }
    }
    v.truncate(256); // clause 8.5.2: 1 to 255 bytes of identifier
    push(b, kind, &v);
}

fn push_signature(b: &mut Vec<u8>, key_id: u8, time_ns: u64, term: u64) {
    let head = 127u16 << 9 | SIGNATURE_LEN as u16;
    b.extend_from_slice(&head.to_be_bytes());
    b.extend_from_slice(&OUI);
    b.extend_from_slice(&[SUBTYPE_SIGNATURE, VERSION, key_id]);
    b.extend_from_slice(&time_ns.to_be_bytes());
    b.extend_from_slice(&term.to_be_bytes());
}

fn id(value: &[u8], mac: u8, name: u8) -> Id {
    let (kind, bytes) = (value[0], &value[1..]);
    let text = || std::str::from_utf8(bytes).ok().map(str::to_owned);
    let other = || Id::Other(kind, bytes.to_vec());
    match kind {
        k if k == mac => <[u8; 6]>::try_from(bytes).map_or_else(|_| other(), |m| Id::Mac(Mac(m))),
        k if k == name => text().map_or_else(other, Id::Name),
        7 => text().map_or_else(other, Id::Local),
        _ => other(),
    }
}

struct Tlvs<'a> {
    chassis: &'a [u8],
    port: &'a [u8],
    ttl_s: u16,
    system_name: Option<&'a [u8]>,
    hears: Option<&'a [u8]>,
    /// Offset of the value in the data unit, and the value.
    signature: Option<(usize, &'a [u8])>,
}

fn walk(payload: &[u8]) -> Result<Tlvs<'_>, WireError> {
    let mut t = Tlvs { chassis: &[], port: &[], ttl_s: 0, system_name: None, hears: None, signature: None };
    let mut at = 0;
    let mut index = 0;
    loop {
        // The end TLV may be missing when the frame ends with the last TLV.
        if at == payload.len() && index >= 3 {
            return Ok(t);
        }
        let head = be16(payload, at, "lldp tlv")?;
        let (kind, len) = ((head >> 9) as u8, usize::from(head & 0x1ff));
        let value = take(payload, at + 2, len, "lldp tlv")?;
        let wrong = |field, allowed| WireError::Value { field, found: u64::from(kind), allowed };
        match (index, kind) {
            (0, 1) | (1, 2) => {
                if !(2..=256).contains(&len) {
                    return Err(WireError::Value { field: "lldp id length", found: len as u64, allowed: "2 to 256" });
                }
                if index == 0 { t.chassis = value } else { t.port = value }
            }
            (0, _) => return Err(wrong("first lldp tlv", "1 (chassis)")),
            (1, _) => return Err(wrong("second lldp tlv", "2 (port)")),
            (2, 3) => t.ttl_s = be16(value, 0, "lldp ttl")?,
            (2, _) => return Err(wrong("third lldp tlv", "3 (time to live)")),
            (_, 0) => return Ok(t),
            // Nothing may follow the signature: it would not be covered by it.
            _ if t.signature.is_some() => return Err(wrong("lldp tlv after the signature", "0 (end)")),
            (_, 1..=3) => return Err(wrong("lldp tlv", "each mandatory one once")),
            (_, 5) => t.system_name = Some(value),
            (_, 127) if value.len() >= 4 && value[..3] == OUI && value[3] == SUBTYPE_SIGNATURE => {
                if len != SIGNATURE_LEN || value[4] != VERSION {
                    return Err(WireError::Value {
                        field: "lldp signature length",
                        found: len as u64,
                        allowed: "54, version 1",
                    });
                }
                t.signature = Some((at + 2, value));
            }
            (_, 127) if value.len() >= 4 && value[..3] == OUI && value[3] == SUBTYPE_HEARS => {
                t.hears = Some(&value[4..])
            }
            _ => {}
        }
        at += 2 + len;
        index += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key() -> Key {
        Key::new(3, b"0123456789abcdef").unwrap()
    }

    fn unit() -> Lldp {
        Lldp {
            chassis: Id::Local("leaf1".into()),
            port: Id::Local("3".into()),
            ttl_s: 4,
            system_name: None,
            hears: None,
            signature: None,
        }
    }

    #[test]
    fn clause_8_layout() {
        let f = frame(Mac([2, 0, 0, 0, 0, 1]), &unit().to_bytes());
        assert_eq!(&f[..14], &[1, 0x80, 0xc2, 0, 0, 0xe, 2, 0, 0, 0, 0, 1, 0x88, 0xcc]);
        assert_eq!(&f[14..36], b"\x02\x06\x07leaf1\x04\x02\x073\x06\x02\x00\x04\x00\x00\0\0\0\0");
        let s = unit().signed(&key(), 0x0102_0304_0506_0708, 9);
        assert_eq!(&s[16..24], &[0xfe, 54, 2, 0x50, 0x47, 1, 1, 3]);
        assert_eq!(&s[24..40], &[1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(s.len(), 16 + 2 + 54 + 2);
    }

    #[test]
    fn any_changed_byte_breaks_the_signature() {
        let good = unit().signed(&key(), 1_000, 9);
        assert!(key().verify(&good));
        assert!(!Key::new(3, b"0123456789abcdeF").unwrap().verify(&good));
        assert!(!Key::new(4, b"0123456789abcdef").unwrap().verify(&good));
        for at in 0..good.len() - 2 {
            let mut bad = good.clone();
            bad[at] ^= 1;
            assert!(!key().verify(&bad), "byte {at}");
        }
    }

    #[test]
    fn nothing_hides_behind_the_signature() {
        let mut b = unit().signed(&key(), 1, 1);
        b.truncate(b.len() - 2);
        push(&mut b, 5, b"spine9");
        b.extend_from_slice(&[0, 0]);
        assert_eq!(Lldp::parse(&b).unwrap_err().to_string(), "lldp tlv after the signature: found 5, allowed 0 (end)");
    }

    #[test]
    fn order_of_mandatory_tlvs() {
        let mut b = Vec::new();
        push(&mut b, 2, &[7, b'1']);
        assert_eq!(Lldp::parse(&b).unwrap_err().to_string(), "first lldp tlv: found 2, allowed 1 (chassis)");
        assert!(Key::new(1, b"short").is_err());
    }

    fn any_id() -> impl Strategy<Value = Id> {
        prop_oneof![
            "[a-z0-9.-]{1,40}".prop_map(Id::Local),
            "[a-z0-9/]{1,40}".prop_map(Id::Name),
            any::<[u8; 6]>().prop_map(|m| Id::Mac(Mac(m))),
            (1u8..3, proptest::collection::vec(any::<u8>(), 1..40)).prop_map(|(k, v)| Id::Other(k, v)),
        ]
    }

    proptest! {
        #[test]
        fn round_trip(chassis in any_id(), port in any_id(), ttl_s: u16, name in proptest::option::of("[a-z0-9]{0,60}"),
                      hears in proptest::option::of("[a-z0-9]{1,30}/[0-9]{1,3}"),
                      sig in proptest::option::of(any::<(u8, u64, u64, [u8; 32])>())) {
            let l = Lldp { chassis, port, ttl_s, system_name: name, hears,
                signature: sig.map(|(key_id, time_ns, term, hmac)| Signature { key_id, time_ns, term, hmac }) };
            prop_assert_eq!(Lldp::parse(&l.to_bytes()).unwrap(), l);
        }

        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = Lldp::parse(&bytes);
            prop_assert!(!key().verify(&bytes));
        }

        #[test]
        fn mutated(at in 0usize..74, value: u8, cut in 0usize..75) {
            let mut b = unit().signed(&key(), 1, 1);
            let same = b[at] == value;
            b[at] = value;
            b.truncate(cut.max(1));
            let _ = Lldp::parse(&b);
            prop_assert!(same || at >= 72 || !key().verify(&b));
        }
    }
}
