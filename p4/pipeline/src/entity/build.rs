//! Builders for table entries: what the typed tables call.

use smallvec::SmallVec;

use super::view::{Action, DirectExtras, KeyView, Match, MeterConfig, OneShotMember, ValueView};
use super::{Entity, EntityKey, P4Value};

/// Collects a table entry's key. Fields may be added in any order; a field that matches anything is left out, as
/// P4Runtime wants it.
///
/// ```
/// # use pergola_pipeline::TableEntryBuilder;
/// let route = TableEntryBuilder::new(0x0200_0001)
///     .lpm(1, [10, 0, 0, 0], 8)
///     .action(0x0100_0001)
///     .param(1, 42u32)
///     .build();
/// assert_eq!(route.key.table_id(), Some(0x0200_0001));
/// ```
#[derive(Clone, Debug)]
pub struct TableEntryBuilder {
    table: u32,
    priority: u32,
    fields: SmallVec<[(u32, Match); 4]>,
    extras: DirectExtras,
}

/// A table entry whose action is known and whose parameters are being added.
#[derive(Clone, Debug)]
pub struct TableActionBuilder {
    key: TableEntryBuilder,
    action: Action,
}

/// A table entry with a one-shot action set.
#[derive(Clone, Debug)]
pub struct OneShotBuilder {
    key: TableEntryBuilder,
    members: Vec<OneShotMember>,
}

impl TableEntryBuilder {
    pub fn new(table_id: u32) -> TableEntryBuilder {
        TableEntryBuilder { table: table_id, priority: 0, fields: SmallVec::new(), extras: DirectExtras::default() }
    }

    pub fn exact(self, field: u32, value: impl Into<P4Value>) -> Self {
        self.field(field, Match::Exact(value.into()))
    }

    /// `prefix_len` in bits; 0 matches anything. The value must not have bits beyond its prefix: the caller knows the
    /// field's width and has cut them off.
    pub fn lpm(self, field: u32, value: impl Into<P4Value>, prefix_len: u32) -> Self {
        if prefix_len == 0 { self } else { self.field(field, Match::Lpm(value.into(), prefix_len)) }
    }

    /// Bits of `value` outside `mask` are dropped; mask 0 matches anything.
    pub fn ternary(self, field: u32, value: impl Into<P4Value>, mask: impl Into<P4Value>) -> Self {
        let mask = mask.into();
        if mask.is_zero() {
            self
        } else {
            let v = value.into().masked(&mask);
            self.field(field, Match::Ternary(v, mask))
        }
    }

    /// Both ends included. Leave the field out for "any".
    pub fn range(self, field: u32, low: impl Into<P4Value>, high: impl Into<P4Value>) -> Self {
        self.field(field, Match::Range(low.into(), high.into()))
    }

    /// `None` matches anything.
    pub fn optional(self, field: u32, value: Option<impl Into<P4Value>>) -> Self {
        match value {
            Some(v) => self.field(field, Match::Optional(v.into())),
            None => self,
        }
    }

    /// Needed, and above 0, for tables with ternary, range or optional fields; the greater wins.
    pub fn priority(mut self, priority: u32) -> Self {
        self.priority = priority;
        self
    }

    /// Idle time after which the switch reports the entry.
    pub fn idle_timeout_ns(mut self, ns: u64) -> Self {
        self.extras.idle_timeout_ns = ns;
        self
    }

    /// The entry's direct meter.
    pub fn direct_meter(mut self, config: MeterConfig) -> Self {
        self.extras.meter = Some(config);
        self
    }

    fn field(mut self, id: u32, m: Match) -> Self {
        self.fields.push((id, m));
        self
    }

    /// Ends the key and names the action.
    pub fn action(self, action_id: u32) -> TableActionBuilder {
        TableActionBuilder { key: self, action: Action { id: action_id, params: SmallVec::new() } }
    }

    /// Ends the key with a set of weighted actions: (action, weight, watch port).
    pub fn one_shot<W: Into<P4Value>>(self, set: impl IntoIterator<Item = (Action, u32, Option<W>)>) -> OneShotBuilder {
        let members = set.into_iter().map(|(action, weight, watch)| OneShotMember {
            action,
            weight,
            watch_port: watch.map(Into::into),
        });
        OneShotBuilder { members: members.collect(), key: self }
    }

    /// The key alone.
    pub fn key(self) -> EntityKey {
        self.split().0
    }

    fn split(mut self) -> (EntityKey, DirectExtras) {
        self.fields.sort_by_key(|f| f.0);
        let key = KeyView::Table { table: self.table, priority: self.priority, fields: self.fields }.pack();
        (key, self.extras)
    }
}

impl TableActionBuilder {
    pub fn param(mut self, id: u32, value: impl Into<P4Value>) -> Self {
        self.action.params.push((id, value.into()));
        self
    }

    pub fn build(mut self) -> Entity {
        self.action.params.sort_by_key(|p| p.0);
        let (key, extras) = self.key.split();
        Entity::new(key, ValueView::Action { action: self.action, extras }.pack())
    }
}

impl OneShotBuilder {
    /// Adds one more action.
    pub fn member(mut self, action: Action, weight: u32, watch_port: Option<P4Value>) -> Self {
        self.members.push(OneShotMember { action, weight, watch_port });
        self
    }

    pub fn build(mut self) -> Entity {
        // The order carries no meaning in P4Runtime, and a switch may answer in another one.
        self.members.sort();
        let (key, extras) = self.key.split();
        Entity::new(key, ValueView::OneShot { members: self.members, extras }.pack())
    }
}
