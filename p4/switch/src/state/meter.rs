//! Meters: two-rate three-colour (RFC 2698) and single-rate three-colour (RFC 2697), colour-blind.

use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::program::MeterUnit;

pub const GREEN: u64 = 0;
pub const YELLOW: u64 = 1;
pub const RED: u64 = 2;

/// Rates in units (packets or bytes) a second, bursts in units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MeterConfig {
    TwoRate { cir: u64, cburst: u64, pir: u64, pburst: u64 },
    SingleRate { cir: u64, cburst: u64, eburst: u64 },
}

#[derive(Clone, Copy)]
struct Bucket {
    rate: u64,
    burst: u64,
    tokens: u64,
    /// Tokens that had come by the last packet, counted from the start of time.
    counted: u64,
}

impl Bucket {
    fn new(rate: u64, burst: u64) -> Self {
        Bucket { rate, burst, tokens: burst, counted: 0 }
    }

    /// Tokens that came since the last packet.
    fn earned(&mut self, now_us: u64) -> u64 {
        let total = (u128::from(now_us) * u128::from(self.rate) / 1_000_000).min(u128::from(u64::MAX)) as u64;
        let new = total.saturating_sub(self.counted);
        self.counted = total;
        new
    }

    fn fill(&mut self, now_us: u64) {
        self.tokens = self.tokens.saturating_add(self.earned(now_us)).min(self.burst);
    }

    fn take(&mut self, input: u64) -> bool {
        let enough = self.tokens >= input;
        if enough {
            self.tokens -= input;
        }
        enough
    }
}

struct State {
    config: MeterConfig,
    /// Peak or excess, and committed.
    outer: Bucket,
    inner: Bucket,
}

/// One meter. Without a configuration every packet is green.
pub struct MeterCell {
    unit: MeterUnit,
    configured: AtomicBool,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    /// Boxed: most meters of a large array are never configured.
    state: Option<Box<State>>,
    /// Packets and bytes by colour.
    counts: [(u64, u64); 3],
}

impl MeterCell {
    pub fn new(unit: MeterUnit) -> Self {
        MeterCell { unit, configured: AtomicBool::new(false), inner: Mutex::default() }
    }

    /// Sets or clears the configuration; buckets start full.
    pub fn configure(&self, config: Option<MeterConfig>) {
        let mut inner = self.inner.lock();
        inner.state = config.map(|config| {
            let (outer, inner) = match config {
                MeterConfig::TwoRate { cir, cburst, pir, pburst } => {
                    (Bucket::new(pir, pburst), Bucket::new(cir, cburst))
                }
                MeterConfig::SingleRate { cir, cburst, eburst } => (Bucket::new(0, eburst), Bucket::new(cir, cburst)),
            };
            Box::new(State { config, outer, inner })
        });
        self.configured.store(inner.state.is_some(), Ordering::Release);
    }

    pub fn config(&self) -> Option<MeterConfig> {
        self.inner.lock().state.as_ref().map(|state| state.config)
    }

    #[inline]
    pub fn is_configured(&self) -> bool {
        self.configured.load(Ordering::Relaxed)
    }

    /// Packets and bytes that were green, yellow and red.
    pub fn counts(&self) -> [(u64, u64); 3] {
        self.inner.lock().counts
    }

    /// Counts colours from 0 again.
    pub fn clear_counts(&self) {
        self.inner.lock().counts = Default::default();
    }

    /// The colour of a packet of `bytes` at `now_us` microseconds.
    pub fn execute(&self, bytes: u64, now_us: u64) -> u64 {
        let mut inner = self.inner.lock();
        let input = if self.unit == MeterUnit::Packets { 1 } else { bytes };
        let colour = inner.state.as_mut().map_or(GREEN, |state| state.colour(input, now_us));
        let (packets, all) = &mut inner.counts[colour as usize];
        (*packets, *all) = (packets.wrapping_add(1), all.wrapping_add(bytes));
        colour
    }
}

impl State {
    /// The colour of so many packets or bytes.
    fn colour(&mut self, input: u64, now_us: u64) -> u64 {
        match self.config {
            MeterConfig::TwoRate { .. } => {
                self.outer.fill(now_us);
                if !self.outer.take(input) {
                    return RED;
                }
                self.inner.fill(now_us);
                if self.inner.take(input) { GREEN } else { YELLOW }
            }
            MeterConfig::SingleRate { .. } => {
                // RFC 2697: what does not fit the committed bucket overflows into the excess one.
                let earned = self.inner.earned(now_us);
                let room = self.inner.burst - self.inner.tokens;
                self.inner.tokens += earned.min(room);
                let spill = earned.saturating_sub(room);
                self.outer.tokens = self.outer.tokens.saturating_add(spill).min(self.outer.burst);
                if self.inner.take(input) {
                    GREEN
                } else if self.outer.take(input) {
                    YELLOW
                } else {
                    RED
                }
            }
        }
    }
}

/// An indexed meter.
pub struct MeterArray {
    cells: Box<[MeterCell]>,
}

impl MeterArray {
    pub fn new(size: usize, unit: MeterUnit) -> Self {
        MeterArray { cells: (0..size).map(|_| MeterCell::new(unit)).collect() }
    }

    #[inline]
    pub fn get(&self, index: u64) -> Option<&MeterCell> {
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
    fn two_rates() {
        let meter = MeterCell::new(MeterUnit::Packets);
        assert_eq!(meter.execute(64, 0), GREEN);
        meter.configure(Some(MeterConfig::TwoRate { cir: 1_000, cburst: 1, pir: 2_000, pburst: 3 }));
        let colours: Vec<u64> = (0..5).map(|_| meter.execute(64, 0)).collect();
        assert_eq!(colours, [GREEN, YELLOW, YELLOW, RED, RED]);
        // The one before there were rates counts too.
        assert_eq!(meter.counts(), [(2, 128), (2, 128), (2, 128)]);
        meter.clear_counts();
        assert_eq!(meter.counts(), [(0, 0); 3]);
        // A millisecond later: one committed and two peak tokens.
        let colours: Vec<u64> = (0..3).map(|_| meter.execute(64, 1_000)).collect();
        assert_eq!(colours, [GREEN, YELLOW, RED]);
        meter.configure(None);
        assert_eq!(meter.execute(64, 1_000), GREEN);
    }

    #[test]
    fn single_rate_in_bytes() {
        let meter = MeterCell::new(MeterUnit::Bytes);
        meter.configure(Some(MeterConfig::SingleRate { cir: 1_000_000, cburst: 100, eburst: 150 }));
        let colours: Vec<u64> = (0..4).map(|_| meter.execute(100, 0)).collect();
        assert_eq!(colours, [GREEN, YELLOW, RED, RED]);
        // 200 bytes come in 200 us: 100 fill the committed bucket, 100 the excess one.
        let colours: Vec<u64> = (0..3).map(|_| meter.execute(100, 200)).collect();
        assert_eq!(colours, [GREEN, YELLOW, RED]);
    }
}
