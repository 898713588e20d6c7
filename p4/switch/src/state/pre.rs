//! The packet replication engine: multicast groups and clone sessions.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use crate::rcu::{Pin, Rcu, pin};

/// One copy that a group makes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Replica {
    pub port: u32,
    /// `egress_rid` of the copy.
    pub rid: u16,
}

/// A clone session: where clones go and how long they may be.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct CloneSession {
    pub replicas: Vec<Replica>,
    /// A multicast group that makes further copies.
    pub group: Option<u16>,
    /// Clones are cut to this many bytes; 0 for whole packets.
    pub truncate: u32,
}

/// Maps published as a whole: they change seldom.
pub struct Pre {
    groups: Rcu<BTreeMap<u16, Arc<[Replica]>>>,
    sessions: Rcu<BTreeMap<u16, Arc<CloneSession>>>,
    write: Mutex<()>,
}

impl Default for Pre {
    fn default() -> Self {
        Pre { groups: Rcu::new(Arc::default()), sessions: Rcu::new(Arc::default()), write: Mutex::new(()) }
    }
}

impl Pre {
    pub(crate) fn group<'g>(&'g self, id: u16, pin: &'g Pin) -> Option<&'g [Replica]> {
        Some(self.groups.load(pin)?.get(&id)?)
    }

    pub(crate) fn session<'g>(&'g self, id: u16, pin: &'g Pin) -> Option<&'g CloneSession> {
        Some(self.sessions.load(pin)?.get(&id)?)
    }

    /// Sets a group's copies, in order; `None` removes the group. Returns what was there.
    pub fn set_group(&self, id: u16, replicas: Option<Vec<Replica>>) -> Option<Arc<[Replica]>> {
        let (pin, _write) = (pin(), self.write.lock());
        let mut map = self.groups.load(&pin).cloned().unwrap_or_default();
        let old = match replicas {
            Some(replicas) => map.insert(id, replicas.into()),
            None => map.remove(&id),
        };
        self.groups.set(Some(Arc::new(map)), &pin);
        old
    }

    /// Sets or removes a clone session. Ids are 0 to 32767.
    pub fn set_session(&self, id: u16, session: Option<CloneSession>) -> Option<Arc<CloneSession>> {
        let (pin, _write) = (pin(), self.write.lock());
        let mut map = self.sessions.load(&pin).cloned().unwrap_or_default();
        let old = match session {
            Some(session) => map.insert(id, Arc::new(session)),
            None => map.remove(&id),
        };
        self.sessions.set(Some(Arc::new(map)), &pin);
        old
    }

    pub fn groups(&self) -> BTreeMap<u16, Arc<[Replica]>> {
        self.groups.load(&pin()).cloned().unwrap_or_default()
    }

    pub fn sessions(&self) -> BTreeMap<u16, Arc<CloneSession>> {
        self.sessions.load(&pin()).cloned().unwrap_or_default()
    }
}
