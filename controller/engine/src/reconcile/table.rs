//! Everything that is wanted of a device or known to be on it, one slot a key.

use std::hash::BuildHasher;

use hashbrown::{DefaultHashBuilder, HashTable};
use pergola_pipeline::{EntityKey, EntityValue};
use pergola_southbound::Verb;

/// What the switch holds under a key. Values are kept as fingerprints: what matters is whether they are the wanted ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Actual {
    Absent,
    Present(u64),
    /// There, with a value that was not read.
    Other,
    /// Nobody knows.
    Unknown,
}

impl Actual {
    pub fn is_present(self) -> bool {
        matches!(self, Actual::Present(_) | Actual::Other)
    }
}

#[derive(Debug)]
pub(super) struct Slot {
    pub key: EntityKey,
    pub wanted: Option<EntityValue>,
    pub actual: Actual,
    /// The cycle in which a read last showed it.
    pub seen: u32,
    /// The clock when a write of it last ended.
    pub written: u32,
    /// Where it is queued; 0 is nowhere.
    pub queued: u16,
    /// Refusals in a row.
    pub attempts: u8,
    pub flying: bool,
}

impl Slot {
    /// The write it needs.
    pub fn need(&self) -> Option<Verb> {
        let forever = self.key.kind().always_exists();
        match (&self.wanted, self.actual) {
            (Some(w), Actual::Present(held)) => (held != w.fingerprint()).then_some(Verb::Modify),
            (Some(_), Actual::Other) => Some(Verb::Modify),
            (Some(_), Actual::Absent | Actual::Unknown) if forever => Some(Verb::Modify),
            (Some(_), Actual::Absent | Actual::Unknown) => Some(Verb::Insert),
            (None, Actual::Absent) => None,
            (None, Actual::Present(_) | Actual::Other | Actual::Unknown) => Some(Verb::Delete),
        }
    }
}

#[derive(Debug, Default)]
pub(super) struct Table {
    slots: Vec<Option<Slot>>,
    free: Vec<u32>,
    index: HashTable<u32>,
    hasher: DefaultHashBuilder,
}

impl Table {
    pub fn find(&self, key: &EntityKey) -> Option<u32> {
        let hash = self.hasher.hash_one(key);
        self.index.find(hash, |i| self.slots[*i as usize].as_ref().is_some_and(|s| s.key == *key)).copied()
    }

    /// The slot of a key, made if there is none.
    pub fn slot(&mut self, key: &EntityKey) -> u32 {
        if let Some(found) = self.find(key) {
            return found;
        }
        let new = Some(Slot {
            key: key.clone(),
            wanted: None,
            actual: Actual::Absent,
            seen: 0,
            written: 0,
            queued: 0,
            attempts: 0,
            flying: false,
        });
        let i = match self.free.pop() {
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
        self.index.insert_unique(hasher.hash_one(key), i, |i| {
            slots[*i as usize].as_ref().map_or(0, |s| hasher.hash_one(&s.key))
        });
        i
    }

    /// Only numbers that [`Table::slot`] or [`Table::find`] gave and that were not removed since.
    pub fn get(&self, slot: u32) -> &Slot {
        match &self.slots[slot as usize] {
            Some(s) => s,
            None => unreachable!("slot {slot} was removed and is still used"),
        }
    }

    pub fn get_mut(&mut self, slot: u32) -> &mut Slot {
        match &mut self.slots[slot as usize] {
            Some(s) => s,
            None => unreachable!("slot {slot} was removed and is still used"),
        }
    }

    pub fn set_wanted(&mut self, slot: u32, wanted: Option<EntityValue>) -> Option<EntityValue> {
        let s = self.get_mut(slot);
        s.attempts = 0;
        std::mem::replace(&mut s.wanted, wanted)
    }

    pub fn set_actual(&mut self, slot: u32, actual: Actual) -> Actual {
        std::mem::replace(&mut self.get_mut(slot).actual, actual)
    }

    pub fn remove(&mut self, slot: u32) {
        let Some(s) = self.slots[slot as usize].take() else { return };
        if let Ok(entry) = self.index.find_entry(self.hasher.hash_one(&s.key), |i| *i == slot) {
            entry.remove();
        }
        self.free.push(slot);
    }

    /// The numbers of all slots.
    pub fn numbers(&self) -> impl Iterator<Item = u32> + use<> {
        0..self.slots.len() as u32
    }

    pub fn exists(&self, slot: u32) -> bool {
        self.slots[slot as usize].is_some()
    }
}
