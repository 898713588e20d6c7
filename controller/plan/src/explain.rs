//! Every entry can explain itself: owners, causes, conflicts and problems.

use pergola_pipeline::{EntityKey, EntityValue};

use crate::{Domain, Fabric, Unit};

/// One unit's wish for a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim<D: Domain = Fabric> {
    pub app: &'static str,
    pub unit: Unit,
    pub cause: D::Cause,
    pub value: EntityValue,
}

/// Why a device holds an entity.
#[derive(Clone, Debug)]
pub struct Explanation<D: Domain = Fabric> {
    /// The claim that is in effect.
    pub owner: Claim<D>,
    /// Other units that want the same key, in order; with the same value they simply share it.
    pub others: Vec<Claim<D>>,
}

/// Units that want different values for one key of one device.
#[derive(Clone, Debug)]
pub struct Conflict<D: Domain = Fabric> {
    pub device: D::Device,
    pub key: EntityKey,
    /// The claim that is in effect.
    pub winner: Claim<D>,
    /// The claims that are not.
    pub losers: Vec<Claim<D>>,
}

/// What an app reported with [`crate::Emitter::problem`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem<D: Domain = Fabric> {
    pub app: &'static str,
    pub unit: Unit,
    pub cause: D::Cause,
    pub text: String,
}
