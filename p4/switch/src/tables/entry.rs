//! Table entries and what they run.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::index::mix_all;
use super::key::Packed;
use super::profile::{Group, GroupData, Member};
use crate::program::ActionId;
use crate::rcu::{Pin, Rcu};
use crate::state::counter::CounterCell;
use crate::state::meter::MeterCell;

/// An action with its parameters: little-endian limbs, each parameter at least one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionData {
    pub action: ActionId,
    pub words: SmallVec<[u64; 4]>,
}

/// What an entry runs when it is hit.
pub enum Bound {
    Action(ActionData),
    Member(Arc<Member>),
    Group(Arc<Group>),
    /// A group that belongs to the entry alone.
    OneShot(GroupData),
}

/// Actions with parameters that entries have in common, the last of each kind. Routes by the thousand run few different ones:
/// shared, these stay in the nearest cache, and an entry is smaller by one allocation.
#[derive(Default)]
pub(crate) struct Common(Vec<Option<Arc<Bound>>>);

impl Common {
    const PLACES: usize = 256;

    /// What an entry is bound to: an equal action from before where there is one.
    pub fn share(&mut self, bound: Bound) -> Arc<Bound> {
        let Bound::Action(data) = &bound else { return Arc::new(bound) };
        if self.0.is_empty() {
            self.0.resize(Self::PLACES, None);
        }
        let place = (mix_all(data.action as u64, &data.words) >> 56) as usize;
        match &self.0[place] {
            Some(known) if matches!(&**known, Bound::Action(known) if known == data) => known.clone(),
            _ => {
                let bound = Arc::new(bound);
                self.0[place] = Some(bound.clone());
                bound
            }
        }
    }
}

/// One entry. The key never changes; the rest is replaced as a whole.
///
/// In this order, so that a packet that hits touches the first two cache lines only.
#[repr(C)]
pub struct Entry {
    pub(crate) hash: u64,
    pub(crate) bound: Rcu<Bound>,
    ttl_ms: AtomicU64,
    /// Packets and bytes, when the table has direct counters.
    pub counter: Option<CounterCell>,
    pub(crate) key: Packed,
    pub meter: Option<MeterCell>,
    /// A larger priority wins.
    pub priority: i32,
    pub(crate) seq: u64,
    last_hit_ms: AtomicU64,
    notified_ms: AtomicU64,
    /// Opaque to the switch (P4Runtime's `metadata` or anything else).
    cookie: Mutex<Arc<[u8]>>,
    pub is_const: bool,
}

pub(crate) struct NewParts {
    pub key: Packed,
    pub hash: u64,
    pub priority: i32,
    pub seq: u64,
    pub bound: Arc<Bound>,
    pub counter: Option<CounterCell>,
    pub meter: Option<MeterCell>,
    pub ttl_ms: u64,
    pub now_ms: u64,
    pub cookie: Arc<[u8]>,
    pub is_const: bool,
}

impl Entry {
    /// Where the counter of an entry that has one is in it.
    pub(crate) fn counter_offset() -> usize {
        let some = Some(CounterCell::new(1));
        let inside = some.as_ref().map_or(0, |cell| std::ptr::from_ref(cell).addr());
        std::mem::offset_of!(Entry, counter) + inside - std::ptr::from_ref(&some).addr()
    }

    pub(crate) fn new(parts: NewParts) -> Arc<Entry> {
        Arc::new(Entry {
            key: parts.key,
            hash: parts.hash,
            priority: parts.priority,
            seq: parts.seq,
            bound: Rcu::new(parts.bound),
            counter: parts.counter,
            meter: parts.meter,
            ttl_ms: AtomicU64::new(parts.ttl_ms),
            last_hit_ms: AtomicU64::new(parts.now_ms),
            notified_ms: AtomicU64::new(u64::MAX),
            cookie: Mutex::new(parts.cookie),
            is_const: parts.is_const,
        })
    }

    /// What the entry runs now.
    pub fn bound(&self, pin: &Pin) -> Option<Arc<Bound>> {
        self.bound.get(pin)
    }

    /// Time to live in milliseconds; 0 for ever.
    #[inline]
    pub fn ttl_ms(&self) -> u64 {
        self.ttl_ms.load(Ordering::Relaxed)
    }

    /// Gives the entry another life; when it was hit last stays.
    pub(crate) fn set_ttl(&self, ttl_ms: u64) {
        self.ttl_ms.store(ttl_ms, Ordering::Relaxed);
    }

    pub(crate) fn set_cookie(&self, cookie: Arc<[u8]>) {
        *self.cookie.lock() = cookie;
    }

    pub fn cookie(&self) -> Arc<[u8]> {
        self.cookie.lock().clone()
    }

    #[inline]
    pub(crate) fn touch(&self, now_ms: u64) {
        self.last_hit_ms.store(now_ms, Ordering::Relaxed);
    }

    /// Milliseconds since the last hit.
    pub fn idle_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_sub(self.last_hit_ms.load(Ordering::Relaxed))
    }

    /// True once for each time the entry's life ends without a hit.
    pub(crate) fn newly_expired(&self, now_ms: u64) -> bool {
        let (ttl, last) = (self.ttl_ms(), self.last_hit_ms.load(Ordering::Relaxed));
        if ttl == 0 || now_ms.saturating_sub(last) < ttl {
            return false;
        }
        self.notified_ms.swap(last, Ordering::Relaxed) != last
    }
}
