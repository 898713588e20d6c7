//! Finishes frames in software: fills in a partial checksum, or cuts a segmentation frame into what goes on a wire. Where the
//! egress completes checksums, segments keep partial ones: summing 64 KB is half of what cutting them takes.

use super::offload::Offload;
use super::walk::{Layer, Layers};
use smallvec::SmallVec;

/// Adds bytes to a one's-complement sum; `from` must start at an even offset of what is summed.
pub(super) fn sum(bytes: &[u8], mut total: u64) -> u64 {
    let mut words = bytes.chunks_exact(4);
    for word in &mut words {
        total += u64::from(u32::from_be_bytes([word[0], word[1], word[2], word[3]]));
    }
    let mut last = [0u8; 4];
    let rest = words.remainder();
    last[..rest.len()].copy_from_slice(rest);
    total + u64::from(u32::from_be_bytes(last))
}

pub(super) fn fold(mut total: u64) -> u16 {
    while total >> 16 != 0 {
        total = (total & 0xffff) + (total >> 16);
    }
    total as u16
}

pub(super) fn get16(frame: &[u8], at: usize) -> u16 {
    u16::from_be_bytes([frame[at], frame[at + 1]])
}

fn put16(frame: &mut [u8], at: usize, value: u16) {
    frame[at..at + 2].copy_from_slice(&value.to_be_bytes());
}

/// Finishes a frame whose `offload` was placed by [`super::offload::plan`] (which also gave `layers`) and passes each
/// finished frame to `emit`. Frames that contradict their headers are passed as they are.
pub fn finish(frame: &mut [u8], offload: &Offload, layers: &Layers, emit: &mut dyn FnMut(&[u8])) {
    let start = usize::from(offload.csum_start);
    let field = start + usize::from(offload.csum_offset);
    if field + 2 > frame.len() {
        return emit(frame);
    }
    if !offload.is_segmented() {
        if offload.needs_checksum() {
            // Padding behind the IP packet is no part of the sum.
            let end =
                super::walk::promised_len(frame, layers).map_or(frame.len(), |end| end.clamp(field + 2, frame.len()));
            complete(frame, start, field, end);
            outer_udp_checksums(frame, layers);
        }
        return emit(frame);
    }
    let headers = usize::from(offload.hdr_len);
    let step = usize::from(offload.gso_size);
    if headers < field + 2 || headers >= frame.len() || step == 0 {
        return emit(frame);
    }
    cut(frame, offload, layers, headers, step, emit);
}

/// Replaces the pseudo-header's sum in the field by the checksum over `start..end`.
fn complete(frame: &mut [u8], start: usize, field: usize, end: usize) {
    let value = !fold(sum(&frame[start..end], 0));
    // UDP writes an all-zero checksum as all ones (RFC 768); for TCP both mean the same.
    put16(frame, field, if value == 0 && field == start + 6 { 0xffff } else { value });
}

fn cut(frame: &[u8], offload: &Offload, layers: &Layers, headers: usize, step: usize, emit: &mut dyn FnMut(&[u8])) {
    let start = usize::from(offload.csum_start);
    let (headers, payload) = frame.split_at(headers);
    let mut segment = Vec::with_capacity(headers.len() + step);
    for (number, chunk) in payload.chunks(step).enumerate() {
        segment.clear();
        segment.extend_from_slice(headers);
        segment.extend_from_slice(chunk);
        number_segment(&mut segment, offload, layers, step, number, payload.len());
        transport_checksum(&mut segment, layers, start, start + usize::from(offload.csum_offset));
        outer_udp_checksums(&mut segment, layers);
        emit(&segment);
    }
}

/// Takes the headers of a segment, its payload, and what is still to be done to it.
pub type EmitSegment<'a> = dyn FnMut(&[u8], &[u8], &Offload) + 'a;

/// Cuts a segmentation frame, `head` and then `body`, whose `offload` was placed by [`super::offload::plan`] (which also
/// gave `layers`). Each segment goes to `emit` as headers and payload, with a partial checksum. There must be no UDP header in
/// front of the transport header. Frames that contradict their headers are passed as they are.
pub fn cut_partial(head: &[u8], body: &[u8], offload: &Offload, layers: &Layers, emit: &mut EmitSegment<'_>) {
    let (start, step) = (usize::from(offload.csum_start), usize::from(offload.gso_size));
    let field = start + usize::from(offload.csum_offset);
    let len = usize::from(offload.hdr_len);
    if len < field + 2 || len >= head.len() + body.len() || step == 0 {
        return emit(head, body, &Offload::partial_checksum(offload.csum_start, offload.csum_offset));
    }
    if head.len() > len {
        // Programs seldom parse behind the transport header.
        let whole = [head, body].concat();
        let (head, body) = whole.split_at(len);
        return cut_partial(head, body, offload, layers, emit);
    }
    let (rest, payload) = body.split_at(len - head.len());
    let mut headers: SmallVec<[u8; 256]> = SmallVec::new();
    for (number, chunk) in payload.chunks(step).enumerate() {
        headers.clear();
        headers.extend_from_slice(head);
        headers.extend_from_slice(rest);
        number_segment(&mut headers, offload, layers, step, number, payload.len());
        partial_checksum(&mut headers, layers, start, field);
        emit(&headers, chunk, &Offload::partial_checksum(offload.csum_start, offload.csum_offset));
    }
}

