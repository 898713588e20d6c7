//! Counters: one shard a worker, so that counting is a plain add; reading sums the shards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[derive(Default)]
#[repr(C)]
struct Pair {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Packets and bytes of one counter.
///
/// Shard 0 belongs to the control plane and to workers beyond the expected number; it is added to atomically.
/// Shard n belongs to worker n alone.
///
/// Two shards are in place, as compiled programs expect: a switch has one worker unless it was told otherwise.
#[repr(C)]
pub struct CounterCell {
    first: [Pair; 2],
    #[allow(clippy::box_collection)] // One word here, where each entry has a cell, and rarely used.
    more: Option<Box<Vec<Pair>>>,
}

impl CounterCell {
    /// A counter for `workers` workers.
    pub fn new(workers: usize) -> Self {
        let more = (workers > 1).then(|| Box::new((2..=workers).map(|_| Pair::default()).collect()));
        CounterCell { first: Default::default(), more }
    }

    /// Where compiled code finds the packets of a worker's shard in a cell, the bytes 8 further; None when it is not in place.
    pub(crate) fn in_place(worker: usize) -> Option<usize> {
        (worker == 1).then_some(std::mem::offset_of!(CounterCell, first) + size_of::<Pair>())
    }

    #[inline]
    fn shard(&self, worker: usize) -> Option<&Pair> {
        match worker {
            1 => Some(&self.first[1]),
            0 => None,
            _ => self.more.as_ref()?.get(worker - 2),
        }
    }

    #[inline]
    pub fn add(&self, worker: usize, bytes: u64) {
        match self.shard(worker) {
            Some(pair) => {
                pair.packets.store(pair.packets.load(Relaxed) + 1, Relaxed);
                pair.bytes.store(pair.bytes.load(Relaxed) + bytes, Relaxed);
            }
            _ => {
                self.first[0].packets.fetch_add(1, Relaxed);
                self.first[0].bytes.fetch_add(bytes, Relaxed);
            }
        }
    }

    /// (packets, bytes)
    pub fn read(&self) -> (u64, u64) {
        let sum = |pick: fn(&Pair) -> &AtomicU64| {
            let shards = self.first.iter().chain(self.more.iter().flat_map(|more| more.iter()));
            shards.fold(0u64, |sum, pair| sum.wrapping_add(pick(pair).load(Relaxed)))
        };
        (sum(|p| &p.packets), sum(|p| &p.bytes))
    }

    /// Makes the counter read `packets` and `bytes`; packets counted at the same time are not lost.
    pub fn write(&self, packets: u64, bytes: u64) {
        let now = self.read();
        self.first[0].packets.fetch_add(packets.wrapping_sub(now.0), Relaxed);
        self.first[0].bytes.fetch_add(bytes.wrapping_sub(now.1), Relaxed);
    }
}

/// An indexed counter.
pub struct CounterArray {
    cells: Box<[CounterCell]>,
}

impl CounterArray {
    pub fn new(size: usize, workers: usize) -> Self {
        CounterArray { cells: (0..size).map(|_| CounterCell::new(workers)).collect() }
    }

    #[inline]
    pub fn get(&self, index: u64) -> Option<&CounterCell> {
        self.cells.get(usize::try_from(index).ok()?)
    }

    pub fn len(&self) -> usize {
        self.cells.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_sum_and_writes_keep_what_is_counted_later() {
        let cell = CounterCell::new(2);
        cell.add(1, 100);
        cell.add(2, 50);
        cell.add(9, 7);
        assert_eq!(cell.read(), (3, 157));
        cell.write(10, 1_000);
        cell.add(1, 1);
        assert_eq!(cell.read(), (11, 1_001));
        cell.write(0, 0);
        assert_eq!(cell.read(), (0, 0));
    }
}
