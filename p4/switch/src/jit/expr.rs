//! Expressions: numbers and truth values.

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Value};

use super::cx::Cx;
use super::emit::{Emit, MEM};
use super::help;
use crate::program::code::*;

/// How many low bits of a number may be set.
pub(super) fn known_bits(num: &Num) -> u32 {
    let of = |value: u64| 64 - value.leading_zeros();
    match num {
        Num::Const(value) => of(*value),
        Num::Fld(fld) => u32::from(fld.width),
        Num::Bits(bits) => bits.width,
        Num::Valid(_) | Num::FromBool(_) => 1,
        Num::And(x, mask) => of(*mask).min(known_bits(x)),
        Num::ClampUnsigned(x, high) => of(*high).min(known_bits(x)),
        Num::Op(NumOp::And, x) => known_bits(&x.0).min(known_bits(&x.1)),
        Num::Op(NumOp::Or | NumOp::Xor, x) => known_bits(&x.0).max(known_bits(&x.1)),
        Num::Op(NumOp::ShrUnsigned | NumOp::Div | NumOp::Rem, x) => known_bits(&x.0),
        Num::Pick(x) => known_bits(&x.1).max(known_bits(&x.2)),
        Num::StackCount(_) | Num::UnionStackCount(_) => 16,
        _ => 64,
    }
}

fn condition(cmp: Cmp, signed: bool) -> IntCC {
    match (cmp, signed) {
        (Cmp::Eq, _) => IntCC::Equal,
        (Cmp::Ne, _) => IntCC::NotEqual,
        (Cmp::Lt, false) => IntCC::UnsignedLessThan,
        (Cmp::Le, false) => IntCC::UnsignedLessThanOrEqual,
        (Cmp::Gt, false) => IntCC::UnsignedGreaterThan,
        (Cmp::Ge, false) => IntCC::UnsignedGreaterThanOrEqual,
        (Cmp::Lt, true) => IntCC::SignedLessThan,
        (Cmp::Le, true) => IntCC::SignedLessThanOrEqual,
        (Cmp::Gt, true) => IntCC::SignedGreaterThan,
        (Cmp::Ge, true) => IntCC::SignedGreaterThanOrEqual,
    }
}

