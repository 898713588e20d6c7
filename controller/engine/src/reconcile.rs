//! The reconciler of one device: owns the difference between what is wanted and what the switch holds.
//!
//! Pure: deltas, answers and time go in, [`Action`]s come out. Nothing is commanded: whatever the switch says, the next
//! write is computed from wanted and actual. The order of writes never breaks traffic: things are put from the end of the
//! pipeline to its beginning, so that nothing leads to what is not there yet, and taken away the other way round, after
//! all puts.
//!
//! ```text
//!              ready                    all scopes read
//!   Offline ──────────► Reading ─────────────────────────► Steady ──┐ audit: the same reads, one at a time,
//!      ▲                   │                                  │ ▲    │ while writes go on
//!      └──── offline ──────┴──────────────────────────────────┘ └────┘
//! ```

mod order;
mod queue;
mod read;
mod table;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pergola_pipeline::{EntityKey, Kind};
use pergola_plan::DeviceDelta;
use pergola_southbound::{Fault, Nanos, ReadScope, WriteOp};

pub use order::WriteOrder;
use queue::Queue;
use read::Cycle;
use table::{Actual, Table};
use write::Flight;

/// Settings of a reconciler.
#[derive(Clone, Debug)]
pub struct ReconcileConfig {
    /// Updates in one write, at most.
    pub batch: usize,
    /// Writes under way at once, at most.
    pub window: usize,
    /// Between two comparisons of everything.
    pub audit_interval: Duration,
    pub retry_first: Duration,
    pub retry_longest: Duration,
}

impl Default for ReconcileConfig {
    fn default() -> Self {
        ReconcileConfig {
            batch: 1000,
            window: 4,
            audit_interval: Duration::from_secs(10),
            retry_first: Duration::from_millis(100),
            retry_longest: Duration::from_secs(30),
        }
    }
}

/// What the reconciler wants from the session. After each, [`Reconciler::started`] tells it the number of the call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Write(Vec<WriteOp>),
    Read(ReadScope),
}

/// What was written and found since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    pub inserts: u64,
    pub modifies: u64,
    pub deletes: u64,
    pub write_errors: u64,
    /// Entries an audit found changed or missing.
    pub repairs: u64,
    /// Entries found that nobody wanted.
    pub foreign: u64,
    /// Complete comparisons with the switch.
    pub audits: u64,
}

impl Counters {
    /// Updates of every kind that the switch was asked for.
    pub fn writes(&self) -> u64 {
        self.inserts + self.modifies + self.deletes
    }
}

/// How a device stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The store's revision that the wanted entities belong to.
    pub revision: u64,
    pub wanted: usize,
    pub installed: usize,
    /// Entities to write, or being written.
    pub pending: usize,
    /// Entities the switch refused; they are tried again.
    pub failed: usize,
    /// Everything was read, and everything wanted is there and nothing else.
    pub in_sync: bool,
    pub counters: Counters,
}

/// An entity that the switch refused.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    pub fault: Fault,
    pub attempts: u32,
    pub retry_at: Nanos,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Offline,
    Reading,
    Steady,
}

/// Makes one device hold what is wanted.
#[derive(Debug)]
pub struct Reconciler {
    config: ReconcileConfig,
    order: Arc<WriteOrder>,
    base_scopes: Vec<ReadScope>,
    phase: Phase,
    table: Table,
    queue: Queue,
    flights: BTreeMap<u64, Flight>,
    /// A write handed out, whose number is not known yet.
    departing: Option<Flight>,
    cycle: Option<Cycle>,
    next_audit: Nanos,
    failures: BTreeMap<u32, Failure>,
    retries: BTreeSet<(Nanos, u32)>,
    /// Scopes this switch cannot read.
    unreadable: BTreeSet<ReadScope>,
    /// Default actions, meters and tables with direct meters among the wanted: read as well, with how many want it.
    special: BTreeMap<ReadScope, u32>,
    metered: BTreeMap<u32, u32>,
    /// Smaller after the switch refused a whole batch.
    batch: usize,
    /// Raised with each write's end; tells what a read may have missed.
    clock: u32,
    generation: u32,
    wanted: usize,
    installed: usize,
    revision: u64,
    counters: Counters,
}

impl Reconciler {
    /// `scopes` are what is read back; see [`pergola_southbound::Pipeline::scopes`].
    pub fn new(config: ReconcileConfig, order: Arc<WriteOrder>, scopes: Vec<ReadScope>) -> Reconciler {
        let queue = Queue::new(order.ranks());
        Reconciler {
            batch: config.batch,
            config,
            order,
            base_scopes: scopes,
            phase: Phase::Offline,
            table: Table::default(),
            queue,
            flights: BTreeMap::new(),
            departing: None,
            cycle: None,
            next_audit: 0,
            failures: BTreeMap::new(),
            retries: BTreeSet::new(),
            unreadable: BTreeSet::new(),
            special: BTreeMap::new(),
            metered: BTreeMap::new(),
            clock: 1,
            generation: 0,
            wanted: 0,
            installed: 0,
            revision: 0,
            counters: Counters::default(),
        }
    }

    /// The plan changed; it now belongs to `revision`.
    pub fn apply(&mut self, delta: DeviceDelta, revision: u64) {
        self.revision = revision;
        for entity in delta.put {
            let slot = self.table.slot(&entity.key);
            let metered = entity.value.has_direct_meter();
            let before = self.table.set_wanted(slot, Some(entity.value));
            self.wanted += usize::from(before.is_none());
            let was_metered = before.as_ref().is_some_and(|v| v.has_direct_meter());
            self.count_scope(&entity.key, before.is_none().into(), i32::from(metered) - i32::from(was_metered));
            self.fresh(slot);
        }
        for key in delta.del {
            let Some(slot) = self.table.find(&key) else { continue };
            if let Some(before) = self.table.set_wanted(slot, None) {
                self.wanted -= 1;
                self.count_scope(&key, -1, -i32::from(before.has_direct_meter()));
                self.fresh(slot);
            }
        }
    }

