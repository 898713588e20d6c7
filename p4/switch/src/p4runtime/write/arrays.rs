//! Counters, meters and registers, direct and indexed (P4Runtime 9.3, 9.4 and 9.7).

use std::sync::Arc;

use p4runtime_proto::p4::v1::{self, update::Type};

use super::{cells, modify_only};
use crate::p4runtime::{
    failure::{Failure, Outcome},
    pipeline::{Entry, Extra, Pipeline},
    plane::Cell,
    schema::Table,
    values::{self, Data},
};

/// What a direct resource belongs to.
enum Owner {
    Entry(Arc<Entry>),
    Default,
}

impl Pipeline {
    fn owner(&mut self, given: Option<&v1::TableEntry>) -> Outcome<(usize, Owner)> {
        let given = given.ok_or_else(|| Failure::invalid("table_entry must be set"))?;
        let at = self.schema.table(given.table_id)?;
        if !given.is_default_action {
            return Ok((at, Owner::Entry(self.named_entry(at, &super::Wanted::of(given))?)));
        }
        if !given.r#match.is_empty() || given.priority != 0 {
            return Err(Failure::invalid("match and priority must be unset for the default entry"));
        }
        Ok((at, Owner::Default))
    }

    pub(super) fn write_direct_counter(&mut self, kind: Type, given: &v1::DirectCounterEntry) -> Outcome<()> {
        modify_only(kind, "a direct counter")?;
        let (at, owner) = self.owner(given.table_entry.as_ref())?;
        let table = &self.schema.tables[at];
        if table.counter.is_none() {
            return Err(no_resource(table, "counter"));
        }
        let Some(data) = &given.data else { return Ok(()) };
        let count = values::count(data)?;
        match &owner {
            Owner::Entry(entry) => {
                self.plane.set_count(Cell::Entry(&entry.handle), count);
            }
            Owner::Default => self.plane.set_count(Cell::Default(table.program), count),
        }
        Ok(())
    }

    pub(super) fn write_direct_meter(&mut self, kind: Type, given: &v1::DirectMeterEntry) -> Outcome<()> {
        modify_only(kind, "a direct meter")?;
        let (at, owner) = self.owner(given.table_entry.as_ref())?;
        let schema = self.schema.clone();
        let table = &schema.tables[at];
        let meter = table.meter.ok_or_else(|| no_resource(table, "meter"))?;
        let clear_colors = values::clears_colors(given.counter_data.as_ref())?;
        let rates = match &given.config {
            Some(config) => values::rates(config, meter.kind)?,
            None => None,
        };
        if clear_colors {
            self.plane.clear_colors(match &owner {
                Owner::Entry(entry) => Cell::Entry(&entry.handle),
                Owner::Default => Cell::Default(table.program),
            });
        }
        let config = rates.and(given.config);
        match owner {
            Owner::Entry(entry) => {
                self.plane.set_meter(Cell::Entry(&entry.handle), rates);
                let extra = Extra { meter: config, ..entry.extra() };
                self.tables[at].replace(Arc::new(Entry {
                    key: entry.key.clone(),
                    priority: entry.priority,
                    is_const: entry.is_const,
                    handle: entry.handle.clone(),
                    value: entry.value.clone(),
                    extra: (extra != Extra::default()).then(|| Box::new(extra)),
                }));
            }
            Owner::Default => {
                self.plane.set_meter(Cell::Default(table.program), rates);
                self.tables[at].default.extra.meter = config;
            }
        }
        Ok(())
    }

    pub(super) fn write_counter(&mut self, kind: Type, given: &v1::CounterEntry) -> Outcome<()> {
        let at = self.schema.counter(given.counter_id)?;
        modify_only(kind, "a counter")?;
        let counter = &self.schema.counters[at];
        let cells = cells(given.index.as_ref(), counter.size)
            .map_err(|failure| failure.within(format_args!("counter \"{}\"", counter.name)))?;
        let Some(data) = &given.data else { return Ok(()) };
        let count = values::count(data)?;
        for index in cells {
            self.plane.set_count(Cell::Indexed(counter.program, index), count);
        }
        Ok(())
    }

    pub(super) fn write_meter(&mut self, kind: Type, given: &v1::MeterEntry) -> Outcome<()> {
        let at = self.schema.meter(given.meter_id)?;
        modify_only(kind, "a meter")?;
        let meter = &self.schema.meters[at];
        let cells = cells(given.index.as_ref(), meter.size)
            .map_err(|failure| failure.within(format_args!("meter \"{}\"", meter.name)))?;
        let clear_colors = values::clears_colors(given.counter_data.as_ref())?;
        let rates = match &given.config {
            Some(config) => values::rates(config, meter.kind)?,
            None => None,
        };
        for index in cells {
            self.plane.set_meter(Cell::Indexed(meter.program, index), rates);
            if clear_colors {
                self.plane.clear_colors(Cell::Indexed(meter.program, index));
            }
            match given.config.filter(|_| rates.is_some()) {
                Some(config) => self.meters[at].insert(index, config),
                None => self.meters[at].remove(&index),
            };
        }
        Ok(())
    }

    pub(super) fn write_register(&mut self, kind: Type, given: &v1::RegisterEntry) -> Outcome<()> {
        let at = self.schema.register(given.register_id)?;
        modify_only(kind, "a register")?;
        let register = &self.schema.registers[at];
        let within = |failure: Failure| failure.within(format_args!("register \"{}\"", register.name));
        let cells = cells(given.index.as_ref(), register.size).map_err(within)?;
        let data = given.data.as_ref();
        let data = data.ok_or_else(|| within(Failure::invalid("data must be set")))?;
        let types = Data { types: self.schema.info.type_info.as_ref() };
        let value = types.to_bits(&register.type_spec, data, register.width).map_err(within)?;
        for index in cells {
            self.plane.set_register(register.program, index, &value);
        }
        Ok(())
    }
}

fn no_resource(table: &Table, what: &str) -> Failure {
    Failure::invalid(format!("table \"{}\" has no direct {what}", table.name))
}
