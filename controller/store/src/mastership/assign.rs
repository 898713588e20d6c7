//! Which node should be master of which device. Pure: every node computes the same.

use std::collections::{BTreeMap, BTreeSet};

use super::{Device, Node};

/// One device that changes hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    pub device: Device,
    /// `None` if nobody has it now, or somebody who is gone.
    pub from: Option<Node>,
    pub to: Node,
}

/// Spreads the devices so that no node has more than one device more than another, and as few
/// devices as possible change hands. Without nodes nobody gets anything.
pub fn assign(
    nodes: &BTreeSet<Node>,
    devices: &BTreeSet<Device>,
    current: &BTreeMap<Device, Node>,
) -> BTreeMap<Device, Node> {
    if nodes.is_empty() {
        return BTreeMap::new();
    }
    let mut held: BTreeMap<&Node, Vec<&Device>> = nodes.iter().map(|n| (n, Vec::new())).collect();
    let mut free = Vec::new();
    for device in devices {
        match current.get(device).and_then(|node| held.get_mut(node)) {
            Some(list) => list.push(device),
            None => free.push(device),
        }
    }
    // Whoever has most keeps the odd ones, so that fewest move.
    let (share, odd) = (devices.len() / nodes.len(), devices.len() % nodes.len());
    let mut by_load: Vec<&Node> = nodes.iter().collect();
    by_load.sort_by_key(|node| std::cmp::Reverse(held[node].len()));
    let quota: BTreeMap<&Node, usize> =
        by_load.into_iter().enumerate().map(|(i, n)| (n, share + usize::from(i < odd))).collect();
    for (node, list) in &mut held {
        let keep = quota[node].min(list.len());
        free.extend(list.drain(keep..));
    }
    free.sort();
    let mut free = free.into_iter();
    let mut wanted = BTreeMap::new();
    for (node, mut list) in held {
        let room = quota[node] - list.len();
        list.extend(free.by_ref().take(room));
        wanted.extend(list.into_iter().map(|device| (device.clone(), node.clone())));
    }
    wanted
}

/// What [`assign`] changes.
pub fn moves(nodes: &BTreeSet<Node>, devices: &BTreeSet<Device>, current: &BTreeMap<Device, Node>) -> Vec<Move> {
    let changed = |(device, to): (Device, Node)| {
        let from = current.get(&device).filter(|node| nodes.contains(*node)).cloned();
        (from.as_ref() != Some(&to)).then_some(Move { device, from, to })
    };
    assign(nodes, devices, current).into_iter().filter_map(changed).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(prefix: &str, numbers: &BTreeSet<u8>) -> BTreeSet<Node> {
        numbers.iter().map(|n| Node::from(format!("{prefix}{n}"))).collect()
    }

    proptest! {
        #[test]
        fn even_complete_and_with_fewest_moves(
            nodes in prop::collection::btree_set(0..6u8, 1..6),
            devices in prop::collection::btree_set(0..60u8, 0..40),
            current in prop::collection::btree_map(0..60u8, 0..8u8, 0..60),
        ) {
            let (nodes, devices) = (names("n", &nodes), names("d", &devices));
            let current: BTreeMap<Device, Node> = current
                .iter()
                .map(|(d, n)| (format!("d{d}").into(), format!("n{n}").into()))
                .collect();
            let wanted = assign(&nodes, &devices, &current);
            prop_assert!(wanted.keys().eq(devices.iter()), "every device, and no other");
            let load = |of: &BTreeMap<Device, Node>, node: &Node| {
                of.iter().filter(|(d, n)| devices.contains(*d) && *n == node).count()
            };
            let loads: Vec<usize> = nodes.iter().map(|n| load(&wanted, n)).collect();
            let (least, most) = (loads.iter().min().unwrap(), loads.iter().max().unwrap());
            prop_assert!(most - least <= 1, "{loads:?}");

            // No even spread keeps more devices in place: each node can keep at most what it has,
            // and at most its share, and only `odd` nodes can have one more.
            let (share, odd) = (devices.len() / nodes.len(), devices.len() % nodes.len());
            let had: Vec<usize> = nodes.iter().map(|n| load(&current, n)).collect();
            let fit: usize = had.iter().map(|h| (*h).min(share)).sum();
            let fit = fit + had.iter().filter(|h| **h > share).count().min(odd);
            let changed = moves(&nodes, &devices, &current);
            prop_assert_eq!(changed.len(), devices.len() - fit);
            prop_assert!(moves(&nodes, &devices, &wanted).is_empty(), "it is stable");
        }
    }

    #[test]
    fn without_nodes_nobody_is_master() {
        let devices = BTreeSet::from(["leaf1".into()]);
        assert!(assign(&BTreeSet::new(), &devices, &BTreeMap::new()).is_empty());
    }
}
