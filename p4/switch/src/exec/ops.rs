//! Actions: BMv2's primitives.

use parking_lot::MutexGuard;
use smallvec::SmallVec;

use super::Run;
use super::ctx::{load, store};
use crate::program::code::*;

/// Set in the clone register besides the session id, so that session 0 counts.
pub(crate) const CLONE: u16 = 0x8000;
/// Jumps of one action: loops of P4 are jumps back, and one that never ends is cut off here. BMv2 would hang in it.
const MAX_JUMPS: usize = 1 << 22;

impl Run<'_> {
    /// Holds the locks of `registers` (sorted, so that two actions cannot wait for each other).
    pub fn locked<'r>(rt: &'r crate::instance::Instance, registers: &[u16]) -> SmallVec<[MutexGuard<'r, ()>; 4]> {
        registers.iter().map(|&id| rt.registers[usize::from(id)].lock.lock()).collect()
    }

    pub fn action(&mut self, id: usize, params: &[u64]) {
        let action = &self.code.actions[id];
        let _locks = (!action.registers.is_empty()).then(|| Self::locked(self.rt, &action.registers));
        let (mut at, mut jumps) = (0, 0);
        while let Some(op) = action.ops.get(at) {
            at += 1;
            let jump = match op {
                // The usual ones without a call.
                Op::SetConst(dst, value) => {
                    store(&mut self.ctx.frame, *dst, *value);
                    continue;
                }
                Op::SetParam(dst, word) => {
                    let value = params.get(usize::from(*word)).copied().unwrap_or(0);
                    store(&mut self.ctx.frame, *dst, value);
                    continue;
                }
                Op::SetField(dst, src) => {
                    let value = load(&self.ctx.frame, *src);
                    store(&mut self.ctx.frame, *dst, value);
                    continue;
                }
                Op::Jump(to) => Some(*to),
                Op::JumpIfZero(cond, to) => (self.num(cond, params) == 0).then_some(*to),
                Op::JumpUnless(cond, to) => (!self.bool(cond, params)).then_some(*to),
                op => {
                    self.op(op, params);
                    None
                }
            };
            if let Some(to) = jump {
                at = to;
                jumps += 1;
                if jumps > MAX_JUMPS {
                    break;
                }
            }
        }
    }

    pub fn op(&mut self, op: &Op, params: &[u64]) {
        match op {
            Op::Nop | Op::Jump(_) | Op::JumpIfZero(..) | Op::JumpUnless(..) => {}
            Op::SetConst(dst, value) => store(&mut self.ctx.frame, *dst, *value),
            Op::SetField(dst, src) => {
                let value = load(&self.ctx.frame, *src);
                store(&mut self.ctx.frame, *dst, value);
            }
            Op::SetParam(dst, word) => {
                let value = params.get(usize::from(*word)).copied().unwrap_or(0);
                store(&mut self.ctx.frame, *dst, value);
            }
            Op::SetNum(dst, num) => {
                let value = self.num(num, params);
                store(&mut self.ctx.frame, *dst, value);
            }
            Op::Set(dst, value) => self.put_val(dst, value, params),
            Op::CopyBytes { dst, src, len } => {
                let (src, len) = (*src as usize, *len as usize);
                self.ctx.frame.copy_within(src..src + len, *dst as usize);
            }
            Op::AssignVar { dst, src } => self.copy_var(*dst, *src),
            Op::AssignHeader(dst, src) => {
                if let (Some(dst), Some(src)) = (self.hdr(dst, params), self.hdr(src, params)) {
                    self.assign_header(dst, src);
                }
            }
            Op::AssignUnion(dst, src) => {
                if let (Some(dst), Some(src)) = (self.union(dst, params), self.union(src, params)) {
                    self.assign_union(dst, src);
                }
            }
            Op::AssignStack(dst, src) => {
                let (to, from) = (&self.code.stacks[usize::from(*dst)], &self.code.stacks[usize::from(*src)]);
                self.ctx.next[usize::from(*dst)] = self.ctx.next[usize::from(*src)];
                for (&dst, &src) in to.items.iter().zip(&from.items) {
                    self.assign_header(dst, src);
                }
            }
            Op::AssignUnionStack(dst, src) => {
                let stacks = &self.code.union_stacks;
                let (to, from) = (&stacks[usize::from(*dst)], &stacks[usize::from(*src)]);
                self.ctx.union_next[usize::from(*dst)] = self.ctx.union_next[usize::from(*src)];
                for (&dst, &src) in to.items.iter().zip(&from.items) {
                    self.assign_union(dst, src);
                }
            }
            Op::AddHeader(header) => {
                if let Some(header) = self.hdr(header, params) {
                    self.add_header(header);
                }
            }
            Op::RemoveHeader(header) => {
                if let Some(header) = self.hdr(header, params)
                    && self.ctx.is_valid(header)
                {
                    let len = self.ctx.header_len(self.code, header);
                    self.ctx.length = self.ctx.length.wrapping_sub(len);
                    self.ctx.set_bit(header, false);
                }
            }
            Op::Push(stack, count) => {
                let (count, size) = (self.num(count, params), self.code.stacks[usize::from(*stack)].items.len());
                self.shift_stack(*stack, count, size, true, false);
            }
            Op::Pop(stack, count) => {
                let (count, size) = (self.num(count, params), self.code.stacks[usize::from(*stack)].items.len());
                self.shift_stack(*stack, count, size, false, false);
            }
            Op::PushUnion(stack, count) => {
                let size = self.code.union_stacks[usize::from(*stack)].items.len();
                self.shift_stack(*stack, self.num(count, params), size, true, true);
            }
            Op::PopUnion(stack, count) => {
                let size = self.code.union_stacks[usize::from(*stack)].items.len();
                self.shift_stack(*stack, self.num(count, params), size, false, true);
            }
            Op::Exit => self.ctx.exit = true,
            Op::Assert(cond, what) => {
                if !self.bool(cond, params) {
                    // BMv2 ends the process here; a switch that carries other traffic drops the packet.
                    tracing::error!("{what} failed, packet dropped");
                    self.ctx.failed = true;
                    self.ctx.exit = true;
                }
            }
            Op::Log(format, values) => self.log(format, values, params),
            Op::MarkToDrop { spec, group } => {
                let port = u64::from(self.drop_port);
                self.ctx.set(*spec, port);
                self.ctx.set(*group, 0);
            }
            Op::Digest(id) => self.ctx.digest = self.num(id, params) as u16,
            Op::CloneIngress(session, list) | Op::CloneEgress(session, list) => {
                self.ctx.clone_session = self.num(session, params) as u16 | CLONE;
                self.ctx.clone_list = self.num(list, params) as u16;
            }
            Op::Resubmit(list) => self.ctx.resubmit = self.num(list, params) as u16,
            Op::Recirculate(list) => self.ctx.recirculate = self.num(list, params) as u16,
            Op::Truncate(len) => {
                let len = usize::try_from(self.num(len, params)).unwrap_or(usize::MAX);
                self.ctx.truncate = self.ctx.truncate.min(len);
            }
            Op::Hash { dst, base, calc, size } => {
                let base = self.num(base, params);
                let size = self.num(size, params).max(1);
                let value = (self.calculate(*calc) % size).wrapping_add(base);
                self.put(dst, value, params);
            }
            Op::Random { dst, low, high } => {
                let (low, high) = (self.num(low, params), self.num(high, params));
                if low <= high {
                    let random = self.scratch.random();
                    let value = match (high - low).checked_add(1) {
                        Some(span) => low + random % span,
                        None => random,
                    };
                    self.put(dst, value, params);
                }
            }
            Op::Meter { meter, index, dst } => {
                let index = self.num(index, params) & u64::from(u32::MAX);
                if let Some(cell) = self.rt.meters[usize::from(*meter)].get(index) {
                    let now = if cell.is_configured() { self.clock.now_us() } else { 0 };
                    let colour = cell.execute(u64::from(self.ctx.ingress_len), now);
                    self.put(dst, colour, params);
                }
            }
            Op::Count { counter, index } => {
                let index = self.num(index, params) & u64::from(u32::MAX);
                if let Some(cell) = self.rt.counters[usize::from(*counter)].get(index) {
                    cell.add(self.worker, u64::from(self.ctx.ingress_len));
                }
            }
            Op::RegisterRead { dst, register, index } => {
                let index = self.num(index, params) & u64::from(u32::MAX);
                let array = &self.rt.registers[usize::from(*register)];
                if array.is_narrow() {
                    if let Some(value) = array.low(index) {
                        self.put(dst, value, params);
                    }
                } else if let Some(value) = array.wide(index) {
                    self.put_wide(dst, &value, params);
                }
            }
            Op::RegisterWrite { register, index, value } => {
                let index = self.num(index, params) & u64::from(u32::MAX);
                match value {
                    Val::Num(num) => {
                        let value = self.num(num, params);
                        self.rt.registers[usize::from(*register)].set_low(index, value);
                    }
                    Val::Big(big) => {
                        let value = self.big(big, params);
                        self.rt.registers[usize::from(*register)].set_wide(index, &value);
                    }
                }
            }
        }
    }

    /// `setValid`: a header that was not valid starts with zeros. As on BMv2 a variable-length field keeps its length.
    fn add_header(&mut self, header: u16) {
        if self.ctx.is_valid(header) {
            return;
        }
        let def = &self.code.headers[usize::from(header)];
        self.ctx.frame[def.base as usize..(def.base + def.held()) as usize].fill(0);
        let mut len = def.fixed;
        if let Some(var) = &def.var {
            let bytes = self.ctx.var_len[var.slot];
            self.ctx.frame[var.area as usize..(var.area + bytes) as usize].fill(0);
            len += bytes;
        }
        self.ctx.set_valid(self.code, header);
        self.ctx.length = self.ctx.length.wrapping_add(len);
    }

    fn copy_var(&mut self, dst: u16, src: u16) {
        let headers = &self.code.headers;
        if let (Some(to), Some(from)) = (&headers[usize::from(dst)].var, &headers[usize::from(src)].var) {
            let len = self.ctx.var_len[from.slot].min(to.max_bytes);
            self.ctx.var_len[to.slot] = len;
            let at = from.area as usize;
            self.ctx.frame.copy_within(at..at + len as usize, to.area as usize);
        }
    }

    fn copy_contents(&mut self, dst: u16, src: u16) {
        let (to, from) = (&self.code.headers[usize::from(dst)], &self.code.headers[usize::from(src)]);
        let len = to.held().min(from.held());
        let at = from.base as usize;
        self.ctx.frame.copy_within(at..at + len as usize, to.base as usize);
        if to.var.is_some() {
            self.copy_var(dst, src);
        }
    }

    fn assign_header(&mut self, dst: u16, src: u16) {
        if !self.ctx.is_valid(src) {
            self.ctx.set_bit(dst, false);
            return;
        }
        self.ctx.set_valid(self.code, dst);
        self.copy_contents(dst, src);
    }

    fn assign_union(&mut self, dst: u16, src: u16) {
        let unions = &self.code.unions;
        for (&dst, &src) in unions[usize::from(dst)].iter().zip(&unions[usize::from(src)]) {
            self.assign_header(dst, src);
        }
    }

    /// Moves the elements of a stack by `count`; the elements that come in are not valid. In a stack of unions they are what
    /// went out at the other end: BMv2 turns such a stack round and leaves all of it valid.
    fn shift_stack(&mut self, stack: u16, count: u64, size: usize, push: bool, unions: bool) {
        let count = usize::try_from(count).unwrap_or(usize::MAX).min(size);
        if count == 0 {
            return;
        }
        let next = if unions { &mut self.ctx.union_next } else { &mut self.ctx.next };
        let next = &mut next[usize::from(stack)];
        *next = if push { (*next + count as u16).min(size as u16) } else { next.saturating_sub(count as u16) };
        // Elements change places, as on BMv2, where one that is not valid can still be read.
        let kept = size - count;
        for step in 0..kept {
            // From the end that empties.
            let (to, from) = if push { (size - 1 - step, kept - 1 - step) } else { (step, step + count) };
            self.swap_elements(stack, to, from, unions);
        }
        if unions {
            return;
        }
        for gone in if push { 0..count } else { kept..size } {
            self.each_header(stack, gone, unions, |run, header| run.ctx.set_bit(header, false));
        }
    }

    fn each_header(&mut self, stack: u16, at: usize, unions: bool, mut f: impl FnMut(&mut Self, u16)) {
        let code = self.code;
        if unions {
            let union = code.union_stacks[usize::from(stack)].items[at];
            code.unions[usize::from(union)].iter().for_each(|&header| f(self, header));
        } else {
            f(self, code.stacks[usize::from(stack)].items[at]);
        }
    }

    fn swap_elements(&mut self, stack: u16, a: usize, b: usize, unions: bool) {
        let mut others = SmallVec::<[u16; 8]>::new();
        self.each_header(stack, b, unions, |_, header| others.push(header));
        let mut others = others.into_iter();
        self.each_header(stack, a, unions, |run, header| {
            if let Some(other) = others.next() {
                run.swap_headers(header, other);
            }
        });
    }

    /// Two headers of one type.
    fn swap_headers(&mut self, a: u16, b: u16) {
        let (valid_a, valid_b) = (self.ctx.is_valid(a), self.ctx.is_valid(b));
        self.ctx.set_bit(a, valid_b);
        self.ctx.set_bit(b, valid_a);
        let (a, b) = (&self.code.headers[usize::from(a)], &self.code.headers[usize::from(b)]);
        let frame = &mut self.ctx.frame;
        let mut swap =
            |a: u32, b: u32, len: u32| (0..len as usize).for_each(|i| frame.swap(a as usize + i, b as usize + i));
        swap(a.base, b.base, a.held().min(b.held()));
        if let (Some(a), Some(b)) = (&a.var, &b.var) {
            swap(a.area, b.area, a.max_bytes.min(b.max_bytes));
            self.ctx.var_len.swap(a.slot, b.slot);
        }
    }

    fn log(&self, format: &str, values: &[Val], params: &[u64]) {
        let mut values = values.iter();
        let mut text = String::with_capacity(format.len() + 16);
        let mut rest = format;
        while let Some(at) = rest.find("{}") {
            text.push_str(&rest[..at]);
            match values.next() {
                Some(Val::Big(big)) => text.push_str(&decimal(&self.big(big, params))),
                Some(Val::Num(num)) => text.push_str(&self.num(num, params).to_string()),
                None => text.push_str("{}"),
            }
            rest = &rest[at + 2..];
        }
        text.push_str(rest);
        tracing::info!("{text}");
    }
}

/// A number in decimal.
fn decimal(value: &super::wide::Wide) -> String {
    use super::wide::Wide;
    let ten = Wide::from_u64(10);
    let mut left = if value.negative() { value.neg() } else { value.clone() };
    let mut digits = Vec::new();
    loop {
        let (quotient, rest) = left.div_rem(&ten);
        digits.push(b'0' + rest.low() as u8);
        left = quotient;
        if left.is_zero() {
            break;
        }
    }
    if value.negative() {
        digits.push(b'-');
    }
    digits.iter().rev().map(|&b| char::from(b)).collect()
}
