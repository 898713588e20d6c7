//! Signed fields whose value is not the one their bits say.
//!
//! BMv2 holds the value of a field beside its bits. A value that a signed field is given is brought into the range of its
//! type, unless it fits the unsigned type of that width: 0xff out of a `register<int<8>>`, or as the parameter of an action,
//! stays 255 in an `int<8>`. Comparisons, right shifts and casts to wider types see that, until a header is parsed anew or the
//! result of a computation is assigned. So signed fields of programs in which this can be have a byte behind their header, the
//! surplus: 1 while the value is 2^width more than the bits say.

use std::collections::HashSet;

use super::super::code::*;
use super::expr::Expr;
use super::{Lower, Result};
use crate::exec::wide::Wide;
use crate::json::Node;

/// The signed fields of a program by header and name.
type Signed<'a> = HashSet<(&'a str, &'a str)>;

/// Whether a signed field may get a value with a surplus somewhere in the program.
pub(super) fn possible(root: &Node<'_>) -> Result<bool> {
    let signed = signed_fields(root)?;
    if signed.is_empty() {
        return Ok(false);
    }
    for action in root.list("actions")? {
        for primitive in action.list("primitives")? {
            if gives(&primitive, &signed)? {
                return Ok(true);
            }
        }
    }
    for parser in root.list("parsers")? {
        for state in parser.list("parse_states")? {
            for op in state.list("parser_ops")? {
                if gives(&op, &signed)? {
                    return Ok(true);
                }
            }
        }
    }
    Ok(false)
}

/// Parameters, by their action's id, that the program itself gives numbers below zero.
pub(super) fn below_zero(root: &Node<'_>) -> Result<HashSet<(i64, usize)>> {
    let mut found = HashSet::new();
    for pipeline in root.list("pipelines")? {
        for table in pipeline.list("tables")? {
            let entries = table.list("entries")?;
            let entries = entries.iter().map(|entry| entry.get("action_entry")).collect::<Result<Vec<_>>>()?;
            for call in table.opt("default_entry")?.into_iter().chain(entries) {
                for (at, value) in call.list("action_data")?.iter().enumerate() {
                    if value.hex()?.0 {
                        found.insert((call.get("action_id")?.int()?, at));
                    }
                }
            }
        }
    }
    Ok(found)
}

fn signed_fields<'a>(root: &Node<'a>) -> Result<Signed<'a>> {
    let mut types = HashSet::new();
    for ty in root.list("header_types")? {
        for field in ty.list("fields")? {
            let parts = field.items()?;
            if let [name, _, sign, ..] = &parts[..]
                && sign.bool().unwrap_or(false)
            {
                types.insert((ty.get("name")?.str()?, name.str()?));
            }
        }
    }
    let mut signed = HashSet::new();
    for header in root.list("headers")? {
        let (name, of) = (header.get("name")?.str()?, header.get("header_type")?.str()?);
        signed.extend(types.iter().filter(|ty| ty.0 == of).map(|ty| (name, ty.1)));
    }
    Ok(signed)
}

/// Whether an operation may give one of the signed fields a surplus.
fn gives(node: &Node<'_>, signed: &Signed<'_>) -> Result<bool> {
    let args = node.list("parameters")?;
    let (dst, src) = match (node.get("op")?.str()?, &args[..]) {
        ("primitive", [inner]) => return gives(inner, signed),
        ("assign" | "modify_field" | "set", [dst, src]) => (dst, Some(src)),
        ("register_read" | "modify_field_with_hash_based_offset" | "modify_field_rng_uniform", [dst, ..]) => {
            (dst, None)
        }
        ("execute_meter", [_, _, dst]) => (dst, None),
        _ => return Ok(false),
    };
    Ok(is_signed(dst, signed)? && !src.map_or(Ok(false), |src| keeps(src, signed))?)
}

fn is_signed(node: &Node<'_>, signed: &Signed<'_>) -> Result<bool> {
    if node.get("type")?.str()? != "field" {
        return Ok(false);
    }
    let [header, field] = node.get("value")?.tuple::<2>()?;
    Ok(signed.contains(&(header.str()?, field.str()?)))
}

