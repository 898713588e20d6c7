//! The packet thread: runs the packet machines on what switches send and on changes of the View, and carries out what
//! they want.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvError, RecvTimeoutError, Sender, TryRecvError, channel};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use pergola_discovery::view::{ViewNet, changes, port_states, write_of};
use pergola_discovery::{Alarm, AlarmKind, Change, Input, Machines, Output, PortRef, Why};
use pergola_model::{Key, View};
use tokio::sync::mpsc::UnboundedSender;

use crate::clock::Clock;
use crate::device_task::ToDevice;
use crate::observe::Observer;
use crate::record::Recorder;
use crate::relay::{Relay, crosses};
use crate::roles::Roles;

/// What the packet thread is told.
pub(crate) enum PacketEvent {
    In {
        at: PortRef,
        frame: Bytes,
        why: Why,
    },
    Port {
        at: PortRef,
        up: bool,
    },
    Device {
        name: Arc<str>,
        connected: bool,
    },
    /// We are the master of a device now, since this revision; `takes_over` when somebody was before.
    Master {
        name: Arc<str>,
        since: u64,
        takes_over: bool,
    },
    /// The View moved on; `None` is the first one, or one too different to say.
    View {
        view: View,
        changed: Option<Vec<Key>>,
    },
    Stop,
}

/// Where to send packets out, by switch.
pub(crate) type Outlets = Arc<RwLock<HashMap<Arc<str>, UnboundedSender<ToDevice>>>>;
/// Alarms that are raised, by kind and subject.
pub(crate) type Alarms = Arc<Mutex<BTreeMap<(AlarmKind, String), Alarm>>>;
/// (machine, counter, value).
pub(crate) type MachineCounters = Arc<Mutex<Vec<(&'static str, &'static str, u64)>>>;

/// The way to the packet thread.
#[derive(Clone)]
pub(crate) struct Packets(Sender<PacketEvent>);

impl Packets {
    pub fn new() -> (Packets, Receiver<PacketEvent>) {
        let (to, from) = channel();
        (Packets(to), from)
    }

    pub fn send(&self, event: PacketEvent) {
        // The thread ends only when the engine does.
        let _ = self.0.send(event);
    }
}

pub(crate) struct PacketThread {
    pub machines: Machines,
    pub clock: Clock,
    pub observer: Observer,
    pub outlets: Outlets,
    pub alarms: Alarms,
    pub counters: MachineCounters,
    pub record: Recorder,
    pub roles: Arc<Roles>,
    pub relay: Relay,
}

