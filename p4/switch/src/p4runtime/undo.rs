//! The updates that take back an update: for batches that are all or nothing (P4Runtime 12.2).

use p4runtime_proto::p4::v1::{self, Entity, Update, entity::Entity as Kind, update::Type};

use super::{pipeline::Pipeline, roles::Scope};

impl Pipeline {
    /// What must be applied, in order, to come back from `update` to the present state. An update that is going to fail may
    /// give anything: it is not taken back.
    pub fn inverse(&mut self, update: &Update) -> Vec<Update> {
        let Some(entity) = update.entity.as_ref() else { return Vec::new() };
        let inverse = |kind: Type, entity: Entity| Update { r#type: kind.into(), entity: Some(entity) };
        match update.r#type() {
            Type::Unspecified => Vec::new(),
            Type::Insert => vec![inverse(Type::Delete, entity.clone())],
            Type::Modify => {
                let mut old = self.present(entity);
                // What packets count meanwhile stays, unless the update sets the counter.
                if let (Some(Kind::TableEntry(new)), [Entity { entity: Some(Kind::TableEntry(old)) }]) =
                    (&entity.entity, old.as_mut_slice())
                    && new.counter_data.is_none()
                    && new.action.is_some()
                {
                    old.counter_data = None;
                }
                old.into_iter().map(|old| inverse(Type::Modify, old)).collect()
            }
            Type::Delete => self.present(entity).into_iter().map(|old| inverse(Type::Insert, old)).collect(),
        }
    }

    /// The entities that a write to `entity` would change, as they are, in a form that can be written.
    fn present(&mut self, entity: &Entity) -> Vec<Entity> {
        let Some(kind) = &entity.entity else { return Vec::new() };
        match kind {
            Kind::TableEntry(entry) => {
                let found = self.present_entry(entry).map(Kind::TableEntry);
                found.map(|kind| Entity { entity: Some(kind) }).into_iter().collect()
            }
            Kind::DirectCounterEntry(v1::DirectCounterEntry { table_entry: Some(entry), .. })
            | Kind::DirectMeterEntry(v1::DirectMeterEntry { table_entry: Some(entry), .. }) => {
                let Some(old) = self.present_entry(entry) else { return Vec::new() };
                let key = v1::TableEntry {
                    table_id: old.table_id,
                    r#match: old.r#match,
                    priority: old.priority,
                    is_default_action: old.is_default_action,
                    ..Default::default()
                };
                let kind = match kind {
                    Kind::DirectCounterEntry(_) => Kind::DirectCounterEntry(v1::DirectCounterEntry {
                        table_entry: Some(key),
                        data: old.counter_data,
                    }),
                    _ => Kind::DirectMeterEntry(v1::DirectMeterEntry {
                        table_entry: Some(key),
                        config: old.meter_config,
                        counter_data: None,
                    }),
                };
                vec![Entity { entity: Some(kind) }]
            }
            _ => self.plan(std::slice::from_ref(entity), Scope::full()).0.collect(),
        }
    }

    fn present_entry(&mut self, entry: &v1::TableEntry) -> Option<v1::TableEntry> {
        let at = self.schema.table(entry.table_id).ok()?;
        let table = &self.schema.tables[at];
        let query = v1::TableEntry {
            table_id: entry.table_id,
            r#match: entry.r#match.clone(),
            priority: entry.priority,
            is_default_action: entry.is_default_action,
            counter_data: table.counter.map(|_| v1::CounterData::default()),
            meter_config: table.meter.map(|_| v1::MeterConfig::default()),
            ..Default::default()
        };
        let untouched = self.tables[at].default.call.is_none();
        let query = Entity { entity: Some(Kind::TableEntry(query)) };
        let found = self.plan(&[query], Scope::full()).0.collect();
        found.into_iter().find_map(|entity| match entity.entity {
            // An entry that matches everything has no key to ask for: it is one of all that come.
            Some(Kind::TableEntry(mut old))
                if old.priority == entry.priority && old.r#match.len() == entry.r#match.len() =>
            {
                if old.is_const || entry.is_default_action && untouched {
                    old.action = None;
                }
                old.is_const = false;
                Some(old)
            }
            _ => None,
        })
    }
}
