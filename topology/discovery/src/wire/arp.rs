//! ARP for IPv4 over Ethernet (RFC 826, RFC 5227).

use super::{ETH_ARP, Mac, Tags, WireError, be16, ethernet, take};
use std::net::Ipv4Addr;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    Request,
    Reply,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arp {
    pub op: Op,
    pub sender_mac: Mac,
    pub sender_ip: Ipv4Addr,
    pub target_mac: Mac,
    pub target_ip: Ipv4Addr,
}

impl Arp {
    /// Errors for anything but a request or reply for IPv4 over Ethernet.
    pub fn parse(payload: &[u8]) -> Result<Arp, WireError> {
        let p = take(payload, 0, 28, "arp")?;
        let expect = |field, at, want: u16, allowed| {
            let found = be16(p, at, "arp")?;
            if found == want { Ok(()) } else { Err(WireError::Value { field, found: u64::from(found), allowed }) }
        };
        expect("arp hardware type", 0, 1, "1 (Ethernet)")?;
        expect("arp protocol type", 2, 0x0800, "0x0800 (IPv4)")?;
        expect("arp address lengths", 4, 0x0604, "6 and 4")?;
        let op = match be16(p, 6, "arp")? {
            1 => Op::Request,
            2 => Op::Reply,
            n => return Err(WireError::Value { field: "arp operation", found: u64::from(n), allowed: "1 or 2" }),
        };
        Ok(Arp {
            op,
            sender_mac: Mac::at(p, 8, "arp")?,
            sender_ip: Ipv4Addr::new(p[14], p[15], p[16], p[17]),
            target_mac: Mac::at(p, 18, "arp")?,
            target_ip: Ipv4Addr::new(p[24], p[25], p[26], p[27]),
        })
    }

    pub fn to_bytes(self) -> [u8; 28] {
        let mut b = [0; 28];
        b[..6].copy_from_slice(&[0, 1, 8, 0, 6, 4]);
        b[7] = if self.op == Op::Request { 1 } else { 2 };
        b[8..14].copy_from_slice(&self.sender_mac.0);
        b[14..18].copy_from_slice(&self.sender_ip.octets());
        b[18..24].copy_from_slice(&self.target_mac.0);
        b[24..28].copy_from_slice(&self.target_ip.octets());
        b
    }

    /// The whole frame.
    pub fn frame(self, dst: Mac, src: Mac, tags: Tags) -> Vec<u8> {
        ethernet(dst, src, tags, ETH_ARP, &self.to_bytes())
    }

    /// Announces its own address (RFC 5227 §3).
    pub fn is_gratuitous(&self) -> bool {
        self.sender_ip == self.target_ip && !self.sender_ip.is_unspecified()
    }

    /// Asks whether an address is free (RFC 5227 §2.1.1).
    pub fn is_probe(&self) -> bool {
        self.op == Op::Request && self.sender_ip.is_unspecified()
    }
}

/// A request for `ip`, to `to` (broadcast, or a known owner to see whether it is still there).
pub fn request(src: Mac, src_ip: Ipv4Addr, ip: Ipv4Addr, to: Mac, tags: Tags) -> Vec<u8> {
    let target_mac = if to.is_group() { Mac::ZERO } else { to };
    Arp { op: Op::Request, sender_mac: src, sender_ip: src_ip, target_mac, target_ip: ip }.frame(to, src, tags)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_826_layout() {
        let a = Arp {
            op: Op::Reply,
            sender_mac: Mac([2, 0, 0, 0, 0, 1]),
            sender_ip: Ipv4Addr::new(10, 0, 1, 1),
            target_mac: Mac([2, 0, 0, 0, 0, 9]),
            target_ip: Ipv4Addr::new(10, 0, 1, 9),
        };
        assert_eq!(
            a.to_bytes(),
            [0, 1, 8, 0, 6, 4, 0, 2, 2, 0, 0, 0, 0, 1, 10, 0, 1, 1, 2, 0, 0, 0, 0, 9, 10, 0, 1, 9]
        );
        assert_eq!(Arp::parse(&a.to_bytes()).unwrap(), a);
    }

    #[test]
    fn other_hardware_is_refused() {
        let mut b = [0; 28];
        b[1] = 6;
        let e = Arp::parse(&b).unwrap_err();
        assert_eq!(e.to_string(), "arp hardware type: found 6, allowed 1 (Ethernet)");
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok(a) = Arp::parse(&bytes) {
                prop_assert_eq!(&a.to_bytes()[..], &bytes[..28]);
            }
        }

        #[test]
        fn round_trip(req: bool, sm: [u8; 6], si: [u8; 4], tm: [u8; 6], ti: [u8; 4]) {
            let a = Arp { op: if req { Op::Request } else { Op::Reply }, sender_mac: Mac(sm), sender_ip: si.into(),
                          target_mac: Mac(tm), target_ip: ti.into() };
            prop_assert_eq!(Arp::parse(&a.to_bytes()).unwrap(), a);
        }
    }
}
