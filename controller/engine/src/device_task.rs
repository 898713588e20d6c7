//! The task of one device: joins the device machine to the network, the plan, and the packet machines.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::RwLock;
use pergola_discovery::{PortRef, Why};
use pergola_model::{DeviceState, Mastership, PortId, PortNo, PortState, Switch, SwitchName, View};
use pergola_pipeline::reserved;
use pergola_plan::DeviceDelta;
use pergola_southbound::gnmi::{PortAdmin, PortEvent};
use pergola_southbound::{DirectCount, Fault, Input, Pipeline, Rim, Session, SessionConfig, direct_counters};
use tokio::sync::{mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::Calls;
use crate::device::{Device, Notice};
use crate::observe::Observer;
use crate::packets::{PacketEvent, Packets};
use crate::reconcile::{ReconcileConfig, Reconciler, Status, WriteOrder};
use crate::roles::{DeviceRole, Roles};

/// What a device's task is told.
pub(crate) enum ToDevice {
    /// The plan changed. `number` counts these.
    Apply {
        delta: DeviceDelta,
        revision: u64,
        number: u64,
    },
    PacketOut {
        port: u32,
        frame: Vec<u8>,
    },
    Counters {
        table: u32,
        answer: oneshot::Sender<Result<Vec<DirectCount>, Fault>>,
    },
}

/// How a device stands, for everybody who asks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceReport {
    pub connected: bool,
    pub mastership: Mastership,
    /// Whether this controller is the device's master, or which one is.
    pub role: DeviceRole,
    pub last_error: Option<String>,
    pub status: Status,
    /// The last delta taken in.
    pub(crate) applied: u64,
    /// Sessions that became ready, and pipelines loaded, since the start.
    pub sessions: u64,
    pub pipeline_pushes: u64,
}

impl DeviceReport {
    /// Everything up to this delta is written, by us or, as far as we know, by another master.
    pub(crate) fn is_settled(&self, sent: u64) -> bool {
        self.applied >= sent && if self.role.is_master() { self.status.in_sync } else { self.role.other.is_some() }
    }
}

/// What a device's task needs from the engine.
pub(crate) struct Surroundings {
    pub clock: Clock,
    pub roles: Arc<Roles>,
    pub shown: Arc<RwLock<View>>,
    pub longest_wait: Duration,
    pub reconcile: ReconcileConfig,
    pub packets: Packets,
    pub observer: Observer,
    /// Ports to be on and off at the start.
    pub admin: PortAdmin,
}

/// A running device task. Dropping it ends the session.
pub(crate) struct DeviceHandle {
    pub switch: Arc<Switch>,
    pub to: mpsc::UnboundedSender<ToDevice>,
    pub report: watch::Receiver<DeviceReport>,
    admin: watch::Sender<PortAdmin>,
    /// Deltas sent so far.
    pub sent: u64,
}

impl DeviceHandle {
    pub fn apply(&mut self, delta: DeviceDelta, revision: u64) {
        self.sent += 1;
        // The task ends only when this handle is dropped.
        let _ = self.to.send(ToDevice::Apply { delta, revision, number: self.sent });
    }
}

impl DeviceHandle {
    /// Which ports are to be on and off from now on.
    pub fn set_ports(&self, wanted: PortAdmin) {
        self.admin.send_if_modified(|admin| {
            let changed = *admin != wanted;
            *admin = wanted;
            changed
        });
    }
}

struct Task {
    name: SwitchName,
    device_id: u64,
    device: Device,
    rim: Rim,
    pipeline: Arc<Pipeline>,
    around: Surroundings,
    /// Our part for the device, and as it was when it was last acted upon.
    roles: watch::Receiver<DeviceRole>,
    role: DeviceRole,
    /// Somebody was master since this task began.
    had_master: bool,
    from: mpsc::UnboundedReceiver<ToDevice>,
    report: watch::Sender<DeviceReport>,
    applied: u64,
    changed_ms: u64,
}

/// Starts the task of a device; must be called within a runtime.
pub(crate) fn spawn(switch: Arc<Switch>, calls: Calls, pipeline: Arc<Pipeline>, around: Surroundings) -> DeviceHandle {
    let device_id = switch.device_id.0;
    let mut config = SessionConfig::new(device_id, around.roles.standby_id(), pipeline.cookie);
    config.candidate = false;
    config.backoff_longest = around.longest_wait;
    config.seed = around.clock.unix_ms() ^ device_id.rotate_left(32);
    let order = Arc::new(WriteOrder::of_pipeline(&pipeline));
    let reconciler = Reconciler::new(around.reconcile.clone(), order, pipeline.scopes());
    let (to, from) = mpsc::unbounded_channel();
    let (report, reports) = watch::channel(DeviceReport::default());
    let (admin, wanted) = watch::channel(around.admin.clone());
    if let Some(endpoint) = calls.gnmi {
        tokio::spawn(ports(switch.name.clone(), endpoint, &around, wanted, to.downgrade()));
    }
    let task = Task {
        name: switch.name.clone(),
        device_id,
        device: Device::new(Session::new(config), reconciler),
        rim: Rim::new(calls.p4runtime, device_id, pipeline.clone()),
        pipeline,
        roles: around.roles.follow(switch.name.as_str()),
        role: DeviceRole::default(),
        had_master: false,
        from,
        report,
        applied: 0,
        changed_ms: around.clock.unix_ms(),
        around,
    };
    tokio::spawn(task.run());
    DeviceHandle { switch, to, report: reports, admin, sent: 0 }
}

