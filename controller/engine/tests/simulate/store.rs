//! etcd as the simulation sees it: revisions, compares, leases, a log to watch. Time comes from outside.

use std::collections::BTreeMap;
use std::time::Duration;

use pergola_store::{
    Batch, Compare, Entry, Error, Event, Lease, LeaseId, Listing, Op, OpResult, Relation, Revision, Txn, TxnOutcome,
};

const TTL: Duration = Duration::from_secs(1);

#[derive(Default)]
pub struct Store {
    pub revision: Revision,
    entries: BTreeMap<String, Entry>,
    log: Vec<Batch>,
    leases: BTreeMap<LeaseId, Duration>,
    next_lease: i64,
}

impl Store {
    pub fn listing(&self, wanted: impl Fn(&str) -> bool) -> Listing {
        let entries = self.entries.values().filter(|e| wanted(&e.key)).cloned().collect();
        Listing { revision: self.revision, entries }
    }

    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.get(key)
    }

    /// What happened after a revision to keys that are wanted.
    pub fn since(&self, revision: Revision, wanted: impl Fn(&str) -> bool) -> Vec<Batch> {
        let newer = self.log.iter().filter(|b| b.revision > revision);
        let wanted = newer.map(|b| {
            let events = b.events.iter().filter(|e| wanted(e.key())).cloned().collect();
            Batch { revision: b.revision, events }
        });
        wanted.filter(|b| !b.events.is_empty()).collect()
    }

    /// When the next lease ends.
    pub fn next_end(&self) -> Option<Duration> {
        self.leases.values().min().copied()
    }

    /// Ends leases whose time is over.
    pub fn expire(&mut self, now: Duration) {
        let over: Vec<LeaseId> = self.leases.iter().filter(|(_, end)| **end <= now).map(|(id, _)| *id).collect();
        over.into_iter().for_each(|id| self.revoke(id));
    }

    /// After a time without a majority every lease begins anew, as etcd's do.
    pub fn renew_all(&mut self, now: Duration) {
        self.leases.values_mut().for_each(|end| *end = now + TTL);
    }

    pub fn grant(&mut self, now: Duration) -> Lease {
        self.next_lease += 1;
        let id = LeaseId(self.next_lease);
        self.leases.insert(id, now + TTL);
        Lease { id, ttl: TTL }
    }

    pub fn keep_alive(&mut self, id: LeaseId, now: Duration) -> Result<Duration, Error> {
        let end = self.leases.get_mut(&id).ok_or(Error::LeaseNotFound { lease: id })?;
        *end = now + TTL;
        Ok(TTL)
    }

    pub fn revoke(&mut self, id: LeaseId) {
        if self.leases.remove(&id).is_none() {
            return;
        }
        let gone = self.entries.values().filter(|e| e.lease == Some(id)).map(|e| Op::delete(e.key.clone()));
        let ops: Vec<Op> = gone.collect();
        self.write(&ops);
    }

    pub fn txn(&mut self, txn: &Txn) -> Result<TxnOutcome, Error> {
        for op in &txn.ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.leases.contains_key(lease)
            {
                return Err(Error::LeaseNotFound { lease: *lease });
            }
        }
        let succeeded = txn.compares.iter().all(|c| self.holds(c));
        let ops = if succeeded { &txn.ops } else { &txn.otherwise };
        self.write(ops);
        let results = ops.iter().map(|op| match op {
            Op::Get { key } => OpResult::Got(self.entries.get(&**key).cloned()),
            Op::Put { .. } => OpResult::Put,
            _ => OpResult::Deleted(1),
        });
        Ok(TxnOutcome { revision: self.revision, succeeded, results: results.collect() })
    }

    fn holds(&self, compare: &Compare) -> bool {
        let found = self.entries.get(&**compare.key());
        let fits = |is: Relation, found: u64, wanted: u64| match is {
            Relation::Equal => found == wanted,
            Relation::NotEqual => found != wanted,
            Relation::Greater => found > wanted,
            Relation::Less => found < wanted,
        };
        match compare {
            Compare::ModRevision { is, revision, .. } => fits(*is, found.map_or(0, |e| e.mod_revision), *revision),
            Compare::CreateRevision { is, revision, .. } => {
                fits(*is, found.map_or(0, |e| e.create_revision), *revision)
            }
            Compare::Value { value, .. } => found.is_some_and(|e| e.value == *value),
        }
    }

    fn write(&mut self, ops: &[Op]) {
        let revision = self.revision + 1;
        let mut events = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let create_revision = self.entries.get(&**key).map_or(revision, |e| e.create_revision);
                    let (key, value) = (key.clone(), value.clone());
                    let entry = Entry { key, value, create_revision, mod_revision: revision, lease: *lease };
                    self.entries.insert(entry.key.to_string(), entry.clone());
                    events.push(Event::Put(entry));
                }
                Op::Delete { key } => {
                    if self.entries.remove(&**key).is_some() {
                        events.push(Event::Delete { key: key.clone() });
                    }
                }
                Op::DeletePrefix { .. } | Op::Get { .. } => {}
            }
        }
        if !events.is_empty() {
            self.revision = revision;
            self.log.push(Batch { revision, events });
        }
    }
}
