//! What it takes to get from the intents there are to those that are wanted.

use std::collections::BTreeMap;

use pergola_model::{AnyResource, Key, Switch};

/// One intent that changes.
#[derive(Debug, Clone, PartialEq)]
pub enum IntentChange {
    Create(AnyResource),
    Update { old: Box<AnyResource>, new: Box<AnyResource> },
    Delete(AnyResource),
}

impl IntentChange {
    pub fn key(&self) -> Key {
        match self {
            IntentChange::Create(resource) | IntentChange::Delete(resource) => resource.key(),
            IntentChange::Update { new, .. } => new.key(),
        }
    }

    /// The new state; none for a deletion.
    pub fn wanted(&self) -> Option<&AnyResource> {
        match self {
            IntentChange::Create(new) => Some(new),
            IntentChange::Update { new, .. } => Some(new),
            IntentChange::Delete(_) => None,
        }
    }
}

/// `+ switch/leaf1`, `~ port/leaf1/3 mode`, `- route/10.9.0.0/16`; an update names the fields that differ.
impl std::fmt::Display for IntentChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            IntentChange::Create(new) => write!(f, "+ {}", new.key()),
            IntentChange::Delete(old) => write!(f, "- {}", old.key()),
            IntentChange::Update { old, new } => {
                write!(f, "~ {}", new.key())?;
                let (old, new) = (old.to_json(), new.to_json());
                let empty = serde_json::Map::new();
                let (old, new) = (old.as_object().unwrap_or(&empty), new.as_object().unwrap_or(&empty));
                let mut fields: Vec<&String> = old.keys().chain(new.keys()).collect();
                fields.sort();
                fields.dedup();
                for field in fields.into_iter().filter(|field| old.get(*field) != new.get(*field)) {
                    write!(f, " {field}")?;
                }
                Ok(())
            }
        }
    }
}

/// The changes from one set of intents to another: first what is created and updated, kind by kind in the order in which
/// kinds depend on one another, then what is deleted in the reverse order. Equal sets give none. Observations are not
/// looked at. A switch that is given no address stays where it is.
pub fn diff(
    current: impl IntoIterator<Item = AnyResource>,
    wanted: impl IntoIterator<Item = AnyResource>,
) -> Vec<IntentChange> {
    fn by_key(resources: impl IntoIterator<Item = AnyResource>) -> BTreeMap<Key, AnyResource> {
        let intents = resources.into_iter().filter(|r| r.kind().is_intent());
        intents.map(|r| (r.key(), r)).collect()
    }
    let mut current = by_key(current);
    let mut changes = Vec::new();
    for (key, new) in by_key(wanted) {
        match current.remove(&key) {
            Some(old) => {
                let new = in_its_place(&old, new);
                if old != new {
                    changes.push(IntentChange::Update { old: Box::new(old), new: Box::new(new) });
                }
            }
            None => changes.push(IntentChange::Create(new)),
        }
    }
    changes.extend(current.into_values().rev().map(IntentChange::Delete));
    changes
}

/// A switch without a P4Runtime address keeps the addresses it has, and the kind of switch that is there: a file that leaves
/// them to whoever starts the switches, such as the lab, must not take the switches away from the controller.
fn in_its_place(old: &AnyResource, new: AnyResource) -> AnyResource {
    match (old, new) {
        (AnyResource::Switch(old), AnyResource::Switch(new)) if new.p4runtime.is_none() && old.p4runtime.is_some() => {
            let gnmi = new.gnmi.clone().or_else(|| old.gnmi.clone());
            Switch { p4runtime: old.p4runtime.clone(), gnmi, target: old.target, ..new }.into()
        }
        (_, new) => new,
    }
}
