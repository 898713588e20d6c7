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
    pub(crate) action: Rcu<ActionData>,
    /// Groups and entries that use it.
    pub(crate) uses: AtomicUsize,
}

impl Member {
    pub(crate) fn new(id: u32, seq: u64, action: ActionData) -> Arc<Member> {
        Arc::new(Member { id, seq, action: Rcu::new(Arc::new(action)), uses: AtomicUsize::new(0) })
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
    pub fn new(members: Vec<GroupMember>) -> Self {
        let mut order: Vec<usize> = (0..members.len()).collect();
        order.sort_by_key(|&i| members[i].member.seq);
        let total: u64 = members.iter().map(|m| u64::from(m.weight)).sum();
        // Weights that would need more buckets than this keep their ratio as well as whole numbers can.
        let scale = |weight: u32| match total {
            0..=MOST_BUCKETS => weight as usize,
            _ => (u64::from(weight) * MOST_BUCKETS / total).max(1) as usize,
        };
        let buckets = order.iter().flat_map(|&i| {
            let watch = members[i].watch_port.unwrap_or(UNWATCHED);
            std::iter::repeat_n((i as u32, watch), scale(members[i].weight))
        });
        let buckets = buckets.collect();
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
