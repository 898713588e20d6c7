//! ICMP and ICMPv6 echo (RFC 792, RFC 4443 §4).

use super::WireError;
use super::ip::{Ip, PROTO_ICMP, PROTO_ICMP6, checksum, transport_checksum};
use std::net::IpAddr;

pub const ECHO_REQUEST: u8 = 8;
pub const ECHO_REPLY: u8 = 0;
pub const ECHO6_REQUEST: u8 = 128;
pub const ECHO6_REPLY: u8 = 129;

/// The ICMP message of a packet when its checksum fits and it is no fragment; IPv4 and IPv6 alike.
pub fn message<'a>(ip: &Ip<'a>) -> Result<&'a [u8], WireError> {
    let (proto, sum) = match ip.src {
        IpAddr::V4(_) => (PROTO_ICMP, checksum(ip.payload)),
        IpAddr::V6(_) => (PROTO_ICMP6, transport_checksum(ip.src, ip.dst, PROTO_ICMP6, ip.payload)),
    };
    if ip.proto != proto || ip.fragment {
        return Err(WireError::Value {
            field: "ip protocol",
            found: u64::from(ip.proto),
            allowed: "ICMP and no fragment",
        });
    }
    if ip.payload.len() < 4 {
        return Err(WireError::Short { what: "icmp", have: ip.payload.len(), need: 4 });
    }
    if sum != 0 {
        return Err(WireError::Checksum { what: "icmp" });
    }
    Ok(ip.payload)
}

/// The answer to an echo request, its identifier, sequence number and data kept; `None` for any other message.
/// The answer goes from `from` to `to`.
pub fn echo_reply(request: &[u8], from: IpAddr, to: IpAddr) -> Option<Vec<u8>> {
    let kind = match (request.first()?, from) {
        (&ECHO_REQUEST, IpAddr::V4(_)) => ECHO_REPLY,
        (&ECHO6_REQUEST, IpAddr::V6(_)) => ECHO6_REPLY,
        _ => return None,
    };
    if request.len() < 8 || request[1] != 0 {
        return None;
    }
    let mut reply = request.to_vec();
    reply[0] = kind;
    fill_checksum(&mut reply, from, to);
    Some(reply)
}

/// Writes the checksum of an ICMP or ICMPv6 message of at least four bytes.
pub fn fill_checksum(message: &mut [u8], src: IpAddr, dst: IpAddr) {
    message[2..4].fill(0);
    let sum = match src {
        IpAddr::V4(_) => checksum(message),
        IpAddr::V6(_) => transport_checksum(src, dst, PROTO_ICMP6, message),
    };
    message[2..4].copy_from_slice(&sum.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn rfc_792_layout() {
        let mut req = vec![8, 0, 0, 0, 0x12, 0x34, 0, 1, b'a', b'b'];
        fill_checksum(&mut req, [10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let reply = echo_reply(&req, [10, 0, 0, 2].into(), [10, 0, 0, 1].into()).unwrap();
        assert_eq!((reply[0], reply[1]), (0, 0));
        assert_eq!(&reply[4..], &req[4..]);
        assert_eq!(checksum(&reply), 0);
        assert_eq!(echo_reply(&reply, [10, 0, 0, 1].into(), [10, 0, 0, 2].into()), None, "a reply is not answered");
    }

    proptest! {
        #[test]
        fn replies_check_out(data in proptest::collection::vec(any::<u8>(), 6..80), s: [u8; 16], d: [u8; 16], v6: bool) {
            let (s, d): (IpAddr, IpAddr) = if v6 { (s.into(), d.into()) } else {
                ([s[0], s[1], s[2], s[3]].into(), [d[0], d[1], d[2], d[3]].into())
            };
            let mut req = vec![if v6 { 128 } else { 8 }, 0];
            req.extend_from_slice(&data);
            let reply = echo_reply(&req, d, s).unwrap();
            let ip = Ip { src: d, dst: s, proto: if v6 { 58 } else { 1 }, ttl: 64, fragment: false, payload: &reply };
            prop_assert_eq!(message(&ip).unwrap(), &reply[..]);
        }
    }
}
