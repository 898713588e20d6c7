//! Fields of the frame: loads and stores of as few bytes as a field needs, so that what one instruction wrote another reads
//! without waiting.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I8X16, I16, I32, I64};
use cranelift_codegen::ir::{InstBuilder, Type, Value};

use super::emit::{Emit, MEM};
use crate::program::code::{Bits, Fld};

/// The bytes that hold a field: value = (big-endian load of `bytes` at `off`) >> `shift` & `mask`.
#[derive(Clone, Copy, Debug)]
struct Window {
    off: i32,
    bytes: u32,
    shift: u32,
    width: u32,
    /// The other bits of these bytes are zero and stay so.
    alone: bool,
}

impl Window {
    fn new(fld: Fld) -> Window {
        let width = u32::from(fld.width);
        let bit = fld.off * 8 + 64 - u32::from(fld.shift) - width;
        if fld.own > 0 {
            return Window { off: fld.off as i32, bytes: u32::from(fld.own), shift: 0, width, alone: true };
        }
        let bytes = (bit % 8 + width).div_ceil(8).next_power_of_two();
        let shift = bytes * 8 - bit % 8 - width;
        Window { off: (bit / 8) as i32, bytes, shift, width, alone: false }
    }

    fn ty(&self) -> Type {
        match self.bytes {
            1 => I8,
            2 => I16,
            4 => I32,
            _ => I64,
        }
    }

    fn mask(&self) -> u64 {
        if self.width >= 64 { u64::MAX } else { (1 << self.width) - 1 }
    }

    fn full(&self) -> bool {
        self.alone || self.width == self.bytes * 8
    }

    /// A number as it lies in memory, in the low bytes.
    fn swapped(&self, value: u64) -> u64 {
        value.swap_bytes() >> (64 - self.bytes * 8)
    }
}

/// A number of `bytes` bytes with the sign that an immediate of that size has.
fn immediate(value: u64, bytes: u32) -> i64 {
    let shift = 64 - bytes * 8;
    ((value << shift) as i64) >> shift
}

