//! All wanted entities of one device, each with the unit that owns it, and the other units that want the same key.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use pergola_pipeline::{Entity, EntityKey, EntityValue};

use crate::DeviceDelta;

const NOBODY: u32 = u32::MAX;
/// Marks a slot that was touched since the last [`DeviceTable::finish`]; kept in the cause's top bit, so that a slot is
/// 72 bytes.
const TOUCHED: u32 = 1 << 31;

struct Slot {
    key: EntityKey,
    value: EntityValue,
    unit: u32,
    cause: u32,
}

/// A unit that wants a key which a unit before it in order owns.
#[derive(Clone)]
pub(crate) struct Waiting {
    pub unit: u32,
    pub cause: u32,
    pub value: EntityValue,
}

/// The winning claim of a key.
pub(crate) struct Owner<'a> {
    pub key: &'a EntityKey,
    pub value: &'a EntityValue,
    pub unit: u32,
    pub cause: u32,
}

#[derive(Default)]
pub(crate) struct DeviceTable {
    slots: Vec<Slot>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    waiting: HashMap<u32, Vec<Waiting>>,
    /// Slots touched since the last finish, with the value they had before.
    touched: Vec<(u32, Option<EntityValue>)>,
}

impl DeviceTable {
    pub fn len(&self) -> usize {
        self.index.len()
    }

    pub fn find(&self, key: &EntityKey) -> Option<u32> {
        self.index.find(self.hasher.hash_one(key), |i| self.slots[*i as usize].key == *key).copied()
    }

    pub fn owner(&self, slot: u32) -> Owner<'_> {
        let s = &self.slots[slot as usize];
        Owner { key: &s.key, value: &s.value, unit: s.unit, cause: s.cause & !TOUCHED }
    }

    pub fn waiting(&self, slot: u32) -> &[Waiting] {
        self.waiting.get(&slot).map_or(&[], Vec::as_slice)
    }

    /// Slots that more than one unit wants.
    pub fn contested(&self) -> impl Iterator<Item = (u32, &[Waiting])> {
        self.waiting.iter().map(|(s, w)| (*s, w.as_slice()))
    }

    /// The wanted entities in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&EntityKey, &EntityValue)> {
        self.slots.iter().filter(|s| s.unit != NOBODY).map(|s| (&s.key, &s.value))
    }

    fn touch(&mut self, slot: u32) {
        let s = &mut self.slots[slot as usize];
        if s.cause & TOUCHED == 0 {
            s.cause |= TOUCHED;
            let before = (s.unit != NOBODY).then(|| s.value.clone());
            self.touched.push((slot, before));
        }
    }

    /// `unit` wants `entity`; returns its slot. `first(a, b)` says whether unit a comes before unit b.
    pub fn claim(&mut self, unit: u32, cause: u32, entity: Entity, first: impl Fn(u32, u32) -> bool) -> u32 {
        let hash = self.hasher.hash_one(&entity.key);
        let found = self.index.find(hash, |i| self.slots[*i as usize].key == entity.key).copied();
        let Some(slot) = found else {
            let new = Slot { key: entity.key, value: entity.value, unit, cause: cause | TOUCHED };
            let slot = match self.free.pop() {
                Some(i) => {
                    self.slots[i as usize] = new;
                    i
                }
                None => {
                    self.slots.push(new);
                    self.slots.len() as u32 - 1
                }
            };
            let (slots, hasher) = (&self.slots, &self.hasher);
            self.index.insert_unique(hash, slot, |i| hasher.hash_one(&slots[*i as usize].key));
            self.touched.push((slot, None));
            return slot;
        };
        let owner = self.slots[slot as usize].unit;
        if owner == unit || owner == NOBODY {
            self.set_owner(slot, unit, cause, entity.value);
        } else if first(unit, owner) {
            let s = &self.slots[slot as usize];
            let old = Waiting { unit: owner, cause: s.cause & !TOUCHED, value: s.value.clone() };
            // It may have been waiting with another value before.
            self.stop_waiting(slot, unit);
            self.wait(slot, old, &first);
            self.set_owner(slot, unit, cause, entity.value);
        } else {
            self.stop_waiting(slot, unit);
            self.wait(slot, Waiting { unit, cause, value: entity.value }, &first);
        }
        slot
    }

    fn set_owner(&mut self, slot: u32, unit: u32, cause: u32, value: EntityValue) {
        if self.slots[slot as usize].unit == NOBODY || self.slots[slot as usize].value != value {
            self.touch(slot);
        }
        let s = &mut self.slots[slot as usize];
        s.unit = unit;
        s.cause = cause | (s.cause & TOUCHED);
        s.value = value;
    }

    fn wait(&mut self, slot: u32, claim: Waiting, first: impl Fn(u32, u32) -> bool) {
        let list = self.waiting.entry(slot).or_default();
        let at = list.partition_point(|w| first(w.unit, claim.unit));
        list.insert(at, claim);
    }

    fn stop_waiting(&mut self, slot: u32, unit: u32) {
        if let Some(list) = self.waiting.get_mut(&slot) {
            list.retain(|w| w.unit != unit);
            if list.is_empty() {
                self.waiting.remove(&slot);
            }
        }
    }

    /// `unit` no longer wants what is in `slot`.
    pub fn release(&mut self, slot: u32, unit: u32) {
        if self.slots[slot as usize].unit != unit {
            return self.stop_waiting(slot, unit);
        }
        let next = self.waiting.get_mut(&slot).map(|list| list.remove(0));
        if self.waiting.get(&slot).is_some_and(Vec::is_empty) {
            self.waiting.remove(&slot);
        }
        match next {
            Some(w) => self.set_owner(slot, w.unit, w.cause, w.value),
            None => {
                self.touch(slot);
                self.slots[slot as usize].unit = NOBODY;
            }
        }
    }

    /// What changed since the last call.
    pub fn finish(&mut self) -> DeviceDelta {
        let mut delta = DeviceDelta::default();
        for (slot, before) in std::mem::take(&mut self.touched) {
            let s = &mut self.slots[slot as usize];
            s.cause &= !TOUCHED;
            if s.unit != NOBODY {
                if before.as_ref() != Some(&s.value) {
                    delta.put.push(Entity::new(s.key.clone(), s.value.clone()));
                }
                continue;
            }
            let hash = self.hasher.hash_one(&s.key);
            if before.is_some() {
                delta.del.push(s.key.clone());
            }
            if let Ok(entry) = self.index.find_entry(hash, |i| *i == slot) {
                entry.remove();
            }
            self.free.push(slot);
        }
        delta
    }
}
