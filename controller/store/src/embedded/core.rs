//! Applies groups of requests to the tables: the part of the embedded store without threads, tasks
//! or clocks.
//!
//! All requests of a group share one durable commit; each keeps its own revision, its own answer
//! and its own failure. A request is checked completely before its first write, so a refused one
//! leaves nothing behind; an error of the disk undoes the whole group.

use std::sync::Arc;
use std::time::Duration;

use redb::{Database, ReadableTable, Table, WriteTransaction};

use super::HistoryOptions;
use super::codec::{self, Logged};
use super::lease::{Leases, Now};
use super::tables::{
    COMPACTED, ENTRIES, LAST_LEASE, LAYOUT, LAYOUT_NOW, LEASE_KEYS, LEASES, LOG, LOG_BYTES, META, REVISION, meta,
    read_entry, storage, table, transaction,
};
use crate::{Batch, Entry, Error, Event, Key, Lease, LeaseId, Op, OpResult, Result, Revision, Txn, TxnOutcome};

/// What the writer is asked to do.
#[derive(Debug)]
pub(super) enum Request {
    Txn(Txn),
    Grant(Duration),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
    Compact(Revision),
}

/// What became of a request.
#[derive(Debug)]
pub(super) enum Answer {
    Txn(TxnOutcome),
    Lease(Lease),
    KeptAlive(Duration),
    Done,
}

/// The batches a group committed, and the answers in the order of its requests.
pub(super) struct Committed {
    pub(super) batches: Vec<Arc<Batch>>,
    pub(super) answers: Vec<Result<Answer>>,
    pub(super) compacted: Revision,
}

pub(super) struct Core {
    db: Arc<Database>,
    leases: Leases,
    history: HistoryOptions,
    numbers: Numbers,
}

/// The numbers of table `meta`.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    revision: Revision,
    compacted: Revision,
    last_lease: i64,
    log_bytes: u64,
}

impl Numbers {
    const FIRST: Self = Self { revision: 1, compacted: 0, last_lease: 0, log_bytes: 0 };

    fn read(table: &impl ReadableTable<&'static str, u64>) -> Result<Self> {
        Ok(Self {
            revision: meta(table, REVISION)?,
            compacted: meta(table, COMPACTED)?,
            last_lease: meta(table, LAST_LEASE)? as i64,
            log_bytes: meta(table, LOG_BYTES)?,
        })
    }

    fn write(self, mut table: Table<'_, &'static str, u64>) -> Result<()> {
        for (name, value) in [
            (LAYOUT, LAYOUT_NOW),
            (REVISION, self.revision),
            (COMPACTED, self.compacted),
            (LAST_LEASE, self.last_lease as u64),
            (LOG_BYTES, self.log_bytes),
        ] {
            table.insert(name, value).map_err(storage)?;
        }
        Ok(())
    }
}

/// What a group did, once it is committed.
struct Applied {
    granted: Vec<(LeaseId, Duration)>,
    ended: Vec<LeaseId>,
    batches: Vec<Arc<Batch>>,
    answers: Vec<Result<Answer>>,
    numbers: Numbers,
}

impl Core {
    /// Creates the tables of an empty database, or reads where an existing one stands. All leases
    /// start anew, so that a holder that is still there has time to say so.
    pub(super) fn open(db: Arc<Database>, history: HistoryOptions) -> Result<Self> {
        let txn = db.begin_write().map_err(transaction)?;
        let mut leases = Leases::default();
        let numbers;
        {
            let numbers_table = txn.open_table(META).map_err(table)?;
            let layout = numbers_table.get(LAYOUT).map_err(storage)?.map(|v| v.value());
            match layout {
                None => {
                    Numbers::FIRST.write(numbers_table)?;
                    numbers = Numbers::FIRST;
                }
                Some(LAYOUT_NOW) => numbers = Numbers::read(&numbers_table)?,
                Some(found) => {
                    return Err(Error::Format { found, oldest: LAYOUT_NOW, newest: LAYOUT_NOW });
                }
            }
            txn.open_table(ENTRIES).map_err(table)?;
            txn.open_table(LOG).map_err(table)?;
            txn.open_table(LEASE_KEYS).map_err(table)?;
            for row in txn.open_table(LEASES).map_err(table)?.iter().map_err(storage)? {
                let (id, ttl_ms) = row.map_err(storage)?;
                let ttl = Duration::from_millis(ttl_ms.value());
                leases.grant(LeaseId(id.value()), ttl, Now::ZERO);
            }
        }
        txn.commit().map_err(commit)?;
        Ok(Self { db, leases, history, numbers })
    }

