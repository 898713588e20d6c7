//! Finds a transport header behind any stack of Ethernet, VLAN, MPLS, PPPoE, IP, UDP, GTP-U and VXLAN headers.
//!
//! MPLS does not say what follows its last label, so the walk tries what is possible (IPv4, IPv6, an Ethernet frame with
//! or without a control word) and takes the first way that ends at the wanted header.

use smallvec::SmallVec;

/// A header on the way, without what its fields say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layer {
    Ethernet,
    Vlan,
    Mpls,
    Pppoe,
    Ipv4,
    Ipv6,
    Udp,
    Tcp,
    Gtpu,
    Vxlan,
}

/// Headers from the outermost on, each with its offset in the frame.
pub type Layers = SmallVec<[(Layer, usize); 12]>;

/// Labels, tags and nested frames end somewhere: no frame in use has more headers.
const DEPTH_MAX: usize = 24;
const GTPU_PORT: u16 = 2152;
const VXLAN_PORT: u16 = 4789;

/// The headers up to and with the first transport header that `wanted` accepts. `frame` may be only the frame's start.
pub fn find(frame: &[u8], wanted: &dyn Fn(Layer, usize) -> bool) -> Option<Layers> {
    let mut layers = Layers::new();
    ethernet(frame, 0, wanted, &mut layers).then_some(layers)
}

/// The frame length that the outermost IP header of `layers` promises.
pub fn promised_len(frame: &[u8], layers: &Layers) -> Option<usize> {
    layers.iter().find_map(|(layer, at)| match layer {
        Layer::Ipv4 => half(frame, at + 2).filter(|len| *len != 0).map(|len| at + usize::from(len)),
        Layer::Ipv6 => half(frame, at + 4).filter(|len| *len != 0).map(|len| at + 40 + usize::from(len)),
        _ => None,
    })
}

fn half(frame: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_be_bytes([*frame.get(at)?, *frame.get(at + 1)?]))
}

type Wanted<'a> = &'a dyn Fn(Layer, usize) -> bool;

/// Runs `go` with `layer` pushed, and takes it off again when that leads nowhere.
fn with(layers: &mut Layers, layer: Layer, at: usize, go: impl FnOnce(&mut Layers) -> bool) -> bool {
    if layers.len() == DEPTH_MAX {
        return false;
    }
    layers.push((layer, at));
    go(layers) || {
        layers.pop();
        false
    }
}

fn ethernet(frame: &[u8], at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    let Some(kind) = half(frame, at + 12) else { return false };
    with(layers, Layer::Ethernet, at, |layers| ethertype(frame, kind, at + 14, wanted, layers))
}

fn ethertype(frame: &[u8], kind: u16, at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    match kind {
        0x0800 => ipv4(frame, at, wanted, layers),
        0x86dd => ipv6(frame, at, wanted, layers),
        0x8100 | 0x88a8 | 0x9100 => {
            let Some(next) = half(frame, at + 2) else { return false };
            with(layers, Layer::Vlan, at, |layers| ethertype(frame, next, at + 4, wanted, layers))
        }
        0x8847 | 0x8848 => mpls(frame, at, wanted, layers),
        0x8864 => {
            let next = match half(frame, at + 6) {
                Some(0x0021) => 0x0800,
                Some(0x0057) => 0x86dd,
                _ => return false,
            };
            with(layers, Layer::Pppoe, at, |layers| ethertype(frame, next, at + 8, wanted, layers))
        }
        _ => false,
    }
}

fn mpls(frame: &[u8], at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    let Some(flags) = frame.get(at + 2) else { return false };
    let bottom = flags & 1 != 0;
    let next = at + 4;
    with(layers, Layer::Mpls, at, |layers| {
        if !bottom {
            return mpls(frame, next, wanted, layers);
        }
        let nibble = frame.get(next).map_or(0xff, |b| b >> 4);
        (nibble == 4 && ipv4(frame, next, wanted, layers))
            || (nibble == 6 && ipv6(frame, next, wanted, layers))
            || ethernet(frame, next, wanted, layers)
            || (nibble == 0 && ethernet(frame, next + 4, wanted, layers))
    })
}

fn ipv4(frame: &[u8], at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    let (Some(first), Some(fragment), Some(protocol)) = (frame.get(at), half(frame, at + 6), frame.get(at + 9)) else {
        return false;
    };
    let header = usize::from(first & 15) * 4;
    if first >> 4 != 4 || header < 20 || fragment & 0x1fff != 0 {
        return false;
    }
    with(layers, Layer::Ipv4, at, |layers| transport(frame, *protocol, at + header, wanted, layers))
}

