//! A hash table with open addressing whose slots are RCU cells: one writer at a time, any number of waiting-free readers.
//!
//! Beside each slot is a byte of its item's hash, so that a probe that meets another item does not touch that item: with
//! many entries each such look is a cache miss. A slot is filled before its byte is set, and the byte outlives the item.

use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use crate::rcu::{Pin, Probe, Rcu, RcuSlice};

/// Mixes a word into a hash.
///
/// Both halves of the product count: keys are packed, so consecutive numbers may stand anywhere in a word, and the lower half alone
/// would put those of a word's upper bits next to one another.
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash.rotate_left(23) ^ word) * 0xa076_1d64_78bd_642f;
    product as u64 ^ (product >> 64) as u64
}

#[inline(always)]
pub fn mix_all(hash: u64, words: &[u64]) -> u64 {
    words.iter().fold(hash, |hash, &word| mix(hash, word))
}

/// What an index stores: it knows its own hash.
pub trait Hashed: Send + Sync + 'static {
    fn hash(&self) -> u64;
}

struct Slots<T: Hashed> {
    shift: u32,
    tags: Box<[AtomicU8]>,
    slots: RcuSlice<T>,
}

/// The byte of a slot that was never used.
const UNUSED: u8 = 0;

/// The byte of a used slot, from bits that [`Slots::start`] does not use in tables of up to 2^24 slots.
#[inline(always)]
fn tag(hash: u64) -> u8 {
    (hash >> 33) as u8 | 1
}

impl<T: Hashed> Slots<T> {
    fn new(capacity: usize) -> Self {
        let len = capacity.next_power_of_two().max(8);
        let tags = (0..len).map(|_| AtomicU8::new(UNUSED)).collect();
        Slots { shift: 64 - len.trailing_zeros(), tags, slots: RcuSlice::new(len) }
    }

    #[inline]
    fn start(&self, hash: u64) -> usize {
        // Multiplicative hashing: the high bits are the good ones.
        (hash >> self.shift) as usize
    }

    /// Puts an item into the first free slot; false when that was a deleted one.
    fn place(&self, item: Arc<T>, pin: &Pin) -> bool {
        let mask = self.slots.len() - 1;
        let hash = item.hash();
        let mut at = self.start(hash);
        let unused = loop {
            match self.slots[at].probe(pin) {
                Probe::Full(_) => at = (at + 1) & mask,
                Probe::Empty => break true,
                Probe::Buried => break false,
            }
        };
        self.slots[at].set(Some(item), pin);
        self.tags[at].store(tag(hash), Ordering::Release);
        unused
    }

    /// The slot of the item with this hash that is `same`, and the item.
    #[inline(always)]
    fn find<'g>(&'g self, hash: u64, pin: &'g Pin, same: impl Fn(&T) -> bool) -> Option<(&'g Rcu<T>, &'g T)> {
        let mask = self.slots.len() - 1;
        let wanted = tag(hash);
        let mut at = self.start(hash);
        loop {
            let found = self.tags[at & mask].load(Ordering::Acquire);
            if found == UNUSED {
                return None;
            }
            if found == wanted {
                let slot = &self.slots[at & mask];
                if let Probe::Full(item) = slot.probe(pin)
                    && same(item)
                {
                    return Some((slot, item));
                }
            }
            at += 1;
        }
    }
}

/// The index. Methods that change it must be called by one thread at a time.
pub struct Index<T: Hashed> {
    slots: Rcu<Slots<T>>,
}

/// The writer's book-keeping of one index.
#[derive(Default)]
pub struct Count {
    pub full: usize,
    buried: usize,
}

impl<T: Hashed> Index<T> {
    pub fn new() -> Self {
        Index { slots: Rcu::new(Arc::new(Slots::new(8))) }
    }

    #[inline(always)]
    pub fn find<'g>(&'g self, hash: u64, pin: &'g Pin, same: impl Fn(&T) -> bool) -> Option<&'g T> {
        Some(self.slots.load(pin)?.find(hash, pin, same)?.1)
    }

    pub fn insert(&self, count: &mut Count, item: Arc<T>, pin: &Pin) {
        let Some(table) = self.slots.load(pin) else { return };
        if (count.full + count.buried + 1) * 2 > table.slots.len() {
            let grown = Slots::new((count.full + 1) * 4);
            let mask = grown.slots.len() - 1;
            table.slots.move_into(&grown.slots, pin, |item| {
                let mut at = grown.start(item.hash());
                while matches!(grown.slots[at].probe(pin), Probe::Full(_)) {
                    at = (at + 1) & mask;
                }
                // Nobody reads the new table before it is published below.
                grown.tags[at].store(tag(item.hash()), Ordering::Release);
                at
            });
            grown.place(item, pin);
            count.buried = 0;
            self.slots.set(Some(Arc::new(grown)), pin);
        } else if !table.place(item, pin) {
            count.buried -= 1;
        }
        count.full += 1;
    }

    fn slot<'g>(&'g self, hash: u64, pin: &'g Pin, same: impl Fn(&T) -> bool) -> Option<&'g Rcu<T>> {
        Some(self.slots.load(pin)?.find(hash, pin, same)?.0)
    }

    /// Puts `item` in the place of the one that is `same`.
    pub fn replace(&self, item: Arc<T>, pin: &Pin, same: impl Fn(&T) -> bool) {
        if let Some(slot) = self.slot(item.hash(), pin, same) {
            slot.set(Some(item), pin);
        }
    }

    pub fn remove(&self, count: &mut Count, hash: u64, pin: &Pin, same: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        let slot = self.slot(hash, pin, same)?;
        let item = slot.get(pin)?;
        slot.bury(pin);
        count.full -= 1;
        count.buried += 1;
        Some(item)
    }

    pub fn get(&self, hash: u64, pin: &Pin, same: impl Fn(&T) -> bool) -> Option<Arc<T>> {
        self.slot(hash, pin, same)?.get(pin)
    }

    pub fn all(&self, pin: &Pin) -> Vec<Arc<T>> {
        let slots = self.slots.load(pin).map_or(&[][..], |table| &table.slots[..]);
        slots.iter().filter_map(|slot| slot.get(pin)).collect()
    }
}
