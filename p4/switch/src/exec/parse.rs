//! The parser.

use super::Run;
use super::ctx::load_bits;
use super::trace::{self, trace};
use super::wide::Wide;
use crate::program::code::*;

/// A parser that does not advance ends here; P4 parsers of real programs visit a few dozen states.
pub(crate) const MAX_STATES: usize = 10_000;

impl Run<'_> {
    /// Runs the parser on `packet[ctx.start..ctx.end]`; afterwards `ctx.start` is where the payload starts.
    pub fn parse(&mut self) {
        let code = self.code;
        self.forget_errors();
        if let Some(native) = self.native
            && native.parse(self)
        {
            return;
        }
        let mut at = self.ctx.start;
        let mut state = code.start;
        for _ in 0..MAX_STATES {
            let Some(current) = code.states.get(state as usize) else { break };
            trace!("parser state {} at byte {at}", current.name);
            let locks = (!current.registers.is_empty()).then(|| Self::locked(self.rt, &current.registers));
            let done = current.ops.iter().try_for_each(|op| self.parse_op(op, &mut at));
            drop(locks);
            match done.and_then(|()| self.select(&current.select, at)) {
                Ok(next) => state = next,
                Err(error) => {
                    trace!("parser error {error}");
                    self.ctx.parser_error = error;
                    break;
                }
            }
        }
        self.ctx.start = at;
        trace!("parsed {at} bytes: {}", trace::headers(code, self.ctx));
        for checksum in &code.verify {
            if self.ctx.is_valid(checksum.header)
                && checksum.cond.as_ref().is_none_or(|cond| self.bool(cond, &[]))
                && !self.checksum_holds(checksum)
            {
                trace!("the checksum of {} is wrong", code.headers[usize::from(checksum.header)].name);
                self.ctx.checksum_error = true;
            }
        }
    }

    /// What parsing may find wrong is not found yet.
    pub fn forget_errors(&mut self) {
        self.ctx.parser_error = self.code.err.none;
        self.ctx.checksum_error = false;
    }

    fn checksum_holds(&mut self, checksum: &Checksum) -> bool {
        let value = self.calculate(checksum.calc);
        match checksum.target {
            FieldRef::Narrow(fld) => super::ctx::load(&self.ctx.frame, fld) == value,
            FieldRef::Wide(bits) => self.big(&Big::Bits(bits, false), &[]).low() == value,
            _ => true,
        }
    }

    fn need(&self, at: usize, bytes: usize) -> Result<(), u32> {
        if self.ctx.end - at < bytes { Err(self.code.err.packet_too_short) } else { Ok(()) }
    }

    /// The fields of a header from the wire are what their bits say.
    fn clear_tail(&mut self, def: &Header) {
        if def.tail > 0 {
            self.ctx.frame[(def.base + def.fixed) as usize..(def.base + def.held()) as usize].fill(0);
        }
    }

    fn extract(&mut self, header: u16, at: &mut usize) -> Result<(), u32> {
        let def = &self.code.headers[usize::from(header)];
        let len = def.fixed as usize;
        self.need(*at, len)?;
        let base = def.base as usize;
        self.ctx.frame[base..base + len].copy_from_slice(&self.packet[*at..*at + len]);
        self.clear_tail(def);
        if let Some(var) = &def.var {
            self.ctx.var_len[var.slot] = 0;
        }
        self.ctx.set_valid(self.code, header);
        *at += len;
        Ok(())
    }

    fn extract_var(&mut self, header: u16, bits: u64, at: &mut usize) -> Result<(), u32> {
        let code = self.code;
        let def = &code.headers[usize::from(header)];
        let Some(var) = &def.var else { return self.extract(header, at) };
        let bits = bits & u64::from(u32::MAX);
        if !bits.is_multiple_of(8) {
            return Err(code.err.invalid_argument);
        }
        let var_len = (bits / 8) as usize;
        let fixed = def.fixed as usize;
        self.need(*at, fixed + var_len)?;
        if var_len > var.max_bytes as usize {
            return Err(code.err.header_too_short);
        }
        let packet = &self.packet[*at..*at + fixed + var_len];
        let (base, area) = (def.base as usize, var.area as usize);
        self.clear_tail(def);
        if var.at % 8 == 0 {
            let before = var.at as usize / 8;
            self.ctx.frame[base..base + before].copy_from_slice(&packet[..before]);
            self.ctx.frame[area..area + var_len].copy_from_slice(&packet[before..before + var_len]);
            self.ctx.frame[base + before..base + fixed].copy_from_slice(&packet[before + var_len..]);
        } else {
            let bit = |n: usize| packet[n / 8] >> (7 - n % 8) & 1;
            let (split, var_bits) = (var.at as usize, var_len * 8);
            let mut put = |to: usize, n: usize, value: u8| {
                let byte = &mut self.ctx.frame[to + n / 8];
                *byte = *byte & !(0x80 >> (n % 8)) | value << (7 - n % 8);
            };
            (0..split).for_each(|n| put(base, n, bit(n)));
            (0..var_bits).for_each(|n| put(area, n, bit(split + n)));
            (split..fixed * 8).for_each(|n| put(base, n, bit(n + var_bits)));
        }
        self.ctx.var_len[var.slot] = var_len as u32;
        self.ctx.set_valid(code, header);
        *at += fixed + var_len;
        Ok(())
    }

    pub fn parse_op(&mut self, op: &ParseOp, at: &mut usize) -> Result<(), u32> {
        let code = self.code;
        match op {
            ParseOp::Extract(header) => self.extract(*header, at),
            ParseOp::ExtractVar(header, len) => self.extract_var(*header, self.num(len, &[]), at),
            ParseOp::ExtractStack(stack, len) => {
                let next = usize::from(self.ctx.next[usize::from(*stack)]);
                let header = code.stacks[usize::from(*stack)].items.get(next);
                let header = *header.ok_or(code.err.stack_out_of_bounds)?;
                match len {
                    Some(len) => self.extract_var(header, self.num(len, &[]), at)?,
                    None => self.extract(header, at)?,
                }
                self.ctx.next[usize::from(*stack)] += 1;
                Ok(())
            }
            ParseOp::ExtractUnionStack(stack, member, len) => {
                let next = usize::from(self.ctx.union_next[usize::from(*stack)]);
                let union = code.union_stacks[usize::from(*stack)].items.get(next);
                let union = *union.ok_or(code.err.stack_out_of_bounds)?;
                let header = code.unions[usize::from(union)][usize::from(*member)];
                match len {
                    Some(len) => self.extract_var(header, self.num(len, &[]), at)?,
                    None => self.extract(header, at)?,
                }
                self.ctx.union_next[usize::from(*stack)] += 1;
                Ok(())
            }
            ParseOp::Lookahead { dst, offset, width } => {
                // BMv2 checks the width and the packet's end; bits before the offset count as well.
                self.need(*at, ((offset % 8 + width).div_ceil(8) + offset / 8) as usize)?;
                if *width <= 64 {
                    let value = self.ahead_word(*at, *offset, *width);
                    self.put(dst, value, &[]);
                } else {
                    let value = self.ahead(*at, *offset, *width);
                    self.put_wide(dst, &value, &[]);
                }
                Ok(())
            }
            ParseOp::Verify(cond, error) => {
                if self.bool(cond, &[]) {
                    Ok(())
                } else {
                    Err(self.num(error, &[]) as u32)
                }
            }
            ParseOp::Advance(bits) => {
                let bits = self.num(bits, &[]);
                if !bits.is_multiple_of(8) {
                    return Err(code.err.invalid_argument);
                }
                let bytes = usize::try_from(bits / 8).unwrap_or(usize::MAX);
                self.need(*at, bytes)?;
                *at += bytes;
                Ok(())
            }
            ParseOp::Do(op) => {
                self.op(op, &[]);
                Ok(())
            }
        }
    }

    /// Bits ahead of the parser; the caller checked that they are there.
    fn ahead(&self, at: usize, offset: u32, width: u32) -> Wide {
        let first = at + offset as usize / 8;
        let skip = offset % 8;
        let bytes = &self.packet[first..first + (skip + width).div_ceil(8) as usize];
        let cut = (8 - (skip + width) % 8) % 8;
        Wide::from_bytes(bytes).shr(u64::from(cut)).mask(width)
    }

    fn ahead_word(&self, at: usize, offset: u32, width: u32) -> u64 {
        let first = at + offset as usize / 8;
        let (skip, len) = (offset % 8, (offset % 8 + width).div_ceil(8) as usize);
        let mut window = [0; 16];
        window[..len].copy_from_slice(&self.packet[first..first + len]);
        (u128::from_be_bytes(window) << skip >> (128 - width)) as u64
    }

    pub fn select(&mut self, select: &Select, at: usize) -> Result<u32, u32> {
        match select {
            Select::Always(next) => Ok(*next),
            Select::Word { parts, cases, default } => {
                let mut key = 0u64;
                for part in parts {
                    let (value, width) = match part {
                        SelectPart::Num(num, width) => (self.num(num, &[]), *width),
                        SelectPart::Bits(bits) => (load_bits(&self.ctx.frame, *bits), bits.width),
                        SelectPart::Lookahead { offset, width } => {
                            self.need(at, (offset + width).div_ceil(8) as usize)?;
                            (self.ahead_word(at, *offset, *width), *width)
                        }
                        SelectPart::Big(big, width) => (self.big(big, &[]).low(), *width),
                    };
                    let value = if width >= 64 { value } else { value & ((1 << width) - 1) };
                    let shift = width.div_ceil(8) * 8;
                    key = if shift >= 64 { value } else { key << shift | value };
                }
                let found = cases.iter().find(|(value, mask, _)| key & mask == *value);
                Ok(found.map_or(*default, |case| case.2))
            }
            Select::Bytes { parts, len, cases, default } => {
                let mut key = std::mem::take(&mut self.scratch.bytes);
                key.clear();
                let filled = self.select_bytes(parts, at, &mut key);
                debug_assert!(filled.is_err() || key.len() == *len);
                let found = filled.map(|()| {
                    cases.iter().find_map(|case| match case {
                        SelectCase::Match { value, mask, next } => {
                            let same = key.iter().zip(&value[..]).zip(&mask[..]);
                            same.into_iter().all(|((k, v), m)| k & m == *v).then_some(*next)
                        }
                        SelectCase::Set { set, mask, next } => {
                            let set = &self.rt.value_sets[usize::from(*set)];
                            set.contains(&key, mask.as_deref(), self.pin).then_some(*next)
                        }
                    })
                });
                self.scratch.bytes = key;
                Ok(found?.unwrap_or(*default))
            }
        }
    }

    fn select_bytes(&self, parts: &[SelectPart], at: usize, key: &mut Vec<u8>) -> Result<(), u32> {
        for part in parts {
            let (value, width) = match part {
                SelectPart::Num(num, width) => (Wide::from_u64(self.num(num, &[])), *width),
                SelectPart::Bits(bits) => (self.big(&Big::Bits(*bits, false), &[]), bits.width),
                SelectPart::Lookahead { offset, width } => {
                    self.need(at, (offset + width).div_ceil(8) as usize)?;
                    (self.ahead(at, *offset, *width), *width)
                }
                SelectPart::Big(big, width) => (self.big(big, &[]), *width),
            };
            let (value, len) = (value.mask(width), width.div_ceil(8) as usize);
            for i in (0..len).rev() {
                key.push(value.shr(i as u64 * 8).low() as u8);
            }
        }
        Ok(())
    }
}
