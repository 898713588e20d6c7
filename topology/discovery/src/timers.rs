//! Due times of many things in one heap. Cancelled ones are not searched for: the owner compares what comes out with
//! the due time it holds.

use crate::machine::{MILLIS, Nanos};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Due times are rounded up to this, so that thousands of timers wake the machine a few hundred times a second at most.
pub(crate) const GRAIN: Nanos = 5 * MILLIS;

#[derive(Debug)]
pub(crate) struct Timers<K> {
    heap: BinaryHeap<Reverse<(Nanos, K)>>,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Timers { heap: BinaryHeap::new() }
    }
}

impl<K: Ord> Timers<K> {
    /// Adds a due time and returns it as rounded.
    pub fn add(&mut self, due: Nanos, key: K) -> Nanos {
        let due = due.checked_next_multiple_of(GRAIN).unwrap_or(due);
        self.heap.push(Reverse((due, key)));
        due
    }

    /// The next one that is due at `now`.
    pub fn pop(&mut self, now: Nanos) -> Option<(Nanos, K)> {
        if self.heap.peek().is_some_and(|Reverse((due, _))| *due <= now) {
            self.heap.pop().map(|Reverse(x)| x)
        } else {
            None
        }
    }

    pub fn next(&self) -> Option<Nanos> {
        self.heap.peek().map(|Reverse((due, _))| *due)
    }
}

/// A small generator for jitter (xorshift64*); the same seed gives the same run.
#[derive(Clone, Debug)]
pub(crate) struct Jitter(u64);

impl Jitter {
    pub fn new(seed: u64) -> Self {
        Jitter(seed | 1)
    }

    /// Evenly spread over `0..limit`; 0 when `limit` is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let x = self.0.wrapping_mul(0x2545_f491_4f6c_dd1d);
        ((u128::from(x) * u128::from(limit)) >> 64) as u64
    }
}
