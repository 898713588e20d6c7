//! The forwarding loop: worker threads that take frames from ports in batches, hand them to a [`Forwarder`], and put
//! what it emits on other ports.
//!
//! ```text
//!  PortRx ─batch─► Forwarder::process ─► Output ─► PortTx (one a worker and port) ─flush after each batch─►
//!     ▲                                     └────► the controller, for frames to the CPU port
//!     └ sleeps when nothing waits; a mailbox (attach, detach, inject, stop) wakes it too
//! ```
//! A port's receiving half belongs to one worker; each worker has its own transmitting half of every port, so workers
//! share nothing but counters.

use crate::ports::join::Joiner;
use crate::ports::offload::{self, Egress};
use crate::ports::port::Port;
use crate::ports::sys::{self, EventFd};
use crate::ports::wakers::Wakers;
use crate::ports::{Capabilities, Offload, PortNo, PortRx, PortTx, Sent, Tally, segment};
use parking_lot::Mutex;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Decides what happens to a frame.
pub trait Forwarder: Send {
    /// Handles one frame that arrived on `port`, and emits what leaves. `frame` may be overwritten.
    fn process(&mut self, port: PortNo, frame: &mut [u8], sink: &mut dyn Sink);

    /// Whether the program reads or computes checksums over payloads: then partial checksums are filled in and
    /// segmentation frames cut before `process` sees them.
    fn wants_finished_frames(&self) -> bool {
        false
    }
}

/// Takes the frames that leave.
pub trait Sink {
    /// Sends `head` followed by `body` on `port`.
    fn emit(&mut self, port: PortNo, head: &[u8], body: &[u8]);

    /// Frames that were sent on `port` and still wait there.
    fn depth(&mut self, port: PortNo) -> usize;
}

/// Takes the frames that leave for the controller.
pub type TakeFrame = Arc<dyn Fn(&[u8]) + Send + Sync>;

/// The port that leads to the controller, and who takes its frames.
#[derive(Clone)]
pub struct CpuPort {
    pub no: PortNo,
    pub take: TakeFrame,
}

/// Settings of the loop.
#[derive(Clone, Debug)]
pub struct RuntimeOptions {
    /// Frames taken from a port in one turn.
    pub batch: usize,
    /// How long a worker looks for frames before it sleeps.
    pub spin: Duration,
}

impl Default for RuntimeOptions {
    fn default() -> Self {
        Self { batch: 64, spin: Duration::ZERO }
    }
}

enum Command {
    Attach { port: Arc<Port>, rx: Option<Box<dyn PortRx>>, tx: Box<dyn PortTx>, done: mpsc::Sender<()> },
    Detach { no: PortNo, done: mpsc::Sender<()> },
    Inject { no: PortNo, frame: Vec<u8> },
    Stop,
}

struct Mailbox {
    commands: Mutex<Vec<Command>>,
    pending: AtomicBool,
    ready: EventFd,
}

impl Mailbox {
    fn put(&self, command: Command) {
        self.commands.lock().push(command);
        if !self.pending.swap(true, Ordering::AcqRel) {
            self.ready.signal();
        }
    }

    fn take(&self) -> Vec<Command> {
        self.ready.clear();
        self.pending.store(false, Ordering::Release);
        std::mem::take(&mut *self.commands.lock())
    }
}

/// Running workers. Dropping it stops them.
pub struct Runtime {
    mailboxes: Vec<Arc<Mailbox>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    cpu: Option<PortNo>,
}

impl Runtime {
    /// Starts one worker for each forwarder.
    ///
    /// # Errors
    /// No threads or file descriptors left.
    pub fn start(
        forwarders: Vec<Box<dyn Forwarder>>,
        cpu: Option<CpuPort>,
        options: &RuntimeOptions,
    ) -> io::Result<Self> {
        let runtime = Self {
            mailboxes: (0..forwarders.len())
                .map(|_| {
                    let ready = EventFd::new()?;
                    Ok(Arc::new(Mailbox { commands: Mutex::default(), pending: AtomicBool::new(false), ready }))
                })
                .collect::<io::Result<_>>()?,
            threads: Mutex::default(),
            cpu: cpu.as_ref().map(|cpu| cpu.no),
        };
        for (number, forwarder) in forwarders.into_iter().enumerate() {
            let mailbox = Arc::clone(&runtime.mailboxes[number]);
            let mut worker = Worker {
                forwarder,
                inputs: Vec::new(),
                outputs: Outputs { ports: Vec::new(), touched: Vec::new(), cpu: cpu.clone(), scratch: Vec::new() },
                joiner: Joiner::default(),
                mailbox,
                options: options.clone(),
                unsettled: None,
            };
            let thread = std::thread::Builder::new().name(format!("forward-{number}"));
            runtime.threads.lock().push(thread.spawn(move || worker.run())?);
        }
        Ok(runtime)
    }

