//! Who is master of which device, as every part of the engine sees it: set by the mastership task, at once seen by device
//! tasks and by whoever writes observations.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use parking_lot::RwLock;
use pergola_store::Compare;
use pergola_store::mastership::{Role, guard};
use tokio::sync::watch;

/// This controller's part for one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceRole {
    /// The revision at which our mastership began; `None` when we are not master.
    pub since: Option<u64>,
    /// The other controller that is, as far as is known.
    pub other: Option<Arc<str>>,
}

impl From<Option<Role>> for DeviceRole {
    fn from(role: Option<Role>) -> DeviceRole {
        match role {
            Some(Role::Master { election_id }) => DeviceRole { since: Some(election_id), other: None },
            Some(Role::Standby { master }) => DeviceRole { since: None, other: master },
            None => DeviceRole::default(),
        }
    }
}

impl DeviceRole {
    pub fn is_master(&self) -> bool {
        self.since.is_some()
    }
}

/// Who may say something about a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Voice {
    /// We, as long as this holds in the store.
    Ours(Compare),
    /// Nobody now: the store is away, or a lease has just ended.
    Nobodys,
    Others,
}

pub(crate) struct Roles {
    node: Arc<str>,
    epoch: u64,
    devices: RwLock<HashMap<Arc<str>, watch::Sender<DeviceRole>>>,
}

impl Roles {
    pub fn new(node: Arc<str>, epoch: u64) -> Roles {
        Roles { node, epoch, devices: RwLock::default() }
    }

    pub fn node(&self) -> &Arc<str> {
        &self.node
    }

    /// What the mastership task says; `None`: the device is gone.
    pub fn set(&self, device: &str, role: Option<Role>) {
        let role = DeviceRole::from(role);
        let mut devices = self.devices.write();
        let sender = devices.entry(device.into()).or_insert_with(|| watch::channel(DeviceRole::default()).0);
        sender.send_if_modified(|held| {
            let changed = *held != role;
            *held = role;
            changed
        });
    }

    /// Nobody says anything any more: we are master of nothing.
    pub fn clear(&self) {
        for sender in self.devices.read().values() {
            sender.send_replace(DeviceRole::default());
        }
    }

    pub fn follow(&self, device: &str) -> watch::Receiver<DeviceRole> {
        let mut devices = self.devices.write();
        devices.entry(device.into()).or_insert_with(|| watch::channel(DeviceRole::default()).0).subscribe()
    }

    /// The upper half of election ids.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    /// What we call ourselves where we are not master: less than any master's id, and different from other standbys',
    /// since some servers take only one stream without an id.
    pub fn standby_id(&self) -> u128 {
        let hash = self.node.bytes().fold(0x811c_9dc5u32, |h, b| (h ^ u32::from(b)).wrapping_mul(0x0100_0193));
        u128::from(hash.max(1))
    }

    /// Whether we may speak for one of these devices.
    pub fn voice<'a>(&self, devices: impl Iterator<Item = &'a str>) -> Voice {
        let held = self.devices.read();
        let mut voice = Voice::Others;
        for device in devices {
            let role = held.get(device).map(|sender| sender.borrow().clone()).unwrap_or_default();
            match role {
                DeviceRole { since: Some(since), .. } => return Voice::Ours(guard(device, since)),
                DeviceRole { other: None, .. } => voice = Voice::Nobodys,
                DeviceRole { other: Some(_), .. } => {}
            }
        }
        voice
    }

    /// The other controller that is master of a device.
    pub fn other(&self, device: &str) -> Option<Arc<str>> {
        self.devices.read().get(device).and_then(|sender| sender.borrow().other.clone())
    }

    pub fn all(&self) -> BTreeMap<Arc<str>, DeviceRole> {
        self.devices.read().iter().map(|(name, role)| (name.clone(), role.borrow().clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use pergola_store::mastership::election_id;

    use super::*;

    #[test]
    fn a_guard_is_of_a_device_that_we_are_master_of() {
        let roles = Roles::new("a".into(), 7);
        roles.set("leaf1", Some(Role::Master { election_id: 12 }));
        roles.set("leaf2", Some(Role::Standby { master: Some("b".into()) }));
        assert_eq!(roles.voice(["leaf2", "leaf1"].into_iter()), Voice::Ours(guard("leaf1", 12)));
        assert_eq!(roles.voice(["leaf2"].into_iter()), Voice::Others);
        assert_eq!(roles.voice(["leaf2", "leaf3"].into_iter()), Voice::Nobodys);
        let other = Roles::new("b".into(), 7).standby_id();
        assert!(roles.standby_id() < election_id(7, 1) && roles.standby_id() != other);
        let mut follows = roles.follow("leaf1");
        roles.clear();
        assert!(follows.has_changed().unwrap() && !follows.borrow_and_update().is_master());
    }
}
