//! One session to one switch, as a machine without sockets and clocks.
//!
//! ```text
//!            back-off            channel open        primary            same, or pushed
//!   Waiting ─────────► Connecting ─────────► Standby ───────► Checking ─────────────────► Ready
//!      ▲                                        ▲  another primary │ differs ▲ pushed       │
//!      │                                        └──────────────────┤         │              │
//!      └──────── stream ended, deadline passed, call failed ───────┴─► Pushing ◄────────────┘ pipeline gone
//! ```

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use p4runtime_proto::p4::v1;
use tonic::Code;
use v1::stream_message_response::Update;

use crate::{Backoff, Fault, ReadScope, WriteOp};

/// Nanoseconds since a point of the caller's choice; never goes back.
pub type Nanos = u64;

/// Settings of a session.
#[derive(Clone, Debug)]
pub struct SessionConfig {
    pub device_id: u64,
    /// Greater ids win; must not be 0.
    pub election_id: u128,
    /// Whether to be the primary at all. Else the session stays a backup, even where the switch would make it the
    /// primary.
    pub candidate: bool,
    /// Of the pipeline the switch shall run.
    pub cookie: u64,
    /// The channel must be open after this.
    pub connect_deadline: Duration,
    /// Arbitration, checks, writes and each part of a read must be answered after this.
    pub answer_deadline: Duration,
    /// Loading a pipeline must be done after this.
    pub pipeline_deadline: Duration,
    /// How often an idle switch is asked whether it still runs the pipeline: finds one that hangs or restarted empty.
    pub probe_interval: Duration,
    pub backoff_first: Duration,
    pub backoff_longest: Duration,
    /// For the jitter of the back-off.
    pub seed: u64,
}

impl SessionConfig {
    pub fn new(device_id: u64, election_id: u128, cookie: u64) -> SessionConfig {
        SessionConfig {
            device_id,
            election_id,
            candidate: true,
            cookie,
            connect_deadline: Duration::from_secs(5),
            answer_deadline: Duration::from_secs(10),
            pipeline_deadline: Duration::from_secs(60),
            probe_interval: Duration::from_secs(2),
            backoff_first: Duration::from_millis(50),
            backoff_longest: Duration::from_secs(5),
            seed: device_id,
        }
    }
}

/// What a switch said of its pipeline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PipelineSeen {
    /// Ours, by its cookie or its content.
    Ours,
    /// Another cookie; the content is not known yet.
    OtherCookie,
    Different,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input {
    /// Time has passed.
    Tick,
    /// The channel is open, messages can be sent.
    Connected,
    /// It could not be opened.
    ConnectFailed(Fault),
    Stream(Box<v1::StreamMessageResponse>),
    /// The stream is over; the session is.
    StreamEnded(Fault),
    Pipeline(Result<PipelineSeen, Fault>),
    PipelineSet(Result<(), Fault>),
    /// A write was answered: for each update in order what became of it, or one fault for all.
    Written {
        id: u64,
        result: Result<Vec<Result<(), Fault>>, Fault>,
    },
    /// A part of the answer to a read.
    ReadPart {
        id: u64,
        entities: Vec<pergola_pipeline::Entity>,
    },
    ReadDone {
        id: u64,
        result: Result<(), Fault>,
    },
}

/// What is to be done, or told.
#[derive(Clone, Debug)]
pub enum Output {
    Connect,
    /// Drop the channel and forget all calls under way.
    Disconnect,
    Send(Box<v1::StreamMessageRequest>),
    /// Ask for the cookie only, or for everything.
    GetPipeline {
        all: bool,
    },
    /// Load the pipeline; `reconcile` keeps the entries that still fit.
    SetPipeline {
        reconcile: bool,
    },
    Write {
        id: u64,
        ops: Vec<WriteOp>,
        election_id: u128,
    },
    Read {
        id: u64,
        scopes: Vec<ReadScope>,
    },
    Event(Event),
}

/// What the owner of a session is told.
#[derive(Clone, Debug)]
pub enum Event {
    /// We are the primary and the switch runs our pipeline. What it holds is not known: `pushed` says that the pipeline
    /// was loaded just now.
    Ready {
        pushed: bool,
    },
    /// Connected, but another controller is the primary. Writes are not possible.
    Standby {
        primary: u128,
    },
    /// No session; what is under way is void.
    Down {
        reason: Fault,
    },
    Written {
        id: u64,
        result: Result<Vec<Result<(), Fault>>, Fault>,
    },
    Entities {
        id: u64,
        entities: Vec<pergola_pipeline::Entity>,
    },
    ReadDone {
        id: u64,
        result: Result<(), Fault>,
    },
    PacketIn(v1::PacketIn),
    Digest(v1::DigestList),
    IdleTimeout(v1::IdleTimeoutNotification),
    /// The switch complains about something sent on the stream.
    StreamError(v1::StreamError),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Until a time; then connect.
    Waiting(Nanos),
    Connecting(Nanos),
    /// Connected. The time is the deadline of the first arbitration answer.
    Arbitrating(Nanos),
    Standby,
    Checking(Nanos),
    Pushing {
        until: Nanos,
        reconcile: bool,
    },
    Ready,
    Closed,
}

