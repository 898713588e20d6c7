//! A switch that holds entities, fails with set probabilities and keeps to the order rules of nobody; and the virtual
//! time in which a device machine talks to it.
#![allow(dead_code)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use p4runtime_proto::p4::v1;
use pergola_engine::{Device, ReconcileConfig, Reconciler, WriteOrder};
use pergola_pipeline::{Entity, EntityKey, EntityValue, Kind, TableEntryBuilder};
use pergola_plan::DeviceDelta;
use pergola_southbound::{Fault, Input, Nanos, Output, PipelineSeen, ReadScope, Session, SessionConfig, Verb, WriteOp};
use tonic::Code;

pub const NEXT: u32 = 20;
pub const ROUTE: u32 = 10;
pub const ELECTION: u128 = 7;

pub fn next(id: u32, port: u32) -> Entity {
    TableEntryBuilder::new(NEXT).exact(1, id).action(1).param(1, port).build()
}

pub fn route(n: u32, next: u32) -> Entity {
    TableEntryBuilder::new(ROUTE).lpm(1, n << 8, 24).action(2).param(1, next).build()
}

pub fn scopes() -> Vec<ReadScope> {
    vec![
        ReadScope::MulticastGroups,
        ReadScope::Table { id: ROUTE, meters: false },
        ReadScope::Table { id: NEXT, meters: false },
    ]
}

/// How often things go wrong, in percent.
#[derive(Clone, Copy, Debug, Default)]
pub struct Faults {
    pub update_error: u32,
    pub call_lost: u32,
    pub hang: u32,
    pub stream_cut: u32,
    pub reboot: u32,
    pub meddle: u32,
    pub whole_batch_refused: u32,
}

pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % n
    }

    pub fn chance(&mut self, percent: u32) -> bool {
        self.below(100) < u64::from(percent)
    }
}

