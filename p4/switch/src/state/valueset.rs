//! Parser value sets.

use std::sync::Arc;

use crate::rcu::{Pin, Rcu, pin};

/// Offset of a field in the member, its least and its greatest value.
pub type FieldRange = (usize, Box<[u8]>, Box<[u8]>);

/// One member: the fields concatenated, each padded to whole bytes, as the parser builds its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SetMember {
    pub value: Box<[u8]>,
    /// Bits that count; all ones for exact matches.
    pub mask: Box<[u8]>,
    /// Least and greatest values of fields matched by range: offset, low, high.
    pub ranges: Vec<FieldRange>,
}

impl SetMember {
    fn matches(&self, key: &[u8], extra: Option<&[u8]>) -> bool {
        let plain = key.iter().zip(&self.value[..]).zip(&self.mask[..]).enumerate().all(|(i, ((k, v), m))| {
            let mask = m & extra.map_or(0xff, |e| e[i]);
            (k ^ v) & mask == 0
        });
        plain
            && self.value.len() == key.len()
            && self.ranges.iter().all(|(at, low, high)| {
                let field = &key[*at..*at + low.len()];
                *field >= **low && *field <= **high
            })
    }
}

/// The members of a value set, replaced as a whole.
#[derive(Default)]
pub struct ValueSet {
    members: Rcu<Vec<SetMember>>,
}

impl ValueSet {
    pub(crate) fn contains(&self, key: &[u8], mask: Option<&[u8]>, pin: &Pin) -> bool {
        self.members.load(pin).is_some_and(|members| members.iter().any(|m| m.matches(key, mask)))
    }

    pub fn set(&self, members: Vec<SetMember>) {
        self.members.set(Some(Arc::new(members)), &pin());
    }

    pub fn get(&self) -> Vec<SetMember> {
        self.members.load(&pin()).cloned().unwrap_or_default()
    }
}
