//! Joining P4Info with a program: ids, what the compiler removed, and everything that is no table.

use std::{collections::HashMap, sync::Arc};

use p4runtime_proto::p4::config::v1::{self as info, P4Info, match_field};

use super::tables::kind_of;
use super::*;
use crate::program::{Kind, Program};

pub(super) fn size_of(value: i64, program: usize) -> usize {
    usize::try_from(value).ok().filter(|size| *size > 0).unwrap_or(program)
}
/// Bits of a member of a tuple, when P4Info says it without naming a type.
fn member_width(member: &info::P4DataTypeSpec) -> Option<u32> {
    use info::{p4_bitstring_like_type_spec::TypeSpec as Bits, p4_data_type_spec::TypeSpec};
    let width = match member.type_spec.as_ref()? {
        TypeSpec::Bool(_) => return Some(1),
        TypeSpec::Bitstring(bits) => match bits.type_spec.as_ref()? {
            Bits::Bit(bits) => bits.bitwidth,
            Bits::Int(bits) => bits.bitwidth,
            Bits::Varbit(_) => return None,
        },
        _ => return None,
    };
    u32::try_from(width).ok()
}

/// What the builder passes along.
pub(super) struct Build<'a> {
    pub info: &'a P4Info,
    pub program: &'a Program,
    pub translations: Translations,
    pub ids: HashMap<u32, Object>,
    pub actions: HashMap<u32, Arc<Action>>,
}