/// One session.
#[derive(Debug)]
pub struct Session {
    config: SessionConfig,
    state: State,
    backoff: Backoff,
    /// A probe under way in `Ready` or `Standby`, with its deadline; else when the next is due.
    probe: Probe,
    /// Writes and reads under way, with their deadlines.
    calls: BTreeMap<u64, Nanos>,
    next_call: u64,
    out: VecDeque<Output>,
}

#[derive(Clone, Copy, Debug)]
enum Probe {
    Due(Nanos),
    Asked(Nanos),
}

fn later(now: Nanos, by: Duration) -> Nanos {
    now.saturating_add(u64::try_from(by.as_nanos()).unwrap_or(u64::MAX))
}

fn u128_of(id: &v1::Uint128) -> u128 {
    (u128::from(id.high) << 64) | u128::from(id.low)
}

/// An election id as the protocol carries it.
pub(crate) fn uint128(id: u128) -> v1::Uint128 {
    v1::Uint128 { high: (id >> 64) as u64, low: id as u64 }
}

impl Session {
    /// A session that connects at once.
    pub fn new(config: SessionConfig) -> Session {
        let backoff = Backoff::new(config.backoff_first, config.backoff_longest, config.seed);
        Session {
            config,
            state: State::Waiting(0),
            backoff,
            probe: Probe::Due(0),
            calls: BTreeMap::new(),
            next_call: 1,
            out: VecDeque::new(),
        }
    }

    /// What is to be done next; ask until there is nothing.
    pub fn poll(&mut self) -> Option<Output> {
        self.out.pop_front()
    }

    /// When [`Input::Tick`] is wanted next.
    pub fn next_timeout(&self) -> Option<Nanos> {
        let state = match self.state {
            State::Waiting(t) | State::Connecting(t) | State::Arbitrating(t) | State::Checking(t) => Some(t),
            State::Pushing { until, .. } => Some(until),
            State::Standby | State::Ready => Some(match self.probe {
                Probe::Due(t) | Probe::Asked(t) => t,
            }),
            State::Closed => None,
        };
        state.into_iter().chain(self.calls.values().copied()).min()
    }

    /// Writes and reads are possible.
    pub fn is_ready(&self) -> bool {
        self.state == State::Ready
    }

    /// The channel is open and the switch answered the arbitration.
    pub fn is_connected(&self) -> bool {
        matches!(self.state, State::Standby | State::Checking(_) | State::Pushing { .. } | State::Ready)
    }

    /// Begins a write and returns its number. Only when ready; else the answer is a fault at once.
    pub fn write(&mut self, ops: Vec<WriteOp>, now: Nanos) -> u64 {
        let id = self.call(now);
        if self.is_ready() {
            self.out.push_back(Output::Write { id, ops, election_id: self.config.election_id });
        } else {
            self.calls.remove(&id);
            let result = Err(Fault::new(Code::Unavailable, "there is no session"));
            self.out.push_back(Output::Event(Event::Written { id, result }));
        }
        id
    }

    /// Begins a read and returns its number. As `write`.
    pub fn read(&mut self, scopes: Vec<ReadScope>, now: Nanos) -> u64 {
        let id = self.call(now);
        if self.is_ready() {
            self.out.push_back(Output::Read { id, scopes });
        } else {
            self.calls.remove(&id);
            let result = Err(Fault::new(Code::Unavailable, "there is no session"));
            self.out.push_back(Output::Event(Event::ReadDone { id, result }));
        }
        id
    }

    fn call(&mut self, now: Nanos) -> u64 {
        let id = self.next_call;
        self.next_call += 1;
        self.calls.insert(id, later(now, self.config.answer_deadline));
        id
    }

    /// Sends a packet; dropped and `false` when we are not the primary.
    pub fn packet_out(&mut self, packet: v1::PacketOut) -> bool {
        if !self.is_ready() {
            return false;
        }
        self.send(v1::stream_message_request::Update::Packet(packet));
        true
    }

    /// Asks for mastership with another election id.
    pub fn elect(&mut self, election_id: u128, now: Nanos) {
        self.stand(election_id, true, now);
    }

