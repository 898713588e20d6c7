//! Tables, conditions and the flow between them; const entries and default entries.

use std::collections::HashMap;

use super::super::code::*;
use super::super::info::*;
use super::{Lower, Result};
use crate::exec::wide::Wide;
use crate::json::Node;
use crate::tables::key::{KeyField, Value};

/// An entry or default entry that the program itself brings.
#[derive(Clone, Debug)]
pub struct InitialEntry {
    pub table: TableId,
    /// None for the default entry.
    pub key: Option<(Vec<KeyField>, i32)>,
    pub action: ActionId,
    pub params: Vec<Value>,
}

impl Lower {
    pub(super) fn pipelines(&mut self, root: &Node<'_>) -> Result<()> {
        let node = root.get("pipelines")?;
        let pipelines = node.items()?;
        for name in ["ingress", "egress"] {
            let found = pipelines.iter().find(|p| p.opt("name").is_ok_and(|n| n.is_some_and(|n| n.str() == Ok(name))));
            let pipeline = found.ok_or_else(|| node.err(format!("no pipeline is called \"{name}\"")))?;
            let flow = self.pipeline(pipeline)?;
            if name == "ingress" {
                self.code.ingress = flow;
            } else {
                self.code.egress = flow;
            }
        }
        Ok(())
    }

