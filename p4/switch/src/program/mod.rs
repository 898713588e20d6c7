//! A loaded program: what the control plane may ask about it, and the compact code the packet path runs.

pub mod code;
mod info;
mod lower;

use std::collections::HashMap;
use std::sync::Arc;

pub use crate::json::LoadError;
pub use info::*;

/// A program lowered from BMv2 JSON. Immutable and shared.
pub struct Program {
    pub tables: Vec<TableInfo>,
    pub actions: Vec<ActionInfo>,
    pub profiles: Vec<ProfileInfo>,
    pub counters: Vec<CounterInfo>,
    pub meters: Vec<MeterInfo>,
    pub registers: Vec<RegisterInfo>,
    pub digests: Vec<DigestInfo>,
    pub value_sets: Vec<ValueSetInfo>,
    /// Errors of the parser: name and the value p4c gave it.
    pub errors: Vec<(String, u32)>,
    pub(crate) code: code::Code,
    names: HashMap<(Kind, String), usize>,
}

/// What a name can stand for; each kind has its own name space.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    Table,
    Action,
    Profile,
    Counter,
    Meter,
    Register,
    Digest,
    ValueSet,
}

impl Program {
    /// Checks and lowers the JSON that p4c's BMv2 back end wrote for v1model.
    ///
    /// # Errors
    /// The JSON path of the first thing that is missing, malformed or not supported.
    pub fn load(json: &[u8]) -> Result<Arc<Program>, LoadError> {
        lower::load(json).map(Arc::new)
    }

    /// The dense id of a named object. Ids index the vectors of this struct. Two actions may share a name (p4c keeps one
    /// copy a control): use [`Program::table_action`] for those.
    pub fn id(&self, kind: Kind, name: &str) -> Option<usize> {
        self.names.get(&(kind, name.to_owned())).copied()
    }

    pub fn table_id(&self, name: &str) -> Option<TableId> {
        self.id(Kind::Table, name)
    }

    /// The action called `name` among those of `table`.
    pub fn table_action(&self, table: TableId, name: &str) -> Option<ActionId> {
        let actions = &self.tables.get(table)?.actions;
        actions.iter().copied().find(|&action| self.actions[action].name == name)
    }
}
