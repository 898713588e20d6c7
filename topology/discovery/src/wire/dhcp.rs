//! What a relay needs of DHCPv4 (RFC 2131, 3046) and DHCPv6 (RFC 8415).
//!
//! A relay passes messages on that it does not understand, so these functions patch and wrap bytes and never decode
//! and encode a client's or server's options again. The tests check them against `dhcproto`.

use super::{Mac, WireError, addr6, be16, be32, take};
use std::net::{Ipv4Addr, Ipv6Addr};

const COOKIE: [u8; 4] = [99, 130, 83, 99];
const OPTIONS_AT: usize = 240;
/// Some servers drop messages below the size of a BOOTP message (RFC 1542 §2.1).
const MIN_LEN: usize = 300;

pub const OPT4_MESSAGE_TYPE: u8 = 53;
pub const OPT4_RELAY_INFO: u8 = 82;
const PAD: u8 = 0;
const END: u8 = 255;

pub const DISCOVER: u8 = 1;
pub const OFFER: u8 = 2;
pub const REQUEST: u8 = 3;
pub const ACK: u8 = 5;

/// The fixed part of a DHCPv4 message over Ethernet, with its options as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Dhcp4<'a> {
    /// True for client to server (BOOTREQUEST).
    pub request: bool,
    pub hops: u8,
    pub xid: u32,
    pub broadcast: bool,
    pub ciaddr: Ipv4Addr,
    pub yiaddr: Ipv4Addr,
    pub giaddr: Ipv4Addr,
    pub chaddr: Mac,
    bytes: &'a [u8],
}

impl<'a> Dhcp4<'a> {
    /// Errors for BOOTP without the magic cookie, other hardware than Ethernet, and options that are cut off.
    pub fn parse(bytes: &'a [u8]) -> Result<Dhcp4<'a>, WireError> {
        let b = take(bytes, 0, OPTIONS_AT, "dhcp")?;
        let value = |field, found: u8, allowed| WireError::Value { field, found: u64::from(found), allowed };
        let request = match b[0] {
            1 => true,
            2 => false,
            n => return Err(value("dhcp op", n, "1 or 2")),
        };
        if (b[1], b[2]) != (1, 6) {
            return Err(value("dhcp hardware type", b[1], "1 (Ethernet) with 6 bytes"));
        }
        if b[236..240] != COOKIE {
            return Err(value("dhcp cookie", b[236], "99.130.83.99"));
        }
        let ip = |at: usize| Ipv4Addr::new(b[at], b[at + 1], b[at + 2], b[at + 3]);
        let m = Dhcp4 {
            request,
            hops: b[3],
            xid: be32(b, 4, "dhcp")?,
            broadcast: b[10] & 0x80 != 0,
            ciaddr: ip(12),
            yiaddr: ip(16),
            giaddr: ip(24),
            chaddr: Mac::at(b, 28, "dhcp")?,
            bytes,
        };
        walk4(bytes, |_, _, _| {})?;
        Ok(m)
    }

    /// The value of the first option with this code.
    pub fn option(&self, code: u8) -> Option<&'a [u8]> {
        let mut found = None;
        let bytes = self.bytes;
        walk4(bytes, |c, start, end| {
            if c == code && found.is_none() {
                found = Some(&bytes[start + 2..end]);
            }
        })
        .ok()?;
        found
    }

    /// DHCP message type (option 53), 0 when absent.
    pub fn message_type(&self) -> u8 {
        self.option(OPT4_MESSAGE_TYPE).and_then(|v| v.first().copied()).unwrap_or(0)
    }

