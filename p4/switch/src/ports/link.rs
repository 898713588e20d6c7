//! In-process links: a pair of queues that join two switches, or a switch and a test, in one process.
//!
//! A sender signals the receiver's event only when it was not signalled yet, so a busy receiver costs no system call.
//! Each end has an administrative state; an end is up while both are enabled and attached, like a cable.

use super::offload::{Capabilities, Offload};
use super::sys::{self, EventFd};
use super::{PortRx, PortTx, Sent};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::io;
use std::os::fd::RawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

type Queue = VecDeque<(Vec<u8>, Offload)>;
type Listener = Arc<dyn Fn(bool) + Send + Sync>;

/// Frames on their way to one end.
struct Side {
    queue: Mutex<Queue>,
    ready: EventFd,
    signalled: AtomicBool,
}

impl Side {
    fn new() -> io::Result<Self> {
        Ok(Self { queue: Mutex::default(), ready: EventFd::new()?, signalled: AtomicBool::new(false) })
    }

    fn signal(&self) {
        if !self.signalled.swap(true, Ordering::AcqRel) {
            self.ready.signal();
        }
    }

    /// Everything that waits. The event is cleared before the queue is emptied: a frame put in between is found now,
    /// and one put in later signals again.
    fn drain(&self, into: &mut Queue) {
        if self.signalled.load(Ordering::Acquire) {
            self.ready.clear();
            self.signalled.store(false, Ordering::Release);
        }
        std::mem::swap(&mut *self.queue.lock(), into);
    }
}

#[derive(Default)]
struct Carrier {
    enabled: [bool; 2],
    listeners: [Option<Listener>; 2],
}

struct Shared {
    sides: [Side; 2],
    capacity: usize,
    carrier: Mutex<Carrier>,
    up: AtomicBool,
}

/// Makes links.
pub struct Link;

impl Link {
    /// Two joined ends, each with a queue of at most `capacity` frames. Both start enabled.
    ///
    /// # Errors
    /// No file descriptors left.
    pub fn pair(capacity: usize) -> io::Result<(LinkEnd, LinkEnd)> {
        let shared = Arc::new(Shared {
            sides: [Side::new()?, Side::new()?],
            capacity: capacity.max(1),
            carrier: Mutex::new(Carrier { enabled: [true, true], ..Carrier::default() }),
            up: AtomicBool::new(true),
        });
        Ok((LinkEnd { shared: Arc::clone(&shared), side: 0 }, LinkEnd { shared, side: 1 }))
    }
}

/// One end of a link. Dropping it takes the link down.
pub struct LinkEnd {
    shared: Arc<Shared>,
    side: usize,
}

impl LinkEnd {
    /// Enables or disables this end. Both ends' listeners hear of a changed link state before this returns.
    pub fn set_enabled(&self, enabled: bool) {
        set_enabled(&self.shared, self.side, enabled);
    }

    /// Whether both ends are enabled.
    pub fn is_up(&self) -> bool {
        self.shared.up.load(Ordering::Acquire)
    }

    /// Calls `listener` on every change of the link's state.
    pub fn on_change(&self, listener: impl Fn(bool) + Send + Sync + 'static) {
        self.shared.carrier.lock().listeners[self.side] = Some(Arc::new(listener));
    }

    /// Sends one frame; false when the link is down or the queue full.
    pub fn send(&self, frame: &[u8], offload: Offload) -> bool {
        let sent = push(&self.shared, 1 - self.side, frame.to_vec(), offload);
        self.shared.sides[1 - self.side].signal();
        sent
    }

    /// Waits up to `timeout` for a frame.
    pub fn receive(&self, timeout: Duration) -> Option<(Vec<u8>, Offload)> {
        let side = &self.shared.sides[self.side];
        let until = Instant::now() + timeout;
        loop {
            if side.signalled.load(Ordering::Acquire) {
                side.ready.clear();
                side.signalled.store(false, Ordering::Release);
            }
            if let Some(found) = side.queue.lock().pop_front() {
                return Some(found);
            }
            let left = until.checked_duration_since(Instant::now())?;
            sys::poll(&mut [sys::poll_in(side.ready.raw())], left.as_millis() as i32 + 1).ok()?;
        }
    }