impl Task {
    async fn run(mut self) {
        self.roles.mark_changed();
        loop {
            if self.roles.has_changed().unwrap_or(false) {
                self.take_role();
            }
            let now = self.around.clock.now();
            while let Some(output) = self.device.poll(now) {
                self.rim.execute(output);
            }
            while let Some(notice) = self.device.notice() {
                self.notice(notice);
            }
            self.publish();
            let wake = self.device.next_timeout().map(|at| self.around.clock.instant(at));
            let sleep = async {
                match wake {
                    Some(at) => tokio::time::sleep_until(at.into()).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                // The senders live as long as the engine does.
                Ok(()) = self.roles.changed() => self.roles.mark_changed(),
                message = self.from.recv() => {
                    let Some(message) = message else { break };
                    self.take(message);
                    // Whatever else waits goes into the same writes.
                    while let Ok(message) = self.from.try_recv() {
                        self.take(message);
                    }
                }
                input = self.rim.next() => {
                    let now = self.around.clock.now();
                    self.device.handle(input, now);
                    for _ in 0..64 {
                        let Some(input) = self.rim.try_next() else { break };
                        self.device.handle(input, now);
                    }
                }
                () = sleep => self.device.handle(Input::Tick, self.around.clock.now()),
            }
        }
        self.device.close();
        while let Some(output) = self.device.poll(self.around.clock.now()) {
            self.rim.execute(output);
        }
        self.around.packets.send(PacketEvent::Device { name: self.name.as_str().into(), connected: false });
    }

    /// Our part has changed: ask for mastership, or write nothing any more.
    fn take_role(&mut self) {
        let role = self.roles.borrow_and_update().clone();
        let now = self.around.clock.now();
        let roles = &self.around.roles;
        self.device.take_role(&self.role, &role, roles.epoch(), roles.standby_id(), now);
        let begins = role.since.filter(|since| self.role.since != Some(*since));
        // Between two masters nobody says what happens.
        let takes_over = begins.is_some() && self.had_master;
        self.had_master |= role != DeviceRole::default();
        self.role = role;
        if let Some(since) = begins {
            tracing::info!(device = %self.name, takes_over, "master");
            self.around.packets.send(PacketEvent::Master { name: self.name.as_str().into(), since, takes_over });
            self.around.observer.put(self.state());
        }
        self.around.observer.release();
    }

    fn take(&mut self, message: ToDevice) {
        match message {
            ToDevice::Apply { delta, revision, number } => {
                self.device.apply(delta, revision);
                self.applied = number;
            }
            ToDevice::PacketOut { port, frame } => match self.pipeline.packet_out(port, Bytes::from(frame)) {
                Ok(packet) => {
                    self.device.packet_out(packet);
                }
                Err(error) => tracing::error!(device = %self.name, %error, "no packet can be sent"),
            },
            ToDevice::Counters { table, answer } => {
                let (client, device_id) = (self.rim.client(), self.device_id);
                tokio::spawn(async move {
                    let result = match client {
                        Some(client) => direct_counters(client, device_id, table).await,
                        None => Err(Fault::new(tonic::Code::Unavailable, "there is no session")),
                    };
                    let _ = answer.send(result);
                });
            }
        }
    }

    fn notice(&mut self, notice: Notice) {
        match notice {
            // A switch may take any standby for its primary where there is no other.
            Notice::PacketIn(_) if self.device.mastership() != Mastership::Primary => {}
            Notice::PacketIn(packet) => match self.pipeline.ingress_port(&packet) {
                Some(port) => {
                    let at = PortRef::new(self.name.as_str(), port);
                    let why = why(self.pipeline.punt_id(&packet));
                    self.around.packets.send(PacketEvent::In { at, frame: packet.payload, why });
                }
                None => tracing::warn!(device = %self.name, "a packet-in says no ingress port"),
            },
            Notice::Digest(digest) => {
                tracing::debug!(device = %self.name, digest = digest.digest_id, "nobody asked for this digest");
            }
            Notice::IdleTimeout(n) => {
                tracing::debug!(device = %self.name, entries = n.table_entry.len(), "idle entries");
            }
            Notice::State => {
                self.changed_ms = self.around.clock.unix_ms();
                let connected = self.device.mastership() == Mastership::Primary;
                self.around.packets.send(PacketEvent::Device { name: self.name.as_str().into(), connected });
                match self.device.last_error() {
                    Some(error) => tracing::warn!(device = %self.name, %error, "session"),
                    None => {
                        tracing::info!(device = %self.name, mastership = ?self.device.mastership(), "session")
                    }
                }
                self.around.observer.put(self.state());
            }
        }
    }

    fn state(&self) -> DeviceState {
        let status = self.device.status();
        DeviceState {
            switch: self.name.clone(),
            connected: self.device.connected(),
            mastership: self.device.mastership(),
            pipeline_cookie: self.device.connected().then_some(self.pipeline.cookie),
            wanted: status.wanted as u64,
            installed: status.installed as u64,
            failed: status.failed as u64,
            last_error: self.device.last_error(),
            changed_ms: self.changed_ms,
        }
    }

    fn publish(&mut self) {
        let (sessions, pipeline_pushes) = self.device.sessions_and_pushes();
        let report = DeviceReport {
            connected: self.device.connected(),
            mastership: self.device.mastership(),
            role: self.role.clone(),
            last_error: self.device.last_error(),
            status: self.device.status(),
            applied: self.applied,
            sessions,
            pipeline_pushes,
        };
        let failed = report.status.failed;
        let before = self.report.send_replace(report).status.failed;
        if (before == 0) != (failed == 0) {
            self.around.observer.put(self.state());
        }
    }
}

/// What the number that a rule puts on its packets means.
fn why(punt_id: Option<u32>) -> Why {
    match punt_id.and_then(|id| u16::try_from(id).ok()) {
        Some(reserved::PUNT_ANSWERED) => Why::Answered,
        Some(reserved::PUNT_GLEAN) => Why::Unknown,
        Some(reserved::PUNT_EXPIRED) => Why::Expired,
        Some(reserved::PUNT_POLICY) => Why::Mirrored,
        _ => Why::Rule,
    }
}

/// Follows the ports of a switch over gNMI and, as its master, observes what differs from what is known and switches
/// ports on and off, while the device's task runs.
fn ports(
    name: SwitchName,
    endpoint: tonic::transport::Endpoint,
    around: &Surroundings,
    mut admin: watch::Receiver<PortAdmin>,
    alive: mpsc::WeakUnboundedSender<ToDevice>,
) -> impl Future<Output = ()> + Send + use<> {
    let (packets, observer, clock) = (around.packets.clone(), around.observer.clone(), around.clock);
    let (longest_wait, shown) = (around.longest_wait, around.shown.clone());
    let mut roles = around.roles.follow(name.as_str());
    // As the switch says, whoever is its master.
    let mut now: BTreeMap<PortId, (bool, Option<u64>)> = BTreeMap::new();
    async move {
        let (events, mut arriving) = mpsc::unbounded_channel();
        // A standby sets nothing: nobody fences gNMI.
        let (set, wanted) = watch::channel(PortAdmin::new());
        tokio::spawn(pergola_southbound::gnmi::follow(endpoint, events, wanted, longest_wait, clock.unix_ms()));
        roles.mark_changed();
        let mut check = tokio::time::interval(Duration::from_millis(200));
        let observe = |port: &PortId, (oper_up, speed_bps): (bool, Option<u64>)| {
            let known = shown.read().port_state(port).map(|p| (p.oper_up, p.speed_bps));
            if known != Some((oper_up, speed_bps)) {
                observer.put(PortState { port: port.clone(), oper_up, speed_bps, changed_ms: clock.unix_ms() });
            }
        };
        loop {
            let event = tokio::select! {
                event = arriving.recv() => event,
                Ok(()) = roles.changed() => {
                    let master = roles.borrow_and_update().is_master();
                    set.send_replace(if master { admin.borrow().clone() } else { PortAdmin::new() });
                    if master {
                        // What changed while nobody was there to say it.
                        now.iter().for_each(|(port, state)| observe(port, *state));
                    }
                    continue;
                }
                Ok(()) = admin.changed() => {
                    let all = admin.borrow_and_update().clone();
                    if roles.borrow().is_master() {
                        set.send_replace(all);
                    }
                    continue;
                }
                _ = check.tick() => {
                    // Weak, because this must not keep the device's task alive.
                    if alive.upgrade().is_none() {
                        return;
                    }
                    continue;
                }
            };
            let update = match event {
                None => return,
                Some(PortEvent::Connected) => continue,
                Some(PortEvent::Lost { reason }) => {
                    tracing::warn!(device = %name, %reason, "port states are not known any more");
                    continue;
                }
                Some(PortEvent::Port(update)) => update,
            };
            let Ok(port) = PortNo::try_from(u64::from(update.port)) else { continue };
            let id = PortId::new(name.clone(), port);
            packets.send(PacketEvent::Port { at: (&id).into(), up: update.up });
            let state = (update.up, update.speed_bps);
            if now.insert(id.clone(), state) != Some(state) {
                observe(&id, state);
            }
        }
    }
}
