//! One worker's way of carrying packets: v1model's architecture as BMv2's simple_switch runs it.
//!
//! ```text
//!  in -> parser -> ingress -> clones, digest, resubmit | multicast | unicast -> egress -> clones -> deparser -> out
//!          ^                        |                                                     |           |
//!          +------- resubmit -------+<---------------------- recirculate ----------------+-----------+
//! ```
//! A worker carries each packet through all of it before it takes the next; copies queue up inside the worker.

use std::collections::VecDeque;
use std::sync::Arc;

use crate::exec::trace::trace;
use crate::exec::{Ctx, Outgoing, Run, Scratch, Source, Stop};
use crate::instance::Instance;
use crate::jit::Native;
use crate::rcu::{Pin, pin};
use crate::state::pre::Replica;
use crate::switch::{Engine, PacketMeta, Sink, Switch};

/// The deepest queue that v1model has bits for (`enq_qdepth`, `deq_qdepth`: 19).
const MAX_DEPTH: usize = (1 << 19) - 1;
/// Passes (ingress or egress) that one received packet may cause; copies beyond are dropped.
const MAX_PASSES: usize = 8_192;
/// Session ids are 15 bits.
const SESSION_MASK: u16 = 0x7fff;

/// `standard_metadata.instance_type`.
mod instance_type {
    pub const NORMAL: u64 = 0;
    pub const INGRESS_CLONE: u64 = 1;
    pub const EGRESS_CLONE: u64 = 2;
    pub const RECIRC: u64 = 4;
    pub const REPLICATION: u64 = 5;
    pub const RESUBMIT: u64 = 6;
}

enum Job {
    Ingress(Box<Ctx>),
    Egress(Box<Ctx>),
}

/// Carries packets through the switch; one for each thread. After the first packets it allocates nothing.
pub struct Worker {
    switch: Arc<Switch>,
    lane: Lane,
}

/// The memory of a worker; apart from the switch's handle so that both can be borrowed at once.
struct Lane {
    index: usize,
    /// The instance that `pool` was made for.
    instance: u64,
    scratch: Scratch,
    // Boxed: they move between the pool and the queue for every copy, and are large.
    #[allow(clippy::vec_box)]
    pool: Vec<Box<Ctx>>,
    queue: VecDeque<Job>,
    head: Vec<u8>,
    passes: usize,
}

/// What stays the same while one received packet is worked on.
struct Pass<'a> {
    switch: &'a Switch,
    rt: &'a Instance,
    native: Option<&'a Native>,
    pin: &'a Pin,
    frame: &'a [u8],
    meta: PacketMeta,
}

macro_rules! run {
    ($worker:expr, $pass:expr, $ctx:expr, $packet:expr) => {
        Run {
            code: &$pass.rt.program.code,
            native: $pass.native,
            rt: $pass.rt,
            ports: &$pass.switch.ports,
            pin: $pass.pin,
            ctx: $ctx,
            scratch: &mut $worker.scratch,
            packet: $packet,
            worker: $worker.index,
            drop_port: $pass.switch.options.drop_port,
            priority_queues: $pass.switch.options.priority_queues,
            clock: &$pass.switch.clock,
        }
    };
}

impl Worker {
    /// `index` counts a switch's workers from 1.
    pub(crate) fn new(switch: Arc<Switch>, index: usize) -> Worker {
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), index);
        let scratch = Scratch { random: seed, ..Scratch::default() };
        let lane =
            Lane { index, instance: 0, scratch, pool: Vec::new(), queue: VecDeque::new(), head: Vec::new(), passes: 0 };
        Worker { switch, lane }
    }

    /// Makes what is random in programs repeat; for tests.
    pub fn seed(&mut self, seed: u64) {
        self.lane.scratch.random = seed;
    }

    /// Carries one packet through the switch; `sink` gets what comes out.
    pub fn process(&mut self, port: u32, frame: &[u8], meta: PacketMeta, sink: &mut impl Sink) {
        self.lane.process(&self.switch, port, frame, meta, sink);
    }
}

