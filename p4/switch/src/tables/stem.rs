//! What lies below one stem of a longest-prefix table: which lengths exist, and for the next eight bits the best entry itself.
//!
//! A stem with few entries only says which lengths are worth a probe. One with many gets a *fan*: a place for each value of
//! the eight bits behind the stem, with the longest entry that ends within them and the set of longer lengths below. A lookup
//! then finds its entry by one index in place of a probe for each length. A fan is four kilobytes, so it wants some entries.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use smallvec::SmallVec;

use super::entry::Entry;
use crate::rcu::{Pin, Rcu};

/// Bits that a fan spreads out.
pub const FAN_BITS: u32 = 8;
/// Entries below a stem that make a fan worth its memory.
const MANY: u32 = 24;

/// A set of prefix lengths; bit `n` for length `n`.
pub struct Lengths(SmallVec<[AtomicU64; 3]>);

impl Lengths {
    pub fn new(width: u32) -> Self {
        Lengths((0..=width / 64).map(|_| AtomicU64::new(0)).collect())
    }

    pub fn set(&self, len: u32, on: bool) {
        let (word, bit) = (&self.0[len as usize / 64], 1 << (len % 64));
        if on {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// The lengths below `limit`, long ones first, until `f` finds something.
    #[inline]
    pub fn search<R>(&self, limit: u32, mut f: impl FnMut(u32) -> Option<R>) -> Option<R> {
        for word in (0..=(limit.saturating_sub(1) as usize / 64).min(self.0.len() - 1)).rev() {
            let mut bits = self.0[word].load(Ordering::Acquire);
            let top = limit - (word as u32) * 64;
            if top < 64 {
                bits &= (1 << top) - 1;
            }
            if let Some(found) = each(bits, |bit| f(word as u32 * 64 + bit)) {
                return Some(found);
            }
        }
        None
    }
}

/// The numbers of the set bits, high ones first, until `f` finds something.
#[inline]
fn each<R>(mut bits: u64, mut f: impl FnMut(u32) -> Option<R>) -> Option<R> {
    while bits != 0 {
        let bit = 63 - bits.leading_zeros();
        bits &= !(1 << bit);
        if let Some(found) = f(bit) {
            return Some(found);
        }
    }
    None
}

/// How many entries of each length, for the writer.
#[derive(Default)]
pub struct Tally(SmallVec<[(u32, u32); 4]>);

impl Tally {
    /// True when `len` is new.
    pub fn add(&mut self, len: u32) -> bool {
        match self.0.iter_mut().find(|t| t.0 == len) {
            Some(tally) => {
                tally.1 += 1;
                false
            }
            None => {
                self.0.push((len, 1));
                true
            }
        }
    }

    /// True when it was the last of `len`.
    pub fn sub(&mut self, len: u32) -> bool {
        let Some(at) = self.0.iter().position(|t| t.0 == len) else { return false };
        self.0[at].1 -= 1;
        let gone = self.0[at].1 == 0;
        if gone {
            self.0.swap_remove(at);
        }
        gone
    }

    /// Different lengths.
    pub fn distinct(&self) -> usize {
        self.0.len()
    }

    pub fn total(&self) -> u32 {
        self.0.iter().map(|t| t.1).sum()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// One value of a fan's bits.
#[derive(Default)]
struct Place {
    /// The longest entry that ends within the fan.
    best: Rcu<Entry>,
    /// Longer lengths below; bit 0 for the first length beyond the fan.
    longer: AtomicU64,
}

/// The eight bits behind a stem, spread out.
pub struct Fan {
    places: Box<[Place; 1 << FAN_BITS]>,
}

/// What a fan says of a key.
pub struct Below<'g> {
    best: Option<&'g Entry>,
    longer: u64,
    first: u32,
}

impl<'g> Below<'g> {
    /// The entry: of the longer lengths where `probe` finds one, else the fan's.
    #[inline]
    pub fn resolve(self, mut probe: impl FnMut(u32) -> Option<&'g Entry>) -> Option<&'g Entry> {
        each(self.longer, |bit| probe(self.first + bit)).or(self.best)
    }
}

impl Fan {
    fn new() -> Self {
        Fan { places: Box::new(std::array::from_fn(|_| Place::default())) }
    }

    /// `at` is the value of the fan's bits, `first` the first length beyond the fan.
    #[inline]
    pub fn below<'g>(&'g self, at: u8, first: u32, pin: &'g Pin) -> Below<'g> {
        let place = &self.places[usize::from(at)];
        let longer = place.longer.load(Ordering::Acquire);
        Below { best: place.best.load(pin), longer, first }
    }

    /// The places that a prefix of `bits` (1 to 8) of the fan's bits covers.
    fn covered(at: u8, bits: u32) -> std::ops::Range<usize> {
        let size = 1usize << (FAN_BITS - bits);
        let from = usize::from(at) & !(size - 1);
        from..from + size
    }

    /// Puts an entry where no longer one is.
    fn spread(&self, entry: &Arc<Entry>, at: u8, bits: u32, pin: &Pin) {
        let len = entry.key.prefix_len;
        for place in &self.places[Self::covered(at, bits)] {
            if place.best.load(pin).is_none_or(|best| best.key.prefix_len <= len) {
                place.best.set(Some(entry.clone()), pin);
            }
        }
    }

    /// Takes the entry of this length away; `next` is the longest that is left above it.
    fn fold(&self, len: u32, next: Option<&Arc<Entry>>, at: u8, bits: u32, pin: &Pin) {
        for place in &self.places[Self::covered(at, bits)] {
            if place.best.load(pin).is_some_and(|best| best.key.prefix_len == len) {
                place.best.set(next.cloned(), pin);
            }
        }
    }
}

/// The writer's book-keeping of a stem.
#[derive(Default)]
struct Books {
    tally: Tally,
    /// Entries beyond the fan, by its bits and the number of bits beyond.
    beyond: HashMap<(u8, u8), u32>,
}

/// Where the prefix of an entry lies below its stem.
#[derive(Clone, Copy)]
pub struct Spot {
    /// Bits of the prefix behind the stem.
    pub bits: u32,
    /// The value of the fan's bits; those behind the prefix are zero.
    pub at: u8,
}

/// The entries that share the exact fields and the leading bits.
#[repr(C)]
pub struct Stem {
    pub hash: u64,
    pub words: SmallVec<[u64; 3]>,
    pub lengths: Lengths,
    pub fan: Rcu<Fan>,
    books: parking_lot::Mutex<Books>,
}

impl Stem {
    pub fn new(hash: u64, words: &[u64], width: u32) -> Self {
        Stem {
            hash,
            words: SmallVec::from_slice(words),
            lengths: Lengths::new(width),
            fan: Rcu::empty(),
            books: parking_lot::Mutex::default(),
        }
    }

    /// After an entry came. `fans` says whether keys of this table have fans at all; `get` finds the entry of a number of bits
    /// and a value of the fan's bits, for a fan that begins.
    pub fn add(&self, entry: &Arc<Entry>, spot: Spot, fans: bool, pin: &Pin, get: impl Fn(Spot) -> Option<Arc<Entry>>) {
        let mut books = self.books.lock();
        if books.tally.add(entry.key.prefix_len) {
            self.lengths.set(entry.key.prefix_len, true);
        }
        if !fans {
            return;
        }
        if spot.bits > FAN_BITS {
            let beyond = spot.bits - FAN_BITS;
            *books.beyond.entry((spot.at, beyond as u8)).or_default() += 1;
            if let Some(fan) = self.fan.load(pin) {
                fan.places[usize::from(spot.at)].longer.fetch_or(1 << (beyond - 1), Ordering::Release);
            }
        } else if let Some(fan) = self.fan.load(pin) {
            fan.spread(entry, spot.at, spot.bits, pin);
        }
        if books.tally.total() == MANY && self.fan.load(pin).is_none() {
            let fan = Fan::new();
            for bits in 1..=FAN_BITS {
                for start in 0..1u32 << bits {
                    let spot = Spot { bits, at: (start << (FAN_BITS - bits)) as u8 };
                    if let Some(entry) = get(spot) {
                        fan.spread(&entry, spot.at, bits, pin);
                    }
                }
            }
            for &(at, beyond) in books.beyond.keys() {
                fan.places[usize::from(at)].longer.fetch_or(1 << (beyond - 1), Ordering::Relaxed);
            }
            self.fan.set(Some(Arc::new(fan)), pin);
        }
    }

    /// Before an entry of `len` goes: its places pass to the one that `next` finds among the shorter.
    pub fn give_up(&self, len: u32, spot: Spot, pin: &Pin, next: impl Fn() -> Option<Arc<Entry>>) {
        if spot.bits <= FAN_BITS
            && let Some(fan) = self.fan.load(pin)
        {
            fan.fold(len, next().as_ref(), spot.at, spot.bits, pin);
        }
    }

    /// After an entry of `len` went; true when it was the last.
    pub fn sub(&self, len: u32, spot: Spot, fans: bool, pin: &Pin) -> bool {
        let mut books = self.books.lock();
        if books.tally.sub(len) {
            self.lengths.set(len, false);
        }
        if fans && spot.bits > FAN_BITS {
            let beyond = spot.bits - FAN_BITS;
            let key = (spot.at, beyond as u8);
            if let Some(count) = books.beyond.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    books.beyond.remove(&key);
                    if let Some(fan) = self.fan.load(pin) {
                        fan.places[usize::from(spot.at)].longer.fetch_and(!(1 << (beyond - 1)), Ordering::Release);
                    }
                }
            }
        }
        books.tally.is_empty()
    }
}
