//! Actions: each primitive becomes an op or two; jumps are to the first.

use super::super::code::*;
use super::expr::{Expr, Sort};
use super::{ActionInfo, Lower, Param, ParamInfo, Result};
use crate::json::Node;

impl Lower {
    pub(super) fn actions(&mut self, root: &Node<'_>) -> Result<()> {
        for node in root.get("actions")?.items()? {
            let (mut params, mut words, mut total) = (Vec::new(), Vec::new(), 0usize);
            self.params.clear();
            let id = node.get("id")?.int()?;
            for param in node.list("runtime_data")? {
                let bitwidth = param.get("bitwidth")?.uint(4_096)? as u32;
                params.push(ParamInfo { name: param.get("name")?.str()?.to_owned(), bitwidth });
                words.push(total as u16);
                // The JSON does not say which parameters are signed; a number below zero does.
                let signed = self.below_zero.contains(&(id, self.params.len()));
                self.params.push(Param { word: total as u16, width: bitwidth, signed });
                total += bitwidth.div_ceil(64).max(1) as usize;
            }
            if params.len() > 1_000 {
                return Err(node.err("an action with more than 1000 parameters"));
            }
            let primitives = node.list("primitives")?;
            let (mut ops, mut starts) = (Vec::new(), Vec::new());
            for primitive in &primitives {
                starts.push(ops.len());
                self.primitives(primitive, &mut ops)?;
            }
            starts.push(ops.len());
            for op in &mut ops {
                if let Op::Jump(to) | Op::JumpIfZero(_, to) | Op::JumpUnless(_, to) = op {
                    let len = primitives.len();
                    let start = starts.get(*to).copied();
                    *to = start.ok_or_else(|| node.err(format!("jumps to {to}, the action has {len} primitives")))?;
                }
            }
            let registers = registers_of(&ops);
            if self.action_ids.insert(id, self.actions.len()).is_some() {
                return Err(node.err(format!("a second action has the id {id}")));
            }
            let name = node.get("name")?.str()?.to_owned();
            self.actions.push(ActionInfo { name, params, words, total_words: total });
            self.code.actions.push(Action { ops, registers });
            self.params.clear();
        }
        Ok(())
    }

    /// A numeric argument of which 64 bits matter.
    fn arg(&mut self, node: &Node<'_>) -> Result<Num> {
        let expr = self.expr(node)?;
        self.low(&expr, 64, node)
    }

    fn header_arg(&mut self, node: &Node<'_>) -> Result<Hdr> {
        let expr = self.expr(node)?;
        self.header(&expr, node)
    }

    /// Where an argument that is written to lives, and its width.
    pub(super) fn dst(&mut self, node: &Node<'_>) -> Result<(Dst, u32)> {
        let expr = self.expr(node)?;
        if let Some((header, index, width, _)) = self.dynamic(&expr, node)? {
            if index == Self::VALID {
                return Ok((Dst::Nowhere, 1));
            }
            if let Hdr::Fixed(header) = header {
                return Ok((fixed_dst(self.field_at(header, index).0), width));
            }
            return Ok((Dst::Dyn(header, index as u16), width));
        }
        match expr {
            Expr::Field(header, index) => {
                let (at, width) = self.field_at(header, index);
                if matches!(at, FieldRef::Var(_)) {
                    return Err(node.err("a variable-length field cannot be assigned a number"));
                }
                Ok((fixed_dst(at), width))
            }
            Expr::Register(id, index) => {
                let width = self.registers[usize::from(id)].bitwidth;
                Ok((Dst::Register(id, self.low(&index, 64, node)?), width))
            }
            _ => Err(node.err("expected something that can be written: a field or a register")),
        }
    }

    pub(super) fn assign(&mut self, dst: &Node<'_>, src: &Node<'_>) -> Result<Op> {
        let from = self.expr(src)?;
        let to = self.expr(dst)?;
        if let (Expr::Field(a, i), Expr::Field(b, j)) = (&to, &from)
            && let (FieldRef::Var(dst), FieldRef::Var(src)) = (self.field_at(*a, *i).0, self.field_at(*b, *j).0)
        {
            return Ok(Op::AssignVar { dst, src });
        }
        match (to.sort(), from.sort()) {
            (Sort::Header, Sort::Header) => {
                return Ok(Op::AssignHeader(self.header(&to, dst)?, self.header(&from, src)?));
            }
            (Sort::Union, Sort::Union) => {
                return Ok(Op::AssignUnion(self.union(&to, dst)?, self.union(&from, src)?));
            }
            (Sort::Data, Sort::Data | Sort::Bool) => {}
            _ => return Err(src.err("the two sides of the assignment do not match")),
        }
        let (place, width) = self.dst(dst)?;
        let value = self.val(&from, width, src)?;
        Ok(match (place, value) {
            (Dst::Fld(f), Val::Num(num)) => match num {
                Num::Const(c) => Op::SetConst(f, c & f.mask),
                Num::Fld(g) => Op::SetField(f, g),
                Num::Param(word) => Op::SetParam(f, word),
                num => Op::SetNum(f, num),
            },
            (Dst::Bits(d), Val::Big(Big::Bits(s, _))) if d.width == s.width && (d.bit | s.bit | d.width) % 8 == 0 => {
                Op::CopyBytes { dst: d.bit / 8, src: s.bit / 8, len: d.width / 8 }
            }
            (place, value) => Op::Set(place, value),
        })
    }

