//! RECONCILE_AND_COMMIT: a new pipeline takes over what the running one holds (P4Runtime 14).

use std::time::Instant;

use p4runtime_proto::p4::v1::{self, Entity, Update, entity::Entity as Kind, update::Type};

use super::{
    failure::{Failure, Outcome},
    pipeline::Pipeline,
    roles::Scope,
    write::noun,
};

impl Pipeline {
    /// Whether a configuration is this pipeline's own, but for the cookie.
    pub fn is_same(&self, config: &v1::ForwardingPipelineConfig) -> bool {
        config.p4info.as_ref() == Some(&*self.schema.info) && config.p4_device_config == self.device_config
    }

    /// Writes everything that `old` holds into this new pipeline.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` naming the first entity that this pipeline cannot hold.
    pub fn adopt(&mut self, old: &mut Pipeline, now: Instant) -> Outcome<()> {
        self.clear_initial(now)?;
        for update in old.contents() {
            self.apply(&update, now).map_err(|failure| {
                let kind = update.entity.as_ref().and_then(|entity| entity.entity.as_ref());
                let what = kind.map_or("entity", noun);
                Failure::invalid(format!("the forwarding state cannot be preserved: {what}: {}", failure.message))
            })?;
        }
        Ok(())
    }

    /// Removes the program's own entries that controllers may change: the old pipeline's take their place.
    fn clear_initial(&mut self, now: Instant) -> Outcome<()> {
        let query = Entity { entity: Some(Kind::TableEntry(v1::TableEntry::default())) };
        for entity in self.plan(&[query], Scope::full()).0.collect() {
            match &entity.entity {
                Some(Kind::TableEntry(entry)) if !entry.is_const => {}
                _ => continue,
            }
            let update = Update { r#type: Type::Delete.into(), entity: Some(entity) };
            self.apply(&update, now)?;
        }
        Ok(())
    }

    /// The updates that build this pipeline's state, in an order that satisfies references.
    fn contents(&mut self) -> Vec<Update> {
        let queries = [
            Kind::ActionProfileMember(v1::ActionProfileMember::default()),
            Kind::ActionProfileGroup(v1::ActionProfileGroup::default()),
            Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry::default()),
            Kind::ValueSetEntry(v1::ValueSetEntry::default()),
            Kind::DigestEntry(v1::DigestEntry::default()),
            Kind::TableEntry(v1::TableEntry {
                counter_data: Some(v1::CounterData::default()),
                meter_config: Some(v1::MeterConfig::default()),
                ..Default::default()
            }),
            Kind::MeterEntry(v1::MeterEntry::default()),
            Kind::CounterEntry(v1::CounterEntry::default()),
            Kind::RegisterEntry(v1::RegisterEntry::default()),
        ];
        let mut queries: Vec<_> = queries.into_iter().map(|kind| Entity { entity: Some(kind) }).collect();
        // Default entries that somebody changed.
        for (table, store) in self.schema.tables.iter().zip(&self.tables) {
            if store.default.call.is_some() || store.default.extra.meter.is_some() {
                let query = v1::TableEntry {
                    table_id: table.id,
                    is_default_action: true,
                    counter_data: table.counter.map(|_| v1::CounterData::default()),
                    meter_config: table.meter.map(|_| v1::MeterConfig::default()),
                    ..Default::default()
                };
                queries.push(Entity { entity: Some(Kind::TableEntry(query)) });
            }
        }
        let entities = self.plan(&queries, Scope::full()).0.collect();
        entities.into_iter().filter_map(|entity| self.as_update(entity)).collect()
    }

    /// The update that writes an entity into a pipeline in its initial state; none when it is there already.
    fn as_update(&self, mut entity: Entity) -> Option<Update> {
        let kind = match entity.entity.as_mut()? {
            Kind::TableEntry(entry) if entry.is_default_action => {
                let at = self.schema.table(entry.table_id).ok()?;
                if self.tables[at].default.call.is_none() {
                    entry.action = None;
                }
                Type::Modify
            }
            Kind::TableEntry(entry) if entry.is_const => {
                // The new program brings its own constant entries; only direct resources could be carried over, and the entry
                // may be gone with the program that declared it.
                return None;
            }
            Kind::MeterEntry(entry) => {
                entry.config?;
                Type::Modify
            }
            Kind::CounterEntry(entry) => {
                entry.data.filter(|data| *data != v1::CounterData::default())?;
                Type::Modify
            }
            Kind::RegisterEntry(entry) => {
                if is_zero(entry.data.as_ref()) {
                    return None;
                }
                Type::Modify
            }
            Kind::ValueSetEntry(entry) if entry.members.is_empty() => return None,
            Kind::ValueSetEntry(_) => Type::Modify,
            _ => Type::Insert,
        };
        Some(Update { r#type: kind.into(), entity: Some(entity) })
    }
}

fn is_zero(data: Option<&v1::P4Data>) -> bool {
    use v1::p4_data::Data;
    match data.and_then(|data| data.data.as_ref()) {
        Some(Data::Bitstring(value) | Data::EnumValue(value)) => value.iter().all(|b| *b == 0),
        Some(Data::Bool(value)) => !value,
        _ => false,
    }
}
