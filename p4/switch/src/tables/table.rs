//! One table: the structure its match kinds need, the default entry, and the checks of writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::entry::{Bound, Common, Entry, NewParts};
use super::key::{KeyError, KeyField, Layout, Packed};
use super::lpm::{Exact, Lpm};
use super::ternary::Ternary;
use crate::program::{ActionId, MatchKind, MeterUnit, TableInfo, code::TableCode};
use crate::rcu::{Changes, Pin, Rcu, pin};
use crate::state::counter::CounterCell;
use crate::state::meter::MeterCell;

/// Why a write or a read of a table was refused. Nothing changed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TableError {
    #[error("no table has the id {0}")]
    NoTable(usize),
    #[error(transparent)]
    Key(#[from] KeyError),
    #[error("the table has no such entry")]
    NotFound,
    #[error("the table already has an entry with this key")]
    Exists,
    #[error("the table is full: {0} entries")]
    Full(usize),
    #[error("the program fixes the entries of this table")]
    ConstEntries,
    #[error("the program fixes the default action of this table")]
    ConstDefault,
    #[error("the table has no key: only its default entry can be set")]
    NoKey,
    #[error("the action {0} is not among the table's actions")]
    Action(usize),
    #[error("action {action} parameter {param}: the value needs {found} bits, the parameter has {wanted}")]
    ParamTooWide { action: usize, param: usize, found: u32, wanted: u32 },
    #[error("action {action}: found {found} parameters, expected {wanted}")]
    ParamCount { action: usize, found: usize, wanted: usize },
    #[error("the table takes {wanted}, found {found}")]
    ActionKind { found: &'static str, wanted: &'static str },
    #[error("the action profile has no member {0}")]
    NoMember(u32),
    #[error("the action profile has no group {0}")]
    NoGroup(u32),
    #[error("a weight of {0}; allowed are 1 and more")]
    Weight(i64),
    #[error("the table has no direct counter")]
    NoCounter,
    #[error("the table has no direct meter")]
    NoMeter,
    #[error("the table does not support idle timeouts")]
    NoTimeout,
}

enum Match {
    /// A table without a key: the default entry always runs.
    Keyless,
    Exact(Exact),
    Lpm(Lpm),
    Ternary(Ternary),
}

/// A table's entries. What packets read comes first, in as few cache lines as there can be.
#[repr(C)]
pub struct Table {
    /// The default action while the table has no entries and that action does nothing but count, else [`BUSY`].
    idle: AtomicUsize,
    pub(crate) default: Rcu<Entry>,
    /// Entries, so that packets skip an empty table without computing its key.
    len: AtomicUsize,
    /// Of entries; only where look-ups are worth remembering.
    changes: Option<Changes>,
    meter: Option<MeterUnit>,
    counters: Option<usize>,
    entries: Match,
    pub(crate) layout: Layout,
    /// Actions of the table without primitives.
    noops: Vec<ActionId>,
    seq: AtomicU64,
    size: usize,
    /// One change at a time, so that checks and changes belong together. Packets never take it.
    write: Mutex<Common>,
}

/// The table must be applied.
const BUSY: usize = usize::MAX;

impl Table {
    /// Where compiled code finds [`Table::idle`], and what it says while the table must be applied.
    pub(crate) const IDLE: usize = std::mem::offset_of!(Table, idle);
    pub(crate) const BUSY: usize = BUSY;
    /// The address of the default entry.
    pub(crate) const DEFAULT: usize = std::mem::offset_of!(Table, default);
}

/// What a new entry has besides its key.
pub(crate) struct Rest {
    pub bound: Bound,
    pub priority: i32,
    pub ttl_ms: u64,
    pub now_ms: u64,
    pub cookie: Arc<[u8]>,
    pub is_const: bool,
}