impl PacketThread {
    /// Runs until [`PacketEvent::Stop`].
    pub fn run(mut self, from: &Receiver<PacketEvent>) {
        let mut view = View::default();
        let mut ports: BTreeMap<PortRef, bool> = BTreeMap::new();
        // Devices taken over from other masters, whose hosts and links are still to be learned.
        let mut taken: BTreeSet<Arc<str>> = BTreeSet::new();
        let mut out = Vec::new();
        loop {
            let now = self.clock.now();
            let event = match self.machines.next_timeout() {
                // Timers are not held up by floods.
                Some(at) if at <= now => None,
                due => match from.try_recv() {
                    Ok(event) => Some(event),
                    Err(TryRecvError::Disconnected) => return,
                    Err(TryRecvError::Empty) if !taken.is_empty() => {
                        self.take_over(&std::mem::take(&mut taken), &ports, &view, &mut out);
                        None
                    }
                    Err(TryRecvError::Empty) => match wait(from, due.map(|at| at - now)) {
                        Ok(event) => event,
                        Err(RecvError) => return,
                    },
                },
            };
            let now = self.clock.now();
            if let Some(event) = &event {
                self.record.packet_event(now, event);
            }
            match event {
                None => self.machines.handle(&Input::Tick, &ViewNet(&view), now, &mut out),
                Some(PacketEvent::In { at, frame, why }) => {
                    self.machines.packet_in(&at, &frame, why, &ViewNet(&view), now, &mut out);
                }
                Some(PacketEvent::Port { at, up }) => {
                    self.machines.handle(&Input::Port { at: &at, up }, &ViewNet(&view), now, &mut out);
                    ports.insert(at, up);
                }
                Some(PacketEvent::Device { name, connected }) => {
                    let input = Input::Device { device: &name, connected };
                    self.machines.handle(&input, &ViewNet(&view), now, &mut out);
                }
                Some(PacketEvent::Master { name, since, takes_over }) => {
                    let input = Input::Master { device: &name, term: since };
                    self.machines.handle(&input, &ViewNet(&view), now, &mut out);
                    if takes_over {
                        taken.insert(name);
                    }
                }
                Some(PacketEvent::View { view: new, changed }) => {
                    view = new;
                    let first = changed.is_none();
                    let all = changed.map_or(vec![Change::All], |keys| changes(&keys));
                    for change in all {
                        self.machines.handle(&Input::Changed(change), &ViewNet(&view), now, &mut out);
                    }
                    if first {
                        for (at, up) in port_states(&view) {
                            self.machines.handle(&Input::Port { at: &at, up }, &ViewNet(&view), now, &mut out);
                        }
                    }
                }
                Some(PacketEvent::Stop) => return,
            }
            for output in out.drain(..) {
                self.carry_out(output);
            }
            *self.counters.lock() = self.machines.counters();
        }
    }

    /// Learns from the View what the former masters have said, and then says again what its switches say now: words of
    /// the time without a master were for nobody.
    fn take_over(
        &mut self,
        devices: &BTreeSet<Arc<str>>,
        ports: &BTreeMap<PortRef, bool>,
        view: &View,
        out: &mut Vec<Output>,
    ) {
        let now = self.clock.now();
        self.machines.handle(&Input::Changed(Change::All), &ViewNet(view), now, out);
        for (at, up) in ports.iter().filter(|(at, _)| devices.contains(&at.device)) {
            // A machine that knows the state already takes a repetition for nothing new.
            for up in [true, *up] {
                self.machines.handle(&Input::Port { at, up }, &ViewNet(view), now, out);
            }
        }
    }

    fn carry_out(&self, output: Output) {
        match output {
            Output::PacketOut { at, frame } => {
                if let Some(master) = self.roles.other(&at.device) {
                    if crosses(&frame) {
                        self.relay.send(&master, &at.device, at.port, &frame);
                    }
                } else if let Some(to) = self.outlets.read().get(&at.device) {
                    let _ = to.send(ToDevice::PacketOut { port: at.port, frame });
                }
            }
            Output::Observe(seen) => match write_of(&seen, self.clock.unix_ms()) {
                Some(write) => self.observer.write(write),
                None => tracing::warn!(?seen, "an observation names what cannot exist"),
            },
            Output::Alarm(alarm) => {
                let id = (alarm.kind, alarm.subject.clone());
                if alarm.raised {
                    tracing::warn!(kind = alarm.kind.as_str(), subject = %alarm.subject, "{}", alarm.text);
                    self.alarms.lock().insert(id, alarm);
                } else {
                    tracing::info!(kind = alarm.kind.as_str(), subject = %alarm.subject, "alarm cleared");
                    self.alarms.lock().remove(&id);
                }
            }
        }
    }
}

/// The next event, or nothing after so many nanoseconds.
fn wait(from: &Receiver<PacketEvent>, at_most: Option<u64>) -> Result<Option<PacketEvent>, RecvError> {
    let Some(ns) = at_most else { return from.recv().map(Some) };
    match from.recv_timeout(Duration::from_nanos(ns)) {
        Ok(event) => Ok(Some(event)),
        Err(RecvTimeoutError::Timeout) => Ok(None),
        Err(RecvTimeoutError::Disconnected) => Err(RecvError),
    }
}
