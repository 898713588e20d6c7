//! Calculations: checksums and hashes over fields, headers and the payload.

use super::Run;
use super::ctx::{load, load_bits, pieces};
use crate::program::code::*;

const fn crc_table<const WIDTH: u32>(polynomial: u64) -> [u64; 256] {
    let mut table = [0; 256];
    let mut i = 0;
    while i < 256 {
        let mut rest = (i as u64) << (WIDTH - 8);
        let mut bit = 0;
        while bit < 8 {
            let top = rest >> (WIDTH - 1) & 1 == 1;
            rest <<= 1;
            if top {
                rest ^= polynomial;
            }
            bit += 1;
        }
        table[i] = if WIDTH == 64 { rest } else { rest & ((1 << (WIDTH % 64)) - 1) };
        i += 1;
    }
    table
}

/// The same for CRCs that shift right; table n is for a byte with n more bytes behind it, so that eight bytes take one step.
const fn crc_table_reflected<const WIDTH: u32, const N: usize>(polynomial: u64) -> [[u64; 256]; N] {
    let mut tables = [[0; 256]; N];
    let reversed = polynomial.reverse_bits() >> (64 - WIDTH);
    let mut i = 0;
    while i < 256 {
        let mut rest = i as u64;
        let mut bit = 0;
        while bit < 8 {
            rest = if rest & 1 == 1 { rest >> 1 ^ reversed } else { rest >> 1 };
            bit += 1;
        }
        tables[0][i] = rest;
        i += 1;
    }
    let mut n = 1;
    while n < N {
        let mut i = 0;
        while i < 256 {
            let rest = tables[n - 1][i];
            tables[n][i] = tables[0][(rest & 0xff) as usize] ^ rest >> 8;
            i += 1;
        }
        n += 1;
    }
    tables
}

/// The CRCs most used have tables of half the size: they compete with tables and entries for the nearest cache.
const fn narrow(wide: &[[u64; 256]; CRC_TABLES]) -> CrcTables {
    let mut tables = [[0; 256]; CRC_TABLES];
    let mut n = 0;
    while n < CRC_TABLES {
        let mut i = 0;
        while i < 256 {
            tables[n][i] = wide[n][i] as u32;
            i += 1;
        }
        n += 1;
    }
    tables
}

static CRC8: [u64; 256] = crc_table::<8>(0x07);
static CRC_CCITT: [u64; 256] = crc_table::<16>(0x1021);
static CRC16: CrcTables = narrow(&crc_table_reflected::<16, _>(0x8005));
static CRC32: CrcTables = narrow(&crc_table_reflected::<32, _>(0x04c1_1db7));
static CRC64: [[u64; 256]; 8] = crc_table_reflected::<64, _>(0x1b);

/// Bytes that compiled code takes in one step.
pub const CRC_TABLES: usize = 16;
/// Table n has the CRC, begun with zero, of each byte with n zeros behind it.
pub type CrcTables = [[u32; 256]; CRC_TABLES];

/// The tables of a CRC of up to 32 bits. The CRC of some bytes is that of as many zeros, and for each byte the entry of its table on top.
pub fn crc_tables(algo: Algo) -> Option<&'static CrcTables> {
    match algo {
        Algo::Crc16 | Algo::Crc16Custom => Some(&CRC16),
        Algo::Crc32 | Algo::Crc32Custom => Some(&CRC32),
        _ => None,
    }
}

fn crc(table: &[u64; 256], width: u32, init: u64, bytes: &[u8]) -> u64 {
    let mask = if width == 64 { u64::MAX } else { (1 << width) - 1 };
    bytes.iter().fold(init, |rest, &byte| {
        let index = (rest >> (width - 8) ^ u64::from(byte)) & 0xff;
        (table[index as usize] ^ rest << 8) & mask
    })
}