impl Lane {
    fn process(&mut self, switch: &Switch, port: u32, frame: &[u8], meta: PacketMeta, sink: &mut impl Sink) {
        loop {
            let pin = pin();
            if let Some(rt) = switch.instance.load(&pin) {
                let native = match switch.options.engine {
                    Engine::Interpreter => None,
                    _ => rt.program.native(),
                };
                return self.carry(&Pass { switch, rt, native, pin: &pin, frame, meta }, port, sink);
            }
            drop(pin);
            if !switch.wait_for_program() {
                return;
            }
        }
    }

    fn carry(&mut self, pass: &Pass<'_>, port: u32, sink: &mut impl Sink) {
        let Pass { rt, frame, .. } = *pass;
        if self.instance != rt.serial {
            self.instance = rt.serial;
            self.pool.clear();
            self.scratch.memory.clear();
        }
        let code = &rt.program.code;
        let mut ctx = self.pool.pop().unwrap_or_else(|| Box::new(Ctx::new(code)));
        ctx.reset(code);
        ctx.start = 0;
        ctx.end = frame.len();
        ctx.ingress_port = port;
        ctx.ingress_len = frame.len() as u32;
        ctx.length = frame.len() as u32;
        self.passes = 0;
        // Copies of an earlier packet, should its sink have panicked.
        if !self.queue.is_empty() {
            self.queue.clear();
        }
        match pass.native {
            Some(native) => self.first(pass, native, ctx, sink),
            None => self.arrived(pass, ctx, sink),
        }
        while let Some(job) = self.queue.pop_front() {
            self.passes += 1;
            match job {
                Job::Ingress(ctx) | Job::Egress(ctx) if self.passes > MAX_PASSES => self.pool.push(ctx),
                Job::Ingress(ctx) => self.ingress(pass, ctx, sink),
                Job::Egress(ctx) => self.egress(pass, ctx, sink),
            }
        }
    }

    fn fresh(&mut self, pass: &Pass<'_>) -> Box<Ctx> {
        self.pool.pop().unwrap_or_else(|| Box::new(Ctx::new(&pass.rt.program.code)))
    }

    /// The first pass by machine code, which does all of it for most packets.
    fn first(&mut self, pass: &Pass<'_>, native: &Native, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let received = (0, ctx.length);
        let mut head = std::mem::take(&mut self.head);
        let stop = native.pass(&mut run!(self, pass, &mut *ctx, pass.frame), &mut head);
        if stop == Some(Stop::Nowhere) {
            Self::send(pass, &ctx, &head, pass.frame, sink);
        }
        self.head = head;
        match stop {
            Some(Stop::Nowhere) => self.pool.push(ctx),
            Some(Stop::BehindIngress) => self.ingressed(pass, ctx, received, sink),
            Some(Stop::BehindEgress) => self.egressed(pass, ctx, sink),
            None => self.arrived(pass, ctx, sink),
        }
    }

    /// A packet that was received, with its metadata; what is zero is already.
    fn arrived(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let std = &pass.rt.program.code.std;
        let (port, length) = (u64::from(ctx.ingress_port), u64::from(ctx.length));
        ctx.set(std.ingress_port, port);
        ctx.set(std.packet_length, length);
        if std.ingress_timestamp.is_some() {
            ctx.set(std.ingress_timestamp, pass.switch.clock.now_us());
        }
        self.ingress(pass, ctx, sink);
    }

    fn ingress(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let code = &pass.rt.program.code;
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        let received = (ctx.start, ctx.length);
        trace!("ingress: port {}, {} bytes, pass {}", ctx.ingress_port, packet.len(), self.passes + 1);
        let mut run = run!(self, pass, &mut *ctx, packet);
        run.parse();
        let error = u64::from(run.ctx.parser_error);
        run.ctx.set(code.std.parser_error, error);
        let error = u64::from(run.ctx.checksum_error);
        run.ctx.set(code.std.checksum_error, error);
        run.ingress();
        ctx.own = own;
        self.ingressed(pass, ctx, received, sink)
    }

