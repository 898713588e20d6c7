//! Frames for the tests of this module, built header by header, and a check that is independent of the code under test.

pub const VLAN: u16 = 0x8100;

pub struct Build;

impl Build {
    pub fn ethernet(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut frame = vec![2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1];
        frame.extend(kind.to_be_bytes());
        frame.extend(payload);
        frame
    }

    fn ip4(protocol: u8, payload: &[u8]) -> Vec<u8> {
        let mut packet = vec![0x45, 0, 0, 0, 0x12, 0x34, 0x40, 0, 64, protocol, 0, 0, 10, 0, 0, 1, 10, 0, 0, 2];
        packet[2..4].copy_from_slice(&(20 + payload.len() as u16).to_be_bytes());
        let sum = !add(&packet);
        packet[10..12].copy_from_slice(&sum.to_be_bytes());
        packet.extend(payload);
        packet
    }

    /// A TCP segment whose checksum field holds `pseudo`.
    fn tcp(payload: usize, pseudo: u16) -> Vec<u8> {
        let mut segment = vec![0x30, 0x39, 0, 80, 0xff, 0xff, 0xff, 0, 0, 0, 0, 1, 0x50, 0x18, 1, 0];
        segment.extend(pseudo.to_be_bytes());
        segment.extend([0, 0]);
        segment.extend((0..payload).map(|i| (i * 7 + i / 251) as u8));
        segment
    }

    /// Ethernet, IPv4 and TCP with a partial checksum.
    pub fn tcp4(payload: usize) -> Vec<u8> {
        let mut pseudo = vec![10, 0, 0, 1, 10, 0, 0, 2, 0, 6];
        pseudo.extend((20 + payload as u16).to_be_bytes());
        Self::ethernet(0x0800, &Self::ip4(6, &Self::tcp(payload, add(&pseudo))))
    }

    /// Ethernet, IPv6 and TCP with a partial checksum.
    pub fn tcp6(payload: usize) -> Vec<u8> {
        let len = 20 + payload as u16;
        let mut packet = vec![0x60, 0, 0, 0];
        packet.extend(len.to_be_bytes());
        packet.extend([6, 64]);
        let addresses: Vec<u8> = (0..32).collect();
        packet.extend(&addresses);
        let mut pseudo = addresses;
        pseudo.extend([0, 6]);
        pseudo.extend(len.to_be_bytes());
        packet.extend(Self::tcp(payload, add(&pseudo)));
        Self::ethernet(0x86dd, &packet)
    }

    pub fn tagged(frame: &[u8], tags: &[(u16, u16)]) -> Vec<u8> {
        let mut out = frame[..12].to_vec();
        for (kind, tci) in tags {
            out.extend(kind.to_be_bytes());
            out.extend(tci.to_be_bytes());
        }
        out.extend(&frame[12..]);
        out
    }

    fn labels(labels: &[u32]) -> Vec<u8> {
        let last = labels.len() - 1;
        labels.iter().enumerate().flat_map(|(i, l)| (l << 12 | u32::from(i == last) << 8 | 64).to_be_bytes()).collect()
    }

    pub fn mpls(frame: &[u8], labels: &[u32]) -> Vec<u8> {
        let mut payload = Self::labels(labels);
        payload.extend(&frame[14..]);
        Self::ethernet(0x8847, &payload)
    }

    /// The whole frame behind one label and a control word.
    pub fn pseudowire(frame: &[u8], label: u32) -> Vec<u8> {
        let mut payload = Self::labels(&[label]);
        payload.extend([0; 4]);
        payload.extend(frame);
        Self::ethernet(0x8847, &payload)
    }

    pub fn pppoe(frame: &[u8], session: u16) -> Vec<u8> {
        let mut payload = vec![0x11, 0];
        payload.extend(session.to_be_bytes());
        payload.extend((frame.len() as u16 - 14 + 2).to_be_bytes());
        payload.extend([0, 0x21]);
        payload.extend(&frame[14..]);
        Self::ethernet(0x8864, &payload)
    }

    /// An IP packet in GTP-U over UDP with a checksum in use.
    pub fn gtp(packet: &[u8]) -> Vec<u8> {
        let mut udp = vec![8, 0x68, 8, 0x68];
        udp.extend((16 + packet.len() as u16).to_be_bytes());
        udp.extend([0xab, 0xcd, 0x30, 255]);
        udp.extend((packet.len() as u16).to_be_bytes());
        udp.extend([0, 0, 0, 77]);
        udp.extend(packet);
        Self::ethernet(0x0800, &Self::ip4(17, &udp))
    }
}

/// The plain two-byte one's-complement sum of RFC 1071.
pub fn add(bytes: &[u8]) -> u16 {
    let mut total = 0u32;
    for pair in bytes.chunks(2) {
        total += u32::from(u16::from_be_bytes([pair[0], *pair.get(1).unwrap_or(&0)]));
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

/// Fails unless every IPv4, UDP and TCP header inside has the right length and checksum.
pub fn checksums_hold(frame: &[u8]) {
    let mut at = 12;
    loop {
        let kind = u16::from_be_bytes([frame[at], frame[at + 1]]);
        at += 2;
        match kind {
            0x8100 => at += 2,
            0x8847 => {
                while frame[at + 2] & 1 == 0 {
                    at += 4;
                }
                at += 4;
                if frame[at] >> 4 == 0 {
                    at += 4 + 12;
                    continue;
                }
                return packet_holds(&frame[at..], false);
            }
            0x8864 => {
                let len = usize::from(u16::from_be_bytes([frame[at + 4], frame[at + 5]]));
                assert_eq!(len, frame.len() - at - 6, "PPPoE length");
                return packet_holds(&frame[at + 8..], true);
            }
            _ => return packet_holds(&frame[at..], false),
        }
    }
}

fn packet_holds(packet: &[u8], exact: bool) {
    let (mut pseudo, protocol, header, total) = if packet[0] >> 4 == 4 {
        assert_eq!(add(&packet[..20]), 0xffff, "IPv4 header checksum");
        let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
        (packet[12..20].to_vec(), packet[9], 20, total)
    } else {
        let total = 40 + usize::from(u16::from_be_bytes([packet[4], packet[5]]));
        (packet[8..40].to_vec(), packet[6], 40, total)
    };
    assert!(
        total == packet.len() || (!exact && total < packet.len() && packet.len() <= 60),
        "{total} {}",
        packet.len()
    );
    let transport = &packet[header..total];
    pseudo.extend([0, protocol]);
    pseudo.extend((transport.len() as u16).to_be_bytes());
    if pseudo.len() % 2 == 1 {
        pseudo.push(0);
    }
    pseudo.extend(transport);
    assert_eq!(add(&pseudo), 0xffff, "checksum of protocol {protocol}");
    if protocol == 17 {
        assert_eq!(usize::from(u16::from_be_bytes([transport[4], transport[5]])), transport.len(), "UDP length");
        assert_eq!(
            usize::from(u16::from_be_bytes([transport[10], transport[11]])),
            transport.len() - 16,
            "GTP-U length"
        );
        packet_holds(&transport[16..], true);
    }
}
