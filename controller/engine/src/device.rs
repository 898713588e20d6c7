//! One device: its session and its reconciler joined, still without sockets and clocks.

use std::collections::VecDeque;

use p4runtime_proto::p4::v1;
use pergola_model::Mastership;
use pergola_plan::DeviceDelta;
use pergola_southbound::{Event, Input, Nanos, Output, Session};
use pergola_store::mastership::election_id;

use crate::reconcile::{Action, Reconciler, Status};
use crate::roles::DeviceRole;

/// What a device tells the engine.
#[derive(Clone, Debug)]
pub enum Notice {
    PacketIn(v1::PacketIn),
    Digest(v1::DigestList),
    IdleTimeout(v1::IdleTimeoutNotification),
    /// `connected`, `mastership` or the last error changed.
    State,
}

/// A session and a reconciler that feed one another.
#[derive(Debug)]
pub struct Device {
    session: Session,
    reconciler: Reconciler,
    notices: VecDeque<Notice>,
    mastership: Mastership,
    connected: bool,
    last_error: Option<String>,
    /// Sessions that became ready, and pipelines loaded.
    sessions: u64,
    pushes: u64,
    /// Whether another primary is worth a word.
    candidate: bool,
    suspended: bool,
    standby_id: u128,
}

impl Device {
    pub fn new(session: Session, reconciler: Reconciler) -> Device {
        Device {
            session,
            reconciler,
            notices: VecDeque::new(),
            mastership: Mastership::None,
            connected: false,
            last_error: None,
            sessions: 0,
            pushes: 0,
            candidate: true,
            suspended: false,
            standby_id: 0,
        }
    }

    /// Something happened at the network, or time has passed.
    pub fn handle(&mut self, input: Input, now: Nanos) {
        self.session.handle(input, now);
    }

    /// The plan changed.
    pub fn apply(&mut self, delta: DeviceDelta, revision: u64) {
        self.reconciler.apply(delta, revision);
    }

    /// Sends a packet; `false` when we are not the primary.
    pub fn packet_out(&mut self, packet: v1::PacketOut) -> bool {
        self.session.packet_out(packet)
    }

    /// Our part for the device has changed. `epoch` is the store's, `standby_id` what we call ourselves as a standby.
    pub fn take_role(&mut self, before: &DeviceRole, role: &DeviceRole, epoch: u64, standby_id: u128, now: Nanos) {
        match (role.since, &role.other) {
            (Some(since), _) if before.since == role.since => tracing::trace!(since, "still master"),
            (Some(since), _) => self.elect(election_id(epoch, since), now),
            (None, None) if before.since.is_some() => self.suspend(standby_id, now),
            // Who was suspended stays so until somebody else is master.
            (None, None) => {}
            (None, Some(_)) => self.stand_by(standby_id, now),
        }
    }

    /// Asks for mastership with another election id.
    pub fn elect(&mut self, election_id: u128, now: Nanos) {
        self.candidate = true;
        self.suspended = false;
        self.session.elect(election_id, now);
    }

    /// Gives mastership up: nothing is written after this. `election_id` tells standbys apart.
    pub fn stand_by(&mut self, election_id: u128, now: Nanos) {
        self.candidate = false;
        self.suspended = false;
        self.standby_id = election_id;
        self.session.stand_by(election_id, now);
        // Also before the session's own word is taken from it.
        self.reconciler.offline();
    }

    /// Writes nothing any more, but stays the primary as long as the switch says so, and so goes on with packets: the
    /// store cannot be reached, and nobody is known to be master instead. `election_id` is for when the session ends.
    pub fn suspend(&mut self, election_id: u128, now: Nanos) {
        if self.mastership != Mastership::Primary {
            return self.stand_by(election_id, now);
        }
        self.suspended = true;
        self.standby_id = election_id;
        self.reconciler.offline();
    }

    /// Ends the session for good.
    pub fn close(&mut self) {
        self.session.close();
    }

    /// What the rim shall do next; ask until there is nothing.
    pub fn poll(&mut self, now: Nanos) -> Option<Output> {
        loop {
            match self.session.poll() {
                Some(Output::Event(event)) => {
                    self.event(event, now);
                    continue;
                }
                Some(output) => return Some(output),
                None => {}
            }
            let id = match self.reconciler.poll(now)? {
                Action::Write(ops) => self.session.write(ops, now),
                Action::Read(scope) => self.session.read(vec![scope], now),
            };
            self.reconciler.started(id);
        }
    }

    /// What the engine shall know; ask until there is nothing.
    pub fn notice(&mut self) -> Option<Notice> {
        self.notices.pop_front()
    }

    /// When [`Input::Tick`] is wanted next.
    pub fn next_timeout(&self) -> Option<Nanos> {
        self.session.next_timeout().into_iter().chain(self.reconciler.next_timeout()).min()
    }

    fn event(&mut self, event: Event, now: Nanos) {
        match event {
            Event::Ready { pushed } => {
                self.sessions += 1;
                self.pushes += u64::from(pushed);
                self.reconciler.ready(now);
                self.now_is(true, Mastership::Primary, None);
            }
            Event::Standby { primary } => {
                self.reconciler.offline();
                let why = (primary != 0 && self.candidate)
                    .then(|| format!("another controller is the primary, with election id {primary}"));
                self.now_is(true, Mastership::Backup, why);
            }
            Event::Down { reason } => {
                self.reconciler.offline();
                self.now_is(false, Mastership::None, Some(reason.to_string()));
                if self.suspended {
                    self.stand_by(self.standby_id, now);
                }
            }
            Event::Written { id, result } => self.reconciler.written(id, result, now),
            Event::Entities { id, entities } => self.reconciler.entities(id, entities),
            Event::ReadDone { id, result } => self.reconciler.read_done(id, result, now),
            Event::PacketIn(packet) => self.notices.push_back(Notice::PacketIn(packet)),
            Event::Digest(digest) => self.notices.push_back(Notice::Digest(digest)),
            Event::IdleTimeout(n) => self.notices.push_back(Notice::IdleTimeout(n)),
            Event::StreamError(e) => {
                self.last_error = Some(format!("stream: {}", e.message));
                self.notices.push_back(Notice::State);
            }
        }
    }

    fn now_is(&mut self, connected: bool, mastership: Mastership, error: Option<String>) {
        let changed = (self.connected, self.mastership) != (connected, mastership) || self.last_error != error;
        self.connected = connected;
        self.mastership = mastership;
        self.last_error = error;
        if changed {
            self.notices.push_back(Notice::State);
        }
    }

    pub fn connected(&self) -> bool {
        self.connected
    }

    pub fn mastership(&self) -> Mastership {
        self.mastership
    }

    /// Why the session ended or cannot begin; or what the switch refused.
    pub fn last_error(&self) -> Option<String> {
        let refused = || self.reconciler.failures().next().map(|(key, f)| format!("{key:?}: {}", f.fault));
        self.last_error.clone().or_else(refused)
    }

    pub fn status(&self) -> Status {
        self.reconciler.status()
    }

    /// How many sessions became ready, and how many pipelines were loaded.
    pub fn sessions_and_pushes(&self) -> (u64, u64) {
        (self.sessions, self.pushes)
    }
}
