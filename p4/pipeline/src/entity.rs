//! `Entity`: the compact form of anything a switch holds.
//!
//! A key is what P4Runtime matches the thing by, a value is the rest. Both are packed byte strings, so that a plan of a
//! million entries hashes, compares and copies short inline arrays instead of trees of vectors. An IPv6 route is 24 bytes
//! of key and 11 of value, and neither allocates. [`view`] unpacks them, [`proto`] carries them to and from P4Runtime.

pub mod build;
pub mod pack;
pub mod proto;
pub mod view;

use std::fmt;

use smallvec::SmallVec;

pub use build::{OneShotBuilder, TableActionBuilder, TableEntryBuilder};
pub use pack::P4Value;
pub use proto::ConvertError;
pub use view::{Action, DirectExtras, KeyView, Match, MeterConfig, OneShotMember, Replica, ValueView};

/// What class of thing a key names. The order is the order in which things are created: whatever comes first is never
/// pointed at by what came before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Kind {
    /// PRE multicast group (P4Runtime 1.4 §9.5.1).
    MulticastGroup = 1,
    /// PRE clone session (§9.5.2).
    CloneSession = 2,
    /// One cell of an indirect meter (§9.4).
    Meter = 3,
    /// Action profile member (§9.2.1).
    Member = 4,
    /// Action profile group (§9.2.2).
    Group = 5,
    /// Entry of a table without priority: exact and LPM keys (§9.1).
    TableEntry = 16,
    /// Entry of a table with priority: ternary, range or optional keys (§9.1).
    TernaryEntry = 17,
    /// Default action of a table (§9.1.3).
    DefaultAction = 18,
}

impl Kind {
    pub(crate) fn from_tag(tag: u8) -> Option<Kind> {
        Some(match tag {
            1 => Kind::MulticastGroup,
            2 => Kind::CloneSession,
            3 => Kind::Meter,
            4 => Kind::Member,
            5 => Kind::Group,
            16 => Kind::TableEntry,
            17 => Kind::TernaryEntry,
            18 => Kind::DefaultAction,
            _ => return None,
        })
    }

    /// True for the things that are only ever modified: they exist as long as the pipeline does.
    pub fn always_exists(self) -> bool {
        matches!(self, Kind::DefaultAction | Kind::Meter)
    }
}

/// What P4Runtime matches a thing by: its kind, the P4 object and the match fields. Packed and canonical: two keys are
/// equal exactly when a switch takes them for the same thing.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityKey(pub(crate) SmallVec<[u8; 32]>);

/// All of a thing that is not its key. Packed and canonical: equal values behave equally.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntityValue(pub(crate) SmallVec<[u8; 16]>);

/// One thing a switch holds: a table entry, a default action, a multicast group, a clone session, a meter setting or a
/// piece of an action profile.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Entity {
    pub key: EntityKey,
    pub value: EntityValue,
}

impl EntityKey {
    /// The class of thing this key names.
    pub fn kind(&self) -> Kind {
        // A key is only made by `pack` and by `from_bytes`, which both write a valid tag.
        self.0.first().and_then(|t| Kind::from_tag(*t)).unwrap_or(Kind::TableEntry)
    }

    /// The P4 object's id: table, meter, action profile; the group or session id for the PRE.
    pub fn object_id(&self) -> u32 {
        let b = &self.0;
        if b.len() < 5 { 0 } else { u32::from_be_bytes([b[1], b[2], b[3], b[4]]) }
    }

    /// The table's id, when this is a table entry or a default action.
    pub fn table_id(&self) -> Option<u32> {
        matches!(self.kind(), Kind::TableEntry | Kind::TernaryEntry | Kind::DefaultAction).then(|| self.object_id())
    }

    /// The packed form: stable, ordered as the keys are, and accepted by [`EntityKey::from_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the packed form back. `None` when the bytes are not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<EntityKey> {
        let key = EntityKey(SmallVec::from_slice(bytes));
        Kind::from_tag(*bytes.first()?)?;
        let again = view::unpack_key(&key)?.pack();
        (again == key).then_some(key)
    }
}

impl EntityValue {
    /// The packed form: stable and accepted by [`EntityValue::from_bytes`].
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Reads the packed form back. `None` when the bytes are not one.
    pub fn from_bytes(bytes: &[u8]) -> Option<EntityValue> {
        let value = EntityValue(SmallVec::from_slice(bytes));
        let again = view::unpack_value(&value)?.pack();
        (again == value).then_some(value)
    }

    /// Whether this is a table entry's value with a setting of its direct meter.
    pub fn has_direct_meter(&self) -> bool {
        self.0.first().is_some_and(|tag| tag & view::HAS_METER != 0)
    }

    /// A 64-bit fingerprint, for holding what a switch has without holding it twice.
    pub fn fingerprint(&self) -> u64 {
        // FNV-1a over the packed bytes with a final mix: values are short and come from switches we program.
        let mut h = 0xcbf2_9ce4_8422_2325u64;
        for b in &self.0 {
            h = (h ^ u64::from(*b)).wrapping_mul(0x0100_0000_01b3);
        }
        h ^= h >> 29;
        h = h.wrapping_mul(0xbf58_476d_1ce4_e5b9);
        h ^ (h >> 32)
    }
}

impl Entity {
    pub fn new(key: EntityKey, value: EntityValue) -> Entity {
        Entity { key, value }
    }

    /// A multicast group with its replicas. The order of the replicas does not matter.
    pub fn multicast_group(id: u32, replicas: impl IntoIterator<Item = Replica>) -> Entity {
        let mut replicas: Vec<Replica> = replicas.into_iter().collect();
        replicas.sort();
        replicas.dedup();
        Entity::new(KeyView::MulticastGroup { id }.pack(), ValueView::Multicast { replicas }.pack())
    }

    /// A clone session. `packet_length_bytes` 0 means the whole packet.
    pub fn clone_session(
        id: u32,
        replicas: impl IntoIterator<Item = Replica>,
        class_of_service: u32,
        packet_length_bytes: i32,
    ) -> Entity {
        let mut replicas: Vec<Replica> = replicas.into_iter().collect();
        replicas.sort();
        replicas.dedup();
        let value = ValueView::Clone { replicas, class_of_service, packet_length_bytes };
        Entity::new(KeyView::CloneSession { id }.pack(), value.pack())
    }

    /// The setting of one cell of an indirect meter.
    pub fn meter(meter_id: u32, index: i64, config: MeterConfig) -> Entity {
        Entity::new(KeyView::Meter { id: meter_id, index }.pack(), ValueView::Meter(config).pack())
    }

    /// A table's default action.
    pub fn default_action(table_id: u32, action: Action) -> Entity {
        let value = ValueView::Action { action, extras: DirectExtras::default() };
        Entity::new(KeyView::DefaultAction { table: table_id }.pack(), value.pack())
    }
}

impl fmt::Debug for EntityKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match view::unpack_key(self) {
            Some(view) => view.fmt(f),
            None => write!(f, "EntityKey({:02x?})", self.0.as_slice()),
        }
    }
}

impl fmt::Debug for EntityValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match view::unpack_value(self) {
            Some(view) => view.fmt(f),
            None => write!(f, "EntityValue({:02x?})", self.0.as_slice()),
        }
    }
}

impl fmt::Debug for Entity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} => {:?}", self.key, self.value)
    }
}
