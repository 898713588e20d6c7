//! Expressions.

use smallvec::SmallVec;

use super::Run;
use super::ctx::{load, load_bits, pieces, store, store_bits};
use super::wide::Wide;
use crate::program::code::*;

/// `FieldRef::Valid` as the index of a dynamic field.
const VALID: u16 = u16::MAX;

#[inline(always)]
fn extend(value: u64, bits: u32) -> u64 {
    let shift = 64 - bits;
    ((value << shift) as i64 >> shift) as u64
}

fn limbs_of(frame: &[u8], bits: Bits) -> SmallVec<[u64; 8]> {
    pieces(bits).rev().map(|piece| load_bits(frame, piece)).collect()
}

fn compare(cmp: Cmp, order: std::cmp::Ordering) -> bool {
    match cmp {
        Cmp::Eq => order.is_eq(),
        Cmp::Ne => order.is_ne(),
        Cmp::Lt => order.is_lt(),
        Cmp::Le => order.is_le(),
        Cmp::Gt => order.is_gt(),
        Cmp::Ge => order.is_ge(),
    }
}

impl Run<'_> {
    pub fn num(&self, num: &Num, params: &[u64]) -> u64 {
        match num {
            Num::Const(value) => *value,
            Num::Fld(fld) => load(&self.ctx.frame, *fld),
            Num::Signed(fld) => extend(load(&self.ctx.frame, *fld), u32::from(fld.width)),
            Num::Bits(bits) => load_bits(&self.ctx.frame, *bits),
            Num::SignedBits(bits) => extend(load_bits(&self.ctx.frame, *bits), bits.width),
            Num::Valid(header) => u64::from(self.ctx.is_valid(*header)),
            Num::Param(word) => params.get(usize::from(*word)).copied().unwrap_or(0),
            Num::And(x, mask) => self.num(x, params) & mask,
            Num::Add(x, value) => self.num(x, params).wrapping_add(*value),
            Num::Op(op, x) => {
                let (a, b) = (self.num(&x.0, params), self.num(&x.1, params));
                match op {
                    NumOp::Add => a.wrapping_add(b),
                    NumOp::Sub => a.wrapping_sub(b),
                    NumOp::Mul => a.wrapping_mul(b),
                    NumOp::And => a & b,
                    NumOp::Or => a | b,
                    NumOp::Xor => a ^ b,
                    NumOp::Shl => u32::try_from(b).ok().and_then(|b| a.checked_shl(b)).unwrap_or(0),
                    NumOp::ShrUnsigned => u32::try_from(b).ok().and_then(|b| a.checked_shr(b)).unwrap_or(0),
                    NumOp::ShrSigned => ((a as i64) >> b.min(63)) as u64,
                    NumOp::Div => a.checked_div(b).unwrap_or(0),
                    NumOp::Rem => a.checked_rem(b).unwrap_or(0),
                }
            }
            Num::Not(x) => !self.num(x, params),
            Num::SignExtend(x, bits) => extend(self.num(x, params), u32::from(*bits)),
            Num::ClampSigned(x, low, high) => (self.num(x, params) as i64).clamp(*low, *high) as u64,
            Num::ClampUnsigned(x, high) => self.num(x, params).min(*high),
            Num::Pick(x) => self.num(if self.bool(&x.0, params) { &x.1 } else { &x.2 }, params),
            Num::FromBool(x) => u64::from(self.bool(x, params)),
            Num::StackCount(stack) => u64::from(self.ctx.next[usize::from(*stack)]),
            Num::StackLast(stack) => u64::from(self.ctx.next[usize::from(*stack)]).wrapping_sub(1),
            Num::UnionStackCount(stack) => u64::from(self.ctx.union_next[usize::from(*stack)]),
            Num::UnionStackLast(stack) => u64::from(self.ctx.union_next[usize::from(*stack)]).wrapping_sub(1),
            Num::Register(id, index) => self.rt.registers[usize::from(*id)].low(self.num(index, params)).unwrap_or(0),
            Num::Dyn(header, index) => self.dynamic(header, *index, params).unwrap_or(0),
            Num::Low(big) => self.big(big, params).low(),
        }
    }

    /// A narrow field of a header chosen at run time; `None` when there is no such header.
    fn dynamic(&self, header: &Hdr, index: u16, params: &[u64]) -> Option<u64> {
        let header = self.hdr(header, params)?;
        if index == VALID {
            return Some(u64::from(self.ctx.is_valid(header)));
        }
        let field = &self.code.headers[usize::from(header)].fields[usize::from(index)];
        let (value, width) = match field.at {
            FieldRef::Narrow(fld) => (load(&self.ctx.frame, fld), field.width),
            FieldRef::Wide(bits) if bits.width <= 64 => (load_bits(&self.ctx.frame, bits), field.width),
            _ => return None,
        };
        let surplus = field.surplus.map_or(0, |flag| load(&self.ctx.frame, flag).wrapping_shl(width));
        Some(if field.signed { extend(value, width).wrapping_add(surplus) } else { value })
    }

    pub fn big(&self, big: &Big, params: &[u64]) -> Wide {
        match big {
            Big::Const(value) => value.clone(),
            Big::Num(num, signed) => {
                let value = self.num(num, params);
                if *signed { Wide::from_i64(value as i64) } else { Wide::from_u64(value) }
            }
            Big::Bits(bits, signed) => {
                let value = Wide::from_limbs(&limbs_of(&self.ctx.frame, *bits));
                if *signed { value.sign_extend(bits.width) } else { value }
            }
            Big::Var(header) => match &self.code.headers[usize::from(*header)].var {
                Some(var) => {
                    let at = var.area as usize;
                    Wide::from_bytes(&self.ctx.frame[at..at + self.ctx.var_len[var.slot] as usize])
                }
                None => Wide::from_u64(0),
            },
            Big::Param { word, words } => {
                let range = usize::from(*word)..usize::from(word + words);
                params.get(range).map_or_else(|| Wide::from_u64(0), Wide::from_limbs)
            }
            Big::Op(op, x) => {
                let (a, b) = (self.big(&x.0, params), self.big(&x.1, params));
                match op {
                    BigOp::Add => a.add(&b),
                    BigOp::Sub => a.sub(&b),
                    BigOp::Mul => a.mul(&b),
                    BigOp::And => a.and(&b),
                    BigOp::Or => a.or(&b),
                    BigOp::Xor => a.xor(&b),
                    BigOp::Shl => a.shl_wide(&b),
                    BigOp::Shr => a.shr_wide(&b),
                    BigOp::Div => a.div_rem(&b).0,
                    BigOp::Rem => a.div_rem(&b).1,
                }
            }
            Big::Not(x) => self.big(x, params).not(),
            Big::SignExtend(x, bits) => self.big(x, params).sign_extend(*bits),
            Big::Saturate(x, bits, signed) => self.big(x, params).saturate(*bits, *signed),
            Big::Pick(x) => self.big(if self.bool(&x.0, params) { &x.1 } else { &x.2 }, params),
            Big::Register(id, index) => {
                let register = &self.rt.registers[usize::from(*id)];
                register.wide(self.num(index, params)).unwrap_or_else(|| Wide::from_u64(0))
            }
            Big::Dyn(header, index, signed) => {
                let Some(header) = self.hdr(header, params) else { return Wide::from_u64(0) };
                let field = &self.code.headers[usize::from(header)].fields[usize::from(*index)];
                let value = match field.at {
                    FieldRef::Wide(bits) => self.big(&Big::Bits(bits, *signed), params),
                    FieldRef::Narrow(fld) => {
                        let value = Wide::from_u64(load(&self.ctx.frame, fld));
                        if *signed { value.sign_extend(field.width) } else { value }
                    }
                    _ => Wide::from_u64(0),
                };
                match field.surplus {
                    Some(flag) => value.add(&Wide::from_u64(load(&self.ctx.frame, flag)).shl(field.width.into())),
                    None => value,
                }
            }
        }
    }

    pub fn bool(&self, bool: &Bool, params: &[u64]) -> bool {
        match bool {
            Bool::Const(value) => *value,
            Bool::Valid(header) => self.ctx.is_valid(*header),
            Bool::FieldIs(fld, value) => load(&self.ctx.frame, *fld) == *value,
            Bool::FieldIsNot(fld, value) => load(&self.ctx.frame, *fld) != *value,
            Bool::And(x) => self.bool(&x.0, params) && self.bool(&x.1, params),
            Bool::Or(x) => self.bool(&x.0, params) || self.bool(&x.1, params),
            Bool::Not(x) => !self.bool(x, params),
            Bool::NonZero(num) => self.num(num, params) != 0,
            Bool::BigNonZero(big) => !self.big(big, params).is_zero(),
            Bool::Cmp(cmp, signed, x) => {
                let (a, b) = (self.num(&x.0, params), self.num(&x.1, params));
                compare(*cmp, if *signed { (a as i64).cmp(&(b as i64)) } else { a.cmp(&b) })
            }
            Bool::BigCmp(cmp, x) => compare(*cmp, self.big(&x.0, params).cmp(&self.big(&x.1, params))),
            Bool::Same(x) => self.bool(&x.0, params) == self.bool(&x.1, params),
            Bool::ValidHdr(header) => self.hdr(header, params).is_some_and(|h| self.ctx.is_valid(h)),
            Bool::ValidUnion(union) => self
                .union(union, params)
                .is_some_and(|u| self.code.unions[usize::from(u)].iter().any(|&h| self.ctx.is_valid(h))),
            Bool::SameHdr(x) => match (self.hdr(&x.0, params), self.hdr(&x.1, params)) {
                (Some(a), Some(b)) => self.same_header(a, b),
                _ => false,
            },
            Bool::SameUnion(x) => match (self.union(&x.0, params), self.union(&x.1, params)) {
                (Some(a), Some(b)) => {
                    let (a, b) = (&self.code.unions[usize::from(a)], &self.code.unions[usize::from(b)]);
                    a.iter().zip(b).any(|(&a, &b)| self.same_header(a, b))
                }
                _ => false,
            },
            Bool::Pick(x) => self.bool(if self.bool(&x.0, params) { &x.1 } else { &x.2 }, params),
        }
    }

    /// Both valid, of one type, with equal fields.
    fn same_header(&self, a: u16, b: u16) -> bool {
        let (x, y) = (&self.code.headers[usize::from(a)], &self.code.headers[usize::from(b)]);
        if x.ty != y.ty || !self.ctx.is_valid(a) || !self.ctx.is_valid(b) {
            return false;
        }
        let bytes = |h: &Header| {
            let len = h.held() as usize;
            &self.ctx.frame[h.base as usize..h.base as usize + len]
        };
        let var = |h: &Header| {
            h.var.as_ref().map(|var| {
                let at = var.area as usize;
                &self.ctx.frame[at..at + self.ctx.var_len[var.slot] as usize]
            })
        };
        bytes(x) == bytes(y) && var(x) == var(y)
    }

    pub fn hdr(&self, header: &Hdr, params: &[u64]) -> Option<u16> {
        match header {
            Hdr::Fixed(header) => Some(*header),
            Hdr::Stack(stack, index) => {
                let index = usize::try_from(self.num(index, params)).ok()?;
                self.code.stacks[usize::from(*stack)].items.get(index).copied()
            }
            Hdr::Last(stack) => {
                let index = usize::from(self.ctx.next[usize::from(*stack)]).checked_sub(1)?;
                self.code.stacks[usize::from(*stack)].items.get(index).copied()
            }
            Hdr::Member(union, member) => {
                let union = self.union(union, params)?;
                self.code.unions[usize::from(union)].get(usize::from(*member)).copied()
            }
        }
    }

    pub fn union(&self, union: &Union, params: &[u64]) -> Option<u16> {
        match union {
            Union::Fixed(union) => Some(*union),
            Union::Stack(stack, index) => {
                let index = usize::try_from(self.num(index, params)).ok()?;
                self.code.union_stacks[usize::from(*stack)].items.get(index).copied()
            }
            Union::Last(stack) => {
                let index = usize::from(self.ctx.union_next[usize::from(*stack)]).checked_sub(1)?;
                self.code.union_stacks[usize::from(*stack)].items.get(index).copied()
            }
        }
    }

    /// Writes a value that fits 64 bits.
    pub fn put(&mut self, dst: &Dst, value: u64, params: &[u64]) {
        match dst {
            Dst::Fld(fld) => store(&mut self.ctx.frame, *fld, value),
            Dst::Bits(bits) => self.put_bits(*bits, |i| if i == 0 { value } else { 0 }),
            Dst::Dyn(header, index) => {
                if let Some(dst) = self.fixed(header, *index, params) {
                    self.put(&dst, value, params);
                }
            }
            Dst::Register(id, index) => {
                let index = self.num(index, params);
                self.rt.registers[usize::from(*id)].set_low(index, value);
            }
            Dst::Surplus(dst, flag, width) => {
                store(&mut self.ctx.frame, *flag, u64::from(*width <= 64 && value >> (width - 1) == 1));
                self.put(dst, value, params);
            }
            Dst::Nowhere => {}
        }
    }

    pub fn put_wide(&mut self, dst: &Dst, value: &Wide, params: &[u64]) {
        match dst {
            Dst::Bits(bits) => {
                let mut limbs: SmallVec<[u64; 8]> = SmallVec::from_elem(0, bits.width.div_ceil(64) as usize);
                value.to_limbs(&mut limbs);
                self.put_bits(*bits, |i| limbs[i]);
            }
            Dst::Dyn(header, index) => {
                if let Some(dst) = self.fixed(header, *index, params) {
                    self.put_wide(&dst, value, params);
                }
            }
            Dst::Register(id, index) => {
                let index = self.num(index, params);
                self.rt.registers[usize::from(*id)].set_wide(index, value);
            }
            Dst::Surplus(dst, flag, width) => {
                let surplus = value.shr(u64::from(width - 1)) == Wide::from_u64(1);
                store(&mut self.ctx.frame, *flag, u64::from(surplus));
                self.put_wide(dst, value, params);
            }
            dst => self.put(dst, value.low(), params),
        }
    }

    pub fn put_val(&mut self, dst: &Dst, value: &Val, params: &[u64]) {
        match value {
            Val::Num(num) => {
                let value = self.num(num, params);
                self.put(dst, value, params);
            }
            Val::Big(big) => {
                let value = self.big(big, params);
                self.put_wide(dst, &value, params);
            }
        }
    }

    fn put_bits(&mut self, bits: Bits, limb: impl Fn(usize) -> u64) {
        for (i, piece) in pieces(bits).rev().enumerate() {
            store_bits(&mut self.ctx.frame, piece, limb(i));
        }
    }

    fn fixed(&self, header: &Hdr, index: u16, params: &[u64]) -> Option<Dst> {
        let header = self.hdr(header, params)?;
        match self.code.headers[usize::from(header)].fields.get(usize::from(index))?.at {
            FieldRef::Narrow(fld) => Some(Dst::Fld(fld)),
            FieldRef::Wide(bits) => Some(Dst::Bits(bits)),
            _ => None,
        }
    }
}
