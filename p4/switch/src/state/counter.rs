//! Counters: one shard a worker, so that counting is a plain add; reading sums the shards.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use smallvec::SmallVec;

#[derive(Default)]
struct Pair {
    packets: AtomicU64,
    bytes: AtomicU64,
}

/// Packets and bytes of one counter.
///
/// Shard 0 belongs to the control plane and to workers beyond the expected number; it is added to atomically.
/// Shard n belongs to worker n alone.
pub struct CounterCell {
    shards: SmallVec<[Pair; 2]>,
}

impl CounterCell {
    /// A counter for `workers` workers.
    pub fn new(workers: usize) -> Self {
        CounterCell { shards: (0..=workers).map(|_| Pair::default()).collect() }
    }

    #[inline]
    pub fn add(&self, worker: usize, bytes: u64) {
        match self.shards.get(worker) {
            Some(pair) if worker > 0 => {
                pair.packets.store(pair.packets.load(Relaxed) + 1, Relaxed);
                pair.bytes.store(pair.bytes.load(Relaxed) + bytes, Relaxed);
            }
            _ => {
                self.shards[0].packets.fetch_add(1, Relaxed);
                self.shards[0].bytes.fetch_add(bytes, Relaxed);
            }
        }
    }

    /// (packets, bytes)
    pub fn read(&self) -> (u64, u64) {
        let sum = |pick: fn(&Pair) -> &AtomicU64| {
            self.shards.iter().fold(0u64, |sum, pair| sum.wrapping_add(pick(pair).load(Relaxed)))
        };
        (sum(|p| &p.packets), sum(|p| &p.bytes))
    }

    /// Makes the counter read `packets` and `bytes`; packets counted at the same time are not lost.
    pub fn write(&self, packets: u64, bytes: u64) {
        let now = self.read();
        self.shards[0].packets.fetch_add(packets.wrapping_sub(now.0), Relaxed);
        self.shards[0].bytes.fetch_add(bytes.wrapping_sub(now.1), Relaxed);
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