#[inline]
fn crc_reflected<T: Copy + Into<u64>, const N: usize>(tables: &[[T; 256]; N], init: u64, bytes: &[u8]) -> u64 {
    let (words, tail) = bytes.as_chunks::<8>();
    let rest = words.iter().fold(init, |rest, word| {
        let mixed = (rest ^ u64::from_le_bytes(*word)).to_le_bytes();
        let look = |i: usize| -> u64 { tables[7 - i][usize::from(mixed[i])].into() };
        look(0) ^ look(1) ^ look(2) ^ look(3) ^ look(4) ^ look(5) ^ look(6) ^ look(7)
    });
    let (half, tail) = tail.as_chunks::<4>();
    let rest = half.iter().fold(rest, |rest, half| {
        let mixed = (rest ^ u64::from(u32::from_le_bytes(*half))).to_le_bytes();
        let look = |i: usize| -> u64 { tables[3 - i][usize::from(mixed[i])].into() };
        look(0) ^ look(1) ^ look(2) ^ look(3) ^ rest >> 32
    });
    tail.iter().fold(rest, |rest, &byte| {
        let look: u64 = tables[0][((rest ^ u64::from(byte)) & 0xff) as usize].into();
        look ^ rest >> 8
    })
}

/// Adds bytes to a running ones' complement sum; an odd last byte counts as the high half of a word.
fn sum16(sum: u64, bytes: &[u8]) -> u64 {
    let (words, rest) = bytes.as_chunks::<4>();
    let sum = words.iter().fold(sum, |sum, word| sum + u64::from(u32::from_be_bytes(*word)));
    let mut last = [0; 4];
    last[..rest.len()].copy_from_slice(rest);
    sum + u64::from(u32::from_be_bytes(last))
}

fn fold16(mut sum: u64) -> u64 {
    while sum >> 16 != 0 {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !sum & 0xffff
}

fn xor<const N: usize>(bytes: &[u8]) -> u64 {
    bytes.chunks(N).fold(0, |sum, chunk| {
        let mut word = [0; 8];
        word[8 - N..8 - N + chunk.len()].copy_from_slice(chunk);
        sum ^ u64::from_be_bytes(word)
    })
}

fn hash_ex(bytes: &[u8]) -> u64 {
    let mut hash = bytes.iter().fold(2_166_136_261u32, |h, &b| {
        // BMv2 hashes signed characters.
        (h ^ i32::from(b as i8) as u32).wrapping_mul(16_777_619)
    });
    hash = hash.wrapping_add(hash << 13);
    hash ^= hash >> 7;
    hash = hash.wrapping_add(hash << 3);
    hash ^= hash >> 17;
    u64::from(hash.wrapping_add(hash << 5))
}

/// XXH64 with seed 0.
fn xxh64(bytes: &[u8]) -> u64 {
    const P1: u64 = 0x9e37_79b1_85eb_ca87;
    const P2: u64 = 0xc2b2_ae3d_27d4_eb4f;
    const P3: u64 = 0x1656_67b1_9e37_79f9;
    const P4: u64 = 0x85eb_ca77_c2b2_ae63;
    const P5: u64 = 0x27d4_eb2f_1656_67c5;
    let round = |acc: u64, input: u64| acc.wrapping_add(input.wrapping_mul(P2)).rotate_left(31).wrapping_mul(P1);
    let (blocks, mut rest) = bytes.as_chunks::<32>();
    let mut hash = if blocks.is_empty() {
        P5
    } else {
        let mut v = [P1.wrapping_add(P2), P2, 0, 0u64.wrapping_sub(P1)];
        for block in blocks {
            let (words, _) = block.as_chunks::<8>();
            v.iter_mut().zip(words).for_each(|(v, w)| *v = round(*v, u64::from_le_bytes(*w)));
        }
        let mut hash = v[0].rotate_left(1);
        hash = hash.wrapping_add(v[1].rotate_left(7));
        hash = hash.wrapping_add(v[2].rotate_left(12)).wrapping_add(v[3].rotate_left(18));
        v.iter().fold(hash, |h, &v| (h ^ round(0, v)).wrapping_mul(P1).wrapping_add(P4))
    };
    hash = hash.wrapping_add(bytes.len() as u64);
    while let Some((word, tail)) = rest.split_first_chunk::<8>() {
        hash = (hash ^ round(0, u64::from_le_bytes(*word))).rotate_left(27).wrapping_mul(P1).wrapping_add(P4);
        rest = tail;
    }
    if let Some((word, tail)) = rest.split_first_chunk::<4>() {
        hash ^= u64::from(u32::from_le_bytes(*word)).wrapping_mul(P1);
        hash = hash.rotate_left(23).wrapping_mul(P2).wrapping_add(P3);
        rest = tail;
    }
    for &byte in rest {
        hash = (hash ^ u64::from(byte).wrapping_mul(P5)).rotate_left(11).wrapping_mul(P1);
    }
    hash = (hash ^ hash >> 33).wrapping_mul(P2);
    hash = (hash ^ hash >> 29).wrapping_mul(P3);
    hash ^ hash >> 32
}

/// An algorithm over bytes. `Random` and `RoundRobin` take no input and are not handled here.
pub fn hash(algo: Algo, bytes: &[u8]) -> u64 {
    match algo {
        Algo::Crc16 | Algo::Crc16Custom => crc_reflected(&CRC16, 0, bytes),
        Algo::Crc32 | Algo::Crc32Custom => crc_reflected(&CRC32, 0xffff_ffff, bytes) ^ 0xffff_ffff,
        Algo::CrcCcitt => crc(&CRC_CCITT, 16, 0xffff, bytes),
        Algo::Crc8Custom => crc(&CRC8, 8, 0, bytes),
        Algo::Crc64Custom => crc_reflected(&CRC64, 0, bytes),
        Algo::Csum16 => fold16(sum16(0, bytes)),
        Algo::Xor16 => xor::<2>(bytes),
        Algo::Xor32 => xor::<4>(bytes),
        Algo::Identity => bytes.iter().take(8).fold(0, |value, &byte| value << 8 | u64::from(byte)),
        Algo::Xxh64 => xxh64(bytes),
        Algo::HashEx => hash_ex(bytes),
        // The key of zeros that BMv2 starts with yields zero whatever the input.
        Algo::Toeplitz | Algo::Random | Algo::RoundRobin => 0,
    }
}

/// Bits appended to bytes, most significant first.
struct BitBuf<'a> {
    bytes: &'a mut Vec<u8>,
    /// Bits used in the last byte; 0 when it is full.
    used: u32,
}

