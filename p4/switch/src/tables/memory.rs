//! What a worker remembers of tables with wildcards: the entries that its last keys hit.
//!
//! Such a look-up costs a probe for each set of masks in the table, and most packets repeat the key of one shortly before (the
//! same port and VLAN, the same flow). Any change of the table is the end of what was remembered of it.

use super::entry::Entry;
use super::index::mix_all;
use super::table::Table;
use crate::rcu::{Found, Pin};

/// Longer keys are not remembered.
const WORDS: usize = 8;
/// Keys remembered of one table.
const PLACES: usize = 64;

#[derive(Default)]
struct Place {
    key: [u64; WORDS],
    found: Found<Entry>,
}

/// One worker's memory, by table.
#[derive(Default)]
pub(crate) struct Memory(Vec<Option<Box<[Place; PLACES]>>>);

impl Memory {
    /// For another program.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// The entry that a packed key hits in table number `id`.
    #[inline(always)]
    pub fn find<'g>(&mut self, id: usize, table: &'g Table, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        match table.changes() {
            Some(changes) if key.len() <= WORDS => {
                let last = changes.last(pin);
                let place = self.place(id, key);
                if place.key.iter().zip(key).all(|(known, word)| known == word)
                    && let Some(found) = place.found.again(last, pin)
                {
                    return found;
                }
                place.search(last, table, key, pin)
            }
            _ => table.find(key, pin),
        }
    }

    #[inline(always)]
    fn place(&mut self, id: usize, key: &[u64]) -> &mut Place {
        if self.0.len() <= id {
            self.grow(id + 1);
        }
        let places = self.0[id].get_or_insert_with(no_places);
        &mut places[(mix_all(0, key) >> 58) as usize]
    }

    #[cold]
    fn grow(&mut self, tables: usize) {
        self.0.resize_with(tables, || None);
    }
}

#[cold]
fn no_places() -> Box<[Place; PLACES]> {
    Box::new(std::array::from_fn(|_| Place::default()))
}

impl Place {
    /// Looks the key up and remembers what was found. `last` is the table's last change from before.
    #[inline(never)]
    fn search<'g>(&mut self, last: u64, table: &'g Table, key: &[u64], pin: &'g Pin) -> Option<&'g Entry> {
        let found = table.find(key, pin);
        self.key[..key.len()].copy_from_slice(key);
        self.found = Found::new(found, last);
        found
    }
}
