//! Members and groups of action profiles, explicit and one-shot (P4Runtime 9.2).

use bytes::Bytes;
use p4runtime_proto::p4::v1::{
    self, action_profile_action,
    action_profile_action_set::{ActionSelectionMode, SizeSemantics as Stated},
    action_profile_group,
    update::Type,
};

use crate::control::GroupMemberSpec;
use crate::p4runtime::{
    failure::{Failure, Outcome},
    pipeline::{Group, GroupMember, Member, Pipeline},
    schema::{Profile, SizeSemantics, Table},
    values::{Call, OneShot, OneShotAction, Use, Watch},
};

/// Checks a member's weight and gives what it counts against sizes.
fn weigh(profile: &Profile, semantics: SizeSemantics, weight: i32) -> Outcome<usize> {
    if profile.weights_disallowed {
        return match weight {
            0 => Ok(1),
            _ => Err(Failure::invalid(format!(
                "weight {weight}: action selector \"{}\" disallows weights",
                profile.name
            ))),
        };
    }
    let found = usize::try_from(weight).ok().filter(|weight| *weight > 0);
    let found = found.ok_or_else(|| Failure::invalid(format!("weight {weight} must be greater than 0")))?;
    match semantics {
        SizeSemantics::SumOfWeights => Ok(found),
        SizeSemantics::SumOfMembers(max) if max > 0 && weight > max => {
            Err(Failure::invalid(format!("weight {weight}: the most for a member of \"{}\" is {max}", profile.name)))
        }
        SizeSemantics::SumOfMembers(_) => Ok(1),
    }
}

/// The weight in the data plane.
pub(super) fn plane_weight(weight: i32) -> u32 {
    u32::try_from(weight).unwrap_or(0).max(1)
}

impl Pipeline {
    /// Actions of a profile are those of any of its tables: their lists are the same.
    pub(in crate::p4runtime) fn profile_table(&self, profile: usize) -> Outcome<usize> {
        let known = &self.schema.profiles[profile];
        known
            .tables
            .first()
            .copied()
            .ok_or_else(|| Failure::invalid(format!("no table uses action profile \"{}\"", known.name)))
    }

    /// Refuses explicit members and groups beside one-shots (P4Runtime 9.2.3, at the end).
    pub(super) fn no_one_shots(&self, profile: usize) -> Outcome<()> {
        match self.profiles[profile].one_shots {
            0 => Ok(()),
            _ => Err(Failure::invalid(format!(
                "action selector \"{}\" is programmed with one-shots, members and groups cannot be mixed in",
                self.schema.profiles[profile].name
            ))),
        }
    }

    fn watch(&self, watch: Option<Watch>) -> Outcome<(Option<Watch>, Option<u32>)> {
        let port = match &watch {
            None => return Ok((None, None)),
            Some(Watch::Port(bytes)) if bytes.is_empty() => return Ok((None, None)),
            Some(Watch::Port(bytes)) => self.port(bytes),
            Some(Watch::Number(0)) => return Ok((watch, None)),
            Some(Watch::Number(port)) => u32::try_from(*port)
                .map_err(|_| Failure::invalid(format!("port {port} is negative")))
                .and_then(|port| self.existing(port)),
        };
        let port = port.map_err(|failure| failure.within("watch_port"))?;
        let watch = watch.map(|watch| match watch {
            Watch::Port(bytes) => Watch::Port(self.canonical_port(&bytes)),
            number => number,
        });
        Ok((watch, Some(port)))
    }

    /// A port as it is read back.
    pub(super) fn canonical_port(&self, bytes: &[u8]) -> Bytes {
        if self.ports.is_numeric() {
            p4runtime_proto::bytestring::encode_bytes(bytes)
        } else {
            Bytes::copy_from_slice(bytes)
        }
    }

    pub(super) fn write_member(&mut self, kind: Type, given: &v1::ActionProfileMember) -> Outcome<()> {
        let at = self.schema.profile(given.action_profile_id)?;
        let schema = self.schema.clone();
        let profile = &schema.profiles[at];
        let id = given.member_id;
        if id == 0 {
            return Err(Failure::invalid("member_id 0 is not valid"));
        }
        let absent = || Failure::not_found(format!("action profile \"{}\" has no member {id}", profile.name));
        if kind == Type::Delete {
            let member = self.profiles[at].members.get(&id).ok_or_else(absent)?;
            if member.groups > 0 || member.entries > 0 {
                return Err(Failure::precondition(format!(
                    "member {id} of \"{}\" is used by {} groups and {} entries",
                    profile.name, member.groups, member.entries
                )));
            }
            self.plane.delete_member(profile.program, id)?;
            self.profiles[at].members.remove(&id);
            return Ok(());
        }
        self.no_one_shots(at)?;
        let table = &schema.tables[self.profile_table(at)?];
        let action = given.action.as_ref().ok_or_else(|| Failure::invalid("action must be set"))?;
        let known = self.profiles[at].members.get(&id);
        match (kind, known) {
            (Type::Insert, Some(_)) => {
                return Err(Failure::exists(format!("action profile \"{}\" has a member {id}", profile.name)));
            }
            (Type::Modify, None) => return Err(absent()),
            _ => {}
        }
        let call = Call::pack(table, action, Use::Entry)?;
        if kind == Type::Insert && self.profiles[at].members.len() >= profile.size {
            return Err(Failure::exhausted(format!(
                "action profile \"{}\" is full: it holds {} members",
                profile.name, profile.size
            )));
        }
        match kind {
            Type::Insert => self.plane.insert_member(profile.program, id, call.as_ref(table))?,
            _ => self.plane.modify_member(profile.program, id, call.as_ref(table))?,
        }
        let members = &mut self.profiles[at].members;
        match members.get_mut(&id) {
            Some(member) => member.call = call,
            None => {
                members.insert(id, Member { call, entries: 0, groups: 0 });
            }
        }
        Ok(())
    }