    /// A primitive and, before it, what it does to a field's surplus.
    pub(super) fn primitives(&mut self, node: &Node<'_>, ops: &mut Vec<Op>) -> Result<()> {
        if let ("assign" | "modify_field", [dst, src]) = (node.get("op")?.str()?, &node.get("parameters")?.items()?[..])
        {
            ops.extend(self.surplus(dst, src)?);
        }
        ops.push(self.primitive(node)?);
        Ok(())
    }

    /// One primitive call: `{"op", "parameters"}`.
    fn primitive(&mut self, node: &Node<'_>) -> Result<Op> {
        let name_node = node.get("op")?;
        let name = name_node.str()?;
        let args = node.get("parameters")?.items()?;
        let wanted = match name {
            "assign"
            | "modify_field"
            | "assign_VL"
            | "assign_header"
            | "copy_header"
            | "assign_union"
            | "assign_header_stack"
            | "assign_union_stack"
            | "push"
            | "pop"
            | "_jump_if_zero"
            | "log_msg"
            | "generate_digest"
            | "clone_ingress_pkt_to_egress"
            | "clone_egress_pkt_to_egress"
            | "count"
            | "add_to_field"
            | "subtract_from_field" => 2,
            "exit" | "drop" | "no_op" => 0,
            "modify_field_with_hash_based_offset" => 4,
            "modify_field_rng_uniform"
            | "execute_meter"
            | "register_read"
            | "register_write"
            | "add"
            | "subtract"
            | "bit_xor"
            | "bit_or"
            | "bit_and"
            | "shift_left"
            | "shift_right" => 3,
            "add_header" | "add_header_fast" | "remove_header" | "_jump" | "assert" | "assume" | "mark_to_drop"
            | "resubmit" | "recirculate" | "truncate" => 1,
            _ => return Err(name_node.err(format!("the primitive \"{name}\" is not known"))),
        };
        if args.len() != wanted {
            return Err(node.err(format!("\"{name}\" has {} parameters, expected {wanted}", args.len())));
        }
        Ok(match name {
            "assign" | "modify_field" | "assign_VL" | "assign_header" | "copy_header" | "assign_union" => {
                self.assign(&args[0], &args[1])?
            }
            "assign_header_stack" | "assign_union_stack" => match (self.expr(&args[0])?, self.expr(&args[1])?) {
                (Expr::Stack(a), Expr::Stack(b)) => Op::AssignStack(a, b),
                (Expr::UnionStack(a), Expr::UnionStack(b)) => Op::AssignUnionStack(a, b),
                _ => return Err(node.err("expected two stacks")),
            },
            "push" | "pop" => {
                let count = self.arg(&args[1])?;
                match (self.expr(&args[0])?, name == "push") {
                    (Expr::Stack(stack), true) => Op::Push(stack, count),
                    (Expr::Stack(stack), false) => Op::Pop(stack, count),
                    (Expr::UnionStack(stack), true) => Op::PushUnion(stack, count),
                    (Expr::UnionStack(stack), false) => Op::PopUnion(stack, count),
                    _ => return Err(args[0].err("expected a stack")),
                }
            }
            "_jump" => match self.arg(&args[0])? {
                Num::Const(to) => Op::Jump(to as usize),
                _ => return Err(args[0].err("expected a constant")),
            },
            "_jump_if_zero" => {
                let to = match self.arg(&args[1])? {
                    Num::Const(to) => to as usize,
                    _ => return Err(args[1].err("expected a constant")),
                };
                let cond = self.expr(&args[0])?;
                match self.bool(&cond, &args[0])? {
                    Bool::NonZero(num) => match num {
                        Num::FromBool(cond) => Op::JumpUnless(*cond, to),
                        num => Op::JumpIfZero(num, to),
                    },
                    cond => Op::JumpUnless(cond, to),
                }
            }
            "exit" => Op::Exit,
            "no_op" => Op::Nop,
            "assert" | "assume" => {
                let cond = self.expr(&args[0])?;
                let what = if name == "assert" { "assert" } else { "assume" };
                Op::Assert(self.bool(&cond, &args[0])?, what)
            }
            "log_msg" => self.log(&args)?,
            "drop" => {
                let field = |l: &Self, header: &str, field: &str| {
                    let alias = l.aliases.get(&format!("{header}.{field}")).copied();
                    let (h, i) = alias.or_else(|| {
                        let h = *l.header_ids.get(header)?;
                        let fields = &l.code.headers[usize::from(h)].fields;
                        Some((h, fields.iter().position(|f| f.name == field)?))
                    })?;
                    match l.field_at(h, i).0 {
                        FieldRef::Narrow(fld) => Some(fld),
                        _ => None,
                    }
                };
                let spec = field(self, "standard_metadata", "egress_spec");
                Op::MarkToDrop { spec, group: field(self, "intrinsic_metadata", "mcast_grp") }
            }
            "mark_to_drop" => {
                let Hdr::Fixed(header) = self.header_arg(&args[0])? else {
                    return Err(args[0].err("expected standard metadata"));
                };
                let fields = &self.code.headers[usize::from(header)].fields;
                let find = |name: &str| {
                    fields.iter().find(|f| f.name == name).and_then(|f| match f.at {
                        FieldRef::Narrow(fld) => Some(fld),
                        _ => None,
                    })
                };
                Op::MarkToDrop { spec: find("egress_spec"), group: find("mcast_grp") }
            }
            "generate_digest" => Op::Digest(self.arg(&args[1])?),
            "clone_ingress_pkt_to_egress" => Op::CloneIngress(self.arg(&args[0])?, self.arg(&args[1])?),
            "clone_egress_pkt_to_egress" => Op::CloneEgress(self.arg(&args[0])?, self.arg(&args[1])?),
            "resubmit" => Op::Resubmit(self.arg(&args[0])?),
            "recirculate" => Op::Recirculate(self.arg(&args[0])?),
            "truncate" => Op::Truncate(self.arg(&args[0])?),
            "add_header" | "add_header_fast" => Op::AddHeader(self.header_arg(&args[0])?),
            "remove_header" => Op::RemoveHeader(self.header_arg(&args[0])?),
            "modify_field_with_hash_based_offset" => {
                let dst = self.result_dst(&args[0])?;
                let calc = self.named(&self.calc_ids, &args[2].get("value")?, "calculation")?;
                Op::Hash { dst, base: self.arg(&args[1])?, calc, size: self.arg(&args[3])? }
            }
            "modify_field_rng_uniform" => {
                let dst = self.result_dst(&args[0])?;
                Op::Random { dst, low: self.arg(&args[1])?, high: self.arg(&args[2])? }
            }
            "execute_meter" => {
                let meter = self.named(&self.meter_ids, &args[0].get("value")?, "meter")?;
                Op::Meter { meter, index: self.arg(&args[1])?, dst: self.result_dst(&args[2])? }
            }
            "count" => {
                let counter = self.named(&self.counter_ids, &args[0].get("value")?, "counter")?;
                Op::Count { counter, index: self.arg(&args[1])? }
            }
            "register_read" => {
                let dst = self.result_dst(&args[0])?;
                let register = self.named(&self.register_ids, &args[1].get("value")?, "register")?;
                Op::RegisterRead { dst, register, index: self.arg(&args[2])? }
            }
            "register_write" => {
                let register = self.named(&self.register_ids, &args[0].get("value")?, "register")?;
                let index = self.arg(&args[1])?;
                let value = self.expr(&args[2])?;
                let width = self.registers[usize::from(register)].bitwidth;
                Op::RegisterWrite { register, index, value: self.val(&value, width, &args[2])? }
            }
            // The arithmetic primitives of P4_14: dst = a op b.
            _ => {
                let (dst, width) = self.dst(&args[0])?;
                let (a, b) = match &args[..] {
                    [a, b] => (a, b),
                    [_, a, b] => (a, b),
                    _ => return Err(node.err("expected two operands")),
                };
                let op = match name {
                    "add" | "add_to_field" => BigOp::Add,
                    "subtract" | "subtract_from_field" => BigOp::Sub,
                    "bit_xor" => BigOp::Xor,
                    "bit_or" => BigOp::Or,
                    "bit_and" => BigOp::And,
                    "shift_left" => BigOp::Shl,
                    _ => BigOp::Shr,
                };
                let pair = Box::new((self.expr(a)?, self.expr(b)?));
                let expr = Expr::Binary(super::expr::Binary::Math(op), pair);
                Op::Set(dst, self.val(&expr, width, node)?)
            }
        })
    }