impl BitBuf<'_> {
    fn push(&mut self, value: u64, width: u32) {
        if self.used == 0 && width.is_multiple_of(8) {
            let bytes = value.to_be_bytes();
            self.bytes.extend_from_slice(&bytes[8 - width as usize / 8..]);
            return;
        }
        let mut left = width;
        while left > 0 {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let take = left.min(8 - self.used);
            let part = (value >> (left - take)) as u8 & (0xff >> (8 - take));
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (8 - self.used - take);
            }
            self.used = (self.used + take) % 8;
            left -= take;
        }
    }
}

impl Run<'_> {
    /// Runs a calculation on the packet as it is now.
    pub fn calculate(&mut self, id: u16) -> u64 {
        if let Some(native) = self.native
            && let Some(value) = native.calculate(self, id)
        {
            return value;
        }
        let calc = &self.code.calcs[usize::from(id)];
        match calc.algo {
            Algo::Random => return self.scratch.random(),
            Algo::RoundRobin => {
                self.scratch.round_robin = self.scratch.round_robin.wrapping_add(1);
                return self.scratch.round_robin - 1;
            }
            Algo::Csum16 => {
                if let Some(sum) = self.sum_in_place(calc) {
                    return sum;
                }
            }
            _ => {}
        }
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        bytes.clear();
        self.gather(calc, &mut bytes);
        let value = hash(calc.algo, &bytes);
        self.scratch.bytes = bytes;
        value
    }

    /// What calculations see of the payload: where the packet is to be truncated, at most so much, as on BMv2.
    fn payload(&self) -> &[u8] {
        let payload = &self.packet[self.ctx.start..self.ctx.end];
        &payload[..payload.len().min(self.ctx.truncate)]
    }

    /// The usual checksum input, whole words of headers, needs no copy.
    fn sum_in_place(&self, calc: &Calc) -> Option<u64> {
        let mut sum = 0;
        for part in &calc.parts {
            match part {
                &CalcPart::Bytes { header, off, len } if len % 2 == 0 => {
                    if self.ctx.is_valid(header) {
                        sum = sum16(sum, &self.ctx.frame[off as usize..(off + len) as usize]);
                    }
                }
                _ => return None,
            }
        }
        if calc.payload {
            sum = sum16(sum, self.payload());
        }
        Some(fold16(sum))
    }

    fn gather(&self, calc: &Calc, bytes: &mut Vec<u8>) {
        let frame = &self.ctx.frame;
        let mut buf = BitBuf { bytes, used: 0 };
        for part in &calc.parts {
            match part {
                CalcPart::Bytes { header, off, len } => {
                    if self.ctx.is_valid(*header) {
                        let range = *off as usize..(off + len) as usize;
                        if buf.used == 0 {
                            buf.bytes.extend_from_slice(&frame[range]);
                        } else {
                            frame[range].iter().for_each(|&b| buf.push(u64::from(b), 8));
                        }
                    }
                }
                CalcPart::Field(header, at, width) => {
                    if !self.ctx.is_valid(*header) {
                        continue;
                    }
                    match at {
                        FieldRef::Narrow(fld) => buf.push(load(frame, *fld), *width),
                        FieldRef::Wide(bits) => {
                            pieces(*bits).for_each(|piece| buf.push(load_bits(frame, piece), piece.width));
                        }
                        FieldRef::Valid(_) => buf.push(1, 1),
                        FieldRef::Var(header) => {
                            if let Some(var) = &self.code.headers[usize::from(*header)].var {
                                let at = var.area as usize;
                                let len = self.ctx.var_len[var.slot] as usize;
                                frame[at..at + len].iter().for_each(|&b| buf.push(u64::from(b), 8));
                            }
                        }
                    }
                }
                CalcPart::Header(header) => {
                    if self.ctx.is_valid(*header) && buf.used == 0 {
                        self.emit(*header, buf.bytes);
                    }
                }
                CalcPart::Const(limbs, width) => {
                    for (i, &limb) in limbs.iter().enumerate().rev() {
                        let bits = if i + 1 == limbs.len() && width % 64 != 0 { width % 64 } else { 64 };
                        buf.push(limb, bits);
                    }
                }
            }
        }
        if calc.payload {
            bytes.extend_from_slice(self.payload());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_answers() {
        // The check values of the CRC catalogue (and xxHash's own) for "123456789".
        let input = b"123456789";
        assert_eq!(hash(Algo::Crc16, input), 0xbb3d);
        assert_eq!(hash(Algo::Crc32, input), 0xcbf4_3926);
        assert_eq!(hash(Algo::CrcCcitt, input), 0x29b1);
        assert_eq!(hash(Algo::Crc8Custom, input), 0xf4);
        // Whole words and single bytes agree.
        fn agree<T: Copy + Into<u64>, const N: usize>(tables: &[[T; 256]; N], init: u64) {
            let long: Vec<u8> = (0..61u8).map(|i| i.wrapping_mul(37)).collect();
            let bytewise = long.chunks(1).fold(init, |rest, byte| crc_reflected(tables, rest, byte));
            assert_eq!(crc_reflected(tables, init, &long), bytewise);
        }
        agree(&CRC16, 0);
        agree(&CRC32, 0xffff_ffff);
        agree(&CRC64, 7);
        // So do zeros and the bytes' entries.
        for algo in [Algo::Crc16, Algo::Crc32] {
            let tables = crc_tables(algo).unwrap();
            let entries = input.iter().rev().zip(tables).map(|(&byte, table)| u64::from(table[usize::from(byte)]));
            assert_eq!(entries.fold(hash(algo, &[0; 9]), |crc, entry| crc ^ entry), hash(algo, input));
        }
        assert_eq!(hash(Algo::Crc64Custom, input), 0x46a5_a938_8a5b_effe);
        assert_eq!(hash(Algo::Xxh64, b""), 0xef46_db37_51d8_e999);
        assert_eq!(hash(Algo::Xxh64, input), 0x8cb8_41db_40e6_ae83);
        assert_eq!(hash(Algo::Xor16, &[0x12, 0x34, 0xab]), 0x1234 ^ 0xab00);
        assert_eq!(hash(Algo::Identity, &[1, 2, 3]), 0x01_02_03);
        let ip = [0x45, 0, 0, 0x73, 0, 0, 0x40, 0, 0x40, 0x11, 0xc0, 0xa8, 0, 1, 0xc0, 0xa8, 0, 0xc7];
        assert_eq!(hash(Algo::Csum16, &ip), 0xb861);
    }

    #[test]
    fn bits_are_packed_without_gaps() {
        let mut bytes = Vec::new();
        let mut buf = BitBuf { bytes: &mut bytes, used: 0 };
        buf.push(0b101, 3);
        buf.push(0xabc, 12);
        buf.push(1, 1);
        buf.push(0xff, 8);
        assert_eq!(bytes, [0b1011_0101, 0b0111_1001, 0xff]);
    }
}