impl Table {
    /// `shards` is the number of counter shards an entry gets when the table counts.
    pub(crate) fn new(
        info: &TableInfo,
        code: &TableCode,
        meter: Option<MeterUnit>,
        shards: usize,
        noops: Vec<ActionId>,
    ) -> Table {
        let kinds: Vec<MatchKind> = info.fields.iter().map(|f| f.kind).collect();
        let layout = Layout::new(code, kinds);
        let entries = if info.fields.is_empty() {
            Match::Keyless
        } else if layout.wildcards {
            Match::Ternary(Ternary::new())
        } else if let Some(field) = layout.kinds.iter().position(|k| *k == MatchKind::Lpm) {
            Match::Lpm(Lpm::new(&layout, field))
        } else {
            Match::Exact(Exact::new())
        };
        Table {
            changes: layout.wildcards.then(Changes::new),
            layout,
            entries,
            default: Rcu::empty(),
            len: AtomicUsize::new(0),
            idle: AtomicUsize::new(BUSY),
            noops,
            seq: AtomicU64::new(0),
            size: info.size,
            counters: info.has_counters.then_some(shards),
            meter,
            write: Mutex::default(),
        }
    }

    /// The entry that a packed key hits. Made anew for each number of words that compiled code looks up.
    #[inline(always)]
    pub(crate) fn find<'g>(&'g self, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        match &self.entries {
            Match::Exact(exact) => exact.find(key, pin),
            Match::Lpm(lpm) => lpm.find(key, pin),
            Match::Ternary(ternary) => ternary.find(key, pin),
            Match::Keyless => None,
        }
    }

    /// The changes of a table whose look-ups are worth remembering.
    #[inline]
    pub(crate) fn changes(&self) -> Option<&Changes> {
        self.changes.as_ref()
    }

    #[inline]
    pub fn is_empty(&self) -> bool {
        self.len.load(Ordering::Relaxed) == 0
    }

    /// The action to report, and the counter to count in, when applying the table would do nothing else.
    #[inline]
    pub(crate) fn idle<'g>(&'g self, pin: &'g Pin) -> Option<(ActionId, Option<&'g CounterCell>)> {
        let idle = self.idle.load(Ordering::Acquire);
        if idle == BUSY {
            return None;
        }
        let counter = self.counters.and_then(|_| self.default.load(pin)?.counter.as_ref());
        Some((idle, counter))
    }

    /// Called under the write lock, with the pin of the change, after every change of the entries or of the default entry.
    fn settle(&self, pin: &Pin) {
        if let Some(changes) = &self.changes {
            changes.note(pin);
        }
        let action = self.default.load(pin).and_then(|entry| match entry.bound.load(pin) {
            Some(Bound::Action(data)) if entry.meter.is_none() => Some(data.action),
            _ => None,
        });
        let idle = action.filter(|action| self.is_empty() && self.noops.contains(action));
        self.idle.store(idle.unwrap_or(BUSY), Ordering::Release);
    }

    /// Whether entries have meters.
    #[inline]
    pub(crate) fn has_meter(&self) -> bool {
        self.meter.is_some()
    }

    /// Number of entries without the default entry.
    pub fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    fn make(&self, key: Packed, hash: u64, common: &mut Common, rest: Rest) -> Arc<Entry> {
        Entry::new(NewParts {
            key,
            hash,
            priority: rest.priority,
            seq: self.seq.fetch_add(1, Ordering::Relaxed),
            bound: common.share(rest.bound),
            counter: self.counters.map(CounterCell::new),
            meter: self.meter.map(MeterCell::new),
            ttl_ms: rest.ttl_ms,
            now_ms: rest.now_ms,
            cookie: rest.cookie,
            is_const: rest.is_const,
        })
    }

    pub(crate) fn insert(&self, key: &[KeyField], rest: Rest) -> Result<Arc<Entry>, TableError> {
        let packed = self.layout.pack(key)?;
        let pin = pin();
        let mut common = self.write.lock();
        if self.lookup(&packed, rest.priority, &pin)?.is_some() {
            return Err(TableError::Exists);
        }
        if self.len() >= self.size {
            return Err(TableError::Full(self.size));
        }
        let hash = match &self.entries {
            Match::Exact(_) => Exact::hash(&packed.words),
            Match::Lpm(lpm) => lpm.hash(&packed.words, packed.prefix_len),
            _ => Ternary::hash(&packed),
        };
        let entry = self.make(packed, hash, &mut common, rest);
        match &self.entries {
            Match::Exact(exact) => exact.insert(entry.clone(), &pin),
            Match::Lpm(lpm) => lpm.insert(entry.clone(), &pin),
            Match::Ternary(ternary) => ternary.insert(entry.clone(), &pin),
            Match::Keyless => return Err(TableError::NoKey),
        }
        self.len.fetch_add(1, Ordering::Relaxed);
        self.settle(&pin);
        Ok(entry)
    }

    fn lookup(&self, packed: &Packed, priority: i32, pin: &Pin) -> Result<Option<Arc<Entry>>, TableError> {
        Ok(match &self.entries {
            Match::Exact(exact) => exact.get(&packed.words, pin),
            Match::Lpm(lpm) => lpm.get(&packed.words, packed.prefix_len, pin),
            Match::Ternary(ternary) => ternary.get(packed, priority),
            Match::Keyless => return Err(TableError::NoKey),
        })
    }

    /// The entry with exactly this key (and priority, where the table has priorities).
    pub fn get(&self, key: &[KeyField], priority: i32) -> Result<Option<Arc<Entry>>, TableError> {
        let packed = self.layout.pack(key)?;
        self.lookup(&packed, priority, &pin())
    }

    pub(crate) fn delete(&self, key: &[KeyField], priority: i32) -> Result<Arc<Entry>, TableError> {
        let packed = self.layout.pack(key)?;
        let pin = pin();
        let _write = self.write.lock();
        let entry = match &self.entries {
            Match::Exact(exact) => exact.remove(&packed.words, &pin),
            Match::Lpm(lpm) => lpm.remove(&packed.words, packed.prefix_len, &pin),
            Match::Ternary(ternary) => ternary.remove(&packed, priority, &pin),
            Match::Keyless => return Err(TableError::NoKey),
        };
        let entry = entry.ok_or(TableError::NotFound)?;
        self.len.fetch_sub(1, Ordering::Relaxed);
        self.settle(&pin);
        Ok(entry)
    }

    /// All entries at one time, in no particular order. Costs writers the copy of the list, packets nothing.
    pub fn entries(&self) -> Vec<Arc<Entry>> {
        let pin = pin();
        match &self.entries {
            Match::Exact(exact) => exact.all(&pin),
            Match::Lpm(lpm) => lpm.all(&pin),
            Match::Ternary(ternary) => ternary.all(),
            Match::Keyless => Vec::new(),
        }
    }

    /// The typed key of one of this table's entries; empty for the default entry.
    pub fn key_of(&self, entry: &Entry) -> Vec<KeyField> {
        if entry.key.words.len() < self.layout.words || self.layout.slots.is_empty() {
            return Vec::new();
        }
        self.layout.unpack(&entry.key)
    }

    /// Gives an entry another action.
    pub(crate) fn rebind(&self, entry: &Entry, bound: Bound) {
        let bound = self.write.lock().share(bound);
        entry.bound.set(Some(bound), &pin());
    }

    pub(crate) fn set_default(&self, bound: Option<Bound>) {
        let pin = pin();
        let mut common = self.write.lock();
        match (bound, self.default.load(&pin)) {
            (None, _) => self.default.set(None, &pin),
            (Some(bound), Some(entry)) => entry.bound.set(Some(common.share(bound)), &pin),
            (Some(bound), None) => {
                let cookie = Arc::default();
                let rest = Rest { bound, priority: 0, ttl_ms: 0, now_ms: 0, cookie, is_const: false };
                self.default.set(Some(self.make(Packed::default(), 0, &mut common, rest)), &pin);
            }
        }
        self.settle(&pin);
    }

    /// Checks that the structure and the count agree; for tests.
    #[cfg(test)]
    pub(crate) fn structure_len(&self) -> usize {
        match &self.entries {
            Match::Exact(exact) => exact.len(),
            Match::Lpm(lpm) => lpm.len(),
            Match::Ternary(ternary) => ternary.len(),
            Match::Keyless => 0,
        }
    }
}