    fn pipeline(&mut self, node: &Node<'_>) -> Result<Pipeline> {
        let mut profiles: HashMap<String, (usize, Option<u16>)> = HashMap::new();
        for profile in node.list("action_profiles")? {
            let name = profile.get("name")?.str()?.to_owned();
            let size = profile.opt("max_size")?.map_or(Ok(1 << 20), |n| n.uint(1 << 30))? as usize;
            let calc = match profile.opt("selector")? {
                Some(selector) => {
                    let calc = self.calculation(&selector.get("algo")?, &selector.get("input")?)?;
                    self.code.calcs.push(calc);
                    Some((self.code.calcs.len() - 1) as u16)
                }
                None => None,
            };
            profiles.insert(name.clone(), (self.profiles.len(), calc));
            self.profiles.push(ProfileInfo { name, size, selector: calc.is_some(), tables: Vec::new() });
        }
        let tables = node.list("tables")?;
        let conditions = node.list("conditionals")?;
        let calls = node.list("action_calls")?;
        let mut ids = HashMap::new();
        for (index, item) in tables.iter().chain(&conditions).chain(&calls).enumerate() {
            let name = item.get("name")?;
            if ids.insert(name.str()?, index as u32).is_some() {
                return Err(name.err(format!("a second node is called \"{}\"", name.str()?)));
            }
        }
        let target = |node: Option<Node<'_>>| -> Result<u32> {
            node.map_or(Ok(END), |node| {
                let name = node.str()?;
                ids.get(name).copied().ok_or_else(|| node.err(format!("no table or condition is called \"{name}\"")))
            })
        };
        let mut flow = Pipeline { nodes: Vec::new(), start: target(node.opt("init_table")?)? };
        for table in &tables {
            let id = self.table(table, &profiles)?;
            let next = self.next(table, id, &target)?;
            flow.nodes.push(Node_::Table { table: id, next });
        }
        for node in &conditions {
            let cond = self.condition(node.opt("expression")?)?.unwrap_or(Bool::Const(false));
            let (yes, no) = (target(node.opt("true_next")?)?, target(node.opt("false_next")?)?);
            let source = node.opt("source_info")?.map_or(Ok(None), |source| source.opt("source_fragment"))?;
            let text = source.map_or_else(|| node.get("name"), Ok)?.str()?.into();
            flow.nodes.push(Node_::If { cond, yes, no, text });
        }
        for node in &calls {
            let action = self.action_id(&node.get("action_id")?)?;
            flow.nodes.push(Node_::Call { action, next: target(node.opt("next_node")?)? });
        }
        acyclic(node, &flow)?;
        Ok(flow)
    }

    fn action_id(&self, node: &Node<'_>) -> Result<ActionId> {
        let id = node.int()?;
        self.action_ids.get(&id).copied().ok_or_else(|| node.err(format!("no action has the id {id}")))
    }

    fn next(&self, node: &Node<'_>, table: TableId, target: &dyn Fn(Option<Node<'_>>) -> Result<u32>) -> Result<Next> {
        let base = target(node.opt("base_default_next")?)?;
        let (mut by_action, mut hit, mut miss) = (Vec::new(), None, None);
        let next_tables = node.get("next_tables")?;
        for (name, value) in next_tables.members()? {
            let to = target((!value.is_null()).then_some(value))?;
            match name {
                "__HIT__" => hit = Some(to),
                "__MISS__" => miss = Some(to),
                _ => {
                    let actions = &self.tables[table].actions;
                    let action = actions.iter().copied().find(|&a| self.actions[a].name == name);
                    let action =
                        action.ok_or_else(|| next_tables.err(format!("the table has no action \"{name}\"")))?;
                    by_action.push((action, to));
                }
            }
        }
        if hit.is_some() || miss.is_some() {
            let (hit, miss) = (hit.unwrap_or(base), miss.unwrap_or(base));
            return Ok(if hit == miss { Next::Same(hit) } else { Next::HitMiss(hit, miss) });
        }
        if by_action.iter().all(|&(_, to)| to == base) {
            return Ok(Next::Same(base));
        }
        Ok(Next::ByAction(by_action, base))
    }

    fn table(&mut self, node: &Node<'_>, profiles: &HashMap<String, (usize, Option<u16>)>) -> Result<TableId> {
        let id = self.tables.len();
        let name = node.get("name")?.str()?.to_owned();
        let mut actions = Vec::new();
        match node.opt("action_ids")? {
            Some(ids) => {
                for action in ids.items()? {
                    actions.push(self.action_id(&action)?);
                }
            }
            None => {
                for action in node.get("actions")?.items()? {
                    let name = action.str()?;
                    let found = self.actions.iter().position(|a| a.name == name);
                    actions.push(found.ok_or_else(|| action.err(format!("no action is called \"{name}\"")))?);
                }
            }
        }
        let ty = node.get("type")?;
        let (kind, selector) = match ty.str()? {
            "simple" => (TableKind::Simple, None),
            kind @ ("indirect" | "indirect_ws") => {
                let profile_node = node.get("action_profile").or_else(|_| node.get("act_prof_name"))?;
                let profile_name = profile_node.str()?;
                let (profile, calc) = *profiles
                    .get(profile_name)
                    .ok_or_else(|| profile_node.err(format!("no action profile is called \"{profile_name}\"")))?;
                self.profiles[profile].tables.push(id);
                if kind == "indirect" {
                    (TableKind::Indirect { profile }, None)
                } else if calc.is_some() {
                    (TableKind::Selector { profile }, calc)
                } else {
                    return Err(profile_node.err("the action profile has no selector"));
                }
            }
            other => {
                return Err(ty.err(format!("found \"{other}\", expected simple, indirect or indirect_ws")));
            }
        };
        let (fields, key, words) = self.table_key(node)?;
        let meter = match node.opt("direct_meters")? {
            Some(meter) => Some(self.named(&self.meter_ids, &meter, "meter")?),
            None => None,
        };
        let flag = |key| node.opt(key)?.map_or(Ok(false), |n| n.bool());
        let (has_counters, supports_timeout): (Result<bool>, Result<bool>) =
            (flag("with_counters"), flag("support_timeout"));
        let entries = node.opt("entries")?;
        let info = TableInfo {
            name,
            kind,
            fields,
            actions,
            size: node.opt("max_size")?.map_or(Ok(1_024), |n| n.uint(1 << 30))?.max(1) as usize,
            has_counters: has_counters?,
            meter: meter.map(usize::from),
            supports_timeout: supports_timeout?,
            const_entries: false,
            const_default: false,
            hidden: false,
        };
        let meter_target = meter.and_then(|m| self.meter_targets[usize::from(m)].clone());
        let selector_field = selector.and_then(|calc| self.single_field(calc));
        self.code.tables.push(TableCode { key, words, selector, selector_field, meter_target });
        self.tables.push(info);
        if let Some(entries) = entries {
            self.const_entries(id, &entries)?;
        }
        if let Some(default) = node.opt("default_entry")? {
            let action = self.table_action_id(id, &default.get("action_id")?)?;
            let flag = |key| default.opt(key)?.map_or(Ok(false), |n: Node<'_>| n.bool());
            let is_const: Result<bool> = flag("action_const");
            self.tables[id].const_default = is_const?;
            let params = self.action_data(action, &default.get("action_data")?)?;
            self.code.initial.push(InitialEntry { table: id, key: None, action, params });
        }
        let info = &mut self.tables[id];
        info.hidden = info.fields.is_empty() && info.const_default && info.kind == TableKind::Simple;
        Ok(id)
    }

    fn table_action_id(&self, table: TableId, node: &Node<'_>) -> Result<ActionId> {
        let action = self.action_id(node)?;
        if !self.tables[table].actions.contains(&action) {
            let name = &self.actions[action].name;
            return Err(node.err(format!("the action \"{name}\" is not among the table's actions")));
        }
        Ok(action)
    }

    fn action_data(&self, action: ActionId, node: &Node<'_>) -> Result<Vec<Value>> {
        let params = &self.actions[action].params;
        let items = node.items()?;
        if items.len() != params.len() {
            let wanted = params.len();
            return Err(node.err(format!("found {} values, the action has {wanted} parameters", items.len())));
        }
        items.iter().zip(params).map(|(item, param)| value_of(item, param.bitwidth)).collect()
    }

    /// The key's fields, where each goes in the packed key, and the packed key's words.
    fn table_key(&mut self, node: &Node<'_>) -> Result<(Vec<MatchField>, Vec<KeyPart>, usize)> {
        let (mut fields, mut parts) = (Vec::new(), Vec::new());
        // Small fields share words; `room` is the word being filled and the bits left in it.
        let (mut words, mut room): (usize, Option<(usize, u32)>) = (0, None);
        for key in node.get("key")?.items()? {
            let kind_node = key.get("match_type")?;
            let kind = match kind_node.str()? {
                "exact" | "valid" => MatchKind::Exact,
                "lpm" => MatchKind::Lpm,
                "ternary" => MatchKind::Ternary,
                "range" => MatchKind::Range,
                "optional" => MatchKind::Optional,
                other => {
                    let allowed = "expected exact, lpm, ternary, range, optional or valid";
                    return Err(kind_node.err(format!("found \"{other}\", {allowed}")));
                }
            };
            let target = key.get("target")?;
            let (at, width, of, default_name) = if kind_node.str()? == "valid" && target.is_string() {
                let header = self.named(&self.header_ids, &target, "header")?;
                (FieldRef::Valid(header), 1, None, target.str()?.to_owned())
            } else {
                let (header, index) = self.field(&target)?;
                let [h, f] = target.tuple::<2>()?;
                let (at, width) = self.field_at(header, index);
                let of = (!self.code.headers[usize::from(header)].metadata && self.stale.touches(at)).then_some(header);
                (at, width, of, format!("{}.{}", h.str()?, f.str()?))
            };
            let name = key.opt("name")?.map_or(Ok(default_name.as_str()), |n| n.str())?.to_owned();
            let mask = match key.opt("mask")? {
                Some(mask) => Some(Wide::from_bytes(&mask.hex()?.1)),
                None => None,
            };
            if width <= 64 {
                let src = match at {
                    FieldRef::Narrow(fld) => Num::Fld(fld),
                    FieldRef::Wide(bits) => Num::Bits(bits),
                    FieldRef::Valid(header) => Num::Valid(header),
                    FieldRef::Var(_) => return Err(target.err("a variable-length field cannot be matched")),
                };
                let (src, keep) = match mask {
                    Some(mask) => (Num::And(Box::new(src), mask.low()), mask.low()),
                    None => (src, u64::MAX),
                };
                let (word, left) = match room {
                    Some((word, left)) if left >= width => (word, left - width),
                    _ => {
                        words += 1;
                        (words - 1, 64 - width)
                    }
                };
                room = Some((word, left));
                // A field without bits may stand above all of them.
                let shift = left.min(63) as u8;
                parts.push(KeyPart { src, of, word: word as u16, shift, more: Vec::new(), width, keep });
            } else {
                let FieldRef::Wide(bits) = at else {
                    return Err(target.err("a variable-length field cannot be matched"));
                };
                let count = width.div_ceil(64);
                let mut limbs = vec![u64::MAX; count as usize];
                if let Some(mask) = mask {
                    mask.to_limbs(&mut limbs);
                }
                let more = (0..count).map(|i| {
                    let take = if i == 0 { width - (count - 1) * 64 } else { 64 };
                    let end = bits.bit + width - (count - 1 - i) * 64;
                    (Bits { bit: end - take, width: take }, limbs[(count - 1 - i) as usize])
                });
                let word = words as u16;
                words += count as usize;
                let (src, keep) = (Num::Const(0), u64::MAX);
                parts.push(KeyPart { src, of, word, shift: 0, more: more.collect(), width, keep });
            }
            fields.push(MatchField { name, kind, bitwidth: width });
        }
        if fields.iter().filter(|f| f.kind == MatchKind::Lpm).count() > 1 {
            return Err(node.get("key")?.err("a table may have one lpm field"));
        }
        Ok((fields, parts, words))
    }

    fn const_entries(&mut self, table: TableId, node: &Node<'_>) -> Result<()> {
        // p4c writes an empty list for tables without const entries.
        self.tables[table].const_entries = !node.items()?.is_empty();
        let mut found = Vec::new();
        for (index, entry) in node.items()?.into_iter().enumerate() {
            let key = entry.get("match_key")?;
            let items = key.items()?;
            let fields = self.tables[table].fields.clone();
            if items.len() != fields.len() {
                return Err(key.err(format!("found {} fields, the key has {}", items.len(), fields.len())));
            }
            let mut values = Vec::new();
            for (item, field) in items.iter().zip(&fields) {
                let hex = |name| -> Result<Value> { value_of(&item.get(name)?, field.bitwidth) };
                let kind = item.get("match_type")?;
                values.push(match kind.str()? {
                    "exact" if field.kind == MatchKind::Optional => KeyField::Optional(Some(hex("key")?)),
                    "exact" => KeyField::Exact(hex("key")?),
                    "valid" => KeyField::Exact([u8::from(item.get("key")?.bool()?)].into_iter().collect()),
                    "lpm" => {
                        KeyField::Lpm { value: hex("key")?, prefix_len: item.get("prefix_length")?.uint(4_096)? as u32 }
                    }
                    "ternary" if field.kind == MatchKind::Optional => {
                        let wildcard = item.get("mask")?.hex()?.1.iter().all(|&b| b == 0);
                        KeyField::Optional(if wildcard { None } else { Some(hex("key")?) })
                    }
                    "ternary" => KeyField::Ternary { value: hex("key")?, mask: hex("mask")? },
                    "range" => KeyField::Range { low: hex("start")?, high: hex("end")? },
                    "optional" => match item.opt("key")? {
                        Some(key)
                            if item.opt("mask")?.is_none_or(|m| m.hex().is_ok_and(|m| m.1.iter().any(|&b| b != 0))) =>
                        {
                            KeyField::Optional(Some(value_of(&key, field.bitwidth)?))
                        }
                        _ => KeyField::Optional(None),
                    },
                    other => return Err(kind.err(format!("found \"{other}\", which is not a match type"))),
                });
            }
            let place = entry.opt("priority")?.map_or(Ok(index as i64 + 1), |priority| priority.int())?;
            let action = entry.get("action_entry")?;
            let id = self.table_action_id(table, &action.get("action_id")?)?;
            let params = self.action_data(id, &action.get("action_data")?)?;
            found.push((place, values, id, params));
        }
        // In the JSON a small number comes first; here a large one does, and the last entry has 1 (P4Runtime 9.1.4).
        found.sort_by_key(|(place, ..)| *place);
        for (priority, (_, values, action, params)) in (1..).zip(found.into_iter().rev()) {
            self.code.initial.push(InitialEntry { table, key: Some((values, priority)), action, params });
        }
        Ok(())
    }
}

