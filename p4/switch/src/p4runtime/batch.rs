//! A `WriteRequest` as it is read from the wire.
//!
//! prost makes some fifteen allocated pieces of one update. In large batches most updates are a table entry's key, action and
//! priority and nothing else: those are read here as slices of the request. An update that has anything more, has a field
//! twice or one that is not known is prost's, and so is every request that is malformed: the rules and errors are prost's.

use std::{borrow::Cow, ops::Range};

use bytes::Bytes;
use p4runtime_proto::p4::v1;
use prost::{DecodeError, Message};

use super::matching::Given;

/// A batch of updates.
pub struct Batch<'m> {
    pub device_id: u64,
    pub role: Cow<'m, str>,
    pub election_id: Option<v1::Uint128>,
    pub atomicity: i32,
    changes: Vec<Stored<'m>>,
    /// Match fields and parameters of all plain entries.
    keys: Vec<(u32, Given<'m>)>,
    params: Vec<(u32, &'m [u8])>,
}

/// One update.
pub enum Change<'a> {
    /// A table entry with a key, an action and a priority, and every other field in its default.
    Plain(i32, Plain<'a>),
    Update(&'a v1::Update),
}

/// Such an entry.
#[derive(Clone, Copy)]
pub struct Plain<'a> {
    pub table_id: u32,
    /// Ids and values of match fields.
    pub key: &'a [(u32, Given<'a>)],
    pub action: Option<PlainAction<'a>>,
    pub priority: i32,
}

/// An action that is not of a profile.
#[derive(Clone, Copy)]
pub struct PlainAction<'a> {
    pub id: u32,
    /// Ids and values.
    pub params: &'a [(u32, &'a [u8])],
}

enum Stored<'m> {
    Plain { kind: i32, table_id: u32, key: Range<u32>, action: Option<(u32, Range<u32>)>, priority: i32 },
    Borrowed(&'m v1::Update),
    Owned(Box<v1::Update>),
}

fn span(range: &Range<u32>) -> Range<usize> {
    range.start as usize..range.end as usize
}

impl<'m> Batch<'m> {
    /// The updates of a message.
    pub fn of(request: &'m v1::WriteRequest) -> Self {
        Batch {
            device_id: request.device_id,
            role: Cow::Borrowed(&request.role),
            election_id: request.election_id,
            atomicity: request.atomicity,
            changes: request.updates.iter().map(Stored::Borrowed).collect(),
            keys: Vec::new(),
            params: Vec::new(),
        }
    }

    /// Reads a serialized request.
    ///
    /// # Errors
    /// prost's, when it is malformed.
    pub fn read(bytes: &'m Bytes) -> Result<Self, DecodeError> {
        if let Some(batch) = Self::read_plain(bytes) {
            return Ok(batch);
        }
        let v1::WriteRequest { device_id, role, election_id, updates, atomicity, .. } =
            v1::WriteRequest::decode(bytes.clone())?;
        let changes = updates.into_iter().map(|update| Stored::Owned(Box::new(update))).collect();
        let role = Cow::Owned(role);
        Ok(Batch { device_id, role, election_id, atomicity, changes, keys: Vec::new(), params: Vec::new() })
    }

    /// None for what prost must read as a whole.
    fn read_plain(bytes: &'m Bytes) -> Option<Self> {
        // An update of a plain entry takes some 70 bytes.
        let room = bytes.len() / 64;
        let mut batch = Batch {
            device_id: 0,
            role: Cow::Borrowed(""),
            election_id: None,
            atomicity: 0,
            changes: Vec::with_capacity(room),
            keys: Vec::with_capacity(2 * room),
            params: Vec::with_capacity(2 * room),
        };
        let mut fields = Fields::new(bytes);
        while let Some(tag) = fields.next()? {
            match tag {
                DEVICE_ID => batch.device_id = fields.varint()?,
                ROLE_ID => drop(fields.varint()?),
                // A message that comes twice is merged, not replaced.
                ELECTION_ID => batch.election_id.get_or_insert_default().merge(fields.bytes()?).ok()?,
                UPDATES => {
                    let update = fields.bytes()?;
                    let (keys, params) = (batch.keys.len(), batch.params.len());
                    let stored = match batch.plain(update) {
                        Some(plain) => plain,
                        None => {
                            batch.keys.truncate(keys);
                            batch.params.truncate(params);
                            Stored::Owned(Box::new(v1::Update::decode(bytes.slice_ref(update)).ok()?))
                        }
                    };
                    batch.changes.push(stored);
                    fields.seen = 0;
                }
                ATOMICITY => batch.atomicity = fields.varint()? as i32,
                ROLE => batch.role = Cow::Borrowed(std::str::from_utf8(fields.bytes()?).ok()?),
                _ => return None,
            }
        }
        Some(batch)
    }

