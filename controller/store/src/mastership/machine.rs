//! One node's part in mastership, without I/O and clock: `handle(input, now) -> outputs`.
//!
//! A node holds one lease. Its presence (`cluster/node/NODE`) and every device it is master of
//! (`cluster/master/DEVICE`) hang on that lease, so they all end together when it dies. The revision
//! at which a device's key came into existence is the P4Runtime election id: a later master always
//! has a larger one, and the switch itself refuses the earlier.
//!
//! A node believes in its mastership only until the lease could have ended, counted from when the
//! last renewal was *sent*. Orphaned devices are taken at once; devices of living nodes move only
//! when the set of nodes has settled, or when their node is being drained.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::assign::assign;
use super::{DRAIN, Device, MASTER, NODE, Node, REBALANCE};
use crate::{Compare, Entry, Error, Followed, Key, Lease, LeaseId, Op, OpResult, Result, Revision, Txn, TxnOutcome};

/// Time on any clock that does not go back.
pub type Now = Duration;

/// What one node is to one device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Role {
    /// Writes to the device, with this P4Runtime election id.
    Master { election_id: u64 },
    /// Does not; `master` is who does, as far as is known.
    Standby { master: Option<Node> },
}

/// What happened.
#[derive(Debug)]
pub enum Input {
    /// The time asked for with `WakeAt` has come, or the machine starts.
    Wake,
    /// News of everything under `cluster/`.
    Followed(Followed),
    /// The devices there are to be master of.
    Devices(BTreeSet<Device>),
    /// The answer to `Grant`, and to `KeepAlive`; `sent` is when it was asked.
    Granted {
        sent: Now,
        result: Result<Lease>,
    },
    Kept {
        sent: Now,
        lease: LeaseId,
        result: Result<Duration>,
    },
    /// The answer to `Txn`.
    Answered {
        key: Key,
        result: Result<TxnOutcome>,
    },
    /// Gives everything up: this node is about to end.
    Resign,
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    Grant(Duration),
    KeepAlive(LeaseId),
    Revoke(LeaseId),
    Txn {
        key: Key,
        txn: Txn,
    },
    /// The node's role for a device is now this. `None`: the device is gone.
    Role {
        device: Device,
        role: Option<Role>,
    },
    /// Wake at this time, if nothing happens before. Replaces an earlier one.
    WakeAt(Now),
}

/// How fast mastership moves.
#[derive(Debug, Clone, Copy)]
pub struct Timing {
    /// Life of the lease: a dead node's devices are free after this.
    pub ttl: Duration,
    /// How long the set of nodes must be unchanged before devices move for evenness alone.
    pub settle: Duration,
}

impl Default for Timing {
    fn default() -> Self {
        Self { ttl: Duration::from_secs(1), settle: Duration::from_secs(5) }
    }
}

const RETRY: Duration = Duration::from_millis(50);

