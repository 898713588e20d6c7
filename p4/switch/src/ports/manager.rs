//! Adds, removes and watches ports while frames pass.
//!
//! The kernel tells of a lost link by a netlink event. A thread that does nothing else waits for it and calls the
//! listener (which clears the port's bit in the switch) before anything slower: within a millisecond the switch stops
//! using the port, and only then gNMI subscribers hear of it.
//!
//! Frames leave a veth past its queueing discipline, which is quicker, while there is none but the default and nobody
//! listens: tcpdump on the interface and tc's shapers (as Mininet's links use) work as on any interface. The kernel tells
//! of both by netlink too.

use super::far::{self, Far, Halves};
use super::netlink::{self, Event, LinkState, Monitor};
use super::pcap::Capture;
use super::port::Port;
use super::sys::{self, EventFd};
use super::{CountersSnapshot, PORT_MAX, PortNo, PortOptions, PortSpec};
use crate::runtime::Runtime;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use tokio::sync::broadcast;

/// Why a port could not be added or changed.
#[derive(Debug, thiserror::Error)]
pub enum PortError {
    #[error("port {0}: the number is in use")]
    Duplicate(PortNo),
    #[error("port {no}: interface {name} is port {other} already")]
    DuplicateName { no: PortNo, name: String, other: PortNo },
    #[error("port {0}: there is no such port")]
    Unknown(PortNo),
    #[error("port {0}: allowed numbers are 0 to {PORT_MAX}")]
    Number(PortNo),
    #[error("port {no}: the number is the CPU port's")]
    Cpu { no: PortNo },
    #[error("port {no}: {name}: {source}")]
    Io { no: PortNo, name: String, source: io::Error },
}

/// Something about a port changed. Subscribers read the new state from the manager.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortEvent {
    Added(PortNo),
    Removed(PortNo),
    /// Administrative or operational state, or speed.
    Changed(PortNo),
}

/// The state of a port at one moment.
#[derive(Clone, Debug, Default)]
pub struct PortInfo {
    pub no: PortNo,
    /// The name that gNMI shows.
    pub name: String,
    /// The name of what the port is made of, as that of the Linux interface.
    pub interface: String,
    /// Another name by which gNMI clients may call it.
    pub alias: Option<String>,
    pub enabled: bool,
    pub up: bool,
    /// The kernel's interface index; 0 where there is none.
    pub ifindex: u32,
    /// Bits a second; 0 when unknown.
    pub speed_bps: u64,
    /// Nanoseconds since 1970.
    pub last_change_ns: u64,
    pub counters: CountersSnapshot,
}

type Listener = Box<dyn Fn(PortNo, bool) + Send + Sync>;

/// All ports of one switch. Cloning gives another handle to the same.
#[derive(Clone)]
pub struct PortManager {
    inner: Arc<Inner>,
}

struct Inner {
    runtime: Arc<Runtime>,
    ports: RwLock<BTreeMap<PortNo, Entry>>,
    listener: Listener,
    events: broadcast::Sender<PortEvent>,
    watch: Mutex<Option<Watch>>,
    /// Ports without interfaces that were told to be down.
    dark: Mutex<BTreeSet<PortNo>>,
}

struct Entry {
    port: Arc<Port>,
    far: Far,
    options: PortOptions,
}

/// A port with everything open that it needs, not in use yet; see [`PortManager::exchange`].
pub struct Opened {
    entry: Entry,
    halves: Halves,
}

struct Watch {
    stop: Arc<EventFd>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.stop.signal();
        // The last handle may be dropped by the watching thread itself.
        if let Some(thread) = self.thread.take()
            && thread.thread().id() != std::thread::current().id()
        {
            let _ = thread.join();
        }
    }
}

/// Ports that are in the list no more, and ports that are new in it.
struct Swapped {
    removed: Vec<Entry>,
    added: Vec<(Arc<Port>, Halves)>,
}

impl PortManager {
    /// `listener` hears of every port that goes up or down, on the thread that noticed it.
    pub fn new(runtime: Arc<Runtime>, listener: impl Fn(PortNo, bool) + Send + Sync + 'static) -> Self {
        let inner = Inner {
            runtime,
            ports: RwLock::default(),
            listener: Box::new(listener),
            events: broadcast::channel(1024).0,
            watch: Mutex::default(),
            dark: Mutex::default(),
        };
        Self { inner: Arc::new(inner) }
    }

    pub fn runtime(&self) -> &Arc<Runtime> {
        &self.inner.runtime
    }

    /// Events from now on.
    pub fn subscribe(&self) -> broadcast::Receiver<PortEvent> {
        self.inner.events.subscribe()
    }

