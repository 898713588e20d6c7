//! The control API: typed writes and reads of everything a program declares.
//!
//! Methods are on [`Instance`], which [`crate::Switch::instance`] yields. All ids are the dense ids of [`crate::Program`].
//! Every write is checked whole before anything changes; packets see the old state or the new one and never wait.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use crate::instance::Instance;
use crate::program::{ActionId, TableId, TableKind};
use crate::rcu::pin;
use crate::state::meter::MeterConfig;
use crate::tables::key::{KeyField, Value};
use crate::tables::profile::{Group, GroupData, GroupMember, Member, ProfileState};
use crate::tables::table::Rest;
use crate::tables::{ActionData, Bound, Entry, Table, TableError};

/// An action and its parameters, each at most as wide as declared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ActionCall {
    pub action: ActionId,
    pub params: Vec<Value>,
}

/// One member of a one-shot group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OneShotMember {
    pub call: ActionCall,
    pub weight: u32,
    pub watch_port: Option<u32>,
}

/// A group that belongs to one entry (P4Runtime 9.2.3).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OneShotGroup {
    pub members: Vec<OneShotMember>,
    /// Each packet takes a member at random, instead of by the selector's hash.
    pub random: bool,
    /// Runs before the chosen member.
    pub first: Option<ActionCall>,
}

impl FromIterator<OneShotMember> for OneShotGroup {
    fn from_iter<I: IntoIterator<Item = OneShotMember>>(members: I) -> Self {
        OneShotGroup { members: members.into_iter().collect(), ..OneShotGroup::default() }
    }
}

/// What an entry does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum EntryAction {
    Call(ActionCall),
    Member(u32),
    Group(u32),
    OneShot(OneShotGroup),
}

/// One member of an explicit group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GroupMemberSpec {
    pub member: u32,
    pub weight: u32,
    pub watch_port: Option<u32>,
}

/// An entry to insert, or the new contents of one to modify.
#[derive(Clone, Debug)]
pub struct EntrySpec {
    pub key: Vec<KeyField>,
    /// A larger priority wins. 0 in tables without ternary, range and optional fields.
    pub priority: i32,
    pub action: EntryAction,
    /// Milliseconds without a hit until the entry counts as idle; 0 for never.
    pub ttl_ms: u64,
    /// Kept with the entry and given back on reads.
    pub cookie: Arc<[u8]>,
    /// Initial configuration of the direct meter.
    pub meter: Option<MeterConfig>,
    /// Initial (packets, bytes) of the direct counter.
    pub counter: Option<(u64, u64)>,
}

impl EntrySpec {
    pub fn new(key: Vec<KeyField>, priority: i32, action: EntryAction) -> Self {
        EntrySpec { key, priority, action, ttl_ms: 0, cookie: Arc::default(), meter: None, counter: None }
    }
}

/// What an entry runs, in the terms of [`EntryAction`].
pub fn describe(runtime: &Instance, bound: &Bound) -> EntryAction {
    let call = |data: &ActionData| runtime.call_of(data);
    match bound {
        Bound::Action(data) => EntryAction::Call(call(data)),
        Bound::Member(member) => EntryAction::Member(member.id),
        Bound::Group(group) => EntryAction::Group(group.id),
        Bound::OneShot(group) => {
            let pin = pin();
            let members = group.members.iter().filter_map(|m| {
                let call = call(&*m.member.action(&pin)?);
                Some(OneShotMember { call, weight: m.weight, watch_port: m.watch_port })
            });
            let (members, first) = (members.collect(), group.first.as_ref().map(call));
            EntryAction::OneShot(OneShotGroup { members, random: group.random, first })
        }
    }
}

fn count(uses: &AtomicUsize, more: bool) {
    if more {
        uses.fetch_add(1, Relaxed);
    } else {
        uses.fetch_sub(1, Relaxed);
    }
}

fn use_members(group: &GroupData, more: bool) {
    group.members.iter().for_each(|m| count(&m.member.uses, more));
}

