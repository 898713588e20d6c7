//! Action profiles: members, groups, and the choice among a group's members whose ports are up.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;

use super::entry::ActionData;
use crate::rcu::{Pin, Rcu};
use crate::state::ports::Ports;

/// One member: an action that entries and groups point at.
pub struct Member {
    pub id: u32,
    /// Creation order; groups keep their members in it, as BMv2 does by handle.
    pub(crate) seq: u64,
    /// The same of the further copies that weights need; they outlive the group that needed them first.
    copies: Mutex<Vec<u64>>,
    pub(crate) action: Rcu<ActionData>,
    /// Groups and entries that use it.
    pub(crate) uses: AtomicUsize,
}

impl Member {
    pub(crate) fn new(id: u32, seq: u64, action: ActionData) -> Arc<Member> {
        Arc::new(Member {
            id,
            seq,
            copies: Mutex::default(),
            action: Rcu::new(Arc::new(action)),
            uses: AtomicUsize::new(0),
        })
    }

    pub fn action(&self, pin: &Pin) -> Option<Arc<ActionData>> {
        self.action.get(pin)
    }
}

/// A member of a group.
#[derive(Clone)]
pub struct GroupMember {
    pub member: Arc<Member>,
    pub weight: u32,
    /// The member is skipped while this port is down.
    pub watch_port: Option<u32>,
}

/// The members of a group at one time, and the same members expanded by weight for the choice.
pub struct GroupData {
    pub members: Vec<GroupMember>,
    /// Each packet takes a member at random.
    pub random: bool,
    /// Runs before the chosen member.
    pub first: Option<ActionData>,
    buckets: Box<[(u32, u32)]>,
    watched: bool,
}

/// No port to watch.
const UNWATCHED: u32 = u32::MAX;
/// Buckets of one group; P4Info may allow any weight.
const MOST_BUCKETS: u64 = 1 << 16;

impl GroupData {
    /// A group of a profile's members. BMv2's server makes a member anew for each weight above one, when a group first needs it.
    pub(crate) fn of_members(members: Vec<GroupMember>, next_seq: &mut u64) -> Self {
        let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
        if total <= MOST_BUCKETS {
            let mut order: Vec<&GroupMember> = members.iter().collect();
            order.sort_by_key(|m| m.member.id);
            for one in order {
                let mut copies = one.member.copies.lock();
                while copies.len() + 1 < one.weight as usize {
                    *next_seq += 1;
                    copies.push(*next_seq);
                }
            }
        }
        Self::new(members)
    }

    fn new(members: Vec<GroupMember>) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&i| members[i].member.seq);
        let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
        // Weights that would need more buckets than this keep their ratio as well as whole numbers can.
        let scale = |weight: u32| match total {
            0..=MOST_BUCKETS => weight as usize,
            _ => (u64::from(weight) * MOST_BUCKETS / total).max(1) as usize,
        };
        let mut buckets: Vec<(u64, (u32, u32))> = Vec::new();
        for &i in &order {
            let GroupMember { member, weight, watch_port } = &members[i];
            let copies = member.copies.lock();
            let seqs = std::iter::once(member.seq).chain(copies.iter().copied());
            // Those of a one-shot group are not counted: each comes with its copies.
            let seqs = seqs.chain(std::iter::repeat(member.seq)).take(scale(*weight));
            buckets.extend(seqs.map(|seq| (seq, (i as u32, watch_port.unwrap_or(UNWATCHED)))));
        }
        buckets.sort_by_key(|bucket| bucket.0);
        let buckets = buckets.into_iter().map(|bucket| bucket.1).collect();
        let watched = members.iter().any(|m| m.watch_port.is_some());
        GroupData { members, random: false, first: None, buckets, watched }
    }

    /// A group with ways of its own.
    pub(crate) fn one_shot(members: Vec<GroupMember>, random: bool, first: Option<ActionData>) -> Self {
        GroupData { random, first, ..GroupData::new(members) }
    }

    /// Number of buckets: the sum of the weights.
    pub fn len(&self) -> usize {
        self.buckets.len()
    }

    pub fn is_empty(&self) -> bool {
        self.buckets.is_empty()
    }

    /// The member that `hash` chooses among those whose watched port is up.
    #[inline]
    pub(crate) fn choose(&self, hash: u64, ports: &Ports) -> Option<&Member> {
        let len = self.buckets.len() as u64;
        if len == 0 {
            return None;
        }
        let index = if !self.watched || !ports.any_down() {
            (hash % len) as usize
        } else {
            let up = |&&(_, watch): &&(u32, u32)| watch == UNWATCHED || ports.is_up(watch);
            let alive = self.buckets.iter().filter(up).count() as u64;
            if alive == 0 {
                return None;
            }
            let nth = self.buckets.iter().enumerate().filter(|(_, b)| up(b)).nth((hash % alive) as usize);
            nth?.0
        };
        let (member, _) = self.buckets[index];
        Some(&self.members[member as usize].member)
    }
}

/// A group that entries point at.
pub struct Group {
    pub id: u32,
    pub(crate) data: Rcu<GroupData>,
    /// Entries that use it.
    pub(crate) uses: AtomicUsize,
}

impl Group {
    pub fn data(&self, pin: &Pin) -> Option<Arc<GroupData>> {
        self.data.get(pin)
    }
}

#[derive(Default)]
pub(crate) struct ProfileState {
    pub members: HashMap<u32, Arc<Member>>,
    pub groups: HashMap<u32, (Arc<Group>, u32)>,
    pub next_seq: u64,
}

/// The members and groups of one action profile.
#[derive(Default)]
pub struct Profile {
    pub(crate) state: Mutex<ProfileState>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(id: u32, seq: u64) -> Arc<Member> {
        Member::new(id, seq, ActionData { action: 0, words: Default::default() })
    }

    fn chosen(group: &GroupData) -> Vec<u32> {
        let ports = Ports::default();
        (0..group.len() as u64).map(|hash| group.choose(hash, &ports).unwrap().id).collect()
    }

    fn weighted(member: &Arc<Member>, weight: u32) -> GroupMember {
        GroupMember { member: member.clone(), weight, watch_port: None }
    }

    #[test]
    fn further_copies_come_after_the_members_that_were_there() {
        let (a, b, mut next) = (member(1, 1), member(2, 2), 2);
        let first = GroupData::of_members(vec![weighted(&b, 3), weighted(&a, 2)], &mut next);
        assert_eq!(chosen(&first), [1, 2, 1, 2, 2]);
        next += 1;
        let c = member(3, next);
        let second = GroupData::of_members(vec![weighted(&c, 2), weighted(&b, 2)], &mut next);
        assert_eq!(chosen(&second), [2, 2, 3, 3]);
    }

    #[test]
    fn copies_in_a_one_shot_group_stand_together() {
        let group = GroupData::one_shot(vec![weighted(&member(0, 0), 2), weighted(&member(1, 1), 2)], false, None);
        assert_eq!(chosen(&group), [0, 0, 1, 1]);
    }
}
