//! Joins segments of one TCP flow that arrive one after another into the segmentation frame they were cut from.
//!
//! Under MPLS and PPPoE a kernel passes no segmentation frames (see [`super::packet::CAPABILITIES`]), so a switch that
//! pushes such headers cuts, and 64 KB cross the link as some 45 frames. The switch behind it joins them again: the
//! program runs once, and without those headers the frame leaves whole. Only what was cut on this machine is joined,
//! frames whose checksums were never computed; cutting again gives the same frames bit for bit.
//!
//! One frame grows at a time, and whatever does not continue it goes behind it, so no two frames change their order.

use super::FRAME_MAX;
use super::offload::Offload;
use super::segment::{self, fold, get16, sum};
use super::walk::{self, Layer, Layers};

/// Longest stack of headers that is joined.
const HEADERS_MAX: usize = 128;
/// Shorter frames are hardly parts of anything.
const FRAME_MIN: usize = 512;
const ACK: u8 = 0x10;
const PSH: u8 = 0x08;
const ECE: u8 = 0x40;

/// The frame that grows.
#[derive(Default)]
pub struct Joiner {
    frame: Vec<u8>,
    /// How the first segment came.
    offload: Offload,
    layers: Layers,
    /// Bytes before the payload.
    headers: usize,
    /// Payload of each segment but the last.
    step: usize,
    /// Segments joined; 0 when there is no frame.
    count: usize,
    /// The last segment is there.
    complete: bool,
    /// The first segment's headers without what differs from segment to segment.
    same: Vec<u8>,
}

impl Joiner {
    /// Whether a segment that follows would be joined.
    pub fn is_open(&self) -> bool {
        self.count > 0 && !self.complete
    }

    /// Begins with a frame, when it can be a segment. What was held must have been taken.
    #[inline]
    pub fn begin(&mut self, frame: &[u8], offload: &Offload) -> bool {
        let partial = Offload::partial_checksum(offload.csum_start, 16);
        *offload == partial && frame.len() >= FRAME_MIN && self.begin_segment(frame, offload)
    }

    fn begin_segment(&mut self, frame: &[u8], offload: &Offload) -> bool {
        let start = usize::from(offload.csum_start);
        let tcp = |layer, at| layer == Layer::Tcp && at == start;
        let Some(layers) = walk::find(&frame[..frame.len().min(HEADERS_MAX)], &tcp) else { return false };
        let odd = layers.iter().any(|(layer, _)| matches!(layer, Layer::Mpls | Layer::Pppoe));
        let tunnel = layers.iter().any(|(layer, _)| *layer == Layer::Udp);
        let headers = start + usize::from(frame[start + 12] >> 4) * 4;
        let flags = frame[start + 13] & !ECE;
        if !odd || tunnel || headers > HEADERS_MAX || headers >= frame.len() || flags != ACK {
            return false;
        }
        if !consistent(frame, &layers, start) {
            return false;
        }
        self.same.clear();
        self.same.extend_from_slice(&frame[..headers]);
        blank(&mut self.same, &layers);
        self.frame.clear();
        self.frame.extend_from_slice(frame);
        (self.offload, self.layers, self.headers) = (*offload, layers, headers);
        (self.step, self.count, self.complete) = (frame.len() - headers, 1, false);
        true
    }

    /// Joins the frame when it is the next segment.
    #[inline]
    pub fn join(&mut self, frame: &[u8], offload: &Offload) -> bool {
        self.is_open() && *offload == self.offload && self.join_segment(frame)
    }

    fn join_segment(&mut self, frame: &[u8]) -> bool {
        let payload = frame.len().saturating_sub(self.headers);
        // What fits IP's length field: the first IP header is behind the first 14 bytes at least.
        let len = self.frame.len() + payload;
        if payload == 0 || payload > self.step || len > (u16::MAX as usize).min(FRAME_MAX) {
            return false;
        }
        let start = usize::from(self.offload.csum_start);
        let flags = frame[start + 13];
        let mut headers = [0; HEADERS_MAX];
        let headers = &mut headers[..self.headers];
        headers.copy_from_slice(&frame[..self.headers]);
        blank(headers, &self.layers);
        let sequence =
            |frame: &[u8]| u32::from_be_bytes([frame[start + 4], frame[start + 5], frame[start + 6], frame[start + 7]]);
        let follows = *headers == *self.same
            && (flags ^ self.frame[start + 13]) & !PSH == 0
            && sequence(frame) == sequence(&self.frame).wrapping_add((self.step * self.count) as u32)
            && self
                .layers
                .iter()
                .filter(|(layer, _)| *layer == Layer::Ipv4)
                .all(|&(_, at)| get16(frame, at + 4) == get16(&self.frame, at + 4).wrapping_add(self.count as u16))
            && consistent(frame, &self.layers, start);
        if !follows {
            return false;
        }
        self.frame.extend_from_slice(&frame[self.headers..]);
        self.frame[start + 13] |= flags;
        self.count += 1;
        self.complete = payload < self.step || flags & PSH != 0;
        true
    }

