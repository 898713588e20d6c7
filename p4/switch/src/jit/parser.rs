//! The parser: a block for each state.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_frontend::{Switch, Variable};

use super::cx::Cx;
use super::emit::{Emit, MEM};
use super::expr::known_bits;
use super::help;
use crate::exec::{Ctx, MAX_STATES};
use crate::program::code::*;

/// Headers longer than this are the interpreter's.
const MOST_INLINE: u32 = 128;

/// Whether the parser can be compiled: states that hold registers cannot.
pub(super) fn compiles(code: &Code) -> bool {
    code.states.iter().all(|state| state.registers.is_empty())
}

fn targets(select: &Select) -> Vec<u32> {
    match select {
        Select::Always(next) => vec![*next],
        Select::Word { cases, default, .. } => cases.iter().map(|c| c.2).chain([*default]).collect(),
        Select::Bytes { cases, default, .. } => {
            let next = |case: &SelectCase| match case {
                SelectCase::Match { next, .. } | SelectCase::Set { next, .. } => *next,
            };
            cases.iter().map(next).chain([*default]).collect()
        }
    }
}

/// Whether a parser can visit a state twice.
fn has_loop(states: &[State]) -> bool {
    // 1: on the way, 2: done.
    let mut marks = vec![0u8; states.len()];
    for start in 0..states.len() {
        let mut stack = vec![(start, 0)];
        if marks[start] != 0 {
            continue;
        }
        marks[start] = 1;
        while let Some((at, edge)) = stack.pop() {
            let Some(&to) = targets(&states[at].select).get(edge) else {
                marks[at] = 2;
                continue;
            };
            stack.push((at, edge + 1));
            match marks.get(to as usize) {
                Some(1) => return true,
                Some(0) => {
                    marks[to as usize] = 1;
                    stack.push((to as usize, 0));
                }
                _ => {}
            }
        }
    }
    false
}

/// What the blocks of a parser share.
struct Parser {
    at: Variable,
    packet: Value,
    end: Value,
    done: Block,
    /// Takes the error as its parameter.
    failed: Block,
}

