//! Token buckets per port: a port that floods control packets costs one look-up a packet and harms nobody else.

use crate::machine::{Alarm, AlarmKind, Nanos, Output, SECONDS};
use crate::machines::flood_alarm;
use crate::net::PortRef;
use std::collections::HashMap;

#[derive(Clone, Copy, Debug)]
pub struct GuardConfig {
    /// Packets a second that one port may send to the controller for long.
    pub rate_pps: u32,
    /// Packets that it may send at once after a pause.
    pub burst: u32,
    /// The alarm is cleared after the port stayed within its rate for so long.
    pub quiet: Nanos,
}

impl Default for GuardConfig {
    fn default() -> Self {
        GuardConfig { rate_pps: 200, burst: 1000, quiet: 10 * SECONDS }
    }
}

/// Buckets of all ports that sent something lately.
pub struct Guard {
    config: GuardConfig,
    buckets: HashMap<PortRef, Bucket>,
    /// Ports with an alarm raised.
    loud: usize,
    next: Option<Nanos>,
    dropped: u64,
}

struct Bucket {
    /// Millionths of a packet.
    tokens: u64,
    at: Nanos,
    dropped: u64,
    last_drop: Option<Nanos>,
}

const UNIT: u64 = 1_000_000;
/// Buckets that are full again are forgotten above this number.
const SWEEP_ABOVE: usize = 4096;

impl Guard {
    pub fn new(config: GuardConfig) -> Self {
        Guard { config, buckets: HashMap::new(), loud: 0, next: None, dropped: 0 }
    }

    /// Takes a token; false when there is none.
    pub fn admit(&mut self, at: &PortRef, now: Nanos, out: &mut Vec<Output>) -> bool {
        let c = self.config;
        let full = u64::from(c.burst) * UNIT;
        if !self.buckets.contains_key(at) {
            if self.buckets.len() >= SWEEP_ABOVE {
                let refill = u64::from(c.burst) * SECONDS / u64::from(c.rate_pps.max(1));
                self.buckets.retain(|_, b| b.last_drop.is_some() || now.saturating_sub(b.at) < refill);
            }
            self.buckets.insert(at.clone(), Bucket { tokens: full, at: now, dropped: 0, last_drop: None });
        }
        let Some(b) = self.buckets.get_mut(at) else { return false };
        let earned =
            u128::from(now.saturating_sub(b.at)) * u128::from(c.rate_pps) * u128::from(UNIT) / u128::from(SECONDS);
        b.tokens = full.min(b.tokens.saturating_add(u64::try_from(earned).unwrap_or(u64::MAX)));
        b.at = now;
        if b.tokens >= UNIT {
            b.tokens -= UNIT;
            return true;
        }
        self.dropped += 1;
        b.dropped += 1;
        if b.last_drop.replace(now).is_none() {
            self.loud += 1;
            self.next = Some(self.next.unwrap_or(u64::MAX).min(now + c.quiet));
            out.push(flood_alarm(at, c.rate_pps, b.dropped));
        }
        false
    }

    /// Clears alarms of ports that are quiet again.
    pub fn tick(&mut self, now: Nanos, out: &mut Vec<Output>) {
        if self.next.is_none_or(|t| now < t) {
            return;
        }
        let mut next = None;
        for (at, b) in self.buckets.iter_mut() {
            let Some(last) = b.last_drop else { continue };
            let due = last + self.config.quiet;
            if due <= now {
                b.last_drop = None;
                b.dropped = 0;
                self.loud -= 1;
                out.push(Alarm::clear(AlarmKind::HostFlood, at.to_string()));
            } else {
                next = Some(next.unwrap_or(u64::MAX).min(due));
            }
        }
        self.next = next;
    }

    pub fn next_timeout(&self) -> Option<Nanos> {
        self.next
    }

    pub fn dropped(&self) -> u64 {
        self.dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::MILLIS;

    #[test]
    fn flood_is_cut_to_the_rate_and_reported_once() {
        let mut g = Guard::new(GuardConfig { rate_pps: 100, burst: 50, quiet: 10 * SECONDS });
        let (bad, good) = (PortRef::new("leaf1", 1), PortRef::new("leaf1", 2));
        let mut out = Vec::new();
        let mut passed = 0;
        for ms in 0..1000u64 {
            for _ in 0..10 {
                passed += u32::from(g.admit(&bad, ms * MILLIS, &mut out));
            }
            if ms % 100 == 0 {
                assert!(g.admit(&good, ms * MILLIS, &mut out), "the neighbour is not touched");
            }
        }
        assert!((140..=150).contains(&passed), "{passed}");
        assert_eq!(out.len(), 1, "one alarm, not one a packet");
        assert_eq!(g.dropped(), 10_000 - u64::from(passed));
        let due = g.next_timeout().unwrap();
        g.tick(due, &mut out);
        assert_eq!(out.len(), 1, "still flooding shortly before");
        let due = g.next_timeout().unwrap();
        g.tick(due, &mut out);
        assert_eq!(out[1], Alarm::clear(AlarmKind::HostFlood, "leaf1/1"));
        assert_eq!(g.next_timeout(), None);
    }
}