    pub(super) fn revision(&self) -> Revision {
        self.numbers.revision
    }

    pub(super) fn compacted(&self) -> Revision {
        self.numbers.compacted
    }

    pub(super) fn next_lease_end(&self) -> Option<Now> {
        self.leases.next_end()
    }

    /// Ends what expired by `now`, then applies the requests in order. An `Err` means that nothing
    /// of it happened, unless it is `Indeterminate`.
    pub(super) fn apply(&mut self, requests: &[Request], now: Now) -> Result<Committed> {
        let expired = self.leases.expired(now);
        let idle = |r: &Request| matches!(r, Request::KeepAlive(_));
        if expired.is_empty() && requests.iter().all(idle) {
            let answers = requests.iter().map(|r| self.keep_alive(r, now)).collect();
            return Ok(Committed { batches: Vec::new(), answers, compacted: self.numbers.compacted });
        }
        let txn = self.db.begin_write().map_err(transaction)?;
        let Applied { granted, ended, batches, mut answers, numbers } = self.apply_in(&txn, requests, expired)?;
        txn.commit().map_err(commit)?;

        self.numbers = numbers;
        for (id, ttl) in granted {
            self.leases.grant(id, ttl, now);
        }
        for id in ended {
            self.leases.end(id);
        }
        for (request, answer) in requests.iter().zip(&mut answers) {
            if matches!(request, Request::KeepAlive(_)) {
                *answer = self.keep_alive(request, now);
            }
        }
        Ok(Committed { batches, answers, compacted: self.numbers.compacted })
    }

    fn apply_in(&self, txn: &WriteTransaction, requests: &[Request], expired: Vec<LeaseId>) -> Result<Applied> {
        let mut group = Group {
            tables: Tables::open(txn)?,
            leases: &self.leases,
            granted: Vec::new(),
            ended: Vec::new(),
            batches: Vec::new(),
            numbers: self.numbers,
        };
        for id in expired {
            group.end_lease(id)?;
        }
        let mut answers = Vec::with_capacity(requests.len());
        for request in requests {
            answers.push(match request {
                Request::Txn(txn) => group.txn(txn)?.map(Answer::Txn),
                Request::Grant(ttl) => Ok(Answer::Lease(group.grant(*ttl)?)),
                Request::Revoke(id) if group.has_lease(*id) => {
                    group.end_lease(*id)?;
                    Ok(Answer::Done)
                }
                Request::Revoke(id) => Err(Error::LeaseNotFound { lease: *id }),
                Request::Compact(revision) => group.compact(*revision)?.map(|()| Answer::Done),
                // Answered after the commit: it changes nothing on disk.
                Request::KeepAlive(_) => Ok(Answer::Done),
            });
        }
        group.bound_history(&self.history)?;
        let Group { tables, granted, ended, batches, numbers, .. } = group;
        numbers.write(tables.meta)?;
        Ok(Applied { granted, ended, batches, answers, numbers })
    }

    fn keep_alive(&mut self, request: &Request, now: Now) -> Result<Answer> {
        let Request::KeepAlive(lease) = *request else { return Ok(Answer::Done) };
        let ttl = self.leases.keep_alive(lease, now).ok_or(Error::LeaseNotFound { lease })?;
        Ok(Answer::KeptAlive(ttl))
    }
}

struct Tables<'t> {
    entries: Table<'t, &'static str, &'static [u8]>,
    log: Table<'t, (u64, &'static str), &'static [u8]>,
    leases: Table<'t, i64, u64>,
    lease_keys: Table<'t, (i64, &'static str), ()>,
    meta: Table<'t, &'static str, u64>,
}

impl<'t> Tables<'t> {
    fn open(txn: &'t WriteTransaction) -> Result<Self> {
        Ok(Self {
            entries: txn.open_table(ENTRIES).map_err(table)?,
            log: txn.open_table(LOG).map_err(table)?,
            leases: txn.open_table(LEASES).map_err(table)?,
            lease_keys: txn.open_table(LEASE_KEYS).map_err(table)?,
            meta: txn.open_table(META).map_err(table)?,
        })
    }
}

