//! Slots that need a write, by phase: puts in order of rank, then deletes in the reverse order.

use std::collections::{BTreeMap, VecDeque};

use pergola_southbound::Verb;

use super::table::Table;

#[derive(Debug)]
pub(super) struct Queue {
    ranks: u16,
    phases: BTreeMap<u16, VecDeque<u32>>,
    len: usize,
}

impl Queue {
    pub fn new(ranks: u16) -> Queue {
        Queue { ranks, phases: BTreeMap::new(), len: 0 }
    }

    /// The phase of a write; phases begin with 1.
    pub fn phase(&self, verb: Verb, rank: u16) -> u16 {
        match verb {
            Verb::Insert | Verb::Modify => 1 + rank,
            Verb::Delete => 1 + self.ranks + (self.ranks - 1 - rank.min(self.ranks - 1)),
        }
    }

    /// Whether a phase is one of deletes.
    pub fn is_delete(&self, phase: u16) -> bool {
        phase > self.ranks
    }

    pub fn len(&self) -> usize {
        self.len
    }

    /// Puts a slot where it belongs; wherever it was queued before no longer counts.
    pub fn push(&mut self, phase: u16, slot: u32, table: &mut Table) {
        let queued = &mut table.get_mut(slot).queued;
        if *queued == phase {
            return;
        }
        self.len += usize::from(*queued == 0);
        *queued = phase;
        self.phases.entry(phase).or_default().push_back(slot);
    }

    pub fn cancel(&mut self, slot: u32, table: &mut Table) {
        let queued = &mut table.get_mut(slot).queued;
        self.len -= usize::from(*queued != 0);
        *queued = 0;
    }

    /// The first phase that has anything.
    pub fn first(&mut self, table: &Table) -> Option<u16> {
        while let Some(mut entry) = self.phases.first_entry() {
            let phase = *entry.key();
            let list = entry.get_mut();
            while let Some(slot) = list.front() {
                if table.exists(*slot) && table.get(*slot).queued == phase {
                    return Some(phase);
                }
                list.pop_front();
            }
            entry.remove();
        }
        None
    }

    /// Takes slots of one phase that are not being written now; the others stay.
    pub fn take(&mut self, phase: u16, most: usize, table: &mut Table) -> Vec<u32> {
        let Some(list) = self.phases.get_mut(&phase) else { return Vec::new() };
        let mut taken = Vec::new();
        let mut flying = Vec::new();
        while taken.len() < most {
            let Some(slot) = list.pop_front() else { break };
            if !table.exists(slot) || table.get(slot).queued != phase {
                continue;
            }
            if table.get(slot).flying {
                flying.push(slot);
                continue;
            }
            table.get_mut(slot).queued = 0;
            self.len -= 1;
            taken.push(slot);
        }
        for slot in flying {
            list.push_front(slot);
        }
        taken
    }
}