/// Makes the headers of a frame with `payload` bytes those of its segment `number`.
fn number_segment(headers: &mut [u8], offload: &Offload, layers: &Layers, step: usize, number: usize, payload: usize) {
    const FIN_PSH: u8 = 0x09;
    const CWR: u8 = 0x80;
    let start = usize::from(offload.csum_start);
    let left = payload - number * step;
    if !offload.is_udp_segmented() {
        let field = &mut headers[start + 4..start + 8];
        let sequence = u32::from_be_bytes([field[0], field[1], field[2], field[3]]);
        field.copy_from_slice(&sequence.wrapping_add((number * step) as u32).to_be_bytes());
        let flags = &mut headers[start + 13];
        if left > step {
            *flags &= !FIN_PSH;
        }
        if number > 0 {
            *flags &= !CWR;
        }
    }
    shorten(headers, layers, payload - left.min(step), number);
}

/// The headers of a frame that grew by `more` bytes, but for its transport checksum.
pub(super) fn lengthen(frame: &mut [u8], layers: &Layers, more: usize) {
    shorten(frame, layers, 0usize.wrapping_sub(more), 0);
}

/// Sets every length field for a segment that has `shorter` fewer bytes, and the IPv4 identification and checksum.
fn shorten(segment: &mut [u8], layers: &Layers, shorter: usize, number: usize) {
    for &(layer, at) in layers {
        let less = |segment: &mut [u8], field: usize| {
            let value = get16(segment, field).wrapping_sub(shorter as u16);
            put16(segment, field, value);
        };
        match layer {
            Layer::Ipv4 => {
                less(segment, at + 2);
                let id = get16(segment, at + 4).wrapping_add(number as u16);
                put16(segment, at + 4, id);
                put16(segment, at + 10, 0);
                let header = usize::from(segment[at] & 15) * 4;
                let value = !fold(sum(&segment[at..at + header], 0));
                put16(segment, at + 10, value);
            }
            Layer::Ipv6 | Layer::Udp => less(segment, at + 4),
            Layer::Pppoe => less(segment, at + 4),
            Layer::Gtpu => less(segment, at + 2),
            Layer::Ethernet | Layer::Vlan | Layer::Mpls | Layer::Tcp | Layer::Vxlan => {}
        }
    }
}

/// Sum over addresses and protocol of the IP header directly in front of the transport header at `start`, and the
/// offset where its payload ends by its length.
fn addresses(frame: &[u8], layers: &Layers, start: usize) -> Option<(u64, usize)> {
    let place = layers.iter().position(|(_, at)| *at == start)?;
    let (transport, _) = layers[place];
    let protocol = if transport == Layer::Tcp { 6 } else { 17 };
    let (layer, at) = *layers.get(place.checked_sub(1)?)?;
    let (addresses, end) = match layer {
        Layer::Ipv4 => (sum(frame.get(at + 12..at + 20)?, 0), at + usize::from(get16(frame, at + 2))),
        Layer::Ipv6 => (sum(frame.get(at + 8..at + 40)?, 0), at + 40 + usize::from(get16(frame, at + 4))),
        _ => return None,
    };
    Some((addresses + protocol, end))
}

/// The sum over the whole pseudo-header, and the offset where the packet ends.
fn pseudo_header(frame: &[u8], layers: &Layers, start: usize) -> Option<(u64, usize)> {
    let (addresses, end) = addresses(frame, layers, start)?;
    let end = end.min(frame.len());
    Some((addresses + end.checked_sub(start)? as u64, end))
}

/// What a partial checksum of the transport header at `start` is, by the lengths that the headers say.
pub(super) fn pseudo_sum(headers: &[u8], layers: &Layers, start: usize) -> Option<u16> {
    let (addresses, end) = addresses(headers, layers, start)?;
    Some(fold(addresses + end.checked_sub(start)? as u64))
}

