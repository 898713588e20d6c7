//! Which numeric expressions fit 64 bits.
//!
//! BMv2 computes without bounds and p4c masks where P4 wraps: `(a + b) & 0xffff`. Two facts make machine arithmetic exact
//! for nearly all of it. The low n bits of + - * & | ^ ~ << depend only on the low n bits of the operands, so under a mask or
//! an assignment everything may wrap ("low"). Comparisons, right shifts and saturation need true values; there a range is
//! carried along and the expression stays narrow while the range fits ("exact"). The rest is computed wide.

use super::super::code::*;
use super::expr::{Binary, Expr, Sort, Unary};
use super::{Lower, Param, Result};
use crate::exec::wide::Wide;
use crate::json::Node;

/// Least and greatest value.
pub(super) type Range = (i128, i128);

const U64: i128 = u64::MAX as i128;
const I64_MIN: i128 = i64::MIN as i128;
const I64_MAX: i128 = i64::MAX as i128;

fn fits(range: Range) -> bool {
    (range.0 >= 0 && range.1 <= U64) || (range.0 >= I64_MIN && range.1 <= I64_MAX)
}

fn unsigned(width: u32) -> Range {
    (0, if width >= 64 { U64 } else { (1 << width) - 1 })
}

fn signed(width: u32) -> Range {
    (-(1i128 << (width - 1)), (1 << (width - 1)) - 1)
}

/// Of a signed field that may have a surplus.
fn with_surplus(width: u32) -> Range {
    (signed(width).0, unsigned(width).1)
}

fn bits_of(value: i128) -> u32 {
    128 - value.leading_zeros()
}

fn op(op: NumOp, left: Num, right: Num) -> Num {
    match (op, left, right) {
        (NumOp::And, Num::Const(c), x) | (NumOp::And, x, Num::Const(c)) => match x {
            Num::Const(d) => Num::Const(c & d),
            x if c == u64::MAX => x,
            // A mask that covers the whole field is p4c's cast.
            Num::Fld(f) if f.mask & c == f.mask => Num::Fld(f),
            x => Num::And(Box::new(x), c),
        },
        (NumOp::Add, Num::Const(c), x) | (NumOp::Add, x, Num::Const(c)) => match x {
            Num::Const(d) => Num::Const(c.wrapping_add(d)),
            x => Num::Add(Box::new(x), c),
        },
        (NumOp::Sub, x, Num::Const(c)) => Num::Add(Box::new(x), c.wrapping_neg()),
        (op, left, right) => Num::Op(op, Box::new((left, right))),
    }
}

impl Lower {
    /// A number of which only the low `width` (at most 64) bits are right.
    pub(super) fn low(&mut self, expr: &Expr, width: u32, node: &Node<'_>) -> Result<Num> {
        if let Some(num) = self.try_low(expr, width.min(64), node)? {
            return Ok(num);
        }
        if let Some((num, _)) = self.exact(expr, node)? {
            return Ok(num);
        }
        Ok(Num::Low(Box::new(self.big(expr, node)?)))
    }

    /// The low `width` bits of a wide field shifted right by a constant: p4c's slice of it.
    fn slice(&self, expr: &Expr, by: &Wide, width: u32) -> Option<Num> {
        let &Expr::Field(header, index) = expr else { return None };
        let FieldRef::Wide(bits) = self.field_at(header, index).0 else { return None };
        let plain =
            !self.code.headers[usize::from(header)].fields[index].signed && *by <= Wide::from_u64(bits.width.into());
        let by = (plain && !by.negative()).then(|| by.low() as u32)?;
        let left = bits.width.checked_sub(by).filter(|&left| left > 0)?;
        let width = width.min(left);
        Some(Num::Bits(Bits { bit: bits.bit + left - width, width }))
    }