fn ipv6(frame: &[u8], at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    let (Some(first), Some(mut next)) = (frame.get(at), frame.get(at + 6).copied()) else { return false };
    if first >> 4 != 6 {
        return false;
    }
    with(layers, Layer::Ipv6, at, |layers| {
        let mut offset = at + 40;
        // Hop-by-hop, routing and destination options stand before the transport header.
        while matches!(next, 0 | 43 | 60) {
            let (Some(following), Some(len)) = (frame.get(offset), frame.get(offset + 1)) else { return false };
            next = *following;
            offset += (usize::from(*len) + 1) * 8;
        }
        transport(frame, next, offset, wanted, layers)
    })
}

fn transport(frame: &[u8], protocol: u8, at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    match protocol {
        4 => ipv4(frame, at, wanted, layers),
        41 => ipv6(frame, at, wanted, layers),
        6 if frame.len() >= at + 20 => with(layers, Layer::Tcp, at, |_| wanted(Layer::Tcp, at)),
        17 if frame.len() >= at + 8 => with(layers, Layer::Udp, at, |layers| {
            wanted(Layer::Udp, at)
                || match half(frame, at + 2) {
                    Some(GTPU_PORT) => gtpu(frame, at + 8, wanted, layers),
                    Some(VXLAN_PORT) => {
                        with(layers, Layer::Vxlan, at + 8, |layers| ethernet(frame, at + 16, wanted, layers))
                    }
                    _ => false,
                }
        }),
        _ => false,
    }
}

/// GTP-U (TS 29.281 §5.1): version 1, message type 255 (G-PDU), optional words and extension headers.
fn gtpu(frame: &[u8], at: usize, wanted: Wanted, layers: &mut Layers) -> bool {
    let (Some(flags), Some(255)) = (frame.get(at), frame.get(at + 1)) else { return false };
    if flags >> 4 != 3 {
        return false;
    }
    let mut offset = at + 8;
    if flags & 7 != 0 {
        let Some(mut next) = frame.get(at + 11).copied() else { return false };
        offset += 4;
        while flags & 4 != 0 && next != 0 {
            let Some(words @ 1..) = frame.get(offset).copied() else { return false };
            let end = offset + usize::from(words) * 4;
            let Some(following) = frame.get(end - 1) else { return false };
            next = *following;
            offset = end;
        }
    }
    with(layers, Layer::Gtpu, at, |layers| match frame.get(offset).map(|b| b >> 4) {
        Some(4) => ipv4(frame, offset, wanted, layers),
        Some(6) => ipv6(frame, offset, wanted, layers),
        _ => false,
    })
}

#[cfg(test)]
mod tests {
    use super::super::testing::{Build, VLAN};
    use super::*;

    fn layers(frame: &[u8]) -> Vec<(Layer, usize)> {
        find(frame, &|layer, _| layer == Layer::Tcp).map(|l| l.to_vec()).unwrap_or_default()
    }

    #[test]
    fn walks_tags_labels_and_tunnels() {
        use Layer::{Ethernet, Gtpu, Ipv4, Mpls, Pppoe, Tcp, Udp, Vlan};
        let plain = Build::tcp4(10);
        assert_eq!(layers(&plain), [(Ethernet, 0), (Ipv4, 14), (Tcp, 34)]);
        let tagged = Build::tagged(&plain, &[(VLAN, 5)]);
        assert_eq!(layers(&tagged), [(Ethernet, 0), (Vlan, 14), (Ipv4, 18), (Tcp, 38)]);
        let labelled = Build::mpls(&plain, &[1, 2]);
        assert_eq!(layers(&labelled), [(Ethernet, 0), (Mpls, 14), (Mpls, 18), (Ipv4, 22), (Tcp, 42)]);
        let wire = Build::pseudowire(&plain, 99);
        assert_eq!(layers(&wire), [(Ethernet, 0), (Mpls, 14), (Ethernet, 22), (Ipv4, 36), (Tcp, 56)]);
        let tunnel = Build::gtp(&plain[14..]);
        let expected = [(Ethernet, 0), (Ipv4, 14), (Udp, 34), (Gtpu, 42), (Ipv4, 50), (Tcp, 70)];
        assert_eq!(layers(&tunnel), expected);
        let session = Build::pppoe(&plain, 4);
        assert_eq!(layers(&session), [(Ethernet, 0), (Pppoe, 14), (Ipv4, 22), (Tcp, 42)]);
    }

    #[test]
    fn endless_stacks_end() {
        let mut frame = vec![0u8; 12];
        for _ in 0..60 {
            frame.extend([0x81, 0, 0, 1]);
        }
        assert!(layers(&frame).is_empty());
    }

    #[test]
    fn every_prefix_is_refused_quietly() {
        let frame = Build::gtp(&Build::tcp4(10)[14..]);
        for len in 0..90 {
            assert!(layers(&frame[..len]).is_empty(), "{len}");
        }
    }
}