    fn log(&mut self, args: &[Node<'_>]) -> Result<Op> {
        let format = args[0].get("value")?.str()?.to_owned();
        let list = args[1].get("value")?;
        // p4c writes a list without values as an object without members.
        let none = list.members().is_ok_and(|members| members.is_empty());
        let mut values = Vec::new();
        for value in if none { Vec::new() } else { list.items()? } {
            let expr = self.expr(&value)?;
            values.push(Val::Big(self.big(&expr, &value)?));
        }
        Ok(Op::Log(format, values))
    }
}

fn fixed_dst(at: FieldRef) -> Dst {
    match at {
        FieldRef::Narrow(fld) => Dst::Fld(fld),
        FieldRef::Wide(bits) => Dst::Bits(bits),
        _ => Dst::Nowhere,
    }
}

/// The registers that some ops touch, sorted.
pub(super) fn registers_of(ops: &[Op]) -> Vec<u16> {
    let mut found: Vec<u16> = ops
        .iter()
        .filter_map(|op| match op {
            Op::RegisterRead { register, .. } | Op::RegisterWrite { register, .. } => Some(*register),
            Op::Set(Dst::Register(register, _), _) => Some(*register),
            _ => None,
        })
        .collect();
    found.sort_unstable();
    found.dedup();
    found
}