    /// The number of the port that leads to the controller.
    pub fn cpu_port(&self) -> Option<PortNo> {
        self.cpu
    }

    pub fn workers(&self) -> usize {
        self.mailboxes.len()
    }

    /// Gives a port to the workers, in place of one of the same number. `tx` has one half for each worker. Returns when
    /// every worker has it.
    pub fn attach(&self, port: &Arc<Port>, rx: Box<dyn PortRx>, tx: Vec<Box<dyn PortTx>>) {
        let home = port.no as usize % self.mailboxes.len().max(1);
        let mut rx = Some(rx);
        let (done, wait) = mpsc::channel();
        for (number, (mailbox, tx)) in self.mailboxes.iter().zip(tx).enumerate() {
            let rx = if number == home { rx.take() } else { None };
            mailbox.put(Command::Attach { port: Arc::clone(port), rx, tx, done: done.clone() });
        }
        drop(done);
        while wait.recv().is_ok() {}
    }

    /// Takes a port away from the workers. Returns when none uses it.
    pub fn detach(&self, no: PortNo) {
        let (done, wait) = mpsc::channel();
        for mailbox in &self.mailboxes {
            mailbox.put(Command::Detach { no, done: done.clone() });
        }
        drop(done);
        while wait.recv().is_ok() {}
    }

    /// Processes a frame as if it had arrived on port `no`.
    pub fn inject(&self, no: PortNo, frame: Vec<u8>) {
        if let Some(mailbox) = self.mailboxes.first() {
            mailbox.put(Command::Inject { no, frame });
        }
    }

    /// Stops the workers and waits for them. Frames on their way are gone.
    pub fn stop(&self) {
        for mailbox in &self.mailboxes {
            mailbox.put(Command::Stop);
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                tracing::error!("a forwarding thread ended by a panic");
            }
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.stop();
    }
}

struct Input {
    port: Arc<Port>,
    rx: Box<dyn PortRx>,
    /// Its descriptor reports an error that does not go away: not waited for until it is attached again.
    mute: bool,
}

struct Output {
    port: Arc<Port>,
    tx: Box<dyn PortTx>,
    touched: bool,
    /// Frames sent since the last flush.
    tally: Tally,
}

struct Outputs {
    ports: Vec<Option<Output>>,
    touched: Vec<PortNo>,
    cpu: Option<CpuPort>,
    scratch: Vec<u8>,
}

struct Worker {
    forwarder: Box<dyn Forwarder>,
    inputs: Vec<Input>,
    outputs: Outputs,
    joiner: Joiner,
    mailbox: Arc<Mailbox>,
    options: RuntimeOptions,
    /// Since when there is traffic whose losses were not asked for yet.
    unsettled: Option<Instant>,
}

/// How often losses are asked for and captures written out under traffic.
const SETTLE: Duration = Duration::from_millis(10);

impl Worker {
    fn run(&mut self) {
        let mut wakers = None;
        let mut busy_until = Instant::now();
        let mut turns = 0u32;
        loop {
            if self.mailbox.pending.load(Ordering::Acquire) {
                if self.commands() {
                    return;
                }
                wakers = None;
            }
            let mut moved = 0;
            for input in &mut self.inputs {
                let count =
                    receive(input, &mut *self.forwarder, &mut self.joiner, &mut self.outputs, self.options.batch);
                if count > 0 {
                    self.outputs.flush();
                }
                moved += count;
            }
            turns = turns.wrapping_add(1);
            // The clock is read seldom while frames keep coming.
            if moved > 0 && self.unsettled.is_some() && self.options.spin.is_zero() && !turns.is_multiple_of(256) {
                continue;
            }
            let now = Instant::now();
            self.settle(now);
            if moved > 0 {
                busy_until = now + self.options.spin;
                self.unsettled.get_or_insert(now);
                continue;
            }
            if now < busy_until {
                std::hint::spin_loop();
                continue;
            }
            if let Err(error) = self.sleep(&mut wakers) {
                tracing::error!(%error, "waiting for frames");
                wakers = None;
                std::thread::yield_now();
            }
        }
    }

    /// What wakes the worker: inputs by their place, and the mailbox behind them.
    fn wakers(&self) -> io::Result<Wakers> {
        let mut wakers = Wakers::new(self.inputs.len() + 1)?;
        wakers.add(self.mailbox.ready.raw(), self.inputs.len() as u64)?;
        for (at, input) in self.inputs.iter().enumerate().filter(|(_, input)| !input.mute) {
            wakers.add(input.rx.fd(), at as u64)?;
        }
        Ok(wakers)
    }

