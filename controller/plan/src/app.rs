//! What an app is, and the types it is written against.

use std::fmt::{Debug, Display};
use std::hash::Hash;

use crate::{Emitter, Unit, UnitSet};

/// The nouns that plans are about. The site's are the one real instance; tests and benchmarks bring small ones.
pub trait Domain: Clone + Debug + Eq + Send + Sync + 'static {
    /// An immutable snapshot of intents and observations.
    type View: Send + Sync;
    /// One thing that differs between two snapshots.
    type Change: Send + Sync;
    /// Names a switch.
    type Device: Clone + Eq + Ord + Hash + Debug + Display + Send + Sync;
    /// Names a resource that can be the reason for an entity.
    type Cause: Clone + Eq + Ord + Hash + Debug + Display + Send + Sync;
}

/// The site itself: what fabric apps are written against.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fabric;

impl Domain for Fabric {
    type View = pergola_model::View;
    type Change = pergola_model::ChangedKey;
    type Device = pergola_model::SwitchName;
    type Cause = pergola_model::Key;
}

/// A capability of the fabric: a pure function of the view. No I/O, no hidden state; the same view gives the same
/// entities on every replica.
pub trait App<D: Domain = Fabric>: Send + Sync {
    /// A short name, shown as the owner of entities.
    fn name(&self) -> &'static str;

    /// Every unit there is in this view.
    fn units(&self, view: &D::View, out: &mut UnitSet);

    /// The units whose entities may differ between `old` and `new` because of `change`: those of things that are gone,
    /// too. Naming a unit too many costs time, naming one too few is a defect that [`crate::Planner::audit`] finds.
    fn affected(&self, old: &D::View, new: &D::View, change: &D::Change, out: &mut UnitSet);

    /// Emits all entities of one unit. Nothing is emitted for a unit that is not in the view.
    fn plan(&self, view: &D::View, unit: &Unit, out: &mut Emitter<'_, D>);
}
