//! What belongs to one loaded program: its tables and everything else that writes fill.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::program::{Program, TableId};
use crate::state::counter::CounterArray;
use crate::state::digest::Digests;
use crate::state::meter::MeterArray;
use crate::state::pre::Pre;
use crate::state::register::RegisterArray;
use crate::state::valueset::ValueSet;
use crate::tables::profile::Profile;
use crate::tables::{Bound, Table, TableError};

static SERIAL: AtomicU64 = AtomicU64::new(1);

/// A program and its state. The control plane and the workers share it; see [`crate::control`] for the writes.
pub struct Instance {
    pub program: Arc<Program>,
    /// Different for every instance of the process; from 1.
    pub(crate) serial: u64,
    pub(crate) tables: Box<[Table]>,
    pub(crate) profiles: Box<[Profile]>,
    pub counters: Box<[CounterArray]>,
    pub meters: Box<[MeterArray]>,
    pub registers: Box<[RegisterArray]>,
    pub value_sets: Box<[ValueSet]>,
    pub digests: Digests,
    /// Multicast groups and clone sessions.
    pub pre: Pre,
}

impl Instance {
    /// State for `program`, const and default entries in place. `workers` is how many workers count without sharing.
    ///
    /// # Errors
    /// A const entry that does not suit its table.
    pub fn new(program: Arc<Program>, workers: usize) -> Result<Arc<Instance>, TableError> {
        let table = |(id, info): (TableId, &crate::program::TableInfo)| {
            let meter = info.meter.map(|meter| program.meters[meter].unit);
            let actions = info.actions.iter().copied();
            let noops = actions.filter(|&action| program.code.actions[action].ops.is_empty()).collect();
            Table::new(info, &program.code.tables[id], meter, workers, noops)
        };
        let direct = |table: Option<TableId>, size: usize| if table.is_some() { 0 } else { size };
        let runtime = Instance {
            tables: program.tables.iter().enumerate().map(table).collect(),
            profiles: program.profiles.iter().map(|_| Profile::default()).collect(),
            counters: program.counters.iter().map(|c| CounterArray::new(direct(c.table, c.size), workers)).collect(),
            meters: program.meters.iter().map(|m| MeterArray::new(direct(m.table, m.size), m.unit)).collect(),
            registers: program.registers.iter().map(|r| RegisterArray::new(r.size, r.bitwidth)).collect(),
            value_sets: program.value_sets.iter().map(|_| ValueSet::default()).collect(),
            digests: Digests::new(program.digests.len()),
            pre: Pre::default(),
            serial: SERIAL.fetch_add(1, Ordering::Relaxed),
            program: program.clone(),
        };
        for initial in &program.code.initial {
            let data = runtime.action_data(initial.action, &initial.params)?;
            match &initial.key {
                Some((key, priority)) => runtime.insert_initial(initial.table, key, *priority, data)?,
                None => runtime.tables[initial.table].set_default(Some(Bound::Action(data))),
            }
        }
        Ok(Arc::new(runtime))
    }
}
