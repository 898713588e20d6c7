//! Reads of a reconciler: everything after a session begins, and audits from then on.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use pergola_pipeline::Entity;
use pergola_southbound::{Fault, Nanos, ReadScope};
use tonic::Code;

use super::table::Actual;
use super::{Phase, Reconciler, nanos};

/// Reads at once after a session begins; an audit takes one at a time.
const FIRST_READS: usize = 4;
/// Before a read that failed is tried again.
const READ_RETRY: Duration = Duration::from_millis(500);

/// One comparison with everything the switch holds, scope by scope.
#[derive(Debug)]
pub(super) struct Cycle {
    first: bool,
    generation: u32,
    /// Slots whose write ended after this are not judged: a read may show them as they were before.
    clock: u32,
    waiting: VecDeque<ReadScope>,
    departing: Option<ReadScope>,
    reading: BTreeMap<u64, ReadScope>,
    not_before: Nanos,
}

impl Cycle {
    pub fn started(&mut self, id: u64) {
        if let Some(scope) = self.departing.take() {
            self.reading.insert(id, scope);
        }
    }

    pub fn wakes_at(&self) -> Option<Nanos> {
        (self.reading.is_empty() && !self.waiting.is_empty()).then_some(self.not_before)
    }
}

impl Reconciler {
    pub(super) fn begin_cycle(&mut self, now: Nanos) {
        self.generation = self.generation.wrapping_add(1).max(1);
        let base = self.base_scopes.iter().map(|scope| match scope {
            ReadScope::Table { id, .. } => ReadScope::Table { id: *id, meters: self.metered.contains_key(id) },
            other => *other,
        });
        let waiting = base.chain(self.special.keys().copied()).filter(|s| !self.unreadable.contains(s)).collect();
        self.cycle = Some(Cycle {
            first: self.phase == Phase::Reading,
            generation: self.generation,
            clock: self.clock,
            waiting,
            departing: None,
            reading: BTreeMap::new(),
            not_before: now,
        });
        self.end_cycle_if_done(now);
    }

    pub(super) fn next_read(&mut self, now: Nanos) -> Option<ReadScope> {
        let cycle = self.cycle.as_mut()?;
        let most = if cycle.first { FIRST_READS } else { 1 };
        if cycle.reading.len() >= most || cycle.not_before > now {
            return None;
        }
        let scope = cycle.waiting.pop_front()?;
        cycle.departing = Some(scope);
        Some(scope)
    }

    /// A read showed entities.
    pub fn entities(&mut self, id: u64, entities: Vec<Entity>) {
        let Some(cycle) = &self.cycle else { return };
        if !cycle.reading.contains_key(&id) {
            return;
        }
        let (first, generation, clock) = (cycle.first, cycle.generation, cycle.clock);
        for entity in entities {
            let known = self.table.find(&entity.key);
            // What always exists and nobody wants is as the program made it.
            if known.is_none() && entity.key.kind().always_exists() {
                continue;
            }
            let slot = known.unwrap_or_else(|| self.table.slot(&entity.key));
            let s = self.table.get_mut(slot);
            s.seen = generation;
            if s.flying || (!first && s.written > clock) {
                continue;
            }
            if s.wanted.is_none() {
                self.counters.foreign += u64::from(s.actual == Actual::Absent);
            } else if !first && s.actual != Actual::Present(entity.value.fingerprint()) {
                self.counters.repairs += 1;
            }
            self.set_actual(slot, Actual::Present(entity.value.fingerprint()));
            self.consider(slot);
        }
    }

    /// A read is over.
    pub fn read_done(&mut self, id: u64, result: Result<(), Fault>, now: Nanos) {
        let Some(cycle) = &mut self.cycle else { return };
        let Some(scope) = cycle.reading.remove(&id) else { return };
        match result {
            Ok(()) => {}
            // Not every switch can read everything back.
            Err(f) if matches!(f.code, Code::Unimplemented | Code::InvalidArgument | Code::NotFound) => {
                self.unreadable.insert(scope);
            }
            Err(_) => {
                cycle.waiting.push_back(scope);
                cycle.not_before = now.saturating_add(nanos(READ_RETRY));
            }
        }
        self.end_cycle_if_done(now);
    }

    fn end_cycle_if_done(&mut self, now: Nanos) {
        let over = |c: &Cycle| c.waiting.is_empty() && c.reading.is_empty() && c.departing.is_none();
        let Some(cycle) = self.cycle.take_if(|c| over(c)) else { return };
        for slot in self.table.numbers() {
            if !self.table.exists(slot) {
                continue;
            }
            let s = self.table.get(slot);
            if s.seen == cycle.generation || s.flying || (!cycle.first && s.written > cycle.clock) {
                continue;
            }
            let readable = !self.unreadable.iter().any(|scope| scope.holds(&s.key));
            let (wanted, believed) = (s.wanted.is_some(), s.actual);
            let found = match (readable, cycle.first) {
                (true, _) => Actual::Absent,
                // What was written in an earlier session may be there or not; inserting tells.
                (false, true) if wanted || believed.is_present() => Actual::Unknown,
                (false, _) => believed,
            };
            if found != believed {
                self.counters.repairs += u64::from(!cycle.first && wanted && believed.is_present());
                self.set_actual(slot, found);
            }
            self.consider(slot);
        }
        self.counters.audits += 1;
        self.phase = Phase::Steady;
        self.next_audit = now.saturating_add(nanos(self.config.audit_interval));
    }
}