    /// Behind the ingress control: copies, digests, and where the packet goes. `received` is where it started, and its length.
    fn ingressed(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, received: (usize, u32), sink: &mut impl Sink) {
        let code = &pass.rt.program.code;
        ctx.exit = false;
        if ctx.failed {
            self.pool.push(ctx);
            return;
        }
        let spec = ctx.get(code.std.egress_spec) as u32;
        let group = ctx.get(code.std.mcast_grp) as u16;
        if ctx.clone_session != 0 {
            self.clone_ingress(pass, &mut ctx, received);
        }
        if ctx.digest > 0 {
            self.learn(pass, &ctx);
        }
        if ctx.resubmit != 0 {
            trace!("resubmitted");
            self.resubmit(pass, ctx, received);
        } else if group != 0 {
            ctx.set(code.std.instance_type, instance_type::REPLICATION);
            let replicas = pass.rt.pre.group(group, pass.pin).unwrap_or(&[]);
            trace!("to multicast group {group}, {} copies", replicas.len());
            self.replicate(pass, &mut ctx, replicas, u32::MAX);
            self.pool.push(ctx);
        } else if spec == pass.switch.options.drop_port {
            trace!("dropped by ingress");
            self.pool.push(ctx);
        } else {
            ctx.set(code.std.instance_type, instance_type::NORMAL);
            if self.enqueue(pass, &mut ctx, spec) {
                if self.queue.is_empty() {
                    self.egress(pass, ctx, sink);
                } else {
                    self.queue.push_back(Job::Egress(ctx));
                }
            } else {
                self.pool.push(ctx);
            }
        }
    }

    /// Queueing metadata; false when the packet's priority has no queue.
    fn enqueue(&mut self, pass: &Pass<'_>, ctx: &mut Ctx, port: u32) -> bool {
        let std = &pass.rt.program.code.std;
        if ctx.get(std.priority) >= u64::from(pass.switch.options.priority_queues) {
            trace!("dropped: port {port} has no queue of priority {}", ctx.get(std.priority));
            return false;
        }
        ctx.egress_port = port;
        if std.enq_timestamp.is_some() || std.deq_timedelta.is_some() {
            ctx.enqueued_us = pass.switch.clock.now_us();
            ctx.set(std.enq_timestamp, ctx.enqueued_us);
        }
        true
    }

    /// Queues copies of `ctx` for egress, each with the replica's rid.
    fn replicate(&mut self, pass: &Pass<'_>, ctx: &mut Ctx, replicas: &[Replica], truncate: u32) {
        for replica in replicas {
            ctx.set(pass.rt.program.code.std.egress_rid, u64::from(replica.rid));
            let mut copy = self.fresh(pass);
            copy.copy_from(ctx);
            self.queue_copy(pass, copy, replica.port, truncate);
        }
    }

    fn queue_copy(&mut self, pass: &Pass<'_>, mut copy: Box<Ctx>, port: u32, truncate: u32) {
        if truncate != u32::MAX {
            copy.truncate = truncate as usize;
        }
        if self.queue.len() < MAX_PASSES && self.enqueue(pass, &mut copy, port) {
            self.queue.push_back(Job::Egress(copy));
        } else {
            self.pool.push(copy);
        }
    }

    /// Resets metadata but for the fields of a preserved list.
    fn keep_list(pass: &Pass<'_>, copy: &mut Ctx, from: &Ctx, list: u16, instance_type: u64) {
        let code = &pass.rt.program.code;
        copy.reset_metadata(code);
        for &field in code.lists.get(usize::from(list)).into_iter().flatten() {
            copy.copy_field(from, code, field);
        }
        copy.set(code.std.instance_type, instance_type);
    }