/// Whether a value is surely in the range of the signed type that it has.
fn keeps(node: &Node<'_>, signed: &Signed<'_>) -> Result<bool> {
    match node.get("type")?.str()? {
        "field" => is_signed(node, signed),
        "lookahead" | "header" | "header_stack" | "header_union" => Ok(true),
        "expression" => {
            let value = node.get("value")?;
            match value.opt("op")? {
                Some(op) => Ok(matches!(op.str()?, "two_comp_mod" | "sat_cast")),
                None => keeps(&value, signed),
            }
        }
        _ => Ok(false),
    }
}

impl Lower {
    /// The surplus of the field that an expression names, and the field's width.
    fn surplus_at(&mut self, expr: &Expr, node: &Node<'_>) -> Result<Option<(Fld, u32)>> {
        let (header, index) = match (self.dynamic(expr, node)?, expr) {
            (Some((Hdr::Fixed(header), index, ..)), _) => (header, index),
            (None, Expr::Field(header, index)) => (*header, *index),
            _ => return Ok(None),
        };
        Ok(self.surplus_of(header, index).map(|flag| (flag, self.field_at(header, index).1)))
    }

    pub(super) fn surplus_of(&self, header: u16, index: usize) -> Option<Fld> {
        self.code.headers[usize::from(header)].fields.get(index)?.surplus
    }

    /// What an assignment makes of the surplus of its target. To be done first: of the value only bits above the width change.
    pub(super) fn surplus(&mut self, dst: &Node<'_>, src: &Node<'_>) -> Result<Option<Op>> {
        let (to, from) = (self.expr(dst)?, self.expr(src)?);
        let Some((flag, width)) = self.surplus_at(&to, dst)? else { return Ok(None) };
        if let Some((other, same)) = self.surplus_at(&from, src)?
            && same == width
        {
            return Ok(Some(Op::SetField(flag, other)));
        }
        let least = Wide::from_u64(1).shl(u64::from(width - 1));
        let above = |cmp, value: Big, limit: Wide| Bool::BigCmp(cmp, Box::new((value, Big::Const(limit))));
        let Some((num, range)) = self.exact(&from, src)? else {
            let big = self.big(&from, src)?;
            let beyond = Wide::from_u64(1).shl(u64::from(width));
            let both = (above(Cmp::Ge, big.clone(), least), above(Cmp::Lt, big, beyond));
            return Ok(Some(Op::SetNum(flag, Num::FromBool(Box::new(Bool::And(Box::new(both)))))));
        };
        let (low, high) = (1i128 << (width - 1).min(126), 1i128 << width.min(126));
        if range.1 < low || range.0 >= high {
            return Ok(Some(Op::SetConst(flag, 0)));
        }
        // Some value of the range is at least `low`, which therefore fits 64 bits; all are signed numbers or none is.
        let is_signed = range.0 < 0;
        let from_low = Bool::Cmp(Cmp::Ge, is_signed, Box::new((num.clone(), Num::Const(low as u64))));
        let below = (range.1 >= high).then(|| Bool::Cmp(Cmp::Lt, is_signed, Box::new((num, Num::Const(high as u64)))));
        let cond = match below {
            Some(below) => Bool::And(Box::new((from_low, below))),
            None => from_low,
        };
        Ok(Some(Op::SetNum(flag, Num::FromBool(Box::new(cond)))))
    }

    /// Where a primitive other than an assignment puts its unsigned result.
    pub(super) fn result_dst(&mut self, node: &Node<'_>) -> Result<Dst> {
        let expr = self.expr(node)?;
        let dst = self.dst(node)?.0;
        Ok(match self.surplus_at(&expr, node)? {
            Some((flag, width)) => Dst::Surplus(Box::new(dst), flag, width),
            None => dst,
        })
    }

    /// What the parser does with the surplus of a field that it looks ahead into.
    pub(super) fn no_surplus(&mut self, node: &Node<'_>) -> Result<Option<Op>> {
        let expr = self.expr(node)?;
        Ok(self.surplus_at(&expr, node)?.map(|(flag, _)| Op::SetConst(flag, 0)))
    }
}
