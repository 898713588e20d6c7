//! The planning thread: keeps the View and the plan, and hands every device what changed for it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use pergola_graph::Switched;
use pergola_model::{Change, ChangedKey, Key, Kind, Switch, SwitchName, View};
use pergola_plan::{DeviceDelta, PlanDelta, Planner};
use pergola_southbound::gnmi::PortAdmin;
use pergola_store::mastership::{self, Device};
use pergola_store::{Batch, Listing, Piece};
use tokio::sync::{OwnedSemaphorePermit, mpsc, watch};

use crate::clock::Clock;
use crate::config::{CallError, EngineConfig, PipelineOf, calls, reconcile_config};
use crate::device_task::{self, DeviceHandle, DeviceReport, Surroundings, ToDevice};
use crate::memory;
use crate::observe::Observer;
use crate::packets::{Outlets, PacketEvent, Packets};
use crate::reconcile::ReconcileConfig;
use crate::record::{Recorder, digest};
use crate::relay;
use crate::roles::Roles;

/// How the plan stands: published after every change.
#[derive(Clone, Default)]
pub(crate) struct PlanStatus {
    /// The store's revision the plan belongs to; 0 before the first.
    pub revision: u64,
    pub devices: Arc<BTreeMap<SwitchName, Planned>>,
}

/// A device as planning sees it.
#[derive(Clone)]
pub(crate) struct Planned {
    pub switch: Arc<Switch>,
    /// Its task, unless it cannot be called.
    pub report: Option<watch::Receiver<DeviceReport>>,
    pub to: Option<mpsc::UnboundedSender<device_task::ToDevice>>,
    /// The number of the last delta it was sent.
    pub sent: u64,
    pub call_error: Option<String>,
}

/// Times of planning, in nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct PlanTimes {
    pub plans: AtomicU64,
    pub last_ns: AtomicU64,
    pub longest_ns: AtomicU64,
    pub total_ns: AtomicU64,
}

impl PlanTimes {
    fn record(&self, took: Duration) {
        let ns = took.as_nanos() as u64;
        self.plans.fetch_add(1, Ordering::Relaxed);
        self.last_ns.store(ns, Ordering::Relaxed);
        self.longest_ns.fetch_max(ns, Ordering::Relaxed);
        self.total_ns.fetch_add(ns, Ordering::Relaxed);
    }
}

/// What the planning thread is told.
pub(crate) enum ToPlanning {
    /// With the leave to be on the way, which goes back when it is taken in.
    Store(Piece, Option<OwnedSemaphorePermit>),
    Stop,
}

/// Parts of a snapshot that are on the way at most: the next one comes while one is taken in, and no more memory is used.
pub(crate) const PARTS_ON_THE_WAY: usize = 2;

pub(crate) struct Planning {
    view: View,
    /// A snapshot that is still coming.
    coming: View,
    shown: Arc<RwLock<View>>,
    planner: Arc<Mutex<Planner>>,
    devices: BTreeMap<SwitchName, Result<DeviceHandle, (Arc<Switch>, String)>>,
    status: watch::Sender<PlanStatus>,
    times: Arc<PlanTimes>,
    packets: Packets,
    outlets: Outlets,
    observer: Observer,
    clock: Clock,
    pipeline_of: PipelineOf,
    allow_plaintext: bool,
    reconcile: ReconcileConfig,
    roles: Arc<Roles>,
    /// The switches that need a master.
    names: watch::Sender<BTreeSet<Device>>,
    record: Recorder,
}

/// What planning shares with the rest of the engine.
pub(crate) struct Shared {
    pub shown: Arc<RwLock<View>>,
    pub planner: Arc<Mutex<Planner>>,
    pub times: Arc<PlanTimes>,
    pub packets: Packets,
    pub outlets: Outlets,
    pub observer: Observer,
    pub status: watch::Sender<PlanStatus>,
    pub roles: Arc<Roles>,
    pub names: watch::Sender<BTreeSet<Device>>,
    pub record: Recorder,
}

impl Planning {
    pub fn new(config: &EngineConfig, shared: Shared) -> Planning {
        Planning {
            view: View::default(),
            coming: View::default(),
            shown: shared.shown,
            planner: shared.planner,
            devices: BTreeMap::new(),
            status: shared.status,
            times: shared.times,
            packets: shared.packets,
            outlets: shared.outlets,
            observer: shared.observer,
            clock: config.clock,
            pipeline_of: config.pipeline_of.clone(),
            allow_plaintext: config.allow_plaintext,
            reconcile: config.reconcile.clone(),
            roles: shared.roles,
            names: shared.names,
            record: shared.record,
        }
    }

