//! Ethernet II with up to two VLAN tags.

use super::{Mac, WireError, be16, take};

/// VLAN ids on the wire, outermost first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub enum Tags {
    #[default]
    None,
    One(u16),
    Two(u16, u16),
}

impl Tags {
    pub fn to_vec(self) -> Vec<u16> {
        match self {
            Tags::None => Vec::new(),
            Tags::One(a) => vec![a],
            Tags::Two(a, b) => vec![a, b],
        }
    }
}

const TPID_C: u16 = 0x8100;
const TPID_S: u16 = 0x88a8;
const TPID_OLD: u16 = 0x9100;

fn is_tpid(ether_type: u16) -> bool {
    matches!(ether_type, TPID_C | TPID_S | TPID_OLD)
}

/// A parsed frame that borrows its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frame<'a> {
    pub dst: Mac,
    pub src: Mac,
    pub tags: Tags,
    pub ether_type: u16,
    /// What follows the EtherType, padding included.
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Errors when the frame ends inside its headers, or carries a third tag or an 802.3 length.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, WireError> {
        let dst = Mac::at(bytes, 0, "ethernet destination")?;
        let src = Mac::at(bytes, 6, "ethernet source")?;
        let mut at = 12;
        let mut ids = [0; 2];
        let mut count = 0;
        let mut ether_type = be16(bytes, at, "ethertype")?;
        while is_tpid(ether_type) {
            if count == 2 {
                return Err(WireError::Value { field: "vlan tags", found: 3, allowed: "0 to 2" });
            }
            ids[count] = be16(bytes, at + 2, "vlan tag")? & 0x0fff;
            count += 1;
            at += 4;
            ether_type = be16(bytes, at, "ethertype")?;
        }
        if ether_type < 0x0600 {
            return Err(WireError::Value {
                field: "ethertype",
                found: u64::from(ether_type),
                allowed: "0x0600 and above",
            });
        }
        let tags = match count {
            0 => Tags::None,
            1 => Tags::One(ids[0]),
            _ => Tags::Two(ids[0], ids[1]),
        };
        let payload = take(bytes, at + 2, bytes.len() - at - 2, "payload")?;
        Ok(Frame { dst, src, tags, ether_type, payload })
    }
}

/// A frame ready for the wire. The outer tag of two is an S-tag (0x88a8) only on the wire of an S-VLAN bridge; edge
/// ports here use 0x8100 for both, as most access hardware does.
pub fn ethernet(dst: Mac, src: Mac, tags: Tags, ether_type: u16, payload: &[u8]) -> Vec<u8> {
    let mut frame = Vec::with_capacity((22 + payload.len()).max(60));
    frame.extend_from_slice(&dst.0);
    frame.extend_from_slice(&src.0);
    let mut tag = |id: u16| {
        frame.extend_from_slice(&TPID_C.to_be_bytes());
        frame.extend_from_slice(&(id & 0x0fff).to_be_bytes());
    };
    match tags {
        Tags::None => {}
        Tags::One(id) => tag(id),
        Tags::Two(outer, inner) => {
            tag(outer);
            tag(inner);
        }
    }
    frame.extend_from_slice(&ether_type.to_be_bytes());
    frame.extend_from_slice(payload);
    if frame.len() < 60 {
        frame.resize(60, 0); // IEEE 802.3: 64 bytes with the FCS
    }
    frame
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn layout_of_a_double_tagged_frame() {
        let f = ethernet(Mac([1; 6]), Mac([2; 6]), Tags::Two(100, 200), 0x0806, &[9, 9]);
        assert_eq!(&f[..26], &[1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2, 0x81, 0, 0, 100, 0x81, 0, 0, 200, 8, 6, 9, 9, 0, 0]);
        assert_eq!(f.len(), 60);
        let p = Frame::parse(&f).unwrap();
        assert_eq!((p.tags, p.ether_type), (Tags::Two(100, 200), 0x0806));
    }

    #[test]
    fn priority_bits_are_no_part_of_the_id() {
        let mut f = ethernet(Mac([1; 6]), Mac([2; 6]), Tags::One(7), 0x0800, &[]);
        f[14] |= 0xf0;
        assert_eq!(Frame::parse(&f).unwrap().tags, Tags::One(7));
    }

    #[test]
    fn third_tag_and_length_field_are_refused() {
        let mut f = vec![0; 12];
        for _ in 0..3 {
            f.extend_from_slice(&[0x81, 0, 0, 5]);
        }
        f.extend_from_slice(&[8, 0]);
        assert!(matches!(Frame::parse(&f), Err(WireError::Value { field: "vlan tags", .. })));
        let mut f = vec![0; 12];
        f.extend_from_slice(&[0, 60]);
        assert!(matches!(Frame::parse(&f), Err(WireError::Value { field: "ethertype", .. })));
    }

    proptest! {
        #[test]
        fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Frame::parse(&bytes);
        }

        #[test]
        fn round_trip(dst: [u8; 6], src: [u8; 6], n in 0usize..3, a in 0u16..4096, b in 0u16..4096,
                      et in prop_oneof![Just(0x0800u16), Just(0x86dd), Just(0x88cc)],
                      payload in proptest::collection::vec(any::<u8>(), 46..100)) {
            let tags = [Tags::None, Tags::One(a), Tags::Two(a, b)][n];
            let bytes = ethernet(Mac(dst), Mac(src), tags, et, &payload);
            let f = Frame::parse(&bytes).unwrap();
            prop_assert_eq!(f, Frame { dst: Mac(dst), src: Mac(src), tags, ether_type: et, payload: &payload });
        }
    }
}
