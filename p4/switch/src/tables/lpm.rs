//! Longest-prefix match: a hash table of (length, prefix) and, per leading bits, which lengths exist below them.
//!
//! A lookup probes lengths from long to short. To probe few, the lengths beyond the first 16 (or 32) bits are kept per *stem*:
//! the entries that share the exact fields and those leading bits. Real tables have one to three lengths below a stem, so a
//! lookup is two to four probes whatever the number of lengths or entries, and an insert is two hash inserts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::entry::Entry;
use super::index::{Count, Hashed, Index, mix, mix_all};
use super::key::{Layout, Slot};
use crate::rcu::Pin;

impl Hashed for Entry {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }
}

/// A set of prefix lengths; bit `n` for length `n`.
struct Lengths(SmallVec<[AtomicU64; 3]>);

impl Lengths {
    fn new(width: u32) -> Self {
        Lengths((0..=width / 64).map(|_| AtomicU64::new(0)).collect())
    }

    fn set(&self, len: u32, on: bool) {
        let (word, bit) = (&self.0[len as usize / 64], 1 << (len % 64));
        if on {
            word.fetch_or(bit, Ordering::Release);
        } else {
            word.fetch_and(!bit, Ordering::Release);
        }
    }

    /// The lengths below `limit`, long ones first, until `f` finds something.
    #[inline]
    fn search<R>(&self, limit: u32, mut f: impl FnMut(u32) -> Option<R>) -> Option<R> {
        for word in (0..=(limit.saturating_sub(1) as usize / 64).min(self.0.len() - 1)).rev() {
            let mut bits = self.0[word].load(Ordering::Acquire);
            let top = limit - (word as u32) * 64;
            if top < 64 {
                bits &= (1 << top) - 1;
            }
            while bits != 0 {
                let bit = 63 - bits.leading_zeros();
                bits &= !(1 << bit);
                if let Some(found) = f(word as u32 * 64 + bit) {
                    return Some(found);
                }
            }
        }
        None
    }
}

/// How many entries of each length, for the writer.
#[derive(Default)]
struct Tally(SmallVec<[(u32, u32); 4]>);

impl Tally {
    /// True when `len` is new.
    fn add(&mut self, len: u32) -> bool {
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
    fn sub(&mut self, len: u32) -> bool {
        let Some(at) = self.0.iter().position(|t| t.0 == len) else { return false };
        self.0[at].1 -= 1;
        let gone = self.0[at].1 == 0;
        if gone {
            self.0.swap_remove(at);
        }
        gone
    }
}

#[repr(C)]
struct Stem {
    hash: u64,
    words: SmallVec<[u64; 3]>,
    lengths: Lengths,
    tally: Mutex<Tally>,
}

impl Hashed for Stem {
    fn hash(&self) -> u64 {
        self.hash
    }
}

pub struct Lpm {
    slot: Slot,
    /// Words without prefix bits, hashed first, and the prefix's words.
    others: Vec<usize>,
    /// Masks of the prefix's words for each length, other fields' bits set.
    masks: Vec<SmallVec<[u64; 2]>>,
    stem_len: u32,
    lengths: Lengths,
    /// Lengths in the whole table; few need no stems.
    distinct: AtomicUsize,
    entries: Index<Entry>,
    stems: Index<Stem>,
    writer: Mutex<Writer>,
}

#[derive(Default)]
struct Writer {
    entries: Count,
    stems: Count,
    tally: Tally,
}

/// Up to this many lengths are all probed.
const FEW: usize = 2;
const NO_LENGTH: u64 = 0x517c_c1b7;

impl Lpm {
    pub fn new(layout: &Layout, field: usize) -> Self {
        let slot = layout.slots[field];
        let range = slot.word..slot.word + slot.words;
        let masks = (0..=slot.width).map(|len| {
            let mut words = SmallVec::from_elem(0, slot.words);
            slot.prefix(len, &mut words);
            words.iter_mut().enumerate().for_each(|(i, w)| *w |= !slot.mask(i));
            words
        });
        Lpm {
            slot,
            others: (0..layout.words).filter(|w| !range.contains(w)).collect(),
            masks: masks.collect(),
            stem_len: if slot.width <= 40 { 16.min(slot.width) } else { 32 },
            lengths: Lengths::new(slot.width),
            distinct: AtomicUsize::new(0),
            entries: Index::new(),
            stems: Index::new(),
            writer: Mutex::default(),
        }
    }

    #[inline]
    fn base(&self, key: &[u64]) -> u64 {
        self.others.iter().fold(NO_LENGTH, |hash, &word| mix(hash, key[word]))
    }

    #[inline]
    fn hash_at(&self, base: u64, key: &[u64], len: u32) -> u64 {
        let words = key[self.slot.word..].iter().zip(&self.masks[len as usize]);
        words.fold(mix(base, u64::from(len)), |hash, (&word, &mask)| mix(hash, word & mask))
    }

    #[inline]
    fn same_prefix(&self, a: &[u64], b: &[u64], len: u32) -> bool {
        let at = self.slot.word;
        self.others.iter().all(|&w| a[w] == b[w])
            && self.masks[len as usize].iter().enumerate().all(|(i, m)| (a[at + i] ^ b[at + i]) & m == 0)
    }