impl Emit<'_> {
    /// The function of the parser.
    pub fn parser(mut self) {
        let code = self.code;
        let (done, failed) = (self.block(), self.block());
        let error = self.b.append_block_param(failed, I64);
        let packet = self.cx_word(offset_of!(Cx, packet));
        let end = self.b.ins().load(I64, MEM, self.ctx, offset_of!(Ctx, end) as i32);
        let start = self.b.ins().load(I64, MEM, self.ctx, offset_of!(Ctx, start) as i32);
        let at = self.b.declare_var(I64);
        self.b.def_var(at, start);
        let left = has_loop(&code.states).then(|| {
            let left = self.b.declare_var(I64);
            let most = self.int(MAX_STATES as u64);
            self.b.def_var(left, most);
            left
        });
        let p = Parser { at, packet, end, done, failed };
        let blocks: Vec<Block> = code.states.iter().map(|_| self.block()).collect();
        let block_of = |state: u32| blocks.get(state as usize).copied().unwrap_or(done);
        self.jump(block_of(code.start));
        for (state, &block) in code.states.iter().zip(&blocks) {
            self.b.switch_to_block(block);
            if let Some(left) = left {
                let before = self.b.use_var(left);
                let go_on = self.block();
                self.branch_on(before, go_on, done);
                self.b.switch_to_block(go_on);
                let after = self.add(before, u64::MAX);
                self.b.def_var(left, after);
            }
            for op in &state.ops {
                self.parse_op(&p, op);
            }
            self.select(&p, &state.select, &block_of);
        }
        self.b.switch_to_block(failed);
        let error = self.b.ins().ireduce(I32, error);
        self.b.ins().store(MEM, error, self.ctx, offset_of!(Ctx, parser_error) as i32);
        self.jump(done);
        self.b.switch_to_block(done);
        let at = self.b.use_var(at);
        self.b.ins().store(MEM, at, self.ctx, offset_of!(Ctx, start) as i32);
        for checksum in &code.verify {
            self.verify(checksum);
        }
        let zero = self.int(0);
        self.b.ins().return_(&[zero]);
        self.finish();
    }

    fn verify(&mut self, checksum: &Checksum) {
        let (there, check, wrong, next) = (self.block(), self.block(), self.block(), self.block());
        let valid = self.is_valid(checksum.header);
        self.branch_on(valid, there, next);
        self.b.switch_to_block(there);
        match &checksum.cond {
            Some(cond) => self.branch(cond, check, next),
            None => self.jump(check),
        }
        self.b.switch_to_block(check);
        let value = self.calculate(checksum.calc);
        match self.compare_target(checksum.target, value) {
            Some(differs) => self.branch_on(differs, wrong, next),
            None => self.jump(next),
        }
        self.b.switch_to_block(wrong);
        let on = self.b.ins().iconst(I8, 1);
        self.b.ins().store(MEM, on, self.ctx, offset_of!(Ctx, checksum_error) as i32);
        self.jump(next);
        self.b.switch_to_block(next);
    }

    fn fail(&mut self, p: &Parser, error: u32) {
        let error = self.int(u64::from(error));
        self.b.ins().jump(p.failed, &[error.into()]);
    }

    /// Goes on when as many bytes are left, else fails.
    fn need(&mut self, p: &Parser, bytes: Value) {
        let at = self.b.use_var(p.at);
        let left = self.b.ins().isub(p.end, at);
        let short = self.b.ins().icmp(IntCC::UnsignedLessThan, left, bytes);
        let (stop, go_on) = (self.block(), self.block());
        self.branch_on(short, stop, go_on);
        self.b.set_cold_block(stop);
        self.b.switch_to_block(stop);
        self.fail(p, self.code.err.packet_too_short);
        self.b.switch_to_block(go_on);
    }

    /// The address that the parser is at.
    fn here(&mut self, p: &Parser) -> Value {
        let at = self.b.use_var(p.at);
        self.b.ins().iadd(p.packet, at)
    }

    fn extract(&mut self, p: &Parser, header: u16) {
        let def = &self.code.headers[usize::from(header)];
        let len = self.int(u64::from(def.fixed));
        self.need(p, len);
        let from = self.here(p);
        self.copy(self.frame, def.base as i32, from, 0, def.fixed);
        if def.tail > 0 {
            self.clear(def.base + def.fixed, def.tail);
        }
        if let Some(var) = &def.var {
            let lens = self.cx_word(offset_of!(Cx, var_len));
            let zero = self.b.ins().iconst(I32, 0);
            self.b.ins().store(MEM, zero, lens, var.slot as i32 * 4);
        }
        self.set_valid(header);
        let at = self.b.use_var(p.at);
        let at = self.b.ins().iadd(at, len);
        self.b.def_var(p.at, at);
    }

    fn parse_op(&mut self, p: &Parser, op: &ParseOp) {
        let code = self.code;
        match op {
            ParseOp::Extract(header) if code.headers[usize::from(*header)].fixed <= MOST_INLINE => {
                self.extract(p, *header);
            }
            ParseOp::ExtractStack(stack, None) if code.stacks[usize::from(*stack)].items.len() <= 16 => {
                self.extract_stack(p, *stack);
            }
            ParseOp::Verify(cond, error) => {
                let (holds, fails) = (self.block(), self.block());
                self.branch(cond, holds, fails);
                self.b.switch_to_block(fails);
                let error = self.num(error);
                let error = self.low32(error);
                self.b.ins().jump(p.failed, &[error.into()]);
                self.b.switch_to_block(holds);
            }
            ParseOp::Do(op) => self.op(op),
            ParseOp::Advance(bits) => self.advance(p, bits),
            ParseOp::Lookahead { dst: dst @ (Dst::Fld(_) | Dst::Bits(_)), offset, width }
                if (offset % 8 + width).div_ceil(8) <= 8 && *width > 0 =>
            {
                let value = self.look_ahead(p, *offset, *width, (offset % 8 + width).div_ceil(8) + offset / 8);
                self.put(dst, value, *width);
            }
            op => {
                let address = self.int(std::ptr::from_ref(op) as u64);
                let at = self.b.use_var(p.at);
                let found = self.call(help::parse_op as *const () as usize, &[self.cx, address, at]);
                self.or_fail(p, found);
                self.b.def_var(p.at, found);
            }
        }
    }

    fn advance(&mut self, p: &Parser, bits: &Num) {
        let bits = self.num(bits);
        let part = self.b.ins().band_imm_u(bits, 7);
        let (stop, go_on) = (self.block(), self.block());
        self.branch_on(part, stop, go_on);
        self.b.switch_to_block(stop);
        self.fail(p, self.code.err.invalid_argument);
        self.b.switch_to_block(go_on);
        let bytes = self.b.ins().ushr_imm_u(bits, 3);
        self.need(p, bytes);
        let at = self.b.use_var(p.at);
        let at = self.b.ins().iadd(at, bytes);
        self.b.def_var(p.at, at);
    }

    /// Bits ahead of the parser, of which `needed` bytes must be there.
    fn look_ahead(&mut self, p: &Parser, offset: u32, width: u32, needed: u32) -> Value {
        let needed = self.int(u64::from(needed));
        self.need(p, needed);
        let here = self.here(p);
        let total = offset % 8 + width;
        let bytes = total.div_ceil(8);
        let value = self.load_ahead(here, (offset / 8) as i32, bytes);
        let value = self.b.ins().ushr_imm_u(value, i64::from(bytes * 8 - total));
        self.mask(value, width)
    }

    /// The next header of a stack: a case for each that it may be.
    fn extract_stack(&mut self, p: &Parser, stack: u16) {
        let items = &self.code.stacks[usize::from(stack)].items;
        let next = self.stack_next(stack);
        let (full, done) = (self.block(), self.block());
        let cases: Vec<Block> = items.iter().map(|_| self.block()).collect();
        let mut switch = Switch::new();
        cases.iter().enumerate().for_each(|(i, &block)| switch.set_entry(i as u128, block));
        switch.emit(&mut self.b, next, full);
        for (&header, block) in items.iter().zip(cases) {
            self.b.switch_to_block(block);
            self.extract(p, header);
            self.jump(done);
        }
        self.b.switch_to_block(full);
        self.fail(p, self.code.err.stack_out_of_bounds);
        self.b.switch_to_block(done);
        let next = self.add(next, 1);
        let table = self.cx_word(offset_of!(Cx, next));
        self.b.ins().istore16(MEM, next, table, i32::from(stack) * 2);
    }

    /// A negative number from the interpreter is one less than the negative error.
    fn or_fail(&mut self, p: &Parser, found: Value) {
        let bad = self.b.ins().icmp_imm_s(IntCC::SignedLessThan, found, 0);
        let (stop, go_on) = (self.block(), self.block());
        self.branch_on(bad, stop, go_on);
        self.b.switch_to_block(stop);
        let error = self.b.ins().bnot(found);
        self.b.ins().jump(p.failed, &[error.into()]);
        self.b.switch_to_block(go_on);
    }

    fn select(&mut self, p: &Parser, select: &Select, block_of: &dyn Fn(u32) -> Block) {
        match select {
            Select::Always(next) => self.jump(block_of(*next)),
            Select::Word { parts, cases, default } => match self.select_key(p, parts) {
                Some(key) => self.select_word(key, cases, block_of(*default), block_of),
                None => self.select_by_interpreter(p, select, block_of),
            },
            Select::Bytes { .. } => self.select_by_interpreter(p, select, block_of),
        }
    }

    fn select_by_interpreter(&mut self, p: &Parser, select: &Select, block_of: &dyn Fn(u32) -> Block) {
        let address = self.int(std::ptr::from_ref(select) as u64);
        let at = self.b.use_var(p.at);
        let found = self.call(help::select as *const () as usize, &[self.cx, address, at]);
        self.or_fail(p, found);
        let mut switch = Switch::new();
        let mut seen = Vec::new();
        for to in targets(select) {
            if (to as usize) < self.code.states.len() && !seen.contains(&to) {
                seen.push(to);
                switch.set_entry(u128::from(to), block_of(to));
            }
        }
        switch.emit(&mut self.b, found, p.done);
    }

    /// The parts of a key side by side, each in whole bytes.
    fn select_key(&mut self, p: &Parser, parts: &[SelectPart]) -> Option<Value> {
        let plain = |part: &SelectPart| match part {
            SelectPart::Lookahead { offset, width } => *width > 0 && (offset % 8 + width).div_ceil(8) <= 8,
            SelectPart::Bits(bits) => bits.width <= 64,
            SelectPart::Num(..) => true,
            SelectPart::Big(..) => false,
        };
        if !parts.iter().all(plain) {
            return None;
        }
        let mut key = None;
        for part in parts {
            let (value, width, known) = match part {
                SelectPart::Num(num, width) => (self.num(num), *width, known_bits(num)),
                SelectPart::Bits(bits) => (self.load_bits(*bits), bits.width, bits.width),
                SelectPart::Lookahead { offset, width } => {
                    let value = self.look_ahead(p, *offset, *width, (offset + width).div_ceil(8));
                    (value, *width, *width)
                }
                SelectPart::Big(..) => return None,
            };
            let value = if width >= 64 || known <= width {
                value
            } else {
                self.b.ins().band_imm_u(value, ((1u64 << width) - 1) as i64)
            };
            let shift = width.div_ceil(8) * 8;
            key = Some(match key {
                Some(before) if shift < 64 => {
                    let before = self.b.ins().ishl_imm_u(before, i64::from(shift));
                    self.b.ins().bor(before, value)
                }
                _ => value,
            });
        }
        Some(key.unwrap_or_else(|| self.int(0)))
    }

    fn select_word(&mut self, key: Value, cases: &[(u64, u64, u32)], default: Block, block_of: &dyn Fn(u32) -> Block) {
        let Some(&(_, mask, _)) = cases.first() else { return self.jump(default) };
        if cases.len() > 3 && cases.iter().all(|case| case.1 == mask) {
            let key = if mask == u64::MAX { key } else { self.b.ins().band_imm_u(key, mask as i64) };
            let mut switch = Switch::new();
            let mut seen = Vec::new();
            for &(value, _, next) in cases {
                if !seen.contains(&value) {
                    seen.push(value);
                    switch.set_entry(u128::from(value), block_of(next));
                }
            }
            return switch.emit(&mut self.b, key, default);
        }
        for &(value, mask, next) in cases {
            let found = match mask {
                0 if value == 0 => return self.jump(block_of(next)),
                u64::MAX => key,
                mask => self.b.ins().band_imm_u(key, mask as i64),
            };
            let same = self.compare_to(IntCC::Equal, found, value);
            let other = self.block();
            self.branch_on(same, block_of(next), other);
            self.b.switch_to_block(other);
        }
        self.jump(default);
    }
}