    /// Adds a port; frames pass when this returns and the link is up.
    ///
    /// # Errors
    /// The number or name is taken, or the interface or file cannot be opened. Nothing is changed then.
    pub fn add(&self, no: PortNo, spec: PortSpec, options: &PortOptions) -> Result<(), PortError> {
        // Asked first, so that what is taken is not opened a second time.
        let interface = spec.name();
        let name = options.name.as_deref().unwrap_or(&interface);
        free(self.inner.ports.read().values().map(|entry| &*entry.port), no, name, &interface)?;
        let opened = self.open(no, spec, options)?;
        self.exchange(&[], vec![opened])
    }

    /// Opens what a port needs. Nobody sees anything of it before [`Self::exchange`].
    ///
    /// # Errors
    /// The number is none for a port, or the interface or file cannot be opened.
    pub fn open(&self, no: PortNo, spec: PortSpec, options: &PortOptions) -> Result<Opened, PortError> {
        if no > PORT_MAX {
            return Err(PortError::Number(no));
        }
        if self.inner.runtime.cpu_port() == Some(no) {
            return Err(PortError::Cpu { no });
        }
        let interface = spec.name();
        let failed = |source| PortError::Io { no, name: interface.clone(), source };
        let capture = options.capture.as_ref().map(|folder| Capture::create(folder, &interface));
        let capture = capture.transpose().map_err(failed)?;
        let port = Arc::new(Port::new(no, interface.clone(), options, capture));
        let (halves, far) = far::open(&port, spec, options, self.inner.runtime.workers()).map_err(failed)?;
        port.speed_bps.store(options.speed_bps.unwrap_or(port.speed_bps()), Ordering::Relaxed);
        if far.has_device() {
            self.watch().map_err(failed)?;
        }
        Ok(Opened { entry: Entry { port, far, options: options.clone() }, halves })
    }

    /// Removes ports and adds others, as one step: all of it or nothing. An interface that is no port any more stays as it is; a
    /// TAP interface goes away.
    ///
    /// # Errors
    /// A port to remove is not there, a number or name is taken, or an interface cannot be set up or down.
    pub fn exchange(&self, remove: &[PortNo], add: Vec<Opened>) -> Result<(), PortError> {
        let mut before = Vec::new();
        let outcome = self.swap(remove, add, &mut before);
        let Swapped { removed, added } = outcome.inspect_err(|_| {
            for (ifindex, enabled) in before.into_iter().rev() {
                // An interface that has gone meanwhile cannot be set back, and need not.
                let _ = netlink::set_enabled(ifindex, enabled);
            }
        })?;
        for Entry { port, far, .. } in removed {
            self.inner.apply(&port, false);
            self.inner.runtime.detach(port.no);
            if matches!(far, Far::Remote) && !self.inner.dark.lock().contains(&port.no) {
                // Without an interface it is a number like any other, and those are up.
                (self.inner.listener)(port.no, true);
            }
            let _ = self.inner.events.send(PortEvent::Removed(port.no));
            tracing::info!(port = port.no, "port removed");
        }
        for (port, halves) in added {
            if let Some((rx, tx)) = halves {
                self.inner.runtime.attach(&port, rx, tx);
            }
            let _ = self.inner.events.send(PortEvent::Added(port.no));
            self.refresh(port.no);
            if !port.is_up() {
                // A new port that is down brings no change, but nobody knows yet.
                (self.inner.listener)(port.no, false);
            }
            tracing::info!(port = port.no, name = port.name, up = port.is_up(), "port added");
        }
        Ok(())
    }

    /// The part of [`Self::exchange`] that may fail. `before` gets what interfaces were before they were set up or down.
    fn swap(&self, remove: &[PortNo], add: Vec<Opened>, before: &mut Vec<(u32, bool)>) -> Result<Swapped, PortError> {
        for Opened { entry: Entry { port, far, .. }, .. } in &add {
            let failed = |source| PortError::Io { no: port.no, name: port.interface.clone(), source };
            if far.has_device() {
                let is = netlink::link(port.ifindex()).map_err(failed)?;
                netlink::set_enabled(port.ifindex(), port.is_enabled()).map_err(failed)?;
                before.push((port.ifindex(), is.enabled));
            }
        }
        let mut ports = self.inner.ports.write();
        let mut after: BTreeMap<PortNo, &Port> = ports.iter().map(|(no, entry)| (*no, &*entry.port)).collect();
        for no in remove {
            after.remove(no).ok_or(PortError::Unknown(*no))?;
        }
        for Opened { entry, .. } in &add {
            let Port { no, name, interface, .. } = &*entry.port;
            free(after.values().copied(), *no, name, interface)?;
            after.insert(*no, &entry.port);
        }
        let removed = remove.iter().filter_map(|no| ports.remove(no)).collect();
        let mut added = Vec::new();
        for Opened { entry, halves } in add {
            let (port, inner) = (Arc::clone(&entry.port), Arc::downgrade(&self.inner));
            if let Far::Link(end) = &entry.far {
                end.set_enabled(port.is_enabled());
                let port = Arc::downgrade(&port);
                end.on_change(move |up| {
                    if let (Some(inner), Some(port)) = (inner.upgrade(), port.upgrade()) {
                        inner.apply(&port, up);
                    }
                });
            }
            ports.insert(port.no, entry);
            added.push((port, halves));
        }
        Ok(Swapped { removed, added })
    }

