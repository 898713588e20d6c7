//! One Ethernet frame on its way between host and cable: tags on and off without moving the payload, and a hash that keeps
//! a flow on one cable.

use crate::sys::packet::{HEADROOM, MAX_FRAME, Received, StrippedTag, VnetHeader};

const TPIDS: [u16; 2] = [0x8100, 0x88a8];

/// A frame with room in front.
pub struct Frame {
    buffer: Box<[u8]>,
    start: usize,
    length: usize,
    pub vnet: VnetHeader,
}

/// Up to two tags' VLAN ids, outer first; more tags count as payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Tags {
    ids: [u16; 2],
    count: usize,
}

impl Tags {
    pub fn of(ids: &[u16]) -> Self {
        let mut tags = Self::default();
        ids.iter().take(2).for_each(|id| tags.push(*id));
        tags
    }

    fn push(&mut self, id: u16) {
        self.ids[self.count] = id;
        self.count += 1;
    }

    pub fn len(&self) -> usize {
        self.count
    }
}

impl Frame {
    pub fn new() -> Self {
        Self { buffer: vec![0; MAX_FRAME + HEADROOM].into(), start: HEADROOM, length: 0, vnet: VnetHeader::default() }
    }

    /// Where to receive into.
    pub fn space(&mut self) -> &mut [u8] {
        &mut self.buffer[HEADROOM..]
    }

    /// After receiving `length` bytes into [`Frame::space`].
    pub fn received(&mut self, length: usize, vnet: VnetHeader) {
        self.start = HEADROOM;
        self.length = length;
        self.vnet = vnet;
    }

    /// After receiving from a packet socket: the tag that the kernel took off is put back.
    pub fn received_from_wire(&mut self, received: &Received) {
        self.received(received.length, received.vnet);
        if let Some(StrippedTag { tpid, tci }) = received.tag {
            self.push(tpid, tci);
        }
    }

    pub fn bytes(&self) -> &[u8] {
        &self.buffer[self.start..self.start + self.length]
    }

    /// Too short for an Ethernet header.
    pub fn is_runt(&self) -> bool {
        self.length < 14
    }

    pub fn tags(&self) -> Tags {
        let mut tags = Tags::default();
        let bytes = self.bytes();
        while tags.count < 2 {
            let at = 12 + 4 * tags.count;
            match (word(bytes, at), word(bytes, at + 2)) {
                (Some(tpid), Some(tci)) if TPIDS.contains(&tpid) && bytes.len() >= at + 6 => tags.push(tci & 0xfff),
                _ => break,
            }
        }
        tags
    }

    /// Takes the outer `count` tags off.
    pub fn pop(&mut self, count: usize) {
        let bytes = 4 * count;
        self.buffer.copy_within(self.start..self.start + 12, self.start + bytes);
        self.start += bytes;
        self.length -= bytes;
        self.vnet.shift(-(bytes as i16));
    }

    /// Puts a tag in front of what is there. There is room for four.
    pub fn push(&mut self, tpid: u16, tci: u16) {
        self.buffer.copy_within(self.start..self.start + 12, self.start - 4);
        self.start -= 4;
        self.length += 4;
        let at = self.start + 12;
        self.buffer[at..at + 2].copy_from_slice(&tpid.to_be_bytes());
        self.buffer[at + 2..at + 4].copy_from_slice(&tci.to_be_bytes());
        self.vnet.shift(4);
    }

