//! P4Info joined with the loaded program: every object a controller may name, by id, with the program's index of it.
//!
//! Built once for a pipeline configuration. Whatever P4Info and the program disagree about is found here and refuses the
//! configuration (P4Runtime 14: `INVALID_ARGUMENT` when it cannot be realised). One difference is none: p4c writes P4Info
//! before it optimises, so P4Info also has what the compiler then finds no packet can reach. Such an object is known by its
//! id and nothing can be done with it.

mod build;
mod tables;

use std::{collections::HashMap, sync::Arc};

use p4runtime_proto::p4::config::v1::{self as info, P4Info, meter_spec};

use super::{
    failure::{Failure, Outcome},
    translate::{Translation, Translations},
};
use crate::program::{ActionId, MatchKind, TableId};

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

impl Schema {
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