    /// Removes a port; see [`Self::exchange`].
    pub fn remove(&self, no: PortNo) -> Result<(), PortError> {
        self.exchange(&[no], Vec::new())
    }

    /// Tells whether a port without an interface has a link. It need not exist: the state is kept for when it does.
    pub fn set_carrier(&self, no: PortNo, up: bool) {
        {
            let mut dark = self.inner.dark.lock();
            if up {
                dark.remove(&no)
            } else {
                dark.insert(no)
            };
        }
        let ports = self.inner.ports.read();
        if ports.contains_key(&no) {
            drop(ports);
            self.refresh(no);
        } else {
            // The port cannot be added meanwhile, so this does not overtake what adding it tells.
            (self.inner.listener)(no, up);
        }
    }

    /// Sets the administrative state. The far side of an interface sees the carrier go and come.
    pub fn set_enabled(&self, no: PortNo, enabled: bool) -> Result<(), PortError> {
        {
            let ports = self.inner.ports.read();
            let entry = ports.get(&no).ok_or(PortError::Unknown(no))?;
            let port = &entry.port;
            port.enabled.store(enabled, Ordering::Relaxed);
            match &entry.far {
                Far::Interface(_) | Far::Tap if port.ifindex() != 0 => netlink::set_enabled(port.ifindex(), enabled)
                    .map_err(|source| PortError::Io { no, name: port.interface.clone(), source })?,
                _ => {}
            }
        }
        self.refresh(no);
        let _ = self.inner.events.send(PortEvent::Changed(no));
        Ok(())
    }

    /// Sets the speed that is shown, in bits a second; 0 for unknown.
    pub fn set_speed(&self, no: PortNo, speed_bps: u64) -> Result<(), PortError> {
        let ports = self.inner.ports.read();
        let entry = ports.get(&no).ok_or(PortError::Unknown(no))?;
        if entry.port.speed_bps.swap(speed_bps, Ordering::Relaxed) != speed_bps {
            let _ = self.inner.events.send(PortEvent::Changed(no));
        }
        Ok(())
    }

    /// Goes back to the speed that the interface itself tells.
    pub fn reset_speed(&self, no: PortNo) -> Result<(), PortError> {
        let (configured, name) = {
            let ports = self.inner.ports.read();
            let entry = ports.get(&no).ok_or(PortError::Unknown(no))?;
            (entry.options.speed_bps, matches!(entry.far, Far::Interface(_)).then(|| entry.port.interface.clone()))
        };
        let told =
            || name.and_then(|name| sys::ethtool(&name).ok()?.speed_mbps).map(|mbps| u64::from(mbps) * 1_000_000);
        self.set_speed(no, configured.or_else(told).unwrap_or(0))
    }

    pub(crate) fn port(&self, no: PortNo) -> Option<Arc<Port>> {
        self.inner.ports.read().get(&no).map(|entry| Arc::clone(&entry.port))
    }

    /// One port's state.
    pub fn get(&self, no: PortNo) -> Option<PortInfo> {
        self.inner.ports.read().get(&no).map(|entry| info(&entry.port))
    }

    /// Every port's state, by number.
    pub fn list(&self) -> Vec<PortInfo> {
        self.inner.ports.read().values().map(|entry| info(&entry.port)).collect()
    }

    /// Reads the link's state now, for changes that bring no event.
    fn refresh(&self, no: PortNo) {
        let ports = self.inner.ports.read();
        let Some(entry) = ports.get(&no) else { return };
        let port = Arc::clone(&entry.port);
        let enabled = port.is_enabled();
        match &entry.far {
            Far::Interface(_) | Far::Tap => {
                drop(ports);
                // Between question and answer the state may change, but then its event follows.
                let up = enabled && netlink::link(port.ifindex()).is_ok_and(|state| state.up);
                self.inner.apply(&port, up);
            }
            Far::File => {
                drop(ports);
                self.inner.apply(&port, enabled);
            }
            Far::Remote => {
                drop(ports);
                let dark = self.inner.dark.lock();
                self.inner.apply(&port, enabled && !dark.contains(&no));
            }
            Far::Link(end) => {
                // The listener applies changes; the first state brings none.
                end.set_enabled(enabled);
                let up = end.is_up();
                drop(ports);
                self.inner.apply(&port, up);
            }
        }
    }

