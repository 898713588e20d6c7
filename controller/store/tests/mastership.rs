//! Mastership in a simulated cluster: virtual time, seeded faults.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{FutureExt, StreamExt};
use pergola_store::embedded::{Clock, EmbeddedOptions};
use pergola_store::mastership::{self, Device, Input, Mastership, Now, Output, Role, Timing};
use pergola_store::{EmbeddedStore, Error, Followed, Store, follow};

const TTL: Duration = Duration::from_millis(1000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn devices(count: usize) -> BTreeSet<Device> {
    (0..count).map(|i| Device::from(format!("leaf{i}"))).collect()
}

/// Random numbers from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % limit
    }

    fn one_in(&mut self, chance: u64) -> bool {
        self.below(chance) == 0
    }
}

struct SimNode {
    name: String,
    /// Counts restarts: a former life's requests still arrive, but nobody hears the answers.
    life: usize,
    machine: Mastership,
    followed: BoxStream<'static, Followed>,
    answers: VecDeque<(Now, Input)>,
    wake: Now,
    /// Neither runs nor knows that time passes.
    paused_until: Now,
    /// Reaches the store.
    connected: bool,
    roles: BTreeMap<Device, Role>,
}

/// Requests on their way: when they reach the store, from whom, and sent when.
struct Request {
    at: Now,
    node: usize,
    life: usize,
    sent: Now,
    output: Output,
    answer_lost: bool,
}

struct Sim {
    store: Arc<EmbeddedStore>,
    nodes: Vec<SimNode>,
    requests: Vec<Request>,
    now: Now,
    dice: Dice,
    faults: bool,
    /// The largest election id that was master of each device.
    latest: BTreeMap<Device, (u64, String)>,
    takeovers: usize,
}

impl Sim {
    fn new(seed: u64, nodes: usize, devices: &BTreeSet<Device>) -> Self {
        let options = EmbeddedOptions { clock: Clock::Manual, ..EmbeddedOptions::default() };
        let store = Arc::new(EmbeddedStore::in_memory(options).unwrap());
        let mut sim = Self {
            store,
            nodes: Vec::new(),
            requests: Vec::new(),
            now: Now::ZERO,
            dice: Dice(seed),
            faults: true,
            latest: BTreeMap::new(),
            takeovers: 0,
        };
        for i in 0..nodes {
            let node = sim.fresh(format!("c{i}"));
            sim.nodes.push(node);
            sim.input(i, Input::Devices(devices.clone()));
        }
        sim
    }

    fn fresh(&self, name: String) -> SimNode {
        let timing = Timing { ttl: TTL, settle: ms(3000) };
        let machine = Mastership::new(name.as_str(), timing, self.now);
        let followed = follow(self.store.clone(), "cluster/");
        SimNode {
            name,
            life: 0,
            machine,
            followed,
            answers: VecDeque::new(),
            wake: self.now,
            paused_until: Now::ZERO,
            connected: true,
            roles: BTreeMap::new(),
        }
    }

    fn input(&mut self, node: usize, input: Input) {
        let now = self.now;
        for output in self.nodes[node].machine.handle(input, now) {
            match output {
                Output::WakeAt(at) => self.nodes[node].wake = at,
                Output::Role { device, role: Some(role) } => {
                    if let Role::Master { election_id } = role {
                        self.fence(node, &device, election_id);
                    }
                    self.nodes[node].roles.insert(device, role);
                }
                Output::Role { device, role: None } => _ = self.nodes[node].roles.remove(&device),
                output => {
                    let slow = if self.faults && self.dice.one_in(10) { 400 } else { 20 };
                    let at = now + ms(self.dice.below(slow));
                    let answer_lost = self.faults && self.dice.one_in(20);
                    let life = self.nodes[node].life;
                    self.requests.push(Request { at, node, life, sent: now, output, answer_lost });
                }
            }
        }
    }

    /// A switch refuses whoever comes with less than the largest election id it saw; so two masters
    /// never have the same one, and it never goes back.
    fn fence(&mut self, node: usize, device: &Device, election_id: u64) {
        let name = self.nodes[node].name.clone();
        if let Some((latest, of)) = self.latest.get(device) {
            let same = *latest == election_id && *of == name;
            assert!(same || election_id > *latest, "{device}: {election_id} after {latest}");
        }
        self.takeovers += 1;
        self.latest.insert(device.clone(), (election_id, name));
    }

    fn step(&mut self) {
        self.now += ms(10);
        self.store.advance(self.now).unwrap();
        let (due, later) =
            std::mem::take(&mut self.requests).into_iter().partition(|request: &Request| request.at <= self.now);
        self.requests = later;
        for request in due {
            self.serve(request);
        }
        for i in 0..self.nodes.len() {
            if self.nodes[i].paused_until > self.now {
                continue;
            }
            // Time first: a node that was paused notices that before it acts.
            if self.nodes[i].wake <= self.now {
                self.input(i, Input::Wake);
            }
            while self.nodes[i].answers.front().is_some_and(|(at, _)| *at <= self.now) {
                let (_, answer) = self.nodes[i].answers.pop_front().unwrap();
                self.input(i, answer);
            }
            let held_back = self.faults && self.dice.one_in(3);
            while self.nodes[i].connected && !held_back {
                let next = self.nodes[i].followed.next().now_or_never();
                let Some(Some(news)) = next else { break };
                self.input(i, Input::Followed(news));
            }
        }
        self.one_master_each();
    }

