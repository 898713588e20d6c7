//! Folds a storm of observations into few commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{Compare, Error, Key, LeaseId, Op, Result, Store, Txn, check};

/// How long and how much a [`BatchWriter`] collects.
#[derive(Debug, Clone)]
pub struct BatchOptions {
    /// The first change of a batch waits at most this long before it is written.
    pub max_delay: Duration,
    /// Operations in one transaction; the store's own limit holds as well.
    pub max_ops: usize,
    /// Changed keys held in memory while the store is slow or away; more are refused.
    pub max_pending: usize,
}

impl Default for BatchOptions {
    fn default() -> Self {
        Self { max_delay: Duration::from_millis(20), max_ops: 1000, max_pending: 500_000 }
    }
}

/// Writes changes in the background. Of several changes of one key only the newest is written.
/// Order between keys is not kept. Dropping it writes what is pending, if the store answers.
pub struct BatchWriter {
    shared: Arc<Shared>,
    written: watch::Receiver<u64>,
}

struct Shared {
    store: Arc<dyn Store>,
    options: BatchOptions,
    pending: Mutex<Pending>,
    /// Wakes the task: something is pending, a flush is asked for, or the writer was dropped.
    wake: Notify,
    commits: AtomicU64,
    refused: AtomicU64,
    too_late: Box<dyn Fn(Op) + Send + Sync>,
}

#[derive(Default)]
struct Pending {
    changes: BTreeMap<Key, Guarded>,
    /// Counts changes; a flush waits until the count it saw is written.
    count: u64,
    hurry: bool,
    closed: bool,
}

/// An operation, and what must hold for it.
type Guarded = (Op, Option<Compare>);

impl BatchWriter {
    /// Starts the writer's task on the current tokio runtime.
    pub fn spawn(store: Arc<dyn Store>, options: BatchOptions) -> Self {
        Self::spawn_with(store, options, |_| {})
    }

    /// The same; `too_late` is given what was dropped because its guard did not hold, before anything newer is written.
    pub fn spawn_with(
        store: Arc<dyn Store>,
        options: BatchOptions,
        too_late: impl Fn(Op) + Send + Sync + 'static,
    ) -> Self {
        let shared = Arc::new(Shared {
            store,
            options,
            pending: Mutex::default(),
            wake: Notify::new(),
            commits: AtomicU64::new(0),
            refused: AtomicU64::new(0),
            too_late: Box::new(too_late),
        });
        let (done, written) = watch::channel(0);
        tokio::spawn(run(shared.clone(), done));
        Self { shared, written }
    }

    /// Writes a key soon.
    ///
    /// # Errors
    /// `TooLarge` when the key, the value or the number of pending changes exceeds its limit.
    pub fn put(&self, key: impl Into<Key>, value: impl Into<Bytes>) -> Result<()> {
        self.enter(Op::put(key, value), None, false)
    }

    /// Writes a key soon, bound to a lease.
    ///
    /// # Errors
    /// As `put`. If the lease is gone when the write happens, the change is dropped and counted.
    pub fn put_leased(&self, key: impl Into<Key>, value: impl Into<Bytes>, lease: LeaseId) -> Result<()> {
        self.enter(Op::put_leased(key, value, lease), None, false)
    }

    /// Removes a key soon.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete(&self, key: impl Into<Key>) -> Result<()> {
        self.enter(Op::delete(key), None, false)
    }

    /// Does one thing soon, whatever it is.
    ///
    /// # Errors
    /// As `put`.
    pub fn change(&self, op: Op) -> Result<()> {
        self.enter(op, None, false)
    }

    /// Does one thing soon, if `guard` holds then; else it is dropped and counted as refused.
    ///
    /// # Errors
    /// As `put`.
    pub fn guarded(&self, op: Op, guard: Compare) -> Result<()> {
        self.enter(op, Some(guard), false)
    }

    /// The same for what was dropped before: a newer change of its key that waits counts instead.
    ///
    /// # Errors
    /// As `put`.
    pub fn again(&self, op: Op, guard: Compare) -> Result<()> {
        self.enter(op, Some(guard), true)
    }

    fn enter(&self, op: Op, guard: Option<Compare>, older: bool) -> Result<()> {
        check::txn(&Txn::new().then(op.clone()), &self.shared.store.limits())?;
        let limit = self.shared.options.max_pending;
        let wake = {
            let mut pending = self.shared.pending.lock();
            if older && pending.changes.contains_key(op.key()) {
                return Ok(());
            }
            if pending.changes.len() >= limit && !pending.changes.contains_key(op.key()) {
                return Err(Error::TooLarge {
                    what: "changes waiting to be written",
                    limit: limit as u64,
                    found: limit as u64 + 1,
                });
            }
            pending.count += 1;
            let new = pending.changes.insert(op.key().clone(), (op, guard)).is_none();
            let len = pending.changes.len();
            new && (len == 1 || len == self.shared.options.max_ops)
        };
        if wake {
            self.shared.wake.notify_one();
        }
        Ok(())
    }

    /// Writes everything pending now and returns when it is durable or was refused.
    ///
    /// # Errors
    /// `Unavailable` if the writer's runtime ended.
    pub async fn flush(&self) -> Result<()> {
        let upto = {
            let mut pending = self.shared.pending.lock();
            pending.hurry = true;
            pending.count
        };
        self.shared.wake.notify_one();
        let mut written = self.written.clone();
        let waited = written.wait_for(|done| *done >= upto).await;
        waited.map(|_| ()).map_err(|_| Error::unavailable("the batch writer has ended"))
    }

    /// Keys waiting to be written.
    pub fn pending(&self) -> usize {
        self.shared.pending.lock().changes.len()
    }

    /// Transactions committed so far.
    pub fn commits(&self) -> u64 {
        self.shared.commits.load(Ordering::Relaxed)
    }

    /// Changes the store refused for good (gone lease, too large, guard does not hold) and that were dropped.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