    fn plain(&mut self, update: &'m [u8]) -> Option<Stored<'m>> {
        let (mut kind, mut entity) = (0, None);
        let mut fields = Fields::new(update);
        while let Some(tag) = fields.next()? {
            match tag {
                0x08 => kind = fields.varint()? as i32,
                0x12 => entity = Some(fields.bytes()?),
                _ => return None,
            }
        }
        let mut fields = Fields::new(entity?);
        let Some(TABLE_ENTRY) = fields.next()? else { return None };
        let entry = fields.bytes()?;
        if fields.next()?.is_some() {
            return None;
        }
        let (mut table_id, mut priority, mut action) = (0, 0, None);
        let key = self.keys.len() as u32;
        let mut fields = Fields::new(entry);
        while let Some(tag) = fields.next()? {
            match tag {
                0x08 => table_id = fields.varint()? as u32,
                0x12 => {
                    self.keys.push(match_field(fields.bytes()?)?);
                    fields.seen &= !bit(0x12);
                }
                0x1a => action = Some(self.action(fields.bytes()?)?),
                0x20 => priority = fields.varint()? as i32,
                _ => return None,
            }
        }
        Some(Stored::Plain { kind, table_id, key: key..self.keys.len() as u32, action, priority })
    }

    /// Of a `TableAction`.
    fn action(&mut self, bytes: &'m [u8]) -> Option<(u32, Range<u32>)> {
        let mut fields = Fields::new(bytes);
        let Some(0x0a) = fields.next()? else { return None };
        let action = fields.bytes()?;
        if fields.next()?.is_some() {
            return None;
        }
        let mut id = 0;
        let first = self.params.len() as u32;
        let mut fields = Fields::new(action);
        while let Some(tag) = fields.next()? {
            match tag {
                0x08 => id = fields.varint()? as u32,
                0x22 => {
                    let mut param = Fields::new(fields.bytes()?);
                    let (mut param_id, mut value) = (0, &[][..]);
                    while let Some(tag) = param.next()? {
                        match tag {
                            0x10 => param_id = param.varint()? as u32,
                            0x1a => value = param.bytes()?,
                            _ => return None,
                        }
                    }
                    self.params.push((param_id, value));
                    fields.seen &= !bit(0x22);
                }
                _ => return None,
            }
        }
        Some((id, first..self.params.len() as u32))
    }

    /// How many updates there are.
    pub fn count(&self) -> usize {
        self.changes.len()
    }

    /// The updates.
    pub fn changes(&self) -> impl Iterator<Item = Change<'_>> {
        self.changes.iter().map(|stored| match stored {
            Stored::Borrowed(update) => Change::Update(update),
            Stored::Owned(update) => Change::Update(update),
            Stored::Plain { kind, table_id, key, action, priority } => {
                let action =
                    action.as_ref().map(|(id, params)| PlainAction { id: *id, params: &self.params[span(params)] });
                let plain = Plain { table_id: *table_id, key: &self.keys[span(key)], action, priority: *priority };
                Change::Plain(*kind, plain)
            }
        })
    }

    /// The updates as messages.
    pub fn updates(&self) -> Vec<Cow<'_, v1::Update>> {
        let updates = self.changes().map(|change| match change {
            Change::Update(update) => Cow::Borrowed(update),
            Change::Plain(kind, plain) => Cow::Owned(plain.update(kind)),
        });
        updates.collect()
    }
}

