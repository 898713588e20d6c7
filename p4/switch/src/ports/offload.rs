//! Partial checksums and segmentation that a frame carries beside its bytes (the virtio network header), and how they
//! survive a pipeline that pushes, pops or truncates headers.
//!
//! Linux hands TCP to a port as frames of up to 64 KB whose checksum field holds only the sum over the pseudo-header.
//! What is missing is told beside the frame, as offsets from its first byte. A pipeline changes headers in front of the
//! transport header, so the distance of the transport header from the frame's *end* stays the same. From it the new
//! offset follows, and a walk through the new headers confirms it.

use super::walk::{self, Layer, Layers};

/// Bytes of the virtio network header without merged buffers (virtio 1.2 §5.1.6).
pub const VNET_LEN: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;
const GSO_UDP_L4: u8 = 5;
const GSO_ECN: u8 = 0x80;
/// How much of a frame the header walk looks at.
const WINDOW: usize = 256;

/// What is still to be done to a frame before it may leave for a real wire. All offsets are bytes from the frame's start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Offload {
    flags: u8,
    gso: u8,
    /// Length of all headers, for segmentation.
    pub hdr_len: u16,
    /// Payload bytes of each segment; 0 for a frame that is one.
    pub gso_size: u16,
    /// Start of the transport header.
    pub csum_start: u16,
    /// Place of the checksum field in the transport header.
    pub csum_offset: u16,
}

/// What an egress can do by itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Capabilities {
    /// Fills in partial checksums, or passes them on.
    pub checksum: bool,
    /// Takes TCP segmentation frames under Ethernet, VLAN and IP headers.
    pub segmentation: bool,
    /// Takes them under MPLS and PPPoE headers too.
    pub segmentation_any_stack: bool,
}

impl Capabilities {
    /// Passes everything on as it is, as a link between two switches does.
    pub const ALL: Self = Self { checksum: true, segmentation: true, segmentation_any_stack: true };
    /// Takes finished frames only.
    pub const NONE: Self = Self { checksum: false, segmentation: false, segmentation_any_stack: false };
}

impl Offload {
    /// A finished frame.
    pub const NONE: Self = Self { flags: 0, gso: 0, hdr_len: 0, gso_size: 0, csum_start: 0, csum_offset: 0 };

    /// Reads a virtio network header in host byte order. Other flags than "needs checksum" say nothing we use.
    pub fn decode(bytes: &[u8; VNET_LEN]) -> Self {
        let half = |at: usize| u16::from_ne_bytes([bytes[at], bytes[at + 1]]);
        Self {
            flags: bytes[0] & NEEDS_CSUM,
            gso: bytes[1],
            hdr_len: half(2),
            gso_size: half(4),
            csum_start: half(6),
            csum_offset: half(8),
        }
    }

    /// Writes the virtio network header in host byte order.
    pub fn encode(&self) -> [u8; VNET_LEN] {
        let mut bytes = [self.flags, self.gso, 0, 0, 0, 0, 0, 0, 0, 0];
        for (at, half) in [(2, self.hdr_len), (4, self.gso_size), (6, self.csum_start), (8, self.csum_offset)] {
            bytes[at..at + 2].copy_from_slice(&half.to_ne_bytes());
        }
        bytes
    }

    /// A partial checksum without segmentation.
    pub fn partial_checksum(csum_start: u16, csum_offset: u16) -> Self {
        Self { flags: NEEDS_CSUM, csum_start, csum_offset, ..Self::NONE }
    }

    /// A TCP frame to be cut into segments of `gso_size` payload bytes.
    pub fn tcp_segments(ipv6: bool, csum_start: u16, hdr_len: u16, gso_size: u16) -> Self {
        let gso = if ipv6 { GSO_TCPV6 } else { GSO_TCPV4 };
        Self { flags: NEEDS_CSUM, gso, hdr_len, gso_size, csum_start, csum_offset: 16 }
    }

    /// Whether the frame is finished.
    pub fn is_none(&self) -> bool {
        self.flags == 0 && self.gso == 0
    }

    pub fn needs_checksum(&self) -> bool {
        self.flags & NEEDS_CSUM != 0
    }

    pub fn is_segmented(&self) -> bool {
        self.gso & !GSO_ECN != 0
    }