    /// Blocks until a port or the mailbox is ready.
    fn sleep(&mut self, wakers: &mut Option<Wakers>) -> io::Result<()> {
        let wakers = match wakers {
            Some(wakers) => wakers,
            None => wakers.insert(self.wakers()?),
        };
        let timeout = if self.unsettled.is_some() { SETTLE.as_millis() as i32 } else { -1 };
        let mut bad = None;
        for ready in wakers.wait(timeout)? {
            let Some(input) = self.inputs.get_mut(ready.token as usize) else { continue };
            // A pending error (the interface went down) goes away by reading it; another one stays.
            if ready.fails && sys::take_error(input.rx.fd()) == 0 {
                tracing::warn!(port = input.port.no, name = input.port.name, "does not answer any more");
                input.mute = true;
                bad = Some(input.rx.fd());
            }
        }
        // Others that are bad are found by the next wait.
        if let Some(fd) = bad {
            wakers.remove(fd);
        }
        Ok(())
    }

    fn settle(&mut self, now: Instant) {
        if self.unsettled.is_some_and(|since| now.duration_since(since) >= SETTLE) {
            self.unsettled = None;
            for input in &mut self.inputs {
                let lost = input.rx.take_drops();
                if lost > 0 {
                    input.port.counters.in_discards.fetch_add(lost, Ordering::Relaxed);
                }
            }
            for output in self.outputs.ports.iter().flatten() {
                if let Some(capture) = &output.port.capture {
                    capture.flush();
                }
            }
        }
    }

    /// Carries out what waits in the mailbox; true to stop.
    fn commands(&mut self) -> bool {
        for command in self.mailbox.take() {
            match command {
                Command::Attach { port, rx, tx, done } => {
                    self.detach(port.no);
                    let at = port.no as usize;
                    if self.outputs.ports.len() <= at {
                        self.outputs.ports.resize_with(at + 1, || None);
                    }
                    self.outputs.ports[at] =
                        Some(Output { port: Arc::clone(&port), tx, touched: false, tally: Tally::default() });
                    if let Some(rx) = rx {
                        self.inputs.push(Input { port, rx, mute: false });
                    }
                    drop(done);
                }
                Command::Detach { no, done } => {
                    self.detach(no);
                    drop(done);
                }
                Command::Inject { no, mut frame } => {
                    forward(&mut *self.forwarder, &mut self.outputs, no, &mut frame, &Offload::NONE);
                    self.unsettled.get_or_insert_with(Instant::now);
                }
                Command::Stop => {
                    self.outputs.flush();
                    self.unsettled = Some(Instant::now());
                    self.settle(Instant::now() + SETTLE);
                    return true;
                }
            }
        }
        self.outputs.flush();
        false
    }

    fn detach(&mut self, no: PortNo) {
        self.outputs.flush();
        self.inputs.retain(|input| input.port.no != no);
        if let Some(output) = self.outputs.ports.get_mut(no as usize) {
            *output = None;
        }
    }
}

/// Frames taken at once; a turn is several of these.
const CHUNK: usize = 16;
/// A turn ends after this many bytes: segmentation frames that are cut must find room at the next port, whose turn it is then.
const TURN_BYTES: usize = 256 << 10;
/// What is being joined may make a turn this many times longer, so that it is not torn.
const JOIN_TURNS: usize = 8;

/// One turn of one port.
fn receive(
    input: &mut Input,
    forwarder: &mut dyn Forwarder,
    joiner: &mut Joiner,
    outputs: &mut Outputs,
    batch: usize,
) -> usize {
    let Input { port, rx, .. } = input;
    // Taken once for the turn, it costs each frame next to nothing.
    let _pin = crate::rcu::pin();
    let no = port.no;
    let joins = !forwarder.wants_finished_frames();
    let mut guarded = |outputs: &mut Outputs, frame: &mut [u8], offload: &Offload| {
        let outcome = catch_unwind(AssertUnwindSafe(|| forward(forwarder, outputs, no, frame, offload)));
        if outcome.is_err() {
            port.counters.in_errors.fetch_add(1, Ordering::Relaxed);
        }
    };
    let (mut count, mut bytes, mut tally) = (0, 0, Tally::default());
    loop {
        let taken = rx.receive(CHUNK.min(batch), &mut |frame, offload| {
            if !port.is_enabled() {
                port.counters.in_discards.fetch_add(1, Ordering::Relaxed);
                return;
            }
            bytes += frame.len();
            tally.count(frame, frame.len());
            if let Some(capture) = &port.capture {
                capture.received(frame);
            }
            if joiner.join(frame, offload) {
                return;
            }
            if let Some((whole, offload)) = joiner.take() {
                guarded(outputs, whole, &offload);
            }
            if !(joins && joiner.begin(frame, offload)) {
                guarded(outputs, frame, offload);
            }
        });
        count += taken;
        let over = count >= batch || bytes >= TURN_BYTES;
        if taken < CHUNK.min(batch) || over && !(joiner.is_open() && count < batch * JOIN_TURNS) {
            break;
        }
    }
    if let Some((whole, offload)) = joiner.take() {
        guarded(outputs, whole, &offload);
    }
    port.counters.add_received(&mut tally);
    count
}

