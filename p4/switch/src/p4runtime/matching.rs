//! Keys of table entries and value-set members: from `FieldMatch` messages to a packed form of fixed size, and back.
//!
//! A packed key is the fields in the program's order, each value in whole bytes, most significant first:
//! exact `value`, LPM `value, length (2 bytes)`, ternary `value, mask`, range `low, high`, optional `1 or 0, value`. An omitted field
//! is its don't-care form. Two messages name the same entry exactly when their packed keys are equal (P4Runtime 9.1.1).

use bytes::Bytes;
use p4runtime_proto::p4::v1::{
    FieldMatch,
    field_match::{self, FieldMatchType},
};

use super::{
    failure::{Failure, Outcome},
    schema::Field,
    translate::Translation,
};
use crate::{program::MatchKind, tables::key::KeyField};

/// What a request says of one match field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Given<'m> {
    Exact(&'m [u8]),
    Ternary(&'m [u8], &'m [u8]),
    Lpm(&'m [u8], i32),
    Range(&'m [u8], &'m [u8]),
    Optional(&'m [u8]),
    /// An extension of the protocol.
    Other,
    /// The field's type is not set.
    Nothing,
}

impl Given<'_> {
    /// The message of a field with this id.
    pub fn message(&self, field_id: u32) -> FieldMatch {
        let copy = Bytes::copy_from_slice;
        let kind = match *self {
            Given::Exact(value) => FieldMatchType::Exact(field_match::Exact { value: copy(value) }),
            Given::Ternary(value, mask) => {
                FieldMatchType::Ternary(field_match::Ternary { value: copy(value), mask: copy(mask) })
            }
            Given::Lpm(value, prefix_len) => FieldMatchType::Lpm(field_match::Lpm { value: copy(value), prefix_len }),
            Given::Range(low, high) => FieldMatchType::Range(field_match::Range { low: copy(low), high: copy(high) }),
            Given::Optional(value) => FieldMatchType::Optional(field_match::Optional { value: copy(value) }),
            Given::Other | Given::Nothing => return FieldMatch { field_id, field_match_type: None },
        };
        FieldMatch { field_id, field_match_type: Some(kind) }
    }
}

/// The ids and values of match fields.
pub fn given(matches: &[FieldMatch]) -> impl Iterator<Item = (u32, Given<'_>)> {
    matches.iter().map(|one| {
        let given = match &one.field_match_type {
            Some(FieldMatchType::Exact(exact)) => Given::Exact(&exact.value),
            Some(FieldMatchType::Ternary(ternary)) => Given::Ternary(&ternary.value, &ternary.mask),
            Some(FieldMatchType::Lpm(lpm)) => Given::Lpm(&lpm.value, lpm.prefix_len),
            Some(FieldMatchType::Range(range)) => Given::Range(&range.low, &range.high),
            Some(FieldMatchType::Optional(optional)) => Given::Optional(&optional.value),
            Some(FieldMatchType::Other(_)) => Given::Other,
            None => Given::Nothing,
        };
        (one.field_id, given)
    })
}

/// A field of a packed key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part<'k> {
    Exact(&'k [u8]),
    Lpm(&'k [u8], usize),
    Ternary(&'k [u8], &'k [u8]),
    Range(&'k [u8], &'k [u8]),
    Optional(Option<&'k [u8]>),
}

/// Cuts one field out of a packed key.
pub fn part<'k>(field: &Field, key: &'k [u8]) -> Part<'k> {
    let bytes = &key[field.offset..field.offset + field.packed_bytes()];
    let (first, second) = match field.kind {
        MatchKind::Optional => bytes.split_at(1),
        _ => bytes.split_at(field.bytes),
    };
    match field.kind {
        MatchKind::Exact => Part::Exact(first),
        MatchKind::Lpm => Part::Lpm(first, usize::from(u16::from_be_bytes([second[0], second[1]]))),
        MatchKind::Ternary => Part::Ternary(first, second),
        MatchKind::Range => Part::Range(first, second),
        MatchKind::Optional => Part::Optional((first[0] != 0).then_some(second)),
    }
}

/// Writes all bits of a `width`-bit field.
pub(super) fn fill_ones(out: &mut [u8], width: usize) {
    out.fill(0xff);
    if let Some(first) = out.first_mut()
        && !width.is_multiple_of(8)
    {
        *first = 0xff >> (8 - width % 8);
    }
}

fn is_ones(bytes: &[u8], width: usize) -> bool {
    let Some((first, rest)) = bytes.split_first() else { return true };
    let top = if width.is_multiple_of(8) { 0xff } else { 0xff >> (8 - width % 8) };
    *first == top && rest.iter().all(|b| *b == 0xff)
}

/// Whether any bit after the first `prefix` of `width` is set.
fn has_bits_after(bytes: &[u8], width: usize, prefix: usize) -> bool {
    let free = width - prefix;
    let whole = free / 8;
    let (head, tail) = bytes.split_at(bytes.len() - whole);
    tail.iter().any(|b| *b != 0)
        || !free.is_multiple_of(8) && head.last().is_some_and(|b| b & ((1 << (free % 8)) - 1) != 0)
}

/// Packs the match fields of an entry into `out`, which is overwritten.
///
/// # Errors
/// `INVALID_ARGUMENT` for what breaks the rules of P4Runtime 9.1.1, `OUT_OF_RANGE` for byte strings that do not fit.
pub fn pack<'m>(
    fields: &[Field],
    bytes: usize,
    matches: impl Iterator<Item = (u32, Given<'m>)>,
    out: &mut Vec<u8>,
) -> Outcome<()> {
    out.clear();
    out.resize(bytes, 0);
    let mut seen: u128 = 0;
    for (id, given) in matches {
        // Ids count from one in the order of the key, unless the program says otherwise.
        let guess = (id as usize).wrapping_sub(1);
        let at = match fields.get(guess) {
            Some(field) if field.id == id => Some(guess),
            _ => fields.iter().position(|field| field.id == id),
        };
        let Some(at) = at else {
            return Err(Failure::invalid(format!("match: the key has no field with id {id}")));
        };
        let bit = 1u128 << (at & 127);
        if seen & bit != 0 {
            return Err(Failure::invalid(format!("match: field \"{}\" is there twice", fields[at].name)));
        }
        seen |= bit;
        let field = &fields[at];
        let place = &mut out[field.offset..field.offset + field.packed_bytes()];
        pack_field(field, given, place)
            .map_err(|failure| failure.within(format_args!("match field \"{}\"", field.name)))?;
    }
    for (at, field) in fields.iter().enumerate() {
        if seen & 1u128 << (at & 127) != 0 {
            continue;
        }
        match field.kind {
            MatchKind::Exact => {
                return Err(Failure::invalid(format!("match: exact field \"{}\" is missing", field.name)));
            }
            MatchKind::Range => {
                let high = field.offset + field.bytes;
                fill_ones(&mut out[high..high + field.bytes], field.width);
            }
            MatchKind::Lpm | MatchKind::Ternary | MatchKind::Optional => {}
        }
    }
    Ok(())
}

fn pack_field(field: &Field, given: Given<'_>, out: &mut [u8]) -> Outcome<()> {
    let width = field.width;
    if given == Given::Nothing {
        return Err(Failure::invalid("has no value"));
    }
    // Masks and prefixes of values that are strings or of another width mean nothing in the program, but for full ones.
    let other_width = match &field.translation {
        Translation::Bits { width: sdn, .. } if *sdn != width => Some(*sdn),
        _ => None,
    };
    match (field.kind, given) {
        (MatchKind::Exact, Given::Exact(exact)) => field.translation.to_program(exact, width, out),
        (MatchKind::Optional, Given::Optional(optional)) => {
            out[0] = 1;
            field.translation.to_program(optional, width, &mut out[1..])
        }
        (MatchKind::Lpm | MatchKind::Ternary | MatchKind::Range, _) if !field.translation.is_numeric() => {
            Err(Failure::unimplemented("a translated string can only be matched exactly"))
        }
        (MatchKind::Lpm, Given::Lpm(prefix, prefix_len)) => {
            let full = other_width.unwrap_or(width);
            let length = match usize::try_from(prefix_len) {
                Ok(0) => return Err(Failure::invalid("prefix length 0 must be expressed by omission")),
                Ok(length) if length <= full => length,
                _ => {
                    return Err(Failure::invalid(format!("prefix length {prefix_len} is not within 1..={full}")));
                }
            };
            let length = match other_width {
                Some(full) if length == full => width,
                Some(_) => return Err(Failure::unimplemented("a translated value takes full prefixes only")),
                None => length,
            };
            let (value, rest) = out.split_at_mut(field.bytes);
            field.translation.to_program(prefix, width, value)?;
            if has_bits_after(value, width, length) {
                return Err(Failure::invalid(format!("value has bits after the first {length}, which must be zero")));
            }
            rest.copy_from_slice(&(length as u16).to_be_bytes());
            Ok(())
        }
        (MatchKind::Ternary, Given::Ternary(wanted, given_mask)) => {
            let (value, mask) = out.split_at_mut(field.bytes);
            field.translation.to_program(wanted, width, value)?;
            match other_width {
                Some(sdn) => {
                    let mut full = vec![0; sdn.div_ceil(8)];
                    Translation::None.to_program(given_mask, sdn, &mut full)?;
                    if !is_ones(&full, sdn) {
                        return Err(Failure::unimplemented("a translated value takes full masks only"));
                    }
                    fill_ones(mask, width);
                }
                None => {
                    Translation::None.to_program(given_mask, width, mask).map_err(|failure| failure.within("mask"))?
                }
            }
            if mask.iter().all(|b| *b == 0) {
                return Err(Failure::invalid("mask 0 must be expressed by omission"));
            }
            if value.iter().zip(mask.iter()).any(|(v, m)| v & !m != 0) {
                return Err(Failure::invalid("value has bits outside of the mask, which must be zero"));
            }
            Ok(())
        }
        (MatchKind::Range, Given::Range(from, to)) => {
            let (low, high) = out.split_at_mut(field.bytes);
            field.translation.to_program(from, width, low).map_err(|f| f.within("low"))?;
            field.translation.to_program(to, width, high).map_err(|f| f.within("high"))?;
            if *low > *high {
                return Err(Failure::invalid("low is greater than high"));
            }
            if low.iter().all(|b| *b == 0) && is_ones(high, width) {
                return Err(Failure::invalid("the full range must be expressed by omission"));
            }
            Ok(())
        }
        (kind, _) => Err(Failure::invalid(format!("is of another match type, {kind:?} is wanted"))),
    }
}

/// Packs a key of the data plane's own.
///
/// # Errors
/// `INVALID_ARGUMENT` when it is not of these fields.
pub fn pack_fields(fields: &[Field], key: &[KeyField], out: &mut Vec<u8>) -> Outcome<()> {
    fn put(out: &mut Vec<u8>, field: &Field, value: &[u8]) -> Outcome<()> {
        let at = out.len();
        out.resize(at + field.bytes, 0);
        let value = if value.is_empty() { &[0] } else { value };
        Translation::None.to_program(value, field.width, &mut out[at..])
    }
    for (field, given) in fields.iter().zip(key) {
        match given {
            KeyField::Exact(value) => put(out, field, value)?,
            KeyField::Lpm { value, prefix_len } => {
                put(out, field, value)?;
                out.extend_from_slice(&(*prefix_len as u16).to_be_bytes());
            }
            KeyField::Ternary { value, mask } if field.kind == MatchKind::Optional => {
                out.push(u8::from(mask.iter().any(|b| *b != 0)));
                put(out, field, value)?;
            }
            KeyField::Ternary { value, mask } => {
                put(out, field, value)?;
                put(out, field, mask)?;
            }
            KeyField::Range { low, high } => {
                put(out, field, low)?;
                put(out, field, high)?;
            }
            KeyField::Optional(value) => {
                out.push(u8::from(value.is_some()));
                put(out, field, value.as_deref().unwrap_or_default())?;
            }
        }
    }
    Ok(())
}

/// Passes the match fields of a packed key to `take`, in canonical form: don't-care fields are left out.
pub fn each(fields: &[Field], key: &[u8], mut take: impl FnMut(u32, Given<'_>)) {
    for field in fields {
        // What a translation makes of a value lives here.
        let (mut own, mut own_too) = (Bytes::new(), Bytes::new());
        let other_width = match &field.translation {
            Translation::Bits { width: sdn, .. } if *sdn != field.width => Some(*sdn),
            _ => None,
        };
        let given = match part(field, key) {
            Part::Exact(v) => Given::Exact(field.translation.shown(v, &mut own)),
            Part::Lpm(_, 0) | Part::Optional(None) => continue,
            Part::Lpm(v, length) => {
                Given::Lpm(field.translation.shown(v, &mut own), other_width.unwrap_or(length) as i32)
            }
            Part::Ternary(_, mask) if mask.iter().all(|b| *b == 0) => continue,
            Part::Ternary(v, mask) => {
                let mask = match other_width {
                    Some(sdn) => {
                        let mut full = vec![0; sdn.div_ceil(8)];
                        fill_ones(&mut full, sdn);
                        own_too = Bytes::from(full);
                        &own_too
                    }
                    None => Translation::None.shown(mask, &mut own_too),
                };
                Given::Ternary(field.translation.shown(v, &mut own), mask)
            }
            Part::Range(low, high) if low.iter().all(|b| *b == 0) && is_ones(high, field.width) => {
                continue;
            }
            Part::Range(low, high) => {
                Given::Range(field.translation.shown(low, &mut own), field.translation.shown(high, &mut own_too))
            }
            Part::Optional(Some(v)) => Given::Optional(field.translation.shown(v, &mut own)),
        };
        take(field.id, given);
    }
}

/// The same as messages.
pub fn unpack(fields: &[Field], key: &[u8]) -> Vec<FieldMatch> {
    let mut matches = Vec::with_capacity(fields.len());
    each(fields, key, |id, given| matches.push(given.message(id)));
    matches
}

#[cfg(test)]
mod tests {
    use super::*;
    use tonic::Code;

    fn fields(kinds: &[(MatchKind, usize)]) -> (Vec<Field>, usize) {
        let mut offset = 0;
        let mut fields = Vec::new();
        for (at, (kind, width)) in kinds.iter().enumerate() {
            let field = Field {
                id: at as u32 + 1,
                name: format!("f{at}"),
                kind: *kind,
                width: *width,
                bytes: width.div_ceil(8),
                offset,
                translation: Translation::None,
            };
            offset += field.packed_bytes();
            fields.push(field);
        }
        (fields, offset)
    }

    fn exact(id: u32, value: &'static [u8]) -> FieldMatch {
        let kind = FieldMatchType::Exact(field_match::Exact { value: value.into() });
        FieldMatch { field_id: id, field_match_type: Some(kind) }
    }
    fn lpm(id: u32, value: &'static [u8], prefix_len: i32) -> FieldMatch {
        let kind = FieldMatchType::Lpm(field_match::Lpm { value: value.into(), prefix_len });
        FieldMatch { field_id: id, field_match_type: Some(kind) }
    }
    fn ternary(id: u32, value: &'static [u8], mask: &'static [u8]) -> FieldMatch {
        let (value, mask) = (value.into(), mask.into());
        let kind = FieldMatchType::Ternary(field_match::Ternary { value, mask });
        FieldMatch { field_id: id, field_match_type: Some(kind) }
    }
    fn range(id: u32, low: &'static [u8], high: &'static [u8]) -> FieldMatch {
        let kind = FieldMatchType::Range(field_match::Range { low: low.into(), high: high.into() });
        FieldMatch { field_id: id, field_match_type: Some(kind) }
    }
    fn optional(id: u32, value: &'static [u8]) -> FieldMatch {
        let kind = FieldMatchType::Optional(field_match::Optional { value: value.into() });
        FieldMatch { field_id: id, field_match_type: Some(kind) }
    }

    fn refused(kinds: &[(MatchKind, usize)], matches: &[FieldMatch]) -> Code {
        let (fields, bytes) = fields(kinds);
        pack(&fields, bytes, given(matches), &mut Vec::new()).unwrap_err().code
    }

    use MatchKind::{Exact, Lpm, Optional, Range, Ternary};

    #[test]
    fn every_kind_comes_back_canonical() {
        let (fields, bytes) = fields(&[(Exact, 9), (Lpm, 32), (Ternary, 12), (Range, 16), (Optional, 48)]);
        let wanted_key = [
            optional(5, &[1, 2]),
            exact(1, &[0, 0, 1, 0xff]),
            lpm(2, &[10, 0, 0, 0], 8),
            ternary(3, &[2], &[0x0f, 2]),
            range(4, &[5], &[1, 0]),
        ];
        let mut key = Vec::new();
        pack(&fields, bytes, given(&wanted_key), &mut key).unwrap();
        assert_eq!(part(&fields[1], &key), Part::Lpm(&[10, 0, 0, 0], 8));
        let wanted = [
            exact(1, &[1, 0xff]),
            lpm(2, &[10, 0, 0, 0], 8),
            ternary(3, &[2], &[0x0f, 2]),
            range(4, &[5], &[1, 0]),
            optional(5, &[1, 2]),
        ];
        assert_eq!(unpack(&fields, &key), wanted);
        // What is omitted stays omitted.
        pack(&fields, bytes, given(&[exact(1, &[7])]), &mut key).unwrap();
        assert_eq!(unpack(&fields, &key), [exact(1, &[7])]);
        assert_eq!(part(&fields[3], &key), Part::Range(&[0, 0], &[0xff, 0xff]));
    }

    #[test]
    fn broken_rules_are_refused() {
        let invalid = Code::InvalidArgument;
        let range_error = Code::OutOfRange;
        assert_eq!(refused(&[(Exact, 9)], &[]), invalid);
        assert_eq!(refused(&[(Exact, 9)], &[exact(2, &[1])]), invalid);
        assert_eq!(refused(&[(Exact, 9)], &[exact(1, &[1]), exact(1, &[1])]), invalid);
        assert_eq!(refused(&[(Exact, 9)], &[lpm(1, &[1], 9)]), invalid);
        assert_eq!(refused(&[(Exact, 9)], &[FieldMatch { field_id: 1, field_match_type: None }]), invalid);
        assert_eq!(refused(&[(Exact, 9)], &[exact(1, &[2, 0])]), range_error);
        assert_eq!(refused(&[(Exact, 9)], &[exact(1, &[])]), range_error);
        assert_eq!(refused(&[(Lpm, 32)], &[lpm(1, &[10, 0, 0, 0], 0)]), invalid);
        assert_eq!(refused(&[(Lpm, 32)], &[lpm(1, &[10, 0, 0, 0], 33)]), invalid);
        assert_eq!(refused(&[(Lpm, 32)], &[lpm(1, &[10, 0, 0, 0], -1)]), invalid);
        assert_eq!(refused(&[(Lpm, 32)], &[lpm(1, &[10, 0, 0, 1], 31)]), invalid);
        assert_eq!(refused(&[(Ternary, 12)], &[ternary(1, &[0], &[0])]), invalid);
        assert_eq!(refused(&[(Ternary, 12)], &[ternary(1, &[3], &[2])]), invalid);
        assert_eq!(refused(&[(Ternary, 12)], &[ternary(1, &[0], &[0x10, 0])]), range_error);
        assert_eq!(refused(&[(Range, 12)], &[range(1, &[3], &[2])]), invalid);
        assert_eq!(refused(&[(Range, 12)], &[range(1, &[0], &[0x0f, 0xff])]), invalid);
        assert_eq!(refused(&[(Optional, 12)], &[exact(1, &[0])]), invalid);
    }

    #[test]
    fn prefixes_of_odd_widths() {
        let (fields, bytes) = fields(&[(Lpm, 12)]);
        let mut key = Vec::new();
        // 12 bits in two bytes: the first byte holds four of them.
        pack(&fields, bytes, given(&[lpm(1, &[0x0a, 0x00], 4)]), &mut key).unwrap();
        assert_eq!(part(&fields[0], &key), Part::Lpm(&[0x0a, 0], 4));
        assert_eq!(refused(&[(Lpm, 12)], &[lpm(1, &[0x0a, 0x80], 4)]), Code::InvalidArgument);
        assert!(pack(&fields, bytes, given(&[lpm(1, &[0x0a, 0x80], 5)]), &mut key).is_ok());
        assert_eq!(refused(&[(Lpm, 12)], &[lpm(1, &[0x0a, 0x80], 3)]), Code::InvalidArgument);
    }

    #[test]
    fn translated_values_of_another_width() {
        let (mut fields, bytes) = fields(&[(Ternary, 9), (Lpm, 9)]);
        for field in &mut fields {
            field.translation = Translation::Bits { width: 32, cpu_port: Some(510) };
        }
        let wanted_key = [ternary(1, &[0xff, 0xff, 0xff, 0xfd], &[0xff, 0xff, 0xff, 0xff]), lpm(2, &[5], 32)];
        let mut key = Vec::new();
        pack(&fields, bytes, given(&wanted_key), &mut key).unwrap();
        assert_eq!(part(&fields[0], &key), Part::Ternary(&[1, 254], &[1, 255]));
        assert_eq!(part(&fields[1], &key), Part::Lpm(&[0, 5], 9));
        assert_eq!(unpack(&fields, &key), wanted_key);
        let half = [ternary(1, &[4], &[4])];
        assert_eq!(pack(&fields, bytes, given(&half), &mut key).unwrap_err().code, Code::Unimplemented);
    }
}
