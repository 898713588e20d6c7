//! The unpacked form of keys and values: what explains an entry to people and what conversions work on.

use smallvec::SmallVec;

use super::pack::{Put, Take};
use super::{EntityKey, EntityValue, Kind, P4Value};

/// One match field of a table entry. A field that matches anything is left out of the key (P4Runtime 1.4 §9.1.1).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Match {
    Exact(P4Value),
    /// Value and prefix length in bits.
    Lpm(P4Value, u32),
    /// Value and mask.
    Ternary(P4Value, P4Value),
    /// Low and high, both included.
    Range(P4Value, P4Value),
    Optional(P4Value),
}

/// A key, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeyView {
    /// `fields` ordered by field id. `priority` 0 means the table has none.
    Table {
        table: u32,
        priority: u32,
        fields: SmallVec<[(u32, Match); 4]>,
    },
    DefaultAction {
        table: u32,
    },
    MulticastGroup {
        id: u32,
    },
    CloneSession {
        id: u32,
    },
    Meter {
        id: u32,
        index: i64,
    },
    Member {
        profile: u32,
        id: u32,
    },
    Group {
        profile: u32,
        id: u32,
    },
}

/// An action with its parameters, ordered by parameter id.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Action {
    pub id: u32,
    pub params: SmallVec<[(u32, P4Value); 4]>,
}

impl Action {
    /// An action; parameters in any order.
    pub fn new(id: u32, params: impl IntoIterator<Item = (u32, P4Value)>) -> Action {
        let mut params: SmallVec<[(u32, P4Value); 4]> = params.into_iter().collect();
        params.sort_by_key(|p| p.0);
        Action { id, params }
    }
}

/// One member of a one-shot action set (§9.2.3).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OneShotMember {
    pub action: Action,
    pub weight: u32,
    /// The member is used only while this port is up.
    pub watch_port: Option<P4Value>,
}

/// A two-rate three-colour meter's setting, in the meter's unit (bytes or packets) a second and burst.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MeterConfig {
    pub cir: u64,
    pub cburst: u64,
    pub pir: u64,
    pub pburst: u64,
}

/// What a table entry has beside its action. All of it is optional and usually absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DirectExtras {
    /// Idle time after which the switch notifies; 0 is never.
    pub idle_timeout_ns: u64,
    /// Setting of the table's direct meter for this entry.
    pub meter: Option<MeterConfig>,
    pub metadata: Vec<u8>,
}

/// A copy made by a multicast group or a clone session.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Replica {
    pub port: u32,
    pub instance: u32,
}

/// A value, unpacked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ValueView {
    Action {
        action: Action,
        extras: DirectExtras,
    },
    /// Members in canonical order.
    OneShot {
        members: Vec<OneShotMember>,
        extras: DirectExtras,
    },
    /// A table entry that points at a member of its action profile.
    MemberRef {
        id: u32,
        extras: DirectExtras,
    },
    /// A table entry that points at a group of its action profile.
    GroupRef {
        id: u32,
        extras: DirectExtras,
    },
    /// No action: the table's default action as the program gives it.
    Unset,
    Multicast {
        replicas: Vec<Replica>,
    },
    Clone {
        replicas: Vec<Replica>,
        class_of_service: u32,
        packet_length_bytes: i32,
    },
    Meter(MeterConfig),
    /// An action profile group: (member id, weight, watch port) in order of the ids.
    Members {
        max_size: u32,
        members: Vec<(u32, u32, Option<P4Value>)>,
    },
}

const EXACT: u8 = 0;
const LPM: u8 = 1;
const TERNARY: u8 = 2;
const RANGE: u8 = 3;
const OPTIONAL: u8 = 4;
/// A field's length shares a byte with its type up to here; longer ones follow as a varint.
const LONG: u8 = 31;