impl Plain<'_> {
    /// The message that was read.
    fn update(&self, kind: i32) -> v1::Update {
        let param = |(param_id, value): &(u32, &[u8])| v1::action::Param {
            param_id: *param_id,
            value: Bytes::copy_from_slice(value),
        };
        let action = self
            .action
            .map(|action| v1::Action { action_id: action.id, params: action.params.iter().map(param).collect() });
        let entry = v1::TableEntry {
            table_id: self.table_id,
            r#match: self.key.iter().map(|(id, given)| given.message(*id)).collect(),
            action: action.map(|action| v1::TableAction { r#type: Some(v1::table_action::Type::Action(action)) }),
            priority: self.priority,
            ..Default::default()
        };
        let entity = Some(v1::Entity { entity: Some(v1::entity::Entity::TableEntry(entry)) });
        v1::Update { r#type: kind, entity }
    }
}

/// Of a `FieldMatch`.
fn match_field(bytes: &[u8]) -> Option<(u32, Given<'_>)> {
    let (mut id, mut given) = (0, None);
    let mut fields = Fields::new(bytes);
    while let Some(tag) = fields.next()? {
        match tag {
            0x08 => id = fields.varint()? as u32,
            0x12 | 0x1a | 0x22 | 0x32 | 0x3a if given.is_none() => given = Some(match_value(tag, fields.bytes()?)?),
            _ => return None,
        }
    }
    Some((id, given.unwrap_or(Given::Nothing)))
}

fn match_value(kind: u8, bytes: &[u8]) -> Option<Given<'_>> {
    let (mut first, mut second, mut number) = (&[][..], &[][..], 0);
    let mut fields = Fields::new(bytes);
    while let Some(tag) = fields.next()? {
        match (kind, tag) {
            (_, 0x0a) => first = fields.bytes()?,
            (0x1a | 0x32, 0x12) => second = fields.bytes()?,
            (0x22, 0x10) => number = fields.varint()? as i32,
            _ => return None,
        }
    }
    Some(match kind {
        0x12 => Given::Exact(first),
        0x1a => Given::Ternary(first, second),
        0x22 => Given::Lpm(first, number),
        0x32 => Given::Range(first, second),
        _ => Given::Optional(first),
    })
}

// Field number and wire type, as they stand in front of each field of `WriteRequest`.
const DEVICE_ID: u8 = 1 << 3;
const ROLE_ID: u8 = 2 << 3;
const ELECTION_ID: u8 = 3 << 3 | 2;
const UPDATES: u8 = 4 << 3 | 2;
const ATOMICITY: u8 = 5 << 3;
const ROLE: u8 = 6 << 3 | 2;
/// Of `Entity`.
const TABLE_ENTRY: u8 = 2 << 3 | 2;

/// The bit of a field's number.
fn bit(tag: u8) -> u16 {
    1 << (tag >> 3)
}

/// Walks the fields of a message. None where the reader should rather not go on.
struct Fields<'m> {
    left: &'m [u8],
    /// Bits of the numbers that came; what repeats is prost's.
    seen: u16,
}

impl<'m> Fields<'m> {
    fn new(left: &'m [u8]) -> Self {
        Fields { left, seen: 0 }
    }

    /// The next field's tag; an inner None at the end.
    #[inline]
    fn next(&mut self) -> Option<Option<u8>> {
        let Some((tag, left)) = self.left.split_first() else { return Some(None) };
        // Numbers up to 15 have tags of one byte.
        if *tag >= 0x80 || self.seen & bit(*tag) != 0 {
            return None;
        }
        self.seen |= bit(*tag);
        self.left = left;
        Some(Some(*tag))
    }

