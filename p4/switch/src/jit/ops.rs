//! Primitives of actions.

use std::mem::offset_of;

use cranelift_codegen::ir::types::{I8, I16, I32};
use cranelift_codegen::ir::{Block, InstBuilder, Value};

use super::cx::Cx;
use super::emit::{Emit, MEM, Params};
use super::expr::known_bits;
use super::help;
use crate::exec::Ctx;
use crate::exec::ctx::pieces;
use crate::program::code::*;

/// Longer runs of bytes are copied and cleared by the interpreter.
const MOST_INLINE: u32 = 128;

/// Whether the packet may be done with its control after the action.
pub(super) fn may_exit(action: &Action) -> bool {
    !compiles(action) || action.ops.iter().any(|op| matches!(op, Op::Exit | Op::Assert(..)))
}

/// Actions that hold registers, and those with loops, are the interpreter's.
pub(super) fn compiles(action: &Action) -> bool {
    let forward = |(at, op): (usize, &Op)| match op {
        Op::Jump(to) | Op::JumpIfZero(_, to) | Op::JumpUnless(_, to) => *to > at,
        _ => true,
    };
    action.registers.is_empty() && action.ops.iter().enumerate().all(forward)
}

impl Emit<'_> {
    /// An action's primitives, one after another, in place.
    pub fn body(&mut self, action: usize, params: Params) {
        let code = self.code;
        let before = (self.action, self.params);
        (self.action, self.params) = (Some(action), params);
        let ops = &code.actions[action].ops;
        let target = |op: &Op| match op {
            Op::Jump(to) | Op::JumpIfZero(_, to) | Op::JumpUnless(_, to) => Some((*to).min(ops.len())),
            _ => None,
        };
        let mut blocks: Vec<Option<Block>> = vec![None; ops.len() + 1];
        for to in ops.iter().filter_map(target) {
            blocks[to].get_or_insert_with(|| self.b.create_block());
        }
        for (at, op) in ops.iter().enumerate() {
            if let Some(block) = blocks[at] {
                self.jump(block);
                self.b.switch_to_block(block);
            }
            let Some(to) = target(op).and_then(|to| blocks[to]) else {
                self.op(op);
                continue;
            };
            let next = self.block();
            match op {
                Op::JumpIfZero(num, _) => {
                    let value = self.num(num);
                    self.branch_on(value, next, to);
                }
                Op::JumpUnless(cond, _) => self.branch(cond, next, to),
                _ => self.jump(to),
            }
            self.b.switch_to_block(next);
        }
        if let Some(block) = blocks[ops.len()] {
            self.jump(block);
            self.b.switch_to_block(block);
        }
        (self.action, self.params) = before;
    }

    fn interpret(&mut self, op: &Op) {
        let address = self.int(std::ptr::from_ref(op) as u64);
        let (params, words) = self.params_for_call();
        self.call(help::op as *const () as usize, &[self.cx, address, params, words]);
    }

    /// Writes a number to where it goes; false when only the interpreter can.
    pub fn put(&mut self, dst: &Dst, value: Value, known: u32) -> bool {
        match dst {
            Dst::Fld(fld) => self.store(*fld, value, known),
            Dst::Bits(bits) => self.put_limbs(*bits, &[value], known),
            Dst::Nowhere => {}
            Dst::Dyn(..) | Dst::Register(..) | Dst::Surplus(..) => return false,
        }
        true
    }

    /// Writes words to a wide field, least significant first; what is missing is zero.
    fn put_limbs(&mut self, bits: Bits, limbs: &[Value], known: u32) {
        for (i, piece) in pieces(bits).rev().enumerate() {
            match limbs.get(i) {
                Some(&limb) => self.store_bits(piece, limb, known),
                None => {
                    let zero = self.int(0);
                    self.store_bits(piece, zero, 0);
                }
            }
        }
    }

    /// The words of a plain wide value, least significant first.
    fn limbs(&mut self, big: &Big) -> Option<Vec<Value>> {
        Some(match big {
            Big::Num(num, false) => vec![self.num(num)],
            Big::Bits(bits, false) => pieces(*bits).rev().map(|piece| self.load_bits(piece)).collect(),
            Big::Param { word, words } => (*word..word + words).map(|word| self.param(word)).collect(),
            _ => return None,
        })
    }

    fn store_ctx<const BYTES: usize>(&mut self, offset: usize, value: Value) {
        let value = match BYTES {
            1 => self.b.ins().ireduce(I8, value),
            2 => self.b.ins().ireduce(I16, value),
            4 => self.b.ins().ireduce(I32, value),
            _ => value,
        };
        self.b.ins().store(MEM, value, self.ctx, offset as i32);
    }

    /// Adds to the packet's length register.
    fn grow(&mut self, by: i64) {
        let at = offset_of!(Ctx, length) as i32;
        let length = self.b.ins().load(I32, MEM, self.ctx, at);
        let length = self.b.ins().iadd_imm_s(length, by);
        self.b.ins().store(MEM, length, self.ctx, at);
    }

    pub fn op(&mut self, op: &Op) {
        if !self.native_op(op) {
            self.interpret(op);
        }
    }

    fn native_op(&mut self, op: &Op) -> bool {
        let code = self.code;
        match op {
            Op::Nop | Op::Jump(_) | Op::JumpIfZero(..) | Op::JumpUnless(..) => {}
            Op::SetConst(dst, value) => self.store_const(*dst, *value),
            Op::SetField(dst, src) => {
                let value = self.load(*src);
                self.store(*dst, value, u32::from(src.width));
            }
            Op::SetParam(dst, word) => {
                let value = self.param(*word);
                self.store(*dst, value, 64);
            }
            Op::SetNum(dst, num) => {
                let value = self.num(num);
                self.store(*dst, value, known_bits(num));
            }
            Op::Set(dst @ (Dst::Fld(_) | Dst::Bits(_) | Dst::Nowhere), Val::Num(num)) => {
                let value = self.num(num);
                return self.put(dst, value, known_bits(num));
            }
            Op::Set(Dst::Bits(bits), Val::Big(big)) => match self.limbs(big) {
                Some(limbs) => self.put_limbs(*bits, &limbs, 64),
                None => return false,
            },
            Op::CopyBytes { dst, src, len } if *len <= MOST_INLINE => {
                self.copy(self.frame, *dst as i32, self.frame, *src as i32, *len);
            }
            Op::AddHeader(Hdr::Fixed(header)) => return self.add_header(*header),
            Op::RemoveHeader(Hdr::Fixed(header)) => {
                let def = &code.headers[usize::from(*header)];
                if def.var.is_some() {
                    return false;
                }
                let (there, done) = (self.block(), self.block());
                let valid = self.is_valid(*header);
                self.branch_on(valid, there, done);
                self.b.switch_to_block(there);
                self.grow(-i64::from(def.fixed));
                self.set_bit(*header, false);
                self.jump(done);
                self.b.switch_to_block(done);
            }
            Op::AssignHeader(Hdr::Fixed(dst), Hdr::Fixed(src)) => return self.assign_header(*dst, *src),
            Op::Exit => self.set_exit(),
            Op::Assert(cond, _) => {
                let (failed, done) = (self.block(), self.block());
                self.branch(cond, done, failed);
                self.b.switch_to_block(failed);
                self.interpret(op);
                self.jump(done);
                self.b.switch_to_block(done);
            }
            Op::MarkToDrop { spec, group } => {
                if let Some(spec) = spec {
                    let port = self.cx_word(offset_of!(Cx, drop_port));
                    self.store(*spec, port, 64);
                }
                if let Some(group) = group {
                    self.store_const(*group, 0);
                }
            }
            Op::Digest(id) => {
                let id = self.num(id);
                self.store_ctx::<2>(offset_of!(Ctx, digest), id);
            }
            Op::Resubmit(list) => {
                let list = self.num(list);
                self.store_ctx::<2>(offset_of!(Ctx, resubmit), list);
            }
            Op::Recirculate(list) => {
                let list = self.num(list);
                self.store_ctx::<2>(offset_of!(Ctx, recirculate), list);
            }
            Op::Hash { dst: dst @ (Dst::Fld(_) | Dst::Bits(_)), base, calc, size } => {
                let start = self.num(base);
                let size_value = self.num(size);
                let value = self.calculate(*calc);
                let rest = match size {
                    Num::Const(0 | 1) => self.int(0),
                    Num::Const(size) if size.is_power_of_two() => self.b.ins().band_imm_u(value, (*size - 1) as i64),
                    // A 32-bit sum below the size is the usual case.
                    _ => {
                        let one = self.int(1);
                        let by = self.b.ins().umax(size_value, one);
                        self.b.ins().urem(value, by)
                    }
                };
                let sum = self.b.ins().iadd(rest, start);
                return self.put(dst, sum, 64);
            }
            Op::Count { counter, index } => {
                let index = self.num(index);
                let counter = self.int(u64::from(*counter));
                self.call(help::count as *const () as usize, &[self.cx, counter, index]);
            }
            _ => return false,
        }
        true
    }

    pub fn set_exit(&mut self) {
        let on = self.b.ins().iconst(I8, 1);
        self.b.ins().store(MEM, on, self.ctx, offset_of!(Ctx, exit) as i32);
    }

    fn add_header(&mut self, header: u16) -> bool {
        let def = &self.code.headers[usize::from(header)];
        if def.var.is_some() || def.held() > MOST_INLINE {
            return false;
        }
        let (missing, done) = (self.block(), self.block());
        let valid = self.is_valid(header);
        self.branch_on(valid, done, missing);
        self.b.switch_to_block(missing);
        self.clear(def.base, def.held());
        self.set_valid(header);
        self.grow(i64::from(def.fixed));
        self.jump(done);
        self.b.switch_to_block(done);
        true
    }

    fn assign_header(&mut self, dst: u16, src: u16) -> bool {
        let (to, from) = (&self.code.headers[usize::from(dst)], &self.code.headers[usize::from(src)]);
        let len = to.held().min(from.held());
        if to.var.is_some() || len > MOST_INLINE {
            return false;
        }
        let (there, missing, done) = (self.block(), self.block(), self.block());
        let valid = self.is_valid(src);
        self.branch_on(valid, there, missing);
        self.b.switch_to_block(missing);
        self.set_bit(dst, false);
        self.jump(done);
        self.b.switch_to_block(there);
        self.set_valid(dst);
        self.copy(self.frame, to.base as i32, self.frame, from.base as i32, len);
        self.jump(done);
        self.b.switch_to_block(done);
        true
    }
}
