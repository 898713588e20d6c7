//! What a program declares: tables, actions, profiles, counters, meters, registers, digests, value sets.

/// Index into [`super::Program::tables`].
pub type TableId = usize;
/// Index into [`super::Program::actions`].
pub type ActionId = usize;

/// How one key field matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    Exact,
    Lpm,
    Ternary,
    Range,
    Optional,
}

/// One field of a table's key.
#[derive(Clone, Debug)]
pub struct MatchField {
    /// The name in the P4 program, for example `hdr.ipv4.dst_addr`.
    pub name: String,
    pub kind: MatchKind,
    pub bitwidth: u32,
}

/// Where a table's actions come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TableKind {
    /// The entry names the action.
    Simple,
    /// The entry names a member of the action profile.
    Indirect { profile: usize },
    /// The entry names a member or a group of the action selector.
    Selector { profile: usize },
}

#[derive(Clone, Debug)]
pub struct TableInfo {
    pub name: String,
    pub kind: TableKind,
    pub fields: Vec<MatchField>,
    pub actions: Vec<ActionId>,
    /// Most entries; the default entry does not count.
    pub size: usize,
    pub has_counters: bool,
    /// The direct meter, an index into [`super::Program::meters`].
    pub meter: Option<usize>,
    pub supports_timeout: bool,
    /// The program fixes the entries: writes are refused.
    pub const_entries: bool,
    /// The program fixes the default action.
    pub const_default: bool,
    /// The synthetic tables p4c makes for bare statements have no key and are not for the control plane.
    pub hidden: bool,
}

impl TableInfo {
    /// Whether entries carry a priority.
    pub fn has_priority(&self) -> bool {
        self.fields.iter().any(|f| matches!(f.kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional))
    }
}

#[derive(Clone, Debug)]
pub struct ParamInfo {
    pub name: String,
    pub bitwidth: u32,
}

#[derive(Clone, Debug)]
pub struct ActionInfo {
    pub name: String,
    pub params: Vec<ParamInfo>,
    /// Where each parameter starts in an entry's words; wide ones take several, least significant first.
    pub(crate) words: Vec<u16>,
    pub(crate) total_words: usize,
}

#[derive(Clone, Debug)]
pub struct ProfileInfo {
    pub name: String,
    pub size: usize,
    pub selector: bool,
    /// Tables that use it.
    pub tables: Vec<TableId>,
}

#[derive(Clone, Debug)]
pub struct CounterInfo {
    pub name: String,
    pub size: usize,
    /// The table of a direct counter.
    pub table: Option<TableId>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterUnit {
    Packets,
    Bytes,
}

#[derive(Clone, Debug)]
pub struct MeterInfo {
    pub name: String,
    pub size: usize,
    pub unit: MeterUnit,
    /// The table of a direct meter.
    pub table: Option<TableId>,
}

#[derive(Clone, Debug)]
pub struct RegisterInfo {
    pub name: String,
    pub size: usize,
    pub bitwidth: u32,
}

#[derive(Clone, Debug)]
pub struct DigestInfo {
    pub name: String,
    /// The id in the JSON's `learn_lists`.
    pub json_id: u32,
    /// Bit widths of the members, in order. A sample has each in whole bytes, most significant first.
    pub widths: Vec<u32>,
}

#[derive(Clone, Debug)]
pub struct ValueSetInfo {
    pub name: String,
    /// Width of one member, all fields concatenated without padding.
    pub bitwidth: u32,
    /// Widths of the fields of a member as the parser matches them.
    pub widths: Vec<u32>,
    pub size: usize,
}
