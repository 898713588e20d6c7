//! Table entries and their direct resources (P4Runtime 9.1.6 and 9.1.7).

use std::sync::Arc;

use p4runtime_proto::p4::v1::{self, entity::Entity as Kind, table_action};

use super::{Entry, Plane, Schema, Scope, Step, Table, encode};
use crate::p4runtime::{
    failure::{Failure, Outcome},
    matching,
    pipeline::{DefaultEntry, Pipeline},
    plane::Cell,
    values::{self, Value},
};

/// What is made of an entry.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// The entry, with these direct resources.
    Entry {
        counter: bool,
        meter: bool,
        colors: bool,
        idle: bool,
    },
    Counter,
    Meter {
        colors: bool,
    },
}

/// Entries of one table that wait to be written out.
pub struct Entries {
    table: usize,
    shape: Shape,
    entries: std::vec::IntoIter<Arc<Entry>>,
    default: Option<DefaultEntry>,
}

#[allow(deprecated)]
fn base(table: &Table, entry: &Entry) -> v1::TableEntry {
    let mut message = v1::TableEntry {
        table_id: table.id,
        r#match: matching::unpack(&table.fields, &entry.key),
        action: Some(entry.value.unpack(table)),
        priority: entry.priority,
        is_const: entry.is_const,
        ..Default::default()
    };
    if let Some(extra) = &entry.extra {
        message.controller_metadata = extra.controller_metadata;
        message.metadata = extra.metadata.clone();
        message.idle_timeout_ns = extra.idle_timeout_ns;
    }
    message
}

/// What an idle notification says of an entry: key, metadata and timeout.
pub fn idle_entry(table: &Table, entry: &Entry) -> v1::TableEntry {
    v1::TableEntry { action: None, is_const: false, ..base(table, entry) }
}

/// The key of an entry, as direct resources name it.
fn key_only(table: &Table, entry: &Entry) -> v1::TableEntry {
    v1::TableEntry {
        table_id: table.id,
        r#match: matching::unpack(&table.fields, &entry.key),
        priority: entry.priority,
        ..Default::default()
    }
}

/// An entity of a shape.
fn message(table: &Table, plane: &Plane, shape: Shape, entry: &Entry) -> v1::Entity {
    let cell = Cell::Entry(&entry.handle);
    let kind = match shape {
        Shape::Entry { counter, meter, colors, idle } => {
            let mut message = base(table, entry);
            if counter && table.counter.is_some() {
                message.counter_data = Some(values::counter_data(plane.count(cell)));
            }
            if meter {
                message.meter_config = entry.extra.as_ref().and_then(|extra| extra.meter);
            }
            if colors && table.meter.is_some() {
                message.meter_counter_data = Some(values::colors(plane.colors(cell)));
            }
            if idle && table.idle_timeout {
                let idle = plane.idle_for(&entry.handle).as_nanos();
                message.time_since_last_hit =
                    Some(v1::table_entry::IdleTimeout { elapsed_ns: i64::try_from(idle).unwrap_or(i64::MAX) });
            }
            Kind::TableEntry(message)
        }
        Shape::Counter => Kind::DirectCounterEntry(v1::DirectCounterEntry {
            table_entry: Some(key_only(table, entry)),
            data: Some(values::counter_data(plane.count(cell))),
        }),
        Shape::Meter { colors } => Kind::DirectMeterEntry(v1::DirectMeterEntry {
            table_entry: Some(key_only(table, entry)),
            config: entry.extra.as_ref().and_then(|extra| extra.meter),
            counter_data: colors.then(|| values::colors(plane.colors(cell))),
        }),
    };
    v1::Entity { entity: Some(kind) }
}

impl Entries {
    pub fn fill(&mut self, schema: &Schema, plane: &Plane, most: usize, out: &mut Vec<v1::Entity>) -> bool {
        let table = &schema.tables[self.table];
        let shape = self.shape;
        out.extend(self.entries.by_ref().take(most).map(|entry| message(table, plane, shape, &entry)));
        if out.len() < most
            && let Some(default) = self.default.take()
        {
            out.push(v1::Entity { entity: Some(self.default_entry(table, plane, &default)) });
        }
        self.entries.len() > 0 || self.default.is_some()
    }

