//! Digests: samples from packets, gathered into lists by size and time, and not repeated until acknowledged.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::Mutex;

/// How one digest is gathered (P4Runtime `DigestEntry.Config`). Times in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DigestConfig {
    /// Longest time a sample waits for others; 0: sent at once.
    pub max_timeout_ns: u64,
    /// Most samples in a list; 0: no limit but the switch's own.
    pub max_list_size: usize,
    /// A sample is not repeated for this long unless its list is acknowledged; 0: always repeated.
    pub ack_timeout_ns: u64,
}

/// One sample: the members' bytes, each in whole bytes, most significant first.
pub type Sample = Box<[u8]>;

/// Samples to deliver together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestList {
    pub digest: usize,
    pub list_id: u64,
    pub samples: Vec<Sample>,
    /// Nanoseconds since the switch started.
    pub timestamp_ns: u64,
}

#[derive(Default)]
struct State {
    config: Option<DigestConfig>,
    pending: Vec<Sample>,
    since_ns: u64,
    next_list: u64,
    /// Samples not to repeat: the list they went out in (or 0: still pending) and when it stops.
    known: HashMap<Sample, (u64, u64)>,
    ready: VecDeque<DigestList>,
}

/// Most samples kept or lists waiting; packets beyond are not sampled.
const MAX_KNOWN: usize = 1 << 16;
const MAX_READY: usize = 1_024;
/// The switch's own limit of a list.
const MAX_LIST: usize = 1_024;

type Waker = Arc<dyn Fn() + Send + Sync>;

/// All digests of a program. Packets take a short lock only when they sample.
pub struct Digests {
    states: Box<[Mutex<State>]>,
    waker: Mutex<Option<Waker>>,
}

impl Digests {
    pub(crate) fn new(count: usize) -> Self {
        let states = (0..count).map(|_| Mutex::default()).collect();
        Digests { states, waker: Mutex::new(None) }
    }

    /// Called after a sample arrived that needs delivery now or a timer: see [`Digests::deadline_ns`].
    pub fn set_waker(&self, waker: impl Fn() + Send + Sync + 'static) {
        *self.waker.lock() = Some(Arc::new(waker));
    }

    /// Starts, changes or stops a digest. Samples are taken only while there is a configuration. False: no such digest.
    pub fn configure(&self, digest: usize, config: Option<DigestConfig>) -> bool {
        let Some(state) = self.states.get(digest) else { return false };
        let mut state = state.lock();
        state.config = config;
        if config.is_none() {
            state.pending.clear();
            state.known.clear();
            state.ready.clear();
        }
        true
    }

    pub fn config(&self, digest: usize) -> Option<DigestConfig> {
        self.states.get(digest)?.lock().config
    }

    pub(crate) fn learn(&self, digest: usize, sample: &[u8], now_ns: u64) {
        let Some(state) = self.states.get(digest) else { return };
        let mut guard = state.lock();
        let state = &mut *guard;
        let Some(config) = state.config else { return };
        if let Some(&(_, until)) = state.known.get(sample)
            && now_ns < until
        {
            return;
        }
        if state.known.len() >= MAX_KNOWN {
            state.known.retain(|_, known| now_ns < known.1);
        }
        if state.known.len() >= MAX_KNOWN || state.ready.len() >= MAX_READY {
            return;
        }
        if config.ack_timeout_ns > 0 {
            // Until its list goes out the sample is pending and never repeated.
            state.known.insert(sample.into(), (0, u64::MAX));
        }
        if state.pending.is_empty() {
            state.since_ns = now_ns;
        }
        state.pending.push(sample.into());
        let first = state.pending.len() == 1;
        let limit = if config.max_list_size == 0 { MAX_LIST } else { config.max_list_size.min(MAX_LIST) };
        let full = state.pending.len() >= limit || config.max_timeout_ns == 0;
        if full {
            state.flush(digest, now_ns);
        }
        drop(guard);
        if full || first {
            let waker = self.waker.lock().clone();
            if let Some(waker) = waker {
                waker();
            }
        }
    }

    /// When [`Digests::take`] will next have something because of a timeout; nanoseconds since the switch started.
    pub fn deadline_ns(&self) -> Option<u64> {
        let deadlines = self.states.iter().filter_map(|state| {
            let state = state.lock();
            if !state.ready.is_empty() {
                return Some(0);
            }
            let config = state.config?;
            (!state.pending.is_empty()).then(|| state.since_ns.saturating_add(config.max_timeout_ns))
        });
        deadlines.min()
    }

    /// The lists to deliver at `now_ns`.
    pub fn take(&self, now_ns: u64) -> Vec<DigestList> {
        let mut lists = Vec::new();
        for (digest, state) in self.states.iter().enumerate() {
            let mut state = state.lock();
            if let Some(config) = state.config
                && !state.pending.is_empty()
                && now_ns.saturating_sub(state.since_ns) >= config.max_timeout_ns
            {
                state.flush(digest, now_ns);
            }
            lists.extend(state.ready.drain(..));
        }
        lists
    }

    /// Acknowledges a list: its samples may be sent again. Unknown lists are ignored.
    pub fn ack(&self, digest: usize, list_id: u64) {
        if let Some(state) = self.states.get(digest) {
            state.lock().known.retain(|_, known| known.0 != list_id);
        }
    }
}

impl State {
    fn flush(&mut self, digest: usize, now_ns: u64) {
        self.next_list += 1;
        let samples = std::mem::take(&mut self.pending);
        if let Some(config) = self.config {
            for sample in &samples {
                if let Some(known) = self.known.get_mut(sample) {
                    *known = (self.next_list, now_ns.saturating_add(config.ack_timeout_ns));
                }
            }
        }
        let list = DigestList { digest, list_id: self.next_list, samples, timestamp_ns: now_ns };
        self.ready.push_back(list);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_fill_by_size_or_time_and_repeat_after_an_ack() {
        let digests = Digests::new(1);
        digests.learn(0, b"a", 0);
        assert_eq!(digests.deadline_ns(), None, "nothing without a configuration");
        let config = DigestConfig { max_timeout_ns: 100, max_list_size: 2, ack_timeout_ns: 1_000 };
        assert!(digests.configure(0, Some(config)) && !digests.configure(1, None));
        digests.learn(0, b"a", 10);
        digests.learn(0, b"a", 20);
        assert_eq!((digests.deadline_ns(), digests.take(50).len()), (Some(110), 0));
        digests.learn(0, b"b", 60);
        let lists = digests.take(60);
        assert_eq!(lists[0].samples, [Sample::from(*b"a"), Sample::from(*b"b")]);
        digests.learn(0, b"a", 70);
        assert_eq!(digests.deadline_ns(), None, "not yet acknowledged");
        digests.ack(0, lists[0].list_id);
        digests.learn(0, b"a", 80);
        assert_eq!(digests.take(180)[0].samples.len(), 1);
        digests.learn(0, b"a", 1_200);
        assert_eq!(digests.take(1_300).len(), 1, "the ack timeout passed");
    }
}
