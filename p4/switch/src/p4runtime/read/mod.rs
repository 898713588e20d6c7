//! Reads with wildcards (P4Runtime 13): a query becomes a plan that holds a snapshot of what it selects, and the plan yields
//! entities a chunk at a time, so that a slow reader neither holds up writers nor makes the server keep the whole answer.

mod arrays;
mod encode;
mod tables;

use std::sync::Arc;

use p4runtime_proto::p4::v1::{self, entity::Entity as Kind};

use super::{
    failure::{Failure, Outcome},
    pipeline::{Entry, Pipeline},
    plane::{Plane, Replication},
    roles::Scope,
    schema::{Schema, Table},
};

pub(super) use tables::idle_entry;

/// What a Read still has to yield. Independent of the pipeline it was made from.
pub struct Plan {
    schema: Arc<Schema>,
    plane: Arc<Plane>,
    steps: Vec<Step>,
}

enum Step {
    /// Entities that were few enough to be written out at once.
    Ready(std::vec::IntoIter<v1::Entity>),
    Entries(tables::Entries),
    Cells(arrays::Cells),
}

fn ready(entities: impl IntoIterator<Item = Kind>) -> Step {
    let entities: Vec<_> = entities.into_iter().map(|entity| v1::Entity { entity: Some(entity) }).collect();
    Step::Ready(entities.into_iter())
}

impl Step {
    /// Appends up to `most` entities; false when there are no more.
    fn fill(&mut self, schema: &Schema, plane: &Plane, most: usize, out: &mut Vec<v1::Entity>) -> bool {
        match self {
            Step::Ready(entities) => {
                out.extend(entities.by_ref().take(most));
                entities.len() > 0
            }
            Step::Entries(entries) => entries.fill(schema, plane, most, out),
            Step::Cells(cells) => cells.fill(schema, plane, most, out),
        }
    }
}

impl Plan {
    /// Appends up to `most` entities to a serialized `ReadResponse`; false when there are no more.
    pub fn encode(&mut self, most: usize, out: &mut Vec<u8>) -> bool {
        let mut left = most;
        while left > 0 {
            let Some(step) = self.steps.last_mut() else { return false };
            let more = match step {
                Step::Entries(entries) => entries.encode(&self.schema, &self.plane, &mut left, out),
                other => {
                    let mut entities = Vec::new();
                    let more = other.fill(&self.schema, &self.plane, left, &mut entities);
                    left -= entities.len();
                    entities.iter().for_each(|entity| encode::entity(entity, out));
                    more
                }
            };
            if !more {
                self.steps.pop();
            }
        }
        !self.steps.is_empty()
    }

    /// All entities at once.
    pub fn collect(mut self) -> Vec<v1::Entity> {
        let mut out = Vec::new();
        while let Some(mut step) = self.steps.pop() {
            step.fill(&self.schema, &self.plane, usize::MAX, &mut out);
        }
        out
    }
}

impl Pipeline {
    /// Plans a Read: the snapshot is taken now. Beside the plan there is one outcome for each query; what failed is left out of
    /// the plan.
    pub fn plan(&mut self, queries: &[v1::Entity], scope: &Scope) -> (Plan, Vec<Outcome<()>>) {
        let mut steps = Vec::new();
        let mut outcomes = Vec::with_capacity(queries.len());
        for query in queries {
            match self.query(query, scope) {
                Ok(more) => {
                    steps.extend(more);
                    outcomes.push(Ok(()));
                }
                Err(failure) => outcomes.push(Err(failure)),
            }
        }
        // Steps are taken from the end.
        steps.reverse();
        (Plan { schema: self.schema.clone(), plane: self.plane.clone(), steps }, outcomes)
    }

    fn query(&mut self, query: &v1::Entity, scope: &Scope) -> Outcome<Vec<Step>> {
        let kind = query.entity.as_ref().ok_or_else(|| Failure::invalid("entity is not set"))?;
        match kind {
            Kind::TableEntry(entry) => self.query_table(entry, scope),
            Kind::DirectCounterEntry(entry) => {
                self.query_direct(entry.table_entry.as_ref(), tables::Shape::Counter, scope)
            }
            Kind::DirectMeterEntry(entry) => {
                let colors = entry.counter_data.is_some();
                self.query_direct(entry.table_entry.as_ref(), tables::Shape::Meter { colors }, scope)
            }
            Kind::CounterEntry(entry) => self.query_counter(entry, scope),
            Kind::MeterEntry(entry) => self.query_meter(entry, scope),
            Kind::RegisterEntry(entry) => self.query_register(entry, scope),
            Kind::ActionProfileMember(member) => self.query_members(member, scope),
            Kind::ActionProfileGroup(group) => self.query_groups(group, scope),
            Kind::PacketReplicationEngineEntry(entry) => self.query_replication(entry),
            Kind::ValueSetEntry(entry) => self.query_value_sets(entry, scope),
            Kind::DigestEntry(entry) => self.query_digests(entry, scope),
            // There are no externs beside the standard ones, so all of them are none.
            Kind::ExternEntry(entry) if entry.extern_type_id == 0 && entry.extern_id == 0 => Ok(Vec::new()),
            Kind::ExternEntry(entry) => {
                Err(Failure::unimplemented(format!("extern_entry: extern type {} is not known", entry.extern_type_id)))
            }
        }
    }