/// A constant of an entry; one below zero in the two's complement of its field or parameter.
fn value_of(node: &Node<'_>, width: u32) -> Result<Value> {
    let (negative, bytes) = node.hex()?;
    if !negative {
        return Ok(bytes.into_iter().collect());
    }
    let mut limbs = vec![0; width.div_ceil(64) as usize];
    Wide::from_bytes(&bytes).neg().mask(width).to_limbs(&mut limbs);
    Ok(limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect())
}

use super::super::code::Node as Node_;

/// P4 control flow has no loops; one in the JSON would never end.
fn acyclic(node: &Node<'_>, flow: &Pipeline) -> Result<()> {
    let after = |node: &Node_| -> Vec<u32> {
        match node {
            Node_::Table { next: Next::Same(to), .. } | Node_::Call { next: to, .. } => vec![*to],
            Node_::Table { next: Next::HitMiss(a, b), .. } | Node_::If { yes: a, no: b, .. } => vec![*a, *b],
            Node_::Table { next: Next::ByAction(list, base), .. } => list.iter().map(|l| l.1).chain([*base]).collect(),
        }
    };
    // Kahn's algorithm over all nodes.
    let mut incoming = vec![0u32; flow.nodes.len()];
    for node in &flow.nodes {
        after(node).into_iter().filter(|&to| to != END).for_each(|to| incoming[to as usize] += 1);
    }
    let mut ready: Vec<usize> = (0..incoming.len()).filter(|&i| incoming[i] == 0).collect();
    let mut seen = 0;
    while let Some(index) = ready.pop() {
        seen += 1;
        for to in after(&flow.nodes[index]).into_iter().filter(|&to| to != END) {
            incoming[to as usize] -= 1;
            if incoming[to as usize] == 0 {
                ready.push(to as usize);
            }
        }
    }
    if seen < flow.nodes.len() {
        return Err(node.err("the control flow has a loop"));
    }
    Ok(())
}

impl Lower {
    /// The field of metadata whose value a calculation is.
    fn single_field(&self, calc: u16) -> Option<Fld> {
        let calc = &self.code.calcs[usize::from(calc)];
        let (Algo::Identity, &[CalcPart::Bytes { header, off, len }]) = (calc.algo, &calc.parts[..]) else {
            return None;
        };
        let fits = self.code.headers[usize::from(header)].metadata && matches!(len, 1 | 2 | 4 | 8);
        let width = len * 8;
        let (shift, mask) = (64 - width, u64::MAX >> (64 - width));
        fits.then_some(Fld { off, shift: shift as u8, width: width as u8, own: len as u8, mask })
    }
}