    fn try_low(&mut self, expr: &Expr, width: u32, node: &Node<'_>) -> Result<Option<Num>> {
        Ok(Some(match expr {
            Expr::Const(value) => Num::Const(value.low()),
            Expr::Local(index) if self.params[*index].width >= width => Num::Param(self.params[*index].word),
            Expr::Local(_) => return Ok(self.exact(expr, node)?.map(|(num, _)| num)),
            Expr::Field(header, index) => match self.field_at(*header, *index).0 {
                FieldRef::Wide(bits) if bits.width < width && self.surplus_of(*header, *index).is_some() => {
                    return Ok(self.exact(expr, node)?.map(|(num, _)| num));
                }
                FieldRef::Narrow(fld) if width <= fld.width.into() && self.surplus_of(*header, *index).is_some() => {
                    Num::Fld(fld)
                }
                FieldRef::Wide(bits) => {
                    let take = bits.width.min(64);
                    let low = Bits { bit: bits.bit + bits.width - take, width: take };
                    let field = &self.code.headers[usize::from(*header)].fields[*index];
                    if field.signed && field.width < 64 { Num::SignedBits(low) } else { Num::Bits(low) }
                }
                FieldRef::Var(_) => return Ok(None),
                _ => return Ok(self.exact(expr, node)?.map(|(num, _)| num)),
            },
            Expr::Unary(Unary::BitNot, x) => Num::Not(Box::new(self.low(x, width, node)?)),
            Expr::Binary(Binary::Math(BigOp::And), x) => {
                // Under a mask only its bits are wanted of the other side.
                let mask_bits = |e: &Expr| match e {
                    Expr::Const(c) if !c.negative() && *c <= Wide::from_u64(u64::MAX) => 64 - c.low().leading_zeros(),
                    _ => 64,
                };
                let want = width.min(mask_bits(&x.0)).min(mask_bits(&x.1)).max(1);
                op(NumOp::And, self.low(&x.0, want, node)?, self.low(&x.1, want, node)?)
            }
            Expr::Binary(Binary::Math(math), x) => {
                let num = match math {
                    BigOp::Add => NumOp::Add,
                    BigOp::Sub => NumOp::Sub,
                    BigOp::Mul => NumOp::Mul,
                    BigOp::Or => NumOp::Or,
                    BigOp::Xor => NumOp::Xor,
                    BigOp::Shl => {
                        let Some((by, range)) = self.exact(&x.1, node)? else { return Ok(None) };
                        if range.0 < 0 {
                            return Ok(None);
                        }
                        return Ok(Some(op(NumOp::Shl, self.low(&x.0, width, node)?, by)));
                    }
                    BigOp::Shr => {
                        // (x >> c): the low bits come from the bits above c.
                        let Expr::Const(by) = &x.1 else { return Ok(None) };
                        if let Some(slice) = self.slice(&x.0, by, width) {
                            return Ok(Some(slice));
                        }
                        let by = by.low();
                        if by >= 64 || u64::from(width) + by > 64 {
                            return Ok(None);
                        }
                        let left = self.low(&x.0, width + by as u32, node)?;
                        return Ok(Some(op(NumOp::ShrUnsigned, left, Num::Const(by))));
                    }
                    _ => return Ok(None),
                };
                op(num, self.low(&x.0, width, node)?, self.low(&x.1, width, node)?)
            }
            Expr::Binary(Binary::SignExtend, x) => {
                let bits = self.width_const(&x.1, node)?;
                let inner = self.low(&x.0, width.min(bits), node)?;
                if bits >= width { inner } else { Num::SignExtend(Box::new(inner), bits as u8) }
            }
            Expr::Pick(x) if x.1.sort() == Sort::Data => Num::Pick(Box::new((
                self.bool(&x.0, node)?,
                self.low(&x.1, width, node)?,
                self.low(&x.2, width, node)?,
            ))),
            _ => return Ok(None),
        }))
    }