    /// Gives mastership up, at once: nothing is written after this, whatever the switch says. The election id should be
    /// less than that of any candidate.
    pub fn stand_by(&mut self, election_id: u128, now: Nanos) {
        self.stand(election_id, false, now);
    }

    fn stand(&mut self, election_id: u128, candidate: bool, now: Nanos) {
        if (self.config.election_id, self.config.candidate) == (election_id, candidate) {
            return;
        }
        self.config.election_id = election_id;
        self.config.candidate = candidate;
        if self.is_connected() {
            // Until the switch has answered we are nothing; what is under way may have been refused or not.
            self.step_down(0, now);
            self.arbitrate();
        } else if matches!(self.state, State::Arbitrating(_)) {
            self.arbitrate();
        }
    }

    fn step_down(&mut self, primary: u128, now: Nanos) {
        self.calls.clear();
        if self.state != State::Standby {
            self.probe = Probe::Due(later(now, self.config.probe_interval));
        }
        self.state = State::Standby;
        self.out.push_back(Output::Event(Event::Standby { primary }));
    }

    /// Ends the session for good.
    pub fn close(&mut self) {
        if self.state != State::Closed {
            self.state = State::Closed;
            self.calls.clear();
            self.out.push_back(Output::Disconnect);
        }
    }

    fn send(&mut self, update: v1::stream_message_request::Update) {
        self.out.push_back(Output::Send(Box::new(v1::StreamMessageRequest { update: Some(update) })));
    }

    fn arbitrate(&mut self) {
        let update = v1::MasterArbitrationUpdate {
            device_id: self.config.device_id,
            election_id: Some(uint128(self.config.election_id)),
            ..Default::default()
        };
        self.send(v1::stream_message_request::Update::Arbitration(update));
    }

    /// Takes in what happened.
    pub fn handle(&mut self, input: Input, now: Nanos) {
        if self.state == State::Closed {
            return;
        }
        match input {
            Input::Tick => self.tick(now),
            Input::Connected => {
                if let State::Connecting(_) = self.state {
                    self.state = State::Arbitrating(later(now, self.config.answer_deadline));
                    self.arbitrate();
                }
            }
            Input::ConnectFailed(fault) | Input::StreamEnded(fault) => self.down(fault, now),
            Input::Stream(message) => self.stream(*message, now),
            Input::Pipeline(seen) => self.pipeline(seen, now),
            Input::PipelineSet(result) => self.pipeline_set(result, now),
            Input::Written { id, result } => {
                if self.calls.remove(&id).is_some() {
                    // A write refused for its election id says that another is the primary; the stream will say who.
                    self.out.push_back(Output::Event(Event::Written { id, result }));
                }
            }
            Input::ReadPart { id, entities } => {
                if let Some(deadline) = self.calls.get_mut(&id) {
                    *deadline = later(now, self.config.answer_deadline);
                    self.out.push_back(Output::Event(Event::Entities { id, entities }));
                }
            }
            Input::ReadDone { id, result } => {
                if self.calls.remove(&id).is_some() {
                    self.out.push_back(Output::Event(Event::ReadDone { id, result }));
                }
            }
        }
    }

    fn tick(&mut self, now: Nanos) {
        let hung = |what: &str| Fault::new(Code::DeadlineExceeded, format!("the switch did not answer: {what}"));
        match self.state {
            State::Waiting(at) if at <= now => {
                self.state = State::Connecting(later(now, self.config.connect_deadline));
                self.out.push_back(Output::Connect);
            }
            State::Connecting(at) if at <= now => self.down(hung("connect"), now),
            State::Arbitrating(at) if at <= now => self.down(hung("arbitration"), now),
            State::Checking(at) if at <= now => self.down(hung("get pipeline"), now),
            State::Pushing { until, .. } if until <= now => self.down(hung("set pipeline"), now),
            State::Standby | State::Ready => match self.probe {
                Probe::Due(at) if at <= now => {
                    self.probe = Probe::Asked(later(now, self.config.answer_deadline));
                    self.out.push_back(Output::GetPipeline { all: false });
                }
                Probe::Asked(at) if at <= now => self.down(hung("probe"), now),
                _ => {}
            },
            _ => {}
        }
        if self.calls.values().any(|deadline| *deadline <= now) {
            self.down(hung("write or read"), now);
        }
    }

    fn down(&mut self, reason: Fault, now: Nanos) {
        if matches!(self.state, State::Waiting(_)) {
            return;
        }
        self.calls.clear();
        self.out.push_back(Output::Disconnect);
        self.out.push_back(Output::Event(Event::Down { reason }));
        self.state = State::Waiting(later(now, self.backoff.wait()));
    }