    /// The halves for a port, and a handle for its administrative state.
    pub(super) fn into_port(self) -> (LinkRx, LinkTx, LinkEnd) {
        let rx = LinkRx { shared: Arc::clone(&self.shared), side: self.side, batch: Queue::new() };
        (rx, self.sender(), self)
    }

    /// One more transmitting half of this end.
    pub(super) fn sender(&self) -> LinkTx {
        LinkTx { shared: Arc::clone(&self.shared), to: 1 - self.side, touched: false }
    }
}

impl Drop for LinkEnd {
    fn drop(&mut self) {
        set_enabled(&self.shared, self.side, false);
        self.shared.carrier.lock().listeners[self.side] = None;
    }
}

fn set_enabled(shared: &Shared, side: usize, enabled: bool) {
    let (up, listeners) = {
        let mut carrier = shared.carrier.lock();
        carrier.enabled[side] = enabled;
        let up = carrier.enabled == [true, true];
        if shared.up.swap(up, Ordering::AcqRel) == up {
            return;
        }
        (up, carrier.listeners.clone())
    };
    for listener in listeners.iter().flatten() {
        listener(up);
    }
}

fn push(shared: &Shared, to: usize, frame: Vec<u8>, offload: Offload) -> bool {
    if !shared.up.load(Ordering::Acquire) {
        return false;
    }
    let mut queue = shared.sides[to].queue.lock();
    if queue.len() >= shared.capacity {
        return false;
    }
    queue.push_back((frame, offload));
    true
}

pub struct LinkRx {
    shared: Arc<Shared>,
    side: usize,
    batch: Queue,
}

impl PortRx for LinkRx {
    fn fd(&self) -> RawFd {
        self.shared.sides[self.side].ready.raw()
    }

    fn receive(&mut self, budget: usize, take: &mut dyn FnMut(&mut [u8], &Offload)) -> usize {
        if self.batch.is_empty() {
            self.shared.sides[self.side].drain(&mut self.batch);
        }
        let count = budget.min(self.batch.len());
        for (mut frame, offload) in self.batch.drain(..count) {
            take(&mut frame, &offload);
        }
        count
    }
}

pub struct LinkTx {
    shared: Arc<Shared>,
    to: usize,
    touched: bool,
}

impl PortTx for LinkTx {
    fn capabilities(&self) -> Capabilities {
        Capabilities::ALL
    }

    fn send(&mut self, head: &[u8], body: &[u8], offload: &Offload) -> Sent {
        let mut frame = Vec::with_capacity(head.len() + body.len());
        frame.extend_from_slice(head);
        frame.extend_from_slice(body);
        if push(&self.shared, self.to, frame, *offload) {
            self.touched = true;
            Sent::Yes
        } else {
            Sent::Full
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        if std::mem::take(&mut self.touched) {
            self.shared.sides[self.to].signal();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_cross_and_full_queues_refuse() {
        let (a, b) = Link::pair(2).unwrap();
        assert!(a.send(b"one", Offload::NONE) && a.send(b"two", Offload::NONE));
        assert!(!a.send(b"three", Offload::NONE));
        assert_eq!(b.receive(Duration::ZERO).unwrap().0, b"one");
        assert_eq!(b.receive(Duration::ZERO).unwrap().0, b"two");
        assert_eq!(b.receive(Duration::from_millis(1)), None);
    }

    #[test]
    fn a_waiting_receiver_wakes() {
        let (a, b) = Link::pair(8).unwrap();
        let waiter = std::thread::spawn(move || b.receive(Duration::from_secs(10)).unwrap().0);
        assert!(a.send(b"wake", Offload::NONE));
        assert_eq!(waiter.join().unwrap(), b"wake");
    }

    #[test]
    fn either_end_takes_the_link_down() {
        let (a, b) = Link::pair(8).unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let log = Arc::clone(&heard);
        a.on_change(move |up| log.lock().push(up));
        b.set_enabled(false);
        b.set_enabled(false);
        assert!(!a.is_up() && !a.send(b"x", Offload::NONE));
        b.set_enabled(true);
        assert!(a.is_up());
        drop(b);
        assert_eq!(*heard.lock(), [false, true, false]);
    }
}