    /// Starts the thread that waits for link events, once.
    fn watch(&self) -> io::Result<()> {
        let mut watch = self.inner.watch.lock();
        if watch.is_some() {
            return Ok(());
        }
        let mut monitor = Monitor::open()?;
        let stop = Arc::new(EventFd::new()?);
        let (inner, stopped) = (Arc::downgrade(&self.inner), Arc::clone(&stop));
        let thread = std::thread::Builder::new().name("link-watch".into()).spawn(move || {
            sys::prefer_this_thread();
            let mut fds = [sys::poll_in(monitor.fd()), sys::poll_in(stopped.raw())];
            while sys::poll(&mut fds, -1).is_ok() && fds[1].revents == 0 {
                let outcome = monitor.receive(&mut |event| match (inner.upgrade(), event) {
                    (Some(inner), Event::Link(state)) => inner.link_changed(&state),
                    (Some(inner), Event::Queueing(ifindex)) => inner.queueing_changed(ifindex),
                    (None, _) => {}
                });
                if let Err(error) = outcome {
                    tracing::error!(%error, "link events");
                }
                if Weak::strong_count(&inner) == 0 {
                    return;
                }
            }
        })?;
        *watch = Some(Watch { stop, thread: Some(thread) });
        Ok(())
    }
}

impl Inner {
    /// Sets a port's operational state and tells everybody who waits for it, the switch first.
    fn apply(&self, port: &Port, up: bool) {
        if port.set_up(up) {
            (self.listener)(port.no, up);
            let _ = self.events.send(PortEvent::Changed(port.no));
            tracing::info!(port = port.no, name = port.name, up, "link");
        }
    }

    fn link_changed(&self, state: &LinkState) {
        let found = self.ports.read().values().find_map(|entry| {
            let same = entry.port.ifindex() == state.ifindex;
            let returned = matches!(entry.far, Far::Interface(_))
                && entry.port.ifindex() == 0
                && entry.port.interface == state.name;
            (same || returned).then(|| (Arc::clone(&entry.port), returned.then(|| entry.options.clone())))
        });
        let Some((port, returned)) = found else { return };
        if state.removed {
            port.ifindex.store(0, Ordering::Relaxed);
            return self.apply(&port, false);
        }
        if let Some(options) = returned {
            match far::open_interface(&port, &options, self.runtime.workers()) {
                Ok(((rx, tx), transmit)) => {
                    self.runtime.attach(&port, rx, tx);
                    if let Some(Entry { far: Far::Interface(old), .. }) = self.ports.read().get(&port.no) {
                        *old.lock() = transmit;
                    }
                }
                Err(error) => return tracing::warn!(port = port.no, name = port.name, %error, "interface came back"),
            }
            if let Err(error) = netlink::set_enabled(port.ifindex(), port.is_enabled()) {
                tracing::warn!(port = port.no, name = port.name, %error, "set interface up");
            }
        }
        self.apply(&port, port.is_enabled() && state.up);
        if let Some(Entry { far: Far::Interface(transmit), .. }) = self.ports.read().get(&port.no) {
            let mut transmit = transmit.lock();
            if transmit.promiscuity != state.promiscuity {
                transmit.promiscuity = state.promiscuity;
                transmit.choose(state.ifindex);
            }
        }
    }

    fn queueing_changed(&self, ifindex: u32) {
        for entry in self.ports.read().values().filter(|entry| entry.port.ifindex() == ifindex) {
            if let Far::Interface(transmit) = &entry.far {
                transmit.lock().choose(ifindex);
            }
        }
    }
}

/// Whether a port may be added beside `ports`.
fn free<'a>(ports: impl Iterator<Item = &'a Port>, no: PortNo, name: &str, interface: &str) -> Result<(), PortError> {
    for port in ports {
        if port.no == no {
            return Err(PortError::Duplicate(no));
        }
        for (taken, wanted) in [(&port.name, name), (&port.interface, interface)] {
            if taken == wanted {
                return Err(PortError::DuplicateName { no, name: wanted.to_owned(), other: port.no });
            }
        }
    }
    Ok(())
}

fn info(port: &Port) -> PortInfo {
    PortInfo {
        no: port.no,
        name: port.name.clone(),
        interface: port.interface.clone(),
        alias: port.alias.clone(),
        enabled: port.is_enabled(),
        up: port.is_up(),
        ifindex: port.ifindex(),
        speed_bps: port.speed_bps(),
        last_change_ns: port.last_change_ns(),
        counters: port.counters.snapshot(),
    }
}
