//! What is known of one port, shared between the forwarding loop, the manager and gNMI.

use super::counters::Counters;
use super::pcap::Capture;
use super::{PortNo, PortOptions};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// One port. All state may be read at any time from any thread.
pub struct Port {
    pub no: PortNo,
    /// The name that gNMI shows.
    pub name: String,
    /// The name of what it is made of, as that of the Linux interface.
    pub interface: String,
    /// Another name by which gNMI clients may call it.
    pub alias: Option<String>,
    pub counters: Counters,
    /// Where everything that passes is written to, when asked for.
    pub capture: Option<Capture>,
    pub(super) enabled: AtomicBool,
    pub(super) up: AtomicBool,
    pub(super) ifindex: AtomicU32,
    pub(super) speed_bps: AtomicU64,
    last_change_ns: AtomicU64,
}

/// Nanoseconds since 1970.
pub fn now_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_nanos() as u64)
}

impl Port {
    pub(crate) fn new(no: PortNo, interface: String, options: &PortOptions, capture: Option<Capture>) -> Self {
        Self {
            no,
            name: options.name.clone().unwrap_or_else(|| interface.clone()),
            interface,
            alias: options.alias.clone(),
            counters: Counters::default(),
            capture,
            enabled: AtomicBool::new(options.enabled),
            up: AtomicBool::new(false),
            ifindex: AtomicU32::new(0),
            speed_bps: AtomicU64::new(0),
            last_change_ns: AtomicU64::new(now_ns()),
        }
    }

    /// Whether frames can pass: enabled, and the link is there.
    #[inline]
    pub fn is_up(&self) -> bool {
        self.up.load(Ordering::Relaxed)
    }

    /// Whether an operator wants the port in use.
    #[inline]
    pub fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Sets the operational state; true when it changed.
    pub(crate) fn set_up(&self, up: bool) -> bool {
        let changed = self.up.swap(up, Ordering::AcqRel) != up;
        if changed {
            self.last_change_ns.store(now_ns(), Ordering::Relaxed);
            self.counters.carrier_transitions.fetch_add(1, Ordering::Relaxed);
        }
        changed
    }

    /// The kernel's interface index; 0 where there is none.
    pub fn ifindex(&self) -> u32 {
        self.ifindex.load(Ordering::Relaxed)
    }

    /// Bits a second; 0 when unknown.
    pub fn speed_bps(&self) -> u64 {
        self.speed_bps.load(Ordering::Relaxed)
    }

    /// When the operational state changed last, in nanoseconds since 1970.
    pub fn last_change_ns(&self) -> u64 {
        self.last_change_ns.load(Ordering::Relaxed)
    }
}
