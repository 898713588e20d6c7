//! The switch: v1model's architecture as BMv2's simple_switch runs it.
//!
//! ```text
//!  in -> parser -> ingress -> clones, digest, resubmit | multicast | unicast -> egress -> clones -> deparser -> out
//!          ^                        |                                                     |           |
//!          +------- resubmit -------+<---------------------- recirculate ----------------+-----------+
//! ```
//! A worker carries each packet through all of it before it takes the next; copies queue up inside the worker.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::exec::{Ctx, Outgoing, Run, Scratch, Source, Stop};
use crate::instance::Instance;
use crate::jit::Native;
use crate::program::Program;
use crate::rcu::{Pin, Rcu, pin, synchronize};
use crate::state::ports::Ports;
use crate::state::pre::Replica;
use crate::tables::TableError;

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

/// How packets run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Engine {
    /// As machine code, by the interpreter until that is ready.
    Native,
    /// As machine code from the first packet: the program's commit waits for it.
    NativeAtOnce,
    Interpreter,
}

impl Default for Engine {
    /// [`Engine::Native`] unless the environment variable `PERGOLA_ENGINE` is `interpreter` or `native-at-once`.
    fn default() -> Self {
        match std::env::var("PERGOLA_ENGINE").as_deref() {
            Ok("interpreter") => Engine::Interpreter,
            Ok("native-at-once") => Engine::NativeAtOnce,
            _ => Engine::Native,
        }
    }
}

/// How a switch is set up.
#[derive(Clone, Debug)]
pub struct SwitchOptions {
    /// The port of packet-in and packet-out. The pipeline treats it like any other.
    pub cpu_port: Option<u32>,
    /// The `egress_spec` that means drop; 511 as in v1model.
    pub drop_port: u32,
    /// Priority queues a port has; packets with a higher `priority` are dropped, as simple_switch does.
    pub priority_queues: u32,
    /// Workers that count without sharing a cache line's ownership; more still count correctly.
    pub workers: usize,
    pub engine: Engine,
}

impl Default for SwitchOptions {
    fn default() -> Self {
        SwitchOptions { cpu_port: None, drop_port: 511, priority_queues: 1, workers: 1, engine: Engine::default() }
    }
}

/// Time since the switch started, or a time set by a test.
pub struct Clock {
    start: Instant,
    fixed_us: AtomicU64,
}

impl Clock {
    fn new() -> Self {
        Clock { start: Instant::now(), fixed_us: AtomicU64::new(u64::MAX) }
    }

    #[inline]
    pub fn now_us(&self) -> u64 {
        match self.fixed_us.load(Ordering::Relaxed) {
            u64::MAX => self.start.elapsed().as_micros() as u64,
            fixed => fixed,
        }
    }

    /// Stops the clock at `now_us`; for tests with virtual time.
    pub fn set(&self, now_us: u64) {
        self.fixed_us.store(now_us, Ordering::Relaxed);
    }
}

/// What the I/O layer knows of a packet beside its bytes; passed through.
///
/// Offsets are those of `virtio_net_hdr`, counted from the packet's first byte. `head_growth` says by how many bytes the
/// headers in front of the payload grew (or shrank), so that offsets into the payload move along.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PacketMeta {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
    /// Set by the switch on the way out.
    pub head_growth: i32,
}

/// Where packets leave.
pub trait Sink {
    /// The packet is `head` followed by `payload`. Called once for each copy, in order for each port.
    fn emit(&mut self, port: u32, head: &[u8], payload: &[u8], meta: PacketMeta);

    /// Packets that wait at a port. Asked only for programs that look at the depth of queues.
    fn depth(&mut self, _port: u32) -> usize {
        0
    }
}

impl<F: FnMut(u32, &[u8], &[u8], PacketMeta)> Sink for F {
    fn emit(&mut self, port: u32, head: &[u8], payload: &[u8], meta: PacketMeta) {
        self(port, head, payload, meta)
    }
}

/// A switch without ports: a program, its state, and which ports are up. Shared by workers and the control plane.
pub struct Switch {
    instance: Rcu<Instance>,
    pub ports: Ports,
    pub options: SwitchOptions,
    pub clock: Clock,
    workers: AtomicUsize,
    /// Programs that were replaced, until no packet is in them: a large one must not be freed by a packet's thread.
    replaced: Mutex<Vec<Arc<Instance>>>,
    /// The program while packets are held back; `instance` is empty then, so that packets pay nothing for the possibility.
    held: Mutex<Option<Arc<Instance>>>,
    released: Condvar,
}

/// Packets wait as long as this lives; see [`Switch::hold`].
pub struct Hold<'a>(&'a Switch);

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut held = self.0.held.lock();
        self.0.instance.set(held.take(), &pin());
        self.0.released.notify_all();
    }
}

impl Switch {
    /// A switch, with a program or without one (then packets are dropped).
    ///
    /// # Errors
    /// A const entry of the program does not suit its table.
    pub fn new(program: Option<Arc<Program>>, options: SwitchOptions) -> Result<Arc<Switch>, TableError> {
        let switch = Switch {
            instance: Rcu::empty(),
            ports: Ports::default(),
            options,
            clock: Clock::new(),
            workers: AtomicUsize::new(0),
            replaced: Mutex::default(),
            held: Mutex::default(),
            released: Condvar::new(),
        };
        if let Some(program) = program {
            switch.swap_program(program)?;
        }
        Ok(Arc::new(switch))
    }