/// An entry starts or stops using what it points at.
fn use_bound(bound: &Bound, more: bool) {
    match bound {
        Bound::Member(member) => count(&member.uses, more),
        Bound::Group(group) => count(&group.uses, more),
        Bound::Action(_) | Bound::OneShot(_) => {}
    }
}

fn release(entry: &Entry) {
    if let Some(bound) = entry.bound.load(&pin()) {
        use_bound(bound, false);
    }
}

fn bits(value: &[u8]) -> u32 {
    let skip = value.iter().take_while(|&&b| b == 0).count();
    value.get(skip).map_or(0, |top| (value.len() - skip) as u32 * 8 - top.leading_zeros())
}

impl Instance {
    /// A table, for reads: entries, their keys, the count.
    pub fn table(&self, id: TableId) -> Result<&Table, TableError> {
        self.tables.get(id).ok_or(TableError::NoTable(id))
    }

    pub(crate) fn action_data(&self, action: ActionId, params: &[Value]) -> Result<ActionData, TableError> {
        let info = self.program.actions.get(action).ok_or(TableError::Action(action))?;
        if info.params.len() != params.len() {
            return Err(TableError::ParamCount { action, found: params.len(), wanted: info.params.len() });
        }
        let mut words = smallvec::SmallVec::from_elem(0, info.total_words);
        for (param, (value, decl)) in params.iter().zip(&info.params).enumerate() {
            let found = bits(value);
            if found > decl.bitwidth {
                return Err(TableError::ParamTooWide { action, param, found, wanted: decl.bitwidth });
            }
            let significant = &value[value.len() - found.div_ceil(8) as usize..];
            for (i, chunk) in significant.rchunks(8).enumerate() {
                words[usize::from(info.words[param]) + i] = chunk.iter().fold(0, |v, &b| v << 8 | u64::from(b));
            }
        }
        Ok(ActionData { action, words })
    }

    /// The action and its parameters in their full lengths.
    pub fn call_of(&self, data: &ActionData) -> ActionCall {
        let info = &self.program.actions[data.action];
        let params = info.params.iter().zip(&info.words).map(|(param, &word)| {
            let count = param.bitwidth.div_ceil(64).max(1) as usize;
            let limbs = &data.words[usize::from(word)..usize::from(word) + count];
            let bytes: Value = limbs.iter().rev().flat_map(|limb| limb.to_be_bytes()).collect();
            let len = param.bitwidth.div_ceil(8) as usize;
            Value::from_slice(&bytes[bytes.len() - len..])
        });
        ActionCall { action: data.action, params: params.collect() }
    }

    fn call(&self, allowed: &[TableId], call: &ActionCall) -> Result<ActionData, TableError> {
        if !allowed.iter().any(|&table| self.program.tables[table].actions.contains(&call.action)) {
            return Err(TableError::Action(call.action));
        }
        self.action_data(call.action, &call.params)
    }