    fn query_members(&self, query: &v1::ActionProfileMember, scope: &Scope) -> Outcome<Vec<Step>> {
        let mut found = Vec::new();
        for at in self.profiles_of(query.action_profile_id, query.member_id, scope)? {
            let profile = &self.schema.profiles[at];
            let Ok(table) = self.profile_table(at) else { continue };
            let table = &self.schema.tables[table];
            let members = self.profiles[at].members.iter();
            let wanted = members.filter(|(id, _)| query.member_id == 0 || **id == query.member_id);
            found.extend(wanted.map(|(id, member)| {
                Kind::ActionProfileMember(v1::ActionProfileMember {
                    action_profile_id: profile.id,
                    member_id: *id,
                    action: Some(member.call.unpack(table)),
                })
            }));
        }
        Ok(vec![ready(found)])
    }

    fn query_groups(&self, query: &v1::ActionProfileGroup, scope: &Scope) -> Outcome<Vec<Step>> {
        use super::values::Watch;
        use v1::action_profile_group::{Member, member::WatchKind};
        let mut found = Vec::new();
        for at in self.profiles_of(query.action_profile_id, query.group_id, scope)? {
            let profile = &self.schema.profiles[at];
            let groups = self.profiles[at].groups.iter();
            let wanted = groups.filter(|(id, _)| query.group_id == 0 || **id == query.group_id);
            found.extend(wanted.map(|(id, group)| {
                let members = group.members.iter().map(|one| Member {
                    member_id: one.member,
                    weight: one.weight,
                    watch_kind: one.watch.as_ref().map(|watch| match watch {
                        #[allow(deprecated)]
                        Watch::Number(port) => WatchKind::Watch(*port),
                        Watch::Port(port) => WatchKind::WatchPort(port.clone()),
                    }),
                });
                Kind::ActionProfileGroup(v1::ActionProfileGroup {
                    action_profile_id: profile.id,
                    group_id: *id,
                    members: members.collect(),
                    max_size: group.max_size,
                })
            }));
        }
        Ok(vec![ready(found)])
    }

    /// The profiles a query is about; 0 stands for all of them.
    fn profiles_of(&self, id: u32, member: u32, scope: &Scope) -> Outcome<Vec<usize>> {
        if id != 0 {
            let at = self.schema.profile(id)?;
            return Ok(if scope.includes(id) { vec![at] } else { Vec::new() });
        }
        if member != 0 {
            return Err(Failure::invalid("action_profile_id 0 stands for all, then no id may be given"));
        }
        let profiles = self.schema.profiles.iter().enumerate();
        Ok(profiles.filter(|(_, profile)| scope.includes(profile.id)).map(|(at, _)| at).collect())
    }

    fn query_replication(&self, query: &v1::PacketReplicationEngineEntry) -> Outcome<Vec<Step>> {
        use v1::packet_replication_engine_entry::Type;
        let wrap = |kind| Kind::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) });
        let group =
            |(entry, _): &(v1::MulticastGroupEntry, Vec<Replication>)| wrap(Type::MulticastGroupEntry(entry.clone()));
        let session = |entry: &v1::CloneSessionEntry| wrap(Type::CloneSessionEntry(entry.clone()));
        Ok(vec![match &query.r#type {
            Some(Type::MulticastGroupEntry(query)) if query.multicast_group_id == 0 => {
                ready(self.multicast.values().map(group))
            }
            Some(Type::MulticastGroupEntry(query)) => ready(self.multicast.get(&query.multicast_group_id).map(group)),
            Some(Type::CloneSessionEntry(query)) if query.session_id == 0 => ready(self.clones.values().map(session)),
            Some(Type::CloneSessionEntry(query)) => ready(self.clones.get(&query.session_id).map(session)),
            None => ready(self.multicast.values().map(group).chain(self.clones.values().map(session))),
        }])
    }

    fn query_value_sets(&self, query: &v1::ValueSetEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let all = 0..self.schema.value_sets.len();
        let wanted = match query.value_set_id {
            0 => all,
            id => {
                let at = self.schema.value_set(id)?;
                at..at + 1
            }
        };
        let sets = wanted.filter(|at| scope.includes(self.schema.value_sets[*at].id)).map(|at| {
            let set = &self.schema.value_sets[at];
            let members = self.value_sets[at]
                .iter()
                .map(|key| v1::ValueSetMember { r#match: super::matching::unpack(&set.fields, key) });
            Kind::ValueSetEntry(v1::ValueSetEntry { value_set_id: set.id, members: members.collect() })
        });
        Ok(vec![ready(sets)])
    }

    fn query_digests(&self, query: &v1::DigestEntry, scope: &Scope) -> Outcome<Vec<Step>> {
        let all = 0..self.schema.digests.len();
        let wanted = match query.digest_id {
            0 => all,
            id => {
                let at = self.schema.digest(id)?;
                at..at + 1
            }
        };
        let wanted = wanted.filter(|at| scope.includes(self.schema.digests[*at].id));
        let entries = wanted.filter_map(|at| {
            let config = self.digests[at]?;
            let digest_id = self.schema.digests[at].id;
            Some(Kind::DigestEntry(v1::DigestEntry { digest_id, config: Some(config) }))
        });
        Ok(vec![ready(entries)])
    }
}
