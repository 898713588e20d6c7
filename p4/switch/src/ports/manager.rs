//! Adds, removes and watches ports while frames pass.
//!
//! The kernel tells of a lost link by a netlink event. A thread that does nothing else waits for it and calls the
//! listener (which clears the port's bit in the switch) before anything slower: within a millisecond the switch stops
//! using the port, and only then gNMI subscribers hear of it.
//!
//! Frames leave a veth past its queueing discipline, which is quicker, while there is none but the default and nobody
//! listens: tcpdump on the interface and tc's shapers (as Mininet's links use) work as on any interface. The kernel tells
//! of both by netlink too.

use super::link::LinkEnd;
use super::netlink::{self, Event, LinkState, Monitor};
use super::packet::{self, PacketRx, PacketTx};
use super::pcap::{Capture, PcapRx, PcapTx, Writer};
use super::port::Port;
use super::sys::{self, EventFd};
use super::tap::{self, TapTx};
use super::{CountersSnapshot, PORT_MAX, PortNo, PortOptions, PortRx, PortSpec, PortTx};
use crate::runtime::Runtime;
use parking_lot::{Mutex, RwLock};
use std::collections::BTreeMap;
use std::io;
use std::os::fd::OwnedFd;
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
#[derive(Clone, Debug)]
pub struct PortInfo {
    pub no: PortNo,
    pub name: String,
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
}

struct Entry {
    port: Arc<Port>,
    far: Far,
    options: PortOptions,
}

/// What is needed to change the far side of a port.
enum Far {
    /// A Linux interface that may go away and come back under its name.
    Interface(Mutex<Transmit>),
    Tap,
    Link(LinkEnd),
    File,
}

/// The transmitting sockets of an interface.
struct Transmit {
    sockets: Vec<OwnedFd>,
    veth: bool,
    /// How many wanted to see all frames when it was last told.
    promiscuity: u32,
}

impl Transmit {
    /// The port's own receiving half.
    const OWN_PROMISCUITY: u32 = 1;

