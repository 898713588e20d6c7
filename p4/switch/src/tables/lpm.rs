//! Longest-prefix match: a hash table of (length, prefix) and, per leading bits, which lengths exist below them.
//!
//! A lookup probes lengths from long to short. To probe few, the lengths beyond the first 16 (or 32) bits are kept per *stem*:
//! the entries that share the exact fields and those leading bits. Real tables have one to three lengths below a stem, so a
//! lookup is two to four probes whatever the number of lengths or entries, and an insert is two hash inserts. Below a stem
//! with many entries the next eight bits need no probe at all (see `stem`).

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::entry::Entry;
use super::index::{Count, Hashed, Index, mix, mix_all};
use super::key::{Layout, Slot};
use super::stem::{FAN_BITS, Lengths, Spot, Stem, Tally};
use crate::rcu::Pin;

impl Hashed for Entry {
    #[inline]
    fn hash(&self) -> u64 {
        self.hash
    }
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
    /// Masks of the prefix's words for each length, one length behind the other, other fields' bits set.
    masks: Box<[u64]>,
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
        let masks = (0..=slot.width).flat_map(|len| {
            let mut words: SmallVec<[u64; 2]> = SmallVec::from_elem(0, slot.words);
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

    #[inline(always)]
    fn base(&self, key: &[u64]) -> u64 {
        self.others.iter().fold(NO_LENGTH, |hash, &word| mix(hash, key[word]))
    }

    #[inline(always)]
    fn masks(&self, len: u32) -> &[u64] {
        &self.masks[len as usize * self.slot.words..][..self.slot.words]
    }

    #[inline(always)]
    fn hash_at(&self, base: u64, key: &[u64], len: u32) -> u64 {
        let words = key[self.slot.word..].iter().zip(self.masks(len));
        words.fold(mix(base, u64::from(len)), |hash, (&word, &mask)| mix(hash, word & mask))
    }

    #[inline(always)]
    fn same_prefix(&self, a: &[u64], b: &[u64], len: u32) -> bool {
        let at = self.slot.word;
        self.others.iter().all(|&w| a[w] == b[w])
            && self.masks(len).iter().enumerate().all(|(i, m)| (a[at + i] ^ b[at + i]) & m == 0)
    }

    /// The entry of one length that covers a key.
    #[inline(always)]
    fn probe<'g>(&'g self, base: u64, key: &[u64], len: u32, pin: &'g Pin) -> Option<&'g Entry> {
        let hash = self.hash_at(base, key, len);
        self.entries
            .find(hash, pin, |e| e.hash == hash && e.key.prefix_len == len && self.same_prefix(&e.key.words, key, len))
    }

    #[inline(always)]
    pub fn find<'g>(&'g self, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        let base = self.base(key);
        let width = self.slot.width;
        let mut limit = width + 1;
        if self.distinct.load(Ordering::Relaxed) > FEW && width > self.stem_len {
            let hash = self.hash_at(base, key, self.stem_len);
            let stem = self.stems.find(hash, pin, |s| s.hash == hash && self.same_prefix(&s.words, key, self.stem_len));
            let found = stem.and_then(|stem| match stem.fan.load(pin) {
                Some(fan) => {
                    let first = self.stem_len + FAN_BITS + 1;
                    fan.below(self.fan_bits(key), first, pin).resolve(|len| self.probe(base, key, len, pin))
                }
                None => self.search(&stem.lengths, base, key, limit, pin),
            });
            if found.is_some() {
                return found;
            }
            limit = self.stem_len + 1;
        }
        self.search(&self.lengths, base, key, limit, pin)
    }

    /// The entry of the longest of some lengths below `limit`.
    #[inline(never)]
    fn search<'g>(&'g self, lengths: &Lengths, base: u64, key: &[u64], limit: u32, pin: &'g Pin) -> Option<&'g Entry> {
        lengths.search(limit, |len| self.probe(base, key, len, pin))
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

    /// Whether the lengths beyond a fan fit the set that its places have.
    fn fans(&self) -> bool {
        let beyond = self.slot.width as i64 - i64::from(self.stem_len + FAN_BITS);
        self.slot.words == 1 && (0..=64).contains(&beyond)
    }

    /// The bits behind the stem.
    #[inline]
    fn fan_bits(&self, key: &[u64]) -> u8 {
        (key[self.slot.word] >> (self.slot.shift + self.slot.width - self.stem_len - FAN_BITS)) as u8
    }

    fn spot(&self, words: &[u64], len: u32) -> Spot {
        Spot { bits: len - self.stem_len, at: if self.fans() { self.fan_bits(words) } else { 0 } }
    }

    fn stem(&self, words: &[u64], pin: &Pin) -> (u64, Option<Arc<Stem>>) {
        let hash = self.hash(words, self.stem_len);
        (hash, self.stems.get(hash, pin, |s| s.hash == hash && self.same_prefix(&s.words, words, self.stem_len)))
    }

    pub fn insert(&self, entry: Arc<Entry>, pin: &Pin) {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let (len, words) = (entry.key.prefix_len, entry.key.words.clone());
        self.entries.insert(&mut writer.entries, entry.clone(), pin);
        if len > self.stem_len {
            let (hash, stem) = self.stem(&words, pin);
            let stem = stem.unwrap_or_else(|| {
                let stem = Arc::new(Stem::new(hash, &words, self.slot.width));
                self.stems.insert(&mut writer.stems, stem.clone(), pin);
                stem
            });
            stem.add(&entry, self.spot(&words, len), self.fans(), pin, |spot| {
                let shift = self.slot.shift + self.slot.width - self.stem_len - FAN_BITS;
                let mut words = words.clone();
                self.cut(&mut words, self.stem_len);
                words[self.slot.word] |= u64::from(spot.at) << shift;
                self.get(&words, self.stem_len + spot.bits, pin)
            });
        }
        // Last, so that a reader that trusts `distinct` finds every length in `lengths`.
        if writer.tally.add(len) {
            self.lengths.set(len, true);
            self.distinct.store(writer.tally.distinct(), Ordering::Release);
        }
    }

    /// Clears the prefix's bits behind the first `len`.
    fn cut(&self, words: &mut [u64], len: u32) {
        for (word, mask) in words[self.slot.word..].iter_mut().zip(self.masks(len)) {
            *word &= mask;
        }
    }

    pub fn remove(&self, words: &[u64], len: u32, pin: &Pin) -> Option<Arc<Entry>> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let hash = self.hash(words, len);
        let (stem_hash, stem) = if len > self.stem_len { self.stem(words, pin) } else { (0, None) };
        if let Some(stem) = &stem {
            self.entries.get(hash, pin, Self::exactly(words, len))?;
            stem.give_up(len, self.spot(words, len), pin, || {
                stem.lengths.search(len, |shorter| {
                    let mut words: SmallVec<[u64; 4]> = SmallVec::from_slice(words);
                    self.cut(&mut words, shorter);
                    self.get(&words, shorter, pin)
                })
            });
        }
        let entry = self.entries.remove(&mut writer.entries, hash, pin, Self::exactly(words, len))?;
        if let Some(stem) = stem
            && stem.sub(len, self.spot(words, len), self.fans(), pin)
        {
            self.stems.remove(&mut writer.stems, stem_hash, pin, |s| std::ptr::eq(s, &*stem));
        }
        if writer.tally.sub(len) {
            self.lengths.set(len, false);
            self.distinct.store(writer.tally.distinct(), Ordering::Release);
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

    #[inline(always)]
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