/// Puts it into its field.
pub(super) fn partial_checksum(headers: &mut [u8], layers: &Layers, start: usize, field: usize) {
    if let Some(pseudo) = pseudo_sum(headers, layers, start) {
        put16(headers, field, pseudo);
    }
}

fn transport_checksum(frame: &mut [u8], layers: &Layers, start: usize, field: usize) {
    if let Some((pseudo, end)) = pseudo_header(frame, layers, start) {
        put16(frame, field, fold(pseudo));
        complete(frame, start, field, end);
    }
}

/// UDP headers around the innermost transport header: renews a checksum that is in use, and leaves zero (none) alone.
fn outer_udp_checksums(frame: &mut [u8], layers: &Layers) {
    for &(layer, at) in layers.iter().rev().skip(1) {
        if layer == Layer::Udp && get16(frame, at + 6) != 0 {
            transport_checksum(frame, layers, at, at + 6);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::offload::{Capabilities, Egress, plan};
    use super::super::testing::{Build, VLAN, checksums_hold};
    use super::*;

    /// Finishes `frame`, which went in as `original`, and returns what leaves.
    fn finished(original: &[u8], frame: &[u8], offload: Offload) -> Vec<Vec<u8>> {
        let Egress::Finish(offload, layers) = plan(&offload, original.len(), frame, &[], Capabilities::NONE) else {
            panic!("sent as it is")
        };
        let mut out = Vec::new();
        finish(&mut frame.to_vec(), &offload, &layers, &mut |f| out.push(f.to_vec()));
        out
    }

    #[test]
    fn fills_in_partial_checksums() {
        let plain = Build::tcp4(777);
        for frame in [plain.clone(), Build::tagged(&plain, &[(VLAN, 3)]), Build::gtp(&plain[14..])] {
            let out = finished(&plain, &frame, Offload::partial_checksum(34, 16));
            assert_eq!(out.len(), 1);
            checksums_hold(&out[0]);
        }
    }

    #[test]
    fn padding_is_not_summed() {
        let mut plain = Build::tcp4(3);
        plain.resize(64, 0xee);
        checksums_hold(&finished(&plain, &plain, Offload::partial_checksum(34, 16))[0]);
    }

    #[test]
    fn cuts_tcp_under_every_stack() {
        let plain = Build::tcp4(4000);
        let offload = Offload::tcp_segments(false, 34, 54, 1448);
        let stacks = [
            plain.clone(),
            Build::tagged(&plain, &[(VLAN, 3), (VLAN, 4)]),
            Build::mpls(&plain, &[16, 17, 18]),
            Build::pseudowire(&plain, 16),
            Build::pppoe(&plain, 9),
            Build::gtp(&plain[14..]),
        ];
        for frame in stacks {
            let overhead = frame.len() - 4000;
            let out = finished(&plain, &frame, offload);
            assert_eq!(out.iter().map(Vec::len).collect::<Vec<_>>(), [1448, 1448, 1104].map(|n| n + overhead));
            let payload: Vec<u8> = out.iter().flat_map(|f| f[overhead..].to_vec()).collect();
            assert_eq!(payload, frame[overhead..]);
            for segment in &out {
                checksums_hold(segment);
            }
        }
    }

    #[test]
    fn cuts_tcp_over_ipv6() {
        let plain = Build::tcp6(3000);
        let out = finished(&plain, &plain, Offload::tcp_segments(true, 54, 74, 1000));
        assert_eq!(out.len(), 3);
        out.iter().for_each(|f| checksums_hold(f));
    }

    #[test]
    fn flags_and_sequence_follow() {
        let mut plain = Build::tcp4(2000);
        plain[34 + 13] = 0x99; // CWR, ACK, PSH, FIN
        let out = finished(&plain, &plain, Offload::tcp_segments(false, 34, 54, 800));
        assert_eq!(out.iter().map(|f| f[47]).collect::<Vec<_>>(), [0x90, 0x10, 0x19]);
        let first = u32::from_be_bytes(plain[38..42].try_into().unwrap());
        for (n, f) in out.iter().enumerate() {
            assert_eq!(u32::from_be_bytes(f[38..42].try_into().unwrap()), first.wrapping_add(800 * n as u32));
        }
    }

    #[test]
    fn nonsense_passes_without_panic() {
        let plain = Build::tcp4(100);
        let layers = Layers::new();
        for offload in [
            Offload::partial_checksum(60000, 16),
            Offload::tcp_segments(false, 34, 20, 10),
            Offload::tcp_segments(false, 34, 54, 0),
            Offload::tcp_segments(false, 34, 60000, 10),
        ] {
            let mut count = 0;
            finish(&mut plain.clone(), &offload, &layers, &mut |_| count += 1);
            assert_eq!(count, 1);
        }
    }
}