    fn choose(&self, ifindex: u32) {
        let free = self.veth && self.promiscuity <= Self::OWN_PROMISCUITY;
        let bypass = free && netlink::has_queueing(ifindex).is_ok_and(|queueing| !queueing);
        for socket in &self.sockets {
            if let Err(error) = packet::set_qdisc_bypass(socket, bypass) {
                tracing::debug!(%error, "PACKET_QDISC_BYPASS");
            }
        }
    }
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

/// The halves of a port: one receiving, and one transmitting for each worker.
type Halves = (Box<dyn PortRx>, Vec<Box<dyn PortTx>>);

impl PortManager {
    /// `listener` hears of every port that goes up or down, on the thread that noticed it.
    pub fn new(runtime: Arc<Runtime>, listener: impl Fn(PortNo, bool) + Send + Sync + 'static) -> Self {
        let inner = Inner {
            runtime,
            ports: RwLock::default(),
            listener: Box::new(listener),
            events: broadcast::channel(1024).0,
            watch: Mutex::default(),
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
        self.check_free(no, &spec.name())?;
        let name = spec.name();
        let failed = |source| PortError::Io { no, name: name.clone(), source };
        let capture =
            options.capture.as_ref().map(|folder| Capture::create(folder, &name)).transpose().map_err(failed)?;
        let port = Arc::new(Port::new(no, name.clone(), capture));
        port.enabled.store(options.enabled, Ordering::Relaxed);
        let workers = self.inner.runtime.workers();
        let (halves, far) = match spec {
            PortSpec::Linux(_) => {
                let (halves, transmit) = open_interface(&port, options, workers).map_err(failed)?;
                (halves, Far::Interface(Mutex::new(transmit)))
            }
            PortSpec::Tap(name) => (open_tap(&port, &name, workers).map_err(failed)?, Far::Tap),
            PortSpec::Pcap { input, output } => {
                let open = || -> io::Result<Halves> {
                    let rx = PcapRx::open(input.as_deref())?;
                    let writer = output.as_deref().map(Writer::create).transpose()?.map(|w| Arc::new(Mutex::new(w)));
                    Ok((Box::new(rx), (0..workers).map(|_| Box::new(PcapTx(writer.clone())) as _).collect()))
                };
                (open().map_err(failed)?, Far::File)
            }
            PortSpec::Link(_, end) => {
                let (rx, tx, end) = end.into_port();
                let mut senders: Vec<Box<dyn PortTx>> = vec![Box::new(tx)];
                senders.extend((1..workers).map(|_| Box::new(end.sender()) as Box<dyn PortTx>));
                ((Box::new(rx) as _, senders), Far::Link(end))
            }
        };
        port.speed_bps.store(options.speed_bps.unwrap_or(port.speed_bps()), Ordering::Relaxed);
        if matches!(far, Far::Interface(_) | Far::Tap) {
            self.watch().map_err(failed)?;
            netlink::set_enabled(port.ifindex(), options.enabled).map_err(failed)?;
        }
        if let Far::Link(end) = &far {
            end.set_enabled(options.enabled);
            let (inner, port) = (Arc::downgrade(&self.inner), Arc::downgrade(&port));
            end.on_change(move |up| {
                if let (Some(inner), Some(port)) = (inner.upgrade(), port.upgrade()) {
                    inner.apply(&port, up);
                }
            });
        }
        {
            let mut ports = self.inner.ports.write();
            if ports.contains_key(&no) {
                return Err(PortError::Duplicate(no));
            }
            ports.insert(no, Entry { port: Arc::clone(&port), far, options: options.clone() });
        }
        self.inner.runtime.attach(&port, halves.0, halves.1);
        let _ = self.inner.events.send(PortEvent::Added(no));
        self.refresh(no);
        if !port.is_up() {
            // A new port that is down brings no change, but nobody knows yet.
            (self.inner.listener)(no, false);
        }
        tracing::info!(port = no, name = port.name, up = port.is_up(), "port added");
        Ok(())
    }

    fn check_free(&self, no: PortNo, name: &str) -> Result<(), PortError> {
        if no > PORT_MAX {
            return Err(PortError::Number(no));
        }
        if self.inner.runtime.cpu_port() == Some(no) {
            return Err(PortError::Cpu { no });
        }
        let ports = self.inner.ports.read();
        if ports.contains_key(&no) {
            return Err(PortError::Duplicate(no));
        }
        match ports.values().find(|entry| entry.port.name == name) {
            Some(entry) => Err(PortError::DuplicateName { no, name: name.to_owned(), other: entry.port.no }),
            None => Ok(()),
        }
    }

    /// Removes a port. An interface stays as it is; a TAP interface goes away.
    pub fn remove(&self, no: PortNo) -> Result<(), PortError> {
        let entry = self.inner.ports.write().remove(&no).ok_or(PortError::Unknown(no))?;
        self.inner.apply(&entry.port, false);
        self.inner.runtime.detach(no);
        drop(entry);
        let _ = self.inner.events.send(PortEvent::Removed(no));
        tracing::info!(port = no, "port removed");
        Ok(())
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
                    .map_err(|source| PortError::Io { no, name: port.name.clone(), source })?,
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
            (entry.options.speed_bps, matches!(entry.far, Far::Interface(_)).then(|| entry.port.name.clone()))
        };
        let told =
            || name.and_then(|name| sys::ethtool(&name).ok()?.speed_mbps).map(|mbps| u64::from(mbps) * 1_000_000);
        self.set_speed(no, configured.or_else(told).unwrap_or(0))
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
            let returned =
                matches!(entry.far, Far::Interface(_)) && entry.port.ifindex() == 0 && entry.port.name == state.name;
            (same || returned).then(|| (Arc::clone(&entry.port), returned.then(|| entry.options.clone())))
        });
        let Some((port, returned)) = found else { return };
        if state.removed {
            port.ifindex.store(0, Ordering::Relaxed);
            return self.apply(&port, false);
        }
        if let Some(options) = returned {
            match open_interface(&port, &options, self.runtime.workers()) {
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

fn open_interface(port: &Port, options: &PortOptions, workers: usize) -> io::Result<(Halves, Transmit)> {
    let ifindex = sys::interface_index(&port.name)?;
    let ethtool = sys::ethtool(&port.name)?;
    let rx = PacketRx::open(ifindex, &options.ring)?;
    let tx = (0..workers).map(|_| PacketTx::open(ifindex, &options.ring)).collect::<io::Result<Vec<_>>>()?;
    let mut sockets = Vec::new();
    for half in &tx {
        sockets.extend(half.sockets()?);
    }
    let promiscuity = netlink::link(ifindex)?.promiscuity;
    let transmit = Transmit { sockets, veth: ethtool.driver == "veth", promiscuity };
    transmit.choose(ifindex);
    port.ifindex.store(ifindex, Ordering::Relaxed);
    if let Some(mbps) = ethtool.speed_mbps {
        port.speed_bps.store(u64::from(mbps) * 1_000_000, Ordering::Relaxed);
    }
    Ok(((Box::new(rx), tx.into_iter().map(|half| Box::new(half) as Box<dyn PortTx>).collect()), transmit))
}

fn open_tap(port: &Port, name: &str, workers: usize) -> io::Result<Halves> {
    let (rx, file) = tap::open(name)?;
    port.ifindex.store(sys::interface_index(name)?, Ordering::Relaxed);
    let open = |_| Ok(Box::new(TapTx(file.try_clone()?)) as Box<dyn PortTx>);
    Ok((Box::new(rx), (0..workers).map(open).collect::<io::Result<_>>()?))
}

fn info(port: &Port) -> PortInfo {
    PortInfo {
        no: port.no,
        name: port.name.clone(),
        enabled: port.is_enabled(),
        up: port.is_up(),
        ifindex: port.ifindex(),
        speed_bps: port.speed_bps(),
        last_change_ns: port.last_change_ns(),
        counters: port.counters.snapshot(),
    }
}
