//! The way to the data plane: an [`Instance`] in the terms of P4Runtime. Ids are the program's ([`Program`]).
//!
//! The server checks every request before it calls: keys have the program's fields in its order, values fit, members exist,
//! what is referenced is not deleted. The data plane therefore fails only for want of room, and where the program's mask of a
//! key leaves no difference between two entries.

use std::{sync::Arc, time::Duration};

use p4runtime_proto::p4::config::v1::P4Info;

use super::{
    failure::{Failure, Outcome},
    matching::{self, Part},
    schema::Field,
};
use crate::{
    Instance, Switch,
    control::{ActionCall, EntryAction, EntrySpec, GroupMemberSpec, OneShotGroup, OneShotMember, describe},
    program::{ActionId, MatchField, MatchKind, Program, TableId, TableInfo},
    rcu::pin,
    state::{
        counter::CounterCell,
        digest::DigestConfig,
        meter::{MeterCell, MeterConfig},
        pre::{CloneSession, Replica},
        valueset::SetMember,
    },
    switch::Hold,
    tables::{
        Entry, TableError,
        key::{KeyField, Value},
    },
};

/// How long a batch that is atomic for packets waits for those under way.
const HOLD_LIMIT: Duration = Duration::from_secs(2);

/// An entry of a table, from its insertion to its deletion.
pub type Handle = Arc<Entry>;

/// An action with its arguments: each parameter in whole bytes, most significant first, in the order of the program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallRef<'a> {
    pub action: ActionId,
    pub args: &'a [u8],
}

/// What an entry does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect<'a> {
    Call(CallRef<'a>),
    /// A member of the table's profile.
    Member(u32),
    /// A group of the table's selector.
    Group(u32),
    /// A group of the entry's own.
    OneShot(Selection<'a>),
}

/// A group of an entry's own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection<'a> {
    /// Actions, weights, watched ports.
    pub members: Vec<(CallRef<'a>, u32, Option<u32>)>,
    pub random: bool,
    pub first: Option<CallRef<'a>>,
}

/// An entry that the program itself declares.
#[derive(Clone)]
pub struct InitialEntry {
    pub handle: Handle,
    /// In the order of the key.
    pub key: Vec<KeyField>,
    pub action: ActionId,
    pub args: Vec<u8>,
}

/// One copy that the replication engine makes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replication {
    pub port: u32,
    pub instance: u32,
    /// Port and instance to use instead while the ports before are down, in order of preference.
    pub backups: Vec<(u32, u32)>,
}

impl Replication {
    /// The first of port and backups that is up.
    fn choose(&self, plane: &Plane) -> Option<Replica> {
        let first = std::iter::once((self.port, self.instance));
        // A port without backups is not watched: what is sent there is the port's matter.
        let mut all = first.chain(self.backups.iter().copied());
        let up = |(port, _): &(u32, u32)| self.backups.is_empty() || plane.is_up(*port);
        all.find(up).map(|(port, instance)| Replica { port, rid: instance as u16 })
    }
}

/// Packets and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Count {
    pub packets: u64,
    pub bytes: u64,
}

/// A cell of a meter or counter: of an array, or of a table's entry.
#[derive(Clone, Copy)]
pub enum Cell<'a> {
    /// Of the counter or meter with this id.
    Indexed(usize, usize),
    /// Of an entry.
    Entry(&'a Handle),
    /// Of a table's default entry.
    Default(TableId),
}

/// One running or staged instance of a program with all its state.
pub struct Plane {
    instance: Arc<Instance>,
    switch: Arc<Switch>,
}

fn value(bytes: &[u8]) -> Value {
    Value::from_slice(bytes)
}