    fn serve(&mut self, request: Request) {
        let Request { node, life, sent, output, answer_lost, .. } = request;
        let reason = || "the simulated network".to_owned();
        let store = self.store.clone();
        let reached = self.nodes[node].connected;
        let lost = answer_lost || !reached;
        macro_rules! call {
            ($call:expr) => {{
                let answer = reached.then(|| $call.now_or_never().unwrap());
                match answer {
                    Some(answer) if !lost => answer,
                    _ => Err(Error::Indeterminate { reason: reason() }),
                }
            }};
        }
        let answer = match output {
            Output::Grant(ttl) => Input::Granted { sent, result: call!(store.grant(ttl)) },
            Output::KeepAlive(lease) => Input::Kept { sent, lease, result: call!(store.keep_alive(lease)) },
            Output::Txn { key, txn } => Input::Answered { key, result: call!(store.txn(txn)) },
            Output::Revoke(lease) => {
                let _ = call!(store.revoke(lease));
                return;
            }
            Output::Role { .. } | Output::WakeAt(_) => unreachable!(),
        };
        if self.nodes[node].life != life {
            return;
        }
        let delay = if lost { 300 } else { self.dice.below(20) };
        self.nodes[node].answers.push_back((self.now + ms(delay), answer));
    }

    /// Of the nodes that run, at most one believes to be master of a device.
    fn one_master_each(&self) {
        let mut masters: BTreeMap<&Device, &str> = BTreeMap::new();
        for node in self.nodes.iter().filter(|node| node.paused_until <= self.now) {
            for (device, role) in &node.roles {
                if matches!(role, Role::Master { .. })
                    && let Some(other) = masters.insert(device, &node.name)
                {
                    panic!("{other} and {} are master of {device} at {:?}", node.name, self.now);
                }
            }
        }
    }

    fn fault(&mut self) {
        let node = self.dice.below(self.nodes.len() as u64) as usize;
        match self.dice.below(5) {
            0 => self.nodes[node].paused_until = self.now + ms(self.dice.below(3000)),
            1 => self.nodes[node].connected = false,
            2 => self.nodes[node].connected = true,
            3 => {
                // A crash and a restart at once: requests of the former life are on their way.
                let (name, life) = (self.nodes[node].name.clone(), self.nodes[node].life);
                let devices = self.nodes[node].roles.keys().cloned().collect();
                self.nodes[node] = SimNode { life: life + 1, ..self.fresh(name) };
                self.input(node, Input::Devices(devices));
            }
            _ => {
                let on = self.dice.one_in(2);
                let name = self.nodes[node].name.clone();
                mastership::drain(&*self.store, &name, on).now_or_never().unwrap().unwrap();
            }
        }
    }

    fn loads(&self) -> Vec<usize> {
        self.nodes.iter().map(|node| node.machine.mastered().count()).collect()
    }
}

// These run outside of a runtime: everything answers at once, and nothing is real time.

#[test]
fn simulated_clusters_never_have_two_masters_and_settle_evenly() {
    let mut takeovers = 0;
    for seed in 0..60 {
        let devices = devices(10);
        let mut sim = Sim::new(seed, 3, &devices);
        for _ in 0..3000 {
            sim.step();
            if sim.dice.one_in(80) {
                sim.fault();
            }
        }
        sim.faults = false;
        for node in &mut sim.nodes {
            node.connected = true;
            node.paused_until = Now::ZERO;
        }
        for node in ["c0", "c1", "c2"] {
            mastership::drain(&*sim.store, node, false).now_or_never().unwrap().unwrap();
        }
        for _ in 0..1000 {
            sim.step();
        }
        let mut loads = sim.loads();
        loads.sort_unstable();
        assert_eq!(loads, [3, 3, 4], "seed {seed}");
        let status = mastership::status(&*sim.store).now_or_never().unwrap().unwrap();
        assert_eq!(status.masters.len(), 10, "seed {seed}");
        takeovers += sim.takeovers;

        mastership::drain(&*sim.store, "c1", true).now_or_never().unwrap().unwrap();
        (0..100).for_each(|_| sim.step());
        assert_eq!(sim.loads()[1], 0, "seed {seed}: drained at once");
        assert_eq!(sim.loads().iter().sum::<usize>(), 10);
    }
    assert!(takeovers > 60 * 20, "{takeovers}: the faults had something to do");
}

#[test]
fn a_dead_nodes_devices_move_within_its_lease() {
    let mut sim = Sim::new(7, 3, &devices(9));
    sim.faults = false;
    (0..1000).for_each(|_| sim.step());
    assert_eq!(sim.loads(), [3, 3, 3]);
    let kept: Vec<_> = sim.nodes[0].machine.mastered().map(|(d, id)| (d.clone(), id)).collect();
    sim.nodes[2].paused_until = ms(1_000_000);
    (0..120).for_each(|_| sim.step());
    let loads = sim.loads();
    assert_eq!(loads[0] + loads[1], 9, "1.2 s after its death: {loads:?}");
    let still: BTreeMap<_, _> = sim.nodes[0].machine.mastered().collect();
    assert!(kept.iter().all(|(d, id)| still.get(d) == Some(id)), "the others kept theirs");
}