    /// State for a program, not in use yet; write to it, then [`Switch::commit`] it.
    pub fn prepare(&self, program: Arc<Program>) -> Result<Arc<Instance>, TableError> {
        Instance::new(program, self.options.workers)
    }

    /// Packets from now on run on `runtime`. Those on their way finish on the old one.
    pub fn commit(&self, runtime: Arc<Instance>) {
        match self.options.engine {
            Engine::Native => runtime.program.compile_in_background(),
            Engine::NativeAtOnce => runtime.program.compile(),
            Engine::Interpreter => {}
        }
        let mut replaced = self.replaced.lock();
        replaced.retain(|old| Arc::strong_count(old) > 1);
        if let Some(held) = &mut *self.held.lock() {
            replaced.push(std::mem::replace(held, runtime));
            return;
        }
        replaced.extend(self.instance.get(&pin()));
        self.instance.set(Some(runtime), &pin());
    }

    /// Lets the packets that are under way leave and holds back those that come, until the value returned is dropped: what
    /// is written meanwhile takes effect for packets all at once. None when packets do not leave within `limit`.
    ///
    /// The caller must not be carrying a packet itself.
    pub fn hold(&self, limit: Duration) -> Option<Hold<'_>> {
        {
            let mut held = self.held.lock();
            if held.is_some() {
                return None;
            }
            let pin = pin();
            *held = self.instance.get(&pin);
            self.instance.set(None, &pin);
        }
        let hold = Hold(self);
        synchronize(limit).then_some(hold)
    }

    /// Waits while packets are held back. False when there is no program at all.
    #[cold]
    fn wait_for_program(&self) -> bool {
        let mut held = self.held.lock();
        while held.is_some() {
            self.released.wait(&mut held);
        }
        self.instance.load(&pin()).is_some()
    }

    /// [`Switch::prepare`] and [`Switch::commit`] in one.
    pub fn swap_program(&self, program: Arc<Program>) -> Result<Arc<Instance>, TableError> {
        let runtime = self.prepare(program)?;
        self.commit(runtime.clone());
        Ok(runtime)
    }

    /// The program in use and its state: the control API is on it.
    pub fn instance(&self) -> Option<Arc<Instance>> {
        if let Some(instance) = self.instance.get(&pin()) {
            return Some(instance);
        }
        let held = self.held.lock();
        held.clone().or_else(|| self.instance.get(&pin()))
    }

    /// Tells the switch that a port is up or down; members that watch it follow with the next packet.
    pub fn set_port_up(&self, port: u32, up: bool) {
        self.ports.set_up(port, up);
    }

    /// Milliseconds since the switch started.
    pub fn now_ms(&self) -> u64 {
        self.clock.now_us() / 1_000
    }

    /// A worker for one thread.
    pub fn worker(self: &Arc<Self>) -> Worker {
        let index = self.workers.fetch_add(1, Ordering::Relaxed) + 1;
        let seed = std::hash::BuildHasher::hash_one(&std::hash::RandomState::new(), index);
        let scratch = Scratch { random: seed, ..Scratch::default() };
        let lane =
            Lane { index, instance: 0, scratch, pool: Vec::new(), queue: VecDeque::new(), head: Vec::new(), passes: 0 };
        Worker { switch: self.clone(), lane }
    }
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
        let Pass { switch, rt, frame, .. } = *pass;
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
        ctx.set(code.std.ingress_port, u64::from(port));
        ctx.set(code.std.packet_length, frame.len() as u64);
        ctx.set(code.std.instance_type, instance_type::NORMAL);
        if code.std.ingress_timestamp.is_some() {
            ctx.set(code.std.ingress_timestamp, switch.clock.now_us());
        }
        self.passes = 0;
        // Copies of an earlier packet, should its sink have panicked.
        self.queue.clear();
        match pass.native {
            Some(native) => self.first(pass, native, ctx, sink),
            None => self.ingress(pass, ctx, sink),
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
            None => self.ingress(pass, ctx, sink),
        }
    }

    fn ingress(&mut self, pass: &Pass<'_>, mut ctx: Box<Ctx>, sink: &mut impl Sink) {
        let code = &pass.rt.program.code;
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        let received = (ctx.start, ctx.length);
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
            self.resubmit(pass, ctx, received);
        } else if group != 0 {
            ctx.set(code.std.instance_type, instance_type::REPLICATION);
            let replicas = pass.rt.pre.group(group, pass.pin).unwrap_or(&[]);
            self.replicate(pass, &mut ctx, replicas, u32::MAX);
            self.pool.push(ctx);
        } else if spec == pass.switch.options.drop_port {
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
        if let Some(session) = pass.rt.pre.session(session & SESSION_MASK, pass.pin) {
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
            self.pool.push(ctx);
            return;
        }
        let own = std::mem::take(&mut ctx.own);
        let packet: &[u8] = if ctx.source == Source::Own { &own } else { pass.frame };
        let mut head = std::mem::take(&mut self.head);
        run!(self, pass, &mut *ctx, packet).deparse(&mut head);
        if ctx.recirculate != 0 {
            // Whole: what truncates is the way out.
            ctx.truncate = usize::MAX;
            self.recirculate(pass, &ctx, ctx.outgoing(&head, packet));
        } else {
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