impl Drop for BatchWriter {
    fn drop(&mut self) {
        self.shared.pending.lock().closed = true;
        self.shared.wake.notify_one();
    }
}

async fn run(shared: Arc<Shared>, done: watch::Sender<u64>) {
    loop {
        shared.collect().await;
        let (changes, upto, closed) = {
            let mut pending = shared.pending.lock();
            pending.hurry = false;
            (std::mem::take(&mut pending.changes), pending.count, pending.closed)
        };
        if !shared.write(changes.into_values().collect()).await {
            return;
        }
        done.send_replace(upto);
        if closed {
            return;
        }
    }
}

impl Shared {
    /// Waits for a first change, and then until the delay is over, a batch is full or somebody
    /// hurries.
    async fn collect(&self) {
        loop {
            {
                let pending = self.pending.lock();
                if pending.closed || pending.hurry || !pending.changes.is_empty() {
                    break;
                }
            }
            self.wake.notified().await;
        }
        let delay = tokio::time::sleep(self.options.max_delay);
        tokio::pin!(delay);
        loop {
            {
                let pending = self.pending.lock();
                let full = pending.changes.len() >= self.options.max_ops;
                if pending.closed || pending.hurry || full {
                    return;
                }
            }
            tokio::select! {
                () = &mut delay => return,
                () = self.wake.notified() => {}
            }
        }
    }

    /// Writes all operations, in as few transactions as the limits allow. False when it gave up
    /// because the writer was dropped while the store is away.
    async fn write(&self, ops: Vec<Guarded>) -> bool {
        let mut parts = self.parts(ops);
        let mut pause = Duration::from_millis(20);
        while let Some(mut part) = parts.pop() {
            let txn = Txn {
                compares: guards(&part).into_iter().cloned().collect(),
                ops: part.iter().map(|(op, _)| op.clone()).collect(),
                ..Txn::default()
            };
            let several = txn.compares.len() > 1 || part.iter().any(|(_, guard)| guard.is_none());
            match self.store.txn(txn).await {
                Ok(outcome) if outcome.succeeded => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    pause = Duration::from_millis(20);
                }
                // Some guard does not hold: each for itself.
                Ok(_) if several => {
                    let mut groups: Vec<Vec<Guarded>> = Vec::new();
                    for one in part {
                        match groups.iter_mut().find(|g| g[0].1 == one.1) {
                            Some(group) => group.push(one),
                            None => groups.push(vec![one]),
                        }
                    }
                    parts.extend(groups);
                }
                Ok(_) => {
                    tracing::info!(ops = part.len(), guard = ?part[0].1, "observations came too late");
                    self.refused.fetch_add(part.len() as u64, Ordering::Relaxed);
                    part.into_iter().for_each(|(op, _)| (self.too_late)(op));
                }
                Err(error) if error.is_retryable() || matches!(error, Error::Unauthorized { .. }) => {
                    if self.pending.lock().closed {
                        tracing::warn!(%error, lost = part.len(), "observations were not written");
                        return false;
                    }
                    tracing::warn!(%error, ops = part.len(), "observations wait for the store");
                    parts.push(part);
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(2));
                }
                Err(error) if part.len() == 1 => {
                    tracing::error!(%error, key = %part[0].0.key(), "an observation was refused");
                    self.refused.fetch_add(1, Ordering::Relaxed);
                }
                // One of them is bad: halve until it stands alone.
                Err(_) => {
                    let rest = part.split_off(part.len() / 2);
                    parts.push(rest);
                    parts.push(part);
                }
            }
        }
        true
    }

    /// Transactions' worth of operations, the first one last.
    fn parts(&self, ops: Vec<Guarded>) -> Vec<Vec<Guarded>> {
        let limits = self.store.limits();
        let max_ops = self.options.max_ops.min(limits.max_ops).max(1);
        let mut parts: Vec<Vec<Guarded>> = Vec::new();
        let mut part: Vec<Guarded> = Vec::new();
        let mut known: Vec<Compare> = Vec::new();
        let mut bytes = 0;
        for (op, guard) in ops {
            let new = guard.as_ref().filter(|g| !known.contains(*g)).cloned();
            let size = op.size_bytes() + new.as_ref().map_or(0, |g| g.key().len() + 32);
            let crowded = new.is_some() && known.len() == limits.max_compares;
            if part.len() == max_ops || crowded || (!part.is_empty() && bytes + size > limits.max_request_bytes) {
                parts.push(std::mem::take(&mut part));
                known.clear();
                bytes = 0;
            }
            known.extend(guard.as_ref().filter(|g| !known.contains(*g)).cloned());
            bytes += size;
            part.push((op, guard));
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts.reverse();
        parts
    }
}

/// The different guards of some operations.
fn guards(part: &[Guarded]) -> Vec<&Compare> {
    let mut all: Vec<&Compare> = Vec::new();
    for guard in part.iter().filter_map(|(_, guard)| guard.as_ref()) {
        if !all.contains(&guard) {
            all.push(guard);
        }
    }
    all
}