/// A group on its way to a commit. The outer `Result` of its methods is the disk's, and ends the
/// group; the inner one is the request's.
struct Group<'c, 't> {
    tables: Tables<'t>,
    leases: &'c Leases,
    granted: Vec<(LeaseId, Duration)>,
    ended: Vec<LeaseId>,
    batches: Vec<Arc<Batch>>,
    numbers: Numbers,
}

impl Group<'_, '_> {
    fn txn(&mut self, txn: &Txn) -> Result<Result<TxnOutcome>> {
        let mut succeeded = true;
        for compare in &txn.compares {
            let found = read_entry(&self.tables.entries, compare.key())?;
            if !compare.holds(found.as_ref()) {
                succeeded = false;
                break;
            }
        }
        let ops = if succeeded { &txn.ops } else { &txn.otherwise };
        for op in ops {
            if let Op::Put { lease: Some(lease), .. } = op
                && !self.has_lease(*lease)
            {
                return Ok(Err(Error::LeaseNotFound { lease: *lease }));
            }
        }
        let mut events = Vec::new();
        let mut results = Vec::with_capacity(ops.len());
        for op in ops {
            results.push(match op {
                Op::Put { key, value, lease } => {
                    let previous = read_entry(&self.tables.entries, key)?;
                    let revision = self.numbers.revision + 1;
                    let entry = Entry {
                        key: key.clone(),
                        value: value.clone(),
                        create_revision: previous.as_ref().map_or(revision, |e| e.create_revision),
                        mod_revision: revision,
                        lease: *lease,
                    };
                    events.push(self.put(entry, previous)?);
                    OpResult::Put
                }
                Op::Delete { key } => {
                    let removed = self.delete(key)?;
                    let count = removed.is_some().into();
                    events.extend(removed);
                    OpResult::Deleted(count)
                }
                Op::DeletePrefix { prefix } => {
                    let keys = self.keys_under(prefix)?;
                    for key in &keys {
                        events.extend(self.delete(key)?);
                    }
                    OpResult::Deleted(keys.len() as u64)
                }
                Op::Get { key } => OpResult::Got(read_entry(&self.tables.entries, key)?),
            });
        }
        self.close_revision(events)?;
        Ok(Ok(TxnOutcome { revision: self.numbers.revision, succeeded, results }))
    }

    fn put(&mut self, entry: Entry, previous: Option<Entry>) -> Result<Logged> {
        let old_lease = previous.as_ref().and_then(|e| e.lease);
        self.move_lease(&entry.key, old_lease, entry.lease)?;
        let mut bytes = Vec::with_capacity(24 + entry.value.len());
        codec::encode_entry(&entry, &mut bytes);
        self.tables.entries.insert(&*entry.key, bytes.as_slice()).map_err(storage)?;
        Ok(Logged { event: Event::Put(entry), previous })
    }

    fn delete(&mut self, key: &Key) -> Result<Option<Logged>> {
        let Some(previous) = read_entry(&self.tables.entries, key)? else { return Ok(None) };
        self.move_lease(key, previous.lease, None)?;
        self.tables.entries.remove(&**key).map_err(storage)?;
        Ok(Some(Logged { event: Event::Delete { key: key.clone() }, previous: Some(previous) }))
    }

    fn move_lease(&mut self, key: &str, from: Option<LeaseId>, to: Option<LeaseId>) -> Result<()> {
        if from == to {
            return Ok(());
        }
        if let Some(lease) = from {
            self.tables.lease_keys.remove((lease.0, key)).map_err(storage)?;
        }
        if let Some(lease) = to {
            self.tables.lease_keys.insert((lease.0, key), ()).map_err(storage)?;
        }
        Ok(())
    }

    fn keys_under(&self, prefix: &str) -> Result<Vec<Key>> {
        let mut keys = Vec::new();
        for row in self.tables.entries.range(prefix..).map_err(storage)? {
            let (key, _) = row.map_err(storage)?;
            if !key.value().starts_with(prefix) {
                break;
            }
            keys.push(Key::from(key.value()));
        }
        Ok(keys)
    }

    /// Writes the events to the log as the next revision; without events there is none.
    fn close_revision(&mut self, mut events: Vec<Logged>) -> Result<()> {
        if events.is_empty() {
            return Ok(());
        }
        self.numbers.revision += 1;
        events.sort_by(|a, b| a.event.key().cmp(b.event.key()));
        for logged in &events {
            let (bytes, key) = (codec::encode_event(logged), logged.event.key());
            self.numbers.log_bytes += log_size(key, &bytes);
            let at = (self.numbers.revision, &**key);
            self.tables.log.insert(at, bytes.as_slice()).map_err(storage)?;
        }
        let events = events.into_iter().map(|logged| logged.event).collect();
        self.batches.push(Arc::new(Batch { revision: self.numbers.revision, events }));
        Ok(())
    }

