//! The contract between apps and engine.
//!
//! An [`App`] cuts its work into [`Unit`]s (a port, a subnet, a route, a host), says which units a change touches, and
//! emits the entities of one unit through an [`Emitter`]. The [`Planner`] remembers what each unit emitted, so that one
//! changed route costs that route, and turns re-planned units into one [`DeviceDelta`] a device.
//!
//! ```text
//!   changes ─► App::affected ─► units ─► App::plan ─► Emitter ─► Planner ─► DeviceDelta (put, del)
//!                                                                   │
//!                        explain(device, key) ◄─────────────────────┴──────► caused_by(resource)
//! ```
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod app;
mod delta;
mod emitter;
mod explain;
mod intern;
mod planner;
mod table;
mod unit;

pub use app::{App, Domain, Fabric};
pub use delta::{DeviceDelta, PlanDelta};
pub use emitter::Emitter;
pub use explain::{Claim, Conflict, Explanation, Problem};
pub use planner::{PlanStats, Planner};
pub use unit::{Unit, UnitId, UnitSet};
