//! The whole cluster on virtual time: three controllers made of the real machines, a model of etcd, model switches, and
//! seeded faults: crashes, pauses longer than leases, partitions on both sides, lost answers and late messages, a slow
//! store, a store without a majority, clocks that run apart, switches that restart empty.
//!
//! Checked while it runs: no two controllers ever write to a switch in turns, and nothing that every plan wants goes away
//! once it is there. Checked when the weather is calm: each switch has one master and holds exactly the plan, all
//! controllers have the same plan, and every acknowledged intent is there.
//!
//! `PERGOLA_SEEDS=N` runs seeds 1 to N, `PERGOLA_SEED=S` the one seed S with its story (`make simulate SEEDS=1000`).

mod node;
mod store;
mod switch;

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use p4runtime_proto::p4::v1;
use pergola_model::{AnyResource, Route, RouteTarget, SwitchName, View};
use pergola_pipeline::fabric;
use pergola_plan::Planner;
use pergola_southbound::{Fault, Input, Nanos, Output, Pipeline};
use pergola_store::mastership::{self, CLUSTER};
use pergola_store::{Error, Followed, Op, Txn};
use tonic::Code;

use crate::chaos::Random;
use node::{Held, Node};
use store::Store;
use switch::{Conn, Switch};

pub const EPOCH: u64 = 1;
const MS: Nanos = 1_000_000;
const SECOND: Nanos = 1_000 * MS;
const STORM: Nanos = 25 * SECOND;
const CALM: Nanos = 90 * SECOND;

/// What the simulation itself asks of the store for a client.
#[derive(Clone, Debug)]
enum Client {
    Put(u32),
    Delete(u32),
}

#[derive(Debug)]
enum Event {
    /// A request of a node's mastership arrives at the store.
    Ask {
        node: usize,
        life: u64,
        sent: Nanos,
        request: mastership::Output,
    },
    Answer {
        node: usize,
        life: u64,
        input: Box<mastership::Input>,
    },
    /// The store's news for a node; `cluster` or site.
    Watch {
        node: usize,
        life: u64,
        cluster: bool,
    },
    /// A client's write through a node, at the store and back.
    Intent {
        node: usize,
        client: Client,
    },
    /// Of the write at this revision.
    Ack(Client, u64),
    ToSwitch {
        node: usize,
        life: u64,
        switch: SwitchName,
        conn: Conn,
        output: Box<Output>,
        said: u128,
    },
    FromSwitch {
        switch: SwitchName,
        conn: Conn,
        input: Box<Input>,
    },
    Fault,
    Mend(Mend),
}

#[derive(Debug)]
enum Mend {
    Restart(usize),
    StoreOf(usize),
    LinkTo(usize, SwitchName),
    Majority,
    Power(SwitchName),
}

struct World {
    now: Nanos,
    random: Random,
    calm: bool,
    story: bool,
    trace: DefaultHasher,
    queue: BTreeMap<(Nanos, u64), Event>,
    serial: u64,
    store: Store,
    majority: bool,
    slow_store: Nanos,
    nodes: Vec<Node>,
    switches: BTreeMap<SwitchName, Switch>,
    /// Which node a connection is of, and when its last message in each direction arrives.
    conns: BTreeMap<Conn, (usize, u64, SwitchName, [Nanos; 2])>,
    next_conn: Conn,
    cut: BTreeSet<(usize, SwitchName)>,
    /// Connections that lost something: TCP loses nothing and goes on, so they end once their ends hear of each other.
    torn: BTreeSet<Conn>,
    pipeline: Arc<Pipeline>,
    hop: std::net::IpAddr,
    /// Acknowledged: there, or not there.
    acked: BTreeMap<u32, bool>,
    /// The last write of each, acknowledged or not.
    written: BTreeMap<u32, u64>,
    asked: BTreeSet<u32>,
}

fn route(n: u32, hop: std::net::IpAddr) -> AnyResource {
    let prefix = format!("198.18.{n}.0/24").parse().unwrap();
    Route { prefix, domain: Default::default(), target: RouteTarget::NextHops(vec![hop]) }.into()
}

