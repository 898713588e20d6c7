//! Frames, made from the inside out.

/// An Ethernet frame; `tags` outermost first, all with TPID 0x8100.
pub fn eth(dst: [u8; 6], src: [u8; 6], tags: &[u16], kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = [dst, src].concat();
    for tag in tags {
        frame.extend([0x81, 0]);
        frame.extend(tag.to_be_bytes());
    }
    frame.extend(kind.to_be_bytes());
    frame.extend(payload);
    frame
}

pub fn checksum(header: &[u8]) -> u16 {
    let sum: u32 = header.chunks(2).map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]]))).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    !((sum & 0xffff) + (sum >> 16)) as u16
}

/// Parts of an IPv4 header that tests vary.
#[derive(Clone, Copy)]
pub struct V4 {
    pub src: [u8; 4],
    pub dst: [u8; 4],
    pub proto: u8,
    pub ttl: u8,
    pub dscp: u8,
    pub ecn: u8,
    /// Flags and offset.
    pub fragment: u16,
}

pub fn v4(src: [u8; 4], dst: [u8; 4]) -> V4 {
    V4 { src, dst, proto: 17, ttl: 64, dscp: 0, ecn: 0, fragment: 0 }
}

impl V4 {
    pub fn with(self, payload: &[u8]) -> Vec<u8> {
        self.with_options(&[], payload)
    }

    /// `options` in whole words.
    pub fn with_options(self, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let length = 20 + options.len();
        let mut packet = vec![0x40 | (length / 4) as u8, self.dscp << 2 | self.ecn];
        packet.extend(((length + payload.len()) as u16).to_be_bytes());
        packet.extend([0, 0]);
        packet.extend(self.fragment.to_be_bytes());
        packet.extend([self.ttl, self.proto, 0, 0]);
        packet.extend(self.src);
        packet.extend(self.dst);
        packet.extend(options);
        let sum = checksum(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    /// One hop further.
    pub fn hop(self) -> V4 {
        V4 { ttl: self.ttl - 1, ..self }
    }
}

pub fn v6(src: [u16; 8], dst: [u16; 8], proto: u8, hops: u8, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x60, 0, 0, 0];
    packet.extend((payload.len() as u16).to_be_bytes());
    packet.extend([proto, hops]);
    packet.extend(src.iter().chain(&dst).flat_map(|part| part.to_be_bytes()));
    packet.extend(payload);
    packet
}

pub fn tcp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = [sport.to_be_bytes(), dport.to_be_bytes()].concat();
    packet.extend([0, 0, 0, 1, 0, 0, 0, 0, 0x50, 0x10, 0x20, 0, 0, 0, 0, 0]);
    packet.extend(payload);
    packet
}

pub fn udp(sport: u16, dport: u16, payload: &[u8]) -> Vec<u8> {
    let length = 8 + payload.len() as u16;
    let mut packet: Vec<u8> = [sport, dport, length, 0].iter().flat_map(|part| part.to_be_bytes()).collect();
    packet.extend(payload);
    packet
}

pub fn mpls(label: u32, bottom: bool, ttl: u8, payload: &[u8]) -> Vec<u8> {
    let word = label << 12 | u32::from(bottom) << 8 | u32::from(ttl);
    [&word.to_be_bytes()[..], payload].concat()
}

pub fn pppoe(session: u16, proto: u16, payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![0x11, 0];
    packet.extend(session.to_be_bytes());
    packet.extend((payload.len() as u16 + 2).to_be_bytes());
    packet.extend(proto.to_be_bytes());
    packet.extend(payload);
    packet
}

/// A GTP-U packet; with a QFI it has a PDU session container of the type (0 down, 1 up).
pub fn gtpu(teid: u32, container: Option<(u8, u8)>, payload: &[u8]) -> Vec<u8> {
    let extra = if container.is_some() { 8 } else { 0 };
    let mut packet = vec![if container.is_some() { 0x34 } else { 0x30 }, 255];
    packet.extend((payload.len() as u16 + extra).to_be_bytes());
    packet.extend(teid.to_be_bytes());
    if let Some((kind, qfi)) = container {
        packet.extend([0, 0, 0, 0x85, 1, kind << 4, qfi, 0]);
    }
    packet.extend(payload);
    packet
}

/// A GTP-U packet with these flags and type, and `optional` between the header and the payload.
pub fn gtp(flags: u8, kind: u8, teid: u32, optional: &[u8], payload: &[u8]) -> Vec<u8> {
    let mut packet = vec![flags, kind];
    packet.extend(((optional.len() + payload.len()) as u16).to_be_bytes());
    packet.extend(teid.to_be_bytes());
    packet.extend(optional);
    packet.extend(payload);
    packet
}
