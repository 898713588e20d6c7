//! Entities to and from P4Runtime's messages.

use p4runtime_proto::p4::v1;
use prost::bytes::Bytes;
use v1::action_profile_action::WatchKind;
use v1::action_profile_group::member::WatchKind as GroupWatch;
use v1::entity::Entity as Proto;
use v1::field_match::{self, FieldMatchType};
use v1::packet_replication_engine_entry::Type as Pre;
use v1::replica::PortKind;
use v1::table_action::Type as ActionType;

use super::view::{Action, DirectExtras, KeyView, Match, MeterConfig, OneShotMember, Replica, ValueView};
use super::{Entity, EntityKey, P4Value};

/// Why a message is not an entity that a controller keeps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConvertError {
    /// Counters, registers, digests and externs are not wanted state.
    #[error("{0} is not an entity that a plan can hold")]
    NotPlanned(&'static str),
    #[error("{field} is missing, {allowed} is needed")]
    Missing { field: &'static str, allowed: &'static str },
    #[error("{field} is {found}, {allowed} is allowed")]
    OutOfRange { field: &'static str, found: i64, allowed: &'static str },
}

fn unsigned(field: &'static str, found: i64) -> Result<u32, ConvertError> {
    u32::try_from(found).map_err(|_| ConvertError::OutOfRange { field, found, allowed: "0 to 4294967295" })
}

fn bytes(value: &P4Value) -> Bytes {
    Bytes::copy_from_slice(value.as_slice())
}

fn value(bytes: &Bytes) -> P4Value {
    P4Value::new(bytes)
}

fn field_to_proto(id: u32, m: &Match) -> v1::FieldMatch {
    let kind = match m {
        Match::Exact(v) => FieldMatchType::Exact(field_match::Exact { value: bytes(v) }),
        Match::Lpm(v, len) => FieldMatchType::Lpm(field_match::Lpm { value: bytes(v), prefix_len: *len as i32 }),
        Match::Ternary(v, mask) => FieldMatchType::Ternary(field_match::Ternary { value: bytes(v), mask: bytes(mask) }),
        Match::Range(low, high) => FieldMatchType::Range(field_match::Range { low: bytes(low), high: bytes(high) }),
        Match::Optional(v) => FieldMatchType::Optional(field_match::Optional { value: bytes(v) }),
    };
    v1::FieldMatch { field_id: id, field_match_type: Some(kind) }
}

/// `None` for a field that matches anything, which is the same as leaving it out.
fn field_from_proto(f: &v1::FieldMatch) -> Result<Option<(u32, Match)>, ConvertError> {
    let m = match f.field_match_type.as_ref() {
        Some(FieldMatchType::Exact(m)) => Match::Exact(value(&m.value)),
        Some(FieldMatchType::Lpm(m)) => match unsigned("match.lpm.prefix_len", i64::from(m.prefix_len))? {
            0 => return Ok(None),
            len => Match::Lpm(value(&m.value), len),
        },
        Some(FieldMatchType::Ternary(m)) => {
            let mask = value(&m.mask);
            if mask.is_zero() {
                return Ok(None);
            }
            Match::Ternary(value(&m.value).masked(&mask), mask)
        }
        Some(FieldMatchType::Range(m)) => Match::Range(value(&m.low), value(&m.high)),
        Some(FieldMatchType::Optional(m)) => Match::Optional(value(&m.value)),
        Some(FieldMatchType::Other(_)) => {
            return Err(ConvertError::NotPlanned("a match of another architecture"));
        }
        None => {
            return Err(ConvertError::Missing {
                field: "match.field_match_type",
                allowed: "one of the five match types",
            });
        }
    };
    Ok(Some((f.field_id, m)))
}

fn action_to_proto(a: &Action) -> v1::Action {
    let params = a.params.iter().map(|(id, v)| v1::action::Param { param_id: *id, value: bytes(v) });
    v1::Action { action_id: a.id, params: params.collect() }
}

fn action_from_proto(a: &v1::Action) -> Action {
    Action::new(a.action_id, a.params.iter().map(|p| (p.param_id, value(&p.value))))
}

