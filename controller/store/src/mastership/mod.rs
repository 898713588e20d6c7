//! Who writes to which device: one master each, spread evenly over the nodes that live.
//!
//! ```text
//! cluster/node/NODE      this node lives            (under the node's lease)
//! cluster/master/DEVICE  NODE; its create revision  (under the same lease)
//!                        is the P4Runtime election id
//! cluster/drain/NODE     an operator wants NODE to have nothing
//! cluster/rebalance      written to: spread evenly now, without waiting for calm
//! ~epoch                 the upper half of every election id; greater in every copy of the store
//! ```
//!
//! A switch remembers the greatest election id it has seen. Revisions begin anew in a restored or
//! moved store, so they are the lower half of the id and the epoch, which does not, is the upper.

mod assign;
mod machine;
mod run;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;

pub use assign::{Move, assign, moves};
pub use machine::{Input, Mastership, Now, Output, Role, Timing};
pub use run::run;

use crate::{Compare, Error, Followed, Key, Op, Result, Revision, Store, Txn, follow};

/// A controller's name.
pub type Node = Key;
/// A device's name.
pub type Device = Key;

/// What every key of the cluster's own begins with.
pub const CLUSTER: &str = "cluster/";
/// Holds the upper half of election ids.
pub const EPOCH_KEY: &str = "~epoch";
const NODE: &str = "cluster/node/";
const MASTER: &str = "cluster/master/";
const DRAIN: &str = "cluster/drain/";
const REBALANCE: &str = "cluster/rebalance";

/// The cluster as the store has it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClusterStatus {
    pub revision: Revision,
    pub nodes: BTreeSet<Node>,
    pub draining: BTreeSet<Node>,
    /// Master and election id of each device that has one.
    pub masters: BTreeMap<Device, (Node, u64)>,
}

/// Reads who lives, who is drained and who is master of what.
///
/// # Errors
/// When the store cannot be read.
pub async fn status(store: &dyn Store) -> Result<ClusterStatus> {
    let listing = store.range(CLUSTER, None).await?;
    let mut status = ClusterStatus { revision: listing.revision, ..ClusterStatus::default() };
    for entry in listing.entries {
        if let Some(node) = entry.key.strip_prefix(NODE) {
            status.nodes.insert(node.into());
        } else if let Some(node) = entry.key.strip_prefix(DRAIN) {
            status.draining.insert(node.into());
        } else if let Some(device) = entry.key.strip_prefix(MASTER) {
            let node = Node::from(String::from_utf8_lossy(&entry.value));
            status.masters.insert(device.into(), (node, entry.create_revision));
        }
    }
    Ok(status)
}

/// How long a node that ended may still seem to live: its lease has to run out, perhaps after an election.
const LINGER: Duration = Duration::from_secs(5);

/// Waits until no node of those asked for lives. The nodes that still do, if some do for longer than a dead one can.
///
/// # Errors
/// When the store cannot be read all the while.
pub async fn living(store: Arc<dyn Store>, asked: impl Fn(&str) -> bool) -> Result<BTreeSet<Node>> {
    let mut followed = follow(store, NODE);
    let mut found = Err(Error::unavailable("the store has not answered"));
    let gone = async {
        while let Some(news) = followed.next().await {
            let events = match news {
                Followed::Interrupted(error) => {
                    // What was known before is known still.
                    if found.is_err() {
                        found = Err(error);
                    }
                    continue;
                }
                Followed::Snapshot(listing) => {
                    found = Ok(BTreeSet::new());
                    listing.entries.into_iter().map(|entry| (entry.key, true)).collect()
                }
                Followed::Batch(batch) => {
                    let lives = |event: &crate::Event| (event.key().clone(), event.entry().is_some());
                    batch.events.iter().map(lives).collect::<Vec<_>>()
                }
            };
            let Ok(nodes) = &mut found else { continue };
            for (key, lives) in events {
                match key.strip_prefix(NODE).filter(|node| asked(node)) {
                    Some(node) if lives => _ = nodes.insert(node.into()),
                    Some(node) => _ = nodes.remove(node),
                    None => {}
                }
            }
            if nodes.is_empty() {
                return;
            }
        }
    };
    // The limit is an answer too.
    let _ = tokio::time::timeout(LINGER, gone).await;
    found
}

/// Asks for a node to have no devices (`on`), or to take part again.
///
/// # Errors
/// When the store cannot be written.
pub async fn drain(store: &dyn Store, node: &str, on: bool) -> Result<()> {
    let key = format!("{DRAIN}{node}");
    let op = if on { Op::put(key, Bytes::new()) } else { Op::delete(key) };
    store.txn(Txn::new().then(op)).await.map(|_| ())
}

/// Asks for an even spread now.
///
/// # Errors
/// When the store cannot be written.
pub async fn rebalance(store: &dyn Store) -> Result<()> {
    store.put(REBALANCE, Bytes::new()).await.map(|_| ())
}

/// Holds as long as the mastership of a device that began at a revision does.
pub fn guard(device: &str, created: Revision) -> Compare {
    Compare::created_at(format!("{MASTER}{device}"), created)
}

/// The P4Runtime election id of a mastership.
pub fn election_id(epoch: u64, created: Revision) -> u128 {
    u128::from(epoch) << 64 | u128::from(created)
}

/// The store's epoch. A store without one gets the present time in Unix seconds.
///
/// # Errors
/// When the store cannot be read or written; `Corrupt` if the epoch is no number.
pub async fn epoch(store: &dyn Store) -> Result<u64> {
    loop {
        if let Some(entry) = store.get(EPOCH_KEY).await? {
            let text = std::str::from_utf8(&entry.value).ok();
            return text.and_then(|t| t.parse().ok()).ok_or_else(|| {
                let value = String::from_utf8_lossy(&entry.value);
                Error::corrupt(format!("{EPOCH_KEY}: found {value:?}, a number is expected"))
            });
        }
        match store.create(EPOCH_KEY, unix_seconds().to_string().into()).await {
            // Another controller was quicker: what it wrote counts.
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(other) => return Err(other),
        }
    }
}

/// Begins a new epoch: for a store that was restored or moved, before controllers run on it.
///
/// # Errors
/// As `epoch`.
pub async fn renew_epoch(store: &dyn Store) -> Result<u64> {
    let next = unix_seconds().max(epoch(store).await?.saturating_add(1));
    store.put(EPOCH_KEY, next.to_string().into()).await?;
    Ok(next)
}

fn unix_seconds() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs().max(1)
}
