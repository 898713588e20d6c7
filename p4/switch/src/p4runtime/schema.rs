//! P4Info joined with the loaded program: every object a controller may name, by id, with the program's index of it.
//!
//! Built once for a pipeline configuration. Whatever P4Info and the program disagree about is found here and refuses the
//! configuration (P4Runtime 14: `INVALID_ARGUMENT` when it cannot be realised). One difference is none: p4c writes P4Info
//! before it optimises, so P4Info also has what the compiler then finds no packet can reach. Such an object is known by its
//! id and nothing can be done with it.

use std::{collections::HashMap, sync::Arc};

use p4runtime_proto::p4::config::v1::{self as info, P4Info, match_field, meter_spec, table};

use super::{
    failure::{Failure, Outcome},
    translate::{Translation, Translations},
};
use crate::program::{ActionId, Kind, MatchKind, Program, TableId, TableKind};

/// A pipeline as controllers see it.
pub struct Schema {
    /// What the controller sent.
    pub info: Arc<P4Info>,
    pub tables: Vec<Table>,
    pub profiles: Vec<Profile>,
    pub counters: Vec<Counter>,
    pub meters: Vec<Meter>,
    pub registers: Vec<Register>,
    pub value_sets: Vec<ValueSet>,
    pub digests: Vec<Digest>,
    pub packet_in: Option<PacketHeader>,
    pub packet_out: Option<PacketHeader>,
    pub translations: Translations,
    actions: HashMap<u32, Arc<Action>>,
    ids: HashMap<u32, Object>,
}

/// What an id stands for: an index into one of the lists of [`Schema`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Object {
    Table(usize),
    Action,
    Profile(usize),
    Counter(usize),
    DirectCounter,
    Meter(usize),
    DirectMeter,
    Register(usize),
    ValueSet(usize),
    Digest(usize),
    ControllerHeader,
    /// What P4Info has and the compiler removed from the program: a noun.
    Removed(&'static str),
}

impl Object {
    fn noun(self) -> &'static str {
        match self {
            Object::Table(_) => "a table",
            Object::Action => "an action",
            Object::Profile(_) => "an action profile",
            Object::Counter(_) => "a counter",
            Object::DirectCounter => "a direct counter",
            Object::Meter(_) => "a meter",
            Object::DirectMeter => "a direct meter",
            Object::Register(_) => "a register",
            Object::ValueSet(_) => "a value set",
            Object::Digest(_) => "a digest",
            Object::ControllerHeader => "a controller header",
            Object::Removed(noun) => noun,
        }
    }
}

pub struct Table {
    pub id: u32,
    pub name: String,
    pub program: TableId,
    /// In the order of the program's key.
    pub fields: Vec<Field>,
    /// Bytes of a packed key.
    pub key_bytes: usize,
    pub needs_priority: bool,
    pub actions: Vec<TableAction>,
    pub const_default: bool,
    pub profile: Option<usize>,
    /// Whether entries have a direct counter, and its id.
    pub counter: Option<u32>,
    pub meter: Option<DirectMeter>,
    /// Most entries beside the default one.
    pub size: usize,
    pub idle_timeout: bool,
    pub is_const: bool,
}

#[derive(Clone, Copy)]
pub struct DirectMeter {
    pub id: u32,
    pub kind: meter_spec::Type,
}

/// A field of a key, packed as described at [`super::matching`].
pub struct Field {
    pub id: u32,
    pub name: String,
    pub kind: MatchKind,
    /// Bits in the data plane.
    pub width: usize,
    /// Bytes of one value.
    pub bytes: usize,
    /// Where the field starts in a packed key.
    pub offset: usize,
    pub translation: Translation,
}

impl Field {
    /// Bytes of the field in a packed key.
    pub fn packed_bytes(&self) -> usize {
        match self.kind {
            MatchKind::Exact => self.bytes,
            MatchKind::Lpm => self.bytes + 2,
            MatchKind::Ternary | MatchKind::Range => self.bytes * 2,
            MatchKind::Optional => self.bytes + 1,
        }
    }
}

/// An action as one table may run it.
pub struct TableAction {
    pub action: Arc<Action>,
    pub program: ActionId,
    pub scope: info::action_ref::Scope,
}

pub struct Action {
    pub id: u32,
    pub name: String,
    pub params: Vec<Param>,
    /// Bytes of the packed arguments.
    pub arg_bytes: usize,
}

pub struct Param {
    pub id: u32,
    pub name: String,
    pub width: usize,
    pub bytes: usize,
    pub offset: usize,
    pub translation: Translation,
}