    #[inline]
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        // Nine bytes are 63 bits; the tenth byte of longer ones has rules of its own.
        for at in 0..9 {
            let byte = *self.left.get(at)?;
            value |= u64::from(byte & 0x7f) << (7 * at);
            if byte < 0x80 {
                self.left = &self.left[at + 1..];
                return Some(value);
            }
        }
        None
    }

    #[inline]
    fn bytes(&mut self) -> Option<&'m [u8]> {
        let len = usize::try_from(self.varint()?).ok()?;
        let (bytes, left) = self.left.split_at_checked(len)?;
        self.left = left;
        Some(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use p4runtime_proto::p4::v1::{field_match, table_action};
    use proptest::prelude::*;

    fn value() -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..5).prop_map(Bytes::from)
    }

    fn field() -> impl Strategy<Value = v1::FieldMatch> {
        use field_match::{Exact, FieldMatchType, Lpm, Optional, Range, Ternary};
        let kind = prop_oneof![
            value().prop_map(|value| FieldMatchType::Exact(Exact { value })),
            (value(), value()).prop_map(|(value, mask)| FieldMatchType::Ternary(Ternary { value, mask })),
            (value(), any::<i32>()).prop_map(|(value, prefix_len)| FieldMatchType::Lpm(Lpm { value, prefix_len })),
            (value(), value()).prop_map(|(low, high)| FieldMatchType::Range(Range { low, high })),
            value().prop_map(|value| FieldMatchType::Optional(Optional { value })),
            Just(FieldMatchType::Other(prost_types::Any { type_url: "x".into(), value: vec![1] })),
        ];
        (0u32..300, prop::option::weighted(0.9, kind))
            .prop_map(|(field_id, field_match_type)| v1::FieldMatch { field_id, field_match_type })
    }

    fn action() -> impl Strategy<Value = v1::TableAction> {
        let param = (0u32..300, value()).prop_map(|(param_id, value)| v1::action::Param { param_id, value });
        let action = (any::<u32>(), prop::collection::vec(param, 0..4))
            .prop_map(|(action_id, params)| table_action::Type::Action(v1::Action { action_id, params }));
        let member = any::<u32>().prop_map(table_action::Type::ActionProfileMemberId);
        let set = Just(table_action::Type::ActionProfileActionSet(v1::ActionProfileActionSet::default()));
        let kind = prop_oneof![6 => action, 1 => member, 1 => set];
        prop::option::weighted(0.9, kind).prop_map(|r#type| v1::TableAction { r#type })
    }

    fn update() -> impl Strategy<Value = v1::Update> {
        let entry = (any::<u32>(), prop::collection::vec(field(), 0..4), prop::option::of(action()), any::<i32>());
        let entry = (entry, prop::bool::weighted(0.2), value()).prop_map(|(plain, more, metadata)| {
            let (table_id, r#match, action, priority) = plain;
            let entry = v1::TableEntry { table_id, r#match, action, priority, ..Default::default() };
            let entry = if more { v1::TableEntry { metadata, is_default_action: true, ..entry } } else { entry };
            v1::entity::Entity::TableEntry(entry)
        });
        let other = Just(v1::entity::Entity::RegisterEntry(v1::RegisterEntry { register_id: 7, ..Default::default() }));
        let entity = prop_oneof![6 => entry, 1 => other];
        (-1i32..5, prop::option::weighted(0.9, entity)).prop_map(|(kind, entity)| v1::Update {
            r#type: kind,
            entity: entity.map(|entity| v1::Entity { entity: Some(entity) }),
        })
    }

    fn request() -> impl Strategy<Value = v1::WriteRequest> {
        let election = prop::option::of((any::<u64>(), any::<u64>()));
        let rest = (any::<u64>(), "[a-zé]{0,3}", election, 0i32..4);
        (rest, prop::collection::vec(update(), 0..4)).prop_map(
            |((device_id, role, election_id, atomicity), updates)| {
                let election_id = election_id.map(|(high, low)| v1::Uint128 { high, low });
                v1::WriteRequest { device_id, role, election_id, updates, atomicity, ..Default::default() }
            },
        )
    }

    /// Both readings give the same request, or the same error.
    fn agree(bytes: &Bytes) {
        match (Batch::read(bytes), v1::WriteRequest::decode(bytes.clone())) {
            (Ok(batch), Ok(message)) => {
                assert_eq!(batch.updates().into_iter().map(Cow::into_owned).collect::<Vec<_>>(), message.updates);
                assert_eq!(batch.count(), message.updates.len());
                let Batch { device_id, role, election_id, atomicity, .. } = batch;
                let head = (device_id, &*role, election_id, atomicity);
                assert_eq!(head, (message.device_id, &*message.role, message.election_id, message.atomicity));
            }
            (Err(ours), Err(prost)) => assert_eq!(ours.to_string(), prost.to_string()),
            (ours, prost) => panic!("{:?} and {prost:?}", ours.map(|_| "read")),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(400))]
        #[test]
        fn both_readings_agree(request in request()) {
            agree(&request.encode_to_vec().into());
        }

        #[test]
        fn they_agree_on_what_is_damaged(
            request in request(),
            damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..4),
            cut in prop::option::weighted(0.3, any::<prop::sample::Index>()),
            again in any::<bool>(),
        ) {
            let mut bytes = request.encode_to_vec();
            if again {
                // Two messages in a row are one with every field twice.
                bytes.extend_from_within(..);
            }
            if !bytes.is_empty() {
                for (at, byte) in damage {
                    let at = at.index(bytes.len());
                    bytes[at] = byte;
                }
                if let Some(cut) = cut {
                    bytes.truncate(cut.index(bytes.len()));
                }
            }
            agree(&bytes.into());
        }
    }

    #[test]
    fn an_election_id_in_two_parts_is_one() {
        let part = |high, low| {
            v1::WriteRequest { election_id: Some(v1::Uint128 { high, low }), ..Default::default() }.encode_to_vec()
        };
        let bytes = Bytes::from([part(7, 1), part(0, 9)].concat());
        let whole = Some(v1::Uint128 { high: 7, low: 9 });
        assert_eq!(Batch::read(&bytes).unwrap().election_id, whole);
        agree(&bytes);
    }

    #[test]
    fn a_route_is_read_without_prost() {
        let key = field_match::Lpm { value: Bytes::from_static(&[10, 0, 0, 0]), prefix_len: 8 };
        let field = v1::FieldMatch { field_id: 1, field_match_type: Some(field_match::FieldMatchType::Lpm(key)) };
        let action = table_action::Type::Action(v1::Action { action_id: 3, ..Default::default() });
        let action = Some(v1::TableAction { r#type: Some(action) });
        let entry = v1::TableEntry { table_id: 5, r#match: vec![field], action, ..Default::default() };
        let entity = Some(v1::Entity { entity: Some(v1::entity::Entity::TableEntry(entry)) });
        let request = v1::WriteRequest { updates: vec![v1::Update { r#type: 1, entity }], ..Default::default() };
        let bytes = Bytes::from(request.encode_to_vec());
        let batch = Batch::read(&bytes).unwrap();
        let Some(Change::Plain(1, plain)) = batch.changes().next() else { panic!("not plain") };
        assert!(matches!(plain.key, [(1, Given::Lpm([10, 0, 0, 0], 8))]));
    }
}
