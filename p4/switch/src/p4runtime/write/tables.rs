//! Table entries and the default entry (P4Runtime 9.1).

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use p4runtime_proto::p4::v1::{self, action_profile_action_set::ActionSelectionMode, table_action, update::Type};
use smallvec::SmallVec;

use super::profiles::{one_shot_size, plane_weight};
use crate::p4runtime::{
    batch::{Plain, PlainAction},
    failure::{Failure, Outcome},
    idle::Timer,
    matching::{self, Given, Part},
    pipeline::{Entry, Extra, Pipeline},
    plane::{Cell, Count, Effect, Selection},
    schema::Table,
    values::{self, Call, OneShotAction, Use, Value},
};

/// An entry that an update names or describes.
pub(super) struct Wanted<'m> {
    table_id: u32,
    key: Key<'m>,
    action: Option<Action<'m>>,
    priority: i32,
    /// The message, when it may say more.
    message: Option<&'m v1::TableEntry>,
}

/// The match fields of an entry.
#[derive(Clone, Copy)]
enum Key<'m> {
    Message(&'m [v1::FieldMatch]),
    Plain(&'m [(u32, Given<'m>)]),
}

/// What an entry is to do.
#[derive(Clone, Copy)]
enum Action<'m> {
    Message(&'m table_action::Type),
    Plain(PlainAction<'m>),
}

impl<'m> Wanted<'m> {
    pub(super) fn of(entry: &'m v1::TableEntry) -> Self {
        let action = entry.action.as_ref().and_then(|action| action.r#type.as_ref());
        Wanted {
            table_id: entry.table_id,
            key: Key::Message(&entry.r#match),
            action: action.map(Action::Message),
            priority: entry.priority,
            message: Some(entry),
        }
    }

    pub(super) fn plain(plain: &Plain<'m>) -> Self {
        Wanted {
            table_id: plain.table_id,
            key: Key::Plain(plain.key),
            action: plain.action.map(Action::Plain),
            priority: plain.priority,
            message: None,
        }
    }
}

/// What an update says about an entry beside its key and action.
#[derive(Default)]
struct Side {
    extra: Extra,
    counter: Option<Count>,
    /// Whether the direct meter's colours are counted from 0 again.
    clear_colors: bool,
}

fn side(table: &Table, entry: Option<&v1::TableEntry>) -> Outcome<Side> {
    let Some(entry) = entry else { return Ok(Side::default()) };
    if entry.time_since_last_hit.is_some() {
        return Err(Failure::invalid("time_since_last_hit must not be set in a write"));
    }
    if entry.idle_timeout_ns != 0 && !table.idle_timeout {
        return Err(Failure::invalid(format!(
            "idle_timeout_ns: table \"{}\" does not support idle timeouts",
            table.name
        )));
    }
    if entry.idle_timeout_ns < 0 {
        return Err(Failure::invalid(format!("idle_timeout_ns {} is negative", entry.idle_timeout_ns)));
    }
    let counter = match &entry.counter_data {
        Some(_) if table.counter.is_none() => {
            return Err(Failure::invalid(format!("counter_data: table \"{}\" has no direct counter", table.name)));
        }
        Some(data) => Some(values::count(data)?),
        None => None,
    };
    let meter = match (&entry.meter_config, table.meter) {
        (Some(_), None) => {
            return Err(Failure::invalid(format!("meter_config: table \"{}\" has no direct meter", table.name)));
        }
        (Some(config), Some(meter)) => values::rates(config, meter.kind)?.map(|_| *config),
        (None, _) => None,
    };
    if entry.meter_counter_data.is_some() && table.meter.is_none() {
        return Err(Failure::invalid(format!("meter_counter_data: table \"{}\" has no direct meter", table.name)));
    }
    let clear_colors = values::clears_colors(entry.meter_counter_data.as_ref())?;
    #[allow(deprecated)]
    let controller_metadata = entry.controller_metadata;
    Ok(Side {
        extra: Extra {
            // A copy: the bytes of the message would keep the whole request in memory.
            metadata: bytes::Bytes::copy_from_slice(&entry.metadata),
            controller_metadata,
            idle_timeout_ns: entry.idle_timeout_ns,
            timer: 0,
            meter,
        },
        counter,
        clear_colors,
    })
}

/// Checks and packs the key of an entry that is to be written.
fn pack_key(table: &Table, entry: &Wanted<'_>, out: &mut Vec<u8>) -> Outcome<()> {
    match entry.key {
        Key::Message(key) => matching::pack(&table.fields, table.key_bytes, matching::given(key), out),
        Key::Plain(key) => matching::pack(&table.fields, table.key_bytes, key.iter().copied(), out),
    }
    .map_err(|failure| failure.within(format_args!("table \"{}\"", table.name)))?;
    let wrong = if table.needs_priority {
        (entry.priority <= 0).then_some("must be greater than 0: the key has ternary, range or optional fields")
    } else {
        (entry.priority != 0).then_some("must be 0: the key has no ternary, range or optional field")
    };
    match wrong {
        Some(rule) => Err(Failure::invalid(format!("table \"{}\": priority {} {rule}", table.name, entry.priority))),
        None => Ok(()),
    }
}

impl Pipeline {
    pub(super) fn write_table(&mut self, kind: Type, entry: &Wanted<'_>, now: Instant) -> Outcome<()> {
        let at = self.schema.table(entry.table_id)?;
        if let Some(message) = entry.message {
            if message.is_const {
                return Err(Failure::invalid("is_const must be false in a write"));
            }
            if message.is_default_action {
                return self.write_default(at, kind, message);
            }
        }
        match kind {
            Type::Insert => self.insert_entry(at, entry, now),
            Type::Modify => self.modify_entry(at, entry, now),
            _ => self.delete_entry(at, entry),
        }
    }

    fn insert_entry(&mut self, at: usize, entry: &Wanted<'_>, now: Instant) -> Outcome<()> {
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        if table.is_const {
            return Err(Failure::denied(format!("table \"{}\" is constant", table.name)));
        }
        if table.fields.is_empty() {
            return Err(Failure::invalid(format!("table \"{}\" has no key: it has a default entry only", table.name)));
        }
        let mut key = std::mem::take(&mut self.scratch);
        let result = self.insert_packed(at, table, entry, &mut key, now);
        self.scratch = key;
        result
    }

    fn insert_packed(
        &mut self,
        at: usize,
        table: &Table,
        entry: &Wanted<'_>,
        key: &mut Vec<u8>,
        now: Instant,
    ) -> Outcome<()> {
        pack_key(table, entry, key)?;
        let mut side = side(table, entry.message)?;
        let action = entry.action.ok_or_else(|| Failure::invalid("action must be set in an INSERT"))?;
        let Some(vacancy) = self.tables[at].vacancy(key, entry.priority) else {
            return Err(Failure::exists(format!(
                "table \"{}\" has an entry with this match key and priority",
                table.name
            )));
        };
        if self.tables[at].len() >= table.size {
            return Err(Failure::exhausted(format!(
                "table \"{}\" is full: it holds {} entries",
                table.name, table.size
            )));
        }
        let value = self.take_value(table, action, None)?;
        let effect = effect(table, &value);
        let handle = self.plane.insert(table.program, &parts(table, key), entry.priority, effect)?;
        self.hold_references(table, &value);
        if let Some(count) = side.counter {
            self.plane.set_count(Cell::Entry(&handle), count);
        }
        if let (Some(config), Some(meter)) = (&side.extra.meter, table.meter) {
            self.plane.set_meter(Cell::Entry(&handle), values::rates(config, meter.kind)?);
        }
        self.start_timer(at, key, entry.priority, &mut side.extra, now, now);
        let extra = (side.extra != Extra::default()).then(|| Box::new(side.extra));
        let (key, priority) = (key.as_slice().into(), entry.priority);
        self.tables[at].add(vacancy, Arc::new(Entry { key, priority, is_const: false, handle, value, extra }));
        Ok(())
    }

    /// Queues the timer of an entry that has one; idle time before `since` does not count.
    fn start_timer(
        &mut self,
        table: usize,
        key: &[u8],
        priority: i32,
        extra: &mut Extra,
        since: Instant,
        now: Instant,
    ) {
        if extra.idle_timeout_ns <= 0 {
            return;
        }
        extra.timer = self.idle.stamp();
        let due = now.max(since + Duration::from_nanos(extra.idle_timeout_ns.unsigned_abs()));
        self.idle.push(Timer { due, since, table, priority, key: key.into(), stamp: extra.timer });
    }

    /// Finds the entry that an update names.
    pub(super) fn named_entry(&mut self, at: usize, entry: &Wanted<'_>) -> Outcome<Arc<Entry>> {
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        let mut key = std::mem::take(&mut self.scratch);
        let found = pack_key(table, entry, &mut key).and_then(|()| {
            self.tables[at].find(&key, entry.priority).cloned().ok_or_else(|| {
                Failure::not_found(format!("table \"{}\" has no entry with this match key and priority", table.name))
            })
        });
        self.scratch = key;
        found
    }

    fn modify_entry(&mut self, at: usize, entry: &Wanted<'_>, now: Instant) -> Outcome<()> {
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        let action = entry.action;
        if table.is_const && action.is_some() {
            return Err(Failure::denied(format!("table \"{}\" is constant", table.name)));
        }
        let old = self.named_entry(at, entry)?;
        if old.is_const && action.is_some() {
            return Err(Failure::denied(format!("this entry of table \"{}\" is constant", table.name)));
        }
        let mut side = side(table, entry.message)?;
        let value = match action {
            Some(action) => {
                let value = self.take_value(table, action, Some(&old.value))?;
                let effect = effect(table, &value);
                self.plane.modify(table.program, &parts(table, &old.key), old.priority, effect)?;
                self.hold_references(table, &value);
                self.release_references(table, &old.value);
                value
            }
            None => old.value.clone(),
        };
        let cell = Cell::Entry(&old.handle);
        if let Some(count) = side.counter {
            self.plane.set_count(cell, count);
        }
        if let Some(meter) = table.meter
            && old.extra.as_deref().and_then(|extra| extra.meter.as_ref()) != side.extra.meter.as_ref()
        {
            let rates = side.extra.meter.as_ref().map(|config| values::rates(config, meter.kind));
            self.plane.set_meter(cell, rates.transpose()?.flatten());
        }
        if side.clear_colors {
            self.plane.clear_colors(cell);
        }
        let running = old.extra.as_deref().map_or((0, 0), |extra| (extra.idle_timeout_ns, extra.timer));
        if running.0 == side.extra.idle_timeout_ns {
            side.extra.timer = running.1;
        } else {
            // The new time counts from the last hit, which a modification is not.
            let since = now.checked_sub(self.plane.idle_for(&old.handle)).unwrap_or(now);
            self.start_timer(at, &old.key, old.priority, &mut side.extra, since, now);
        }
        let extra = if old.is_const {
            // Only the direct resources of a constant entry can change.
            let kept = Extra { meter: side.extra.meter, ..old.extra() };
            (kept != Extra::default()).then(|| Box::new(kept))
        } else {
            (side.extra != Extra::default()).then(|| Box::new(side.extra))
        };
        self.tables[at].replace(Arc::new(Entry {
            key: old.key.clone(),
            priority: old.priority,
            is_const: old.is_const,
            handle: old.handle.clone(),
            value,
            extra,
        }));
        Ok(())
    }

    fn delete_entry(&mut self, at: usize, entry: &Wanted<'_>) -> Outcome<()> {
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        if table.is_const {
            return Err(Failure::denied(format!("table \"{}\" is constant", table.name)));
        }
        let old = self.named_entry(at, entry)?;
        if old.is_const {
            return Err(Failure::denied(format!("this entry of table \"{}\" is constant", table.name)));
        }
        self.plane.delete(table.program, &parts(table, &old.key), old.priority)?;
        self.tables[at].remove(&old.key, old.priority);
        self.release_references(table, &old.value);
        Ok(())
    }

    fn write_default(&mut self, at: usize, kind: Type, entry: &v1::TableEntry) -> Outcome<()> {
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        let fail = |what: &str| Failure::invalid(format!("default entry of table \"{}\": {what}", table.name));
        if kind != Type::Modify {
            return Err(fail("it always exists and can only be modified"));
        }
        if !entry.r#match.is_empty() {
            return Err(fail("match must be empty"));
        }
        if entry.priority != 0 {
            return Err(fail("priority must be 0"));
        }
        if entry.idle_timeout_ns != 0 || entry.time_since_last_hit.is_some() {
            return Err(fail("it has no idle timeout"));
        }
        if table.const_default {
            return Err(Failure::denied(format!("the default action of table \"{}\" is constant", table.name)));
        }
        let side = side(table, Some(entry))?;
        let action = entry.action.as_ref().and_then(|action| action.r#type.as_ref());
        let call = match action {
            None => None,
            Some(_) if table.profile.is_some() => {
                return Err(Failure::denied(format!(
                    "the default action of table \"{}\" is constant: the table has an action profile",
                    table.name
                )));
            }
            Some(table_action::Type::Action(action)) => Some(Call::pack(table, action, Use::Default)?),
            Some(_) => return Err(fail("the table has no action profile, an action is wanted")),
        };
        self.plane.set_default(table.program, call.as_ref().map(|call| call.as_ref(table)))?;
        let cell = Cell::Default(table.program);
        let count = match (side.counter, action) {
            (None, None) if table.counter.is_some() => Some(Count::default()),
            (count, _) => count,
        };
        if let Some(count) = count {
            self.plane.set_count(cell, count);
        }
        if let Some(meter) = table.meter {
            let rates = side.extra.meter.as_ref().map(|config| values::rates(config, meter.kind));
            self.plane.set_meter(cell, rates.transpose()?.flatten());
        }
        if side.clear_colors || action.is_none() {
            self.plane.clear_colors(cell);
        }
        let default = &mut self.tables[at].default;
        default.extra = if call.is_some() { side.extra } else { Extra { meter: side.extra.meter, ..Extra::default() } };
        default.call = call;
        Ok(())
    }

    /// Checks an action against the table's implementation. `old` is what it replaces.
    fn take_value(&self, table: &Table, action: Action<'_>, old: Option<&Value>) -> Outcome<Value> {
        let wrong = |wanted: &str| Failure::invalid(format!("action: table \"{}\" wants {wanted}", table.name));
        let Some(profile) = table.profile else {
            return match action {
                Action::Message(table_action::Type::Action(action)) => {
                    Ok(Value::Call(Call::pack(table, action, Use::Entry)?))
                }
                Action::Plain(PlainAction { id, params }) => {
                    Ok(Value::Call(Call::pack_params(table, id, params.iter().copied(), Use::Entry)?))
                }
                Action::Message(_) => Err(wrong("an action: it has no action profile")),
            };
        };
        let selector = self.schema.profiles[profile].selector;
        let wants_profile = wrong("a member, a group or a one-shot set of its action profile");
        let Action::Message(action) = action else { return Err(wants_profile) };
        match action {
            table_action::Type::Action(_) => Err(wants_profile),
            table_action::Type::ActionProfileMemberId(id) => {
                self.no_one_shots(profile)?;
                if self.profiles[profile].members.contains_key(id) {
                    return Ok(Value::Member(*id));
                }
                Err(Failure::not_found(format!(
                    "action: action profile \"{}\" has no member {id}",
                    self.schema.profiles[profile].name
                )))
            }
            table_action::Type::ActionProfileGroupId(_) if !selector => {
                Err(wrong("a member: its action profile has no selector"))
            }
            table_action::Type::ActionProfileGroupId(id) => {
                self.no_one_shots(profile)?;
                if self.profiles[profile].groups.contains_key(id) {
                    return Ok(Value::Group(*id));
                }
                Err(Failure::not_found(format!(
                    "action: action selector \"{}\" has no group {id}",
                    self.schema.profiles[profile].name
                )))
            }
            table_action::Type::ActionProfileActionSet(_) if !selector => {
                Err(wrong("a member: its action profile has no selector"))
            }
            table_action::Type::ActionProfileActionSet(set) => {
                let replaced = match old {
                    Some(Value::OneShot(old)) => Some(&**old),
                    _ => None,
                };
                self.take_one_shot(table, profile, set, replaced).map(|set| Value::OneShot(Arc::new(set)))
            }
        }
    }

    fn hold_references(&mut self, table: &Table, value: &Value) {
        let Some(profile) = table.profile else { return };
        let store = &mut self.profiles[profile];
        match value {
            Value::Member(id) => {
                if let Some(member) = store.members.get_mut(id) {
                    member.entries += 1;
                }
            }
            Value::Group(id) => {
                if let Some(group) = store.groups.get_mut(id) {
                    group.entries += 1;
                }
            }
            Value::OneShot(set) => {
                store.one_shots += 1;
                store.used += one_shot_size(&self.schema.profiles[profile], set);
            }
            Value::Call(_) => {}
        }
    }

    fn release_references(&mut self, table: &Table, value: &Value) {
        let Some(profile) = table.profile else { return };
        let store = &mut self.profiles[profile];
        match value {
            Value::Member(id) => {
                if let Some(member) = store.members.get_mut(id) {
                    member.entries -= 1;
                }
            }
            Value::Group(id) => {
                if let Some(group) = store.groups.get_mut(id) {
                    group.entries -= 1;
                }
            }
            Value::OneShot(set) => {
                store.one_shots -= 1;
                store.used -= one_shot_size(&self.schema.profiles[profile], set);
            }
            Value::Call(_) => {}
        }
    }
}

fn parts<'k>(table: &Table, key: &'k [u8]) -> SmallVec<[Part<'k>; 8]> {
    table.fields.iter().map(|field| matching::part(field, key)).collect()
}

/// For the data plane.
fn effect<'a>(table: &Table, value: &'a Value) -> Effect<'a> {
    match value {
        Value::Call(call) => Effect::Call(call.as_ref(table)),
        Value::Member(id) => Effect::Member(*id),
        Value::Group(id) => Effect::Group(*id),
        Value::OneShot(set) => {
            let one = |one: &'a OneShotAction| (one.call.as_ref(table), plane_weight(one.weight), one.port);
            Effect::OneShot(Selection {
                members: set.actions.iter().map(one).collect(),
                random: set.mode == ActionSelectionMode::Random,
                first: set.first.as_ref().map(|call| call.as_ref(table)),
            })
        }
    }
}
