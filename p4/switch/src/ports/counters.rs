//! Counters of one port: relaxed atomics, written by the forwarding loop and read by anybody.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident => $leaf:literal,)*) => {
        /// Live counters; a leaf of OpenConfig `interfaces/interface/state/counters` each.
        #[derive(Debug, Default)]
        pub struct Counters { $($(#[$doc])* pub $name: AtomicU64,)* }

        /// The values of [`Counters`] at one moment.
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
        pub struct CountersSnapshot { $($(#[$doc])* pub $name: u64,)* }

        impl Counters {
            pub fn snapshot(&self) -> CountersSnapshot {
                CountersSnapshot { $($name: self.$name.load(Relaxed),)* }
            }
        }

        impl CountersSnapshot {
            /// Every counter under its OpenConfig leaf name.
            pub fn leaves(&self) -> Vec<(&'static str, u64)> {
                vec![$(($leaf, self.$name),)*]
            }
        }
    };
}

counters! {
    in_octets => "in-octets",
    in_pkts => "in-pkts",
    in_unicast_pkts => "in-unicast-pkts",
    in_broadcast_pkts => "in-broadcast-pkts",
    in_multicast_pkts => "in-multicast-pkts",
    /// Lost for want of room, or because the port is disabled.
    in_discards => "in-discards",
    in_errors => "in-errors",
    out_octets => "out-octets",
    out_pkts => "out-pkts",
    out_unicast_pkts => "out-unicast-pkts",
    out_broadcast_pkts => "out-broadcast-pkts",
    out_multicast_pkts => "out-multicast-pkts",
    /// Not sent because the port is down or its queue full.
    out_discards => "out-discards",
    out_errors => "out-errors",
    /// How often the port went up or down.
    carrier_transitions => "carrier-transitions",
}

impl Counters {
    /// Adds the received frames of a tally, and empties it.
    #[inline]
    pub fn add_received(&self, tally: &mut Tally) {
        let kinds = [&self.in_unicast_pkts, &self.in_broadcast_pkts, &self.in_multicast_pkts];
        std::mem::take(tally).add_to(&self.in_octets, &self.in_pkts, kinds);
    }

    /// Adds the sent frames of a tally, and empties it.
    #[inline]
    pub fn add_sent(&self, tally: &mut Tally) {
        let kinds = [&self.out_unicast_pkts, &self.out_broadcast_pkts, &self.out_multicast_pkts];
        std::mem::take(tally).add_to(&self.out_octets, &self.out_pkts, kinds);
    }
}

/// Frames of one direction that a worker counted and did not add to the port's counters yet: to add them one by one to what several
/// threads share would cost each frame as much as looking up a table.
#[derive(Debug, Default)]
pub struct Tally {
    octets: u64,
    /// Unicast, broadcast, multicast.
    kinds: [u64; 3],
}

impl Tally {
    /// One packet that passes no wire and need not be a frame: it is unicast.
    pub fn bare(len: usize) -> Self {
        Self { octets: len as u64, kinds: [1, 0, 0] }
    }

    /// Counts a frame of `len` bytes that begins with `head`.
    #[inline]
    pub fn count(&mut self, head: &[u8], len: usize) {
        self.octets += len as u64;
        self.kinds[kind(head)] += 1;
    }

    fn add_to(self, octets: &AtomicU64, pkts: &AtomicU64, kinds: [&AtomicU64; 3]) {
        let frames = self.kinds.iter().sum();
        if frames == 0 {
            return;
        }
        octets.fetch_add(self.octets, Relaxed);
        pkts.fetch_add(frames, Relaxed);
        for (counter, frames) in kinds.into_iter().zip(self.kinds).filter(|(_, frames)| *frames > 0) {
            counter.fetch_add(frames, Relaxed);
        }
    }
}

/// A frame's place in [`Tally::kinds`], by its destination address.
#[inline]
fn kind(frame: &[u8]) -> usize {
    match frame.first() {
        Some(first) if first & 1 == 1 => 2 - usize::from(frame.len() >= 6 && frame[..6] == [0xff; 6]),
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_destination() {
        let (counters, mut tally) = (Counters::default(), Tally::default());
        tally.count(&[0xff; 60], 60);
        tally.count(&[1, 0, 0x5e, 0, 0, 1, 0, 0], 8);
        counters.add_received(&mut tally);
        counters.add_received(&mut tally);
        tally.count(&[2, 0, 0, 0, 0, 1], 100);
        counters.add_sent(&mut tally);
        let now = counters.snapshot();
        assert_eq!((now.in_pkts, now.in_octets, now.in_broadcast_pkts, now.in_multicast_pkts), (2, 68, 1, 1));
        assert_eq!((now.out_pkts, now.out_octets, now.out_unicast_pkts), (1, 100, 1));
        assert!(now.leaves().contains(&("out-octets", 100)));
    }
}
