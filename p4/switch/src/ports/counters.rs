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
}

impl Counters {
    /// Counts a received frame, by its destination address.
    #[inline]
    pub fn received(&self, frame: &[u8]) {
        self.in_octets.fetch_add(frame.len() as u64, Relaxed);
        self.in_pkts.fetch_add(1, Relaxed);
        let kind = match cast(frame) {
            Cast::Unicast => &self.in_unicast_pkts,
            Cast::Broadcast => &self.in_broadcast_pkts,
            Cast::Multicast => &self.in_multicast_pkts,
        };
        kind.fetch_add(1, Relaxed);
    }

    /// Counts a sent frame of `len` bytes that begins with `head`.
    #[inline]
    pub fn sent(&self, head: &[u8], len: usize) {
        self.out_octets.fetch_add(len as u64, Relaxed);
        self.out_pkts.fetch_add(1, Relaxed);
        let kind = match cast(head) {
            Cast::Unicast => &self.out_unicast_pkts,
            Cast::Broadcast => &self.out_broadcast_pkts,
            Cast::Multicast => &self.out_multicast_pkts,
        };
        kind.fetch_add(1, Relaxed);
    }
}

enum Cast {
    Unicast,
    Broadcast,
    Multicast,
}

fn cast(frame: &[u8]) -> Cast {
    match frame.first() {
        Some(first) if first & 1 == 0 => Cast::Unicast,
        Some(_) if frame.len() >= 6 && frame[..6] == [0xff; 6] => Cast::Broadcast,
        Some(_) => Cast::Multicast,
        None => Cast::Unicast,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_destination() {
        let counters = Counters::default();
        counters.received(&[0xff; 60]);
        counters.received(&[1, 0, 0x5e, 0, 0, 1, 0, 0]);
        counters.sent(&[2, 0, 0, 0, 0, 1], 100);
        let now = counters.snapshot();
        assert_eq!((now.in_pkts, now.in_octets, now.in_broadcast_pkts, now.in_multicast_pkts), (2, 68, 1, 1));
        assert_eq!((now.out_pkts, now.out_octets, now.out_unicast_pkts), (1, 100, 1));
        assert!(now.leaves().contains(&("out-octets", 100)));
    }
}
