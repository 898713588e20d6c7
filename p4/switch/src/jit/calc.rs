//! Calculations: ones' complement sums and CRCs of a few bytes in place, other algorithms over bytes gathered on the stack.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Value};

use super::emit::{Emit, MEM};
use super::help;
use crate::exec::hash::{CRC_TABLES, CrcTables, crc_tables, hash};
use crate::program::code::*;

/// Longer inputs are gathered by the interpreter.
const MOST_BYTES: u32 = 1_024;

/// A part of a calculation's input in whole bytes.
enum Piece<'a> {
    /// Bytes of the frame, left out when the header is not valid.
    Frame {
        header: u16,
        off: u32,
        len: u32,
    },
    Const(&'a [u64], u32),
}

fn pieces_of(calc: &Calc) -> Option<Vec<Piece<'_>>> {
    let piece = |part| match part {
        &CalcPart::Bytes { header, off, len } => Some(Piece::Frame { header, off, len }),
        &CalcPart::Field(header, FieldRef::Narrow(fld), width) if width % 8 == 0 => {
            let bit = fld.off * 8 + 64 - u32::from(fld.shift) - u32::from(fld.width);
            let whole = bit % 8 == 0 && u32::from(fld.width) == width;
            whole.then_some(Piece::Frame { header, off: bit / 8, len: width / 8 })
        }
        &CalcPart::Field(header, FieldRef::Wide(bits), width) if width % 8 == 0 => {
            let whole = bits.bit % 8 == 0 && bits.width == width;
            whole.then_some(Piece::Frame { header, off: bits.bit / 8, len: width / 8 })
        }
        CalcPart::Const(limbs, width) if width % 8 == 0 => Some(Piece::Const(limbs, *width)),
        _ => None,
    };
    calc.parts.iter().map(piece).collect()
}

fn len_of(pieces: &[Piece<'_>]) -> u32 {
    let len = |piece: &Piece<'_>| match piece {
        Piece::Frame { len, .. } => *len,
        Piece::Const(_, width) => width / 8,
    };
    pieces.iter().map(len).sum()
}

/// Whether a calculation becomes a function of its own.
pub(super) fn compiles(calc: &Calc) -> bool {
    let known = !matches!(calc.algo, Algo::Random | Algo::RoundRobin);
    known && !calc.payload && pieces_of(calc).is_some_and(|pieces| len_of(&pieces) <= MOST_BYTES)
}