    /// Equal for all packets of a flow: over MACs and, for IP, addresses, protocol and ports (as a bond's layer3+4 policy).
    pub fn flow_hash(&self) -> u32 {
        let bytes = self.bytes();
        let mut hash = Fnv::new();
        hash.add(&bytes[..12.min(bytes.len())]);
        match word(bytes, 12) {
            Some(0x0800) => {
                let header = usize::from(bytes.get(14).copied().unwrap_or(0) & 0xf) * 4;
                let fragment = word(bytes, 20).unwrap_or(0) & 0x3fff != 0;
                hash.add(bytes.get(26..34).unwrap_or(&[]));
                hash.add_ports(bytes, bytes.get(23).copied().unwrap_or(0), 14 + header, fragment);
            }
            Some(0x86dd) => {
                hash.add(bytes.get(22..54).unwrap_or(&[]));
                hash.add_ports(bytes, bytes.get(20).copied().unwrap_or(0), 54, false);
            }
            _ => {}
        }
        hash.finish()
    }
}

struct Fnv(u32);

impl Fnv {
    fn new() -> Self {
        Self(0x811c_9dc5)
    }

    fn add(&mut self, bytes: &[u8]) {
        self.0 = bytes.iter().fold(self.0, |h, b| (h ^ u32::from(*b)).wrapping_mul(0x0100_0193));
    }

    fn add_ports(&mut self, bytes: &[u8], protocol: u8, at: usize, fragment: bool) {
        self.add(&[protocol]);
        if matches!(protocol, 6 | 17) && !fragment {
            self.add(bytes.get(at..at + 4).unwrap_or(&[]));
        }
    }

    /// FNV's low bits mix poorly for short differences: fold the high ones in.
    fn finish(self) -> u32 {
        let h = self.0 ^ (self.0 >> 16);
        let h = h.wrapping_mul(0x7feb_352d);
        h ^ (h >> 15)
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..at + 2).map(|b| u16::from_be_bytes([b[0], b[1]]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(after_macs: &[u8]) -> Frame {
        let mut frame = Frame::new();
        let bytes: Vec<u8> = [2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2].iter().chain(after_macs).copied().collect();
        frame.space()[..bytes.len()].copy_from_slice(&bytes);
        frame.received(bytes.len(), VnetHeader { flags: 1, csum_start: 34, hdr_len: 54, ..VnetHeader::default() });
        frame
    }

    #[test]
    fn two_tags_on_and_off() {
        let mut f = frame(&[8, 0, 0x45, 1, 2, 3]);
        let before = f.bytes().to_vec();
        f.push(0x8100, 7);
        f.push(0x88a8, 100);
        assert_eq!(f.tags(), Tags::of(&[100, 7]));
        assert_eq!(f.bytes()[12..22], [0x88, 0xa8, 0, 100, 0x81, 0, 0, 7, 8, 0]);
        assert_eq!((f.vnet.csum_start, f.vnet.hdr_len), (42, 62));
        f.pop(2);
        assert_eq!(f.bytes(), before);
        assert_eq!((f.vnet.csum_start, f.tags().len()), (34, 0));
    }

    #[test]
    fn the_kernel_s_tag_returns() {
        let mut f = frame(&[8, 0, 0x45, 1]);
        let received =
            Received { length: 16, vnet: VnetHeader::default(), tag: Some(StrippedTag { tpid: 0x8100, tci: 0x200a }) };
        f.received_from_wire(&received);
        assert_eq!(f.tags(), Tags::of(&[10]));
        assert_eq!(f.bytes()[12..18], [0x81, 0, 0x20, 10, 8, 0]);
    }

    #[test]
    fn a_truncated_tag_is_payload() {
        assert_eq!(frame(&[0x81, 0, 0, 5]).tags().len(), 0);
        assert_eq!(frame(&[0x81, 0]).tags().len(), 0);
    }

    #[test]
    fn flows_stay_and_spread() {
        let udp = |port: u8| {
            let mut ip = [0u8; 30];
            ip[..2].copy_from_slice(&[8, 0]);
            ip[2] = 0x45;
            ip[11] = 17;
            ip[23] = port;
            frame(&ip).flow_hash()
        };
        assert_eq!(udp(1), udp(1));
        let on_first = (0..200).filter(|p| udp(*p) % 2 == 0).count();
        assert!((60..140).contains(&on_first), "{on_first} of 200");
    }
}