fn forward(forwarder: &mut dyn Forwarder, outputs: &mut Outputs, no: PortNo, frame: &mut [u8], offload: &Offload) {
    if !offload.is_none()
        && forwarder.wants_finished_frames()
        && let Egress::Finish(placed, layers) = offload::plan(offload, frame.len(), frame, &[], Capabilities::NONE)
    {
        segment::finish(frame, &placed, &layers, &mut |part| {
            let mut part = part.to_vec();
            let mut sink = Emission { outputs, in_len: part.len(), offload: Offload::NONE };
            forwarder.process(no, &mut part, &mut sink);
        });
        return;
    }
    let mut sink = Emission { outputs, in_len: frame.len(), offload: *offload };
    forwarder.process(no, frame, &mut sink);
}

/// Where the frames go that come of one received frame.
struct Emission<'a> {
    outputs: &'a mut Outputs,
    in_len: usize,
    offload: Offload,
}

impl Sink for Emission<'_> {
    fn depth(&mut self, no: PortNo) -> usize {
        match self.outputs.ports.get_mut(no as usize) {
            Some(Some(output)) => output.tx.depth(),
            _ => 0,
        }
    }

    fn emit(&mut self, no: PortNo, head: &[u8], body: &[u8]) {
        let Outputs { ports, touched, cpu, scratch } = &mut *self.outputs;
        if let Some(cpu) = cpu
            && cpu.no == no
        {
            scratch.clear();
            scratch.extend_from_slice(head);
            scratch.extend_from_slice(body);
            offload::finish_behind_header(scratch, self.in_len, &self.offload, &mut |frame| (cpu.take)(frame));
            return;
        }
        let Some(Some(output)) = ports.get_mut(no as usize) else { return };
        if !output.port.is_up() {
            output.port.counters.out_discards.fetch_add(1, Ordering::Relaxed);
            return;
        }
        if !output.touched {
            output.touched = true;
            touched.push(no);
        }
        if self.offload.is_none() {
            return output.send(head, body, &Offload::NONE);
        }
        let mut can = output.tx.capabilities();
        loop {
            match offload::plan(&self.offload, self.in_len, head, body, can) {
                Egress::Send(placed) => {
                    let sent = output.tx.send(head, body, &placed);
                    if sent == Sent::Failed && placed.is_segmented() && can.segmentation {
                        // The kernel refuses it under these headers.
                        can = Capabilities { segmentation: false, segmentation_any_stack: false, ..can };
                        continue;
                    }
                    output.count(sent, head, body);
                }
                Egress::Cut(placed, layers) => {
                    segment::cut_partial(head, body, &placed, &layers, &mut |head, body, offload| {
                        output.send(head, body, offload);
                    });
                }
                Egress::Finish(placed, layers) => {
                    scratch.clear();
                    scratch.extend_from_slice(head);
                    scratch.extend_from_slice(body);
                    segment::finish(scratch, &placed, &layers, &mut |frame| output.send(frame, &[], &Offload::NONE));
                }
            }
            return;
        }
    }
}

impl Output {
    #[inline]
    fn send(&mut self, head: &[u8], body: &[u8], offload: &Offload) {
        let sent = self.tx.send(head, body, offload);
        self.count(sent, head, body);
    }

    #[inline]
    fn count(&mut self, sent: Sent, head: &[u8], body: &[u8]) {
        let counters = &self.port.counters;
        match sent {
            Sent::Yes => self.tally.count(if head.is_empty() { body } else { head }, head.len() + body.len()),
            Sent::Full => {
                counters.out_discards.fetch_add(1, Ordering::Relaxed);
            }
            Sent::Failed => {
                counters.out_errors.fetch_add(1, Ordering::Relaxed);
            }
        }
        if let Some(capture) = &self.port.capture {
            capture.sent(head, body);
        }
    }
}

impl Outputs {
    fn flush(&mut self) {
        for no in self.touched.drain(..) {
            if let Some(Some(output)) = self.ports.get_mut(no as usize) {
                output.touched = false;
                output.port.counters.add_sent(&mut output.tally);
                if let Err(error) = output.tx.flush() {
                    // The link went down with frames queued; its state event follows.
                    output.port.counters.out_errors.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(port = no, %error, "transmit");
                }
            }
        }
    }
}

#[cfg(test)]
#[path = "runtime_tests.rs"]
mod tests;