    fn has_lease(&self, id: LeaseId) -> bool {
        let live = self.leases.contains(id) || self.granted.iter().any(|(new, _)| *new == id);
        live && !self.ended.contains(&id)
    }

    fn grant(&mut self, ttl: Duration) -> Result<Lease> {
        self.numbers.last_lease += 1;
        let id = LeaseId(self.numbers.last_lease);
        let ttl_ms = u64::try_from(ttl.as_millis()).unwrap_or(u64::MAX).max(1);
        self.tables.leases.insert(id.0, ttl_ms).map_err(storage)?;
        let ttl = Duration::from_millis(ttl_ms);
        self.granted.push((id, ttl));
        Ok(Lease { id, ttl })
    }

    fn end_lease(&mut self, id: LeaseId) -> Result<()> {
        let mut keys = Vec::new();
        for row in self.tables.lease_keys.range((id.0, "")..).map_err(storage)? {
            let (at, ()) = row.map(|(at, _)| (at, ())).map_err(storage)?;
            let (lease, key) = at.value();
            if lease != id.0 {
                break;
            }
            keys.push(Key::from(key));
        }
        let mut events = Vec::with_capacity(keys.len());
        for key in &keys {
            events.extend(self.delete(key)?);
        }
        self.tables.leases.remove(id.0).map_err(storage)?;
        self.ended.push(id);
        self.close_revision(events)
    }

    fn compact(&mut self, upto: Revision) -> Result<Result<()>> {
        if upto > self.numbers.revision {
            let current = self.numbers.revision;
            return Ok(Err(Error::FutureRevision { requested: upto, current }));
        }
        if upto > self.numbers.compacted {
            self.forget(upto, usize::MAX, 0)?;
            self.numbers.compacted = upto;
        }
        Ok(Ok(()))
    }

    /// Keeps history within its bounds, a bounded amount of work each time.
    fn bound_history(&mut self, history: &HistoryOptions) -> Result<()> {
        let written: usize = self.batches.iter().map(|b| b.events.len()).sum();
        let budget = 2 * written + 64;
        let too_old = self.numbers.revision.saturating_sub(history.max_revisions);
        if self.numbers.compacted < too_old {
            self.forget(too_old, budget, 0)?;
        }
        if self.numbers.log_bytes > history.max_bytes {
            // The newest revision stays, however large.
            self.forget(self.numbers.revision - 1, budget, history.max_bytes)?;
        }
        Ok(())
    }

    /// Removes whole revisions up to `upto`, oldest first, until it removed `budget` changes or
    /// the log is no larger than `enough_bytes`.
    fn forget(&mut self, upto: Revision, budget: usize, enough_bytes: u64) -> Result<()> {
        let mut gone: Vec<(u64, Key)> = Vec::new();
        let mut last = upto;
        let numbers = &mut self.numbers;
        for row in self.tables.log.range((0, "")..(upto + 1, "")).map_err(storage)? {
            let (at, bytes) = row.map_err(storage)?;
            let (revision, key) = at.value();
            let enough = gone.len() >= budget || numbers.log_bytes <= enough_bytes;
            if enough && gone.last().is_none_or(|(r, _)| *r < revision) {
                last = revision - 1;
                break;
            }
            numbers.log_bytes = numbers.log_bytes.saturating_sub(log_size(key, bytes.value()));
            gone.push((revision, Key::from(key)));
        }
        numbers.compacted = numbers.compacted.max(last);
        for (revision, key) in &gone {
            self.tables.log.remove((*revision, &**key)).map_err(storage)?;
        }
        Ok(())
    }
}

fn log_size(key: &str, value: &[u8]) -> u64 {
    (8 + key.len() + value.len()) as u64
}

/// A failed commit leaves open whether it reached the disk; the database refuses more until it is
/// opened again.
fn commit(error: redb::CommitError) -> Error {
    match error {
        redb::CommitError::Storage(e) => match storage(e) {
            Error::Unavailable { reason } => Error::Indeterminate { reason },
            other => other,
        },
        other => Error::Indeterminate { reason: other.to_string() },
    }
}