impl Emit<'_> {
    fn swap(&mut self, value: Value, bytes: u32) -> Value {
        if bytes == 1 { value } else { self.b.ins().bswap(value) }
    }

    fn widen(&mut self, value: Value, bytes: u32) -> Value {
        if bytes == 8 { value } else { self.b.ins().uextend(I64, value) }
    }

    fn narrow(&mut self, value: Value, ty: Type) -> Value {
        if ty == I64 { value } else { self.b.ins().ireduce(ty, value) }
    }

    pub fn mask(&mut self, value: Value, width: u32) -> Value {
        if width >= 64 { value } else { self.b.ins().band_imm_u(value, ((1u64 << width) - 1) as i64) }
    }

    /// The value of a field.
    pub fn load(&mut self, fld: Fld) -> Value {
        let w = Window::new(fld);
        let value = self.b.ins().load(w.ty(), MEM, self.frame, w.off);
        let value = self.swap(value, w.bytes);
        let value = self.widen(value, w.bytes);
        if w.full() {
            return value;
        }
        let value = if w.shift > 0 { self.b.ins().ushr_imm_u(value, i64::from(w.shift)) } else { value };
        if w.shift + w.width == w.bytes * 8 { value } else { self.mask(value, w.width) }
    }

    /// Writes a field; `known` is how many low bits of `value` may be set.
    pub fn store(&mut self, fld: Fld, value: Value, known: u32) {
        let w = Window::new(fld);
        let ty = w.ty();
        let exact = w.width == w.bytes * 8;
        let value = if known <= w.width || exact { value } else { self.mask(value, w.width) };
        if w.full() {
            let value = self.narrow(value, ty);
            let value = self.swap(value, w.bytes);
            self.b.ins().store(MEM, value, self.frame, w.off);
            return;
        }
        let value = if w.shift > 0 { self.b.ins().ishl_imm_u(value, i64::from(w.shift)) } else { value };
        let value = self.narrow(value, ty);
        let value = self.swap(value, w.bytes);
        self.merge(w, value);
    }

    /// Puts the field's bits (in memory order) among the others of their bytes.
    fn merge(&mut self, w: Window, value: Value) {
        let old = self.b.ins().load(w.ty(), MEM, self.frame, w.off);
        let keep = immediate(w.swapped(!(w.mask() << w.shift)), w.bytes);
        let old = self.b.ins().band_imm_s(old, keep);
        let value = self.b.ins().bor(old, value);
        self.b.ins().store(MEM, value, self.frame, w.off);
    }

    pub fn store_const(&mut self, fld: Fld, value: u64) {
        let w = Window::new(fld);
        let value = immediate(w.swapped((value & w.mask()) << w.shift), w.bytes);
        let value = self.b.ins().iconst(w.ty(), value & type_mask(w.bytes));
        if w.full() {
            self.b.ins().store(MEM, value, self.frame, w.off);
        } else {
            self.merge(w, value);
        }
    }

    /// Whether a field has a value, compared as it lies in memory.
    pub fn field_is(&mut self, fld: Fld, value: u64, cc: IntCC) -> Value {
        let w = Window::new(fld);
        if value & !w.mask() != 0 {
            return self.b.ins().iconst(I8, i64::from(cc == IntCC::NotEqual));
        }
        let mut found = self.b.ins().load(w.ty(), MEM, self.frame, w.off);
        if !w.full() {
            let mask = immediate(w.swapped(w.mask() << w.shift), w.bytes);
            found = self.b.ins().band_imm_s(found, mask);
        }
        let wanted = immediate(w.swapped(value << w.shift), w.bytes);
        self.b.ins().icmp_imm_s(cc, found, wanted)
    }

    /// Up to 64 bits anywhere in the frame.
    pub fn load_bits(&mut self, bits: Bits) -> Value {
        let (first, skip) = ((bits.bit / 8) as i32, bits.bit % 8);
        let total = skip + bits.width;
        if total <= 64 {
            let fld = Fld { off: bits.bit / 8, shift: (64 - total) as u8, width: bits.width as u8, own: 0, mask: 0 };
            return self.load(fld);
        }
        let high = self.b.ins().load(I64, MEM, self.frame, first);
        let high = self.b.ins().bswap(high);
        let high = self.b.ins().ishl_imm_u(high, i64::from(total - 64));
        let low = self.b.ins().uload8(I64, MEM, self.frame, first + 8);
        let low = self.b.ins().ushr_imm_u(low, i64::from(72 - total));
        let value = self.b.ins().bor(high, low);
        self.mask(value, bits.width)
    }

    /// Writes up to 64 bits anywhere in the frame.
    pub fn store_bits(&mut self, bits: Bits, value: Value, known: u32) {
        let (first, skip) = (bits.bit / 8, bits.bit % 8);
        let total = skip + bits.width;
        let fld =
            |off, total: u32, width: u32| Fld { off, shift: (64 - total) as u8, width: width as u8, own: 0, mask: 0 };
        if total <= 64 {
            return self.store(fld(first, total, bits.width), value, known);
        }
        let low = total - 64;
        let high = self.b.ins().ushr_imm_u(value, i64::from(low));
        self.store(fld(first, 64, bits.width - low), high, 64);
        self.store(fld(first + 8, low, low), value, 64);
    }

    /// The big-endian number in `bytes` (1 to 8) bytes at an address.
    pub fn load_ahead(&mut self, address: Value, offset: i32, bytes: u32) -> Value {
        let (mut at, mut left, mut value) = (offset, bytes, None);
        while left > 0 {
            let step = 1 << left.ilog2();
            let w = Window { off: 0, bytes: step, shift: 0, width: step * 8, alone: false };
            let part = self.b.ins().load(w.ty(), MEM, address, at);
            let part = self.swap(part, step);
            let part = self.widen(part, step);
            value = Some(match value {
                None => part,
                Some(before) => {
                    let before = self.b.ins().ishl_imm_u(before, i64::from(step * 8));
                    self.b.ins().bor(before, part)
                }
            });
            at += step as i32;
            left -= step;
        }
        value.unwrap_or_else(|| self.int(0))
    }

    /// Copies bytes that do not overlap, or overlap in any way: everything is read before anything is written.
    pub fn copy(&mut self, to: Value, to_off: i32, from: Value, from_off: i32, len: u32) {
        let mut parts = Vec::new();
        let mut at = 0;
        while at < len {
            let left = len - at;
            let (ty, size) = match left {
                16.. => (I8X16, 16),
                8.. => (I64, 8),
                4.. => (I32, 4),
                2.. => (I16, 2),
                _ => (I8, 1),
            };
            // Three instructions or more for the rest: one that overlaps what is copied already.
            let bigger = size * 2;
            let (ty, size, at_) = if left.count_ones() > 1 && size < 16 && len >= bigger && at + left >= bigger {
                let ty = match bigger {
                    16 => I8X16,
                    8 => I64,
                    4 => I32,
                    _ => I16,
                };
                (ty, bigger, len - bigger)
            } else {
                (ty, size, at)
            };
            let value = self.b.ins().load(ty, MEM, from, from_off + at_ as i32);
            parts.push((value, at_));
            at = at_ + size;
        }
        for (value, at) in parts {
            self.b.ins().store(MEM, value, to, to_off + at as i32);
        }
    }

    /// Copies whole blocks of 16 bytes, as many as `len` bytes begin; both sides have the room.
    pub fn copy_blocks(&mut self, to: Value, from: Value, from_off: i32, len: u32) {
        for block in 0..len.div_ceil(16) as i32 {
            let value = self.b.ins().load(I8X16, MEM, from, from_off + block * 16);
            self.b.ins().store(MEM, value, to, block * 16);
        }
    }

    /// Zeroes bytes of the frame.
    pub fn clear(&mut self, base: u32, len: u32) {
        let (mut at, mut left) = (base as i32, len);
        let zero = self.b.ins().iconst(I64, 0);
        while left > 0 {
            let step = if left >= 8 { 8 } else { 1 << left.ilog2() };
            let ty = match step {
                8 => I64,
                4 => I32,
                2 => I16,
                _ => I8,
            };
            let value = self.narrow(zero, ty);
            self.b.ins().store(MEM, value, self.frame, at);
            at += step as i32;
            left -= step;
        }
    }
}

fn type_mask(bytes: u32) -> i64 {
    if bytes == 8 { -1 } else { (1 << (bytes * 8)) - 1 }
}
