//! The store of a single node: one redb file, durable before a transaction answers.
//!
//! ```text
//!  txn, grant ... ──► queue ──► writer thread: everything queued becomes one commit (core.rs)
//!                                   │ answers            │ batches, tip
//!                                   ▼                    ▼
//!                                callers            watches (watch.rs; older batches: read.rs)
//!  get, page ───────────────────► MVCC reads of redb (read.rs)
//! ```
//!
//! An fsync costs milliseconds, so transactions that arrive while one is under way share the next.
//! With a manual clock there is no thread: calls apply at once, in the caller, and time stands still
//! until [`EmbeddedStore::advance`]. That is the form for simulations.

mod codec;
mod core;
mod lease;
mod read;
mod tables;
mod watch;

use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use async_trait::async_trait;
use parking_lot::{Mutex, RwLock};
use redb::{Builder, Database, DatabaseError, backends::InMemoryBackend};
use tokio::sync::oneshot;

use self::core::{Answer, Committed, Core, Request};
use self::lease::Now;
use self::watch::{Recent, Tip};
use crate::{
    Entry, Error, Key, Lease, LeaseId, Limits, Listing, Page, Query, Result, Revision, Status, Store, Txn, TxnOutcome,
    WatchStream, check,
};

/// Requests that share one commit.
const GROUP: usize = 1024;

/// How much history is kept for watches and reads in the past.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryOptions {
    pub max_revisions: u64,
    /// Keys, values and previous values of the changes kept.
    pub max_bytes: u64,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { max_revisions: 100_000, max_bytes: 256 << 20 }
    }
}

/// Who says what time it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Clock {
    /// The monotonic clock of this machine.
    #[default]
    System,
    /// The caller, with [`EmbeddedStore::advance`].
    Manual,
}

/// How to open an embedded store.
#[derive(Debug, Clone)]
pub struct EmbeddedOptions {
    pub history: HistoryOptions,
    pub clock: Clock,
    /// Memory for pages of the file, in bytes.
    pub cache_bytes: usize,
    pub limits: Limits,
}

impl Default for EmbeddedOptions {
    fn default() -> Self {
        Self {
            history: HistoryOptions::default(),
            clock: Clock::System,
            cache_bytes: 64 << 20,
            limits: Limits { max_ops: 100_000, max_compares: 100_000, max_request_bytes: 64 << 20 },
        }
    }
}

/// A store in one file, or in memory.
pub struct EmbeddedStore {
    shared: Arc<Shared>,
    writer: Writer,
    limits: Limits,
    path: Option<PathBuf>,
}

struct Shared {
    db: Arc<Database>,
    recent: Arc<RwLock<Recent>>,
    tip: tokio::sync::watch::Receiver<Tip>,
}

enum Writer {
    Thread { queue: Option<mpsc::Sender<Message>>, thread: Option<JoinHandle<()>> },
    Inline(Box<Mutex<Inline>>),
}

struct Inline {
    committer: Committer,
    now: Now,
}

struct Message {
    request: Request,
    answer: oneshot::Sender<Result<Answer>>,
}

/// The core and those it tells.
struct Committer {
    core: Core,
    recent: Arc<RwLock<Recent>>,
    tip: tokio::sync::watch::Sender<Tip>,
}