    #[inline]
    pub fn find<'g>(&'g self, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        let base = self.base(key);
        let probe = |len: u32| {
            let hash = self.hash_at(base, key, len);
            self.entries.find(hash, pin, |e| {
                e.hash == hash && e.key.prefix_len == len && self.same_prefix(&e.key.words, key, len)
            })
        };
        let width = self.slot.width;
        if self.distinct.load(Ordering::Relaxed) <= FEW {
            return self.lengths.search(width + 1, probe);
        }
        if width > self.stem_len {
            let hash = self.hash_at(base, key, self.stem_len);
            let stem = self.stems.find(hash, pin, |s| s.hash == hash && self.same_prefix(&s.words, key, self.stem_len));
            if let Some(found) = stem.and_then(|stem| stem.lengths.search(width + 1, probe)) {
                return Some(found);
            }
        }
        self.lengths.search((self.stem_len + 1).min(width + 1), probe)
    }

    pub fn hash(&self, words: &[u64], len: u32) -> u64 {
        self.hash_at(self.base(words), words, len)
    }

    fn exactly<'a>(words: &'a [u64], len: u32) -> impl Fn(&Entry) -> bool + 'a {
        move |e: &Entry| e.key.prefix_len == len && e.key.words[..] == *words
    }

    pub fn get(&self, words: &[u64], len: u32, pin: &Pin) -> Option<Arc<Entry>> {
        self.entries.get(self.hash(words, len), pin, Self::exactly(words, len))
    }

    pub fn insert(&self, entry: Arc<Entry>, pin: &Pin) {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let (len, words) = (entry.key.prefix_len, entry.key.words.clone());
        self.entries.insert(&mut writer.entries, entry, pin);
        if len > self.stem_len {
            let hash = self.hash(&words, self.stem_len);
            let same = |s: &Stem| s.hash == hash && self.same_prefix(&s.words, &words, self.stem_len);
            let stem = self.stems.get(hash, pin, same).unwrap_or_else(|| {
                let stem = Arc::new(Stem {
                    hash,
                    words: SmallVec::from_slice(&words),
                    lengths: Lengths::new(self.slot.width),
                    tally: Mutex::default(),
                });
                self.stems.insert(&mut writer.stems, stem.clone(), pin);
                stem
            });
            if stem.tally.lock().add(len) {
                stem.lengths.set(len, true);
            }
        }
        // Last, so that a reader that trusts `distinct` finds every length in `lengths`.
        if writer.tally.add(len) {
            self.lengths.set(len, true);
            self.distinct.store(writer.tally.0.len(), Ordering::Release);
        }
    }

    pub fn remove(&self, words: &[u64], len: u32, pin: &Pin) -> Option<Arc<Entry>> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let hash = self.hash(words, len);
        let entry = self.entries.remove(&mut writer.entries, hash, pin, Self::exactly(words, len))?;
        if len > self.stem_len {
            let hash = self.hash(words, self.stem_len);
            let same = |s: &Stem| s.hash == hash && self.same_prefix(&s.words, words, self.stem_len);
            if let Some(stem) = self.stems.get(hash, pin, same) {
                let mut tally = stem.tally.lock();
                if tally.sub(len) {
                    stem.lengths.set(len, false);
                }
                if tally.0.is_empty() {
                    self.stems.remove(&mut writer.stems, hash, pin, same);
                }
            }
        }
        if writer.tally.sub(len) {
            self.lengths.set(len, false);
            self.distinct.store(writer.tally.0.len(), Ordering::Release);
        }
        Some(entry)
    }

    pub fn all(&self, pin: &Pin) -> Vec<Arc<Entry>> {
        let _writer = self.writer.lock();
        self.entries.all(pin)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.writer.lock().entries.full
    }
}

/// Exact match: the index alone.
pub struct Exact {
    entries: Index<Entry>,
    writer: Mutex<Count>,
}

impl Exact {
    pub fn new() -> Self {
        Exact { entries: Index::new(), writer: Mutex::default() }
    }

    #[inline]
    pub fn hash(words: &[u64]) -> u64 {
        mix_all(NO_LENGTH, words)
    }

    #[inline]
    pub fn find<'g>(&'g self, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        let hash = Self::hash(key);
        self.entries.find(hash, pin, |e| e.hash == hash && e.key.words[..] == *key)
    }

    pub fn get(&self, words: &[u64], pin: &Pin) -> Option<Arc<Entry>> {
        self.entries.get(Self::hash(words), pin, |e| e.key.words[..] == *words)
    }

    pub fn insert(&self, entry: Arc<Entry>, pin: &Pin) {
        self.entries.insert(&mut self.writer.lock(), entry, pin);
    }

    pub fn remove(&self, words: &[u64], pin: &Pin) -> Option<Arc<Entry>> {
        let hash = Self::hash(words);
        self.entries.remove(&mut self.writer.lock(), hash, pin, |e| e.key.words[..] == *words)
    }

    pub fn all(&self, pin: &Pin) -> Vec<Arc<Entry>> {
        let _writer = self.writer.lock();
        self.entries.all(pin)
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.writer.lock().full
    }
}
