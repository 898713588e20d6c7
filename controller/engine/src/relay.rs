//! Packets out of switches of other masters.
//!
//! Only a switch's master can send packets out of it. Answers go out where the question came in, so that is no matter; but
//! a DHCP relay hears the client on one switch and asks a server behind another. Such packets go through the store: the
//! sender puts them under `~out/MASTER/SENDER/SLOT` in a ring of a few slots, which nobody has to clear, and the master
//! finds them in what it follows. What is lost on the way is asked again by the client.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use pergola_discovery::wire::{Frame, Ip};
use pergola_store::{BatchWriter, Op};

const PREFIX: &str = "~out/";
const SLOTS: u32 = 64;

/// Sends packets to other masters.
#[derive(Clone)]
pub(crate) struct Relay {
    node: Arc<str>,
    writer: Arc<BatchWriter>,
    next: Arc<AtomicU32>,
}

impl Relay {
    pub fn new(node: Arc<str>, writer: Arc<BatchWriter>) -> Relay {
        Relay { node, writer, next: Arc::default() }
    }

    /// Hands a packet to the master of its switch.
    pub fn send(&self, master: &str, device: &str, port: u32, frame: &[u8]) {
        let slot = self.next.fetch_add(1, Ordering::Relaxed) % SLOTS;
        let key = format!("{PREFIX}{master}/{}/{slot}", self.node);
        if let Err(error) = self.writer.change(Op::put(key, encode(device, port, frame))) {
            tracing::warn!(device, port, %error, "a packet for another master is lost");
        }
    }
}

/// Whether a packet has to go out of a switch whoever is its master. Others are sent by every master for its own.
pub(crate) fn crosses(frame: &[u8]) -> bool {
    let Ok(frame) = Frame::parse(frame) else { return false };
    let Ok(ip) = Ip::parse(&frame) else { return false };
    let port = ip.payload.get(2..4).map(|b| u16::from_be_bytes([b[0], b[1]]));
    // DHCP and DHCPv6, to servers and to clients.
    ip.proto == 17 && matches!(port, Some(67 | 68 | 546 | 547))
}

/// A packet that another controller put for us: device, port, frame.
pub(crate) fn decode<'a>(node: &str, key: &str, value: &'a [u8]) -> Option<(&'a str, u32, &'a [u8])> {
    key.strip_prefix(PREFIX)?.strip_prefix(node)?.strip_prefix('/')?;
    let (port, rest) = value.split_first_chunk::<4>()?;
    let end = rest.iter().position(|b| *b == 0)?;
    let device = std::str::from_utf8(&rest[..end]).ok()?;
    Some((device, u32::from_le_bytes(*port), &rest[end + 1..]))
}

fn encode(device: &str, port: u32, frame: &[u8]) -> Vec<u8> {
    [&port.to_le_bytes()[..], device.as_bytes(), &[0], frame].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_packet_comes_out_as_it_went_in_and_only_for_its_addressee() {
        let value = encode("leaf1", 7, &[0, 1, 2]);
        assert_eq!(decode("b", "~out/b/a/3", &value), Some(("leaf1", 7, &[0, 1, 2][..])));
        assert_eq!(decode("bb", "~out/b/a/3", &value), None);
        assert_eq!(decode("b", "~out/bb/a/3", &value), None);
        assert_eq!(decode("b", "~out/b/a/3", &value[..6]), None);
    }
}
