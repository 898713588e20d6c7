//! Packet-in and packet-out: controller metadata to and from the header that the program parses (P4Runtime 16.1).

use p4runtime_proto::p4::v1;

use super::{
    failure::{Failure, Outcome},
    schema::PacketHeader,
};

/// Copies `width` bits, right-aligned in `value`, to bit `at` of `out`.
fn put_bits(out: &mut [u8], at: usize, width: usize, value: &[u8]) {
    let skip = value.len() * 8 - width;
    for bit in 0..width {
        let from = skip + bit;
        if value[from / 8] >> (7 - from % 8) & 1 != 0 {
            let to = at + bit;
            out[to / 8] |= 1 << (7 - to % 8);
        }
    }
}

/// The inverse of [`put_bits`]: whole bytes, right-aligned.
fn take_bits(bytes: &[u8], at: usize, width: usize) -> Vec<u8> {
    let mut value = vec![0; width.div_ceil(8)];
    let skip = value.len() * 8 - width;
    for bit in 0..width {
        let from = at + bit;
        if bytes[from / 8] >> (7 - from % 8) & 1 != 0 {
            let to = skip + bit;
            value[to / 8] |= 1 << (7 - to % 8);
        }
    }
    value
}

/// The frame for the data plane: the program's packet-out header, then the payload.
///
/// # Errors
/// `INVALID_ARGUMENT` when the metadata are not exactly those of P4Info, `OUT_OF_RANGE` for values that do not fit.
pub fn packet_out(header: Option<&PacketHeader>, packet: &v1::PacketOut) -> Outcome<Vec<u8>> {
    let Some(header) = header else {
        if let Some(extra) = packet.metadata.first() {
            return Err(Failure::invalid(format!("metadata {}: P4Info has no packet_out header", extra.metadata_id)));
        }
        return Ok(packet.payload.to_vec());
    };
    let length = header.bits.div_ceil(8);
    let mut frame = Vec::with_capacity(length + packet.payload.len());
    frame.resize(length, 0);
    for given in &packet.metadata {
        if !header.fields.iter().any(|field| field.id == given.metadata_id) {
            return Err(Failure::invalid(format!(
                "metadata {} is not in P4Info's packet_out header",
                given.metadata_id
            )));
        }
    }
    let mut at = 0;
    for field in &header.fields {
        let mut given = packet.metadata.iter().filter(|given| given.metadata_id == field.id);
        let (Some(one), None) = (given.next(), given.next()) else {
            return Err(Failure::invalid(format!(
                "metadata {} (\"{}\") must be there exactly once",
                field.id, field.name
            )));
        };
        let mut value = vec![0; field.width.div_ceil(8)];
        field
            .translation
            .to_program(&one.value, field.width, &mut value)
            .map_err(|failure| failure.within(format_args!("metadata \"{}\"", field.name)))?;
        put_bits(&mut frame, at, field.width, &value);
        at += field.width;
    }
    frame.extend_from_slice(&packet.payload);
    Ok(frame)
}

/// The message for a frame that left by the CPU port; none when it is shorter than the program's packet-in header.
pub fn packet_in(header: Option<&PacketHeader>, frame: &[u8]) -> Option<v1::PacketIn> {
    let Some(header) = header else {
        return Some(v1::PacketIn { payload: bytes::Bytes::copy_from_slice(frame), metadata: Vec::new() });
    };
    let length = header.bits.div_ceil(8);
    if frame.len() < length {
        return None;
    }
    let (head, payload) = frame.split_at(length);
    let mut at = 0;
    let mut metadata = Vec::with_capacity(header.fields.len());
    for field in &header.fields {
        let value = take_bits(head, at, field.width);
        at += field.width;
        metadata.push(v1::PacketMetadata { metadata_id: field.id, value: field.translation.to_controller(&value) });
    }
    Some(v1::PacketIn { payload: bytes::Bytes::copy_from_slice(payload), metadata })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::p4runtime::{schema::HeaderField, translate::Translation};
    use tonic::Code;

    fn header() -> PacketHeader {
        let field =
            |id, name: &str, width| HeaderField { id, name: name.into(), width, translation: Translation::None };
        PacketHeader { fields: vec![field(1, "port", 9), field(2, "queue", 7)], bits: 16 }
    }

    fn out(metadata: &[(u32, &'static [u8])]) -> v1::PacketOut {
        let metadata =
            metadata.iter().map(|(id, value)| v1::PacketMetadata { metadata_id: *id, value: (*value).into() });
        v1::PacketOut { payload: bytes::Bytes::from_static(b"xyz"), metadata: metadata.collect() }
    }

    #[test]
    fn metadata_become_header_bits_and_back() {
        let header = header();
        let frame = packet_out(Some(&header), &out(&[(2, &[0x41]), (1, &[1, 0x02])])).unwrap();
        // 9 bits of 0x102, 7 bits of 0x41.
        assert_eq!(frame, [0x81, 0x41, b'x', b'y', b'z']);
        let message = packet_in(Some(&header), &frame).unwrap();
        assert_eq!(message.payload, "xyz");
        let values: Vec<_> = message.metadata.iter().map(|m| (m.metadata_id, m.value.to_vec())).collect();
        assert_eq!(values, [(1, vec![1, 2]), (2, vec![0x41])]);
        assert_eq!(packet_in(Some(&header), &frame[..1]), None);
    }

    #[test]
    fn metadata_must_be_exactly_those_of_the_header() {
        let header = header();
        let code = |m: &[(u32, &'static [u8])]| packet_out(Some(&header), &out(m)).unwrap_err().code;
        assert_eq!(code(&[(1, &[1])]), Code::InvalidArgument);
        assert_eq!(code(&[(1, &[1]), (2, &[1]), (7, &[1])]), Code::InvalidArgument);
        assert_eq!(code(&[(1, &[1]), (2, &[1]), (2, &[1])]), Code::InvalidArgument);
        assert_eq!(code(&[(1, &[2, 0]), (2, &[1])]), Code::OutOfRange);
        assert_eq!(packet_out(None, &out(&[])).unwrap(), b"xyz");
        assert_eq!(packet_out(None, &out(&[(1, &[1])])).unwrap_err().code, Code::InvalidArgument);
    }
}