pub struct Profile {
    pub id: u32,
    pub name: String,
    pub program: usize,
    pub selector: bool,
    pub size: usize,
    /// 0: not stated.
    pub max_group_size: usize,
    pub semantics: SizeSemantics,
    pub weights_disallowed: bool,
    /// Indices of the tables that use it.
    pub tables: Vec<usize>,
}

/// What the size of a selector counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SizeSemantics {
    SumOfWeights,
    /// With the greatest weight of one member; 0: not stated.
    SumOfMembers(i32),
}

pub struct Counter {
    pub id: u32,
    pub name: String,
    pub program: usize,
    pub size: usize,
}

pub struct Meter {
    pub id: u32,
    pub name: String,
    pub program: usize,
    pub size: usize,
    pub kind: meter_spec::Type,
}

pub struct Register {
    pub id: u32,
    pub name: String,
    pub program: usize,
    pub size: usize,
    pub width: usize,
    pub type_spec: info::P4DataTypeSpec,
}

pub struct ValueSet {
    pub id: u32,
    pub name: String,
    pub program: usize,
    pub fields: Vec<Field>,
    pub key_bytes: usize,
    pub size: usize,
}

pub struct Digest {
    pub id: u32,
    pub name: String,
    pub program: usize,
    /// Bits of each member of a sample.
    pub widths: Vec<u32>,
    pub type_spec: info::P4DataTypeSpec,
}

/// A header exchanged with the controller.
pub struct PacketHeader {
    pub fields: Vec<HeaderField>,
    /// Bits of the header on the wire.
    pub bits: usize,
}

pub struct HeaderField {
    pub id: u32,
    pub name: String,
    pub width: usize,
    pub translation: Translation,
}

fn bytes_of(width: usize) -> usize {
    width.div_ceil(8)
}

fn size_of(value: i64, program: usize) -> usize {
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
struct Build<'a> {
    info: &'a P4Info,
    program: &'a Program,
    translations: Translations,
    ids: HashMap<u32, Object>,
    actions: HashMap<u32, Arc<Action>>,
}

impl Build<'_> {
    fn claim<'p>(&mut self, preamble: Option<&'p info::Preamble>, object: Object) -> Outcome<&'p info::Preamble> {
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
    fn program_id(&mut self, kind: Kind, preamble: &info::Preamble, object: Object) -> Outcome<Option<usize>> {
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
    fn translation(
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

    fn fields(
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

    fn action(&mut self, action: &info::Action) -> Outcome<()> {
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
    fn table(&mut self, at: usize, table: &info::Table) -> Outcome<Option<Table>> {
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
    fn profile(
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

fn kind_of(kind: i32) -> Option<MatchKind> {
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

    fn miss(&self, id: u32, wanted: &str) -> Failure {
        match self.ids.get(&id) {
            _ if id == 0 => Failure::invalid(format!("id 0 is not valid, {wanted} is wanted")),
            Some(Object::Removed(noun)) if *noun == wanted => Failure::unimplemented(format!(
                "id {id:#010x} is {noun} that the compiler removed from the device configuration, as no packet reaches it"
            )),
            Some(other) => Failure::invalid(format!("id {id:#010x} is {}, not {wanted}", other.noun())),
            None => Failure::invalid(format!("id {id:#010x} is not in P4Info, {wanted} is wanted")),
        }
    }

    /// What an id stands for.
    pub fn object(&self, id: u32) -> Option<Object> {
        self.ids.get(&id).copied()
    }

    /// The action with this id.
    pub fn action(&self, id: u32) -> Option<&Arc<Action>> {
        self.actions.get(&id)
    }
}

macro_rules! lookups {
    ($($name:ident, $kind:ident, $list:ident, $noun:literal);* $(;)?) => {
        impl Schema {
            $(
                #[doc = concat!("The index of ", $noun, " by its id; `INVALID_ARGUMENT` when the id is not one.")]
                pub fn $name(&self, id: u32) -> Outcome<usize> {
                    match self.ids.get(&id) {
                        Some(Object::$kind(at)) => Ok(*at),
                        _ => Err(self.miss(id, $noun)),
                    }
                }
            )*
        }
    };
}

lookups! {
    table, Table, tables, "a table";
    profile, Profile, profiles, "an action profile";
    counter, Counter, counters, "a counter";
    meter, Meter, meters, "a meter";
    register, Register, registers, "a register";
    value_set, ValueSet, value_sets, "a value set";
    digest, Digest, digests, "a digest";
}

impl Build<'_> {
    /// Direct counters and meters, and the tables they belong to.
    fn direct(&mut self, tables: &mut [Table]) -> Outcome<()> {
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
