//! Who writes to which device: one master each, spread evenly over the nodes that live.
//!
//! ```text
//! cluster/node/NODE      this node lives            (under the node's lease)
//! cluster/master/DEVICE  NODE; its create revision  (under the same lease)
//!                        is the P4Runtime election id
//! cluster/drain/NODE     an operator wants NODE to have nothing
//! cluster/rebalance      written to: spread evenly now, without waiting for calm
//! ```

mod assign;
mod machine;
mod run;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub use assign::{Move, assign, moves};
pub use machine::{Input, Mastership, Now, Output, Role, Timing};
pub use run::run;

use crate::{Key, Op, Result, Revision, Store, Txn};

/// A controller's name.
pub type Node = Key;
/// A device's name.
pub type Device = Key;

pub(crate) const CLUSTER: &str = "cluster/";
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
