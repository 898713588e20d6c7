//! Which bytes of headers may be other than zero while their header is not valid.
//!
//! A table sees the fields of such a header as zeros, everything else sees what was there: BMv2 makes this difference. The
//! frame starts as zeros, so only what the program itself leaves behind has to be told apart.

use std::ops::Range;

use super::super::code::*;

/// Byte ranges of the frame.
#[derive(Default)]
pub(super) struct Stale(Vec<Range<u32>>);

impl Stale {
    /// What actions and parsers leave behind.
    pub(super) fn of(code: &Code) -> Stale {
        let mut stale = Stale::default();
        for op in code.actions.iter().flat_map(|action| &action.ops) {
            stale.op(code, op);
        }
        for op in code.states.iter().flat_map(|state| &state.ops) {
            match op {
                ParseOp::Do(op) => stale.op(code, op),
                ParseOp::Lookahead { dst, .. } => stale.dst(code, dst),
                _ => {}
            }
        }
        // A member of a union goes when another comes.
        for (id, header) in code.headers.iter().enumerate() {
            if !header.rivals.is_empty() {
                stale.header(code, id as u16);
            }
        }
        stale
    }

    pub(super) fn touches(&self, field: FieldRef) -> bool {
        let Some(field) = bytes(field) else { return false };
        self.0.iter().any(|range| range.start < field.end && field.start < range.end)
    }

    fn op(&mut self, code: &Code, op: &Op) {
        match op {
            Op::SetConst(fld, _) | Op::SetField(fld, _) | Op::SetParam(fld, _) | Op::SetNum(fld, _) => {
                self.0.extend(bytes(FieldRef::Narrow(*fld)));
            }
            Op::CopyBytes { dst, len, .. } => self.0.push(*dst..*dst + *len),
            Op::Set(dst, _)
            | Op::Hash { dst, .. }
            | Op::Random { dst, .. }
            | Op::Meter { dst, .. }
            | Op::RegisterRead { dst, .. } => self.dst(code, dst),
            Op::RemoveHeader(header) | Op::AssignHeader(header, _) => self.hdr(code, header),
            Op::AssignStack(stack, _) | Op::Push(stack, _) | Op::Pop(stack, _) => self.stack(code, *stack),
            _ => {}
        }
    }

    fn dst(&mut self, code: &Code, dst: &Dst) {
        match dst {
            Dst::Fld(fld) => self.0.extend(bytes(FieldRef::Narrow(*fld))),
            Dst::Bits(bits) => self.0.extend(bytes(FieldRef::Wide(*bits))),
            Dst::Dyn(header, _) => self.hdr(code, header),
            Dst::Surplus(dst, ..) => self.dst(code, dst),
            Dst::Register(..) | Dst::Nowhere => {}
        }
    }

    fn hdr(&mut self, code: &Code, header: &Hdr) {
        match header {
            Hdr::Fixed(header) => self.header(code, *header),
            Hdr::Stack(stack, _) | Hdr::Last(stack) => self.stack(code, *stack),
            // Members of unions are all here already.
            Hdr::Member(..) => {}
        }
    }

    fn stack(&mut self, code: &Code, stack: u16) {
        for &header in &code.stacks[usize::from(stack)].items {
            self.header(code, header);
        }
    }

    fn header(&mut self, code: &Code, header: u16) {
        let header = &code.headers[usize::from(header)];
        self.0.push(header.base..header.base + header.fixed);
    }
}

fn bytes(field: FieldRef) -> Option<Range<u32>> {
    match field {
        FieldRef::Narrow(fld) => Some(fld.off..fld.off + (64 - u32::from(fld.shift)).div_ceil(8)),
        FieldRef::Wide(bits) => Some(bits.bit / 8..(bits.bit + bits.width).div_ceil(8)),
        FieldRef::Valid(_) | FieldRef::Var(_) => None,
    }
}