impl Emit<'_> {
    /// The value of a calculation on the packet as it is now.
    pub fn calculate(&mut self, calc: u16) -> Value {
        let functions = self.functions;
        match functions.calcs[usize::from(calc)] {
            Some(id) => self.call_own(id, &[self.cx]),
            None => {
                let calc = self.int(u64::from(calc));
                self.call(help::calculate as *const () as usize, &[self.cx, calc])
            }
        }
    }

    /// The function of one calculation.
    pub fn calculation(mut self, calc: &Calc) {
        let pieces = pieces_of(calc).unwrap_or_default();
        let even = pieces.iter().all(|piece| matches!(piece, Piece::Frame { len, .. } if len % 2 == 0));
        let known = |piece: &Piece<'_>| match *piece {
            Piece::Frame { header, .. } => self.code.headers[usize::from(header)].metadata,
            Piece::Const(..) => true,
        };
        let short = pieces.iter().all(known) && (1..=CRC_TABLES as u32).contains(&len_of(&pieces));
        let value = match crc_tables(calc.algo).filter(|_| short) {
            Some(tables) => self.crc(calc.algo, tables, &pieces),
            None if calc.algo == Algo::Csum16 && even => self.sum(&pieces),
            None => self.gather(&calc.algo, &pieces),
        };
        self.b.ins().return_(&[value]);
        self.finish();
    }

    /// The sum of 16-bit words is the same in both byte orders but for the order of the result's bytes.
    fn sum(&mut self, pieces: &[Piece<'_>]) -> Value {
        let total = self.b.declare_var(I64);
        let zero = self.int(0);
        self.b.def_var(total, zero);
        for piece in pieces {
            let &Piece::Frame { header, off, len } = piece else { continue };
            let (there, done) = (self.block(), self.block());
            let valid = self.is_valid(header);
            self.branch_on(valid, there, done);
            self.b.switch_to_block(there);
            let mut sum = self.b.use_var(total);
            let (mut at, end) = (off as i32, (off + len) as i32);
            while at < end {
                let (word, step) = if end - at >= 4 {
                    (self.b.ins().uload32(MEM, self.frame, at), 4)
                } else {
                    (self.b.ins().uload16(I64, MEM, self.frame, at), 2)
                };
                sum = self.b.ins().iadd(sum, word);
                at += step;
            }
            self.b.def_var(total, sum);
            self.jump(done);
            self.b.switch_to_block(done);
        }
        let mut sum = self.b.use_var(total);
        for bits in [32, 16, 16, 16] {
            let low = self.b.ins().band_imm_u(sum, (1i64 << bits) - 1);
            let high = self.b.ins().ushr_imm_u(sum, bits);
            sum = self.b.ins().iadd(low, high);
        }
        let sum = self.b.ins().bnot(sum);
        let sum = self.b.ins().ireduce(I16, sum);
        let sum = self.b.ins().bswap(sum);
        self.b.ins().uextend(I64, sum)
    }

    /// The CRC of a few bytes that are always there, in one step.
    fn crc(&mut self, algo: Algo, tables: &'static CrcTables, pieces: &[Piece<'_>]) -> Value {
        let len = len_of(pieces) as usize;
        let base = self.int(std::ptr::from_ref(tables) as u64);
        // How many others each byte has behind it.
        let mut behind = (0..len).rev();
        let mut known = hash(algo, &[0; CRC_TABLES][..len]) as u32;
        let mut crc = None;
        for piece in pieces {
            match *piece {
                Piece::Frame { off, len, .. } => {
                    for (at, n) in (off..off + len).zip(behind.by_ref()) {
                        let byte = self.b.ins().uload8(I64, MEM, self.frame, at as i32);
                        let place = self.b.ins().ishl_imm_u(byte, 2);
                        let place = self.b.ins().iadd(base, place);
                        let entry = self.b.ins().load(I32, MEM, place, (n * size_of::<[u32; 256]>()) as i32);
                        crc = Some(match crc {
                            Some(crc) => self.b.ins().bxor(crc, entry),
                            None => entry,
                        });
                    }
                }
                Piece::Const(limbs, width) => {
                    for (from_low, n) in (0..width / 8).rev().zip(behind.by_ref()) {
                        let byte = limbs[from_low as usize / 8] >> (from_low % 8 * 8) & 0xff;
                        known ^= tables[n][byte as usize];
                    }
                }
            }
        }
        let known = self.b.ins().iconst(I32, i64::from(known));
        let crc = match crc {
            Some(crc) => self.b.ins().bxor(crc, known),
            None => known,
        };
        self.b.ins().uextend(I64, crc)
    }

    fn gather(&mut self, algo: &Algo, pieces: &[Piece<'_>]) -> Value {
        let buffer = self.stack(len_of(pieces) + 32);
        let buffer = self.b.ins().stack_addr(I64, buffer, 0);
        let end = self.b.declare_var(I64);
        self.b.def_var(end, buffer);
        for piece in pieces {
            let at = self.b.use_var(end);
            match *piece {
                Piece::Frame { header, off, len } => {
                    // Copied in any case, counted only when the header is valid.
                    if len <= 16 {
                        self.copy(at, 0, self.frame, off as i32, len);
                    } else {
                        self.copy_blocks(at, self.frame, off as i32, len);
                    }
                    let valid = self.is_valid(header);
                    let (len, none) = (self.int(u64::from(len)), self.int(0));
                    let len = self.b.ins().select(valid, len, none);
                    let next = self.b.ins().iadd(at, len);
                    self.b.def_var(end, next);
                }
                Piece::Const(limbs, width) => {
                    for i in 0..width / 8 {
                        let from_low = width / 8 - 1 - i;
                        let byte = limbs[from_low as usize / 8] >> (from_low % 8 * 8) & 0xff;
                        let byte = self.b.ins().iconst(I8, byte as i64);
                        self.b.ins().store(MEM, byte, at, i as i32);
                    }
                    let next = self.add(at, u64::from(width / 8));
                    self.b.def_var(end, next);
                }
            }
        }
        let end = self.b.use_var(end);
        let len = self.b.ins().isub(end, buffer);
        let helper = match algo {
            Algo::Crc32 | Algo::Crc32Custom => help::crc32 as *const () as usize,
            Algo::Crc16 | Algo::Crc16Custom => help::crc16 as *const () as usize,
            _ => {
                let algo = self.int(std::ptr::from_ref(algo) as u64);
                return self.call(help::hash as *const () as usize, &[algo, buffer, len]);
            }
        };
        self.call(helper, &[buffer, len])
    }

    /// Non-zero when a field does not hold the result of its calculation; None for fields that are not compared.
    pub fn compare_target(&mut self, target: FieldRef, value: Value) -> Option<Value> {
        let found = match target {
            FieldRef::Narrow(fld) => self.load(fld),
            FieldRef::Wide(bits) => {
                let low = crate::exec::ctx::pieces(bits).last()?;
                self.load_bits(low)
            }
            _ => return None,
        };
        Some(self.b.ins().icmp(IntCC::NotEqual, found, value))
    }

    /// A 32-bit number in a word.
    pub fn low32(&mut self, value: Value) -> Value {
        let low = self.b.ins().ireduce(I32, value);
        self.b.ins().uextend(I64, low)
    }
}