    pub fn is_udp_segmented(&self) -> bool {
        self.gso & !GSO_ECN == GSO_UDP_L4
    }

    /// The same after `bytes` were put in front of the transport header.
    pub fn shifted(mut self, bytes: u16) -> Self {
        if self.flags != 0 {
            self.csum_start = self.csum_start.saturating_add(bytes);
        }
        if self.gso != 0 {
            self.hdr_len = self.hdr_len.saturating_add(bytes);
        }
        self
    }
}

/// How a frame leaves.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Egress {
    /// As it is, with this beside it.
    Send(Offload),
    /// Cut it in software, and leave checksums to the egress: [`super::segment::cut_partial`].
    Cut(Offload, Layers),
    /// Finish it in software first: [`super::segment::finish`].
    Finish(Offload, Layers),
}

/// Decides how a frame leaves that came in as `in_len` bytes with `offload`, and now is `head` and then `body`.
pub fn plan(offload: &Offload, in_len: usize, head: &[u8], body: &[u8], can: Capabilities) -> Egress {
    if offload.is_none() {
        return Egress::Send(Offload::NONE);
    }
    let mut window = [0u8; WINDOW];
    let first = head.len().min(WINDOW);
    window[..first].copy_from_slice(&head[..first]);
    let second = body.len().min(WINDOW - first);
    window[first..first + second].copy_from_slice(&body[..second]);
    let window = &window[..first + second];
    let out_len = head.len() + body.len();

    let expected = (usize::from(offload.csum_start) + out_len).checked_sub(in_len);
    let transport = if offload.csum_offset == 16 { Layer::Tcp } else { Layer::Udp };
    let found = expected
        .and_then(|at| walk::find(window, &|layer, offset| layer == transport && offset == at))
        // The end moved (truncation, padding): the outermost transport header of the right kind is the one.
        .or_else(|| walk::find(window, &|layer, _| layer == transport));
    let Some(layers) = found else {
        // The header that the checksum belongs to is gone.
        return Egress::Send(Offload::NONE);
    };
    let start = layers.last().map_or(0, |(_, offset)| *offset);
    let transport_len = match transport {
        Layer::Tcp => window.get(start + 12).map_or(20, |b| usize::from(b >> 4) * 4),
        _ => 8,
    };
    if walk::promised_len(window, &layers).is_some_and(|promised| promised > out_len) {
        // Truncated: no checksum can come out right, and none is expected.
        return Egress::Send(Offload::NONE);
    }
    let mut moved = *offload;
    moved.csum_start = start as u16;
    moved.hdr_len = if offload.is_segmented() { (start + transport_len) as u16 } else { 0 };

    let tunnelled = layers.iter().rev().skip(1).any(|(layer, _)| *layer == Layer::Udp);
    let odd_stack = layers.iter().any(|(layer, _)| matches!(layer, Layer::Mpls | Layer::Pppoe));
    // A kernel takes the first IP header for the one above TCP: inside a tunnel it would cut in the wrong place, and a
    // tunnel's far end may be a program that sees the bytes only.
    let capable = !tunnelled
        && if offload.is_segmented() {
            can.segmentation && (can.segmentation_any_stack || !odd_stack)
        } else {
            can.checksum
        };
    match capable {
        true => Egress::Send(moved),
        false if can.checksum && !tunnelled => Egress::Cut(moved, layers),
        false => Egress::Finish(moved, layers),
    }
}