impl EmbeddedStore {
    /// Opens the file, creating it and its directory if needed.
    ///
    /// # Errors
    /// `InUse` if another process has it, `Corrupt` or `Format` if it cannot be read.
    pub fn open(path: impl AsRef<Path>, options: EmbeddedOptions) -> Result<Self> {
        let path = path.as_ref();
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)
                .map_err(|e| Error::unavailable(format!("cannot create {}: {e}", folder.display())))?;
        }
        let db = Builder::new().set_cache_size(options.cache_bytes).create(path);
        let db = db.map_err(|e| cannot_open(path, e))?;
        Self::start(db, Some(path.to_owned()), options)
    }

    /// A store that is gone when it is dropped.
    ///
    /// # Errors
    /// Only when memory cannot be had.
    pub fn in_memory(options: EmbeddedOptions) -> Result<Self> {
        let db = Builder::new()
            .set_cache_size(options.cache_bytes)
            .create_with_backend(InMemoryBackend::new())
            .map_err(Error::unavailable)?;
        Self::start(db, None, options)
    }

    fn start(db: Database, path: Option<PathBuf>, options: EmbeddedOptions) -> Result<Self> {
        let db = Arc::new(db);
        let core = Core::open(db.clone(), options.history)?;
        let recent = Arc::new(RwLock::new(Recent::default()));
        let tip = Tip { revision: core.revision(), compacted: core.compacted() };
        let (tip, tip_seen) = tokio::sync::watch::channel(tip);
        let committer = Committer { core, recent: recent.clone(), tip };
        let writer = match options.clock {
            Clock::Manual => Writer::Inline(Box::new(Mutex::new(Inline { committer, now: Now::ZERO }))),
            Clock::System => {
                let (queue, messages) = mpsc::channel();
                let thread = std::thread::Builder::new()
                    .name("store-writer".into())
                    .spawn(move || committer.run(&messages))
                    .map_err(Error::unavailable)?;
                Writer::Thread { queue: Some(queue), thread: Some(thread) }
            }
        };
        let shared = Arc::new(Shared { db, recent, tip: tip_seen });
        Ok(Self { shared, writer, limits: options.limits, path })
    }

    /// Sets the time of a store with a manual clock, since it was opened; leases that are over by
    /// then end. With the system clock this does nothing.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn advance(&self, now: Duration) -> Result<()> {
        let Writer::Inline(inline) = &self.writer else { return Ok(()) };
        let mut inline = inline.lock();
        inline.now = inline.now.max(now);
        let now = inline.now;
        inline.committer.apply(&[], now).map(|_| ())
    }

    /// When the next lease of a store with a manual clock ends.
    pub fn next_lease_end(&self) -> Option<Duration> {
        match &self.writer {
            Writer::Inline(inline) => inline.lock().committer.core.next_lease_end(),
            Writer::Thread { .. } => None,
        }
    }

    async fn ask(&self, request: Request) -> Result<Answer> {
        match &self.writer {
            Writer::Inline(inline) => {
                let mut inline = inline.lock();
                let now = inline.now;
                let mut answers = inline.committer.apply(&[request], now)?;
                answers.pop().unwrap_or_else(|| Err(closed()))
            }
            Writer::Thread { queue, .. } => {
                let (answer, answered) = oneshot::channel();
                let queue = queue.as_ref().ok_or_else(closed)?;
                queue.send(Message { request, answer }).map_err(|_| closed())?;
                answered
                    .await
                    .map_err(|_| Error::Indeterminate { reason: "the embedded store's writer ended".into() })?
            }
        }
    }

    /// Runs a read that may take milliseconds where it does not hold up other tasks.
    async fn read<T: Send + 'static>(&self, read: impl FnOnce(&Database) -> Result<T> + Send + 'static) -> Result<T> {
        let db = self.shared.db.clone();
        match self.writer {
            Writer::Inline(_) => read(&db),
            Writer::Thread { .. } => tokio::task::spawn_blocking(move || read(&db))
                .await
                .map_err(|e| Error::unavailable(format!("a read was abandoned: {e}")))?,
        }
    }
}

impl Drop for EmbeddedStore {
    fn drop(&mut self) {
        if let Writer::Thread { queue, thread } = &mut self.writer {
            // The writer finishes what is queued and ends; then the file is free again.
            drop(queue.take());
            if thread.take().is_some_and(|thread| thread.join().is_err()) {
                tracing::error!("the embedded store's writer panicked");
            }
        }
    }
}

impl Committer {
    fn run(mut self, messages: &mpsc::Receiver<Message>) {
        let opened = Instant::now();
        loop {
            let wait = self.core.next_lease_end().map(|end| end.saturating_sub(opened.elapsed()));
            let first = match wait {
                None => messages.recv().map_err(|_| mpsc::RecvTimeoutError::Disconnected),
                Some(wait) => messages.recv_timeout(wait),
            };
            let first = match first {
                Ok(message) => Some(message),
                Err(mpsc::RecvTimeoutError::Timeout) => None,
                Err(mpsc::RecvTimeoutError::Disconnected) => return,
            };
            let (requests, answers): (Vec<_>, Vec<_>) =
                first.into_iter().chain(messages.try_iter().take(GROUP - 1)).map(|m| (m.request, m.answer)).unzip();
            match self.apply(&requests, opened.elapsed()) {
                Ok(results) => {
                    for (answer, result) in answers.into_iter().zip(results) {
                        // A caller that gave up does not want its answer.
                        let _ = answer.send(result);
                    }
                }
                Err(error) => {
                    tracing::error!(%error, "the embedded store cannot write");
                    for answer in answers {
                        let _ = answer.send(Err(error.clone()));
                    }
                    if requests.is_empty() {
                        // Expired leases stay due: do not spin on a full disk.
                        std::thread::sleep(Duration::from_millis(200));
                    }
                }
            }
        }
    }

