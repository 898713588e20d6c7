//! The engine's time: nanoseconds since it was made, and how they relate to the calendar.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use pergola_southbound::Nanos;

/// A monotonic clock that begins with 0.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    start: Instant,
    epoch: Duration,
}

impl Default for Clock {
    fn default() -> Self {
        let epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Clock { start: Instant::now(), epoch }
    }
}

impl Clock {
    /// Nanoseconds since this clock was made.
    pub fn now(&self) -> Nanos {
        self.start.elapsed().as_nanos() as Nanos
    }

    /// When a point of this clock is, for timers.
    pub fn instant(&self, at: Nanos) -> Instant {
        self.start + Duration::from_nanos(at)
    }

    /// Unix time of this clock's 0, in nanoseconds.
    pub fn epoch_unix_ns(&self) -> u64 {
        self.epoch.as_nanos() as u64
    }

    /// Unix time now, in milliseconds.
    pub fn unix_ms(&self) -> u64 {
        SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis() as u64
    }
}
