//! The Internet checksum (RFC 1071).

/// Over the bytes, an odd last one padded with zero.
pub(crate) fn internet(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|c| u32::from(u16::from_be_bytes([c[0], c.get(1).copied().unwrap_or(0)])));
    let mut sum: u32 = words.sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

#[cfg(test)]
mod tests {
    #[test]
    fn example_of_the_rfc() {
        assert_eq!(super::internet(&[0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7]), !0xddf2);
        assert_eq!(super::internet(&[0xff]), !0xff00);
    }
}
