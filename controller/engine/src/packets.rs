//! The packet thread: runs the packet machines on what switches send and on changes of the View, and carries out what
//! they want.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
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
}

impl PacketThread {
    /// Runs until [`PacketEvent::Stop`].
    pub fn run(mut self, from: &Receiver<PacketEvent>) {
        let mut view = View::default();
        let mut out = Vec::new();
        loop {
            let now = self.clock.now();
            let event = match self.machines.next_timeout() {
                Some(at) if at <= now => None,
                Some(at) => match from.recv_timeout(Duration::from_nanos(at - now)) {
                    Ok(event) => Some(event),
                    Err(RecvTimeoutError::Timeout) => None,
                    Err(RecvTimeoutError::Disconnected) => return,
                },
                None => match from.recv() {
                    Ok(event) => Some(event),
                    Err(_) => return,
                },
            };
            let now = self.clock.now();
            match event {
                None => self.machines.handle(&Input::Tick, &ViewNet(&view), now, &mut out),
                Some(PacketEvent::In { at, frame, why }) => {
                    self.machines.packet_in(&at, &frame, why, &ViewNet(&view), now, &mut out);
                }
                Some(PacketEvent::Port { at, up }) => {
                    self.machines.handle(&Input::Port { at: &at, up }, &ViewNet(&view), now, &mut out);
                }
                Some(PacketEvent::Device { name, connected }) => {
                    let input = Input::Device { device: &name, connected };
                    self.machines.handle(&input, &ViewNet(&view), now, &mut out);
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

    fn carry_out(&self, output: Output) {
        match output {
            Output::PacketOut { at, frame } => {
                if let Some(to) = self.outlets.read().get(&at.device) {
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
