//! Canonical byte strings (P4Runtime 8.3): unsigned integers in network order, as short as possible, at least one byte.

use bytes::Bytes;

/// Why a byte string is not a value of the wanted width.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ByteStringError {
    /// No byte at all; zero is one byte of zero.
    #[error("is empty, must hold at least one byte")]
    Empty,
    /// The value needs more bits than there are.
    #[error("needs {needed} bits, at most {width} are allowed")]
    TooWide {
        /// Bits that the value needs.
        needed: usize,
        /// Bits of the field.
        width: usize,
    },
}

/// The canonical part of `bytes`: without leading zero bytes, but never empty unless `bytes` is.
pub fn canonical(bytes: &[u8]) -> &[u8] {
    let zeros = bytes.iter().take_while(|b| **b == 0).count();
    &bytes[zeros.min(bytes.len().saturating_sub(1))..]
}

/// Whether `bytes` is already in its shortest form.
pub fn is_canonical(bytes: &[u8]) -> bool {
    match bytes {
        [] => false,
        [_] => true,
        [first, ..] => *first != 0,
    }
}

/// How many bits the value needs; zero needs none.
pub fn bits_needed(bytes: &[u8]) -> usize {
    let bytes = canonical(bytes);
    match bytes.first() {
        None | Some(0) => 0,
        Some(first) => bytes.len() * 8 - first.leading_zeros() as usize,
    }
}

/// Accepts a non-empty string whose value fits into `width` bits; gives its canonical part.
pub fn check(bytes: &[u8], width: usize) -> Result<&[u8], ByteStringError> {
    if bytes.is_empty() {
        return Err(ByteStringError::Empty);
    }
    let needed = bits_needed(bytes);
    if needed > width {
        return Err(ByteStringError::TooWide { needed, width });
    }
    Ok(canonical(bytes))
}

/// The canonical string of `value`.
pub fn encode(value: u128) -> Bytes {
    Bytes::copy_from_slice(canonical(&value.to_be_bytes()))
}

/// The canonical string of a byte array of any length (an address, say).
pub fn encode_bytes(value: &[u8]) -> Bytes {
    match canonical(value) {
        [] => Bytes::from_static(&[0]),
        short => Bytes::copy_from_slice(short),
    }
}

/// The value of a string of at most 128 significant bits.
pub fn decode(bytes: &[u8]) -> Result<u128, ByteStringError> {
    let short = check(bytes, 128)?;
    Ok(short.iter().fold(0, |value, byte| value << 8 | u128::from(*byte)))
}

/// The value of a string of at most 64 significant bits.
pub fn decode_u64(bytes: &[u8]) -> Result<u64, ByteStringError> {
    let short = check(bytes, 64)?;
    Ok(short.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The value of a string of at most 32 significant bits (a port number, a multicast group).
pub fn decode_u32(bytes: &[u8]) -> Result<u32, ByteStringError> {
    let short = check(bytes, 32)?;
    Ok(short.iter().fold(0, |value, byte| value << 8 | u32::from(*byte)))
}

/// Writes the value right-aligned into `out`, zero-filled on the left: how an address of fixed size is read back.
pub fn decode_into(bytes: &[u8], out: &mut [u8]) -> Result<(), ByteStringError> {
    let width = out.len() * 8;
    let short = check(bytes, width)?;
    if short.len() > out.len() {
        // Only a zero for an empty destination comes here.
        return Err(ByteStringError::TooWide { needed: 8, width });
    }
    let at = out.len() - short.len();
    out[..at].fill(0);
    out[at..].copy_from_slice(short);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shortest_form_keeps_one_byte() {
        assert_eq!(encode(0).as_ref(), [0]);
        assert_eq!(encode(255).as_ref(), [255]);
        assert_eq!(encode(256).as_ref(), [1, 0]);
        assert_eq!(encode(u128::MAX).as_ref(), [255; 16]);
        assert_eq!(encode_bytes(&[0, 0, 10, 0]).as_ref(), [10, 0]);
        assert_eq!(encode_bytes(&[]).as_ref(), [0]);
        assert_eq!(canonical(&[0, 0]), [0]);
        assert_eq!(canonical(&[]), [0u8; 0]);
        assert!(is_canonical(&[0]) && is_canonical(&[1, 0]));
        assert!(!is_canonical(&[]) && !is_canonical(&[0, 1]) && !is_canonical(&[0, 0]));
    }

    #[test]
    fn width_is_counted_in_bits() {
        assert_eq!(bits_needed(&[0, 0]), 0);
        assert_eq!(bits_needed(&[1]), 1);
        assert_eq!(bits_needed(&[0, 1, 0xff]), 9);
        assert_eq!(check(&[0, 1, 0xff], 9), Ok([1u8, 0xff].as_slice()));
        assert_eq!(check(&[2, 0xff], 9), Err(ByteStringError::TooWide { needed: 10, width: 9 }));
        assert_eq!(check(&[], 9), Err(ByteStringError::Empty));
    }

    #[test]
    fn values_come_back() {
        for value in [0u128, 1, 255, 256, 65_535, 1 << 33, u128::MAX] {
            assert_eq!(decode(&encode(value)), Ok(value));
        }
        assert_eq!(decode_u64(&[0, 0, 0, 0, 0, 0, 0, 0, 1]), Ok(1));
        assert_eq!(decode_u32(&[1, 0, 0, 0, 0]), Err(ByteStringError::TooWide { needed: 33, width: 32 }));
        let mut mac = [9; 6];
        decode_into(&[1, 2], &mut mac).unwrap();
        assert_eq!(mac, [0, 0, 0, 0, 1, 2]);
        assert!(decode_into(&[1; 7], &mut mac).is_err());
    }
}