fn fields(table: &TableInfo, key: &[Part<'_>]) -> Vec<KeyField> {
    let field = |(info, part): (&MatchField, &Part<'_>)| match part {
        // The program may match an optional field as a ternary one.
        Part::Optional(v) if info.kind == MatchKind::Ternary => {
            let bytes = info.bitwidth.div_ceil(8) as usize;
            let mut mask = Value::from_elem(0, bytes);
            if v.is_some() {
                matching::fill_ones(&mut mask, info.bitwidth as usize);
            }
            KeyField::Ternary { value: value(v.unwrap_or(&[0])), mask }
        }
        Part::Exact(v) => KeyField::Exact(value(v)),
        Part::Lpm(v, length) => KeyField::Lpm { value: value(v), prefix_len: *length as u32 },
        Part::Ternary(v, mask) => KeyField::Ternary { value: value(v), mask: value(mask) },
        Part::Range(low, high) => KeyField::Range { low: value(low), high: value(high) },
        Part::Optional(v) => KeyField::Optional(v.map(value)),
    };
    table.fields.iter().zip(key).map(field).collect()
}

fn failure(error: TableError) -> Failure {
    match error {
        TableError::Full(_) => Failure::exhausted(error.to_string()),
        TableError::Exists => Failure::exists(error.to_string()),
        TableError::NotFound | TableError::NoMember(_) | TableError::NoGroup(_) => {
            Failure::not_found(error.to_string())
        }
        TableError::ConstEntries | TableError::ConstDefault => Failure::denied(error.to_string()),
        other => Failure::invalid(other.to_string()),
    }
}

impl Plane {
    /// Loads a program for the switch, without running it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` with the place in the device configuration that cannot be realised.
    pub fn prepare(switch: &Arc<Switch>, info: &P4Info, device_config: &[u8]) -> Outcome<Arc<Plane>> {
        // The device configuration does not tell `const entries` from `entries` and gives both no room for more; P4Info does.
        let open = info.tables.iter().filter(|table| !table.is_const_table).map(|table| {
            let name = table.preamble.as_ref().map_or("", |preamble| preamble.name.as_str());
            (name, usize::try_from(table.size).unwrap_or(0))
        });
        let open: Vec<_> = open.collect();
        let program = Program::load_open(device_config, &open)
            .map_err(|error| Failure::invalid(format!("p4_device_config: {error}")))?;
        let instance =
            switch.prepare(program).map_err(|error| Failure::invalid(format!("p4_device_config: {error}")))?;
        Ok(Arc::new(Plane { instance, switch: switch.clone() }))
    }

    /// Packets from now on run through this plane.
    pub fn activate(&self) {
        self.switch.commit(self.instance.clone());
    }

    /// Makes packets of this plane wait, so that a batch of changes takes effect for them all at once. Nothing is held when
    /// no packet goes through this plane.
    ///
    /// # Errors
    /// `ABORTED` when packets under way do not leave in time.
    pub fn hold(&self) -> Outcome<Option<Hold<'_>>> {
        if !self.switch.instance().is_some_and(|running| Arc::ptr_eq(&running, &self.instance)) {
            return Ok(None);
        }
        match self.switch.hold(HOLD_LIMIT) {
            Some(hold) => Ok(Some(hold)),
            None => Err(Failure::aborted("packets under way did not leave in time, nothing was applied")),
        }
    }

    /// The instance, for what the server does not hide.
    pub fn instance(&self) -> &Arc<Instance> {
        &self.instance
    }

    /// The program that runs.
    pub fn program(&self) -> &Arc<Program> {
        &self.instance.program
    }

    fn key(&self, table: TableId, key: &[Part<'_>]) -> Vec<KeyField> {
        fields(&self.instance.program.tables[table], key)
    }

    fn spec(&self, table: TableId, key: &[Part<'_>], priority: i32, effect: Effect<'_>) -> EntrySpec {
        let mut spec = EntrySpec::new(self.key(table, key), priority, self.action(effect));
        if self.instance.program.tables[table].supports_timeout {
            // The server keeps the timers; this makes packets note their hits, also for entries without a timeout.
            spec.ttl_ms = u64::MAX;
        }
        spec
    }

    fn call(&self, call: CallRef<'_>) -> ActionCall {
        let mut at = 0;
        let params = self.instance.program.actions[call.action].params.iter().map(|param| {
            let end = at + param.bitwidth.div_ceil(8) as usize;
            let bytes = value(&call.args[at..end]);
            at = end;
            bytes
        });
        ActionCall { action: call.action, params: params.collect() }
    }

    fn action(&self, effect: Effect<'_>) -> EntryAction {
        match effect {
            Effect::Call(call) => EntryAction::Call(self.call(call)),
            Effect::Member(id) => EntryAction::Member(id),
            Effect::Group(id) => EntryAction::Group(id),
            Effect::OneShot(set) => {
                let one = |(call, weight, watch_port)| OneShotMember { call: self.call(call), weight, watch_port };
                EntryAction::OneShot(OneShotGroup {
                    members: set.members.into_iter().map(one).collect(),
                    random: set.random,
                    first: set.first.map(|call| self.call(call)),
                })
            }
        }
    }

    /// Entries that the program declares, present from the start.
    pub fn initial_entries(&self, table: TableId) -> Vec<InitialEntry> {
        let Ok(entries) = self.instance.table(table) else { return Vec::new() };
        let found = entries.entries();
        let pin = pin();
        let initial = found.iter().filter_map(|entry| {
            let EntryAction::Call(call) = describe(&self.instance, &*entry.bound(&pin)?) else {
                return None;
            };
            let args = call.params.concat();
            let key = entries.key_of(entry);
            Some(InitialEntry { handle: entry.clone(), key, action: call.action, args })
        });
        initial.collect()
    }

    /// The default action as the program declares it.
    pub fn initial_default(&self, table: TableId) -> Option<(ActionId, Vec<u8>)> {
        let entry = self.instance.default_entry(table).ok()??;
        match describe(&self.instance, &*entry.bound(&pin())?) {
            EntryAction::Call(call) => Some((call.action, call.params.concat())),
            _ => None,
        }
    }

    /// Adds an entry that is not there yet. `priority` is P4Runtime's: more wins.
    pub fn insert(&self, table: TableId, key: &[Part<'_>], priority: i32, effect: Effect<'_>) -> Outcome<Handle> {
        let spec = self.spec(table, key, priority, effect);
        self.instance.insert(table, &spec, self.switch.now_ms()).map_err(|error| match error {
            TableError::Exists => {
                let what =
                    "an entry has the same match key where the program's mask of the key is set, and the same priority";
                Failure::exists(format!("table \"{}\": {what}", self.instance.program.tables[table].name))
            }
            error => failure(error),
        })
    }

    /// Changes what an entry does.
    pub fn modify(&self, table: TableId, key: &[Part<'_>], priority: i32, effect: Effect<'_>) -> Outcome<()> {
        let spec = self.spec(table, key, priority, effect);
        self.instance.modify(table, &spec).map(drop).map_err(failure)
    }

    /// Removes an entry.
    pub fn delete(&self, table: TableId, key: &[Part<'_>], priority: i32) -> Outcome<()> {
        self.instance.delete(table, &self.key(table, key), priority).map(drop).map_err(failure)
    }

    /// Sets the default action; none restores the program's.
    pub fn set_default(&self, table: TableId, call: Option<CallRef<'_>>) -> Outcome<()> {
        let action = call.map(|call| EntryAction::Call(self.call(call)));
        self.instance.set_default(table, action.as_ref()).map_err(failure)
    }

    /// How long ago a packet hit the entry or, if none did, it was inserted.
    pub fn idle_for(&self, handle: &Handle) -> Duration {
        Duration::from_millis(handle.idle_ms(self.switch.now_ms()))
    }

    /// Adds a member.
    pub fn insert_member(&self, profile: usize, member: u32, call: CallRef<'_>) -> Outcome<()> {
        self.instance.insert_member(profile, member, &self.call(call)).map_err(failure)
    }

    /// Changes a member.
    pub fn modify_member(&self, profile: usize, member: u32, call: CallRef<'_>) -> Outcome<()> {
        self.instance.modify_member(profile, member, &self.call(call)).map_err(failure)
    }

    /// Removes a member.
    pub fn delete_member(&self, profile: usize, member: u32) -> Outcome<()> {
        self.instance.delete_member(profile, member).map_err(failure)
    }

    /// Adds a group.
    pub fn insert_group(&self, profile: usize, id: u32, members: &[GroupMemberSpec]) -> Outcome<()> {
        self.instance.insert_group(profile, id, 0, members).map_err(failure)
    }

    /// Changes a group.
    pub fn modify_group(&self, profile: usize, id: u32, members: &[GroupMemberSpec]) -> Outcome<()> {
        self.instance.modify_group(profile, id, 0, members).map_err(failure)
    }

    /// Removes a group.
    pub fn delete_group(&self, profile: usize, group: u32) -> Outcome<()> {
        self.instance.delete_group(profile, group).map_err(failure)
    }

    fn counter<R>(&self, cell: Cell<'_>, f: impl FnOnce(&CounterCell) -> R) -> Option<R> {
        match cell {
            Cell::Indexed(counter, index) => self.instance.counters[counter].get(index as u64).map(f),
            Cell::Entry(entry) => entry.counter.as_ref().map(f),
            Cell::Default(table) => self.instance.default_entry(table).ok()??.counter.as_ref().map(f),
        }
    }

    /// Reads a counter's cell.
    pub fn count(&self, cell: Cell<'_>) -> Count {
        let (packets, bytes) = self.counter(cell, CounterCell::read).unwrap_or_default();
        Count { packets, bytes }
    }

    /// Writes a counter's cell.
    pub fn set_count(&self, cell: Cell<'_>, count: Count) {
        self.counter(cell, |cell| cell.write(count.packets, count.bytes));
    }

    fn meter<R>(&self, cell: Cell<'_>, f: impl FnOnce(&MeterCell) -> R) -> Option<R> {
        match cell {
            Cell::Indexed(meter, index) => self.instance.meters[meter].get(index as u64).map(f),
            Cell::Entry(entry) => entry.meter.as_ref().map(f),
            Cell::Default(table) => self.instance.default_entry(table).ok()??.meter.as_ref().map(f),
        }
    }

    /// Configures a meter's cell; none marks everything green.
    pub fn set_meter(&self, cell: Cell<'_>, config: Option<MeterConfig>) {
        self.meter(cell, |cell| cell.configure(config));
    }

    /// What a meter's cell marked green, yellow and red.
    pub fn colors(&self, cell: Cell<'_>) -> [Count; 3] {
        let counts = self.meter(cell, MeterCell::counts).unwrap_or_default();
        counts.map(|(packets, bytes)| Count { packets, bytes })
    }

    /// Counts a meter's colours from 0 again.
    pub fn clear_colors(&self, cell: Cell<'_>) {
        self.meter(cell, MeterCell::clear_counts);
    }

    /// Reads a register's cell, in whole bytes.
    pub fn register(&self, register: usize, index: usize) -> Vec<u8> {
        self.instance.registers[register].read(index as u64).unwrap_or_default()
    }

    /// Writes a register's cell.
    pub fn set_register(&self, register: usize, index: usize, value: &[u8]) {
        self.instance.registers[register].write(index as u64, value);
    }

    /// Adds, replaces or (none) removes a multicast group.
    pub fn set_multicast(&self, group: u32, copies: Option<&[Replication]>) {
        let replicas = |copies: &[Replication]| copies.iter().filter_map(|c| c.choose(self)).collect();
        self.instance.pre.set_group(group as u16, copies.map(replicas));
    }

    /// Adds, replaces or (none) removes a clone session; packets are cut to `truncate` bytes unless it is 0.
    pub fn set_clone_session(&self, session: u32, copies: Option<&[Replication]>, truncate: u32) {
        let state = copies.map(|copies| CloneSession {
            replicas: copies.iter().filter_map(|copy| copy.choose(self)).collect(),
            group: None,
            truncate,
        });
        self.instance.pre.set_session(session as u16, state);
    }

    /// Replaces the members of a value set, given as packed keys.
    pub fn set_value_set(&self, set: usize, fields: &[Field], members: &[Box<[u8]>]) {
        let members = members.iter().map(|key| set_member(fields, key)).collect();
        self.instance.value_sets[set].set(members);
    }

    /// Starts or stops the sampling of a digest. Samples come one by one: batching is the server's.
    pub fn sample_digest(&self, digest: usize, on: bool) {
        let config = DigestConfig { max_timeout_ns: 0, max_list_size: 1, ack_timeout_ns: 0 };
        self.instance.digests.configure(digest, on.then_some(config));
    }

    /// Calls `waker` whenever [`Plane::samples`] has something.
    pub fn on_samples(&self, waker: impl Fn() + Send + Sync + 'static) {
        self.instance.digests.set_waker(waker);
    }

    /// Digest samples that wait: the program's index of the digest, and its members in whole bytes.
    pub fn samples(&self) -> Vec<(usize, Box<[u8]>)> {
        let lists = self.instance.digests.take(self.switch.clock.now_us() * 1_000);
        let samples = lists.into_iter().flat_map(|list| {
            let digest = list.digest;
            list.samples.into_iter().map(move |sample| (digest, sample))
        });
        samples.collect()
    }

    /// Whether a port is up.
    pub fn is_up(&self, port: u32) -> bool {
        self.switch.ports.is_up(port)
    }
}

fn set_member(fields: &[Field], key: &[u8]) -> SetMember {
    let (mut value, mut mask, mut ranges) = (Vec::new(), Vec::new(), Vec::new());
    for field in fields {
        let at = value.len();
        mask.resize(at + field.bytes, 0xff);
        match matching::part(field, key) {
            Part::Exact(v) | Part::Optional(Some(v)) => value.extend_from_slice(v),
            Part::Optional(None) => {
                value.resize(at + field.bytes, 0);
                mask[at..].fill(0);
            }
            Part::Ternary(v, m) => {
                value.extend_from_slice(v);
                mask[at..].copy_from_slice(m);
            }
            Part::Lpm(v, length) => {
                value.extend_from_slice(v);
                // The field is right-aligned in its bytes; the bits before it are zero in packets and members alike.
                let counted = field.bytes * 8 - field.width + length;
                for (byte, mask) in mask[at..].iter_mut().enumerate() {
                    let bits = counted.saturating_sub(byte * 8).min(8);
                    *mask = (0xff00u16 >> bits) as u8;
                }
            }
            Part::Range(low, high) => {
                value.resize(at + field.bytes, 0);
                mask[at..].fill(0);
                ranges.push((at, Box::from(low), Box::from(high)));
            }
        }
    }
    SetMember { value: value.into(), mask: mask.into(), ranges }
}

/// The ports around the switch.
pub trait Host: Send + Sync {
    /// Whether the port exists.
    fn has_port(&self, port: u32) -> bool;
    /// Puts a frame into the pipeline as if it came from the CPU port.
    fn packet_out(&self, frame: Vec<u8>);
}