    /// Appends up to `left` entities, which it counts down, to a serialized `ReadResponse`; false when there are no more.
    pub fn encode(&mut self, schema: &Schema, plane: &Plane, left: &mut usize, out: &mut Vec<u8>) -> bool {
        let table = &schema.tables[self.table];
        for entry in self.entries.by_ref().take(*left) {
            *left -= 1;
            if !encode::entry(table, plane, self.shape, &entry, out) {
                encode::entity(&message(table, plane, self.shape, &entry), out);
            }
        }
        if *left > 0
            && let Some(default) = self.default.take()
        {
            *left -= 1;
            encode::entity(&v1::Entity { entity: Some(self.default_entry(table, plane, &default)) }, out);
        }
        self.entries.len() > 0 || self.default.is_some()
    }

    #[allow(deprecated)]
    fn default_entry(&self, table: &Table, plane: &Plane, default: &DefaultEntry) -> Kind {
        let cell = Cell::Default(table.program);
        let key = v1::TableEntry { table_id: table.id, is_default_action: true, ..Default::default() };
        match self.shape {
            Shape::Entry { counter, meter, colors, .. } => {
                let call = default.call.as_ref().or(default.initial.as_ref());
                Kind::TableEntry(v1::TableEntry {
                    action: call.map(|call| Value::Call(call.clone()).unpack(table)),
                    controller_metadata: default.extra.controller_metadata,
                    metadata: default.extra.metadata.clone(),
                    counter_data: (counter && table.counter.is_some()).then(|| values::counter_data(plane.count(cell))),
                    meter_config: default.extra.meter.filter(|_| meter),
                    meter_counter_data: (colors && table.meter.is_some()).then(|| values::colors(plane.colors(cell))),
                    ..key
                })
            }
            Shape::Counter => Kind::DirectCounterEntry(v1::DirectCounterEntry {
                table_entry: Some(key),
                data: Some(values::counter_data(plane.count(cell))),
            }),
            Shape::Meter { colors } => Kind::DirectMeterEntry(v1::DirectMeterEntry {
                table_entry: Some(key),
                config: default.extra.meter,
                counter_data: colors.then(|| values::colors(plane.colors(cell))),
            }),
        }
    }
}