/// A port number as either form of a watch port holds it.
fn watch_from_proto(watch: Option<&WatchKind>) -> Option<P4Value> {
    match watch? {
        WatchKind::WatchPort(port) => (!port.is_empty()).then(|| value(port)),
        #[allow(deprecated)]
        WatchKind::Watch(port) => (*port != 0).then(|| P4Value::from(*port as u32)),
    }
}

fn meter_to_proto(m: &MeterConfig) -> v1::MeterConfig {
    v1::MeterConfig {
        cir: m.cir as i64,
        cburst: m.cburst as i64,
        pir: m.pir as i64,
        pburst: m.pburst as i64,
        ..Default::default()
    }
}

fn meter_from_proto(m: &v1::MeterConfig) -> MeterConfig {
    MeterConfig { cir: m.cir as u64, cburst: m.cburst as u64, pir: m.pir as u64, pburst: m.pburst as u64 }
}

#[allow(deprecated)]
fn replica_to_proto(r: &Replica) -> v1::Replica {
    // The number form is the one that every server takes, BMv2's too.
    v1::Replica { port_kind: Some(PortKind::EgressPort(r.port)), instance: r.instance, ..Default::default() }
}

#[allow(deprecated)]
fn replica_from_proto(r: &v1::Replica) -> Result<Replica, ConvertError> {
    let port = match &r.port_kind {
        Some(PortKind::EgressPort(port)) => *port,
        Some(PortKind::Port(port)) => {
            let found = value(port).to_u64().and_then(|n| i64::try_from(n).ok()).unwrap_or(i64::MAX);
            unsigned("replica.port", found)?
        }
        None => {
            return Err(ConvertError::Missing { field: "replica.port", allowed: "a port number" });
        }
    };
    Ok(Replica { port, instance: r.instance })
}

fn replicas_from_proto(list: &[v1::Replica]) -> Result<Vec<Replica>, ConvertError> {
    let mut out = list.iter().map(replica_from_proto).collect::<Result<Vec<_>, _>>()?;
    out.sort();
    out.dedup();
    Ok(out)
}

fn table_action(entry: &mut v1::TableEntry, action: ActionType, extras: &DirectExtras) {
    entry.action = Some(v1::TableAction { r#type: Some(action) });
    entry.idle_timeout_ns = extras.idle_timeout_ns as i64;
    entry.meter_config = extras.meter.as_ref().map(meter_to_proto);
    entry.metadata = Bytes::copy_from_slice(&extras.metadata);
}

fn one_shot_to_proto(members: &[OneShotMember]) -> ActionType {
    let actions = members.iter().map(|m| v1::ActionProfileAction {
        action: Some(action_to_proto(&m.action)),
        weight: m.weight as i32,
        watch_kind: m.watch_port.as_ref().map(|p| WatchKind::WatchPort(bytes(p))),
    });
    ActionType::ActionProfileActionSet(v1::ActionProfileActionSet {
        action_profile_actions: actions.collect(),
        ..Default::default()
    })
}

impl EntityKey {
    /// The message that names this thing and says nothing of its value: what a delete or a read of one entity takes.
    pub fn to_proto(&self) -> v1::Entity {
        let proto = match self.view() {
            KeyView::Table { table, priority, fields } => Proto::TableEntry(v1::TableEntry {
                table_id: table,
                priority: priority as i32,
                r#match: fields.iter().map(|(id, m)| field_to_proto(*id, m)).collect(),
                ..Default::default()
            }),
            KeyView::DefaultAction { table } => {
                Proto::TableEntry(v1::TableEntry { table_id: table, is_default_action: true, ..Default::default() })
            }
            KeyView::MulticastGroup { id } => Proto::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry {
                r#type: Some(Pre::MulticastGroupEntry(v1::MulticastGroupEntry {
                    multicast_group_id: id,
                    ..Default::default()
                })),
            }),
            KeyView::CloneSession { id } => Proto::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry {
                r#type: Some(Pre::CloneSessionEntry(v1::CloneSessionEntry { session_id: id, ..Default::default() })),
            }),
            KeyView::Meter { id, index } => Proto::MeterEntry(v1::MeterEntry {
                meter_id: id,
                index: Some(v1::Index { index }),
                ..Default::default()
            }),
            KeyView::Member { profile, id } => Proto::ActionProfileMember(v1::ActionProfileMember {
                action_profile_id: profile,
                member_id: id,
                ..Default::default()
            }),
            KeyView::Group { profile, id } => Proto::ActionProfileGroup(v1::ActionProfileGroup {
                action_profile_id: profile,
                group_id: id,
                ..Default::default()
            }),
        };
        v1::Entity { entity: Some(proto) }
    }
}