    pub(super) fn write_group(&mut self, kind: Type, given: &v1::ActionProfileGroup) -> Outcome<()> {
        let at = self.schema.profile(given.action_profile_id)?;
        let schema = self.schema.clone();
        let profile = &schema.profiles[at];
        if !profile.selector {
            return Err(Failure::invalid(format!(
                "action profile \"{}\" has no selector and so no groups",
                profile.name
            )));
        }
        let id = given.group_id;
        if id == 0 {
            return Err(Failure::invalid("group_id 0 is not valid"));
        }
        let absent = || Failure::not_found(format!("action selector \"{}\" has no group {id}", profile.name));
        if kind == Type::Delete {
            let group = self.profiles[at].groups.get(&id).ok_or_else(absent)?;
            if group.entries > 0 {
                return Err(Failure::precondition(format!(
                    "group {id} of \"{}\" is used by {} entries",
                    profile.name, group.entries
                )));
            }
            self.plane.delete_group(profile.program, id)?;
            if let Some(group) = self.profiles[at].groups.remove(&id) {
                self.forget_members(at, profile, &group);
            }
            return Ok(());
        }
        self.no_one_shots(at)?;
        let known = self.profiles[at].groups.get(&id);
        match (kind, known) {
            (Type::Insert, Some(_)) => {
                return Err(Failure::exists(format!("action selector \"{}\" has a group {id}", profile.name)));
            }
            (Type::Modify, None) => return Err(absent()),
            (Type::Modify, Some(group)) if group.max_size != given.max_size => {
                return Err(Failure::invalid(format!(
                    "max_size {} differs from {}, with which group {id} was inserted",
                    given.max_size, group.max_size
                )));
            }
            _ => {}
        }
        let max_size = usize::try_from(given.max_size)
            .map_err(|_| Failure::invalid(format!("max_size {} is negative", given.max_size)))?;
        if profile.max_group_size > 0 && !(1..=profile.max_group_size).contains(&max_size) {
            return Err(Failure::invalid(format!(
                "max_size {max_size} is not within 1..={}, the max_group_size of \"{}\"",
                profile.max_group_size, profile.name
            )));
        }
        if max_size > profile.size {
            return Err(Failure::exhausted(format!(
                "max_size {max_size} is more than the {} that \"{}\" holds",
                profile.size, profile.name
            )));
        }
        let mut members: Vec<GroupMember> = Vec::with_capacity(given.members.len());
        let mut size = 0usize;
        for one in &given.members {
            if members.iter().any(|other| other.member == one.member_id) {
                return Err(Failure::invalid(format!("member {} is there twice", one.member_id)));
            }
            let within = |failure: Failure| failure.within(format_args!("member {}", one.member_id));
            size += weigh(profile, profile.semantics, one.weight).map_err(within)?;
            #[allow(deprecated)]
            let watch = one.watch_kind.as_ref().map(|watch| match watch {
                action_profile_group::member::WatchKind::Watch(port) => Watch::Number(*port),
                action_profile_group::member::WatchKind::WatchPort(port) => Watch::Port(port.clone()),
            });
            let (watch, port) = self.watch(watch).map_err(within)?;
            members.push(GroupMember { member: one.member_id, weight: one.weight, watch, port });
        }
        if let Some(missing) = members.iter().find(|one| !self.profiles[at].members.contains_key(&one.member)) {
            return Err(Failure::not_found(format!(
                "action selector \"{}\" has no member {}",
                profile.name, missing.member
            )));
        }
        let limit = if max_size > 0 { max_size } else { profile.size };
        if size > limit {
            return Err(Failure::exhausted(format!("the group's size is {size}, the most is {limit}")));
        }
        let before = known_size(profile, self.profiles[at].groups.get(&id));
        let used = self.profiles[at].used - before + size;
        if used > profile.size {
            return Err(Failure::exhausted(format!(
                "action selector \"{}\" is full: its groups would count {used}, the most is {}",
                profile.name, profile.size
            )));
        }
        let plane_members: Vec<_> = members
            .iter()
            .map(|one| GroupMemberSpec { member: one.member, weight: plane_weight(one.weight), watch_port: one.port })
            .collect();
        match kind {
            Type::Insert => self.plane.insert_group(profile.program, id, &plane_members)?,
            _ => self.plane.modify_group(profile.program, id, &plane_members)?,
        }
        let store = &mut self.profiles[at];
        for one in &members {
            if let Some(member) = store.members.get_mut(&one.member) {
                member.groups += 1;
            }
        }
        let entries = store.groups.get(&id).map_or(0, |old| old.entries);
        store.used += size;
        let group = Group { members, max_size: given.max_size, entries };
        if let Some(old) = store.groups.insert(id, group) {
            self.forget_members(at, profile, &old);
        }
        Ok(())
    }