impl World {
    fn new(seed: u64, story: bool) -> World {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topology/blueprint/examples/2x2.yaml");
        let site = pergola_blueprint::parse(&std::fs::read_to_string(path).unwrap()).unwrap().view();
        let hop = site.hosts().find_map(|h| h.ips().into_iter().find(|ip| ip.is_ipv4())).unwrap();
        let mut store = Store::default();
        let ops = site.intents().into_iter().map(|r| Op::put(r.key().to_string(), r.encode()));
        store.txn(&Txn { ops: ops.collect(), ..Txn::default() }).unwrap();
        let mut random = Random::new(seed);
        let mut planner: Planner = Planner::new(pergola_fabric_apps::all());
        planner.plan_all(&site);
        let switches = site.switches().map(|s| {
            let needed = node::wanted(&planner, &s.name);
            (s.name.clone(), Switch { up: true, needed, ..Switch::default() })
        });
        let switches = switches.collect();
        let pipeline = Arc::new(Pipeline::from_text(fabric::P4INFO, fabric::JSON.to_vec()).unwrap());
        let nodes = (1..=3).map(|n| {
            // Up to one percent apart: far more than any oscillator.
            let skew = random.below(20_001) as i64 - 10_000;
            Node::new(n, skew, random.below(1000) * SECOND, 0)
        });
        let nodes = nodes.collect();
        let mut world = World {
            now: 0,
            random,
            calm: false,
            story,
            trace: DefaultHasher::new(),
            queue: BTreeMap::new(),
            serial: 0,
            store,
            majority: true,
            slow_store: 0,
            nodes,
            switches,
            conns: BTreeMap::new(),
            next_conn: 1,
            cut: BTreeSet::new(),
            torn: BTreeSet::new(),
            pipeline,
            hop,
            acked: BTreeMap::new(),
            written: BTreeMap::new(),
            asked: BTreeSet::new(),
        };
        for node in 0..3 {
            world.begin(node);
        }
        world.at(SECOND, Event::Fault);
        world
    }

    fn at(&mut self, delay: Nanos, event: Event) {
        self.serial += 1;
        self.queue.insert((self.now + delay, self.serial), event);
    }

    fn say(&self, text: impl FnOnce() -> String) {
        if self.story {
            println!("{:9.3} {}", self.now as f64 / SECOND as f64, text());
        }
    }

    /// A node's process starts: its watches begin.
    fn begin(&mut self, node: usize) {
        let life = self.nodes[node].life;
        for cluster in [true, false] {
            let delay = MS + self.random.below(200 * MS);
            self.at(delay, Event::Watch { node, life, cluster });
        }
    }

    fn run(&mut self, until: Nanos) {
        loop {
            for node in 0..self.nodes.len() {
                self.settle(node);
            }
            let queued = self.queue.keys().next().map(|k| k.0);
            let timeouts = self.nodes.iter().filter(|n| n.alive).map(|n| n.next_timeout().max(n.paused_until));
            let lease = self.store.next_end().filter(|_| self.majority).map(|d| d.as_nanos() as u64);
            let Some(at) = queued.into_iter().chain(timeouts).chain(lease).min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = self.now.max(at);
            if lease.is_some_and(|l| l <= self.now) {
                self.store.expire(std::time::Duration::from_nanos(self.now));
                self.news();
            }
            while let Some(entry) = self.queue.first_entry().filter(|e| e.key().0 <= self.now) {
                let event = entry.remove();
                self.now.hash(&mut self.trace);
                std::mem::discriminant(&event).hash(&mut self.trace);
                self.event(event);
            }
            for node in 0..self.nodes.len() {
                self.tick(node);
            }
        }
    }

    /// Time has passed for a node.
    fn tick(&mut self, node: usize) {
        let now = self.now;
        let n = &mut self.nodes[node];
        if !n.alive || n.paused_until > now {
            return;
        }
        let local = n.local(now);
        if n.wake.as_nanos() as u64 <= local {
            // Unless the machine says otherwise.
            n.wake = std::time::Duration::from_nanos(local) + std::time::Duration::from_secs(1);
            n.master(mastership::Input::Wake, now);
        }
        for held in n.devices.values_mut() {
            if held.device.next_timeout().is_some_and(|at| at <= local) {
                held.device.handle(Input::Tick, local);
            }
        }
    }

