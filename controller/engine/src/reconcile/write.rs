//! Writes of a reconciler: choosing the next batch, and learning from its answer.

use pergola_southbound::{Fault, Nanos, Verb, WriteOp};
use tonic::Code;

use super::table::Actual;
use super::{Failure, Reconciler, nanos};

/// One update under way.
#[derive(Debug)]
pub(super) struct FlyingOp {
    pub slot: u32,
    verb: Verb,
    /// Of the value that is being put.
    fingerprint: u64,
    /// What was there when it departed.
    before: Actual,
}

/// One write under way.
#[derive(Debug)]
pub(super) struct Flight {
    phase: u16,
    pub ops: Vec<FlyingOp>,
}

/// Insert and modify may each be told that the other was right, when somebody else writes too; not for ever.
const FLIPS: u8 = 4;

impl Reconciler {
    /// The next batch, if the order allows one now.
    pub(super) fn next_write(&mut self) -> Option<Vec<WriteOp>> {
        if self.flights.len() >= self.config.window {
            return None;
        }
        while let Some(phase) = self.queue.first(&self.table) {
            if !self.may_depart(phase) {
                return None;
            }
            let slots = self.queue.take(phase, self.batch, &mut self.table);
            if slots.is_empty() {
                // What is left of this phase is being written just now and has changed since: it goes first.
                return None;
            }
            let ops = self.depart(phase, slots);
            if !ops.is_empty() {
                return Some(ops);
            }
        }
        None
    }

    /// A switch may carry out the updates of one batch, and batches under way together, in any order. So a batch waits
    /// until what it builds on was answered: a put for puts of lower rank, a delete for everything before it.
    fn may_depart(&self, phase: u16) -> bool {
        let deletes = self.queue.is_delete(phase);
        !self.flights.values().any(|f| f.phase < phase && (deletes || !self.queue.is_delete(f.phase)))
    }

    fn depart(&mut self, phase: u16, slots: Vec<u32>) -> Vec<WriteOp> {
        let mut ops = Vec::with_capacity(slots.len());
        let mut flying = Vec::with_capacity(slots.len());
        for slot in slots {
            let s = self.table.get_mut(slot);
            let Some(verb) = s.need() else { continue };
            s.flying = true;
            let (key, value, before) = (s.key.clone(), s.wanted.clone(), s.actual);
            match verb {
                Verb::Insert => self.counters.inserts += 1,
                Verb::Modify => self.counters.modifies += 1,
                Verb::Delete => self.counters.deletes += 1,
            }
            let fingerprint = value.as_ref().map_or(0, |v| v.fingerprint());
            // Until the answer nobody knows: whoever wants it back meanwhile has to write again.
            self.set_actual(slot, Actual::Unknown);
            flying.push(FlyingOp { slot, verb, fingerprint, before });
            ops.push(WriteOp { verb, key, value });
        }
        if !ops.is_empty() {
            self.departing = Some(Flight { phase, ops: flying });
        }
        ops
    }

    /// A write was answered.
    pub fn written(&mut self, id: u64, result: Result<Vec<Result<(), Fault>>, Fault>, now: Nanos) {
        let Some(flight) = self.flights.remove(&id) else { return };
        self.clock += 1;
        match result {
            Ok(each) => {
                let each = each.into_iter().chain(std::iter::repeat(Ok(())));
                for (op, result) in flight.ops.iter().zip(each) {
                    self.land(op);
                    match result {
                        Ok(()) => self.succeeded(op),
                        Err(fault) => self.refused(op, fault, now),
                    }
                    self.consider(op.slot);
                }
            }
            Err(fault) => self.batch_refused(&flight, &fault, now),
        }
    }

    fn land(&mut self, op: &FlyingOp) {
        let clock = self.clock;
        let s = self.table.get_mut(op.slot);
        s.flying = false;
        s.written = clock;
    }

    fn succeeded(&mut self, op: &FlyingOp) {
        self.table.get_mut(op.slot).attempts = 0;
        let actual = match op.verb {
            Verb::Insert | Verb::Modify => Actual::Present(op.fingerprint),
            Verb::Delete => Actual::Absent,
        };
        self.set_actual(op.slot, actual);
    }

    fn refused(&mut self, op: &FlyingOp, fault: Fault, now: Nanos) {
        match (op.verb, fault.code) {
            // It is gone, which is what was wanted.
            (Verb::Delete, Code::NotFound) => self.set_actual(op.slot, Actual::Absent),
            (Verb::Insert, Code::AlreadyExists) => {
                self.set_actual(op.slot, Actual::Other);
                self.flip(op, fault, now);
            }
            (Verb::Modify, Code::NotFound) => {
                self.set_actual(op.slot, Actual::Absent);
                self.flip(op, fault, now);
            }
            _ => {
                self.counters.write_errors += 1;
                self.set_actual(op.slot, op.before);
                self.fail(op.slot, fault, now);
            }
        }
    }

    /// The other verb is tried at once, a few times.
    fn flip(&mut self, op: &FlyingOp, fault: Fault, now: Nanos) {
        let attempts = &mut self.table.get_mut(op.slot).attempts;
        if *attempts < FLIPS {
            *attempts += 1;
        } else {
            self.counters.write_errors += 1;
            self.fail(op.slot, fault, now);
        }
    }

    /// Tries again later: soon when the switch may have been busy, late when it said that it cannot.
    fn fail(&mut self, slot: u32, fault: Fault, now: Nanos) {
        let s = self.table.get_mut(slot);
        s.attempts = s.attempts.saturating_add(1);
        let attempts = s.attempts;
        let lasting = matches!(
            fault.code,
            Code::InvalidArgument | Code::Unimplemented | Code::OutOfRange | Code::PermissionDenied | Code::NotFound
        );
        let head_start = if lasting { 5 } else { 0 };
        let step = u32::from(attempts - 1).saturating_add(head_start).min(20);
        let wait = self.config.retry_first.saturating_mul(1 << step).min(self.config.retry_longest);
        let retry_at = now.saturating_add(nanos(wait));
        self.forgive(slot);
        self.failures.insert(slot, Failure { fault, attempts: u32::from(attempts), retry_at });
        self.retries.insert((retry_at, slot));
    }

    /// One answer for all. When the call was lost on the way nobody knows what was done; the session ends and everything
    /// is read again. When the switch refused the whole batch, smaller ones find the update that is to blame.
    fn batch_refused(&mut self, flight: &Flight, fault: &Fault, now: Nanos) {
        self.counters.write_errors += 1;
        let alone = flight.ops.len() == 1;
        let lost = matches!(fault.code, Code::DeadlineExceeded | Code::Unavailable | Code::Cancelled);
        let splits = !matches!(fault.code, Code::PermissionDenied | Code::Unavailable | Code::Cancelled);
        if splits && !alone {
            self.batch = (flight.ops.len() / 2).max(1);
        }
        for op in &flight.ops {
            self.land(op);
            if alone && !lost {
                // A server may answer a batch of one with the update's own code.
                self.refused(op, fault.clone(), now);
            } else if alone || !splits {
                self.fail(op.slot, fault.clone(), now);
            }
            self.consider(op.slot);
        }
    }
}
