//! Cells of counters, meters and registers.

use std::{collections::HashMap, ops::Range};

use p4runtime_proto::p4::v1::{self, entity::Entity as Kind};

use super::{Plane, Schema, Scope, Step};
use crate::p4runtime::{
    failure::{Failure, Outcome},
    pipeline::Pipeline,
    plane::Cell,
    values::{self, Data},
    write::cells,
};

/// Cells of one array that wait to be written out.
pub struct Cells {
    array: Array,
    range: Range<usize>,
}

enum Array {
    Counter(usize),
    /// With what was configured when the Read began, and whether colours are asked for.
    Meter(usize, HashMap<usize, v1::MeterConfig>, bool),
    Register(usize),
}

impl Cells {
    pub fn fill(&mut self, schema: &Schema, plane: &Plane, most: usize, out: &mut Vec<v1::Entity>) -> bool {
        for at in self.range.by_ref().take(most) {
            let index = Some(v1::Index { index: at as i64 });
            let kind = match &self.array {
                Array::Counter(counter) => {
                    let counter = &schema.counters[*counter];
                    let count = plane.count(Cell::Indexed(counter.program, at));
                    let data = Some(values::counter_data(count));
                    Kind::CounterEntry(v1::CounterEntry { counter_id: counter.id, index, data })
                }
                Array::Meter(meter, configs, colors) => {
                    let meter = &schema.meters[*meter];
                    let cell = Cell::Indexed(meter.program, at);
                    Kind::MeterEntry(v1::MeterEntry {
                        meter_id: meter.id,
                        index,
                        config: configs.get(&at).copied(),
                        counter_data: colors.then(|| values::colors(plane.colors(cell))),
                    })
                }
                Array::Register(register) => {
                    let register = &schema.registers[*register];
                    let value = plane.register(register.program, at);
                    let types = Data { types: schema.info.type_info.as_ref() };
                    let data = types.cell(&register.type_spec, register.width, &value);
                    let register_id = register.id;
                    Kind::RegisterEntry(v1::RegisterEntry { register_id, index, data: Some(data) })
                }
            };
            out.push(v1::Entity { entity: Some(kind) });
        }
        !self.range.is_empty()
    }
}

fn no_index(index: Option<&v1::Index>) -> Outcome<()> {
    match index {
        Some(_) => Err(Failure::invalid("id 0 stands for all, then no index may be given")),
        None => Ok(()),
    }
}

impl Pipeline {
    pub(super) fn query_counter(&self, query: &v1::CounterEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let counters = &self.schema.counters;
        let wanted = match query.counter_id {
            0 => {
                no_index(query.index.as_ref())?;
                0..counters.len()
            }
            id => {
                let at = self.schema.counter(id)?;
                at..at + 1
            }
        };
        let mut steps = Vec::new();
        for at in wanted.filter(|at| scope.includes(counters[*at].id)) {
            let range = cells(query.index.as_ref(), counters[at].size)?;
            steps.push(Step::Cells(Cells { array: Array::Counter(at), range }));
        }
        Ok(steps)
    }

    pub(super) fn query_meter(&self, query: &v1::MeterEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let meters = &self.schema.meters;
        let wanted = match query.meter_id {
            0 => {
                no_index(query.index.as_ref())?;
                0..meters.len()
            }
            id => {
                let at = self.schema.meter(id)?;
                at..at + 1
            }
        };
        let mut steps = Vec::new();
        for at in wanted.filter(|at| scope.includes(meters[*at].id)) {
            let range = cells(query.index.as_ref(), meters[at].size)?;
            let array = Array::Meter(at, self.meters[at].clone(), query.counter_data.is_some());
            steps.push(Step::Cells(Cells { array, range }));
        }
        Ok(steps)
    }

    pub(super) fn query_register(&self, query: &v1::RegisterEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let registers = &self.schema.registers;
        let wanted = match query.register_id {
            0 => {
                no_index(query.index.as_ref())?;
                0..registers.len()
            }
            id => {
                let at = self.schema.register(id)?;
                at..at + 1
            }
        };
        let mut steps = Vec::new();
        for at in wanted.filter(|at| scope.includes(registers[*at].id)) {
            let range = cells(query.index.as_ref(), registers[at].size)?;
            steps.push(Step::Cells(Cells { array: Array::Register(at), range }));
        }
        Ok(steps)
    }
}