/// Appends one match field.
fn pack_field(out: &mut SmallVec<[u8; 32]>, id: u32, m: &Match) {
    let (tag, value) = match m {
        // These match anything, which is said by leaving the field out.
        Match::Lpm(_, 0) => return,
        Match::Ternary(_, mask) if mask.is_zero() => return,
        Match::Exact(v) => (EXACT, v),
        Match::Lpm(v, _) => (LPM, v),
        Match::Ternary(v, _) => (TERNARY, v),
        Match::Range(v, _) => (RANGE, v),
        Match::Optional(v) => (OPTIONAL, v),
    };
    let value = value.as_slice();
    out.varint(u64::from(id));
    if value.len() < usize::from(LONG) {
        out.byte((tag << 5) | value.len() as u8);
    } else {
        out.byte((tag << 5) | LONG);
        out.varint(value.len() as u64);
    }
    out.put(value);
    match m {
        // One less than it is, so that 128 takes one byte: 0 is never written.
        Match::Lpm(_, len) => out.varint(u64::from(*len) - 1),
        Match::Ternary(_, second) | Match::Range(_, second) => out.bytes(second.as_slice()),
        Match::Exact(_) | Match::Optional(_) => {}
    }
}

/// The first bytes of a key.
fn pack_header(kind: Kind, object: u32) -> SmallVec<[u8; 32]> {
    let mut out = SmallVec::new();
    out.byte(kind as u8);
    out.be32(object);
    out
}

impl KeyView {
    /// The packed key.
    pub fn pack(&self) -> EntityKey {
        EntityKey(match self {
            KeyView::Table { table, priority, fields } => {
                let mut out = if *priority == 0 {
                    pack_header(Kind::TableEntry, *table)
                } else {
                    let mut out = pack_header(Kind::TernaryEntry, *table);
                    out.be32(*priority);
                    out
                };
                fields.iter().for_each(|(id, m)| pack_field(&mut out, *id, m));
                out
            }
            KeyView::DefaultAction { table } => pack_header(Kind::DefaultAction, *table),
            KeyView::MulticastGroup { id } => pack_header(Kind::MulticastGroup, *id),
            KeyView::CloneSession { id } => pack_header(Kind::CloneSession, *id),
            KeyView::Meter { id, index } => {
                let mut out = pack_header(Kind::Meter, *id);
                out.varint(*index as u64);
                out
            }
            KeyView::Member { profile, id } => {
                let mut out = pack_header(Kind::Member, *profile);
                out.be32(*id);
                out
            }
            KeyView::Group { profile, id } => {
                let mut out = pack_header(Kind::Group, *profile);
                out.be32(*id);
                out
            }
        })
    }
}

fn take_field(t: &mut Take<'_>) -> Option<(u32, Match)> {
    let id = t.varint32()?;
    let head = t.byte()?;
    let len = if head & 0x1f == LONG { t.varint32()? as usize } else { usize::from(head & 0x1f) };
    let value = P4Value::new(t.take(len)?);
    let m = match head >> 5 {
        EXACT => Match::Exact(value),
        LPM => Match::Lpm(value, t.varint32()?.checked_add(1)?),
        TERNARY => Match::Ternary(value, t.value()?),
        RANGE => Match::Range(value, t.value()?),
        OPTIONAL => Match::Optional(value),
        _ => return None,
    };
    Some((id, m))
}

/// Unpacks a key; `None` only for bytes that no key was packed to.
pub(crate) fn unpack_key(key: &EntityKey) -> Option<KeyView> {
    let mut t = Take(&key.0);
    let kind = Kind::from_tag(t.byte()?)?;
    let id = t.be32()?;
    let view = match kind {
        Kind::TableEntry | Kind::TernaryEntry => {
            let priority = if kind == Kind::TernaryEntry { t.be32()? } else { 0 };
            let mut fields = SmallVec::new();
            while !t.is_empty() {
                fields.push(take_field(&mut t)?);
            }
            KeyView::Table { table: id, priority, fields }
        }
        Kind::DefaultAction => KeyView::DefaultAction { table: id },
        Kind::MulticastGroup => KeyView::MulticastGroup { id },
        Kind::CloneSession => KeyView::CloneSession { id },
        Kind::Meter => KeyView::Meter { id, index: t.varint()? as i64 },
        Kind::Member => KeyView::Member { profile: id, id: t.be32()? },
        Kind::Group => KeyView::Group { profile: id, id: t.be32()? },
    };
    t.is_empty().then_some(view)
}