    /// The circuit id inside the relay agent information option.
    pub fn circuit_id(&self) -> Option<&'a [u8]> {
        let mut info = self.option(OPT4_RELAY_INFO)?;
        while let [code, len, rest @ ..] = info {
            let value = rest.get(..usize::from(*len))?;
            if *code == 1 {
                return Some(value);
            }
            info = &rest[usize::from(*len)..];
        }
        None
    }

    /// The message as a relay passes it on to a server: one hop more, `giaddr` set, and relay agent information as the
    /// last option when `info` is given (RFC 3046 §2.1).
    pub fn relayed(&self, giaddr: Ipv4Addr, info: Option<RelayInfo<'_>>) -> Vec<u8> {
        let mut m = self.without(OPT4_RELAY_INFO, info.is_some());
        m[3] = self.hops.saturating_add(1);
        m[24..28].copy_from_slice(&giaddr.octets());
        if let Some(info) = info {
            let circuit = &info.circuit_id[..info.circuit_id.len().min(120)];
            let remote = &info.remote_id[..info.remote_id.len().min(120)];
            m.extend_from_slice(&[OPT4_RELAY_INFO, (4 + circuit.len() + remote.len()) as u8, 1, circuit.len() as u8]);
            m.extend_from_slice(circuit);
            m.extend_from_slice(&[2, remote.len() as u8]);
            m.extend_from_slice(remote);
        }
        finish4(m)
    }

    /// A server's answer as the client gets it: relay agent information taken out (RFC 3046 §2.1).
    pub fn stripped(&self) -> Vec<u8> {
        finish4(self.without(OPT4_RELAY_INFO, true))
    }

    /// Fixed part and options up to the end option (not included), without padding, and without `code` if `drop`.
    fn without(&self, code: u8, drop: bool) -> Vec<u8> {
        let mut m = Vec::with_capacity(self.bytes.len() + 64);
        m.extend_from_slice(&self.bytes[..OPTIONS_AT]);
        // `parse` walked these options already.
        let _ = walk4(self.bytes, |c, start, end| {
            if !(drop && c == code) {
                m.extend_from_slice(&self.bytes[start..end]);
            }
        });
        m
    }
}

fn finish4(mut m: Vec<u8>) -> Vec<u8> {
    m.push(END);
    if m.len() < MIN_LEN {
        m.resize(MIN_LEN, PAD);
    }
    m
}

/// Relay agent information (RFC 3046 §3.1, §3.2). Each at most 120 bytes.
#[derive(Clone, Copy, Debug)]
pub struct RelayInfo<'a> {
    pub circuit_id: &'a [u8],
    pub remote_id: &'a [u8],
}

/// Calls `each(code, start, end)` for every option up to the end option.
fn walk4(bytes: &[u8], mut each: impl FnMut(u8, usize, usize)) -> Result<(), WireError> {
    let mut at = OPTIONS_AT;
    while let Some(&code) = bytes.get(at) {
        match code {
            END => return Ok(()),
            PAD => at += 1,
            _ => {
                let len = usize::from(take(bytes, at, 2, "dhcp option")?[1]);
                take(bytes, at + 2, len, "dhcp option")?;
                each(code, at, at + 2 + len);
                at += 2 + len;
            }
        }
    }
    Ok(())
}

pub const SOLICIT6: u8 = 1;
pub const REPLY6: u8 = 7;
pub const RELAY_FORWARD: u8 = 12;
pub const RELAY_REPLY: u8 = 13;
/// RFC 8415 §7.6.
pub const HOP_COUNT_LIMIT: u8 = 8;

pub const OPT6_RELAY_MESSAGE: u16 = 9;
pub const OPT6_INTERFACE_ID: u16 = 18;
pub const OPT6_CLIENT_LLADDR: u16 = 79;
const OPT6_IA_NA: u16 = 3;
const OPT6_IAADDR: u16 = 5;

/// Relay-forward or Relay-reply (RFC 8415 §9).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Relay6<'a> {
    pub kind: u8,
    pub hop_count: u8,
    pub link: Ipv6Addr,
    pub peer: Ipv6Addr,
    pub interface_id: Option<&'a [u8]>,
    pub message: &'a [u8],
}

