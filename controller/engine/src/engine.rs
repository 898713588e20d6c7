//! The engine: everything joined, and what can be asked of it.
//!
//! ```text
//!  store ──follow──► planning thread: View, Planner ──delta──► device task (one a switch) ──► switch
//!    ▲  ▲                   │ View                            ▲   │ packet-in, ports    ◄──────┘
//!    │  └─ mastership task ─┼───────── role ──────────────────┘   │
//!    └── Observer ◄── packet thread: packet machines ◄────────────┘
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use futures::StreamExt;
use parking_lot::{Mutex, RwLock};
use pergola_discovery::Alarm;
use pergola_model::{Key, Switch, SwitchName, View};
use pergola_pipeline::{Entity, EntityKey};
use pergola_plan::{Conflict, Explanation, PlanStats, Planner, Problem};
use pergola_southbound::{DirectCount, Fault};
use pergola_store::mastership::{self, Device, Timing};
use pergola_store::{Piece, Store};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::clock::Clock;
use crate::config::EngineConfig;
use crate::device_task::{DeviceReport, ToDevice};
use crate::observe::Observer;
use crate::packets::{Alarms, MachineCounters, PacketEvent, PacketThread, Packets};
use crate::planning::{PARTS_ON_THE_WAY, PlanStatus, PlanTimes, Planning, Shared, ToPlanning};
use crate::record::Recorder;
use crate::relay::Relay;
use crate::roles::{DeviceRole, Roles};