/// Finishes a frame that has a header of unknown length in front of its Ethernet header, as frames to a controller have.
/// `frame` came in as `in_len` bytes with `offload`.
pub fn finish_behind_header(frame: &mut [u8], in_len: usize, offload: &Offload, emit: &mut dyn FnMut(&[u8])) {
    const HEADER_MAX: usize = 64;
    let expected = (usize::from(offload.csum_start) + frame.len()).checked_sub(in_len);
    let transport = if offload.csum_offset == 16 { Layer::Tcp } else { Layer::Udp };
    let found = expected.filter(|_| !offload.is_none()).and_then(|expected| {
        (0..HEADER_MAX.min(frame.len())).find_map(|front| {
            let at = expected.checked_sub(front)?;
            let layers = walk::find(&frame[front..], &|layer, offset| layer == transport && offset == at)?;
            Some((front, layers))
        })
    });
    let Some((front, layers)) = found else { return emit(frame) };
    let (header, inner) = frame.split_at_mut(front);
    let Egress::Finish(placed, _) = plan(offload, in_len, inner, &[], Capabilities::NONE) else { return emit(frame) };
    let mut whole = Vec::with_capacity(front + inner.len());
    super::segment::finish(inner, &placed, &layers, &mut |part| {
        whole.clear();
        whole.extend_from_slice(header);
        whole.extend_from_slice(part);
        emit(&whole);
    });
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Build, VLAN, checksums_hold};
    use super::*;

    #[test]
    fn header_survives_encoding() {
        let offload = Offload::tcp_segments(true, 54, 86, 1428);
        assert_eq!(Offload::decode(&offload.encode()), offload);
        assert!(offload.needs_checksum() && offload.is_segmented() && !offload.is_none());
    }

    #[test]
    fn pushed_and_popped_headers_move_the_offsets() {
        let plain = Build::tcp4(3000);
        let offload = Offload::tcp_segments(false, 34, 54, 1448);
        let tagged = Build::tagged(&plain, &[(VLAN, 7), (VLAN, 9)]);
        let (head, body) = tagged.split_at(30);
        let Egress::Send(pushed) = plan(&offload, plain.len(), head, body, Capabilities::ALL) else { panic!("finish") };
        assert_eq!((pushed.csum_start, pushed.hdr_len), (42, 62));
        let Egress::Send(popped) = plan(&pushed, tagged.len(), &plain, &[], Capabilities::ALL) else {
            panic!("finish")
        };
        assert_eq!(popped, offload);
    }

    #[test]
    fn a_removed_transport_header_takes_its_checksum_along() {
        let offload = Offload::partial_checksum(34, 16);
        let arp = Build::ethernet(0x0806, &[0; 46]);
        assert_eq!(plan(&offload, 1000, &arp, &[], Capabilities::ALL), Egress::Send(Offload::NONE));
    }

    #[test]
    fn truncation_drops_the_promise() {
        let frame = Build::tcp4(1000);
        let offload = Offload::partial_checksum(34, 16);
        assert_eq!(plan(&offload, frame.len(), &frame[..128], &[], Capabilities::ALL), Egress::Send(Offload::NONE));
    }

    #[test]
    fn mpls_segments_go_to_the_kernel_only_where_it_passes_them_on() {
        let plain = Build::tcp4(3000);
        let offload = Offload::tcp_segments(false, 34, 54, 1448);
        let mpls = Build::mpls(&plain, &[100, 200]);
        let careful = Capabilities { segmentation_any_stack: false, ..Capabilities::ALL };
        assert!(
            matches!(plan(&offload, plain.len(), &mpls, &[], Capabilities::ALL), Egress::Send(o) if o.csum_start == 42)
        );
        assert!(matches!(plan(&offload, plain.len(), &mpls, &[], careful), Egress::Cut(o, _) if o.csum_start == 42));
    }

    #[test]
    fn frames_to_a_controller_are_finished_behind_their_header() {
        let plain = Build::tcp4(2000);
        let mut frame = vec![0xde, 0xad, 0xbe];
        frame.extend(&plain);
        let mut out = Vec::new();
        let offload = Offload::tcp_segments(false, 34, 54, 1000);
        finish_behind_header(&mut frame, plain.len(), &offload, &mut |f| out.push(f.to_vec()));
        assert_eq!(out.len(), 2);
        for part in &out {
            assert_eq!(part[..3], [0xde, 0xad, 0xbe]);
            checksums_hold(&part[3..]);
        }
        out.clear();
        finish_behind_header(&mut frame, plain.len(), &Offload::NONE, &mut |f| out.push(f.to_vec()));
        assert_eq!(out, [frame]);
    }

    #[test]
    fn a_tunnel_is_finished_in_software() {
        let plain = Build::tcp4(500);
        let offload = Offload::partial_checksum(34, 16);
        let gtp = Build::gtp(&plain[14..]);
        let Egress::Finish(moved, _) = plan(&offload, plain.len(), &gtp, &[], Capabilities::ALL) else {
            panic!("sent")
        };
        assert_eq!(usize::from(moved.csum_start), 34 + 36);
    }
}