    /// The clone's session: its own copies and its group's.
    fn clone_out(&mut self, pass: &Pass<'_>, mut copy: Box<Ctx>, session: u16) {
        let number = session & SESSION_MASK;
        if let Some(session) = pass.rt.pre.session(number, pass.pin) {
            trace!("cloned to session {number}");
            let truncate = if session.truncate == 0 { u32::MAX } else { session.truncate };
            if let Some(group) = session.group {
                let replicas = pass.rt.pre.group(group, pass.pin).unwrap_or(&[]);
                self.replicate(pass, &mut copy, replicas, truncate);
            }
            self.replicate(pass, &mut copy, &session.replicas, truncate);
        }
        self.pool.push(copy);
    }

    fn clone_ingress(&mut self, pass: &Pass<'_>, ctx: &mut Ctx, received: (usize, u32)) {
        let code = &pass.rt.program.code;
        let (session, list) = (ctx.clone_session, ctx.clone_list);
        (ctx.clone_session, ctx.clone_list) = (0, 0);
        if pass.rt.pre.session(session & SESSION_MASK, pass.pin).is_none() {
            return;
        }
        // The clone is the packet as it came in, parsed again.
        let mut copy = self.fresh(pass);
        copy.reset(code);
        copy.source = ctx.source;
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        if ctx.source == Source::Own {
            copy.own.clear();
            copy.own.extend_from_slice(packet);
        }
        (copy.start, copy.end, copy.length) = (received.0, ctx.end, received.1);
        (copy.growth, copy.ingress_port, copy.ingress_len) = (ctx.growth, ctx.ingress_port, ctx.ingress_len);
        copy.set(code.std.ingress_port, u64::from(ctx.ingress_port));
        run!(self, pass, &mut *copy, packet).parse();
        ctx.own = own;
        copy.exit = false;
        Self::keep_list(pass, &mut copy, ctx, list, instance_type::INGRESS_CLONE);
        self.clone_out(pass, copy, session);
    }

    fn learn(&mut self, pass: &Pass<'_>, ctx: &Ctx) {
        let code = &pass.rt.program.code;
        let digest = code.digest_by_id.get(usize::from(ctx.digest)).copied().flatten();
        let Some(digest) = digest.map(usize::from) else { return };
        trace!("digest {}", pass.rt.program.digests[digest].name);
        let mut bytes = std::mem::take(&mut self.scratch.bytes);
        bytes.clear();
        for &field in &code.digests[digest] {
            ctx.sample_field(code, field, &mut bytes);
        }
        pass.rt.digests.learn(digest, &bytes, pass.switch.clock.now_us() * 1_000);
        self.scratch.bytes = bytes;
    }

    fn resubmit(&mut self, pass: &Pass<'_>, ctx: Box<Ctx>, received: (usize, u32)) {
        let code = &pass.rt.program.code;
        let mut copy = self.fresh(pass);
        copy.reset(code);
        copy.copy_packet(&ctx);
        (copy.start, copy.length) = received;
        Self::keep_list(pass, &mut copy, &ctx, ctx.resubmit, instance_type::RESUBMIT);
        copy.set(code.std.packet_length, u64::from(received.1));
        self.pool.push(ctx);
        self.queue.push_back(Job::Ingress(copy));
    }