/// Why an engine does not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("store: {0}")]
    Store(#[from] pergola_store::Error),
    #[error("thread {name}: {source}")]
    Thread { name: &'static str, source: std::io::Error },
    #[error("recording to {folder}: {source}")]
    Record { folder: String, source: std::io::Error },
}

/// A switch and how it stands.
#[derive(Clone, Debug)]
pub struct DeviceInfo {
    pub switch: Arc<Switch>,
    pub report: DeviceReport,
}

/// Figures of the engine.
#[derive(Clone, Debug, Default)]
pub struct EngineMetrics {
    pub revision: u64,
    pub plan: PlanStats,
    pub plans: u64,
    pub plan_last_ns: u64,
    pub plan_longest_ns: u64,
    pub plan_total_ns: u64,
    /// (machine, counter, value).
    pub machines: Vec<(&'static str, &'static str, u64)>,
}

/// A running engine. Dropping it ends its threads and sessions; entries stay on the switches.
pub struct Engine {
    shown: Arc<RwLock<View>>,
    planner: Arc<Mutex<Planner>>,
    status: watch::Receiver<PlanStatus>,
    times: Arc<PlanTimes>,
    alarms: Alarms,
    machine_counters: MachineCounters,
    packets: Packets,
    to_planning: mpsc::UnboundedSender<ToPlanning>,
    follower: tokio::task::JoinHandle<()>,
    roles: Arc<Roles>,
    /// Ends mastership at once, and tells when that is done.
    resign: Mutex<Option<oneshot::Sender<()>>>,
    mastership: tokio::task::JoinHandle<()>,
    resigned: watch::Receiver<bool>,
    threads: Vec<JoinHandle<()>>,
}

impl Engine {
    /// Starts everything and returns; must be called within a runtime. [`Engine::wait_synced`] tells when switches
    /// follow.
    pub async fn start(mut config: EngineConfig) -> Result<Engine, StartError> {
        let epoch = mastership::epoch(&*config.store).await?;
        let roles = Arc::new(Roles::new(config.node.clone(), epoch));
        let record = match &config.record {
            Some(folder) => Recorder::create(folder, &config.node).map_err(|source| {
                let folder = folder.display().to_string();
                StartError::Record { folder, source }
            })?,
            None => Recorder::default(),
        };
        let shown = Arc::new(RwLock::new(View::default()));
        let observer = Observer::new(config.store.clone(), roles.clone(), shown.clone());
        let planner = Arc::new(Mutex::new(Planner::new(std::mem::take(&mut config.apps))));
        let times = Arc::new(PlanTimes::default());
        let outlets = Arc::default();
        let alarms = Alarms::default();
        let machine_counters = MachineCounters::default();
        let (packets, packet_events) = Packets::new();
        let (status, statuses) = watch::channel(PlanStatus::default());

        let machines = std::mem::replace(&mut config.machines, pergola_discovery::Machines::new(Default::default()));
        let packet_thread = PacketThread {
            machines,
            clock: config.clock,
            observer: observer.clone(),
            outlets: Arc::clone(&outlets),
            alarms: alarms.clone(),
            counters: machine_counters.clone(),
            record: record.clone(),
            roles: roles.clone(),
            relay: Relay::new(config.node.clone(), observer.writer()),
        };
        let packet_thread = thread("packets", move || packet_thread.run(&packet_events))?;

        let (names, devices) = watch::channel(BTreeSet::new());
        let shared = Shared {
            shown: shown.clone(),
            planner: planner.clone(),
            times: times.clone(),
            packets: packets.clone(),
            outlets,
            observer,
            status,
            roles: roles.clone(),
            names,
            record: record.clone(),
        };
        let planning = Planning::new(&config, shared);
        let (to_planning, from) = mpsc::unbounded_channel();
        let runtime = tokio::runtime::Handle::current();
        let planning_thread = thread("planning", move || {
            // Device tasks are started from here.
            let _entered = runtime.enter();
            planning.run(from);
        })?;

        let mut followed = pergola_store::follow_in_pieces(config.store.clone(), "");
        let to = to_planning.clone();
        let leaves = Arc::new(Semaphore::new(PARTS_ON_THE_WAY));
        let follower = tokio::spawn(async move {
            while let Some(next) = followed.next().await {
                let leave = match next {
                    // Never closed.
                    Piece::Part { .. } => leaves.clone().acquire_owned().await.ok(),
                    _ => None,
                };
                if to.send(ToPlanning::Store(next, leave)).is_err() {
                    return;
                }
            }
        });
        let (resign, resigns) = oneshot::channel();
        let (has_resigned, resigned) = watch::channel(false);
        let mut planned = statuses.clone();
        let master = Master {
            store: config.store.clone(),
            node: config.node.clone(),
            timing: config.mastership,
            roles: roles.clone(),
            record,
            clock: config.clock,
        };
        let mastership = tokio::spawn(async move {
            // Whoever has no plan yet would only keep devices from others.
            if planned.wait_for(|p| p.revision > 0).await.is_ok() {
                master.run(devices, resigns).await;
            }
            has_resigned.send_replace(true);
        });
        Ok(Engine {
            shown,
            planner,
            status: statuses,
            times,
            alarms,
            machine_counters,
            packets,
            to_planning,
            follower,
            roles,
            resign: Mutex::new(Some(resign)),
            mastership,
            resigned,
            threads: vec![packet_thread, planning_thread],
        })
    }

    /// The newest View.
    pub fn view(&self) -> View {
        self.shown.read().clone()
    }

    /// The store's revision that the plan belongs to; 0 before the first.
    pub fn revision(&self) -> u64 {
        self.status.borrow().revision
    }

    /// Returns once the view and the plan contain `revision`.
    pub async fn wait_planned(&self, revision: u64) {
        let mut plan = self.status.clone();
        // It ends with the engine; then nobody waits for it.
        let _ = plan.wait_for(|p| p.revision >= revision).await;
    }

    /// Returns once the plan contains `revision` and every switch that is called has a master, and those whose master this
    /// controller is hold exactly what is wanted. Waits as long as it takes: callers set their own limit.
    pub async fn wait_synced(&self, revision: u64) {
        let mut plan = self.status.clone();
        loop {
            let status = match plan.wait_for(|p| p.revision >= revision.max(1)).await {
                Ok(status) => status.clone(),
                Err(_) => return std::future::pending().await,
            };
            for planned in status.devices.values() {
                let Some(report) = &planned.report else { continue };
                let sent = planned.sent;
                // It ends when the switch is taken out of the site; then nobody waits for it.
                let _ = report.clone().wait_for(|r| r.is_settled(sent)).await;
            }
            // A plan that came meanwhile may have unsettled a switch again.
            let now = plan.borrow();
            let settled = now.devices.values().all(|d| match &d.report {
                Some(report) => report.borrow().is_settled(d.sent),
                None => true,
            });
            if settled {
                return;
            }
        }
    }

    /// All switches of the site that have an address, by name.
    pub fn devices(&self) -> BTreeMap<SwitchName, DeviceInfo> {
        let status = self.status.borrow();
        let info = |p: &crate::planning::Planned| {
            let mut report = p.report.as_ref().map_or_else(DeviceReport::default, |r| r.borrow().clone());
            report.last_error = report.last_error.or_else(|| p.call_error.clone());
            DeviceInfo { switch: p.switch.clone(), report }
        };
        status.devices.iter().map(|(name, p)| (name.clone(), info(p))).collect()
    }

    /// The wanted entities of a device, ordered by key.
    pub fn entities(&self, device: &SwitchName) -> Vec<Entity> {
        let planner = self.planner.lock();
        let mut all: Vec<Entity> = planner.wanted(device).map(|(k, v)| Entity::new(k.clone(), v.clone())).collect();
        all.sort_unstable();
        all
    }

    /// Why a device holds an entity.
    pub fn explain(&self, device: &SwitchName, key: &EntityKey) -> Option<Explanation> {
        self.planner.lock().explain(device, key)
    }

    /// The entities that exist because of a resource.
    pub fn caused_by(&self, cause: &Key) -> Vec<(SwitchName, EntityKey)> {
        self.planner.lock().caused_by(cause)
    }

    /// Keys that apps want with different values.
    pub fn conflicts(&self) -> Vec<Conflict> {
        self.planner.lock().conflicts()
    }

    /// What apps could not do.
    pub fn problems(&self) -> Vec<Problem> {
        self.planner.lock().problems()
    }

    /// Reads the direct counters of a device's table; 0 is all tables.
    pub async fn counters(&self, device: &SwitchName, table: u32) -> Result<Vec<DirectCount>, Fault> {
        let gone = || Fault::new(tonic::Code::Unavailable, "there is no session");
        let to = self.status.borrow().devices.get(device).and_then(|p| p.to.clone()).ok_or_else(gone)?;
        let (answer, answered) = oneshot::channel();
        to.send(ToDevice::Counters { table, answer }).map_err(|_| gone())?;
        answered.await.map_err(|_| gone())?
    }

    /// This controller's name.
    pub fn node(&self) -> &Arc<str> {
        self.roles.node()
    }

    /// Its part for each device.
    pub fn roles(&self) -> BTreeMap<Arc<str>, DeviceRole> {
        self.roles.all()
    }

    /// Gives up mastership of every device, so that other controllers take over at once, and returns when the store has
    /// it. Sessions and reading go on.
    pub async fn resign(&self) {
        if let Some(resign) = self.resign.lock().take() {
            // The task may have ended already.
            let _ = resign.send(());
        }
        let _ = self.resigned.clone().wait_for(|resigned| *resigned).await;
        self.roles.clear();
    }

    /// Alarms that are raised.
    pub fn alarms(&self) -> Vec<Alarm> {
        self.alarms.lock().values().cloned().collect()
    }

    pub fn metrics(&self) -> EngineMetrics {
        EngineMetrics {
            revision: self.revision(),
            plan: self.planner.lock().stats(),
            plans: self.times.plans.load(Ordering::Relaxed),
            plan_last_ns: self.times.last_ns.load(Ordering::Relaxed),
            plan_longest_ns: self.times.longest_ns.load(Ordering::Relaxed),
            plan_total_ns: self.times.total_ns.load(Ordering::Relaxed),
            machines: self.machine_counters.lock().clone(),
        }
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        self.follower.abort();
        self.mastership.abort();
        self.roles.clear();
        let _ = self.to_planning.send(ToPlanning::Stop);
        self.packets.send(PacketEvent::Stop);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// This controller's part in mastership.
struct Master {
    store: Arc<dyn Store>,
    node: Arc<str>,
    timing: Timing,
    roles: Arc<Roles>,
    record: Recorder,
    clock: Clock,
}

impl Master {
    /// Takes part until told to resign.
    async fn run(self, devices: watch::Receiver<BTreeSet<Device>>, resigns: oneshot::Receiver<()>) {
        let (tell, mut told) = mpsc::unbounded_channel();
        let part = mastership::run(self.store, self.node, self.timing, devices, tell, resigns);
        let listen = async {
            while let Some((device, role)) = told.recv().await {
                self.record.role(self.clock.now(), &device, role.as_ref());
                self.roles.set(&device, role);
            }
        };
        tokio::join!(part, listen);
    }
}

fn thread(name: &'static str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, StartError> {
    let built = std::thread::Builder::new().name(name.to_owned()).spawn(run);
    built.map_err(|source| StartError::Thread { name, source })
}
