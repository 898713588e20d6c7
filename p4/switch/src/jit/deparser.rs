//! The deparser: checksums, then the valid headers one behind the other.

use std::mem::offset_of;

use cranelift_codegen::ir::InstBuilder;
use cranelift_codegen::ir::types::I64;

use super::cx::Cx;
use super::emit::Emit;
use super::help;
use crate::exec::ctx::pieces;
use crate::program::code::*;

/// Headers longer than this are the interpreter's.
const MOST_INLINE: u32 = 128;

/// Room that the output needs: all headers, and what whole blocks write behind the last.
pub(super) fn most_bytes(code: &Code) -> usize {
    let len = |&header: &u16| {
        let def = &code.headers[usize::from(header)];
        def.fixed as usize + def.var.as_ref().map_or(0, |var| var.max_bytes as usize)
    };
    code.deparse.iter().map(len).sum::<usize>() + 32
}

impl Emit<'_> {
    /// The function of the deparser: it returns how many bytes it wrote.
    pub fn deparser(mut self) {
        let code = self.code;
        for checksum in &code.update {
            let (compute, next) = (self.block(), self.block());
            match &checksum.cond {
                Some(cond) => self.branch(cond, compute, next),
                None => self.jump(compute),
            }
            self.b.switch_to_block(compute);
            let value = self.calculate(checksum.calc);
            match checksum.target {
                FieldRef::Narrow(fld) => self.store(fld, value, 64),
                FieldRef::Wide(bits) => {
                    for (i, piece) in pieces(bits).rev().enumerate() {
                        let word = if i == 0 { value } else { self.int(0) };
                        self.store_bits(piece, word, 64);
                    }
                }
                _ => {}
            }
            self.jump(next);
            self.b.switch_to_block(next);
        }
        let out = self.cx_word(offset_of!(Cx, out));
        let end = self.b.declare_var(I64);
        self.b.def_var(end, out);
        for &header in &code.deparse {
            let def = &code.headers[usize::from(header)];
            let (there, next) = (self.block(), self.block());
            let valid = self.is_valid(header);
            self.branch_on(valid, there, next);
            self.b.switch_to_block(there);
            let at = self.b.use_var(end);
            let after = if def.var.is_none() && def.fixed <= MOST_INLINE {
                self.copy_blocks(at, self.frame, def.base as i32, def.fixed);
                self.add(at, u64::from(def.fixed))
            } else {
                let header = self.int(u64::from(header));
                self.call(help::emit as *const () as usize, &[self.cx, header, at])
            };
            self.b.def_var(end, after);
            self.jump(next);
            self.b.switch_to_block(next);
        }
        let end = self.b.use_var(end);
        let len = self.b.ins().isub(end, out);
        self.b.ins().return_(&[len]);
        self.finish();
    }
}
