//! Folds a storm of observations into few commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};

use crate::{Error, Key, LeaseId, Op, Result, Store, Txn, check};

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
}

#[derive(Default)]
struct Pending {
    changes: BTreeMap<Key, Op>,
    /// Counts changes; a flush waits until the count it saw is written.
    count: u64,
    hurry: bool,
    closed: bool,
}

impl BatchWriter {
    /// Starts the writer's task on the current tokio runtime.
    pub fn spawn(store: Arc<dyn Store>, options: BatchOptions) -> Self {
        let shared = Arc::new(Shared {
            store,
            options,
            pending: Mutex::default(),
            wake: Notify::new(),
            commits: AtomicU64::new(0),
            refused: AtomicU64::new(0),
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
        self.change(Op::put(key, value))
    }

    /// Writes a key soon, bound to a lease.
    ///
    /// # Errors
    /// As `put`. If the lease is gone when the write happens, the change is dropped and counted.
    pub fn put_leased(&self, key: impl Into<Key>, value: impl Into<Bytes>, lease: LeaseId) -> Result<()> {
        self.change(Op::put_leased(key, value, lease))
    }

    /// Removes a key soon.
    ///
    /// # Errors
    /// As `put`.
    pub fn delete(&self, key: impl Into<Key>) -> Result<()> {
        self.change(Op::delete(key))
    }

    fn change(&self, op: Op) -> Result<()> {
        check::txn(&Txn::new().then(op.clone()), &self.shared.store.limits())?;
        let limit = self.shared.options.max_pending;
        let wake = {
            let mut pending = self.shared.pending.lock();
            if pending.changes.len() >= limit && !pending.changes.contains_key(op.key()) {
                return Err(Error::TooLarge {
                    what: "changes waiting to be written",
                    limit: limit as u64,
                    found: limit as u64 + 1,
                });
            }
            pending.count += 1;
            let new = pending.changes.insert(op.key().clone(), op).is_none();
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

    /// Changes the store refused for good (gone lease, too large) and that were dropped.
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
    async fn write(&self, ops: Vec<Op>) -> bool {
        let limits = self.store.limits();
        let max_ops = self.options.max_ops.min(limits.max_ops).max(1);
        let mut parts: Vec<Vec<Op>> = Vec::new();
        let mut part = Vec::new();
        let mut bytes = 0;
        for op in ops {
            let size = op.size_bytes();
            if part.len() == max_ops || (!part.is_empty() && bytes + size > limits.max_request_bytes) {
                parts.push(std::mem::take(&mut part));
                bytes = 0;
            }
            bytes += size;
            part.push(op);
        }
        if !part.is_empty() {
            parts.push(part);
        }
        parts.reverse();
        let mut pause = Duration::from_millis(20);
        while let Some(mut part) = parts.pop() {
            let txn = Txn { ops: part.clone(), ..Txn::default() };
            match self.store.txn(txn).await {
                Ok(_) => {
                    self.commits.fetch_add(1, Ordering::Relaxed);
                    pause = Duration::from_millis(20);
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
                    tracing::error!(%error, key = %part[0].key(), "an observation was refused");
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
}
