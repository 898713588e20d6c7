//! A loaded program: what the control plane may ask about it, and the compact code the packet path runs.

pub mod code;
mod info;
mod lower;
mod shared;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use crate::jit::Native;
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
    /// The machine code, when somebody asked for it; None inside where there cannot be any.
    native: OnceLock<Option<Native>>,
    compiling: AtomicBool,
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
    /// Checks and lowers the JSON that p4c's BMv2 back end wrote for v1model. The same JSON gives the same program while
    /// somebody holds it.
    ///
    /// # Errors
    /// The JSON path of the first thing that is missing, malformed or not supported.
    pub fn load(json: &[u8]) -> Result<Arc<Program>, LoadError> {
        Self::load_open(json, &[])
    }

    /// The same, with the tables (name and size) whose entries in the program are a start that controllers may change.
    ///
    /// # Errors
    /// As [`Program::load`].
    pub fn load_open(json: &[u8], open: &[(&str, usize)]) -> Result<Arc<Program>, LoadError> {
        shared::share((json, open), || {
            let mut program = lower::load(json)?;
            for &(name, size) in open {
                if let Some(id) = program.table_id(name)
                    && std::mem::take(&mut program.tables[id].const_entries)
                {
                    program.tables[id].size = program.tables[id].size.max(size);
                }
            }
            Ok(program)
        })
    }

    /// The machine code, if it is ready.
    #[inline]
    pub(crate) fn native(&self) -> Option<&Native> {
        self.native.get()?.as_ref()
    }

    /// Compiles the program to machine code unless that was done; returns when packets can run on it.
    pub fn compile(&self) {
        self.native.get_or_init(|| Native::new(self));
    }

    /// The same in a thread of its own.
    pub fn compile_in_background(self: &Arc<Self>) {
        if self.native.get().is_some() || self.compiling.swap(true, Ordering::AcqRel) {
            return;
        }
        let program = self.clone();
        let thread = std::thread::Builder::new().name("compile".to_owned());
        if let Err(error) = thread.spawn(move || program.compile()) {
            tracing::warn!("the program is interpreted: no thread to compile it: {error}");
        }
    }

    /// The dense id of a named object. Ids index the vectors of this struct. Two actions may share a name (p4c keeps one
    /// copy a control): use [`Program::table_action`] for those.
    pub fn id(&self, kind: Kind, name: &str) -> Option<usize> {
        self.names.get(&(kind, name.to_owned())).copied()
    }

    /// The names of all objects of a kind.
    pub fn names(&self, kind: Kind) -> impl Iterator<Item = &str> {
        self.names.keys().filter(move |(of, _)| *of == kind).map(|(_, name)| name.as_str())
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