impl Pipeline {
    pub(super) fn query_table(&mut self, query: &v1::TableEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let shape = Shape::Entry {
            counter: query.counter_data.is_some(),
            meter: query.meter_config.is_some(),
            colors: query.meter_counter_data.is_some(),
            idle: query.time_since_last_hit.is_some(),
        };
        #[allow(deprecated)]
        let controller_metadata = query.controller_metadata;
        if query.table_id == 0 {
            let filtered = !query.r#match.is_empty()
                || query.action.is_some()
                || query.priority != 0
                || controller_metadata != 0
                || !query.metadata.is_empty();
            if filtered {
                return Err(Failure::invalid("table_id 0 stands for all tables, then nothing else may be given"));
            }
            let tables = 0..self.schema.tables.len();
            let seen = tables.filter(|at| scope.includes(self.schema.tables[*at].id));
            return Ok(seen.map(|at| self.all_entries(at, shape, query.is_default_action)).collect());
        }
        let at = self.schema.table(query.table_id)?;
        if !scope.includes(query.table_id) {
            return Ok(Vec::new());
        }
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        if query.time_since_last_hit.is_some() && !table.idle_timeout {
            return Err(Failure::invalid(format!(
                "time_since_last_hit: table \"{}\" does not support idle timeouts",
                table.name
            )));
        }
        if query.counter_data.is_some() && table.counter.is_none() {
            return Err(Failure::invalid(format!("counter_data: table \"{}\" has no direct counter", table.name)));
        }
        if query.meter_config.is_some() && table.meter.is_none() {
            return Err(Failure::invalid(format!("meter_config: table \"{}\" has no direct meter", table.name)));
        }
        if query.meter_counter_data.is_some() && table.meter.is_none() {
            return Err(Failure::invalid(format!("meter_counter_data: table \"{}\" has no direct meter", table.name)));
        }
        // Members, groups and one-shots are no filter (P4Runtime 9.1.6), but clients that read back an entry by itself send them.
        let action = match query.action.as_ref().and_then(|action| action.r#type.as_ref()) {
            Some(table_action::Type::Action(action)) if table.profile.is_none() => match action.action_id {
                0 => None,
                id if table.actions.iter().any(|known| known.action.id == id) => Some(id),
                id => {
                    return Err(Failure::invalid(format!(
                        "action: id {id:#010x} is not an action of table \"{}\"",
                        table.name
                    )));
                }
            },
            _ => None,
        };
        if query.is_default_action {
            if !query.r#match.is_empty() || query.priority != 0 {
                return Err(Failure::invalid("match and priority must be unset for the default entry"));
            }
            let default = &self.tables[at].default;
            let call = default.call.as_ref().or(default.initial.as_ref());
            let selected = action.is_none_or(|id| call.is_some_and(|call| call.action_id(table) == id));
            return Ok(if selected { vec![self.all_entries(at, shape, true)] } else { Vec::new() });
        }
        let selected = |entry: &&Arc<Entry>| {
            let extra = entry.extra.as_deref();
            (query.priority == 0 || entry.priority == query.priority)
                && action.is_none_or(|id| match &entry.value {
                    Value::Call(call) => call.action_id(table) == id,
                    _ => false,
                })
                && (controller_metadata == 0
                    || extra.is_some_and(|extra| extra.controller_metadata == controller_metadata))
                && (query.metadata.is_empty() || extra.is_some_and(|extra| extra.metadata == query.metadata))
        };
        let entries: Vec<Arc<Entry>> = if query.r#match.is_empty() {
            self.tables[at].iter().filter(selected).cloned().collect()
        } else {
            self.keyed(at, query)?.iter().filter(selected).cloned().collect()
        };
        Ok(vec![Step::Entries(Entries { table: at, shape, entries: entries.into_iter(), default: None })])
    }

    /// Entries with the key of a query, of any priority.
    fn keyed(&mut self, at: usize, query: &v1::TableEntry) -> Outcome<Vec<Arc<Entry>>> {
        let table = &self.schema.tables[at];
        let mut key = Vec::new();
        matching::pack(&table.fields, table.key_bytes, matching::given(&query.r#match), &mut key)
            .map_err(|failure| failure.within(format_args!("table \"{}\"", table.name)))?;
        if query.priority < 0 || query.priority != 0 && !table.needs_priority {
            return Err(Failure::invalid(format!(
                "table \"{}\": priority {} is not valid",
                table.name, query.priority
            )));
        }
        Ok(self.tables[at].find_all(&key).cloned().collect())
    }

    fn all_entries(&self, at: usize, shape: Shape, default: bool) -> Step {
        let store = &self.tables[at];
        let entries: Vec<_> = if default { Vec::new() } else { store.iter().cloned().collect() };
        let default = default.then(|| store.default.clone());
        Step::Entries(Entries { table: at, shape, entries: entries.into_iter(), default })
    }

    pub(super) fn query_direct(
        &mut self,
        query: Option<&v1::TableEntry>,
        shape: Shape,
        scope: &Scope,
    ) -> Outcome<Vec<Step>> {
        let nothing = v1::TableEntry::default();
        let query = query.unwrap_or(&nothing);
        let has = |table: &Table| match shape {
            Shape::Meter { .. } => table.meter.is_some(),
            _ => table.counter.is_some(),
        };
        if query.table_id == 0 {
            let tables = 0..self.schema.tables.len();
            let seen = tables.filter(|at| {
                let table = &self.schema.tables[*at];
                has(table) && scope.includes(table.id)
            });
            return Ok(seen.map(|at| self.all_entries(at, shape, query.is_default_action)).collect());
        }
        let at = self.schema.table(query.table_id)?;
        let table = &self.schema.tables[at];
        if !has(table) {
            return Err(Failure::invalid(format!("table \"{}\" has no such direct resource", table.name)));
        }
        if !scope.includes(query.table_id) {
            return Ok(Vec::new());
        }
        if query.is_default_action || query.r#match.is_empty() && query.priority == 0 {
            return Ok(vec![self.all_entries(at, shape, query.is_default_action)]);
        }
        let name = table.name.clone();
        let mut entries =
            if query.r#match.is_empty() { self.tables[at].iter().cloned().collect() } else { self.keyed(at, query)? };
        entries.retain(|entry| query.priority == 0 || entry.priority == query.priority);
        if entries.is_empty() {
            return Err(Failure::not_found(format!("table \"{name}\" has no entry with this key")));
        }
        Ok(vec![Step::Entries(Entries { table: at, shape, entries: entries.into_iter(), default: None })])
    }
}