// A value begins with its form; the three high bits say which extras of a table entry follow.
const ACTION: u8 = 1;
const ONE_SHOT: u8 = 2;
const MEMBER_REF: u8 = 3;
const GROUP_REF: u8 = 4;
const UNSET: u8 = 5;
const MULTICAST: u8 = 6;
const CLONE: u8 = 7;
const METER: u8 = 8;
const MEMBERS: u8 = 9;
const HAS_IDLE: u8 = 0x20;
pub(super) const HAS_METER: u8 = 0x40;
const HAS_METADATA: u8 = 0x80;

type ValueBytes = SmallVec<[u8; 16]>;

fn put_meter(out: &mut ValueBytes, m: &MeterConfig) {
    [m.cir, m.cburst, m.pir, m.pburst].iter().for_each(|n| out.varint(*n));
}

fn take_meter(t: &mut Take<'_>) -> Option<MeterConfig> {
    Some(MeterConfig { cir: t.varint()?, cburst: t.varint()?, pir: t.varint()?, pburst: t.varint()? })
}

fn pack_head(form: u8, extras: &DirectExtras) -> ValueBytes {
    let mut out = ValueBytes::new();
    let mut tag = form;
    tag |= if extras.idle_timeout_ns != 0 { HAS_IDLE } else { 0 };
    tag |= if extras.meter.is_some() { HAS_METER } else { 0 };
    tag |= if extras.metadata.is_empty() { 0 } else { HAS_METADATA };
    out.byte(tag);
    if extras.idle_timeout_ns != 0 {
        out.varint(extras.idle_timeout_ns);
    }
    if let Some(m) = &extras.meter {
        put_meter(&mut out, m);
    }
    if !extras.metadata.is_empty() {
        out.bytes(&extras.metadata);
    }
    out
}

fn put_action(out: &mut ValueBytes, action: &Action) {
    out.be32(action.id);
    for (id, value) in &action.params {
        out.varint(u64::from(*id));
        out.bytes(value.as_slice());
    }
}

fn take_action(t: &mut Take<'_>) -> Option<Action> {
    let id = t.be32()?;
    let mut params = SmallVec::new();
    while !t.is_empty() {
        params.push((t.varint32()?, t.value()?));
    }
    Some(Action { id, params })
}

fn put_watch(out: &mut ValueBytes, watch: Option<&P4Value>) {
    out.bytes(watch.map_or(&[], |w| w.as_slice()));
}

fn take_watch(t: &mut Take<'_>) -> Option<Option<P4Value>> {
    let b = t.bytes()?;
    Some((!b.is_empty()).then(|| P4Value::new(b)))
}

fn put_replicas(out: &mut ValueBytes, replicas: &[Replica]) {
    for r in replicas {
        out.varint(u64::from(r.port));
        out.varint(u64::from(r.instance));
    }
}

fn take_replicas(t: &mut Take<'_>) -> Option<Vec<Replica>> {
    let mut out = Vec::new();
    while !t.is_empty() {
        out.push(Replica { port: t.varint32()?, instance: t.varint32()? });
    }
    Some(out)
}