    /// Remembers what has to be read beside whole tables.
    fn count_scope(&mut self, key: &EntityKey, wanted: i32, metered: i32) {
        let scope = match key.kind() {
            Kind::DefaultAction => ReadScope::DefaultAction(key.object_id()),
            Kind::Meter => ReadScope::Meter(key.object_id()),
            _ => {
                if metered != 0 {
                    add(&mut self.metered, key.object_id(), metered);
                }
                return;
            }
        };
        add(&mut self.special, scope, wanted);
    }

    /// What is wanted of a slot changed: earlier failures do not count.
    fn fresh(&mut self, slot: u32) {
        self.forgive(slot);
        self.consider(slot);
    }

    fn forgive(&mut self, slot: u32) {
        if let Some(failure) = self.failures.remove(&slot) {
            self.retries.remove(&(failure.retry_at, slot));
        }
    }

    /// Queues a slot if it needs a write and nothing stands in its way, and drops it when it is nothing any more.
    fn consider(&mut self, slot: u32) {
        if self.failures.contains_key(&slot) {
            return;
        }
        let s = self.table.get(slot);
        match s.need() {
            Some(verb) => {
                let rank = self.order.rank(&s.key);
                let phase = self.queue.phase(verb, rank);
                self.queue.push(phase, slot, &mut self.table);
            }
            None => {
                self.queue.cancel(slot, &mut self.table);
                if s_is_nothing(&self.table, slot) {
                    self.table.remove(slot);
                }
            }
        }
    }

    fn set_actual(&mut self, slot: u32, actual: Actual) {
        let before = self.table.set_actual(slot, actual);
        self.installed -= usize::from(before.is_present());
        self.installed += usize::from(actual.is_present());
    }

    /// The session is ready: find out what the switch holds.
    pub fn ready(&mut self, now: Nanos) {
        self.offline();
        self.phase = Phase::Reading;
        self.batch = self.config.batch;
        self.unreadable.clear();
        self.begin_cycle(now);
    }

    /// The session is gone: nothing that is under way will be answered.
    pub fn offline(&mut self) {
        self.phase = Phase::Offline;
        self.cycle = None;
        self.departing = None;
        for (_, flight) in std::mem::take(&mut self.flights) {
            for op in flight.ops {
                self.table.get_mut(op.slot).flying = false;
                self.set_actual(op.slot, Actual::Unknown);
            }
        }
        for slot in std::mem::take(&mut self.failures).into_keys() {
            self.consider(slot);
        }
        self.retries.clear();
    }

    /// The next thing to do, if there is one.
    pub fn poll(&mut self, now: Nanos) -> Option<Action> {
        if self.phase == Phase::Offline {
            return None;
        }
        while let Some((at, slot)) = self.retries.first().copied().filter(|(at, _)| *at <= now) {
            self.retries.remove(&(at, slot));
            // Its count of attempts is kept by the slot.
            self.failures.remove(&slot);
            self.consider(slot);
        }
        if let Some(scope) = self.next_read(now) {
            return Some(Action::Read(scope));
        }
        if self.phase == Phase::Steady {
            if self.cycle.is_none() && self.next_audit <= now {
                self.begin_cycle(now);
                if let Some(scope) = self.next_read(now) {
                    return Some(Action::Read(scope));
                }
            }
            return self.next_write().map(Action::Write);
        }
        None
    }

    /// The last action has become the call with this number.
    pub fn started(&mut self, id: u64) {
        if let Some(flight) = self.departing.take() {
            self.flights.insert(id, flight);
        } else if let Some(cycle) = &mut self.cycle {
            cycle.started(id);
        }
    }

    /// When [`Reconciler::poll`] may have something new without anything happening.
    pub fn next_timeout(&self) -> Option<Nanos> {
        if self.phase == Phase::Offline {
            return None;
        }
        let retry = self.retries.first().map(|(at, _)| *at);
        let read = match &self.cycle {
            Some(cycle) => cycle.wakes_at(),
            None => Some(self.next_audit),
        };
        retry.into_iter().chain(read).min()
    }

    /// How the device stands.
    pub fn status(&self) -> Status {
        let flying: usize = self.flights.values().map(|f| f.ops.len()).sum();
        let pending = self.queue.len() + flying;
        let reading = self.phase != Phase::Steady;
        Status {
            revision: self.revision,
            wanted: self.wanted,
            installed: self.installed,
            pending,
            failed: self.failures.len(),
            in_sync: !reading && pending == 0 && self.failures.is_empty() && self.departing.is_none(),
            counters: self.counters,
        }
    }

    /// What the switch refused, and why.
    pub fn failures(&self) -> impl Iterator<Item = (&EntityKey, &Failure)> {
        self.failures.iter().map(|(slot, f)| (&self.table.get(*slot).key, f))
    }
}

fn s_is_nothing(table: &Table, slot: u32) -> bool {
    let s = table.get(slot);
    s.wanted.is_none() && s.actual == Actual::Absent && !s.flying
}

fn add<K: Ord>(counts: &mut BTreeMap<K, u32>, key: K, by: i32) {
    if by == 0 {
        return;
    }
    let count = counts.entry(key).or_insert(0);
    *count = count.saturating_add_signed(by);
    counts.retain(|_, n| *n > 0);
}

/// A duration on the reconciler's clock.
fn nanos(d: Duration) -> Nanos {
    u64::try_from(d.as_nanos()).unwrap_or(u64::MAX)
}
