//! A controller of the simulation: the machines of a real one (mastership, View and planner, a session and a reconciler for
//! each switch) joined by hand instead of by tasks.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use pergola_engine::{Device, DeviceRole, ReconcileConfig, Reconciler, WriteOrder, is_resource};
use pergola_model::{Change, ChangedKey, SwitchName, View};
use pergola_pipeline::Entity;
use pergola_plan::{DeviceDelta, PlanDelta, Planner};
use pergola_southbound::{Nanos, Pipeline, Session, SessionConfig};
use pergola_store::mastership::{self, Mastership, Output, Timing};
use pergola_store::{Batch, Followed, Listing};

use super::switch::Conn;

/// One device as a controller has it.
pub struct Held {
    pub device: Device,
    pub role: DeviceRole,
    /// The present connection; answers of others are not heard.
    pub conn: Option<Conn>,
    /// The election id last said on it.
    pub said: u128,
}

pub struct Node {
    pub name: String,
    pub number: u64,
    /// Counts restarts.
    pub life: u64,
    pub alive: bool,
    pub reaches_store: bool,
    pub paused_until: Nanos,
    /// Its clock runs so many millionths too fast, and began elsewhere.
    skew_ppm: i64,
    offset: Nanos,
    pub mastership: Mastership,
    pub wake: Duration,
    pub view: View,
    pub planner: Planner,
    pub devices: BTreeMap<SwitchName, Held>,
    /// What was delivered of `cluster/` and of the rest.
    pub seen: [Option<u64>; 2],
    /// Requests of mastership to send.
    pub outbox: Vec<Output>,
    pub plan_revision: u64,
}

pub fn timing() -> Timing {
    Timing { ttl: Duration::from_secs(1), settle: Duration::from_secs(3) }
}

impl Node {
    pub fn new(number: u64, skew_ppm: i64, offset: Nanos, now: Nanos) -> Node {
        let name = format!("c{number}");
        let mut node = Node {
            mastership: Mastership::new(name.as_str(), timing(), Duration::ZERO),
            name,
            number,
            life: 0,
            alive: true,
            reaches_store: true,
            paused_until: 0,
            skew_ppm,
            offset,
            wake: Duration::ZERO,
            view: View::default(),
            planner: Planner::new(pergola_fabric_apps::all()),
            devices: BTreeMap::new(),
            seen: [None, None],
            outbox: Vec::new(),
            plan_revision: 0,
        };
        node.restart(now);
        node
    }

    /// A new process, which knows nothing.
    pub fn restart(&mut self, now: Nanos) {
        self.life += 1;
        self.alive = true;
        let local = self.clock(now);
        self.mastership = Mastership::new(self.name.as_str(), timing(), local);
        self.wake = local;
        self.view = View::default();
        self.planner = Planner::new(pergola_fabric_apps::all());
        self.devices.clear();
        self.seen = [None, None];
        self.outbox.clear();
        self.plan_revision = 0;
    }

    /// Who writes, for the judge.
    pub fn writer(&self) -> u64 {
        self.number * 1000 + self.life
    }

    /// The node's own time.
    pub fn local(&self, now: Nanos) -> Nanos {
        let skewed = i128::from(now) * i128::from(1_000_000 + self.skew_ppm) / 1_000_000;
        self.offset + skewed as u64
    }

    pub fn clock(&self, now: Nanos) -> Duration {
        Duration::from_nanos(self.local(now))
    }

    /// When the node's own time is this, or a little later.
    pub fn global(&self, local: Nanos) -> Nanos {
        let since = i128::from(local.saturating_sub(self.offset));
        (since * 1_000_000 / i128::from(1_000_000 + self.skew_ppm)) as u64 + 1
    }

    fn standby_id(&self) -> u128 {
        u128::from(self.number)
    }

    /// When something is due by itself, in global time.
    pub fn next_timeout(&self) -> Nanos {
        let devices = self.devices.values().filter_map(|d| d.device.next_timeout());
        let first = devices.chain([self.wake.as_nanos() as u64]).min().unwrap_or(u64::MAX);
        self.global(first)
    }

