//! Which ports are up: one bit each, read by packets that choose among members with watch ports.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Ports 0 to 65535; all up until told otherwise.
pub struct Ports {
    down: Box<[AtomicU64]>,
    count: AtomicUsize,
}

impl Default for Ports {
    fn default() -> Self {
        Ports { down: (0..1_024).map(|_| AtomicU64::new(0)).collect(), count: AtomicUsize::new(0) }
    }
}

impl Ports {
    /// The next packet already sees the change.
    pub fn set_up(&self, port: u32, up: bool) {
        let Some(word) = self.down.get(port as usize / 64) else { return };
        let bit = 1u64 << (port % 64);
        if up {
            if word.fetch_and(!bit, Ordering::AcqRel) & bit != 0 {
                self.count.fetch_sub(1, Ordering::AcqRel);
            }
        } else if word.fetch_or(bit, Ordering::AcqRel) & bit == 0 {
            self.count.fetch_add(1, Ordering::AcqRel);
        }
    }

    #[inline]
    pub fn is_up(&self, port: u32) -> bool {
        let word = self.down.get(port as usize / 64);
        word.is_none_or(|word| word.load(Ordering::Relaxed) >> (port % 64) & 1 == 0)
    }

    #[inline]
    pub fn any_down(&self) -> bool {
        self.count.load(Ordering::Relaxed) != 0
    }
}
