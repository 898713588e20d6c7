//! Actions, tables, action profiles, and the direct counters and meters of tables.

use std::sync::Arc;

use p4runtime_proto::p4::config::v1::{self as info, match_field, table};

use super::build::{Build, size_of};
use super::*;
use crate::program::{Kind, TableKind};

pub(super) fn kind_of(kind: i32) -> Option<MatchKind> {
    use match_field::MatchType;
    match MatchType::try_from(kind).ok()? {
        MatchType::Unspecified => None,
        MatchType::Exact => Some(MatchKind::Exact),
        MatchType::Lpm => Some(MatchKind::Lpm),
        MatchType::Ternary => Some(MatchKind::Ternary),
        MatchType::Range => Some(MatchKind::Range),
        MatchType::Optional => Some(MatchKind::Optional),
    }
}

impl Build<'_> {
    pub(super) fn fields(
        &mut self,
        owner: &str,
        wanted: &[info::MatchField],
        given: &[(String, MatchKind, usize)],
    ) -> Outcome<(Vec<Field>, usize)> {
        if wanted.len() != given.len() {
            return Err(Failure::invalid(format!(
                "{owner}: P4Info has {} match fields, the device configuration {}",
                wanted.len(),
                given.len()
            )));
        }
        // By name where the names are the same, which they are unless the field is an expression; else by position.
        let by_name = given.iter().all(|(name, ..)| wanted.iter().any(|f| f.name == *name));
        let mut fields: Vec<Field> = Vec::with_capacity(given.len());
        let mut offset = 0;
        for (at, (name, kind, width)) in given.iter().enumerate() {
            let field = wanted.iter().find(|field| by_name && field.name == *name).unwrap_or(&wanted[at]);
            let what = || format!("{owner}, match field \"{}\"", field.name);
            if field.id == 0 || fields.iter().any(|other| other.id == field.id) {
                return Err(Failure::invalid(format!("{}: id {} is zero or not unique", what(), field.id)));
            }
            let stated = match field.r#match {
                Some(match_field::Match::MatchType(kind)) => kind_of(kind),
                _ => None,
            };
            // p4c's BMv2 back end writes optional fields as ternary ones.
            let same = stated == Some(*kind) || stated == Some(MatchKind::Optional) && *kind == MatchKind::Ternary;
            let (true, Some(stated)) = (same, stated) else {
                return Err(Failure::invalid(format!(
                    "{}: P4Info has match type {stated:?}, the device configuration {kind:?}",
                    what()
                )));
            };
            let translation = self.translation(field.type_name.as_ref(), field.bitwidth, *width, what)?;
            let packed = Field {
                id: field.id,
                name: field.name.clone(),
                kind: stated,
                width: *width,
                bytes: bytes_of(*width),
                offset,
                translation,
            };
            offset += packed.packed_bytes();
            fields.push(packed);
        }
        Ok((fields, offset))
    }

    pub(super) fn action(&mut self, action: &info::Action) -> Outcome<()> {
        let preamble = self.claim(action.preamble.as_ref(), Object::Action)?;
        // Copies of one action in several controls have the same parameters; any of them tells the widths.
        let program = self.program.actions.iter().find(|candidate| candidate.name == preamble.name);
        let Some(program) = program else {
            self.ids.insert(preamble.id, Object::Removed(Object::Action.noun()));
            return Ok(());
        };
        if program.params.len() != action.params.len() {
            return Err(Failure::invalid(format!(
                "action \"{}\": P4Info has {} parameters, the device configuration {}",
                preamble.name,
                action.params.len(),
                program.params.len()
            )));
        }
        let mut params: Vec<Param> = Vec::with_capacity(action.params.len());
        let mut offset = 0;
        for (at, given) in program.params.iter().enumerate() {
            let param = action.params.iter().find(|param| param.name == given.name).unwrap_or(&action.params[at]);
            let what = || format!("action \"{}\", parameter \"{}\"", preamble.name, param.name);
            if param.id == 0 || params.iter().any(|other| other.id == param.id) {
                return Err(Failure::invalid(format!("{}: id {} is zero or not unique", what(), param.id)));
            }
            let width = given.bitwidth as usize;
            let translation = self.translation(param.type_name.as_ref(), param.bitwidth, width, what)?;
            params.push(Param {
                id: param.id,
                name: param.name.clone(),
                width,
                bytes: bytes_of(width),
                offset,
                translation,
            });
            offset += bytes_of(width);
        }
        let name = preamble.name.clone();
        self.actions.insert(preamble.id, Arc::new(Action { id: preamble.id, name, params, arg_bytes: offset }));
        Ok(())
    }

    /// None when the compiler removed the table.
    pub(super) fn table(&mut self, at: usize, table: &info::Table) -> Outcome<Option<Table>> {
        let object = Object::Table(at);
        let preamble = self.claim(table.preamble.as_ref(), object)?;
        let owner = format!("table \"{}\"", preamble.name);
        let Some(id) = self.program_id(Kind::Table, preamble, object)? else { return Ok(None) };
        let program = self.program;
        let given = &program.tables[id];
        let wanted: Vec<_> = given.fields.iter().map(|f| (f.name.clone(), f.kind, f.bitwidth as usize)).collect();
        let (fields, key_bytes) = self.fields(&owner, &table.match_fields, &wanted)?;
        let mut actions = Vec::with_capacity(table.action_refs.len());
        for reference in &table.action_refs {
            let action = self.actions.get(&reference.id).cloned().ok_or_else(|| {
                let lack = match self.ids.get(&reference.id) {
                    Some(Object::Removed(_)) => "the device configuration",
                    _ => "P4Info",
                };
                Failure::invalid(format!("{owner}: action id {:#010x} is not in {lack}", reference.id))
            })?;
            let program = program.table_action(id, &action.name).ok_or_else(|| {
                Failure::invalid(format!("{owner}: the device configuration lacks its action \"{}\"", action.name))
            })?;
            actions.push(TableAction { action, program, scope: reference.scope() });
        }
        let indirect = !matches!(given.kind, TableKind::Simple);
        if indirect != (table.implementation_id != 0) {
            return Err(Failure::invalid(format!(
                "{owner}: P4Info and the device configuration disagree on its action profile"
            )));
        }
        let needs_priority =
            fields.iter().any(|f| matches!(f.kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional));
        Ok(Some(Table {
            id: preamble.id,
            name: preamble.name.clone(),
            program: id,
            fields,
            key_bytes,
            needs_priority,
            actions,
            const_default: table.const_default_action_id != 0 || given.const_default,
            profile: None,
            counter: None,
            meter: None,
            size: size_of(table.size, given.size),
            idle_timeout: table.idle_timeout_behavior() == table::IdleTimeoutBehavior::NotifyControl,
            is_const: table.is_const_table,
        }))
    }

    /// None when the compiler removed the profile; `stated` are the tables in P4Info.
    pub(super) fn profile(
        &mut self,
        at: usize,
        profile: &info::ActionProfile,
        tables: &mut [Table],
        stated: &[&info::Table],
    ) -> Outcome<Option<Profile>> {
        let object = Object::Profile(at);
        let preamble = self.claim(profile.preamble.as_ref(), object)?;
        let owner = format!("action profile \"{}\"", preamble.name);
        let Some(id) = self.program_id(Kind::Profile, preamble, object)? else { return Ok(None) };
        let given = &self.program.profiles[id];
        if given.selector != profile.with_selector {
            return Err(Failure::invalid(format!(
                "{owner}: P4Info has with_selector {}, the device configuration {}",
                profile.with_selector, given.selector
            )));
        }
        let mut users = Vec::new();
        for (index, table) in tables.iter_mut().enumerate() {
            let stated = stated[index].implementation_id == preamble.id;
            let real = match self.program.tables[table.program].kind {
                TableKind::Simple => false,
                TableKind::Indirect { profile } | TableKind::Selector { profile } => profile == id,
            };
            if stated != real {
                return Err(Failure::invalid(format!(
                    "{owner}: P4Info and the device configuration disagree whether table \"{}\" uses it",
                    table.name
                )));
            }
            if stated {
                table.profile = Some(at);
                users.push(index);
            }
        }
        let semantics = match &profile.selector_size_semantics {
            Some(info::action_profile::SelectorSizeSemantics::SumOfMembers(members)) => {
                SizeSemantics::SumOfMembers(members.max_member_weight)
            }
            _ => SizeSemantics::SumOfWeights,
        };
        let size = size_of(profile.size, given.size);
        let max_group_size = usize::try_from(profile.max_group_size).unwrap_or(0);
        Ok(Some(Profile {
            id: preamble.id,
            name: preamble.name.clone(),
            program: id,
            selector: profile.with_selector,
            size,
            max_group_size,
            semantics,
            weights_disallowed: profile.weights_disallowed,
            tables: users,
        }))
    }

    /// Direct counters and meters, and the tables they belong to.
    pub(super) fn direct(&mut self, tables: &mut [Table]) -> Outcome<()> {
        for counter in &self.info.direct_counters {
            let preamble = self.claim(counter.preamble.as_ref(), Object::DirectCounter)?;
            let Some(table) = self.direct_owner(tables, preamble, Object::DirectCounter, counter.direct_table_id)?
            else {
                continue;
            };
            if !self.program.tables[table.program].has_counters {
                return Err(Failure::invalid(format!(
                    "table \"{}\": the device configuration lacks its direct counter \"{}\"",
                    table.name, preamble.name
                )));
            }
            table.counter = Some(preamble.id);
        }
        for meter in &self.info.direct_meters {
            let preamble = self.claim(meter.preamble.as_ref(), Object::DirectMeter)?;
            let Some(table) = self.direct_owner(tables, preamble, Object::DirectMeter, meter.direct_table_id)? else {
                continue;
            };
            if self.program.tables[table.program].meter.is_none() {
                return Err(Failure::invalid(format!(
                    "table \"{}\": the device configuration lacks its direct meter \"{}\"",
                    table.name, preamble.name
                )));
            }
            let kind = meter.spec.as_ref().map_or_else(Default::default, |spec| spec.r#type());
            table.meter = Some(DirectMeter { id: preamble.id, kind });
        }
        Ok(())
    }
    /// The table of a direct resource; none when the compiler removed it, and so the resource.
    fn direct_owner<'t>(
        &mut self,
        tables: &'t mut [Table],
        preamble: &info::Preamble,
        object: Object,
        table_id: u32,
    ) -> Outcome<Option<&'t mut Table>> {
        match self.ids.get(&table_id) {
            Some(Object::Table(at)) => Ok(Some(&mut tables[*at])),
            Some(Object::Removed(noun)) if *noun == Object::Table(0).noun() => {
                self.ids.insert(preamble.id, Object::Removed(object.noun()));
                Ok(None)
            }
            _ => Err(Failure::invalid(format!(
                "direct resource \"{}\": direct_table_id {table_id:#010x} is not a table",
                preamble.name
            ))),
        }
    }
}
