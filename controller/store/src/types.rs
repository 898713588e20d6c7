//! Keys, entries, events, transactions: the nouns both stores share.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

/// A point in the store's history. Every committed change raises it by at least one. 0 is "never".
pub type Revision = u64;

/// A key such as `port/leaf1/3`: UTF-8, not empty. Cheap to clone.
pub type Key = Arc<str>;

/// Names a lease. Never 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub i64);

impl std::fmt::Display for LeaseId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A granted lease. `ttl` is what the store granted, which may be more than was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    pub id: LeaseId,
    pub ttl: Duration,
}

/// A key with its value and history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: Key,
    pub value: Bytes,
    /// Revision at which the key last came into existence.
    pub create_revision: Revision,
    /// Revision of the last write.
    pub mod_revision: Revision,
    /// The lease whose end removes the key.
    pub lease: Option<LeaseId>,
}

/// All entries under a prefix at one revision, in key order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Listing {
    pub revision: Revision,
    pub entries: Vec<Entry>,
}

/// Which entries to read, and how many at a time.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Query {
    pub prefix: String,
    /// Read the state at this revision instead of the newest.
    pub at: Option<Revision>,
    /// Continue behind this key.
    pub after: Option<Key>,
    /// At most so many entries; 0 lets the store choose.
    pub limit: usize,
}

/// One page of a large listing. Ask again with `at = revision`, `after = last key` while `more`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    pub revision: Revision,
    pub entries: Vec<Entry>,
    pub more: bool,
}

/// What became of one key. What it held before is not said: etcd reads it for every event and watcher, which costs more
/// than the write (see `etcd/watch.rs`), and whoever follows a prefix has it already.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    Put(Entry),
    /// Removed, by request or by the end of its lease.
    Delete {
        key: Key,
    },
}

impl Event {
    pub fn key(&self) -> &Key {
        match self {
            Event::Put(entry) => &entry.key,
            Event::Delete { key } => key,
        }
    }

    /// The entry after the event, `None` when it was deleted.
    pub fn entry(&self) -> Option<&Entry> {
        match self {
            Event::Put(entry) => Some(entry),
            Event::Delete { .. } => None,
        }
    }
}

/// Everything one revision changed under a watched prefix, in key order.
///
/// A batch without events is a progress mark: nothing under the prefix changed up to `revision`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub revision: Revision,
    pub events: Vec<Event>,
}

/// How a compare relates what is stored to what is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Relation {
    Equal,
    NotEqual,
    Greater,
    Less,
}

impl Relation {
    pub(crate) fn holds<T: Ord + ?Sized>(self, found: &T, wanted: &T) -> bool {
        match self {
            Relation::Equal => found == wanted,
            Relation::NotEqual => found != wanted,
            Relation::Greater => found > wanted,
            Relation::Less => found < wanted,
        }
    }
}

/// One condition of a transaction. A missing key has mod and create revision 0, and no value: a
/// value compare on it never holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    ModRevision { key: Key, is: Relation, revision: Revision },
    CreateRevision { key: Key, is: Relation, revision: Revision },
    Value { key: Key, is: Relation, value: Bytes },
}

impl Compare {
    pub fn exists(key: impl Into<Key>) -> Self {
        Compare::CreateRevision { key: key.into(), is: Relation::Greater, revision: 0 }
    }

    pub fn missing(key: impl Into<Key>) -> Self {
        Compare::CreateRevision { key: key.into(), is: Relation::Equal, revision: 0 }
    }

    /// The key was last written at `revision` (0: it does not exist).
    pub fn at(key: impl Into<Key>, revision: Revision) -> Self {
        Compare::ModRevision { key: key.into(), is: Relation::Equal, revision }
    }

    /// The key came into existence at `revision`.
    pub fn created_at(key: impl Into<Key>, revision: Revision) -> Self {
        Compare::CreateRevision { key: key.into(), is: Relation::Equal, revision }
    }

    pub fn value(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Compare::Value { key: key.into(), is: Relation::Equal, value: value.into() }
    }

    pub fn key(&self) -> &Key {
        match self {
            Compare::ModRevision { key, .. } | Compare::CreateRevision { key, .. } | Compare::Value { key, .. } => key,
        }
    }