    /// Carries out what a node's machines want.
    fn settle(&mut self, node: usize) {
        if !self.nodes[node].alive || self.nodes[node].paused_until > self.now {
            return;
        }
        for request in std::mem::take(&mut self.nodes[node].outbox) {
            let life = self.nodes[node].life;
            let delay = self.to_store();
            self.at(delay, Event::Ask { node, life, sent: self.now, request });
        }
        let names: Vec<SwitchName> = self.nodes[node].devices.keys().cloned().collect();
        for name in names {
            loop {
                let local = self.nodes[node].local(self.now);
                let Some(held) = self.nodes[node].devices.get_mut(&name) else { break };
                while held.device.notice().is_some() {}
                let Some(output) = held.device.poll(local) else { break };
                self.carry_out(node, &name, output);
            }
        }
    }

    fn to_store(&mut self) -> Nanos {
        let late = if !self.calm && self.random.chance(5) { 300 * MS } else { 3 * MS };
        self.slow_store + 200_000 + self.random.below(late)
    }

    fn held(&mut self, node: usize, name: &SwitchName) -> Option<&mut Held> {
        self.nodes[node].devices.get_mut(name)
    }

    /// One call or message to a switch.
    fn carry_out(&mut self, node: usize, name: &SwitchName, output: Output) {
        let life = self.nodes[node].life;
        match output {
            Output::Connect => {
                let conn = self.next_conn;
                self.next_conn += 1;
                self.conns.insert(conn, (node, life, name.clone(), [0, 0]));
                if let Some(held) = self.held(node, name) {
                    held.conn = Some(conn);
                    held.said = 0;
                }
                let delay = 300_000 + self.random.below(2 * MS);
                let (switch, output) = (name.clone(), Box::new(Output::Connect));
                self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said: 0 });
            }
            Output::Disconnect => {
                if let Some(conn) = self.held(node, name).and_then(|h| h.conn.take()) {
                    let delay = 100_000 + self.random.below(2 * MS);
                    let (switch, output) = (name.clone(), Box::new(Output::Disconnect));
                    self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said: 0 });
                }
            }
            output => {
                let Some(held) = self.held(node, name) else { return };
                let Some(conn) = held.conn else { return };
                let stream = matches!(output, Output::Send(_));
                if let Output::Send(message) = &output
                    && let Some(v1::stream_message_request::Update::Arbitration(a)) = &message.update
                {
                    let id = a.election_id.unwrap_or_default();
                    held.said = u128::from(id.high) << 64 | u128::from(id.low);
                }
                let said = held.said;
                let late = if !self.calm && self.random.chance(3) { 200 * MS } else { MS };
                let mut delay = 100_000 + self.random.below(late);
                if stream {
                    delay = self.in_order(conn, 0, delay);
                }
                let (switch, output) = (name.clone(), Box::new(output));
                self.at(delay, Event::ToSwitch { node, life, switch, conn, output, said });
            }
        }
    }

    /// Messages of one stream keep their order.
    fn in_order(&mut self, conn: Conn, direction: usize, delay: Nanos) -> Nanos {
        let Some((_, _, _, last)) = self.conns.get_mut(&conn) else { return delay };
        let at = (self.now + delay).max(last[direction] + 1);
        last[direction] = at;
        at - self.now
    }

    fn back(&mut self, switch: &SwitchName, told: Vec<(Conn, Input)>) {
        for (conn, input) in told {
            let stream = matches!(input, Input::Stream(_) | Input::StreamEnded(_));
            let late = if !self.calm && self.random.chance(3) { 200 * MS } else { MS };
            let mut delay = 100_000 + self.random.below(late);
            if stream {
                delay = self.in_order(conn, 1, delay);
            }
            self.at(delay, Event::FromSwitch { switch: switch.clone(), conn, input: Box::new(input) });
        }
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Ask { node, life, sent, request } => self.ask(node, life, sent, request),
            Event::Answer { node, life, input } => {
                let now = self.now;
                if self.hears(node, life) {
                    self.nodes[node].master(*input, now);
                } else if self.nodes[node].alive && self.nodes[node].life == life {
                    self.later(node, Event::Answer { node, life, input });
                }
            }
            Event::Watch { node, life, cluster } => self.watch(node, life, cluster),
            Event::Intent { node, client } => self.intent(node, client),
            Event::Ack(client, revision) => self.acknowledged(&client, revision),
            Event::ToSwitch { node, life, switch, conn, output, said } => {
                self.to_switch(node, life, &switch, conn, *output, said);
            }
            Event::FromSwitch { switch, conn, input } => self.from_switch(switch, conn, input),
            Event::Fault => self.fault(),
            Event::Mend(mend) => self.mend(mend),
        }
    }

    /// Runs, and is still the same process.
    fn hears(&self, node: usize, life: u64) -> bool {
        let n = &self.nodes[node];
        n.alive && n.life == life && n.paused_until <= self.now
    }

    /// What arrives at a paused node waits.
    fn later(&mut self, node: usize, event: Event) {
        let delay = self.nodes[node].paused_until.saturating_sub(self.now) + 1;
        self.at(delay, event);
    }

    fn ask(&mut self, node: usize, life: u64, sent: Nanos, request: mastership::Output) {
        let reached = self.majority && self.nodes[node].reaches_store;
        let lost = !self.calm && self.random.chance(2);
        let now = std::time::Duration::from_nanos(self.now);
        let away = || Error::Unavailable { reason: "simulated".into() };
        let sent = self.nodes[node].clock(sent);
        let input = match request {
            mastership::Output::Grant(_) => {
                let result = if reached { Ok(self.store.grant(now)) } else { Err(away()) };
                mastership::Input::Granted { sent, result: if lost { Err(away()) } else { result } }
            }
            mastership::Output::KeepAlive(lease) => {
                let result = if reached { self.store.keep_alive(lease, now) } else { Err(away()) };
                mastership::Input::Kept { sent, lease, result: if lost { Err(away()) } else { result } }
            }
            mastership::Output::Revoke(lease) => {
                if reached {
                    self.store.revoke(lease);
                    self.news();
                }
                return;
            }
            mastership::Output::Txn { key, txn } => {
                let mut result = Err(away());
                if reached {
                    result = self.store.txn(&txn);
                    self.news();
                }
                if lost && reached {
                    result = Err(Error::Indeterminate { reason: "simulated".into() });
                }
                mastership::Input::Answered { key, result }
            }
            mastership::Output::Role { .. } | mastership::Output::WakeAt(_) => return,
        };
        let delay = if reached && !lost { self.to_store() } else { 300 * MS };
        self.at(delay, Event::Answer { node, life, input: Box::new(input) });
    }

    /// Something is new in the store: watchers hear of it.
    fn news(&mut self) {
        for node in 0..self.nodes.len() {
            let life = self.nodes[node].life;
            for cluster in [true, false] {
                let delay = self.to_store();
                self.at(delay, Event::Watch { node, life, cluster });
            }
        }
    }

    fn watch(&mut self, node: usize, life: u64, cluster: bool) {
        if self.nodes[node].alive && self.nodes[node].life == life && self.nodes[node].paused_until > self.now {
            return self.later(node, Event::Watch { node, life, cluster });
        }
        // Whoever cannot reach the store asks again when it can.
        if !self.hears(node, life) || !self.majority || !self.nodes[node].reaches_store {
            return;
        }
        let wanted = |key: &str| key.starts_with(CLUSTER) == cluster;
        let (now, revision) = (self.now, self.store.revision);
        let stream = usize::from(!cluster);
        let seen = self.nodes[node].seen[stream];
        // Now and then history is gone.
        let compacted = !self.calm && self.random.chance(1);
        let list = seen.is_none() || compacted;
        if list {
            let listing = self.store.listing(wanted);
            if cluster {
                self.nodes[node].followed(Followed::Snapshot(listing), now);
            } else {
                let pipeline = self.pipeline.clone();
                self.nodes[node].site_snapshot(&listing, &pipeline, now);
            }
        } else {
            let batches = self.store.since(seen.unwrap_or(0), wanted);
            if cluster {
                for batch in batches {
                    self.nodes[node].followed(Followed::Batch(batch), now);
                }
            } else if !batches.is_empty() {
                self.nodes[node].site_batches(&batches);
            }
        }
        self.nodes[node].seen[stream] = Some(revision);
    }

    fn intent(&mut self, node: usize, client: Client) {
        if !self.majority || !self.nodes[node].reaches_store || !self.nodes[node].alive {
            return;
        }
        let op = match client {
            Client::Put(n) => {
                let r = route(n, self.hop);
                Op::put(r.key().to_string(), r.encode())
            }
            Client::Delete(n) => Op::delete(route(n, self.hop).key().to_string()),
        };
        self.store.txn(&Txn::new().then(op)).unwrap();
        let (Client::Put(n) | Client::Delete(n)) = client;
        let revision = self.store.revision;
        self.written.insert(n, revision);
        self.acked.remove(&n);
        self.news();
        if self.calm || !self.random.chance(5) {
            let delay = self.to_store();
            self.at(delay, Event::Ack(client, revision));
        }
    }

    /// Answers may come in another order than the writes were done.
    fn acknowledged(&mut self, client: &Client, revision: u64) {
        let (Client::Put(n) | Client::Delete(n)) = client;
        if self.written.get(n) == Some(&revision) {
            self.acked.insert(*n, matches!(client, Client::Put(_)));
        }
    }

    fn to_switch(&mut self, node: usize, life: u64, name: &SwitchName, conn: Conn, output: Output, said: u128) {
        let reachable = !self.cut.contains(&(node, name.clone()));
        let by = self.nodes[node].number * 1000 + life;
        let Some(switch) = self.switches.get_mut(name) else { return };
        if let Output::Connect = output {
            let input = if switch.up && reachable {
                switch.open(conn);
                Input::Connected
            } else {
                Input::ConnectFailed(Fault::new(Code::Unavailable, "refused"))
            };
            return self.back(name, vec![(conn, input)]);
        }
        if !reachable {
            self.torn.insert(conn);
            return;
        }
        if !switch.is_open(conn) {
            return;
        }
        let told = match output {
            Output::Disconnect => switch.close(conn),
            Output::Send(message) => match message.update {
                Some(v1::stream_message_request::Update::Arbitration(_)) => switch.arbitrate(conn, said),
                _ => Vec::new(),
            },
            Output::GetPipeline { .. } => vec![(conn, Input::Pipeline(switch.pipeline()))],
            Output::SetPipeline { .. } => vec![(conn, Input::PipelineSet(switch.push(said, by)))],
            Output::Write { id, ops, election_id } => {
                let result = switch.write(&ops, election_id, by, &mut self.random);
                vec![(conn, Input::Written { id, result })]
            }
            Output::Read { id, scopes } => {
                let found = switch.read(&scopes);
                // The parts of one answer come in order, and its end after them.
                let mut parts: Vec<(Conn, Input)> =
                    found.chunks(100).map(|c| (conn, Input::ReadPart { id, entities: c.to_vec() })).collect();
                parts.push((conn, Input::ReadDone { id, result: Ok(()) }));
                let mut after = 0;
                for (conn, input) in parts {
                    after += 50_000 + self.random.below(MS);
                    self.at(after, Event::FromSwitch { switch: name.clone(), conn, input: Box::new(input) });
                }
                return;
            }
            Output::Connect | Output::Event(_) => return,
        };
        // A call's answer may be lost with its connection.
        let call = !told.iter().any(|(_, i)| matches!(i, Input::Stream(_)));
        if call && !self.calm && self.random.chance(1) {
            return self.cut_conn(name, conn);
        }
        self.back(name, told);
    }

    /// Ends the torn connections whose way is whole again.
    fn tear(&mut self) {
        for conn in std::mem::take(&mut self.torn) {
            let Some((node, _, switch, _)) = self.conns.get(&conn).cloned() else { continue };
            if self.cut.contains(&(node, switch.clone())) {
                self.torn.insert(conn);
            } else {
                self.cut_conn(&switch, conn);
            }
        }
    }

    /// A connection breaks: both ends learn of it, sooner or later.
    fn cut_conn(&mut self, name: &SwitchName, conn: Conn) {
        let Some(switch) = self.switches.get_mut(name) else { return };
        let mut told = switch.close(conn);
        told.push((conn, Input::StreamEnded(Fault::new(Code::Unavailable, "reset"))));
        self.back(name, told);
    }

    fn from_switch(&mut self, switch: SwitchName, conn: Conn, input: Box<Input>) {
        let Some((node, life, ..)) = self.conns.get(&conn).cloned() else { return };
        if self.nodes[node].alive && self.nodes[node].life == life && self.nodes[node].paused_until > self.now {
            return self.later(node, Event::FromSwitch { switch, conn, input });
        }
        let gone = matches!(*input, Input::StreamEnded(_) | Input::ConnectFailed(_));
        if !gone && self.cut.contains(&(node, switch.clone())) {
            self.torn.insert(conn);
            return;
        }
        if !self.hears(node, life) {
            return;
        }
        let local = self.nodes[node].local(self.now);
        if let Some(held) = self.held(node, &switch).filter(|h| h.conn == Some(conn)) {
            held.device.handle(*input, local);
        }
    }

    fn some_switch(&mut self) -> SwitchName {
        let n = self.random.below(self.switches.len() as u64) as usize;
        self.switches.keys().nth(n).unwrap().clone()
    }

    /// One fault, or one wish of a client; and the next is due.
    fn fault(&mut self) {
        if self.calm {
            return;
        }
        let next = self.random.below(600 * MS);
        self.at(next, Event::Fault);
        let node = self.random.below(3) as usize;
        let long = 100 * MS + self.random.below(4 * SECOND);
        match self.random.below(14) {
            0 if self.nodes[node].alive => {
                self.say(|| format!("c{} is killed for {} ms", node + 1, long / MS));
                self.nodes[node].alive = false;
                let life = self.nodes[node].life;
                let its = self.conns.iter().filter(|(_, c)| c.0 == node && c.1 == life);
                let its: Vec<(Conn, SwitchName)> = its.map(|(conn, c)| (*conn, c.2.clone())).collect();
                for (conn, switch) in its {
                    if self.switches[&switch].is_open(conn) {
                        self.cut_conn(&switch, conn);
                    }
                }
                self.at(long, Event::Mend(Mend::Restart(node)));
            }
            1 if self.nodes[node].alive => {
                self.say(|| format!("c{} is frozen for {} ms", node + 1, long / MS));
                self.nodes[node].paused_until = self.now + long;
            }
            2 => {
                self.say(|| format!("c{} loses the store for {} ms", node + 1, long / MS));
                self.nodes[node].reaches_store = false;
                self.at(long, Event::Mend(Mend::StoreOf(node)));
            }
            3 | 4 => {
                let switch = self.some_switch();
                self.say(|| format!("c{} loses {switch} for {} ms", node + 1, long / MS));
                self.cut.insert((node, switch.clone()));
                self.at(long, Event::Mend(Mend::LinkTo(node, switch)));
            }
            5 if self.majority && self.random.chance(50) => {
                self.say(|| format!("the store loses its majority for {} ms", long / MS));
                self.majority = false;
                self.at(long, Event::Mend(Mend::Majority));
            }
            6 => {
                self.slow_store = self.random.below(400 * MS);
                self.say(|| "the store's disks are slow".into());
            }
            7 => self.slow_store = 0,
            8 if self.random.chance(30) => {
                let name = self.some_switch();
                self.say(|| format!("{name} loses power for {} ms", long / MS));
                let switch = self.switches.get_mut(&name).unwrap();
                let conns = switch.connections();
                switch.up = false;
                switch.reboot();
                let fault = || Input::StreamEnded(Fault::new(Code::Unavailable, "reset"));
                self.back(&name, conns.into_iter().map(|c| (c, fault())).collect());
                self.at(long, Event::Mend(Mend::Power(name)));
            }
            _ => {
                let n = self.random.below(60) as u32;
                let client = if self.asked.insert(n) { Client::Put(n) } else { Client::Delete(n) };
                // One wish after the other: of two under way nobody could say which is the last.
                if matches!(client, Client::Put(_)) || self.acked.get(&n) == Some(&true) {
                    let delay = self.to_store();
                    self.at(delay, Event::Intent { node, client });
                }
            }
        }
    }

    fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Restart(node) if !self.nodes[node].alive => {
                let now = self.now;
                self.nodes[node].restart(now);
                self.nodes[node].paused_until = 0;
                self.begin(node);
            }
            Mend::Restart(_) => {}
            Mend::StoreOf(node) => {
                self.nodes[node].reaches_store = true;
                self.begin(node);
            }
            Mend::LinkTo(node, switch) => {
                self.cut.remove(&(node, switch));
                self.tear();
            }
            Mend::Majority => {
                self.majority = true;
                self.store.renew_all(std::time::Duration::from_nanos(self.now));
                (0..3).for_each(|node| self.begin(node));
            }
            Mend::Power(name) => self.switches.get_mut(&name).unwrap().up = true,
        }
    }

    /// The storm is over: everything is whole again, in a moment.
    fn soothe(&mut self) {
        self.calm = true;
        self.slow_store = 0;
        self.cut.clear();
        self.tear();
        self.mend(Mend::Majority);
        for node in 0..3 {
            self.mend(Mend::StoreOf(node));
            self.mend(Mend::Restart(node));
        }
        self.switches.values_mut().for_each(|s| s.up = true);
    }

    fn judge(&self) -> Vec<String> {
        let mut wrong: Vec<String> = Vec::new();
        let listing = self.store.listing(|_| true);
        let stored = listing.entries.iter().filter_map(|e| AnyResource::from_stored(&e.key, &e.value).ok());
        let view = View::from_resources(stored);
        let mut planner: Planner = Planner::new(pergola_fabric_apps::all());
        planner.plan_all(&view);
        for (name, switch) in &self.switches {
            wrong.extend(switch.broken.iter().map(|b| format!("{name}: {b}")));
            let wanted = node::wanted(&planner, name);
            if switch.held != wanted {
                let missing = wanted.keys().filter(|k| !switch.held.contains_key(k)).count();
                let foreign = switch.held.keys().filter(|k| !wanted.contains_key(k)).count();
                wrong.push(format!("{name} holds not the plan: {missing} missing, {foreign} too many"));
            }
            let masters: Vec<&Node> =
                self.nodes.iter().filter(|n| n.devices.get(name).is_some_and(|h| h.role.is_master())).collect();
            if masters.len() != 1 {
                let names: Vec<&str> = masters.iter().map(|n| n.name.as_str()).collect();
                wrong.push(format!("{name} has the masters {names:?}"));
            }
            for node in masters {
                let status = node.devices[name].device.status();
                if !status.in_sync {
                    wrong.push(format!("{} is not in sync with {name}: {status:?}", node.name));
                }
            }
            for node in &self.nodes {
                if node.devices.contains_key(name) && node.wanted(name) != wanted {
                    wrong.push(format!("{} wants something else of {name}", node.name));
                }
            }
        }
        for (n, there) in &self.acked {
            let key = route(*n, self.hop).key().to_string();
            if self.store.get(&key).is_some() != *there {
                wrong.push(format!("{key} was acknowledged and is not so"));
            }
        }
        wrong
    }
}