impl Entity {
    /// The message for an insert or a modify.
    pub fn to_proto(&self) -> v1::Entity {
        let mut out = self.key.to_proto();
        match (out.entity.as_mut(), self.value.view()) {
            (Some(Proto::TableEntry(e)), ValueView::Action { action, extras }) => {
                table_action(e, ActionType::Action(action_to_proto(&action)), &extras);
            }
            (Some(Proto::TableEntry(e)), ValueView::OneShot { members, extras }) => {
                table_action(e, one_shot_to_proto(&members), &extras);
            }
            (Some(Proto::TableEntry(e)), ValueView::MemberRef { id, extras }) => {
                table_action(e, ActionType::ActionProfileMemberId(id), &extras);
            }
            (Some(Proto::TableEntry(e)), ValueView::GroupRef { id, extras }) => {
                table_action(e, ActionType::ActionProfileGroupId(id), &extras);
            }
            (Some(Proto::PacketReplicationEngineEntry(e)), ValueView::Multicast { replicas }) => {
                if let Some(Pre::MulticastGroupEntry(group)) = &mut e.r#type {
                    group.replicas = replicas.iter().map(replica_to_proto).collect();
                }
            }
            (
                Some(Proto::PacketReplicationEngineEntry(e)),
                ValueView::Clone { replicas, class_of_service, packet_length_bytes },
            ) => {
                if let Some(Pre::CloneSessionEntry(session)) = &mut e.r#type {
                    session.replicas = replicas.iter().map(replica_to_proto).collect();
                    session.class_of_service = class_of_service;
                    session.packet_length_bytes = packet_length_bytes;
                }
            }
            (Some(Proto::MeterEntry(e)), ValueView::Meter(m)) => e.config = Some(meter_to_proto(&m)),
            (Some(Proto::ActionProfileMember(e)), ValueView::Action { action, .. }) => {
                e.action = Some(action_to_proto(&action));
            }
            (Some(Proto::ActionProfileGroup(e)), ValueView::Members { max_size, members }) => {
                e.max_size = max_size as i32;
                e.members = members
                    .iter()
                    .map(|(id, weight, watch)| v1::action_profile_group::Member {
                        member_id: *id,
                        weight: *weight as i32,
                        watch_kind: watch.as_ref().map(|p| GroupWatch::WatchPort(bytes(p))),
                    })
                    .collect();
            }
            // A default action without a value, and whatever nobody builds.
            _ => {}
        }
        out
    }

    /// Reads a message, in canonical form whatever the form it came in.
    pub fn from_proto(proto: &v1::Entity) -> Result<Entity, ConvertError> {
        match proto.entity.as_ref() {
            Some(Proto::TableEntry(e)) => table_entry(e),
            Some(Proto::PacketReplicationEngineEntry(e)) => match e.r#type.as_ref() {
                Some(Pre::MulticastGroupEntry(g)) => {
                    Ok(Entity::multicast_group(g.multicast_group_id, replicas_from_proto(&g.replicas)?))
                }
                Some(Pre::CloneSessionEntry(s)) => Ok(Entity::clone_session(
                    s.session_id,
                    replicas_from_proto(&s.replicas)?,
                    s.class_of_service,
                    s.packet_length_bytes,
                )),
                None => Err(ConvertError::Missing {
                    field: "packet_replication_engine_entry.type",
                    allowed: "a multicast group or a clone session",
                }),
            },
            Some(Proto::MeterEntry(m)) => {
                let index = m.index.as_ref().map_or(0, |i| i.index);
                let config = m.config.as_ref().map(meter_from_proto);
                let value = config.map_or(ValueView::Unset, ValueView::Meter).pack();
                Ok(Entity::new(KeyView::Meter { id: m.meter_id, index }.pack(), value))
            }
            Some(Proto::ActionProfileMember(m)) => {
                let action = m.action.as_ref().map(action_from_proto);
                let extras = DirectExtras::default();
                let value = action.map_or(ValueView::Unset, |action| ValueView::Action { action, extras });
                let key = KeyView::Member { profile: m.action_profile_id, id: m.member_id };
                Ok(Entity::new(key.pack(), value.pack()))
            }
            Some(Proto::ActionProfileGroup(g)) => profile_group(g),
            Some(Proto::ExternEntry(_)) => Err(ConvertError::NotPlanned("extern_entry")),
            Some(Proto::DirectMeterEntry(_)) => Err(ConvertError::NotPlanned("direct_meter_entry")),
            Some(Proto::CounterEntry(_)) => Err(ConvertError::NotPlanned("counter_entry")),
            Some(Proto::DirectCounterEntry(_)) => Err(ConvertError::NotPlanned("direct_counter_entry")),
            Some(Proto::ValueSetEntry(_)) => Err(ConvertError::NotPlanned("value_set_entry")),
            Some(Proto::RegisterEntry(_)) => Err(ConvertError::NotPlanned("register_entry")),
            Some(Proto::DigestEntry(_)) => Err(ConvertError::NotPlanned("digest_entry")),
            None => Err(ConvertError::Missing { field: "entity", allowed: "one kind of entity" }),
        }
    }
}