    fn bind(&self, id: TableId, action: &EntryAction) -> Result<Bound, TableError> {
        let info = self.program.tables.get(id).ok_or(TableError::NoTable(id))?;
        let found = match action {
            EntryAction::Call(_) => "an action",
            EntryAction::Member(_) => "a member",
            EntryAction::Group(_) => "a group",
            EntryAction::OneShot(_) => "a one-shot group",
        };
        let wanted = match info.kind {
            TableKind::Simple => "an action",
            TableKind::Indirect { .. } => "a member",
            TableKind::Selector { .. } => "a member, a group or a one-shot group",
        };
        let wrong = Err(TableError::ActionKind { found, wanted });
        Ok(match (action, info.kind) {
            (EntryAction::Call(call), TableKind::Simple) => Bound::Action(self.call(&[id], call)?),
            (EntryAction::Member(member), TableKind::Indirect { profile } | TableKind::Selector { profile }) => {
                let state = self.profiles[profile].state.lock();
                Bound::Member(state.members.get(member).cloned().ok_or(TableError::NoMember(*member))?)
            }
            (EntryAction::Group(group), TableKind::Selector { profile }) => {
                let state = self.profiles[profile].state.lock();
                Bound::Group(state.groups.get(group).ok_or(TableError::NoGroup(*group))?.0.clone())
            }
            (EntryAction::OneShot(group), TableKind::Selector { .. }) => {
                let mut bound = Vec::with_capacity(group.members.len());
                for (seq, member) in group.members.iter().enumerate() {
                    if member.weight == 0 {
                        return Err(TableError::Weight(0));
                    }
                    let data = self.call(&[id], &member.call)?;
                    let watch_port = member.watch_port;
                    let inner = Member::new(seq as u32, seq as u64, data);
                    bound.push(GroupMember { member: inner, weight: member.weight, watch_port });
                }
                let first = group.first.as_ref().map(|call| self.call(&[id], call)).transpose()?;
                Bound::OneShot(GroupData::one_shot(bound, group.random, first))
            }
            _ => return wrong,
        })
    }

    fn writable(&self, id: TableId) -> Result<&Table, TableError> {
        let table = self.table(id)?;
        if self.program.tables[id].const_entries {
            return Err(TableError::ConstEntries);
        }
        Ok(table)
    }

    fn set_direct(&self, id: TableId, entry: &Entry, spec: &EntrySpec) -> Result<(), TableError> {
        if spec.ttl_ms != 0 && !self.program.tables[id].supports_timeout {
            return Err(TableError::NoTimeout);
        }
        match (&spec.counter, &entry.counter) {
            (Some((packets, bytes)), Some(cell)) => cell.write(*packets, *bytes),
            (Some(_), None) => return Err(TableError::NoCounter),
            _ => {}
        }
        match (spec.meter, &entry.meter) {
            (Some(config), Some(cell)) => cell.configure(Some(config)),
            (Some(_), None) => return Err(TableError::NoMeter),
            _ => {}
        }
        Ok(())
    }

    fn check_direct(&self, id: TableId, spec: &EntrySpec) -> Result<(), TableError> {
        let info = &self.program.tables[id];
        if spec.ttl_ms != 0 && !info.supports_timeout {
            return Err(TableError::NoTimeout);
        }
        if spec.counter.is_some() && !info.has_counters {
            return Err(TableError::NoCounter);
        }
        if spec.meter.is_some() && info.meter.is_none() {
            return Err(TableError::NoMeter);
        }
        Ok(())
    }

    /// Adds an entry. `now_ms` is [`crate::Switch::now_ms`], for idle timeouts.
    pub fn insert(&self, id: TableId, spec: &EntrySpec, now_ms: u64) -> Result<Arc<Entry>, TableError> {
        let table = self.writable(id)?;
        self.check_direct(id, spec)?;
        let rest = Rest {
            bound: self.bind(id, &spec.action)?,
            priority: spec.priority,
            ttl_ms: spec.ttl_ms,
            now_ms,
            cookie: spec.cookie.clone(),
            is_const: false,
        };
        let entry = table.insert(&spec.key, rest)?;
        if let Some(bound) = entry.bound.load(&pin()) {
            use_bound(bound, true);
        }
        self.set_direct(id, &entry, spec)?;
        Ok(entry)
    }

    pub(crate) fn insert_initial(
        &self,
        id: TableId,
        key: &[KeyField],
        priority: i32,
        data: ActionData,
    ) -> Result<(), TableError> {
        let priority = if self.program.tables[id].has_priority() { priority } else { 0 };
        let cookie = Arc::default();
        let bound = Bound::Action(data);
        let info = &self.program.tables[id];
        // No life that ends, but hits are noted where they can be asked for.
        let (is_const, ttl_ms) = (info.const_entries, if info.supports_timeout { u64::MAX } else { 0 });
        self.tables[id].insert(key, Rest { bound, priority, ttl_ms, now_ms: 0, cookie, is_const }).map(drop)
    }