    /// The frame that was joined so far, as it would have come whole.
    pub fn take(&mut self) -> Option<(&mut [u8], Offload)> {
        let count = std::mem::take(&mut self.count);
        if count < 2 {
            return (count == 1).then_some((&mut self.frame[..], self.offload));
        }
        let more = self.frame.len() - self.headers - self.step;
        segment::lengthen(&mut self.frame, &self.layers, more);
        let start = usize::from(self.offload.csum_start);
        segment::partial_checksum(&mut self.frame, &self.layers, start, start + 16);
        let ipv6 = self.layers.iter().rev().find(|(layer, _)| matches!(layer, Layer::Ipv4 | Layer::Ipv6));
        let ipv6 = ipv6.is_some_and(|(layer, _)| *layer == Layer::Ipv6);
        let offload = Offload::tcp_segments(ipv6, self.offload.csum_start, self.headers as u16, self.step as u16);
        Some((&mut self.frame, offload))
    }
}

/// Clears what differs between the segments of one frame.
fn blank(headers: &mut [u8], layers: &Layers) {
    for &(layer, at) in layers {
        match layer {
            Layer::Ipv4 => {
                headers[at + 2..at + 6].fill(0);
                headers[at + 10..at + 12].fill(0);
            }
            Layer::Ipv6 | Layer::Pppoe => headers[at + 4..at + 6].fill(0),
            Layer::Tcp => {
                headers[at + 4..at + 8].fill(0);
                headers[at + 13] = 0;
                headers[at + 16..at + 18].fill(0);
            }
            Layer::Ethernet | Layer::Vlan | Layer::Mpls | Layer::Udp | Layer::Gtpu | Layer::Vxlan => {}
        }
    }
}

/// Whether every length and checksum is what cutting gives: what is wrong must not come right by joining.
fn consistent(frame: &[u8], layers: &Layers, start: usize) -> bool {
    let rest = |at: usize| frame.len() - at;
    let lengths = layers.iter().all(|&(layer, at)| match layer {
        Layer::Ipv4 => {
            let header = usize::from(frame[at] & 15) * 4;
            usize::from(get16(frame, at + 2)) == rest(at) && fold(sum(&frame[at..at + header], 0)) == 0xffff
        }
        Layer::Ipv6 => usize::from(get16(frame, at + 4)) == rest(at + 40),
        Layer::Pppoe => usize::from(get16(frame, at + 4)) == rest(at + 6),
        _ => true,
    });
    lengths && segment::pseudo_sum(frame, layers, start) == Some(get16(frame, start + 16))
}

#[cfg(test)]
mod tests {
    use super::super::offload::{Capabilities, Egress, plan};
    use super::super::testing::{Build, checksums_hold};
    use super::*;

    /// What a switch sends of a frame that comes as `offload` says.
    fn cut(original: &[u8], frame: &[u8], offload: Offload) -> Vec<(Vec<u8>, Offload)> {
        let can = Capabilities { segmentation_any_stack: false, ..Capabilities::ALL };
        let Egress::Cut(offload, layers) = plan(&offload, original.len(), frame, &[], can) else { panic!("not cut") };
        let mut out = Vec::new();
        let mut emit = |head: &[u8], body: &[u8], offload: &Offload| out.push(([head, body].concat(), *offload));
        segment::cut_partial(frame, &[], &offload, &layers, &mut emit);
        out
    }

    fn whole(joiner: &mut Joiner) -> (Vec<u8>, Offload) {
        joiner.take().map(|(frame, offload)| (frame.to_vec(), offload)).unwrap()
    }