/// One node's part in mastership.
pub struct Mastership {
    node: Node,
    timing: Timing,
    held: Held,
    /// What the store says, as of `seen`.
    seen: Revision,
    nodes: BTreeMap<Node, Option<LeaseId>>,
    draining: BTreeSet<Node>,
    masters: BTreeMap<Device, Claim>,
    devices: BTreeSet<Device>,
    listed: bool,
    /// Evenness counts from this time on.
    settled_at: Now,
    /// Keys with a transaction under way, or whose outcome is still to be seen.
    busy: BTreeMap<Key, Busy>,
    /// Given up, so no longer master even before the store says so.
    yielding: BTreeSet<Device>,
    roles: BTreeMap<Device, Role>,
    resigned: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Held {
    None { retry_at: Now },
    Asking,
    Lease { id: LeaseId, ttl: Duration, until: Now, renew_at: Now, renewing: bool },
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Claim {
    node: Node,
    created: Revision,
    lease: Option<LeaseId>,
}

#[derive(Debug, Clone, Copy)]
enum Busy {
    Asked,
    /// Until the store was seen at this revision.
    Seen(Revision),
    Until(Now),
}

impl Mastership {
    pub fn new(node: impl Into<Node>, timing: Timing, now: Now) -> Self {
        Self {
            node: node.into(),
            timing,
            held: Held::None { retry_at: now },
            seen: 0,
            nodes: BTreeMap::new(),
            draining: BTreeSet::new(),
            masters: BTreeMap::new(),
            devices: BTreeSet::new(),
            listed: false,
            settled_at: now,
            busy: BTreeMap::new(),
            yielding: BTreeSet::new(),
            roles: BTreeMap::new(),
            resigned: false,
        }
    }

    /// Takes one input and says what to do now.
    pub fn handle(&mut self, input: Input, now: Now) -> Vec<Output> {
        let mut out = Vec::new();
        match input {
            Input::Wake => {}
            Input::Followed(Followed::Snapshot(listing)) => {
                let (nodes, settled_at) = (std::mem::take(&mut self.nodes), self.settled_at);
                let masters = std::mem::take(&mut self.masters);
                let yielding = std::mem::take(&mut self.yielding);
                self.draining.clear();
                listing.entries.iter().for_each(|entry| self.learn(&entry.key, Some(entry), now));
                if self.nodes.keys().eq(nodes.keys()) {
                    self.settled_at = settled_at;
                }
                let same = |device: &Device| self.masters.get(device) == masters.get(device);
                self.yielding = yielding.into_iter().filter(same).collect();
                self.listed = true;
                self.seen = listing.revision;
            }
            Input::Followed(Followed::Batch(batch)) => {
                for event in &batch.events {
                    self.learn(event.key(), event.entry(), now);
                }
                self.seen = batch.revision;
            }
            // The lease says how long what is known may be relied upon.
            Input::Followed(Followed::Interrupted(_)) => {}
            Input::Devices(devices) => self.devices = devices,
            Input::Granted { sent, result } => self.granted(sent, result, now, &mut out),
            Input::Kept { sent, lease, result } => self.kept(sent, lease, result, now),
            Input::Answered { key, result } => self.answered(key, result, now),
            Input::Resign => {
                self.resigned = true;
                if let Held::Lease { id, .. } = self.held {
                    out.push(Output::Revoke(id));
                }
                self.held = Held::None { retry_at: now };
            }
        }
        self.keep_lease(now, &mut out);
        self.claim(now, &mut out);
        self.report(&mut out);
        if !self.resigned {
            out.push(Output::WakeAt(self.wake_at(now)));
        }
        out
    }

    /// The devices this node is master of, with their election ids.
    pub fn mastered(&self) -> impl Iterator<Item = (&Device, u64)> {
        self.roles.iter().filter_map(|(device, role)| match role {
            Role::Master { election_id } => Some((device, *election_id)),
            Role::Standby { .. } => None,
        })
    }

    fn learn(&mut self, key: &Key, entry: Option<&Entry>, now: Now) {
        if let Some(node) = key.strip_prefix(NODE) {
            let known = match entry {
                Some(entry) => self.nodes.insert(node.into(), entry.lease).is_some(),
                None => self.nodes.remove(node).is_none(),
            };
            if !known {
                self.settled_at = now + self.timing.settle;
            }
        } else if let Some(node) = key.strip_prefix(DRAIN) {
            match entry {
                Some(_) => self.draining.insert(node.into()),
                None => self.draining.remove(node),
            };
        } else if let Some(device) = key.strip_prefix(MASTER) {
            let device = Device::from(device);
            let claim = entry.map(|entry| Claim {
                node: String::from_utf8_lossy(&entry.value).into(),
                created: entry.create_revision,
                lease: entry.lease,
            });
            if self.masters.get(&device) != claim.as_ref() {
                self.yielding.remove(&device);
            }
            match claim {
                Some(claim) => self.masters.insert(device, claim),
                None => self.masters.remove(&device),
            };
        } else if &**key == REBALANCE {
            self.settled_at = now;
        }
    }

    fn granted(&mut self, sent: Now, result: Result<Lease>, now: Now, out: &mut Vec<Output>) {
        match result {
            Ok(lease) if self.resigned => out.push(Output::Revoke(lease.id)),
            Ok(lease) => {
                let (id, ttl) = (lease.id, lease.ttl);
                let renew_at = sent + ttl / 3;
                self.held = Held::Lease { id, ttl, until: sent + ttl, renew_at, renewing: false };
            }
            Err(_) => self.held = Held::None { retry_at: now + RETRY },
        }
    }

    fn kept(&mut self, sent: Now, lease: LeaseId, result: Result<Duration>, now: Now) {
        let Held::Lease { id, ttl, until, renew_at, renewing } = &mut self.held else { return };
        if *id != lease {
            return;
        }
        *renewing = false;
        match result {
            Ok(granted) => {
                *ttl = granted;
                *until = sent + granted;
                *renew_at = sent + granted / 3;
            }
            Err(Error::LeaseNotFound { .. }) => self.held = Held::None { retry_at: now },
            Err(_) => *renew_at = now + RETRY,
        }
    }

    fn answered(&mut self, key: Key, result: Result<TxnOutcome>, now: Now) {
        let wait = match result {
            Ok(outcome) if outcome.succeeded => Busy::Seen(outcome.revision),
            Ok(outcome) => match outcome.results.first() {
                Some(OpResult::Got(Some(entry))) => Busy::Seen(entry.mod_revision),
                _ => Busy::Until(now + RETRY),
            },
            Err(Error::LeaseNotFound { lease }) => {
                if matches!(self.held, Held::Lease { id, .. } if id == lease) {
                    self.held = Held::None { retry_at: now };
                }
                Busy::Until(now)
            }
            Err(_) => Busy::Until(now + RETRY),
        };
        self.busy.insert(key, wait);
    }

    fn keep_lease(&mut self, now: Now, out: &mut Vec<Output>) {
        if let Held::Lease { until, .. } = self.held
            && until <= now
        {
            // It may still live in the store; this node no longer knows, so it is over.
            self.held = Held::None { retry_at: now };
        }
        match &mut self.held {
            Held::None { retry_at } if *retry_at <= now && !self.resigned => {
                self.held = Held::Asking;
                out.push(Output::Grant(self.timing.ttl));
            }
            Held::Lease { id, renew_at, renewing, .. } if *renew_at <= now && !*renewing => {
                *renewing = true;
                out.push(Output::KeepAlive(*id));
            }
            _ => {}
        }
    }

    fn claim(&mut self, now: Now, out: &mut Vec<Output>) {
        let seen = self.seen;
        self.busy.retain(|_, busy| match busy {
            Busy::Asked => true,
            Busy::Seen(revision) => *revision > seen,
            Busy::Until(time) => *time > now,
        });
        let Held::Lease { id: lease, .. } = self.held else { return };
        if !self.listed || self.resigned {
            return;
        }
        if self.nodes.get(&self.node) != Some(&Some(lease)) {
            let key = Key::from(format!("{NODE}{}", self.node));
            let value = self.node.as_bytes().to_vec();
            let txn = Txn::new().then(Op::put_leased(key.clone(), value, lease));
            self.ask(key, txn, out);
        }
        let current = self.masters.iter().map(|(d, c)| (d.clone(), c.node.clone())).collect();
        let wanted = assign(&self.candidates(), &self.devices, &current);
        let drained = self.draining.contains(&self.node);
        let mut steps = Vec::new();
        let gone = self.masters.keys().filter(|device| !self.devices.contains(*device));
        for device in self.devices.iter().chain(gone) {
            let mine = wanted.get(device).is_some_and(|node| *node == self.node);
            let key = Key::from(format!("{MASTER}{device}"));
            match self.masters.get(device) {
                None if mine => {
                    let value = self.node.as_bytes().to_vec();
                    let txn =
                        Txn::new().when(Compare::missing(key.clone())).then(Op::put_leased(key.clone(), value, lease));
                    steps.push((device.clone(), key, txn, false));
                }
                Some(claim) if claim.node == self.node => {
                    // A claim of this node's former life cannot be kept: its lease ends.
                    let former = claim.lease != Some(lease);
                    let gone = !self.devices.contains(device);
                    let moves = !mine && (drained || self.settled_at <= now);
                    if former || gone || moves {
                        let txn = Txn::new()
                            .when(Compare::created_at(key.clone(), claim.created))
                            .then(Op::delete(key.clone()));
                        steps.push((device.clone(), key, txn, true));
                    }
                }
                _ => {}
            }
        }
        for (device, key, txn, yields) in steps {
            if self.ask(key, txn, out) && yields {
                self.yielding.insert(device);
            }
        }
    }

    /// Nodes that can be master: all that live, but those being drained if others are left.
    fn candidates(&self) -> BTreeSet<Node> {
        let living = || self.nodes.keys().cloned();
        let open: BTreeSet<Node> = living().filter(|n| !self.draining.contains(n)).collect();
        if open.is_empty() { living().collect() } else { open }
    }

    fn ask(&mut self, key: Key, txn: Txn, out: &mut Vec<Output>) -> bool {
        if self.busy.contains_key(&key) {
            return false;
        }
        self.busy.insert(key.clone(), Busy::Asked);
        let txn = txn.or_else(Op::get(key.clone()));
        out.push(Output::Txn { key, txn });
        true
    }

    fn role(&self, device: &Device) -> Role {
        let claim = self.masters.get(device);
        match (claim, &self.held) {
            (Some(claim), Held::Lease { id, .. })
                if claim.node == self.node && claim.lease == Some(*id) && !self.yielding.contains(device) =>
            {
                Role::Master { election_id: claim.created }
            }
            _ => {
                let others = claim.filter(|claim| claim.node != self.node);
                Role::Standby { master: others.map(|claim| claim.node.clone()) }
            }
        }
    }

    fn report(&mut self, out: &mut Vec<Output>) {
        let gone: Vec<Device> = self.roles.keys().filter(|d| !self.devices.contains(*d)).cloned().collect();
        for device in gone {
            self.roles.remove(&device);
            out.push(Output::Role { device, role: None });
        }
        for device in &self.devices {
            let role = self.role(device);
            if self.roles.get(device) != Some(&role) {
                self.roles.insert(device.clone(), role.clone());
                out.push(Output::Role { device: device.clone(), role: Some(role) });
            }
        }
    }

    fn wake_at(&self, now: Now) -> Now {
        let lease = match self.held {
            Held::None { retry_at } => Some(retry_at),
            Held::Asking => None,
            Held::Lease { until, renewing: true, .. } => Some(until),
            Held::Lease { until, renew_at, .. } => Some(until.min(renew_at)),
        };
        let busy = self.busy.values().filter_map(|busy| match busy {
            Busy::Until(time) => Some(*time),
            _ => None,
        });
        let settled = Some(self.settled_at).filter(|at| *at > now);
        let first = busy.chain(lease).chain(settled).min();
        first.unwrap_or(now + self.timing.ttl).max(now)
    }
}
