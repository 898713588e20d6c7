//! Values of key fields and parameters.

use crate::exec::wide::Wide;
use crate::program::{MatchField, MatchKind};
use crate::tables::key::{KeyField, Value};

/// Bytes of a number, most significant first; `*` digits count as zero and are returned as a mask of what is fixed.
fn digits(text: &str) -> Result<(Value, Value, u32), String> {
    let bad = || format!("found \"{text}\", expected a number");
    let (body, bits) = match text.get(..2) {
        Some("0x" | "0X") => (&text[2..], 4),
        Some("0b" | "0B") => (&text[2..], 1),
        Some("0o" | "0O") => (&text[2..], 3),
        _ => {
            // Decimal has no wildcards.
            let ten = Wide::from_u64(10);
            let mut value = Wide::from_u64(0);
            for c in text.chars() {
                let digit = c.to_digit(10).ok_or_else(bad)?;
                value = value.mul(&ten).add(&Wide::from_u64(u64::from(digit)));
            }
            if text.is_empty() {
                return Err(bad());
            }
            return Ok((bytes(&value), Value::new(), 0));
        }
    };
    let (mut value, mut mask) = (Wide::from_u64(0), Wide::from_u64(0));
    let full = Wide::from_u64((1 << bits) - 1);
    for c in body.chars() {
        (value, mask) = (value.shl(bits), mask.shl(bits));
        if c != '*' {
            let digit = c.to_digit(1 << bits).ok_or_else(bad)?;
            (value, mask) = (value.or(&Wide::from_u64(u64::from(digit))), mask.or(&full));
        }
    }
    if body.is_empty() {
        return Err(bad());
    }
    let fixed = body.chars().filter(|c| *c != '*').count() as u32 * bits as u32;
    Ok((bytes(&value), bytes(&mask), fixed))
}

fn bytes(value: &Wide) -> Value {
    let mut limbs = [0; 65];
    value.to_limbs(&mut limbs);
    let all = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes());
    all.skip_while(|&b| b == 0).collect()
}

fn ones(width: u32) -> Value {
    bytes(&Wide::from_u64(1).shl(u64::from(width)).sub(&Wide::from_u64(1)))
}

/// The low bits of a mask written in digits that are wider than the field.
fn cut(value: &Value, width: u32) -> Value {
    bytes(&Wide::from_bytes(value).mask(width))
}

fn decimal(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_digit())
}

/// A number without wildcards.
pub fn plain(text: &str) -> Result<Value, String> {
    if text.contains('*') {
        return Err(format!("found \"{text}\", wildcards are not possible here"));
    }
    Ok(digits(text)?.0)
}

/// What a field is when a test does not name it.
pub fn anything(field: &MatchField) -> KeyField {
    let zero = Value::new;
    match field.kind {
        MatchKind::Exact => KeyField::Exact(zero()),
        MatchKind::Lpm => KeyField::Lpm { value: zero(), prefix_len: 0 },
        MatchKind::Ternary => KeyField::Ternary { value: zero(), mask: zero() },
        MatchKind::Range => KeyField::Range { low: zero(), high: ones(field.bitwidth) },
        MatchKind::Optional => KeyField::Optional(None),
    }
}

/// Reads a field's value as its match kind wants it.
pub fn field(field: &MatchField, text: &str) -> Result<KeyField, String> {
    let width = field.bitwidth;
    if text == "*" && field.kind != MatchKind::Exact {
        return Ok(anything(field));
    }
    Ok(match field.kind {
        MatchKind::Exact => KeyField::Exact(plain(text)?),
        MatchKind::Optional => {
            let (value, mask, _) = digits(text)?;
            let wild = text.contains('*');
            if wild && mask.iter().any(|&b| b != 0) {
                return Err(format!("found \"{text}\", an optional field is a value or *"));
            }
            KeyField::Optional((!wild).then_some(value))
        }
        MatchKind::Lpm => match text.split_once('/') {
            Some((value, len)) => KeyField::Lpm { value: plain(value)?, prefix_len: super::parse::value(len)? as u32 },
            None => {
                let (value, _, fixed) = digits(text)?;
                // The written digits count, as in p4c's runner; a decimal number means the whole field.
                let prefix_len = if decimal(text) { width } else { fixed.min(width) };
                KeyField::Lpm { value, prefix_len }
            }
        },
        MatchKind::Ternary => match text.split_once("&&&") {
            Some((value, mask)) => KeyField::Ternary { value: plain(value)?, mask: cut(&plain(mask)?, width) },
            None => {
                let (value, mask, _) = digits(text)?;
                // The mask covers the written digits, as in p4c's runner; a decimal number means the whole field.
                let mask = if decimal(text) { ones(width) } else { cut(&mask, width) };
                KeyField::Ternary { value, mask }
            }
        },
        MatchKind::Range => match text.split_once("..").or_else(|| text.split_once("->")) {
            Some((low, high)) => KeyField::Range { low: plain(low)?, high: plain(high)? },
            None => KeyField::Range { low: plain(text)?, high: plain(text)? },
        },
    })
}