    fn stream(&mut self, message: v1::StreamMessageResponse, now: Nanos) {
        match message.update {
            Some(Update::Arbitration(update)) => self.arbitrated(update, now),
            Some(Update::Packet(packet)) => self.out.push_back(Output::Event(Event::PacketIn(packet))),
            Some(Update::Digest(digest)) => {
                let ack = v1::DigestListAck { digest_id: digest.digest_id, list_id: digest.list_id };
                if self.is_ready() {
                    self.send(v1::stream_message_request::Update::DigestAck(ack));
                }
                self.out.push_back(Output::Event(Event::Digest(digest)));
            }
            Some(Update::IdleTimeoutNotification(n)) => {
                self.out.push_back(Output::Event(Event::IdleTimeout(n)));
            }
            Some(Update::Error(error)) => self.out.push_back(Output::Event(Event::StreamError(error))),
            Some(Update::Other(_)) | None => {}
        }
    }

    /// P4Runtime 1.4 §5.4: status OK says that the receiver is the primary, the election id is the primary's.
    fn arbitrated(&mut self, update: v1::MasterArbitrationUpdate, now: Nanos) {
        if update.device_id != self.config.device_id {
            let text = format!(
                "the switch at this address answers for device {}, not for {}",
                update.device_id, self.config.device_id
            );
            return self.down(Fault::new(Code::FailedPrecondition, text), now);
        }
        let primary = update.election_id.as_ref().map_or(0, u128_of);
        let ok = update.status.as_ref().is_none_or(|s| s.code == Code::Ok as i32);
        if ok && primary == self.config.election_id && self.config.candidate {
            if !matches!(self.state, State::Ready | State::Checking(_) | State::Pushing { .. }) {
                self.check(now);
            }
            return;
        }
        self.backoff.reset();
        self.step_down(primary, now);
    }

    fn check(&mut self, now: Nanos) {
        self.state = State::Checking(later(now, self.config.answer_deadline));
        self.out.push_back(Output::GetPipeline { all: false });
    }

    fn push(&mut self, reconcile: bool, now: Nanos) {
        self.calls.clear();
        self.state = State::Pushing { until: later(now, self.config.pipeline_deadline), reconcile };
        self.out.push_back(Output::SetPipeline { reconcile });
    }

    fn ready(&mut self, pushed: bool, now: Nanos) {
        self.backoff.reset();
        self.state = State::Ready;
        self.probe = Probe::Due(later(now, self.config.probe_interval));
        self.out.push_back(Output::Event(Event::Ready { pushed }));
    }

    fn pipeline(&mut self, seen: Result<PipelineSeen, Fault>, now: Nanos) {
        // A switch that was never given a pipeline answers FAILED_PRECONDITION (P4Runtime 1.4 §8.2).
        let none = |f: &Fault| matches!(f.code, Code::FailedPrecondition | Code::NotFound);
        match (self.state, seen) {
            (State::Checking(_), Ok(PipelineSeen::Ours)) => self.ready(false, now),
            (State::Checking(_), Ok(PipelineSeen::OtherCookie)) => {
                self.state = State::Checking(later(now, self.config.answer_deadline));
                self.out.push_back(Output::GetPipeline { all: true });
            }
            (State::Checking(_), Ok(PipelineSeen::Different)) => self.push(true, now),
            // There is nothing to keep; BMv2 ends with a segmentation fault when asked to.
            (State::Checking(_), Err(f)) if none(&f) => self.push(false, now),
            (State::Checking(_), Err(f)) => self.down(f, now),
            (State::Standby | State::Ready, Err(f)) if !none(&f) => self.down(f, now),
            (State::Ready, Ok(PipelineSeen::Different | PipelineSeen::OtherCookie) | Err(_)) => {
                // It restarted without the stream noticing, or somebody gave it another program.
                let reason = Fault::new(Code::DataLoss, "the switch does not run its pipeline any more");
                self.out.push_back(Output::Event(Event::Down { reason }));
                self.calls.clear();
                self.check(now);
            }
            (State::Standby | State::Ready, _) => {
                self.probe = Probe::Due(later(now, self.config.probe_interval));
            }
            _ => {}
        }
    }

    fn pipeline_set(&mut self, result: Result<(), Fault>, now: Nanos) {
        let State::Pushing { reconcile, .. } = self.state else { return };
        match result {
            Ok(()) => self.ready(true, now),
            // BMv2 and others know only the plain way.
            Err(_) if reconcile => self.push(false, now),
            Err(fault) => self.down(fault, now),
        }
    }
}