impl ValueView {
    /// The packed value.
    pub fn pack(&self) -> EntityValue {
        let none = DirectExtras::default();
        EntityValue(match self {
            ValueView::Action { action, extras } => {
                let mut out = pack_head(ACTION, extras);
                put_action(&mut out, action);
                out
            }
            ValueView::OneShot { members, extras } => {
                let mut out = pack_head(ONE_SHOT, extras);
                for m in members {
                    out.varint(u64::from(m.weight));
                    put_watch(&mut out, m.watch_port.as_ref());
                    let mut action = ValueBytes::new();
                    put_action(&mut action, &m.action);
                    out.bytes(&action);
                }
                out
            }
            ValueView::MemberRef { id, extras } => {
                let mut out = pack_head(MEMBER_REF, extras);
                out.be32(*id);
                out
            }
            ValueView::GroupRef { id, extras } => {
                let mut out = pack_head(GROUP_REF, extras);
                out.be32(*id);
                out
            }
            ValueView::Unset => pack_head(UNSET, &none),
            ValueView::Multicast { replicas } => {
                let mut out = pack_head(MULTICAST, &none);
                put_replicas(&mut out, replicas);
                out
            }
            ValueView::Clone { replicas, class_of_service, packet_length_bytes } => {
                let mut out = pack_head(CLONE, &none);
                out.varint(u64::from(*class_of_service));
                out.be32(*packet_length_bytes as u32);
                put_replicas(&mut out, replicas);
                out
            }
            ValueView::Meter(m) => {
                let mut out = pack_head(METER, &none);
                put_meter(&mut out, m);
                out
            }
            ValueView::Members { max_size, members } => {
                let mut out = pack_head(MEMBERS, &none);
                out.varint(u64::from(*max_size));
                for (id, weight, watch) in members {
                    out.be32(*id);
                    out.varint(u64::from(*weight));
                    put_watch(&mut out, watch.as_ref());
                }
                out
            }
        })
    }
}

/// Unpacks a value; `None` only for bytes that no value was packed to.
pub(crate) fn unpack_value(value: &EntityValue) -> Option<ValueView> {
    let mut t = Take(&value.0);
    let tag = t.byte()?;
    let mut extras = DirectExtras::default();
    if tag & HAS_IDLE != 0 {
        extras.idle_timeout_ns = t.varint()?;
    }
    if tag & HAS_METER != 0 {
        extras.meter = Some(take_meter(&mut t)?);
    }
    if tag & HAS_METADATA != 0 {
        extras.metadata = t.bytes()?.to_vec();
    }
    let view = match tag & 0x1f {
        ACTION => ValueView::Action { action: take_action(&mut t)?, extras },
        ONE_SHOT => {
            let mut members = Vec::new();
            while !t.is_empty() {
                let weight = t.varint32()?;
                let watch_port = take_watch(&mut t)?;
                let action = take_action(&mut Take(t.bytes()?))?;
                members.push(OneShotMember { action, weight, watch_port });
            }
            ValueView::OneShot { members, extras }
        }
        MEMBER_REF => ValueView::MemberRef { id: t.be32()?, extras },
        GROUP_REF => ValueView::GroupRef { id: t.be32()?, extras },
        UNSET => ValueView::Unset,
        MULTICAST => ValueView::Multicast { replicas: take_replicas(&mut t)? },
        CLONE => {
            let class_of_service = t.varint32()?;
            let packet_length_bytes = t.be32()? as i32;
            ValueView::Clone { replicas: take_replicas(&mut t)?, class_of_service, packet_length_bytes }
        }
        METER => ValueView::Meter(take_meter(&mut t)?),
        MEMBERS => {
            let max_size = t.varint32()?;
            let mut members = Vec::new();
            while !t.is_empty() {
                members.push((t.be32()?, t.varint32()?, take_watch(&mut t)?));
            }
            ValueView::Members { max_size, members }
        }
        _ => return None,
    };
    t.is_empty().then_some(view)
}

impl EntityKey {
    /// The key unpacked. Keys are only made by packing, so this always finds one.
    pub fn view(&self) -> KeyView {
        unpack_key(self).unwrap_or(KeyView::DefaultAction { table: 0 })
    }
}

impl EntityValue {
    /// The value unpacked. Values are only made by packing, so this always finds one.
    pub fn view(&self) -> ValueView {
        unpack_value(self).unwrap_or(ValueView::Unset)
    }
}