    fn egress(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let code = &pass.rt.program.code;
        let std = &code.std;
        let drop_port = pass.switch.options.drop_port;
        if std.egress_timestamp.is_some() || std.deq_timedelta.is_some() {
            let now = pass.switch.clock.now_us();
            ctx.set(std.egress_timestamp, now);
            let waited = now.saturating_sub(ctx.enqueued_us);
            ctx.set(std.deq_timedelta, waited);
        }
        if std.enq_qdepth.is_some() || std.deq_qdepth.is_some() {
            // The queue is behind the egress, so a packet leaves it as deep as it came.
            let depth = sink.depth(ctx.egress_port).min(MAX_DEPTH) as u64;
            ctx.set(std.enq_qdepth, depth);
            ctx.set(std.deq_qdepth, depth);
        }
        if std.qid.is_some() {
            let priority = ctx.get(std.priority);
            ctx.set(std.qid, priority);
        }
        let (port, length) = (ctx.egress_port, ctx.length);
        trace!("egress: port {port}, {length} bytes");
        ctx.set(std.egress_port, u64::from(port));
        // Anything but the drop port: the program decides anew.
        ctx.set(std.egress_spec, u64::from(drop_port.wrapping_add(1)));
        ctx.set(std.packet_length, u64::from(length));
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        run!(self, pass, &mut *ctx, packet).egress();
        ctx.own = own;
        self.egressed(pass, ctx, sink)
    }

    /// Behind the egress control: copies, then the packet itself.
    fn egressed(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        if ctx.failed {
            self.pool.push(ctx);
            return;
        }
        if ctx.clone_session != 0 {
            self.clone_egress(pass, &mut ctx);
        }
        self.leave(pass, ctx, sink)
    }

    fn clone_egress(&mut self, pass: &Pass<'_>, ctx: &mut Ctx) {
        let (session, list) = (ctx.clone_session, ctx.clone_list);
        (ctx.clone_session, ctx.clone_list) = (0, 0);
        if pass.rt.pre.session(session & SESSION_MASK, pass.pin).is_none() {
            return;
        }
        let mut copy = self.fresh(pass);
        copy.copy_from(ctx);
        Self::keep_list(pass, &mut copy, ctx, list, instance_type::EGRESS_CLONE);
        self.clone_out(pass, copy, session);
    }

    /// Drop, recirculate, or out of the port.
    fn leave(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let code = &pass.rt.program.code;
        if ctx.get(code.std.egress_spec) == u64::from(pass.switch.options.drop_port) {
            trace!("dropped by egress");
            self.pool.push(ctx);
            return;
        }
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        let mut head = std::mem::take(&mut self.head);
        run!(self, pass, &mut *ctx, packet).deparse(&mut head);
        if ctx.recirculate != 0 {
            trace!("recirculated");
            // Whole: what truncates is the way out.
            ctx.truncate = usize::MAX;
            self.recirculate(pass, &ctx, ctx.outgoing(&head, packet));
        } else {
            trace!("leaves by port {}, {} bytes", ctx.egress_port, head.len() + ctx.end - ctx.start);
            Self::send(pass, &ctx, &head, packet, sink);
        }
        self.head = head;
        ctx.own = own;
        self.pool.push(ctx);
    }

    /// Out of the port: the new headers and the packet's payload.
    #[inline]
    fn send(pass: &Pass<'_>, ctx: &Ctx, head: &[u8], packet: &[u8], sink: &mut impl Sink) {
        let Outgoing { head, payload, growth } = ctx.outgoing(head, packet);
        sink.emit(ctx.egress_port, head, payload, PacketMeta { head_growth: growth, ..pass.meta });
    }

    fn recirculate(&mut self, pass: &Pass<'_>, ctx: &Ctx, out: Outgoing<'_>) {
        let code = &pass.rt.program.code;
        let mut copy = self.fresh(pass);
        copy.reset(code);
        copy.source = Source::Own;
        copy.own.clear();
        copy.own.extend_from_slice(out.head);
        copy.own.extend_from_slice(out.payload);
        copy.start = 0;
        copy.end = copy.own.len();
        let length = copy.own.len() as u32;
        (copy.growth, copy.ingress_port) = (out.growth, ctx.ingress_port);
        (copy.ingress_len, copy.length) = (length, length);
        Self::keep_list(pass, &mut copy, ctx, ctx.recirculate, instance_type::RECIRC);
        copy.set(code.std.packet_length, u64::from(length));
        self.queue.push_back(Job::Ingress(copy));
    }
}