impl Build<'_> {
    pub(super) fn claim<'p>(
        &mut self,
        preamble: Option<&'p info::Preamble>,
        object: Object,
    ) -> Outcome<&'p info::Preamble> {
        let noun = object.noun();
        let preamble = preamble.ok_or_else(|| Failure::invalid(format!("P4Info: {noun} without preamble")))?;
        if preamble.id == 0 {
            return Err(Failure::invalid(format!("P4Info: {noun} \"{}\" has id 0", preamble.name)));
        }
        if let Some(other) = self.ids.insert(preamble.id, object) {
            return Err(Failure::invalid(format!(
                "P4Info: id {:#010x} stands for {} and for {noun} \"{}\"",
                preamble.id,
                other.noun(),
                preamble.name
            )));
        }
        Ok(preamble)
    }

    /// The program's index of an object; none when the compiler removed it.
    pub(super) fn program_id(
        &mut self,
        kind: Kind,
        preamble: &info::Preamble,
        object: Object,
    ) -> Outcome<Option<usize>> {
        let id = self.program.id(kind, &preamble.name);
        if id.is_none() {
            // Names in a control have a dot, those that p4c gives to its own tables have none.
            if let Some(other) = self.program.names(kind).find(|name| name.contains('.') && !self.states(kind, name)) {
                return Err(Failure::invalid(format!(
                    "P4Info has {} \"{}\" that the device configuration lacks, which has \"{other}\"",
                    object.noun(),
                    preamble.name
                )));
            }
            self.ids.insert(preamble.id, Object::Removed(object.noun()));
        }
        Ok(id)
    }

    /// Whether P4Info has an object of this kind and name.
    fn states(&self, kind: Kind, name: &str) -> bool {
        let P4Info { tables, counters, meters, registers, value_sets, .. } = self.info;
        let is = |preamble: &Option<info::Preamble>| preamble.as_ref().is_some_and(|preamble| preamble.name == name);
        match kind {
            Kind::Table => tables.iter().any(|table| is(&table.preamble)),
            // Direct ones are counters of the program too.
            Kind::Counter => {
                counters.iter().any(|counter| is(&counter.preamble))
                    || self.info.direct_counters.iter().any(|counter| is(&counter.preamble))
            }
            Kind::Meter => {
                meters.iter().any(|meter| is(&meter.preamble))
                    || self.info.direct_meters.iter().any(|meter| is(&meter.preamble))
            }
            Kind::Register => registers.iter().any(|register| is(&register.preamble)),
            Kind::ValueSet => value_sets.iter().any(|set| is(&set.preamble)),
            // What uses one of these tells whether it is missed.
            Kind::Action | Kind::Profile | Kind::Digest => true,
        }
    }

    /// The program's digest for one of a list of values, which has no name of its own: p4c calls it by a number in P4Info and
    /// by its type in the program, so it is known by the widths of its members. None when it has the same name in both.
    fn unnamed_digest(&self, digest: &info::Digest, taken: &[Digest]) -> Option<usize> {
        use info::p4_data_type_spec::TypeSpec;
        let Some(TypeSpec::Tuple(tuple)) = digest.type_spec.as_ref()?.type_spec.as_ref() else { return None };
        let named = |name: &str| {
            self.info
                .digests
                .iter()
                .any(|digest| digest.preamble.as_ref().is_some_and(|preamble| preamble.name == name))
        };
        let fits = |widths: &[u32]| {
            widths.len() == tuple.members.len()
                && widths
                    .iter()
                    .zip(&tuple.members)
                    .all(|(&width, member)| member_width(member).is_none_or(|w| w == width))
        };
        let mut digests = self.program.digests.iter().enumerate();
        let found = digests.find(|(id, digest)| {
            !named(&digest.name) && fits(&digest.widths) && taken.iter().all(|other| other.program != *id)
        });
        found.map(|(id, _)| id)
    }

    /// How values of a field of `bitwidth` bits in P4Info reach a field of `width` bits in the program.
    pub(super) fn translation(
        &mut self,
        type_name: Option<&info::P4NamedType>,
        bitwidth: i32,
        width: usize,
        what: impl Fn() -> String,
    ) -> Outcome<Translation> {
        let translation = self.translations.of(self.info, type_name, width)?;
        let wanted = match &translation {
            // Of type `error`: P4Info has no width for it.
            Translation::None if bitwidth == 0 && type_name.is_none() => 0,
            Translation::None => width,
            Translation::Bits { width, .. } => *width,
            Translation::String { .. } => 0,
        };
        if usize::try_from(bitwidth) != Ok(wanted) {
            return Err(Failure::invalid(format!(
                "{}: P4Info has bitwidth {bitwidth}, the device configuration {wanted}",
                what()
            )));
        }
        Ok(translation)
    }

    /// None when the compiler removed the header: packets come and go without it.
    fn header(&mut self, header: &info::ControllerPacketMetadata) -> Outcome<Option<PacketHeader>> {
        let mut fields: Vec<HeaderField> = Vec::with_capacity(header.metadata.len());
        let mut bits = 0;
        // The program keeps no other trace of these widths than its header types.
        let Some(widths) = self.translations.header_widths(header) else { return Ok(None) };
        for (field, width) in header.metadata.iter().zip(widths) {
            if field.id == 0 || fields.iter().any(|other| other.id == field.id) {
                return Err(Failure::invalid(format!(
                    "controller header, metadata \"{}\": id {} is zero or not unique",
                    field.name, field.id
                )));
            }
            let translation = self.translations.of(self.info, field.type_name.as_ref(), width)?;
            bits += width;
            fields.push(HeaderField { id: field.id, name: field.name.clone(), width, translation });
        }
        Ok(Some(PacketHeader { fields, bits }))
    }
}