/// The switch, the network to it and the time.
pub struct World {
    pub now: Nanos,
    pub device: Device,
    pub held: BTreeMap<EntityKey, EntityValue>,
    pub has_pipeline: bool,
    pub up: bool,
    pub faults: Faults,
    pub random: Random,
    /// Answers on their way, by time.
    coming: BTreeMap<(Nanos, u64), Input>,
    serial: u64,
    pub writes: u64,
    pub pushes: u64,
    /// Check after each update that routes lead somewhere.
    pub strict: bool,
    pub broken: Vec<String>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let config = ReconcileConfig { batch: 8, audit_interval: Duration::from_secs(3), ..ReconcileConfig::default() };
        World::with(seed, config, scopes())
    }

    pub fn with(seed: u64, config: ReconcileConfig, scopes: Vec<ReadScope>) -> World {
        World {
            now: 0,
            device: Self::device(config, scopes),
            held: BTreeMap::new(),
            has_pipeline: false,
            up: true,
            faults: Faults::default(),
            random: Random::new(seed),
            coming: BTreeMap::new(),
            serial: 0,
            writes: 0,
            pushes: 0,
            strict: false,
            broken: Vec::new(),
        }
    }

    fn device(config: ReconcileConfig, scopes: Vec<ReadScope>) -> Device {
        let order = Arc::new(WriteOrder::new([NEXT, ROUTE]));
        Device::new(Session::new(SessionConfig::new(1, ELECTION, 99)), Reconciler::new(config, order, scopes))
    }

    /// A controller that knows nothing of the one before.
    pub fn restart_controller(&mut self) {
        self.device = Self::device(ReconcileConfig::default(), scopes());
        self.coming.clear();
    }

    /// A switch that lost power.
    pub fn reboot(&mut self) {
        self.held.clear();
        self.has_pipeline = false;
        self.cut();
    }

    pub fn cut(&mut self) {
        self.coming.clear();
        self.answer(Input::StreamEnded(Fault::new(Code::Unavailable, "reset")), 0);
    }

    fn answer(&mut self, input: Input, delay_us: u64) {
        let jitter = self.random.below(500);
        self.serial += 1;
        self.coming.insert((self.now + (delay_us + jitter) * 1000, self.serial), input);
    }

    pub fn apply(&mut self, put: Vec<Entity>, del: Vec<EntityKey>, revision: u64) {
        self.device.apply(DeviceDelta { put, del }, revision);
    }

    /// Runs until a time, or until `done`. True when done.
    pub fn run(&mut self, until: Nanos, mut done: impl FnMut(&World) -> bool) -> bool {
        loop {
            while let Some(output) = self.device.poll(self.now) {
                self.carry_out(output);
            }
            while self.device.notice().is_some() {}
            if done(self) {
                return true;
            }
            let arrival = self.coming.keys().next().map(|k| k.0);
            let timeout = self.device.next_timeout();
            let Some(at) = arrival.into_iter().chain(timeout).min().filter(|at| *at <= until) else {
                self.now = until;
                return false;
            };
            self.now = self.now.max(at);
            if arrival.is_some_and(|a| a <= self.now) {
                if let Some((_, input)) = self.coming.pop_first() {
                    self.device.handle(input, self.now);
                }
            } else {
                self.device.handle(Input::Tick, self.now);
            }
        }
    }

    /// Runs until everything is in sync, at most `seconds`.
    pub fn settle(&mut self, seconds: u64) -> bool {
        let until = self.now + seconds * 1_000_000_000;
        self.run(until, |w| w.device.status().in_sync)
    }

    fn carry_out(&mut self, output: Output) {
        match output {
            Output::Connect => {
                self.coming.clear();
                let input = if self.up {
                    Input::Connected
                } else {
                    Input::ConnectFailed(Fault::new(Code::Unavailable, "refused"))
                };
                self.answer(input, 300);
            }
            Output::Disconnect => self.coming.clear(),
            Output::Send(message) => {
                if let Some(v1::stream_message_request::Update::Arbitration(a)) = message.update {
                    let update = v1::MasterArbitrationUpdate { status: Some(Default::default()), ..a };
                    let update = v1::stream_message_response::Update::Arbitration(update);
                    let message = v1::StreamMessageResponse { update: Some(update) };
                    self.answer(Input::Stream(Box::new(message)), 100);
                }
            }
            Output::GetPipeline { .. } => {
                let seen = if self.has_pipeline {
                    Ok(PipelineSeen::Ours)
                } else {
                    Err(Fault::new(Code::FailedPrecondition, "no pipeline"))
                };
                self.maybe(Input::Pipeline(seen), 100);
            }
            Output::SetPipeline { reconcile } => {
                // As BMv2: only the plain way.
                let result = if reconcile {
                    Err(Fault::new(Code::Unimplemented, "reconcile"))
                } else {
                    self.pushes += 1;
                    self.has_pipeline = true;
                    self.held.clear();
                    Ok(())
                };
                self.maybe(Input::PipelineSet(result), 3000);
            }
            Output::Write { id, ops, .. } => self.write(id, ops),
            Output::Read { id, scopes } => self.read(id, &scopes),
            Output::Event(_) => unreachable!("events stay inside a device"),
        }
    }

    /// An answer that may be lost with the connection, or never come.
    fn maybe(&mut self, input: Input, delay_us: u64) {
        if self.random.chance(self.faults.hang) {
            return;
        }
        if self.random.chance(self.faults.stream_cut) {
            return self.cut();
        }
        if self.random.chance(self.faults.reboot) {
            return self.reboot();
        }
        self.answer(input, delay_us);
    }

    fn write(&mut self, id: u64, ops: Vec<WriteOp>) {
        if self.random.chance(self.faults.call_lost) {
            return self.cut();
        }
        if self.random.chance(self.faults.whole_batch_refused) {
            let result = Err(Fault::new(Code::ResourceExhausted, "message too large"));
            return self.maybe(Input::Written { id, result }, 200);
        }
        // In an order of its own, as P4Runtime allows.
        let mut order: Vec<usize> = (0..ops.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, self.random.below(i as u64 + 1) as usize);
        }
        let mut results = vec![Ok(()); ops.len()];
        for i in order {
            results[i] = self.update(&ops[i]);
            self.check_references();
        }
        if self.random.chance(self.faults.meddle) {
            self.meddle();
        }
        self.maybe(Input::Written { id, result: Ok(results) }, 200);
    }

    fn update(&mut self, op: &WriteOp) -> Result<(), Fault> {
        self.writes += 1;
        if !self.has_pipeline {
            return Err(Fault::new(Code::FailedPrecondition, "no pipeline"));
        }
        if self.random.chance(self.faults.update_error) {
            let codes = [Code::ResourceExhausted, Code::Internal, Code::InvalidArgument, Code::Unknown];
            return Err(Fault::new(codes[self.random.below(4) as usize], "chaos"));
        }
        let there = self.held.contains_key(&op.key);
        match op.verb {
            Verb::Insert if there => return Err(Fault::new(Code::AlreadyExists, "there")),
            Verb::Modify if !there => return Err(Fault::new(Code::NotFound, "not there")),
            Verb::Delete if !there => return Err(Fault::new(Code::NotFound, "not there")),
            Verb::Delete => drop(self.held.remove(&op.key)),
            Verb::Insert | Verb::Modify => {
                self.held.insert(op.key.clone(), op.value.clone().unwrap());
            }
        }
        Ok(())
    }

    /// Somebody else changes, removes or adds an entry.
    pub fn meddle(&mut self) {
        let n = self.random.below(12) as u32;
        match self.random.below(3) {
            0 => {
                let key = self.held.keys().nth(n as usize % self.held.len().max(1)).cloned();
                key.map(|k| self.held.remove(&k));
            }
            1 => drop(self.held.insert(route(n, 1).key, route(n, 77).value)),
            _ => drop(self.held.insert(next(900 + n, 1).key, next(900 + n, 1).value)),
        }
    }

    fn check_references(&mut self) {
        if !self.strict {
            return;
        }
        let nexts: BTreeSet<String> =
            self.held.keys().filter(|k| k.table_id() == Some(NEXT)).map(|k| format!("{:?}", k.view())).collect();
        for (key, value) in self.held.iter().filter(|(k, _)| k.table_id() == Some(ROUTE)) {
            let pergola_pipeline::entity::ValueView::Action { action, .. } = value.view() else {
                continue;
            };
            let id = action.params[0].1.to_u64().unwrap() as u32;
            if !nexts.contains(&format!("{:?}", next(id, 0).key.view())) {
                self.broken.push(format!("{key:?} leads to next {id}, which is not there"));
            }
        }
    }

    fn read(&mut self, id: u64, scopes: &[ReadScope]) {
        let found: VecDeque<Entity> = self
            .held
            .iter()
            .filter(|(k, _)| scopes.iter().any(|s| s.holds(k)))
            .map(|(k, v)| Entity::new(k.clone(), v.clone()))
            .collect();
        let found: Vec<Entity> = found.into();
        for part in found.chunks(5) {
            self.answer(Input::ReadPart { id, entities: part.to_vec() }, 100);
        }
        self.maybe(Input::ReadDone { id, result: Ok(()) }, 2000);
    }

    /// Entries of tables, the rest being the switch's own.
    pub fn entries(&self) -> BTreeMap<EntityKey, EntityValue> {
        let tables = self.held.iter().filter(|(k, _)| k.kind() != Kind::CloneSession);
        tables.map(|(k, v)| (k.clone(), v.clone())).collect()
    }
}
