//! Waiting longer after each failure, with jitter, so that a rack that lost power does not call back in one instant.

use std::time::Duration;

/// Exponential back-off with jitter. The same seed gives the same waits.
#[derive(Clone, Debug)]
pub struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
    random: u64,
}

impl Backoff {
    pub fn new(first: Duration, longest: Duration, seed: u64) -> Backoff {
        Backoff { first, longest, next: first, random: seed | 1 }
    }

    /// How long to wait now: between half the step and the whole. The step doubles up to the longest.
    pub fn wait(&mut self) -> Duration {
        let step = self.next.min(self.longest);
        self.next = (step * 2).min(self.longest);
        // xorshift64*
        self.random ^= self.random >> 12;
        self.random ^= self.random << 25;
        self.random ^= self.random >> 27;
        let share = self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 48;
        step / 2 + (step / 2).mul_f64(share as f64 / 65_536.0)
    }

    /// Something worked: the next wait is short again.
    pub fn reset(&mut self) {
        self.next = self.first;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_longest_and_start_again() {
        let mut b = Backoff::new(Duration::from_millis(100), Duration::from_millis(800), 7);
        for step in [100, 200, 400, 800, 800] {
            let wait = b.wait().as_millis();
            assert!(wait >= step / 2 && wait <= step, "{wait} of {step}");
        }
        b.reset();
        assert!(b.wait() <= Duration::from_millis(100));
    }

    #[test]
    fn seeds_differ() {
        let waits = |seed| {
            let mut b = Backoff::new(Duration::from_secs(1), Duration::from_secs(60), seed);
            (0..4).map(|_| b.wait()).collect::<Vec<_>>()
        };
        assert_ne!(waits(1), waits(3));
        assert_eq!(waits(5), waits(5));
    }
}
