//! Timers of entries with an idle timeout (P4Runtime 9.1.8): a queue by deadline, so that entries that are hit cost one look a
//! timeout and nothing in between.

use std::{cmp::Reverse, collections::BinaryHeap, time::Instant};

/// When to look at an entry.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Timer {
    /// First, so that timers order by it.
    pub due: Instant,
    /// Idle time before this does not count: the insertion or the last notification.
    pub since: Instant,
    pub table: usize,
    pub priority: i32,
    pub key: Box<[u8]>,
    /// The state of the entry that the timer belongs to.
    pub stamp: u64,
}

impl Timer {
    /// The same timer for another time.
    #[must_use]
    pub fn restarted(self, since: Instant, due: Instant) -> Self {
        Timer { due, since, ..self }
    }
}

/// All timers of a pipeline.
#[derive(Debug, Default)]
pub struct IdleQueue {
    heap: BinaryHeap<Reverse<Timer>>,
    stamps: u64,
}

impl IdleQueue {
    /// A stamp that no timer has yet; never zero.
    pub fn stamp(&mut self) -> u64 {
        self.stamps += 1;
        self.stamps
    }

    pub fn push(&mut self, timer: Timer) {
        self.heap.push(Reverse(timer));
    }

    /// The next timer whose time has come.
    pub fn pop_due(&mut self, now: Instant) -> Option<Timer> {
        if self.next().is_some_and(|due| due <= now) {
            return self.heap.pop().map(|Reverse(timer)| timer);
        }
        None
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Instant> {
        self.heap.peek().map(|Reverse(timer)| timer.due)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn timers_come_in_order_and_on_time() {
        let now = Instant::now();
        let timer = |ms, stamp| Timer {
            due: now + Duration::from_millis(ms),
            since: now,
            table: 0,
            priority: 0,
            key: Box::from([stamp as u8]),
            stamp,
        };
        let mut queue = IdleQueue::default();
        assert_ne!(queue.stamp(), queue.stamp());
        for (ms, stamp) in [(30, 3), (10, 1), (20, 2)] {
            queue.push(timer(ms, stamp));
        }
        assert_eq!(queue.next(), Some(now + Duration::from_millis(10)));
        assert_eq!(queue.pop_due(now), None);
        let at = now + Duration::from_millis(20);
        assert_eq!(queue.pop_due(at).unwrap().stamp, 1);
        let second = queue.pop_due(at).unwrap();
        assert_eq!(second.stamp, 2);
        assert_eq!(queue.pop_due(at), None);
        queue.push(second.restarted(at, at + Duration::from_millis(1)));
        assert_eq!(queue.next(), Some(now + Duration::from_millis(21)));
    }
}
