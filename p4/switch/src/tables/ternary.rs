//! Tuple-space search: entries with the same masks share one hash table, tuples are tried from the highest priority down.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::Mutex;
use smallvec::SmallVec;

use super::entry::Entry;
use super::index::{Count, Hashed, Index, mix, mix_all};
use super::key::Packed;
use crate::rcu::{Pin, Rcu};

/// The entries of one tuple with one masked key, best first. More than one only with ranges or shadowed duplicates.
struct Bucket {
    hash: u64,
    tuple: u64,
    words: SmallVec<[u64; 4]>,
    entries: SmallVec<[Arc<Entry>; 1]>,
}

impl Hashed for Bucket {
    fn hash(&self) -> u64 {
        self.hash
    }
}

#[derive(Clone)]
struct Tuple {
    id: u64,
    best: i32,
    /// The masks that are not zero: (word, mask).
    masks: Arc<[(u16, u64)]>,
}

struct TupleList(Vec<Tuple>);

#[derive(Default)]
struct TupleState {
    id: u64,
    priorities: BTreeMap<i32, usize>,
}

#[derive(Default)]
struct Writer {
    count: Count,
    tuples: HashMap<SmallVec<[u64; 4]>, TupleState>,
    entries: HashMap<(Packed, i32), Arc<Entry>>,
    next_tuple: u64,
}

pub struct Ternary {
    buckets: Index<Bucket>,
    tuples: Rcu<TupleList>,
    writer: Mutex<Writer>,
}

fn order(a: &Entry, b: &Entry) -> std::cmp::Ordering {
    b.priority.cmp(&a.priority).then(a.seq.cmp(&b.seq))
}

fn bucket_hash(tuple: u64, masked: impl Iterator<Item = u64>) -> u64 {
    masked.fold(mix(0x2545_f491, tuple), mix)
}

impl Ternary {
    pub fn new() -> Self {
        let tuples = Rcu::new(Arc::new(TupleList(Vec::new())));
        Ternary { buckets: Index::new(), tuples, writer: Mutex::default() }
    }

    #[inline]
    pub fn find<'g>(&'g self, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        let mut best: Option<&Entry> = None;
        for tuple in &self.tuples.load(pin)?.0 {
            // Of equal priorities the older entry wins, as in BMv2, so equals are still looked at.
            if best.is_some_and(|b| b.priority > tuple.best) {
                break;
            }
            let hash = bucket_hash(tuple.id, tuple.masks.iter().map(|&(w, m)| key[usize::from(w)] & m));
            let found = self.buckets.find(hash, pin, |b| {
                b.hash == hash
                    && b.tuple == tuple.id
                    && tuple.masks.iter().all(|&(w, m)| (b.words[usize::from(w)] ^ key[usize::from(w)]) & m == 0)
            });
            let Some(bucket) = found else { continue };
            if let Some(entry) = bucket.entries.iter().find(|e| e.key.ranges.iter().all(|r| r.holds(key)))
                && best.is_none_or(|b| order(entry, b).is_lt())
            {
                best = Some(entry);
            }
        }
        best
    }

    pub fn hash(packed: &Packed) -> u64 {
        mix_all(0, &packed.words)
    }

    pub fn get(&self, packed: &Packed, priority: i32) -> Option<Arc<Entry>> {
        self.writer.lock().entries.get(&(packed.clone(), priority)).cloned()
    }

    fn masks(packed: &Packed) -> impl Iterator<Item = (u16, u64)> + '_ {
        packed.masks.iter().enumerate().filter(|(_, m)| **m != 0).map(|(w, &m)| (w as u16, m))
    }

    pub fn insert(&self, entry: Arc<Entry>, pin: &Pin) {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let next = &mut writer.next_tuple;
        let state = writer.tuples.entry(entry.key.masks.clone()).or_insert_with(|| {
            *next += 1;
            TupleState { id: *next, ..TupleState::default() }
        });
        let (id, was) = (state.id, state.priorities.keys().next_back().copied());
        *state.priorities.entry(entry.priority).or_default() += 1;
        let hash = bucket_hash(id, Self::masks(&entry.key).map(|(w, m)| entry.key.words[usize::from(w)] & m));
        let same = |b: &Bucket| b.tuple == id && b.words == entry.key.words;
        let old = self.buckets.get(hash, pin, same);
        let mut entries = old.as_ref().map_or_else(SmallVec::new, |bucket| bucket.entries.clone());
        entries.push(entry.clone());
        entries.sort_by(|a: &Arc<Entry>, b| order(a, b));
        let bucket = Arc::new(Bucket { hash, tuple: id, words: entry.key.words.clone(), entries });
        if old.is_some() {
            self.buckets.replace(bucket, pin, same);
        } else {
            self.buckets.insert(&mut writer.count, bucket, pin);
        }
        if was.is_none_or(|was| was < entry.priority) {
            self.publish(&entry.key, id, Some(entry.priority), pin);
        }
        writer.entries.insert((entry.key.clone(), entry.priority), entry);
    }

    /// Puts a tuple at its new place in the order, or takes it out.
    fn publish(&self, key: &Packed, id: u64, best: Option<i32>, pin: &Pin) {
        let old = self.tuples.load(pin).map_or(&[][..], |list| &list.0);
        let mut list: Vec<Tuple> = old.iter().filter(|t| t.id != id).cloned().collect();
        if let Some(best) = best {
            let at = list.partition_point(|t| t.best >= best);
            list.insert(at, Tuple { id, best, masks: Self::masks(key).collect() });
        }
        self.tuples.set(Some(Arc::new(TupleList(list))), pin);
    }

    pub fn remove(&self, packed: &Packed, priority: i32, pin: &Pin) -> Option<Arc<Entry>> {
        let mut writer = self.writer.lock();
        let writer = &mut *writer;
        let entry = writer.entries.remove(&(packed.clone(), priority))?;
        let state = writer.tuples.get_mut(&packed.masks)?;
        let id = state.id;
        let was = state.priorities.keys().next_back().copied();
        if let Some(count) = state.priorities.get_mut(&priority) {
            *count -= 1;
            if *count == 0 {
                state.priorities.remove(&priority);
            }
        }
        let now = state.priorities.keys().next_back().copied();
        let hash = bucket_hash(id, Self::masks(packed).map(|(w, m)| packed.words[usize::from(w)] & m));
        let same = |b: &Bucket| b.tuple == id && b.words == packed.words;
        if let Some(bucket) = self.buckets.get(hash, pin, same) {
            let entries: SmallVec<[Arc<Entry>; 1]> =
                bucket.entries.iter().filter(|e| !Arc::ptr_eq(e, &entry)).cloned().collect();
            if entries.is_empty() {
                self.buckets.remove(&mut writer.count, hash, pin, same);
            } else {
                let words = bucket.words.clone();
                self.buckets.replace(Arc::new(Bucket { hash, tuple: id, words, entries }), pin, same);
            }
        }
        if now.is_none() {
            writer.tuples.remove(&packed.masks);
        }
        if now != was {
            self.publish(packed, id, now, pin);
        }
        Some(entry)
    }

    pub fn all(&self) -> Vec<Arc<Entry>> {
        self.writer.lock().entries.values().cloned().collect()
    }

    #[cfg(test)]
    pub fn len(&self) -> usize {
        self.writer.lock().entries.len()
    }
}