impl<'a> Relay6<'a> {
    /// Errors when it is no relay message, its options are cut off, or the relay message option is missing.
    pub fn parse(bytes: &'a [u8]) -> Result<Relay6<'a>, WireError> {
        let b = take(bytes, 0, 34, "dhcpv6 relay")?;
        if !matches!(b[0], RELAY_FORWARD | RELAY_REPLY) {
            return Err(WireError::Value { field: "dhcpv6 message type", found: u64::from(b[0]), allowed: "12 or 13" });
        }
        let mut interface_id = None;
        let mut message = None;
        options6(&bytes[34..], |code, value| match code {
            OPT6_INTERFACE_ID => interface_id = Some(value),
            OPT6_RELAY_MESSAGE => message = Some(value),
            _ => {}
        })?;
        let message = message.filter(|m| !m.is_empty()).ok_or(WireError::Value {
            field: "dhcpv6 relay message options",
            found: 0,
            allowed: "one",
        })?;
        Ok(Relay6 {
            kind: b[0],
            hop_count: b[1],
            link: addr6(b, 2, "dhcpv6 relay")?,
            peer: addr6(b, 18, "dhcpv6 relay")?,
            interface_id,
            message,
        })
    }

    /// `client_mac` becomes the client link-layer address option (RFC 6939), which the first relay adds.
    pub fn to_bytes(&self, client_mac: Option<Mac>) -> Vec<u8> {
        let mut m = Vec::with_capacity(34 + self.message.len() + 64);
        m.extend_from_slice(&[self.kind, self.hop_count]);
        m.extend_from_slice(&self.link.octets());
        m.extend_from_slice(&self.peer.octets());
        let mut option = |code: u16, value: &[u8]| {
            m.extend_from_slice(&code.to_be_bytes());
            m.extend_from_slice(&(value.len() as u16).to_be_bytes());
            m.extend_from_slice(value);
        };
        if let Some(id) = self.interface_id {
            option(OPT6_INTERFACE_ID, id);
        }
        if let Some(mac) = client_mac {
            option(OPT6_CLIENT_LLADDR, &[0, 1, mac.0[0], mac.0[1], mac.0[2], mac.0[3], mac.0[4], mac.0[5]]);
        }
        option(OPT6_RELAY_MESSAGE, self.message);
        m
    }
}

/// The addresses that a server gave in a Reply (IA_NA, RFC 8415 §21.4) with a valid lifetime above zero. Empty for
/// other messages and for broken ones.
pub fn leased6(message: &[u8]) -> Vec<Ipv6Addr> {
    let mut leased = Vec::new();
    if message.len() < 4 || message[0] != REPLY6 {
        return leased;
    }
    let walked = options6(&message[4..], |code, value| {
        if code == OPT6_IA_NA && value.len() >= 12 {
            let _ = options6(&value[12..], |code, value| {
                if code == OPT6_IAADDR && value.len() >= 24 && value[20..24] != [0; 4] {
                    leased.extend(addr6(value, 0, "dhcpv6 address"));
                }
            });
        }
    });
    if walked.is_err() {
        leased.clear();
    }
    leased
}

/// Calls `each` for every option of a DHCPv6 message body.
fn options6<'a>(mut rest: &'a [u8], mut each: impl FnMut(u16, &'a [u8])) -> Result<(), WireError> {
    while !rest.is_empty() {
        let code = be16(rest, 0, "dhcpv6 option")?;
        let len = usize::from(be16(rest, 2, "dhcpv6 option")?);
        each(code, take(rest, 4, len, "dhcpv6 option")?);
        rest = &rest[4 + len..];
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use dhcproto::{Decodable, Encodable, Encoder, v4, v6};
    use proptest::prelude::*;

    fn discover() -> Vec<u8> {
        let mut m = v4::Message::default();
        m.set_opcode(v4::Opcode::BootRequest).set_xid(0x1122_3344).set_chaddr(&[2, 0, 0, 0, 0, 9]);
        m.set_flags(v4::Flags::default().set_broadcast());
        m.opts_mut().insert(v4::DhcpOption::MessageType(v4::MessageType::Discover));
        m.opts_mut().insert(v4::DhcpOption::Hostname("pc".into()));
        let mut out = Vec::new();
        m.encode(&mut Encoder::new(&mut out)).unwrap();
        out
    }

    #[test]
    fn relay_and_back_seen_by_dhcproto() {
        let bytes = discover();
        let m = Dhcp4::parse(&bytes).unwrap();
        assert_eq!((m.request, m.broadcast, m.message_type(), m.xid), (true, true, DISCOVER, 0x1122_3344));
        let info = RelayInfo { circuit_id: b"leaf1/3:100", remote_id: b"leaf1" };
        let relayed = m.relayed(Ipv4Addr::new(10, 0, 1, 1), Some(info));
        assert!(relayed.len() >= MIN_LEN);

        let seen = v4::Message::from_bytes(&relayed).unwrap();
        assert_eq!((seen.hops(), seen.giaddr()), (1, Ipv4Addr::new(10, 0, 1, 1)));
        let Some(v4::DhcpOption::RelayAgentInformation(r)) = seen.opts().get(v4::OptionCode::RelayAgentInformation)
        else {
            panic!("no option 82")
        };
        assert_eq!(
            r.get(v4::relay::RelayCode::AgentCircuitId),
            Some(&v4::relay::RelayInfo::AgentCircuitId(b"leaf1/3:100".to_vec()))
        );
        assert!(matches!(seen.opts().get(v4::OptionCode::Hostname), Some(v4::DhcpOption::Hostname(h)) if h == "pc"));

        let back = Dhcp4::parse(&relayed).unwrap();
        assert_eq!(back.circuit_id(), Some(&b"leaf1/3:100"[..]));
        let stripped = back.stripped();
        assert_eq!(Dhcp4::parse(&stripped).unwrap().option(OPT4_RELAY_INFO), None);
        assert_eq!(Dhcp4::parse(&stripped).unwrap().message_type(), DISCOVER);
    }

    #[test]
    fn option_82_is_last_and_laid_out_as_rfc_3046() {
        let bytes = discover();
        let relayed = Dhcp4::parse(&bytes)
            .unwrap()
            .relayed(Ipv4Addr::new(10, 0, 1, 1), Some(RelayInfo { circuit_id: b"ab", remote_id: b"c" }));
        let end = relayed.iter().rposition(|b| *b == END).unwrap();
        assert_eq!(&relayed[end - 9..=end], &[82, 7, 1, 2, b'a', b'b', 2, 1, b'c', 255]);
    }

    #[test]
    fn dhcpv6_relay_seen_by_dhcproto() {
        // dhcproto reads a relay message option only when it holds another relay message: use a nested one.
        let solicit = v6::Message::new(v6::MessageType::Solicit).to_vec().unwrap();
        let any = Ipv6Addr::UNSPECIFIED;
        let inner =
            Relay6 { kind: RELAY_FORWARD, hop_count: 0, link: any, peer: any, interface_id: None, message: &solicit };
        let inner = inner.to_bytes(None);
        let r = Relay6 {
            kind: RELAY_FORWARD,
            hop_count: 1,
            link: "2001:db8::1".parse().unwrap(),
            peer: "fe80::9".parse().unwrap(),
            interface_id: Some(b"leaf1/3:100"),
            message: &inner,
        };
        let bytes = r.to_bytes(Some(Mac([2, 0, 0, 0, 0, 9])));
        assert_eq!(Relay6::parse(&bytes).unwrap(), r);
        let seen = v6::RelayMessage::from_bytes(&bytes).unwrap();
        assert_eq!((seen.hop_count(), seen.link_addr(), seen.peer_addr()), (1, r.link, r.peer));
        assert!(matches!(seen.opts().get(v6::OptionCode::RelayMsg), Some(v6::DhcpOption::RelayMsg(_))));
        assert!(
            matches!(seen.opts().get(v6::OptionCode::InterfaceId), Some(v6::DhcpOption::InterfaceId(i)) if i == b"leaf1/3:100")
        );
    }

    #[test]
    fn leased_addresses_from_a_reply() {
        let mut m = v6::Message::new(v6::MessageType::Reply);
        let mut opts = v6::DhcpOptions::new();
        for (addr, valid_life) in [("2001:db8::9", 3600), ("2001:db8::a", 0)] {
            opts.insert(v6::DhcpOption::IAAddr(v6::IAAddr {
                addr: addr.parse().unwrap(),
                preferred_life: valid_life,
                valid_life,
                opts: v6::DhcpOptions::new(),
            }));
        }
        m.opts_mut().insert(v6::DhcpOption::IANA(v6::IANA { id: 1, t1: 0, t2: 0, opts }));
        assert_eq!(leased6(&m.to_vec().unwrap()), vec!["2001:db8::9".parse::<Ipv6Addr>().unwrap()]);
    }

    proptest! {
        #[test]
        fn any_bytes(tail in proptest::collection::vec(any::<u8>(), 0..120), op in 0u8..4) {
            let mut b = vec![0; 240];
            b[..3].copy_from_slice(&[op, 1, 6]);
            b[236..].copy_from_slice(&COOKIE);
            b.extend_from_slice(&tail);
            if let Ok(m) = Dhcp4::parse(&b) {
                let _ = m.circuit_id();
                let r = m.relayed(Ipv4Addr::LOCALHOST, Some(RelayInfo { circuit_id: b"x", remote_id: b"" }));
                prop_assert_eq!(Dhcp4::parse(&r).unwrap().circuit_id(), Some(&b"x"[..]));
                let stripped = m.stripped();
                prop_assert_eq!(Dhcp4::parse(&stripped).unwrap().option(82), None);
            }
        }

        #[test]
        fn any_bytes6(mut b in proptest::collection::vec(any::<u8>(), 0..120), kind in 11u8..14) {
            if let Some(first) = b.first_mut() { *first = kind; }
            if let Ok(r) = Relay6::parse(&b) {
                let again = r.to_bytes(None);
                prop_assert_eq!(Relay6::parse(&again).unwrap(), r);
            }
            let _ = leased6(&b);
        }

        #[test]
        fn mutated(at in 0usize..300, v: u8, cut in 0usize..301) {
            let mut b = discover();
            b.resize(300, 0);
            b[at] = v;
            b.truncate(cut);
            if let Ok(m) = Dhcp4::parse(&b) { let _ = (m.message_type(), m.circuit_id(), m.stripped()); }
        }
    }
}