    /// Whether the condition holds for what is stored under its key.
    pub(crate) fn holds(&self, found: Option<&Entry>) -> bool {
        match self {
            Compare::ModRevision { is, revision, .. } => is.holds(&found.map_or(0, |e| e.mod_revision), revision),
            Compare::CreateRevision { is, revision, .. } => is.holds(&found.map_or(0, |e| e.create_revision), revision),
            Compare::Value { is, value, .. } => found.is_some_and(|e| is.holds(&e.value, value)),
        }
    }
}

/// One step of a transaction. A key may be written at most once in a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// Writes a value. Without a lease the key loses the one it had.
    Put {
        key: Key,
        value: Bytes,
        lease: Option<LeaseId>,
    },
    Delete {
        key: Key,
    },
    /// Removes every key that starts with the prefix.
    DeletePrefix {
        prefix: Key,
    },
    /// Reads a key in the same transaction; before or after the writes, by its place in the list.
    Get {
        key: Key,
    },
}

impl Op {
    pub fn put(key: impl Into<Key>, value: impl Into<Bytes>) -> Self {
        Op::Put { key: key.into(), value: value.into(), lease: None }
    }

    pub fn put_leased(key: impl Into<Key>, value: impl Into<Bytes>, lease: LeaseId) -> Self {
        Op::Put { key: key.into(), value: value.into(), lease: Some(lease) }
    }

    pub fn delete(key: impl Into<Key>) -> Self {
        Op::Delete { key: key.into() }
    }

    pub fn delete_prefix(prefix: impl Into<Key>) -> Self {
        Op::DeletePrefix { prefix: prefix.into() }
    }

    pub fn get(key: impl Into<Key>) -> Self {
        Op::Get { key: key.into() }
    }

    pub fn key(&self) -> &Key {
        match self {
            Op::Put { key, .. } | Op::Delete { key } | Op::Get { key } => key,
            Op::DeletePrefix { prefix } => prefix,
        }
    }

    /// Bytes this step adds to a request, to the accuracy a limit needs.
    pub fn size_bytes(&self) -> usize {
        let value = match self {
            Op::Put { value, .. } => value.len(),
            _ => 0,
        };
        self.key().len() + value + 32
    }
}

/// If every compare holds then `ops`, else `otherwise`; all in one revision, or nothing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
    pub otherwise: Vec<Op>,
    /// Allows a store with a limit on operations to commit `ops` as several revisions in order,
    /// each under the same compares. The first part whose compares fail ends it.
    pub may_split: bool,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }

    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }

    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    #[must_use]
    pub fn or_else(mut self, op: Op) -> Self {
        self.otherwise.push(op);
        self
    }

    #[must_use]
    pub fn may_split(mut self) -> Self {
        self.may_split = true;
        self
    }

    pub fn size_bytes(&self) -> usize {
        let compares: usize = self
            .compares
            .iter()
            .map(|c| match c {
                Compare::Value { key, value, .. } => key.len() + value.len() + 32,
                other => other.key().len() + 32,
            })
            .sum();
        compares + self.ops.iter().chain(&self.otherwise).map(Op::size_bytes).sum::<usize>()
    }
}

/// What one step of a transaction did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OpResult {
    Put,
    /// How many keys were removed.
    Deleted(u64),
    Got(Option<Entry>),
}

/// What a transaction did. `results` follow `ops` if `succeeded`, else `otherwise`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TxnOutcome {
    /// The revision of the writes; the store's present revision if nothing was written.
    pub revision: Revision,
    pub succeeded: bool,
    pub results: Vec<OpResult>,
}

/// What a store takes in one request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Operations that a transaction carries out when its compares hold.
    pub max_ops: usize,
    /// Compares, and operations in the else branch.
    pub max_compares: usize,
    /// Keys and values of a transaction together.
    pub max_request_bytes: usize,
}

/// The state of a store as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Status {
    pub revision: Revision,
    /// Watches and reads in the past can start here. For etcd the last compaction that this
    /// program knows of.
    pub oldest: Revision,
    pub size_bytes: u64,
    /// One line for people: which file, which endpoints and members.
    pub detail: String,
}