    fn stacks() -> Vec<(Vec<u8>, Vec<u8>, Offload)> {
        let (four, six) = (Build::tcp4(5000), Build::tcp6(5000));
        let (of_four, of_six) = (Offload::tcp_segments(false, 34, 54, 1448), Offload::tcp_segments(true, 54, 74, 1428));
        let stacks = [
            (four.clone(), Build::mpls(&four, &[16]), of_four),
            (four.clone(), Build::mpls(&four, &[16, 17, 18]), of_four),
            (four.clone(), Build::pseudowire(&four, 5), of_four),
            (four.clone(), Build::pppoe(&four, 5), of_four),
            (six.clone(), Build::mpls(&six, &[16]), of_six),
        ];
        stacks
            .into_iter()
            .map(|(plain, mut frame, offload)| {
                // Not the last one of what was written.
                let flags = frame.len() - 5000 - 7;
                frame[flags] = 0x10;
                (plain, frame, offload)
            })
            .collect()
    }

    #[test]
    fn what_was_cut_comes_back_whole() {
        for (plain, frame, offload) in stacks() {
            let parts = cut(&plain, &frame, offload);
            assert!(parts.len() == 4 && parts.iter().all(|(_, rest)| rest.needs_checksum() && !rest.is_segmented()));
            let mut joiner = Joiner::default();
            assert!(joiner.begin(&parts[0].0, &parts[0].1));
            assert!(parts[1..].iter().all(|(part, offload)| joiner.join(part, offload)));
            assert!(!joiner.is_open(), "the last one is shorter");
            let (joined, rest) = whole(&mut joiner);
            assert_eq!(joined, frame);
            assert!(rest.is_segmented() && rest.gso_size == offload.gso_size);
            assert_eq!(cut(&joined, &joined, rest), parts);
            assert!(joiner.take().is_none());
            for (part, offload) in parts {
                let Egress::Finish(offload, layers) = plan(&offload, part.len(), &part, &[], Capabilities::NONE) else {
                    panic!("not finished")
                };
                segment::finish(&mut part.clone(), &offload, &layers, &mut checksums_hold);
            }
        }
    }

    #[test]
    fn one_segment_alone_stays_as_it_came() {
        for (plain, frame, offload) in stacks() {
            let parts = cut(&plain, &frame, offload);
            let mut joiner = Joiner::default();
            assert!(joiner.begin(&parts[1].0, &parts[1].1));
            assert_eq!(whole(&mut joiner), parts[1]);
        }
    }

    #[test]
    fn only_the_next_segment_is_joined() {
        for (plain, frame, offload) in stacks() {
            let parts = cut(&plain, &frame, offload);
            let (next, as_it_came) = &parts[1];
            // Any single byte of the headers that is another one makes it another frame, and so does a missing segment.
            for at in 0..next.len() - usize::from(offload.gso_size) {
                let mut other = next.clone();
                other[at] ^= 0x41;
                let mut joiner = Joiner::default();
                assert!(joiner.begin(&parts[0].0, &parts[0].1));
                assert!(!joiner.join(&other, as_it_came), "byte {at}");
                assert!(!joiner.join(&parts[2].0, as_it_came));
                assert!(!joiner.join(next, &Offload::NONE));
                assert!(joiner.join(next, as_it_came));
            }
        }
    }

    #[test]
    fn a_pushed_segment_ends_the_frame() {
        let (plain, frame, offload) = stacks().swap_remove(0);
        let mut parts = cut(&plain, &frame, offload);
        let flags = frame.len() - 5000 - 7;
        parts[1].0[flags] |= PSH;
        let mut joiner = Joiner::default();
        assert!(joiner.begin(&parts[0].0, &parts[0].1) && joiner.join(&parts[1].0, &parts[1].1));
        assert!(!joiner.is_open() && !joiner.join(&parts[2].0, &parts[2].1));
        assert_eq!(whole(&mut joiner).0[flags], ACK | PSH);
    }

    #[test]
    fn what_need_not_be_cut_is_not_held() {
        let plain = Build::tcp4(1000);
        let mut joiner = Joiner::default();
        assert!(!joiner.begin(&plain, &Offload::partial_checksum(34, 16)));
        assert!(!joiner.begin(&Build::mpls(&plain, &[3]), &Offload::NONE));
        assert!(!joiner.begin(&Build::mpls(&plain, &[3]), &Offload::partial_checksum(60000, 16)));
        assert!(joiner.take().is_none());
    }
}
