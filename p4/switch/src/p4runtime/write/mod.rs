//! One update of a Write: checked against the schema, applied to the data plane, remembered (P4Runtime 9 and 12).

mod arrays;
mod profiles;
mod replication;
mod sets;
mod tables;

use std::time::Instant;

use p4runtime_proto::p4::v1::{self, entity::Entity as Kind, update::Type};

use self::tables::Wanted;
use super::{
    batch::Change,
    failure::{Failure, Outcome},
    pipeline::Pipeline,
};

/// The kind of entity, for messages.
pub(super) fn noun(entity: &Kind) -> &'static str {
    match entity {
        Kind::ExternEntry(_) => "extern_entry",
        Kind::TableEntry(_) => "table_entry",
        Kind::ActionProfileMember(_) => "action_profile_member",
        Kind::ActionProfileGroup(_) => "action_profile_group",
        Kind::MeterEntry(_) => "meter_entry",
        Kind::DirectMeterEntry(_) => "direct_meter_entry",
        Kind::CounterEntry(_) => "counter_entry",
        Kind::DirectCounterEntry(_) => "direct_counter_entry",
        Kind::PacketReplicationEngineEntry(_) => "packet_replication_engine_entry",
        Kind::ValueSetEntry(_) => "value_set_entry",
        Kind::RegisterEntry(_) => "register_entry",
        Kind::DigestEntry(_) => "digest_entry",
    }
}

/// The P4Info id that an entity belongs to; none for multicast groups and clone sessions.
pub(super) fn object_id(entity: &Kind) -> Option<u32> {
    let of_table = |entry: &Option<v1::TableEntry>| entry.as_ref().map_or(0, |entry| entry.table_id);
    Some(match entity {
        Kind::ExternEntry(entry) => entry.extern_id,
        Kind::TableEntry(entry) => entry.table_id,
        Kind::ActionProfileMember(entry) => entry.action_profile_id,
        Kind::ActionProfileGroup(entry) => entry.action_profile_id,
        Kind::MeterEntry(entry) => entry.meter_id,
        Kind::DirectMeterEntry(entry) => of_table(&entry.table_entry),
        Kind::CounterEntry(entry) => entry.counter_id,
        Kind::DirectCounterEntry(entry) => of_table(&entry.table_entry),
        Kind::PacketReplicationEngineEntry(_) => return None,
        Kind::ValueSetEntry(entry) => entry.value_set_id,
        Kind::RegisterEntry(entry) => entry.register_id,
        Kind::DigestEntry(entry) => entry.digest_id,
    })
}

/// Refuses updates other than `MODIFY` of an entity that always exists.
fn modify_only(update: Type, what: &str) -> Outcome<()> {
    match update {
        Type::Modify => Ok(()),
        other => {
            Err(Failure::invalid(format!("{what}: {} is not allowed, it can only be modified", other.as_str_name())))
        }
    }
}

/// The cells that an index stands for (P4Runtime 9.3): all of them when it is unset.
pub(super) fn cells(index: Option<&v1::Index>, size: usize) -> Outcome<std::ops::Range<usize>> {
    let Some(index) = index else { return Ok(0..size) };
    let at =
        usize::try_from(index.index).map_err(|_| Failure::invalid(format!("index {} is negative", index.index)))?;
    if at >= size {
        return Err(Failure::out_of_range(format!("index {at} is not within 0..{size}")));
    }
    Ok(at..at + 1)
}

fn update_type(kind: i32) -> Outcome<Type> {
    match Type::try_from(kind) {
        Ok(Type::Unspecified) | Err(_) => Err(Failure::invalid(format!("update type {kind} is not valid"))),
        Ok(kind) => Ok(kind),
    }
}

impl Pipeline {
    /// The same for an update as it is read.
    ///
    /// # Errors
    /// As [`Pipeline::apply`].
    pub fn apply_change(&mut self, change: &Change<'_>, now: Instant) -> Outcome<()> {
        match change {
            Change::Update(update) => self.apply(update, now),
            Change::Plain(kind, plain) => self.write_table(update_type(*kind)?, &Wanted::plain(plain), now),
        }
    }

    /// Applies one update, wholly or not at all.
    ///
    /// # Errors
    /// With the code that P4Runtime names for the case; nothing is changed then.
    pub fn apply(&mut self, update: &v1::Update, now: Instant) -> Outcome<()> {
        let kind = update_type(update.r#type)?;
        let entity = update.entity.as_ref().and_then(|entity| entity.entity.as_ref());
        let entity = entity.ok_or_else(|| Failure::invalid("entity is not set"))?;
        match entity {
            Kind::TableEntry(entry) => self.write_table(kind, &Wanted::of(entry), now),
            Kind::ActionProfileMember(member) => self.write_member(kind, member),
            Kind::ActionProfileGroup(group) => self.write_group(kind, group),
            Kind::MeterEntry(entry) => self.write_meter(kind, entry),
            Kind::DirectMeterEntry(entry) => self.write_direct_meter(kind, entry),
            Kind::CounterEntry(entry) => self.write_counter(kind, entry),
            Kind::DirectCounterEntry(entry) => self.write_direct_counter(kind, entry),
            Kind::PacketReplicationEngineEntry(entry) => self.write_replication(kind, entry),
            Kind::ValueSetEntry(entry) => self.write_value_set(kind, entry),
            Kind::RegisterEntry(entry) => self.write_register(kind, entry),
            Kind::DigestEntry(entry) => self.write_digest(kind, entry),
            Kind::ExternEntry(entry) => {
                Err(Failure::unimplemented(format!("extern_entry: extern type {} is not known", entry.extern_type_id)))
            }
        }
    }
}