    /// Gives the entry with this key and priority another action, life and cookie; counters and the time since the
    /// last hit go on.
    pub fn modify(&self, id: TableId, spec: &EntrySpec) -> Result<Arc<Entry>, TableError> {
        let table = self.writable(id)?;
        self.check_direct(id, spec)?;
        let bound = self.bind(id, &spec.action)?;
        let entry = table.get(&spec.key, spec.priority)?.ok_or(TableError::NotFound)?;
        use_bound(&bound, true);
        release(&entry);
        table.rebind(&entry, bound);
        entry.set_ttl(spec.ttl_ms);
        entry.set_cookie(spec.cookie.clone());
        self.set_direct(id, &entry, spec)?;
        Ok(entry)
    }

    /// Removes the entry with this key and priority.
    pub fn delete(&self, id: TableId, key: &[KeyField], priority: i32) -> Result<Arc<Entry>, TableError> {
        let entry = self.writable(id)?.delete(key, priority)?;
        release(&entry);
        Ok(entry)
    }

    /// Sets the default entry; `None` puts the program's own back.
    pub fn set_default(&self, id: TableId, action: Option<&EntryAction>) -> Result<(), TableError> {
        let table = self.table(id)?;
        if self.program.tables[id].const_default {
            return Err(TableError::ConstDefault);
        }
        let bound = match action {
            Some(action) => Some(self.bind(id, action)?),
            None => {
                let initial = self.program.code.initial.iter().find(|i| i.table == id && i.key.is_none());
                let data = initial.map(|i| self.action_data(i.action, &i.params)).transpose()?;
                data.map(Bound::Action)
            }
        };
        if let Some(bound) = &bound {
            use_bound(bound, true);
        }
        if let Some(old) = table.default.load(&pin()) {
            release(old);
        }
        table.set_default(bound);
        Ok(())
    }

    /// The default entry, which may have a direct counter and meter too.
    pub fn default_entry(&self, id: TableId) -> Result<Option<Arc<Entry>>, TableError> {
        Ok(self.table(id)?.default.get(&pin()))
    }

    /// Entries whose life ended without a hit since the last call.
    pub fn take_idle(&self, now_ms: u64) -> Vec<(TableId, Arc<Entry>)> {
        let tables = self.program.tables.iter().enumerate().filter(|(_, info)| info.supports_timeout);
        let idle = tables.flat_map(|(id, _)| {
            let entries = self.tables[id].entries().into_iter();
            entries.filter(move |e| e.newly_expired(now_ms)).map(move |entry| (id, entry))
        });
        idle.collect()
    }

    /// Runs `f` on a profile's members and groups, for reads.
    fn profile<R>(&self, id: usize, f: impl FnOnce(&mut ProfileState) -> R) -> Result<R, TableError> {
        let profile = self.profiles.get(id).ok_or(TableError::NoTable(id))?;
        Ok(f(&mut profile.state.lock()))
    }

    /// Members of a profile by id.
    pub fn members(&self, profile: usize) -> Result<Vec<Arc<Member>>, TableError> {
        self.profile(profile, |state| {
            let mut members: Vec<_> = state.members.values().cloned().collect();
            members.sort_by_key(|m| m.id);
            members
        })
    }

    /// Groups of a profile by id, each with its largest size (0: no limit stated).
    pub fn groups(&self, profile: usize) -> Result<Vec<(Arc<Group>, u32)>, TableError> {
        self.profile(profile, |state| {
            let mut groups: Vec<_> = state.groups.values().cloned().collect();
            groups.sort_by_key(|g| g.0.id);
            groups
        })
    }

    pub fn insert_member(&self, profile: usize, id: u32, call: &ActionCall) -> Result<(), TableError> {
        let info = self.program.profiles.get(profile).ok_or(TableError::NoTable(profile))?;
        let data = self.call(&info.tables, call)?;
        self.profile(profile, |state| {
            if state.members.contains_key(&id) {
                return Err(TableError::Exists);
            }
            if state.members.len() >= info.size {
                return Err(TableError::Full(info.size));
            }
            state.next_seq += 1;
            state.members.insert(id, Member::new(id, state.next_seq, data));
            Ok(())
        })?
    }