/// What came of a seed, and a digest of everything that happened.
fn simulate(seed: u64, story: bool) -> (Vec<String>, u64, u64) {
    let mut world = World::new(seed, story);
    world.run(STORM);
    world.soothe();
    world.run(STORM + CALM);
    let takeovers = world.store.revision;
    (world.judge(), world.trace.finish(), takeovers)
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().and_then(|n| n.parse().ok())
}

#[test]
fn simulated_clusters_survive_every_storm() {
    if let Some(seed) = number("PERGOLA_SEED") {
        let (wrong, trace, _) = simulate(seed, true);
        println!("seed {seed}: trace {trace:016x}");
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        return;
    }
    let seeds = number("PERGOLA_SEEDS").unwrap_or(12);
    let next = std::sync::atomic::AtomicU64::new(1);
    let failed = parking_lot::Mutex::new(BTreeMap::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    if seed > seeds {
                        return;
                    }
                    let (wrong, ..) = simulate(seed, false);
                    if !wrong.is_empty() {
                        println!("seed {seed} (PERGOLA_SEED={seed} tells its story): {}", wrong.join("; "));
                        failed.lock().insert(seed, wrong);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner();
    assert!(failed.is_empty(), "{} of {seeds} seeds failed: {:?}", failed.len(), failed.keys());
}

#[test]
fn a_seed_is_the_same_every_time() {
    let (_, first, events) = simulate(4, false);
    let (_, again, same) = simulate(4, false);
    assert_eq!((first, events), (again, same));
    assert_ne!(first, simulate(5, false).1);
}

/// The judge itself: a controller that writes after another one took over is noticed.
#[test]
fn the_judge_sees_a_second_writer() {
    let mut switch = Switch { up: true, ..Switch::default() };
    let mut random = Random::new(1);
    switch.open(1);
    switch.open(2);
    switch.arbitrate(1, 10);
    switch.push(10, 1001).unwrap();
    switch.arbitrate(2, 11);
    assert!(switch.write(&[], 10, 1001, &mut random).is_err(), "fenced");
    switch.write(&[], 11, 2001, &mut random).unwrap();
    assert!(switch.broken.is_empty());
    switch.write(&[], 11, 3001, &mut random).unwrap();
    assert!(switch.broken[0].contains("both wrote"), "{:?}", switch.broken);
}
