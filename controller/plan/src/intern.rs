//! Small numbers for big names: devices for ever, causes as long as a unit names them.

use std::hash::{BuildHasher, Hash};

use hashbrown::{DefaultHashBuilder, HashTable};
use smallvec::SmallVec;

/// Numbers values from 0 and keeps them.
pub(crate) struct Interner<T> {
    values: Vec<T>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    last: u32,
}

impl<T: Clone + Eq + Hash> Interner<T> {
    pub fn new() -> Self {
        Interner { values: Vec::new(), index: HashTable::new(), hasher: DefaultHashBuilder::default(), last: 0 }
    }

    pub fn get(&self, value: &T) -> Option<u32> {
        let hash = self.hasher.hash_one(value);
        self.index.find(hash, |i| self.values[*i as usize] == *value).copied()
    }

    pub fn intern(&mut self, value: &T) -> u32 {
        if self.values.get(self.last as usize) == Some(value) {
            return self.last;
        }
        let hash = self.hasher.hash_one(value);
        self.last = match self.index.find(hash, |i| self.values[*i as usize] == *value) {
            Some(i) => *i,
            None => {
                let i = self.values.len() as u32;
                self.values.push(value.clone());
                let (values, hasher) = (&self.values, &self.hasher);
                self.index.insert_unique(hash, i, |i| hasher.hash_one(&values[*i as usize]));
                i
            }
        };
        self.last
    }

    pub fn value(&self, i: u32) -> &T {
        &self.values[i as usize]
    }

    pub fn iter(&self) -> impl Iterator<Item = (u32, &T)> {
        self.values.iter().enumerate().map(|(i, v)| (i as u32, v))
    }
}

/// A cause and the units that name it, in order.
struct CauseSlot<T> {
    value: T,
    units: SmallVec<[u32; 2]>,
}

/// Numbers causes. A number is given back by [`Causes::sweep`] once no unit names its cause.
pub(crate) struct Causes<T> {
    slots: Vec<Option<CauseSlot<T>>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    /// Numbers whose last unit went away, or that got none yet.
    idle: Vec<u32>,
    last: u32,
}

impl<T: Clone + Eq + Hash> Causes<T> {
    pub fn new() -> Self {
        Causes {
            slots: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            idle: Vec::new(),
            last: u32::MAX,
        }
    }

    fn is(&self, i: u32, value: &T) -> bool {
        matches!(self.slots.get(i as usize), Some(Some(s)) if s.value == *value)
    }

    pub fn get(&self, value: &T) -> Option<u32> {
        let hash = self.hasher.hash_one(value);
        self.index.find(hash, |i| self.is(*i, value)).copied()
    }

    pub fn intern(&mut self, value: &T) -> u32 {
        if self.is(self.last, value) {
            return self.last;
        }
        let hash = self.hasher.hash_one(value);
        self.last = match self.index.find(hash, |i| self.is(*i, value)) {
            Some(i) => *i,
            None => {
                let slot = Some(CauseSlot { value: value.clone(), units: SmallVec::new() });
                let i = match self.free.pop() {
                    Some(i) => {
                        self.slots[i as usize] = slot;
                        i
                    }
                    None => {
                        self.slots.push(slot);
                        self.slots.len() as u32 - 1
                    }
                };
                self.idle.push(i);
                let (slots, hasher) = (&self.slots, &self.hasher);
                self.index
                    .insert_unique(hash, i, |i| slots[*i as usize].as_ref().map_or(0, |s| hasher.hash_one(&s.value)));
                i
            }
        };
        self.last
    }

    pub fn value(&self, i: u32) -> Option<&T> {
        self.slots.get(i as usize)?.as_ref().map(|s| &s.value)
    }

    pub fn units(&self, i: u32) -> &[u32] {
        self.slots.get(i as usize).and_then(Option::as_ref).map_or(&[], |s| &s.units)
    }

    pub fn add_unit(&mut self, i: u32, unit: u32) {
        if let Some(Some(s)) = self.slots.get_mut(i as usize)
            && let Err(at) = s.units.binary_search(&unit)
        {
            s.units.insert(at, unit);
        }
    }

    pub fn remove_unit(&mut self, i: u32, unit: u32) {
        if let Some(Some(s)) = self.slots.get_mut(i as usize)
            && let Ok(at) = s.units.binary_search(&unit)
        {
            s.units.remove(at);
            if s.units.is_empty() {
                self.idle.push(i);
            }
        }
    }

    /// Forgets the causes that no unit names.
    pub fn sweep(&mut self) {
        for i in std::mem::take(&mut self.idle) {
            let Some(slot) = self.slots[i as usize].take_if(|s| s.units.is_empty()) else {
                continue;
            };
            let hash = self.hasher.hash_one(&slot.value);
            if let Ok(entry) = self.index.find_entry(hash, |j| *j == i) {
                entry.remove();
            }
            self.free.push(i);
        }
    }

    pub fn len(&self) -> usize {
        self.index.len()
    }
}
