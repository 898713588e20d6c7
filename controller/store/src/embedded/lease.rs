//! Which leases live until when. No clock inside: the caller says what time it is.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::LeaseId;

/// Time since the store was opened.
pub type Now = Duration;

#[derive(Debug, Default)]
pub(super) struct Leases {
    live: BTreeMap<LeaseId, Term>,
    ends: BTreeSet<(Now, LeaseId)>,
}

#[derive(Debug, Clone, Copy)]
struct Term {
    ttl: Duration,
    end: Now,
}

impl Leases {
    pub(super) fn grant(&mut self, id: LeaseId, ttl: Duration, now: Now) {
        self.end(id);
        let term = Term { ttl, end: now + ttl };
        self.live.insert(id, term);
        self.ends.insert((term.end, id));
    }

    pub(super) fn contains(&self, id: LeaseId) -> bool {
        self.live.contains_key(&id)
    }

    /// Starts the lease's time anew, and gives that time; `None` if the lease is over.
    pub(super) fn keep_alive(&mut self, id: LeaseId, now: Now) -> Option<Duration> {
        let term = self.live.get(&id).copied()?;
        if term.end <= now {
            return None;
        }
        self.grant(id, term.ttl, now);
        Some(term.ttl)
    }

    pub(super) fn end(&mut self, id: LeaseId) -> bool {
        let Some(term) = self.live.remove(&id) else { return false };
        self.ends.remove(&(term.end, id))
    }

    /// The leases whose time is over, oldest end first. They stay until `end`.
    pub(super) fn expired(&self, now: Now) -> Vec<LeaseId> {
        self.ends.iter().take_while(|(end, _)| *end <= now).map(|(_, id)| *id).collect()
    }

    /// When the next lease ends.
    pub(super) fn next_end(&self) -> Option<Now> {
        self.ends.first().map(|(end, _)| *end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: LeaseId = LeaseId(1);
    const B: LeaseId = LeaseId(2);

    fn at(ms: u64) -> Now {
        Duration::from_millis(ms)
    }

    #[test]
    fn leases_end_in_order_unless_kept_alive() {
        let mut leases = Leases::default();
        leases.grant(A, at(100), at(0));
        leases.grant(B, at(150), at(0));
        assert_eq!(leases.next_end(), Some(at(100)));
        assert_eq!(leases.keep_alive(A, at(99)), Some(at(100)));
        assert_eq!(leases.expired(at(149)), vec![]);
        assert_eq!(leases.expired(at(150)), vec![B]);
        assert_eq!(leases.expired(at(198)), vec![B]);
        assert_eq!(leases.expired(at(199)), vec![B, A]);
        assert_eq!(leases.keep_alive(B, at(150)), None, "over at its very end");
        assert!(leases.end(B) && !leases.end(B));
        assert!(leases.contains(A) && !leases.contains(B));
    }
}
