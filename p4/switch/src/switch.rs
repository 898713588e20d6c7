//! The switch: a program, its state, and which ports are up. Workers carry packets through it (see [`crate::lane`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::instance::Instance;
use crate::lane::Worker;
use crate::program::Program;
use crate::rcu::{Rcu, pin, synchronize};
use crate::state::ports::Ports;
use crate::tables::TableError;

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
    pub(crate) instance: Rcu<Instance>,
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
    pub(crate) fn wait_for_program(&self) -> bool {
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
        Worker::new(self.clone(), self.workers.fetch_add(1, Ordering::Relaxed) + 1)
    }
}