    /// A group is gone: its members count one group less.
    fn forget_members(&mut self, at: usize, profile: &Profile, group: &Group) {
        let store = &mut self.profiles[at];
        store.used -= known_size(profile, Some(group));
        for one in &group.members {
            if let Some(member) = store.members.get_mut(&one.member) {
                member.groups -= 1;
            }
        }
    }

    /// Checks a one-shot set.
    pub(super) fn take_one_shot(
        &self,
        table: &Table,
        at: usize,
        set: &v1::ActionProfileActionSet,
        replaced: Option<&OneShot>,
    ) -> Outcome<OneShot> {
        let schema = self.schema.clone();
        let profile = &schema.profiles[at];
        let store = &self.profiles[at];
        if !store.members.is_empty() || !store.groups.is_empty() {
            return Err(Failure::invalid(format!(
                "action selector \"{}\" is programmed with members and groups, one-shots cannot be mixed in",
                profile.name
            )));
        }
        let first = set.group_action.as_ref().map(|action| Call::pack(table, action, Use::Entry));
        let first = first.transpose().map_err(|failure| failure.within("group_action"))?;
        let (mode, semantics) = modes(set)?;
        let counted = counted(profile, semantics);
        let mut actions = Vec::with_capacity(set.action_profile_actions.len());
        let mut size = 0usize;
        for (number, one) in set.action_profile_actions.iter().enumerate() {
            let within = |failure: Failure| failure.within(format_args!("action_profile_actions[{number}]"));
            let action = one.action.as_ref();
            let action = action.ok_or_else(|| within(Failure::invalid("action must be set")))?;
            let call = Call::pack(table, action, Use::Entry).map_err(within)?;
            size += weigh(profile, counted, one.weight).map_err(within)?;
            #[allow(deprecated)]
            let watch = one.watch_kind.as_ref().map(|watch| match watch {
                action_profile_action::WatchKind::Watch(port) => Watch::Number(*port),
                action_profile_action::WatchKind::WatchPort(port) => Watch::Port(port.clone()),
            });
            let (watch, port) = self.watch(watch).map_err(within)?;
            actions.push(OneShotAction { call, weight: one.weight, watch, port });
        }
        if profile.max_group_size > 0 && size > profile.max_group_size {
            return Err(Failure::invalid(format!(
                "the set's size is {size}, the max_group_size of \"{}\" is {}",
                profile.name, profile.max_group_size
            )));
        }
        let before = replaced.map_or(0, |old| one_shot_size(profile, old));
        let used = self.profiles[at].used - before + size;
        if used > profile.size {
            return Err(Failure::exhausted(format!(
                "action selector \"{}\" is full: its groups would count {used}, the most is {}",
                profile.name, profile.size
            )));
        }
        Ok(OneShot { actions, mode, semantics, first })
    }
}

fn known_size(profile: &Profile, group: Option<&Group>) -> usize {
    let members = group.map_or(&[][..], |group| &group.members);
    members.iter().map(|one| weigh(profile, profile.semantics, one.weight).unwrap_or(0)).sum()
}

pub(super) fn one_shot_size(profile: &Profile, set: &OneShot) -> usize {
    let semantics = counted(profile, set.semantics);
    set.actions.iter().map(|one| weigh(profile, semantics, one.weight).unwrap_or(0)).sum()
}

/// How a one-shot counts against sizes: as it says, or as its selector does.
fn counted(profile: &Profile, stated: Stated) -> SizeSemantics {
    match (stated, profile.semantics) {
        (Stated::DefaultSizeDeterminedByActionSelector, own) => own,
        (Stated::SumOfWeights, _) => SizeSemantics::SumOfWeights,
        (Stated::SumOfMembers, SizeSemantics::SumOfMembers(max)) => SizeSemantics::SumOfMembers(max),
        (Stated::SumOfMembers, SizeSemantics::SumOfWeights) => SizeSemantics::SumOfMembers(0),
    }
}

/// What a one-shot says of its own way (P4Runtime 9.2.3).
fn modes(set: &v1::ActionProfileActionSet) -> Outcome<(ActionSelectionMode, Stated)> {
    let mode = ActionSelectionMode::try_from(set.action_selection_mode)
        .map_err(|_| Failure::invalid(format!("action_selection_mode {} is not valid", set.action_selection_mode)))?;
    let semantics = Stated::try_from(set.size_semantics)
        .map_err(|_| Failure::invalid(format!("size_semantics {} is not valid", set.size_semantics)))?;
    Ok((mode, semantics))
}