impl Emit<'_> {
    fn sign_extend(&mut self, value: Value, width: u32) -> Value {
        if width >= 64 {
            return value;
        }
        let shift = i64::from(64 - width);
        let value = self.b.ins().ishl_imm_u(value, shift);
        self.b.ins().sshr_imm_u(value, shift)
    }

    /// A number, modulo 2^64.
    pub fn num(&mut self, num: &Num) -> Value {
        match num {
            Num::Const(value) => self.int(*value),
            Num::Fld(fld) => self.load(*fld),
            Num::Signed(fld) => {
                let value = self.load(*fld);
                self.sign_extend(value, u32::from(fld.width))
            }
            Num::Bits(bits) => self.load_bits(*bits),
            Num::SignedBits(bits) => {
                let value = self.load_bits(*bits);
                self.sign_extend(value, bits.width)
            }
            Num::Valid(_) => self.truth_of(&mut |emit, yes, no| emit.branch_num(num, yes, no)),
            Num::Param(word) => self.param(*word),
            Num::And(x, mask) => {
                let known = known_bits(x);
                let value = self.num(x);
                let all = if known >= 64 { u64::MAX } else { (1 << known) - 1 };
                if all & !mask == 0 { value } else { self.b.ins().band_imm_u(value, *mask as i64) }
            }
            Num::Add(x, add) => {
                let value = self.num(x);
                self.add(value, *add)
            }
            Num::Op(op, x) => {
                let (a, b) = (self.num(&x.0), self.num(&x.1));
                self.binary(*op, a, b)
            }
            Num::Not(x) => {
                let value = self.num(x);
                self.b.ins().bnot(value)
            }
            Num::SignExtend(x, bits) => {
                let value = self.num(x);
                self.sign_extend(value, u32::from(*bits))
            }
            Num::ClampSigned(x, low, high) => {
                let value = self.num(x);
                let (low, high) = (self.int(*low as u64), self.int(*high as u64));
                let value = self.b.ins().smax(value, low);
                self.b.ins().smin(value, high)
            }
            Num::ClampUnsigned(x, high) => {
                let value = self.num(x);
                let high = self.int(*high);
                self.b.ins().umin(value, high)
            }
            Num::Pick(x) => {
                let (yes, no, done) = (self.block(), self.block(), self.block());
                let result = self.b.append_block_param(done, I64);
                self.branch(&x.0, yes, no);
                for (block, value) in [(yes, &x.1), (no, &x.2)] {
                    self.b.switch_to_block(block);
                    let value = self.num(value);
                    self.b.ins().jump(done, &[value.into()]);
                }
                self.b.switch_to_block(done);
                result
            }
            Num::FromBool(x) => self.truth(x),
            Num::StackCount(stack) => self.stack_next(*stack),
            Num::StackLast(stack) => {
                let value = self.stack_next(*stack);
                self.add(value, u64::MAX)
            }
            Num::UnionStackCount(_) | Num::UnionStackLast(_) | Num::Register(..) | Num::Dyn(..) | Num::Low(_) => {
                let expression = self.int(std::ptr::from_ref(num) as u64);
                let (params, words) = self.params_for_call();
                self.call(help::num as *const () as usize, &[self.cx, expression, params, words])
            }
        }
    }

    pub fn stack_next(&mut self, stack: u16) -> Value {
        let next = self.cx_word(std::mem::offset_of!(Cx, next));
        self.b.ins().uload16(I64, MEM, next, i32::from(stack) * 2)
    }

    fn binary(&mut self, op: NumOp, a: Value, b: Value) -> Value {
        match op {
            NumOp::Add => self.b.ins().iadd(a, b),
            NumOp::Sub => self.b.ins().isub(a, b),
            NumOp::Mul => self.b.ins().imul(a, b),
            NumOp::And => self.b.ins().band(a, b),
            NumOp::Or => self.b.ins().bor(a, b),
            NumOp::Xor => self.b.ins().bxor(a, b),
            NumOp::Shl | NumOp::ShrUnsigned => {
                let value = if op == NumOp::Shl { self.b.ins().ishl(a, b) } else { self.b.ins().ushr(a, b) };
                let fits = self.compare_to(IntCC::UnsignedLessThan, b, 64);
                let zero = self.int(0);
                self.b.ins().select(fits, value, zero)
            }
            NumOp::ShrSigned => {
                let most = self.int(63);
                let by = self.b.ins().umin(b, most);
                self.b.ins().sshr(a, by)
            }
            NumOp::Div | NumOp::Rem => {
                // Division by zero yields zero.
                let (zero, one) = (self.int(0), self.int(1));
                let nonzero = self.b.ins().icmp(IntCC::NotEqual, b, zero);
                let by = self.b.ins().select(nonzero, b, one);
                let value = if op == NumOp::Div { self.b.ins().udiv(a, by) } else { self.b.ins().urem(a, by) };
                self.b.ins().select(nonzero, value, zero)
            }
        }
    }

    /// 0 or 1 by where a branch goes.
    fn truth_of(&mut self, branch: &mut dyn FnMut(&mut Self, Block, Block)) -> Value {
        let (yes, no, done) = (self.block(), self.block(), self.block());
        let result = self.b.append_block_param(done, I64);
        branch(self, yes, no);
        for (block, value) in [(yes, 1), (no, 0)] {
            self.b.switch_to_block(block);
            let value = self.int(value);
            self.b.ins().jump(done, &[value.into()]);
        }
        self.b.switch_to_block(done);
        result
    }

    /// 0 or 1.
    pub fn truth(&mut self, bool: &Bool) -> Value {
        if let Some(flag) = self.flag(bool) {
            let zero = self.b.ins().iconst(I8, 0);
            let flag = self.b.ins().icmp(IntCC::NotEqual, flag, zero);
            return self.b.ins().uextend(I64, flag);
        }
        self.truth_of(&mut |emit, yes, no| emit.branch(bool, yes, no))
    }

    fn branch_num(&mut self, num: &Num, yes: Block, no: Block) {
        let value = match num {
            Num::Valid(header) => self.is_valid(*header),
            num => self.num(num),
        };
        self.branch_on(value, yes, no);
    }

    /// A truth value that takes no control flow: a byte, zero for false.
    fn flag(&mut self, bool: &Bool) -> Option<Value> {
        Some(match bool {
            Bool::Const(value) => self.b.ins().iconst(I8, i64::from(*value)),
            Bool::Valid(header) => self.is_valid(*header),
            Bool::FieldIs(fld, value) => self.field_is(*fld, *value, IntCC::Equal),
            Bool::FieldIsNot(fld, value) => self.field_is(*fld, *value, IntCC::NotEqual),
            Bool::Cmp(cmp, signed, x) => {
                let (a, b) = (self.num(&x.0), self.num(&x.1));
                self.b.ins().icmp(condition(*cmp, *signed), a, b)
            }
            Bool::BigNonZero(_)
            | Bool::BigCmp(..)
            | Bool::ValidHdr(_)
            | Bool::ValidUnion(_)
            | Bool::SameHdr(_)
            | Bool::SameUnion(_) => {
                let expression = self.int(std::ptr::from_ref(bool) as u64);
                let (params, words) = self.params_for_call();
                let value = self.call(help::bool as *const () as usize, &[self.cx, expression, params, words]);
                self.b.ins().ireduce(I8, value)
            }
            _ => return None,
        })
    }

    /// Goes where a truth value says.
    pub fn branch(&mut self, bool: &Bool, yes: Block, no: Block) {
        match bool {
            Bool::Const(value) => self.jump(if *value { yes } else { no }),
            Bool::NonZero(num) => self.branch_num(num, yes, no),
            Bool::Not(x) => self.branch(x, no, yes),
            Bool::And(x) => {
                let second = self.block();
                self.branch(&x.0, second, no);
                self.b.switch_to_block(second);
                self.branch(&x.1, yes, no);
            }
            Bool::Or(x) => {
                let second = self.block();
                self.branch(&x.0, yes, second);
                self.b.switch_to_block(second);
                self.branch(&x.1, yes, no);
            }
            Bool::Same(x) => {
                let (a, b) = (self.truth(&x.0), self.truth(&x.1));
                let same = self.b.ins().icmp(IntCC::Equal, a, b);
                self.branch_on(same, yes, no);
            }
            Bool::Pick(x) => {
                let (first, second) = (self.block(), self.block());
                self.branch(&x.0, first, second);
                self.b.switch_to_block(first);
                self.branch(&x.1, yes, no);
                self.b.switch_to_block(second);
                self.branch(&x.2, yes, no);
            }
            simple => {
                // The other kinds all have one.
                let flag = self.flag(simple).unwrap_or_else(|| self.b.ins().iconst(I8, 0));
                self.branch_on(flag, yes, no);
            }
        }
    }
}
