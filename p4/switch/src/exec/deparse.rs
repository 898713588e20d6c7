//! The deparser: valid headers in their order, checksums updated first.

use super::Run;
use super::wide::Wide;
use crate::program::code::*;

impl Run<'_> {
    /// Writes the headers to `out`.
    pub fn deparse(&mut self, out: &mut Vec<u8>) {
        if let Some(native) = self.native {
            return native.deparse(self, out);
        }
        let code = self.code;
        for checksum in &code.update {
            if checksum.cond.as_ref().is_none_or(|cond| self.bool(cond, &[])) {
                let value = self.calculate(checksum.calc);
                match checksum.target {
                    FieldRef::Narrow(fld) => super::ctx::store(&mut self.ctx.frame, fld, value),
                    FieldRef::Wide(bits) => self.put_wide(&Dst::Bits(bits), &Wide::from_u64(value), &[]),
                    _ => {}
                }
            }
        }
        out.clear();
        for &header in &code.deparse {
            if self.ctx.is_valid(header) {
                self.emit(header, out);
            }
        }
    }

    /// Appends one header as it is on the wire.
    pub fn emit(&self, header: u16, out: &mut Vec<u8>) {
        let def = &self.code.headers[usize::from(header)];
        let fixed = &self.ctx.frame[def.base as usize..(def.base + def.fixed) as usize];
        let Some(var) = &def.var else {
            out.extend_from_slice(fixed);
            return;
        };
        let area = var.area as usize;
        let bytes = &self.ctx.frame[area..area + self.ctx.var_len[var.slot] as usize];
        if var.at % 8 == 0 {
            let (before, after) = fixed.split_at(var.at as usize / 8);
            out.extend_from_slice(before);
            out.extend_from_slice(bytes);
            out.extend_from_slice(after);
            return;
        }
        let bit = |from: &[u8], n: usize| from[n / 8] >> (7 - n % 8) & 1;
        let split = var.at as usize;
        let bits = (0..split)
            .map(|n| bit(fixed, n))
            .chain((0..bytes.len() * 8).map(|n| bit(bytes, n)))
            .chain((split..fixed.len() * 8).map(|n| bit(fixed, n)));
        for (n, bit) in bits.enumerate() {
            if n % 8 == 0 {
                out.push(0);
            }
            if let Some(last) = out.last_mut() {
                *last |= bit << (7 - n % 8);
            }
        }
    }
}
