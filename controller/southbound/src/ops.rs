//! What is asked of a switch: writes and reads; and how it fails.

use p4runtime_proto::p4::v1;
use pergola_pipeline::{Entity, EntityKey, EntityValue, Kind};
use v1::entity::Entity as Proto;

/// How one entity is to change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verb {
    Insert,
    Modify,
    /// Of a default action and of a meter cell: back to what the program gives.
    Delete,
}

/// One update of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WriteOp {
    pub verb: Verb,
    pub key: EntityKey,
    /// `None` for a delete.
    pub value: Option<EntityValue>,
}

impl WriteOp {
    pub fn to_proto(&self) -> v1::Update {
        let kind = match self.verb {
            Verb::Insert => v1::update::Type::Insert,
            Verb::Modify => v1::update::Type::Modify,
            // What always exists is reset by a modify without a value (P4Runtime 1.4 §9.1.3, §9.4).
            Verb::Delete if self.key.kind().always_exists() => v1::update::Type::Modify,
            Verb::Delete => v1::update::Type::Delete,
        };
        let entity = match &self.value {
            Some(value) => Entity::new(self.key.clone(), value.clone()).to_proto(),
            None => self.key.to_proto(),
        };
        v1::Update { r#type: kind as i32, entity: Some(entity) }
    }
}

/// A part of what a switch holds, small enough to be read in one go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ReadScope {
    /// All entries of a table, with direct meter settings if asked for.
    Table {
        id: u32,
        meters: bool,
    },
    DefaultAction(u32),
    MulticastGroups,
    CloneSessions,
    Meter(u32),
    Members(u32),
    Groups(u32),
}

impl ReadScope {
    /// Whether a thing with this key is in the scope.
    pub fn holds(&self, key: &EntityKey) -> bool {
        let (kind, id) = (key.kind(), key.object_id());
        match self {
            ReadScope::Table { id: table, .. } => matches!(kind, Kind::TableEntry | Kind::TernaryEntry) && id == *table,
            ReadScope::DefaultAction(table) => kind == Kind::DefaultAction && id == *table,
            ReadScope::MulticastGroups => kind == Kind::MulticastGroup,
            ReadScope::CloneSessions => kind == Kind::CloneSession,
            ReadScope::Meter(meter) => kind == Kind::Meter && id == *meter,
            ReadScope::Members(profile) => kind == Kind::Member && id == *profile,
            ReadScope::Groups(profile) => kind == Kind::Group && id == *profile,
        }
    }

    pub fn to_proto(self) -> v1::Entity {
        let proto = match self {
            ReadScope::Table { id, meters } => Proto::TableEntry(v1::TableEntry {
                table_id: id,
                meter_config: meters.then(v1::MeterConfig::default),
                ..Default::default()
            }),
            ReadScope::DefaultAction(id) => {
                Proto::TableEntry(v1::TableEntry { table_id: id, is_default_action: true, ..Default::default() })
            }
            ReadScope::MulticastGroups => {
                pre(v1::packet_replication_engine_entry::Type::MulticastGroupEntry(v1::MulticastGroupEntry::default()))
            }
            ReadScope::CloneSessions => {
                pre(v1::packet_replication_engine_entry::Type::CloneSessionEntry(v1::CloneSessionEntry::default()))
            }
            ReadScope::Meter(id) => Proto::MeterEntry(v1::MeterEntry { meter_id: id, ..Default::default() }),
            ReadScope::Members(id) => {
                Proto::ActionProfileMember(v1::ActionProfileMember { action_profile_id: id, ..Default::default() })
            }
            ReadScope::Groups(id) => {
                Proto::ActionProfileGroup(v1::ActionProfileGroup { action_profile_id: id, ..Default::default() })
            }
        };
        v1::Entity { entity: Some(proto) }
    }
}

fn pre(kind: v1::packet_replication_engine_entry::Type) -> Proto {
    Proto::PacketReplicationEngineEntry(v1::PacketReplicationEngineEntry { r#type: Some(kind) })
}

/// A call, or one update of it, that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{code:?}: {message}")]
pub struct Fault {
    pub code: tonic::Code,
    pub message: String,
}

impl Fault {
    pub fn new(code: tonic::Code, message: impl Into<String>) -> Fault {
        Fault { code, message: message.into() }
    }
}

impl From<tonic::Status> for Fault {
    fn from(status: tonic::Status) -> Fault {
        Fault::new(status.code(), status.message())
    }
}