    fn apply(&mut self, requests: &[Request], now: Now) -> Result<Vec<Result<Answer>>> {
        let Committed { batches, answers, compacted } = self.core.apply(requests, now)?;
        if let Some(last) = batches.last() {
            let revision = last.revision;
            let mut recent = self.recent.write();
            batches.into_iter().for_each(|batch| recent.push(batch));
            drop(recent);
            self.tip.send_replace(Tip { revision, compacted });
        } else {
            self.tip.send_if_modified(|tip| {
                let changed = tip.compacted != compacted;
                tip.compacted = compacted;
                changed
            });
        }
        Ok(answers)
    }
}

#[async_trait]
impl Store for EmbeddedStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check::key(key)?;
        read::get(&self.shared.db, &Key::from(key))
    }

    async fn page(&self, query: &Query) -> Result<Page> {
        check::at(query.at)?;
        let query = query.clone();
        self.read(move |db| read::page(db, &query)).await
    }

    async fn range(&self, prefix: &str, at: Option<Revision>) -> Result<Listing> {
        check::at(at)?;
        let query = Query { prefix: prefix.to_owned(), at, after: None, limit: usize::MAX - 1 };
        let page = self.read(move |db| read::page(db, &query)).await?;
        Ok(Listing { revision: page.revision, entries: page.entries })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        check::txn(&txn, &self.limits)?;
        match self.ask(Request::Txn(txn)).await? {
            Answer::Txn(outcome) => Ok(outcome),
            other => Err(mixed_up(&other)),
        }
    }

    fn watch(&self, prefix: &str, from: Revision) -> WatchStream {
        let Shared { db, recent, tip } = &*self.shared;
        watch::watch(prefix, from, Arc::downgrade(db), Arc::downgrade(recent), tip.clone())
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        match self.ask(Request::Grant(ttl)).await? {
            Answer::Lease(lease) => Ok(lease),
            other => Err(mixed_up(&other)),
        }
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        match self.ask(Request::KeepAlive(lease)).await? {
            Answer::KeptAlive(ttl) => Ok(ttl),
            other => Err(mixed_up(&other)),
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ask(Request::Revoke(lease)).await.map(|_| ())
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.ask(Request::Compact(revision)).await.map(|_| ())
    }

    async fn status(&self) -> Result<Status> {
        let tip = *self.shared.tip.borrow();
        let (size_bytes, detail) = match &self.path {
            Some(path) => {
                let size =
                    std::fs::metadata(path).map_err(|e| Error::unavailable(format!("{}: {e}", path.display())))?.len();
                (size, format!("embedded, {}", path.display()))
            }
            None => (0, "embedded, in memory".to_owned()),
        };
        Ok(Status { revision: tip.revision, oldest: tip.compacted + 1, size_bytes, detail })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

fn cannot_open(path: &Path, error: DatabaseError) -> Error {
    let path = path.display();
    match error {
        DatabaseError::DatabaseAlreadyOpen | DatabaseError::LockProtocolMismatch => {
            Error::InUse { path: path.to_string() }
        }
        DatabaseError::Storage(redb::StorageError::Corrupted(reason)) => Error::corrupt(format!("{path}: {reason}")),
        DatabaseError::Storage(redb::StorageError::Io(e)) if e.kind() == std::io::ErrorKind::InvalidData => {
            Error::corrupt(format!("{path}: {e}"))
        }
        DatabaseError::UpgradeRequired(found) => {
            Error::corrupt(format!("{path}: file format {found} of redb is no longer read"))
        }
        other => Error::unavailable(format!("cannot open {path}: {other}")),
    }
}

fn closed() -> Error {
    Error::unavailable("the embedded store was closed")
}

fn mixed_up(answer: &Answer) -> Error {
    Error::corrupt(format!("the writer answered another question: {answer:?}"))
}