/// The key of a table entry, whatever its value.
pub fn table_key(e: &v1::TableEntry) -> Result<EntityKey, ConvertError> {
    if e.is_default_action {
        return Ok(KeyView::DefaultAction { table: e.table_id }.pack());
    }
    let priority = unsigned("priority", i64::from(e.priority))?;
    let mut fields = smallvec::SmallVec::new();
    for f in &e.r#match {
        fields.extend(field_from_proto(f)?);
    }
    fields.sort_by_key(|(id, _)| *id);
    Ok(KeyView::Table { table: e.table_id, priority, fields }.pack())
}

fn table_entry(e: &v1::TableEntry) -> Result<Entity, ConvertError> {
    let key = table_key(e)?;
    let extras = DirectExtras {
        idle_timeout_ns: e.idle_timeout_ns.max(0) as u64,
        meter: e.meter_config.as_ref().map(meter_from_proto),
        metadata: e.metadata.to_vec(),
    };
    let value = match e.action.as_ref().and_then(|a| a.r#type.as_ref()) {
        Some(ActionType::Action(a)) => ValueView::Action { action: action_from_proto(a), extras },
        Some(ActionType::ActionProfileMemberId(id)) => ValueView::MemberRef { id: *id, extras },
        Some(ActionType::ActionProfileGroupId(id)) => ValueView::GroupRef { id: *id, extras },
        Some(ActionType::ActionProfileActionSet(set)) => {
            let mut members = Vec::with_capacity(set.action_profile_actions.len());
            for m in &set.action_profile_actions {
                let Some(action) = m.action.as_ref().map(action_from_proto) else {
                    return Err(ConvertError::Missing { field: "action_profile_action.action", allowed: "an action" });
                };
                members.push(OneShotMember {
                    action,
                    weight: unsigned("action_profile_action.weight", i64::from(m.weight))?,
                    watch_port: watch_from_proto(m.watch_kind.as_ref()),
                });
            }
            members.sort();
            ValueView::OneShot { members, extras }
        }
        None => ValueView::Unset,
    };
    Ok(Entity::new(key, value.pack()))
}

fn profile_group(g: &v1::ActionProfileGroup) -> Result<Entity, ConvertError> {
    let mut members = Vec::with_capacity(g.members.len());
    for m in &g.members {
        let watch = match &m.watch_kind {
            Some(GroupWatch::WatchPort(port)) => (!port.is_empty()).then(|| value(port)),
            #[allow(deprecated)]
            Some(GroupWatch::Watch(port)) => (*port != 0).then(|| P4Value::from(*port as u32)),
            None => None,
        };
        members.push((m.member_id, unsigned("member.weight", i64::from(m.weight))?, watch));
    }
    members.sort();
    let max_size = unsigned("max_size", i64::from(g.max_size))?;
    let key = KeyView::Group { profile: g.action_profile_id, id: g.group_id };
    Ok(Entity::new(key.pack(), ValueView::Members { max_size, members }.pack()))
}