    pub fn master(&mut self, input: mastership::Input, now: Nanos) {
        let local = self.clock(now);
        for output in self.mastership.handle(input, local) {
            match output {
                Output::WakeAt(at) => self.wake = at,
                Output::Role { device, role } => self.role(&device, role.into(), now),
                request => self.outbox.push(request),
            }
        }
    }

    fn role(&mut self, device: &str, role: DeviceRole, now: Nanos) {
        let (local, standby) = (self.local(now), self.standby_id());
        let Some(held) = device.parse().ok().and_then(|name: SwitchName| self.devices.get_mut(&name)) else { return };
        held.device.take_role(&held.role, &role, super::EPOCH, standby, local);
        held.role = role;
    }

    pub fn site_snapshot(&mut self, listing: &Listing, pipeline: &Pipeline, now: Nanos) {
        let resources = listing.entries.iter().filter(|e| is_resource(&e.key));
        let puts: Vec<Change<'_>> = resources.map(|e| Change { key: &e.key, value: Some(&e.value) }).collect();
        let mut view = View::default();
        view.apply(listing.revision, &puts);
        self.view = view;
        let delta = self.planner.plan_all(&self.view);
        let names: Vec<SwitchName> = self.view.switches().map(|s| s.name.clone()).collect();
        for name in &names {
            if !self.devices.contains_key(name) {
                let mut config = SessionConfig::new(1, self.standby_id(), pipeline.cookie);
                config.candidate = false;
                config.answer_deadline = Duration::from_secs(3);
                config.backoff_longest = Duration::from_secs(2);
                config.seed = self.writer() * 31 + names.len() as u64;
                let reconcile = ReconcileConfig {
                    batch: 64,
                    audit_interval: Duration::from_secs(5),
                    retry_longest: Duration::from_secs(2),
                    ..ReconcileConfig::default()
                };
                let order = Arc::new(WriteOrder::of_pipeline(pipeline));
                let device = Device::new(Session::new(config), Reconciler::new(reconcile, order, pipeline.scopes()));
                let held = Held { device, role: DeviceRole::default(), conn: None, said: 0 };
                self.devices.insert(name.clone(), held);
            }
        }
        self.hand_out(delta);
        let names: BTreeSet<mastership::Device> = names.iter().map(|n| n.as_str().into()).collect();
        self.master(mastership::Input::Devices(names), now);
    }

    pub fn site_batches(&mut self, batches: &[Batch]) {
        let old = self.view.clone();
        let mut changed: Vec<ChangedKey> = Vec::new();
        for batch in batches {
            let events = batch.events.iter().filter(|e| is_resource(e.key()));
            let changes: Vec<Change<'_>> =
                events.map(|e| Change { key: e.key(), value: e.entry().map(|entry| entry.value.as_ref()) }).collect();
            changed.extend(self.view.apply(batch.revision, &changes).changed);
        }
        let delta = self.planner.apply(&old, &self.view, &changed);
        self.hand_out(delta);
    }

    fn hand_out(&mut self, delta: PlanDelta) {
        self.plan_revision = self.view.revision();
        for (name, DeviceDelta { mut put, mut del }) in delta.devices {
            // The planner's maps have an order of their own in every process.
            put.sort_unstable();
            del.sort_unstable();
            if let Some(held) = self.devices.get_mut(&name) {
                held.device.apply(DeviceDelta { put, del }, self.plan_revision);
            }
        }
    }

    pub fn followed(&mut self, news: Followed, now: Nanos) {
        self.master(mastership::Input::Followed(news), now);
    }

    /// What a device shall hold, by this node's plan.
    pub fn wanted(&self, device: &SwitchName) -> BTreeMap<pergola_pipeline::EntityKey, pergola_pipeline::EntityValue> {
        wanted(&self.planner, device)
    }
}

pub fn wanted(
    planner: &Planner,
    device: &SwitchName,
) -> BTreeMap<pergola_pipeline::EntityKey, pergola_pipeline::EntityValue> {
    let all = planner.wanted(device).map(|(k, v)| Entity::new(k.clone(), v.clone()));
    all.map(|e| (e.key, e.value)).collect()
}