    /// Runs until told to stop; on a thread of its own, since a plan may take seconds.
    pub fn run(mut self, mut from: mpsc::UnboundedReceiver<ToPlanning>) {
        let mut batches = Vec::new();
        while let Some(message) = from.blocking_recv() {
            let mut next = Some(message);
            // Revisions that wait already are planned together.
            while let Some(message) = next {
                if let ToPlanning::Store(news, _) = &message {
                    self.record.store(self.clock.now(), news);
                }
                match message {
                    ToPlanning::Store(Piece::Batch(batch), _) => batches.push(batch),
                    ToPlanning::Store(Piece::Part { listing, first, last }, leave) => {
                        if first {
                            self.coming = View::default();
                        }
                        self.part(listing);
                        drop(leave);
                        if last {
                            batches.clear();
                            self.snapshot();
                        }
                    }
                    ToPlanning::Store(Piece::Interrupted(error), _) => {
                        tracing::warn!(%error, "the store cannot be followed; the last known state stays");
                    }
                    ToPlanning::Stop => return,
                }
                next = from.try_recv().ok();
            }
            if !batches.is_empty() {
                self.batches(&std::mem::take(&mut batches));
            }
        }
    }

    /// Takes in a part of a snapshot.
    fn part(&mut self, listing: Listing) {
        let resources = listing.entries.iter().filter(|e| is_resource(&e.key));
        let puts: Vec<Change<'_>> = resources.map(|e| Change { key: &e.key, value: Some(&e.value) }).collect();
        for (key, error) in self.coming.apply(listing.revision, &puts).refused {
            tracing::error!(%key, %error, "the store holds something that is no resource");
        }
    }

    /// The snapshot is whole.
    fn snapshot(&mut self) {
        let started = Instant::now();
        self.view = std::mem::take(&mut self.coming);
        let delta = self.planner.lock().plan_all(&self.view);
        self.times.record(started.elapsed());
        self.planned(&delta);
        // Before any switch is called: what it says of its ports must come after what was known of them.
        self.tell_packets(None);
        self.hand_out(delta, true);
        memory::give_back();
        self.publish();
    }

    fn batches(&mut self, batches: &[Batch]) {
        let started = Instant::now();
        let old = self.view.clone();
        let mut changed: Vec<ChangedKey> = Vec::new();
        for batch in batches {
            self.relayed(batch);
            let changes: Vec<Change<'_>> = batch
                .events
                .iter()
                .filter(|e| is_resource(e.key()))
                .map(|e| Change { key: e.key(), value: e.entry().map(|entry| entry.value.as_ref()) })
                .collect();
            let applied = self.view.apply(batch.revision, &changes);
            for (key, error) in applied.refused {
                tracing::error!(%key, %error, "the store holds something that is no resource");
            }
            changed.extend(applied.changed);
        }
        let delta = self.planner.lock().apply(&old, &self.view, &changed);
        if !changed.is_empty() {
            self.times.record(started.elapsed());
        }
        self.planned(&delta);
        let switches = changed.iter().any(|c| matches!(c.key.kind, Kind::Switch | Kind::Site));
        self.hand_out(delta, switches);
        let mut switched = Switched::none();
        changed.iter().for_each(|c| switched.add(&old, &self.view, &c.key));
        for (name, device) in self.devices.iter().filter(|(name, _)| switched.concerns(name)) {
            if let Ok(device) = device {
                device.set_ports(admin(&self.view, name));
            }
        }
        self.tell_packets(Some(changed.into_iter().map(|c| c.key).collect()));
        self.publish();
    }

    /// Sends what other controllers want sent out of our switches.
    fn relayed(&self, batch: &Batch) {
        for entry in batch.events.iter().filter_map(|e| e.entry()) {
            if let Some((device, port, frame)) = relay::decode(self.roles.node(), &entry.key, &entry.value)
                && let Some(to) = self.outlets.read().get(device)
            {
                let _ = to.send(ToDevice::PacketOut { port, frame: frame.to_vec() });
            }
        }
    }

    fn planned(&self, delta: &PlanDelta) {
        if self.record.is_on() {
            self.record.planned(self.clock.now(), self.view.revision(), digest(delta));
        }
    }

    /// Gives each device its part; starts and ends device tasks when switches changed.
    fn hand_out(&mut self, mut delta: PlanDelta, switches: bool) {
        let revision = self.view.revision();
        if switches {
            let gone: Vec<SwitchName> =
                self.devices.keys().filter(|n| self.view.switch(n).is_none()).cloned().collect();
            for name in gone {
                self.devices.remove(&name);
                self.outlets.write().remove(name.as_str());
            }
        }
        // First those that run: traffic may be waiting.
        for (name, device) in &mut self.devices {
            if let (Ok(device), Some(delta)) = (device, delta.devices.remove(name)) {
                device.apply(delta, revision);
            }
        }
        if switches {
            let all: Vec<Arc<Switch>> = self.view.switches().cloned().collect();
            for switch in all {
                self.start_device(switch);
            }
            let called = self.view.switches().filter(|s| s.p4runtime.is_some());
            let names: BTreeSet<Device> = called.map(|s| Device::from(s.name.as_str())).collect();
            self.names.send_if_modified(|held| {
                let changed = *held != names;
                *held = names;
                changed
            });
        }
    }