    /// A number whose true value fits 64 bits, with its range; `None` when that is not certain.
    pub(super) fn exact(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Option<(Num, Range)>> {
        let found = self.exact_inner(expr, node)?;
        Ok(found.filter(|(_, range)| fits(*range)))
    }

    fn exact_inner(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Option<(Num, Range)>> {
        if expr.sort() == Sort::Bool {
            return Ok(Some((Num::FromBool(Box::new(self.bool(expr, node)?)), (0, 1))));
        }
        if let Some((header, index, width, is_signed)) = self.dynamic(expr, node)? {
            if width > 64 {
                return Ok(None);
            }
            let range = match self.surplus_of(self.sample(&header), index) {
                Some(_) => with_surplus(width),
                None if is_signed => signed(width),
                None => unsigned(width),
            };
            return Ok(Some((Num::Dyn(Box::new(header), index as u16), range)));
        }
        if let Expr::Field(header, index) = expr
            && let Some(flag) = self.surplus_of(*header, *index)
        {
            let (bits, width) = match self.field_at(*header, *index).0 {
                FieldRef::Narrow(fld) => (Num::Signed(fld), u32::from(fld.width)),
                FieldRef::Wide(bits) if bits.width < 64 => (Num::SignedBits(bits), bits.width),
                _ => return Ok(None),
            };
            let more = op(NumOp::Shl, Num::Fld(flag), Num::Const(u64::from(width)));
            return Ok(Some((op(NumOp::Add, bits, more), with_surplus(width))));
        }
        Ok(match expr {
            Expr::Const(value) => {
                let low = value.low();
                if *value == Wide::from_u64(low) {
                    Some((Num::Const(low), (i128::from(low), i128::from(low))))
                } else if *value == Wide::from_i64(low as i64) {
                    Some((Num::Const(low), (i128::from(low as i64), i128::from(low as i64))))
                } else {
                    None
                }
            }
            Expr::Local(index) => {
                let Param { word, width, signed: below_zero } = self.params[*index];
                let num = Num::Param(word);
                (width <= 64).then(|| match below_zero {
                    true if width < 64 => (Num::SignExtend(Box::new(num), width as u8), signed(width)),
                    true => (num, signed(width)),
                    false => (num, unsigned(width)),
                })
            }
            Expr::Field(header, index) => match self.field_at(*header, *index).0 {
                FieldRef::Valid(header) => Some((Num::Valid(header), (0, 1))),
                FieldRef::Narrow(fld) => {
                    let width = u32::from(fld.width);
                    if self.code.headers[usize::from(*header)].fields[*index].signed {
                        Some((Num::Signed(fld), signed(width)))
                    } else {
                        Some((Num::Fld(fld), unsigned(width)))
                    }
                }
                FieldRef::Wide(bits) if bits.width <= 64 => {
                    if self.code.headers[usize::from(*header)].fields[*index].signed {
                        Some((Num::SignedBits(bits), signed(bits.width)))
                    } else {
                        Some((Num::Bits(bits), unsigned(bits.width)))
                    }
                }
                _ => None,
            },
            Expr::Register(id, index) => {
                let width = self.registers[usize::from(*id)].bitwidth;
                let index = self.low(index, 64, node)?;
                (width <= 64).then(|| (Num::Register(*id, Box::new(index)), unsigned(width)))
            }
            Expr::Unary(Unary::BitNot, x) => self.exact(x, node)?.and_then(|(num, range)| {
                let range = (-range.1 - 1, -range.0 - 1);
                (range.0 >= I64_MIN).then(|| (Num::Not(Box::new(num)), range))
            }),
            Expr::Unary(Unary::ToData, x) => Some((Num::FromBool(Box::new(self.bool(x, node)?)), (0, 1))),
            Expr::Unary(Unary::Size, x) => match **x {
                Expr::Stack(stack) => Some((Num::StackCount(stack), (0, 65_535))),
                Expr::UnionStack(stack) => Some((Num::UnionStackCount(stack), (0, 65_535))),
                _ => return Err(node.err("expected a header stack")),
            },
            Expr::Unary(Unary::LastIndex, x) => match **x {
                // Of an empty stack it is 2^64 - 1, as on BMv2.
                Expr::Stack(stack) => Some((Num::StackLast(stack), (0, U64))),
                Expr::UnionStack(stack) => Some((Num::UnionStackLast(stack), (0, U64))),
                _ => return Err(node.err("expected a header stack")),
            },
            Expr::Binary(Binary::Math(math), x) => self.exact_math(*math, &x.0, &x.1, node)?,
            Expr::Binary(Binary::SignExtend, x) => {
                let bits = self.width_const(&x.1, node)?;
                if bits > 64 {
                    return Ok(None);
                }
                let inner = self.low(&x.0, bits, node)?;
                let num = if bits == 64 { inner } else { Num::SignExtend(Box::new(inner), bits as u8) };
                Some((num, signed(bits)))
            }
            Expr::Binary(Binary::SatSigned, x) => {
                let bits = self.width_const(&x.1, node)?;
                self.exact(&x.0, node)?.filter(|(_, r)| r.1 <= I64_MAX && r.0 >= I64_MIN && bits <= 64).map(
                    |(num, _)| {
                        let (low, high) = signed(bits);
                        (Num::ClampSigned(Box::new(num), low as i64, high as i64), (low, high))
                    },
                )
            }
            Expr::Binary(Binary::SatUnsigned, x) => {
                let bits = self.width_const(&x.1, node)?;
                let (low, high) = unsigned(bits);
                self.exact(&x.0, node)?.filter(|_| bits <= 64).map(|(num, r)| {
                    if r.0 >= 0 {
                        (Num::ClampUnsigned(Box::new(num), high as u64), (low, high))
                    } else {
                        let top = high.min(I64_MAX) as i64;
                        (Num::ClampSigned(Box::new(num), 0, top), (low, high.min(I64_MAX)))
                    }
                })
            }
            Expr::Pick(x) => match (self.exact(&x.1, node)?, self.exact(&x.2, node)?) {
                (Some((a, ra)), Some((b, rb))) => {
                    let cond = self.bool(&x.0, node)?;
                    Some((Num::Pick(Box::new((cond, a, b))), (ra.0.min(rb.0), ra.1.max(rb.1))))
                }
                _ => None,
            },
            _ => None,
        })
    }

    fn exact_math(&mut self, math: BigOp, left: &Expr, right: &Expr, node: &Node<'_>) -> Result<Option<(Num, Range)>> {
        if math == BigOp::And {
            for (mask, other) in [(left, right), (right, left)] {
                if let Expr::Const(c) = mask
                    && !c.negative()
                    && *c <= Wide::from_u64(u64::MAX)
                {
                    let want = (64 - c.low().leading_zeros()).max(1);
                    let other = self.low(other, want, node)?;
                    return Ok(Some((op(NumOp::And, other, Num::Const(c.low())), (0, i128::from(c.low())))));
                }
            }
        }
        if math == BigOp::And {
            // A wide mask over a narrow number: p4c's cast to a wide type.
            for (mask, other) in [(left, right), (right, left)] {
                if let Expr::Const(c) = mask
                    && !c.negative()
                    && *c > Wide::from_u64(u64::MAX)
                {
                    let found = self.exact(other, node)?.filter(|(_, range)| range.0 >= 0);
                    return Ok(found.map(|(num, range)| (op(NumOp::And, num, Num::Const(c.low())), range)));
                }
            }
        }
        let (Some((l, a)), Some((r, b))) = (self.exact(left, node)?, self.exact(right, node)?) else {
            return Ok(None);
        };
        let plain = a.0 >= 0 && b.0 >= 0;
        let small = a.0 >= I64_MIN && a.1 <= I64_MAX && b.0 >= I64_MIN && b.1 <= I64_MAX;
        let corners = |f: fn(i128, i128) -> Option<i128>| -> Option<Range> {
            let all = [f(a.0, b.0)?, f(a.0, b.1)?, f(a.1, b.0)?, f(a.1, b.1)?];
            Some((*all.iter().min()?, *all.iter().max()?))
        };
        let found = match math {
            BigOp::Add => corners(i128::checked_add).map(|r| (NumOp::Add, r)),
            BigOp::Sub => corners(i128::checked_sub).map(|r| (NumOp::Sub, r)),
            BigOp::Mul => corners(i128::checked_mul).map(|r| (NumOp::Mul, r)),
            BigOp::And if a.0 >= 0 && b.0 >= 0 => Some((NumOp::And, (0, a.1.min(b.1)))),
            BigOp::And if small => Some((NumOp::And, if plain { (0, a.1) } else { (I64_MIN, I64_MAX) })),
            BigOp::Or | BigOp::Xor if plain => {
                let top = (1i128 << bits_of(a.1.max(b.1))) - 1;
                Some((if math == BigOp::Or { NumOp::Or } else { NumOp::Xor }, (0, top)))
            }
            BigOp::Or | BigOp::Xor if small => {
                Some((if math == BigOp::Or { NumOp::Or } else { NumOp::Xor }, (I64_MIN, I64_MAX)))
            }
            BigOp::Shl if b.0 >= 0 && b.1 <= 63 => corners(|x, s| x.checked_mul(1i128 << s)).map(|r| (NumOp::Shl, r)),
            BigOp::Shr if b.0 >= 0 => {
                let range = (a.0.min(0), a.1.max(0));
                Some((if a.0 < 0 { NumOp::ShrSigned } else { NumOp::ShrUnsigned }, range))
            }
            BigOp::Div if plain => Some((NumOp::Div, (0, a.1))),
            BigOp::Rem if plain => Some((NumOp::Rem, (0, a.1.min(b.1)))),
            _ => None,
        };
        Ok(found.map(|(num_op, range)| (op(num_op, l, r), range)))
    }
}
