//! Batching of digest messages (P4Runtime 9.8): buffer, list, acknowledgement. No clock, no I/O.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    time::{Duration, Instant},
};

use p4runtime_proto::p4::v1::digest_entry::Config;

/// Samples that are ready to be sent as one list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct List {
    pub list_id: u64,
    pub samples: Vec<Box<[u8]>>,
}

/// Lists are cut here when the controller sets no limit.
const MAX_LIST: usize = 1024;
/// Unacknowledged samples that are remembered; what comes beyond is sent again rather than remembered.
const MAX_CACHE: usize = 65_536;

/// The state of one digest.
#[derive(Debug, Default)]
pub struct Batcher {
    config: Config,
    buffer: Vec<Box<[u8]>>,
    /// When the first sample came into the empty buffer.
    first: Option<Instant>,
    /// Samples in the buffer (list 0) and in unacknowledged lists.
    known: HashMap<Box<[u8]>, u64>,
    lists: BTreeMap<u64, Vec<Box<[u8]>>>,
    /// Unacknowledged lists in the order of their sending.
    sent: VecDeque<(Instant, u64)>,
    last_id: u64,
}

impl Batcher {
    /// Starts or goes on with other parameters.
    pub fn configure(&mut self, config: Config) {
        self.config = config;
        if config.ack_timeout_ns == 0 {
            self.forget();
        }
    }

    /// Empties the cache of unacknowledged samples, as a change of the primary allows.
    pub fn forget(&mut self) {
        self.known.retain(|_, list| *list == 0);
        self.lists.clear();
        self.sent.clear();
    }

    fn max_list(&self) -> usize {
        match usize::try_from(self.config.max_list_size) {
            Ok(0) | Err(_) => MAX_LIST,
            Ok(size) => size,
        }
    }

    fn max_timeout(&self) -> Duration {
        Duration::from_nanos(self.config.max_timeout_ns.unsigned_abs())
    }

    fn ack_timeout(&self) -> Duration {
        Duration::from_nanos(self.config.ack_timeout_ns.unsigned_abs())
    }

    /// Takes a sample from the data plane; gives the list that it completes.
    pub fn sample(&mut self, sample: &[u8], now: Instant) -> Option<List> {
        self.expire(now);
        if self.known.contains_key(sample) {
            return None;
        }
        let sample: Box<[u8]> = sample.into();
        self.known.insert(sample.clone(), 0);
        self.buffer.push(sample);
        self.first.get_or_insert(now);
        if self.buffer.len() >= self.max_list() || self.config.max_timeout_ns == 0 {
            return self.flush(now);
        }
        None
    }

    fn flush(&mut self, now: Instant) -> Option<List> {
        self.first = None;
        let samples = std::mem::take(&mut self.buffer);
        if samples.is_empty() {
            return None;
        }
        self.last_id += 1;
        let list_id = self.last_id;
        let keep = self.config.ack_timeout_ns > 0 && self.known.len() <= MAX_CACHE;
        for sample in &samples {
            if keep {
                self.known.insert(sample.clone(), list_id);
            } else {
                self.known.remove(sample);
            }
        }
        if keep {
            self.lists.insert(list_id, samples.clone());
            self.sent.push_back((now, list_id));
        }
        Some(List { list_id, samples })
    }

    /// The controller has taken a list.
    pub fn acknowledge(&mut self, list_id: u64) {
        for sample in self.lists.remove(&list_id).unwrap_or_default() {
            self.known.remove(&sample);
        }
    }

    fn expire(&mut self, now: Instant) {
        let limit = self.ack_timeout();
        while let Some((sent, list_id)) = self.sent.front().copied() {
            if self.lists.contains_key(&list_id) && now.saturating_duration_since(sent) < limit {
                return;
            }
            self.sent.pop_front();
            self.acknowledge(list_id);
        }
    }

    /// Does what time demands: the list whose delay is over.
    pub fn tick(&mut self, now: Instant) -> Option<List> {
        self.expire(now);
        let due = self.first? + self.max_timeout();
        if due <= now { self.flush(now) } else { None }
    }

    /// When the buffer must be sent. Old cache entries need no timer: they are dropped when a sample comes.
    pub fn deadline(&self) -> Option<Instant> {
        self.first.map(|first| first + self.max_timeout())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: i64 = 1_000_000;

    fn batcher(max_list_size: i32, timeout_ms: i64, ack_ms: i64) -> (Batcher, Instant) {
        let mut batcher = Batcher::default();
        batcher.configure(Config { max_list_size, max_timeout_ns: timeout_ms * MS, ack_timeout_ns: ack_ms * MS });
        (batcher, Instant::now())
    }

    fn ms(n: u64) -> Duration {
        Duration::from_millis(n)
    }

    #[test]
    fn a_list_is_sent_when_it_is_full() {
        let (mut b, now) = batcher(2, 1000, 0);
        assert_eq!(b.sample(b"a", now), None);
        // A duplicate does not count.
        assert_eq!(b.sample(b"a", now), None);
        let list = b.sample(b"b", now).unwrap();
        assert_eq!(list.samples, [Box::from(*b"a"), Box::from(*b"b")]);
        assert_eq!(b.deadline(), None);
        // Without acknowledgements nothing is remembered.
        assert_eq!(b.sample(b"a", now), None);
        assert_ne!(b.sample(b"b", now).unwrap().list_id, list.list_id);
    }

    #[test]
    fn a_list_is_sent_when_its_time_is_over() {
        let (mut b, now) = batcher(0, 10, 0);
        assert_eq!(b.sample(b"a", now), None);
        assert_eq!(b.sample(b"b", now + ms(9)), None);
        assert_eq!(b.deadline(), Some(now + ms(10)));
        assert_eq!(b.tick(now + ms(9)), None);
        assert_eq!(b.tick(now + ms(10)).unwrap().samples.len(), 2);
        assert_eq!(b.tick(now + ms(30)), None);
    }

    #[test]
    fn zero_delay_sends_each_sample() {
        let (mut b, now) = batcher(100, 0, 0);
        assert!(b.sample(b"a", now).is_some());
        assert!(b.sample(b"a", now).is_some());
    }

    #[test]
    fn samples_wait_for_the_acknowledgement() {
        let (mut b, now) = batcher(1, 0, 1000);
        let list = b.sample(b"a", now).unwrap();
        assert_eq!(b.sample(b"a", now + ms(200)), None);
        // A receipt for another list changes nothing.
        b.acknowledge(list.list_id + 1);
        assert_eq!(b.sample(b"a", now + ms(300)), None);
        b.acknowledge(list.list_id);
        assert!(b.sample(b"a", now + ms(400)).is_some());
        // Or for its time-out.
        assert_eq!(b.sample(b"a", now + ms(1399)), None);
        assert!(b.sample(b"a", now + ms(1400)).is_some());
        b.forget();
        assert!(b.sample(b"a", now + ms(1401)).is_some());
    }
}
