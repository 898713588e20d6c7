//! What is replicated in a view and why, kept while the view moves on.

use std::ops::RangeInclusive;
use std::sync::Arc;

use super::View;
use super::apply::{ChangeKind, replace};
use crate::ids::VlanId;
use crate::multicast::{GroupMembers, MembersKey, MulticastGroup};
use crate::names::{GroupName, SubnetName};
use crate::replication::Replication;
use crate::resource::{Key, Kind};

impl View {
    pub(super) fn set_group_members(&mut self, key: MembersKey, new: Option<GroupMembers>) -> Option<ChangeKind> {
        let done = replace(&mut self.group_members, key.clone(), new)?;
        let cause = Key::new(Kind::GroupMembers, key);
        for what in done.old.iter().flat_map(|old| Replication::of_members(old)) {
            self.replicated.remove(what.hash(), (what, cause.clone()));
        }
        for what in done.new.iter().flat_map(|new| Replication::of_members(new)) {
            self.replicated.insert(what.hash(), (what, cause.clone()));
        }
        Some(done.change)
    }

    pub(super) fn set_multicast(&mut self, name: GroupName, new: Option<MulticastGroup>) -> Option<ChangeKind> {
        let done = replace(&mut self.multicast, name.clone(), new)?;
        self.set_users(&Key::new(Kind::Multicast, &name), &done, |group| &group.receivers);
        let vlan = |group: &Arc<MulticastGroup>, view: &View| view.subnets.get(&group.subnet).map(|s| s.vlan);
        if let Some(old) = done.old {
            self.replicate(vlan(&old, self), &old, false);
        }
        if let Some(new) = done.new {
            self.replicate(vlan(&new, self), &new, true);
        }
        Some(done.change)
    }

    /// The configured groups of a subnet, whose VLAN was `old` and is `new`.
    pub(super) fn move_groups(&mut self, subnet: &SubnetName, old: Option<VlanId>, new: Option<VlanId>) {
        if old == new {
            return;
        }
        let groups: Vec<_> = self.multicast.values().filter(|group| group.subnet == *subnet).cloned().collect();
        for group in groups {
            self.replicate(old, &group, false);
            self.replicate(new, &group, true);
        }
    }

    fn replicate(&mut self, vlan: Option<VlanId>, group: &MulticastGroup, on: bool) {
        let Some(vlan) = vlan else { return };
        for what in Replication::of_group(vlan, group.group) {
            let cause = Key::new(Kind::Multicast, &group.name);
            if on {
                self.replicated.insert(what.hash(), (what, cause));
            } else {
                self.replicated.remove(what.hash(), (what, cause));
            }
        }
    }

    /// Everything that is replicated, each once, by its hash.
    pub fn replications(&self) -> impl Iterator<Item = Replication> + '_ {
        self.replications_in(0..=u32::MAX)
    }

    /// What is replicated and has one of these hashes, each once, by its hash.
    pub fn replications_in(&self, hashes: RangeInclusive<u32>) -> impl Iterator<Item = Replication> + '_ {
        let (first, last) = hashes.into_inner();
        let all = self.replicated.from(first).take_while(move |(hash, _)| **hash <= last).map(|(_, (what, _))| *what);
        let mut before = None;
        all.filter(move |what| before.replace(*what) != Some(*what))
    }

    /// The configured groups and the members because of which something is replicated; none when it is not.
    pub fn replication_causes<'a>(&'a self, what: &Replication) -> impl Iterator<Item = &'a Key> + 'a + use<'a> {
        let what = *what;
        self.replicated.of(&what.hash()).filter(move |(one, _)| *one == what).map(|(_, cause)| cause)
    }

    /// The configured groups among the causes.
    pub fn groups_behind<'a>(&'a self, what: &Replication) -> impl Iterator<Item = &'a Arc<MulticastGroup>> + use<'a> {
        let names = self.replication_causes(what).filter(|cause| cause.kind == Kind::Multicast);
        names.filter_map(|cause| self.multicast.get(&cause.name.parse::<GroupName>().ok()?))
    }
}
