//! What a re-plan changed, device by device.

use std::collections::BTreeMap;

use pergola_pipeline::{Entity, EntityKey};

use crate::{Domain, Fabric};

/// The difference between two plans of one device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceDelta {
    /// New and changed entities.
    pub put: Vec<Entity>,
    /// Keys of entities no longer wanted.
    pub del: Vec<EntityKey>,
}

impl DeviceDelta {
    pub fn is_empty(&self) -> bool {
        self.put.is_empty() && self.del.is_empty()
    }

    pub fn len(&self) -> usize {
        self.put.len() + self.del.len()
    }
}

/// The difference between two plans: only devices where something changed.
#[derive(Clone, Debug)]
pub struct PlanDelta<D: Domain = Fabric> {
    pub devices: BTreeMap<D::Device, DeviceDelta>,
}

impl<D: Domain> Default for PlanDelta<D> {
    fn default() -> Self {
        PlanDelta { devices: BTreeMap::new() }
    }
}

impl<D: Domain> PlanDelta<D> {
    pub fn is_empty(&self) -> bool {
        self.devices.is_empty()
    }

    /// Entities put and deleted on all devices together.
    pub fn len(&self) -> usize {
        self.devices.values().map(DeviceDelta::len).sum()
    }
}