impl Schema {
    /// Joins P4Info with a program.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the first thing in which the two disagree or P4Info contradicts itself.
    pub fn build(info: Arc<P4Info>, program: &Program, translations: Translations) -> Outcome<Schema> {
        let mut build = Build { info: &info, program, translations, ids: HashMap::new(), actions: HashMap::new() };
        for action in &info.actions {
            build.action(action)?;
        }
        let mut tables = Vec::with_capacity(info.tables.len());
        let mut stated = Vec::with_capacity(info.tables.len());
        for table in &info.tables {
            if let Some(built) = build.table(tables.len(), table)? {
                tables.push(built);
                stated.push(table);
            }
        }
        let mut profiles = Vec::with_capacity(info.action_profiles.len());
        for profile in &info.action_profiles {
            profiles.extend(build.profile(profiles.len(), profile, &mut tables, &stated)?);
        }
        for (index, table) in tables.iter().enumerate() {
            let id = stated[index].implementation_id;
            if id != 0 && table.profile.is_none() {
                return Err(Failure::invalid(format!(
                    "table \"{}\": implementation_id {id:#010x} is not an action profile",
                    table.name
                )));
            }
        }
        build.direct(&mut tables)?;
        let mut counters = Vec::with_capacity(info.counters.len());
        for counter in &info.counters {
            let object = Object::Counter(counters.len());
            let preamble = build.claim(counter.preamble.as_ref(), object)?;
            let Some(id) = build.program_id(Kind::Counter, preamble, object)? else { continue };
            let (name, size) = (preamble.name.clone(), program.counters[id].size);
            counters.push(Counter { id: preamble.id, name, program: id, size });
        }
        let mut meters = Vec::with_capacity(info.meters.len());
        for meter in &info.meters {
            let object = Object::Meter(meters.len());
            let preamble = build.claim(meter.preamble.as_ref(), object)?;
            let Some(id) = build.program_id(Kind::Meter, preamble, object)? else { continue };
            let (name, size) = (preamble.name.clone(), program.meters[id].size);
            let kind = meter.spec.as_ref().map_or_else(Default::default, |spec| spec.r#type());
            meters.push(Meter { id: preamble.id, name, program: id, size, kind });
        }
        let mut registers = Vec::with_capacity(info.registers.len());
        for register in &info.registers {
            let object = Object::Register(registers.len());
            let preamble = build.claim(register.preamble.as_ref(), object)?;
            let Some(id) = build.program_id(Kind::Register, preamble, object)? else { continue };
            let given = &program.registers[id];
            registers.push(Register {
                id: preamble.id,
                name: preamble.name.clone(),
                program: id,
                size: given.size,
                width: given.bitwidth as usize,
                type_spec: register.type_spec.clone().unwrap_or_default(),
            });
        }
        let mut value_sets = Vec::with_capacity(info.value_sets.len());
        for set in &info.value_sets {
            let object = Object::ValueSet(value_sets.len());
            let preamble = build.claim(set.preamble.as_ref(), object)?;
            let Some(id) = build.program_id(Kind::ValueSet, preamble, object)? else { continue };
            let given = &program.value_sets[id];
            let owner = format!("value set \"{}\"", preamble.name);
            let mut wanted = Vec::with_capacity(set.r#match.len());
            for (at, field) in set.r#match.iter().enumerate() {
                let width = given.widths.get(at).copied().unwrap_or_default() as usize;
                let kind = match &field.r#match {
                    Some(match_field::Match::MatchType(kind)) => kind_of(*kind),
                    _ => None,
                };
                let kind = kind
                    .ok_or_else(|| Failure::invalid(format!("{owner}: field {} has no known match type", field.id)))?;
                wanted.push((field.name.clone(), kind, width));
            }
            if wanted.len() != given.widths.len() {
                return Err(Failure::invalid(format!(
                    "{owner}: P4Info has {} match fields, the device configuration {}",
                    wanted.len(),
                    given.widths.len()
                )));
            }
            let (fields, key_bytes) = build.fields(&owner, &set.r#match, &wanted)?;
            value_sets.push(ValueSet {
                id: preamble.id,
                name: preamble.name.clone(),
                program: id,
                fields,
                key_bytes,
                size: size_of(set.size.into(), given.size),
            });
        }
        let mut digests = Vec::with_capacity(info.digests.len());
        for digest in &info.digests {
            let object = Object::Digest(digests.len());
            let preamble = build.claim(digest.preamble.as_ref(), object)?;
            let id = match build.unnamed_digest(digest, &digests) {
                Some(id) => id,
                None => match build.program_id(Kind::Digest, preamble, object)? {
                    Some(id) => id,
                    None => continue,
                },
            };
            digests.push(Digest {
                id: preamble.id,
                name: preamble.name.clone(),
                program: id,
                widths: program.digests[id].widths.clone(),
                type_spec: digest.type_spec.clone().unwrap_or_default(),
            });
        }
        let (mut packet_in, mut packet_out) = (None, None);
        for header in &info.controller_packet_metadata {
            let preamble = build.claim(header.preamble.as_ref(), Object::ControllerHeader)?;
            let place = match preamble.name.as_str() {
                "packet_in" => &mut packet_in,
                "packet_out" => &mut packet_out,
                _ => continue,
            };
            *place = build.header(header)?;
        }
        let Build { translations, ids, actions, .. } = build;
        Ok(Schema {
            tables,
            profiles,
            counters,
            meters,
            registers,
            value_sets,
            digests,
            packet_in,
            packet_out,
            translations,
            actions,
            ids,
            info,
        })
    }
}
