//! A hash table with open addressing whose slots are RCU cells: one writer at a time, any number of waiting-free readers.

use std::sync::Arc;

use crate::rcu::{Pin, Probe, Rcu, RcuSlice};

/// Mixes a word into a hash.
#[inline(always)]
pub fn mix(hash: u64, word: u64) -> u64 {
    (hash.rotate_left(23) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15)
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
    slots: RcuSlice<T>,
}

impl<T: Hashed> Slots<T> {
    fn new(capacity: usize) -> Self {
        let len = capacity.next_power_of_two().max(8);
        Slots { shift: 64 - len.trailing_zeros(), slots: RcuSlice::new(len) }
    }

    #[inline]
    fn start(&self, hash: u64) -> usize {
        // Multiplicative hashing: the high bits are the good ones.
        (hash >> self.shift) as usize
    }

    fn place(&self, item: Arc<T>, pin: &Pin) -> bool {
        let mask = self.slots.len() - 1;
        let mut at = self.start(item.hash());
        loop {
            match self.slots[at].probe(pin) {
                Probe::Full(_) => at = (at + 1) & mask,
                Probe::Empty => {
                    self.slots[at].set(Some(item), pin);
                    return true;
                }
                Probe::Buried => {
                    self.slots[at].set(Some(item), pin);
                    return false;
                }
            }
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

    #[inline]
    pub fn find<'g>(&'g self, hash: u64, pin: &'g Pin, same: impl Fn(&T) -> bool) -> Option<&'g T> {
        let table = self.slots.load(pin)?;
        let mask = table.slots.len() - 1;
        let mut at = table.start(hash);
        loop {
            match table.slots[at & mask].probe(pin) {
                Probe::Full(item) if same(item) => return Some(item),
                Probe::Empty => return None,
                _ => at += 1,
            }
        }
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
        let table = self.slots.load(pin)?;
        let mask = table.slots.len() - 1;
        let mut at = table.start(hash);
        loop {
            match table.slots[at & mask].probe(pin) {
                Probe::Full(item) if same(item) => return Some(&table.slots[at & mask]),
                Probe::Empty => return None,
                _ => at += 1,
            }
        }
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
