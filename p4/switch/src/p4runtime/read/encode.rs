//! Entries as the bytes of a `ReadResponse`, without messages in between.

use bytes::Bytes;
use p4runtime_proto::p4::v1;

use super::tables::Shape;
use super::{Entry, Plane, Table};
use crate::p4runtime::{
    matching::{self, Given},
    plane::Cell,
    values::{self, Call, Value},
};

/// Field `entities` of `ReadResponse`.
const ENTITIES: u8 = 1 << 3 | 2;

/// Appends an entity to a `ReadResponse`.
pub fn entity(entity: &v1::Entity, out: &mut Vec<u8>) {
    prost::encoding::message::encode(u32::from(ENTITIES >> 3), entity, out);
}

/// Appends an entry to a `ReadResponse`; false for one that takes a message.
pub fn entry(table: &Table, plane: &Plane, shape: Shape, entry: &Entry, out: &mut Vec<u8>) -> bool {
    let Shape::Entry { counter, meter: false, colors: false, idle: false } = shape else { return false };
    let (Value::Call(call), None) = (&entry.value, &entry.extra) else { return false };
    nested(ENTITIES, out, |out| {
        nested(2 << 3 | 2, out, |out| {
            number(1 << 3, u64::from(table.id), out);
            matching::each(&table.fields, &entry.key, |id, given| {
                nested(2 << 3 | 2, out, |out| match_field(id, given, out));
            });
            nested(3 << 3 | 2, out, |out| nested(1 << 3 | 2, out, |out| action(table, call, out)));
            // Negative numbers are as long as 64 bits take.
            number(4 << 3, i64::from(entry.priority) as u64, out);
            if counter && table.counter.is_some() {
                let count = plane.count(Cell::Entry(&entry.handle));
                nested(7 << 3 | 2, out, |out| {
                    let data = values::counter_data(count);
                    number(1 << 3, data.byte_count as u64, out);
                    number(2 << 3, data.packet_count as u64, out);
                });
            }
            number(13 << 3, u64::from(entry.is_const), out);
        });
    });
    true
}

fn match_field(id: u32, given: Given<'_>, out: &mut Vec<u8>) {
    number(1 << 3, u64::from(id), out);
    let (kind, first, second) = match given {
        Given::Exact(value) => (2, value, None),
        Given::Ternary(value, mask) => (3, value, Some(mask)),
        Given::Lpm(value, _) => (4, value, None),
        Given::Range(low, high) => (6, low, Some(high)),
        Given::Optional(value) => (7, value, None),
        Given::Nothing | Given::Other => return,
    };
    nested(kind << 3 | 2, out, |out| {
        bytes(1 << 3 | 2, first, out);
        if let Some(second) = second {
            bytes(2 << 3 | 2, second, out);
        }
        if let Given::Lpm(_, length) = given {
            number(2 << 3, i64::from(length) as u64, out);
        }
    });
}

fn action(table: &Table, call: &Call, out: &mut Vec<u8>) {
    let action = &table.actions[usize::from(call.at)].action;
    number(1 << 3, u64::from(action.id), out);
    for param in &action.params {
        let value = &call.args[param.offset..param.offset + param.bytes];
        nested(4 << 3 | 2, out, |out| {
            number(2 << 3, u64::from(param.id), out);
            bytes(3 << 3 | 2, param.translation.shown(value, &mut Bytes::new()), out);
        });
    }
}

fn varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// A number that is not in its default.
fn number(tag: u8, value: u64, out: &mut Vec<u8>) {
    if value != 0 {
        out.push(tag);
        varint(value, out);
    }
}

fn bytes(tag: u8, value: &[u8], out: &mut Vec<u8>) {
    if !value.is_empty() {
        out.push(tag);
        varint(value.len() as u64, out);
        out.extend_from_slice(value);
    }
}

/// A message inside, whose length stands in front of it: one byte in most cases.
fn nested(tag: u8, out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    out.push(tag);
    let at = out.len();
    out.push(0);
    write(out);
    let len = out.len() - at - 1;
    if len < 0x80 {
        out[at] = len as u8;
        return;
    }
    let mut prefix = Vec::with_capacity(4);
    varint(len as u64, &mut prefix);
    out.splice(at..=at, prefix);
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;
    use v1::field_match;

    #[test]
    fn what_is_nested_has_its_length_before_it() {
        for len in [0, 1, 127, 128, 300, 16_383, 16_384, 100_000] {
            let value = vec![7; len];
            let mut ours = vec![9];
            nested(2 << 3 | 2, &mut ours, |out| bytes(1 << 3 | 2, &value, out));
            let exact = field_match::Exact { value: value.into() };
            let mut prost = vec![9];
            prost::encoding::message::encode(2, &exact, &mut prost);
            assert_eq!(ours, prost, "{len}");
        }
    }

    #[test]
    fn match_fields_are_what_prost_makes_of_them() {
        let (low, high): (&[u8], &[u8]) = (&[1, 2], &[3]);
        let all = [
            Given::Exact(low),
            Given::Ternary(low, high),
            Given::Lpm(low, 9),
            Given::Lpm(low, -1),
            Given::Range(&[0], high),
            Given::Optional(low),
        ];
        for given in all {
            let mut ours = Vec::new();
            match_field(300, given, &mut ours);
            assert_eq!(ours, given.message(300).encode_to_vec(), "{given:?}");
        }
    }
}
