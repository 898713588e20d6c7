//! A switch of the simulation: arbitration as P4Runtime has it, entities, and a judge of everything that is written.

use std::collections::BTreeMap;

use p4runtime_proto::google::rpc;
use p4runtime_proto::p4::v1;
use pergola_pipeline::{Entity, EntityKey, EntityValue};
use pergola_southbound::{Fault, Input, PipelineSeen, ReadScope, Verb, WriteOp};
use tonic::Code;

use crate::chaos::Random;

pub type Conn = u64;

#[derive(Default)]
pub struct Switch {
    pub up: bool,
    pub held: BTreeMap<EntityKey, EntityValue>,
    pub has_pipeline: bool,
    /// Streams, with their election ids once they said them.
    pub(super) streams: BTreeMap<Conn, Option<u128>>,
    pub(super) primary: Option<Conn>,
    pub(super) highest: u128,
    /// What every plan of the run wants; once it is there it must stay.
    pub needed: BTreeMap<EntityKey, EntityValue>,
    /// The greatest election id that wrote something, and who that was.
    pub(super) last_writer: (u128, u64),
    pub broken: Vec<String>,
    pub writes: u64,
    pub pushes: u64,
}

impl Switch {
    /// Power comes back: empty, and election ids are forgotten.
    pub fn reboot(&mut self) {
        self.held.clear();
        self.has_pipeline = false;
        self.streams.clear();
        self.primary = None;
        self.highest = 0;
    }

    pub fn open(&mut self, conn: Conn) {
        self.streams.insert(conn, None);
    }

    pub fn is_open(&self, conn: Conn) -> bool {
        self.streams.contains_key(&conn)
    }

    pub fn connections(&self) -> Vec<Conn> {
        self.streams.keys().copied().collect()
    }

    /// A stream has ended; what the others are told.
    pub fn close(&mut self, conn: Conn) -> Vec<(Conn, Input)> {
        self.streams.remove(&conn);
        if self.primary == Some(conn) {
            self.primary = None;
            return self.tell_all();
        }
        Vec::new()
    }

    /// P4Runtime 1.4 §5.
    pub fn arbitrate(&mut self, conn: Conn, id: u128) -> Vec<(Conn, Input)> {
        if !self.is_open(conn) {
            return Vec::new();
        }
        if self.streams.iter().any(|(c, i)| *c != conn && *i == Some(id)) {
            let mut told = self.close(conn);
            let fault = Fault::new(Code::InvalidArgument, "election_id is in use");
            told.push((conn, Input::StreamEnded(fault)));
            return told;
        }
        self.streams.insert(conn, Some(id));
        if id >= self.highest {
            self.highest = id;
            self.primary = Some(conn);
            return self.tell_all();
        }
        if self.primary == Some(conn) {
            self.primary = None;
            return self.tell_all();
        }
        vec![(conn, self.word(conn))]
    }

    fn tell_all(&self) -> Vec<(Conn, Input)> {
        self.streams.iter().filter(|(_, id)| id.is_some()).map(|(c, _)| (*c, self.word(*c))).collect()
    }

    fn word(&self, conn: Conn) -> Input {
        let code = match self.primary {
            Some(primary) if primary == conn => Code::Ok,
            Some(_) => Code::AlreadyExists,
            None => Code::NotFound,
        };
        let id = v1::Uint128 { high: (self.highest >> 64) as u64, low: self.highest as u64 };
        let status = rpc::Status { code: code as i32, ..Default::default() };
        let update = v1::MasterArbitrationUpdate {
            device_id: 1,
            election_id: Some(id),
            status: Some(status),
            ..Default::default()
        };
        let update = v1::stream_message_response::Update::Arbitration(update);
        Input::Stream(Box::new(v1::StreamMessageResponse { update: Some(update) }))
    }

    fn refuses(&self, election_id: u128) -> Option<Fault> {
        let holder = self.primary.and_then(|c| self.streams.get(&c).copied().flatten());
        (holder != Some(election_id)).then(|| Fault::new(Code::PermissionDenied, "not the primary"))
    }

    /// Judges one accepted change: writers follow one another and never come back.
    fn accept(&mut self, election_id: u128, by: u64) {
        let (last, who) = self.last_writer;
        if election_id < last {
            self.broken.push(format!("controller {by} wrote with {election_id:x} after {who} with {last:x}"));
        }
        if election_id == last && who != by {
            self.broken.push(format!("controllers {by} and {who} both wrote with {election_id:x}"));
        }
        self.last_writer = (election_id, by);
    }

    pub fn pipeline(&self) -> Result<PipelineSeen, Fault> {
        match self.has_pipeline {
            true => Ok(PipelineSeen::Ours),
            false => Err(Fault::new(Code::FailedPrecondition, "no pipeline")),
        }
    }

    pub fn push(&mut self, election_id: u128, by: u64) -> Result<(), Fault> {
        if let Some(fault) = self.refuses(election_id) {
            return Err(fault);
        }
        self.accept(election_id, by);
        if self.has_pipeline && !self.held.is_empty() {
            self.broken.push(format!("controller {by} loaded the pipeline again and wiped the entries"));
        }
        self.has_pipeline = true;
        self.held.clear();
        self.pushes += 1;
        Ok(())
    }

    pub fn write(
        &mut self,
        ops: &[WriteOp],
        election_id: u128,
        by: u64,
        random: &mut Random,
    ) -> Result<Vec<Result<(), Fault>>, Fault> {
        if let Some(fault) = self.refuses(election_id) {
            return Err(fault);
        }
        self.accept(election_id, by);
        // In an order of its own, as P4Runtime allows.
        let mut order: Vec<usize> = (0..ops.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, random.below(i as u64 + 1) as usize);
        }
        let mut results = vec![Ok(()); ops.len()];
        for i in order {
            results[i] = self.update(&ops[i], by);
        }
        Ok(results)
    }

    fn update(&mut self, op: &WriteOp, by: u64) -> Result<(), Fault> {
        if !self.has_pipeline {
            return Err(Fault::new(Code::FailedPrecondition, "no pipeline"));
        }
        self.writes += 1;
        let always = op.key.kind().always_exists();
        let before = self.held.get(&op.key).cloned();
        match op.verb {
            Verb::Insert if before.is_some() => return Err(Fault::new(Code::AlreadyExists, "there")),
            Verb::Modify if before.is_none() && !always => return Err(Fault::new(Code::NotFound, "not there")),
            Verb::Delete if before.is_none() && !always => return Err(Fault::new(Code::NotFound, "not there")),
            Verb::Delete => drop(self.held.remove(&op.key)),
            Verb::Insert | Verb::Modify => {
                let value = op.value.clone().unwrap();
                self.held.insert(op.key.clone(), value);
            }
        }
        if let Some(needed) = self.needed.get(&op.key)
            && before.as_ref() == Some(needed)
            && self.held.get(&op.key) != Some(needed)
        {
            self.broken.push(format!("controller {by} took away what traffic needs: {:?}", op.key));
        }
        Ok(())
    }

    pub fn read(&self, scopes: &[ReadScope]) -> Vec<Entity> {
        let found = self.held.iter().filter(|(k, _)| scopes.iter().any(|s| s.holds(k)));
        found.map(|(k, v)| Entity::new(k.clone(), v.clone())).collect()
    }
}
