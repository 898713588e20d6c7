//! Parser states, their transitions, and the deparser's order.

use std::collections::HashMap;

use super::super::code::*;
use super::action::registers_of;
use super::{Lower, Result};
use crate::json::Node;

impl Lower {
    pub(super) fn parsers(&mut self, root: &Node<'_>) -> Result<()> {
        let parsers = root.get("parsers")?.items()?;
        let Some(parser) = parsers.first() else {
            return Err(root.get("parsers")?.err("found no parser, expected one"));
        };
        let states = parser.get("parse_states")?.items()?;
        let mut ids = HashMap::new();
        for (index, state) in states.iter().enumerate() {
            let name = state.get("name")?;
            if ids.insert(name.str()?, index as u32).is_some() {
                return Err(name.err(format!("a second state is called \"{}\"", name.str()?)));
            }
        }
        let target = |node: Option<Node<'_>>| -> Result<u32> {
            node.map_or(Ok(END), |node| {
                let name = node.str()?;
                ids.get(name).copied().ok_or_else(|| node.err(format!("no state is called \"{name}\"")))
            })
        };
        self.code.start = target(parser.opt("init_state")?)?;
        for state in &states {
            let mut ops = Vec::new();
            for op in state.list("parser_ops")? {
                self.parser_op(&op, &mut ops)?;
            }
            let select = self.select(state, &target)?;
            let does: Vec<Op> =
                ops.iter().filter_map(|op| if let ParseOp::Do(op) = op { Some(op.clone()) } else { None }).collect();
            let name = state.get("name")?.str()?.to_owned();
            self.code.states.push(State { name, ops, select, registers: registers_of(&does) });
        }
        Ok(())
    }

    fn parser_op(&mut self, node: &Node<'_>, ops: &mut Vec<ParseOp>) -> Result<()> {
        let op_node = node.get("op")?;
        let op = op_node.str()?;
        let args = node.get("parameters")?.items()?;
        let wanted = if matches!(op, "set" | "verify" | "extract_VL") { 2 } else { 1 };
        if args.len() != wanted {
            return Err(node.err(format!("\"{op}\" has {} parameters, expected {wanted}", args.len())));
        }
        let op = match op {
            "extract" | "extract_VL" => {
                let len = match args.get(1) {
                    Some(arg) => {
                        let expr = self.expr(arg)?;
                        Some(self.low(&expr, 32, arg)?)
                    }
                    None => None,
                };
                let (ty, value) = (args[0].get("type")?, args[0].get("value")?);
                match ty.str()? {
                    "regular" => {
                        let id = self.named(&self.header_ids, &value, "header")?;
                        let header = &self.code.headers[usize::from(id)];
                        if header.metadata {
                            return Err(value.err("metadata cannot be extracted"));
                        }
                        match len.or_else(|| header.var_len.clone()) {
                            Some(len) if header.var.is_some() => ParseOp::ExtractVar(id, len),
                            _ => ParseOp::Extract(id),
                        }
                    }
                    "stack" => ParseOp::ExtractStack(self.named(&self.stack_ids, &value, "header stack")?, len),
                    "union_stack" => {
                        let [stack, member] = value.tuple::<2>()?;
                        let id = self.named(&self.union_stack_ids, &stack, "header union stack")?;
                        let (member, _) = self.union_member(id, &member)?;
                        ParseOp::ExtractUnionStack(id, member as u16, len)
                    }
                    other => {
                        let allowed = "expected regular, stack or union_stack";
                        return Err(ty.err(format!("found \"{other}\", {allowed}")));
                    }
                }
            }
            "set" => {
                if args[1].get("type")?.str()? == "lookahead" {
                    let (dst, _) = self.dst(&args[0])?;
                    ops.extend(self.no_surplus(&args[0])?.map(ParseOp::Do));
                    let (offset, width) = lookahead(&args[1].get("value")?)?;
                    ParseOp::Lookahead { dst, offset, width }
                } else {
                    ops.extend(self.surplus(&args[0], &args[1])?.map(ParseOp::Do));
                    ParseOp::Do(self.assign(&args[0], &args[1])?)
                }
            }
            "verify" => {
                let cond = self.expr(&args[0])?;
                let error = self.expr(&args[1])?;
                ParseOp::Verify(self.bool(&cond, &args[0])?, self.low(&error, 32, &args[1])?)
            }
            "advance" => {
                let expr = self.expr(&args[0])?;
                ParseOp::Advance(self.low(&expr, 64, &args[0])?)
            }
            "shift" => ParseOp::Advance(Num::Const(args[0].uint(1 << 20)? * 8)),
            "primitive" => {
                let mut all = Vec::new();
                self.primitives(&args[0], &mut all)?;
                ops.extend(all.into_iter().map(ParseOp::Do));
                return Ok(());
            }
            other => return Err(op_node.err(format!("the parser operation \"{other}\" is not known"))),
        };
        ops.push(op);
        Ok(())
    }

    fn select(&mut self, state: &Node<'_>, target: &dyn Fn(Option<Node<'_>>) -> Result<u32>) -> Result<Select> {
        let (mut parts, mut widths) = (Vec::new(), Vec::new());
        for key in state.list("transition_key")? {
            let (part, width) = self.select_part(&key)?;
            parts.push(part);
            widths.push(width);
        }
        let len: usize = widths.iter().map(|w| w.div_ceil(8) as usize).sum();
        let (mut cases, mut default) = (Vec::new(), END);
        for node in state.list("transitions")? {
            let next = target(node.opt("next_state")?)?;
            let mask = match node.opt("mask")? {
                Some(mask) => Some(padded(&mask, len)?),
                None => None,
            };
            // Old compilers leave the type out and mark the default in the value.
            let ty = match node.opt("type")? {
                Some(ty) => ty.str()?.to_owned(),
                None => match node.opt("value")? {
                    Some(value) if value.str()? == "default" => "default".into(),
                    _ => "hexstr".into(),
                },
            };
            match ty.as_str() {
                "default" => default = next,
                _ if parts.is_empty() => {}
                "hexstr" => {
                    let mask = mask.unwrap_or_else(|| vec![0xff; len].into());
                    let mut value = padded(&node.get("value")?, len)?;
                    value.iter_mut().zip(mask.iter()).for_each(|(v, m)| *v &= m);
                    cases.push(SelectCase::Match { value, mask, next });
                }
                "parse_vset" => {
                    let set = self.named(&self.set_ids, &node.get("value")?, "value set")?;
                    self.value_sets[usize::from(set)].widths = widths.clone();
                    cases.push(SelectCase::Set { set, mask, next });
                }
                other => {
                    return Err(node
                        .get("type")?
                        .err(format!("found \"{other}\", expected default, hexstr or parse_vset")));
                }
            }
        }
        if parts.is_empty() {
            return Ok(Select::Always(default));
        }
        let word = |bytes: &[u8]| bytes.iter().fold(0u64, |v, &b| v << 8 | u64::from(b));
        let words: Option<Vec<_>> = cases
            .iter()
            .map(|case| match case {
                SelectCase::Match { value, mask, next } if len <= 8 => Some((word(value), word(mask), *next)),
                _ => None,
            })
            .collect();
        Ok(match words {
            Some(cases) => Select::Word { parts, cases, default },
            None => Select::Bytes { parts, len, cases, default },
        })
    }

    fn select_part(&mut self, node: &Node<'_>) -> Result<(SelectPart, u32)> {
        let ty = node.get("type")?;
        if ty.str()? == "lookahead" {
            let (offset, width) = lookahead(&node.get("value")?)?;
            return Ok((SelectPart::Lookahead { offset, width }, width));
        }
        let expr = self.expr(node)?;
        if let Some((header, index, width, _)) = self.dynamic(&expr, node)? {
            let part = if width <= 64 {
                SelectPart::Num(Num::Dyn(Box::new(header), index as u16), width)
            } else {
                SelectPart::Big(Big::Dyn(Box::new(header), index as u16, false), width)
            };
            return Ok((part, width));
        }
        let super::expr::Expr::Field(header, index) = expr else {
            return Err(ty.err("expected field, stack_field, union_stack_field or lookahead"));
        };
        let (at, width) = self.field_at(header, index);
        Ok(match at {
            FieldRef::Narrow(fld) => (SelectPart::Num(Num::Fld(fld), width), width),
            FieldRef::Wide(bits) => (SelectPart::Bits(bits), width),
            FieldRef::Valid(header) => (SelectPart::Num(Num::Valid(header), 1), 1),
            FieldRef::Var(_) => return Err(node.err("a variable-length field cannot be selected on")),
        })
    }

    pub(super) fn deparser(&mut self, root: &Node<'_>) -> Result<()> {
        let deparsers = root.get("deparsers")?.items()?;
        let Some(deparser) = deparsers.first() else {
            return Err(root.get("deparsers")?.err("found no deparser, expected one"));
        };
        for node in deparser.get("order")?.items()? {
            let id = self.named(&self.header_ids, &node, "header")?;
            if self.code.headers[usize::from(id)].metadata {
                return Err(node.err("metadata cannot be emitted"));
            }
            self.code.deparse.push(id);
        }
        if let Some(node) = deparser.list("primitives")?.first() {
            return Err(node.err("extern calls in the deparser are not part of v1model"));
        }
        Ok(())
    }
}

/// `[offset, width]` in bits.
fn lookahead(node: &Node<'_>) -> Result<(u32, u32)> {
    let [offset, width] = node.tuple::<2>()?;
    let found = (offset.uint(1 << 19)? as u32, width.uint(4_096)? as u32);
    if found.1 == 0 {
        return Err(width.err("found 0, expected a width from 1 to 4096"));
    }
    Ok(found)
}

/// A hexadecimal string as exactly `len` bytes.
fn padded(node: &Node<'_>, len: usize) -> Result<Box<[u8]>> {
    let (_, bytes) = node.hex()?;
    let skip = bytes.len().saturating_sub(len);
    if bytes[..skip].iter().any(|&b| b != 0) {
        return Err(node.err(format!("the value does not fit the key's {len} bytes")));
    }
    let mut out = vec![0; len];
    let bytes = &bytes[skip..];
    out[len - bytes.len()..].copy_from_slice(bytes);
    Ok(out.into())
}