    /// Starts a device that does not run yet, or runs as something else.
    fn start_device(&mut self, switch: Arc<Switch>) {
        let same = |d: &Result<DeviceHandle, (Arc<Switch>, String)>| match d {
            Ok(handle) => called_alike(&handle.switch, &switch),
            // What could not be called may work now: a file may have appeared.
            Err(_) => false,
        };
        if self.devices.get(&switch.name).is_some_and(same) {
            return;
        }
        self.outlets.write().remove(switch.name.as_str());
        self.devices.remove(&switch.name);
        let timers = self.view.timers();
        let found = self
            .claimed_by_another(&switch)
            .map_or_else(|| calls(&switch, self.allow_plaintext, Duration::from_secs(5)), Err);
        let device = match found {
            Ok(None) => return,
            Err(error) => {
                tracing::error!(device = %switch.name, %error, "the switch is not called");
                Err((switch.clone(), error.to_string()))
            }
            Ok(Some(calls)) => {
                let around = Surroundings {
                    clock: self.clock,
                    roles: self.roles.clone(),
                    shown: self.shown.clone(),
                    longest_wait: Duration::from_millis(timers.reconnect_max_ms.into()),
                    reconcile: reconcile_config(&self.reconcile, &timers),
                    packets: self.packets.clone(),
                    observer: self.observer.clone(),
                    admin: admin(&self.view, &switch.name),
                };
                let pipeline = (self.pipeline_of)(&switch);
                let mut handle = device_task::spawn(switch.clone(), calls, pipeline, around);
                let planner = self.planner.lock();
                let put = planner
                    .wanted(&switch.name)
                    .map(|(k, v)| pergola_pipeline::Entity::new(k.clone(), v.clone()))
                    .collect();
                handle.apply(DeviceDelta { put, del: Vec::new() }, self.view.revision());
                self.outlets.write().insert(switch.name.as_str().into(), handle.to.clone());
                Ok(handle)
            }
        };
        self.devices.insert(switch.name.clone(), device);
    }

    /// Two switches with one device id at one address would fight over the same entries.
    fn claimed_by_another(&self, switch: &Switch) -> Option<CallError> {
        let address = switch.p4runtime.as_ref()?;
        let other = self.view.switches().find(|o| {
            o.name < switch.name && o.device_id == switch.device_id && o.p4runtime.as_ref() == Some(address)
        })?;
        Some(CallError::ClaimedTwice {
            device_id: switch.device_id.0,
            address: address.to_string(),
            other: other.name.to_string(),
        })
    }

    /// Gives the packet machines the new view, and what of it changed.
    fn tell_packets(&self, changed: Option<Vec<Key>>) {
        self.packets.send(PacketEvent::View { view: self.view.clone(), changed });
    }

    /// Lets everybody see the new state.
    fn publish(&mut self) {
        *self.shown.write() = self.view.clone();
        let devices = self.devices.iter().map(|(name, device)| {
            let planned = match device {
                Ok(h) => Planned {
                    switch: h.switch.clone(),
                    report: Some(h.report.clone()),
                    to: Some(h.to.clone()),
                    sent: h.sent,
                    call_error: None,
                },
                Err((switch, error)) => {
                    Planned { switch: switch.clone(), report: None, to: None, sent: 0, call_error: Some(error.clone()) }
                }
            };
            (name.clone(), planned)
        });
        let devices = Arc::new(devices.collect());
        self.status.send_replace(PlanStatus { revision: self.view.revision(), devices });
    }
}

/// Which ports of a switch are to be on, by number.
fn admin(view: &View, switch: &SwitchName) -> PortAdmin {
    pergola_graph::port_admin(view, switch).into_iter().map(|(port, on)| (port.get(), on)).collect()
}

/// Whether the same session serves both.
fn called_alike(a: &Switch, b: &Switch) -> bool {
    a.device_id == b.device_id
        && a.p4runtime == b.p4runtime
        && a.gnmi == b.gnmi
        && a.security == b.security
        && a.target == b.target
        && a.cpu_port == b.cpu_port
}

/// Whether a key is the View's business; others are the store's and the cluster's own.
pub fn is_resource(key: &str) -> bool {
    !key.starts_with('~') && !key.starts_with(mastership::CLUSTER)
}