    /// All entries and groups that use the member follow at once.
    pub fn modify_member(&self, profile: usize, id: u32, call: &ActionCall) -> Result<(), TableError> {
        let info = self.program.profiles.get(profile).ok_or(TableError::NoTable(profile))?;
        let data = self.call(&info.tables, call)?;
        self.profile(profile, |state| {
            let member = state.members.get(&id).ok_or(TableError::NoMember(id))?;
            member.action.set(Some(Arc::new(data)), &pin());
            Ok(())
        })?
    }

    /// Removes a member. The caller checks that nothing uses it: see [`Instance::member_in_use`].
    pub fn delete_member(&self, profile: usize, id: u32) -> Result<(), TableError> {
        self.profile(profile, |state| state.members.remove(&id).map(drop).ok_or(TableError::NoMember(id)))?
    }

    /// Whether a group or an entry uses the member.
    pub fn member_in_use(&self, profile: usize, id: u32) -> Result<bool, TableError> {
        self.profile(profile, |state| state.members.get(&id).is_some_and(|m| m.uses.load(Relaxed) > 0))
    }

    /// Whether an entry uses the group.
    pub fn group_in_use(&self, profile: usize, id: u32) -> Result<bool, TableError> {
        self.profile(profile, |state| state.groups.get(&id).is_some_and(|g| g.0.uses.load(Relaxed) > 0))
    }

    fn group_data(state: &mut ProfileState, members: &[GroupMemberSpec]) -> Result<Arc<GroupData>, TableError> {
        let mut bound = Vec::with_capacity(members.len());
        for spec in members {
            if spec.weight == 0 {
                return Err(TableError::Weight(0));
            }
            let member = state.members.get(&spec.member).ok_or(TableError::NoMember(spec.member))?.clone();
            bound.push(GroupMember { member, weight: spec.weight, watch_port: spec.watch_port });
        }
        Ok(Arc::new(GroupData::of_members(bound, &mut state.next_seq)))
    }

    /// Adds a group; `max_size` is kept for reads.
    pub fn insert_group(
        &self,
        profile: usize,
        id: u32,
        max_size: u32,
        members: &[GroupMemberSpec],
    ) -> Result<(), TableError> {
        self.profile(profile, |state| {
            if state.groups.contains_key(&id) {
                return Err(TableError::Exists);
            }
            let data = Self::group_data(state, members)?;
            use_members(&data, true);
            let group = Arc::new(Group { id, data: crate::rcu::Rcu::new(data), uses: AtomicUsize::new(0) });
            state.groups.insert(id, (group, max_size));
            Ok(())
        })?
    }

    pub fn modify_group(
        &self,
        profile: usize,
        id: u32,
        max_size: u32,
        members: &[GroupMemberSpec],
    ) -> Result<(), TableError> {
        self.profile(profile, |state| {
            let data = Self::group_data(state, members)?;
            let group = state.groups.get_mut(&id).ok_or(TableError::NoGroup(id))?;
            let pin = pin();
            use_members(&data, true);
            if let Some(old) = group.0.data.load(&pin) {
                use_members(old, false);
            }
            group.0.data.set(Some(data), &pin);
            group.1 = max_size;
            Ok(())
        })?
    }

    /// Removes a group. The caller checks that no entry uses it: see [`Instance::group_in_use`].
    pub fn delete_group(&self, profile: usize, id: u32) -> Result<(), TableError> {
        self.profile(profile, |state| {
            let (group, _) = state.groups.remove(&id).ok_or(TableError::NoGroup(id))?;
            if let Some(data) = group.data.load(&pin()) {
                use_members(data, false);
            }
            Ok(())
        })?
    }
}
