//! From the store to the switches: View, apps, plan, reconcilers; packet-in dispatch; mastership.
//!
//! [`Engine::start`] joins everything; [`Device`] and [`Reconciler`] are the machines inside, without sockets and clocks.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod clock;
mod config;
pub mod device;
mod device_task;
mod engine;
mod memory;
mod observe;
mod packets;
mod planning;
pub mod reconcile;
pub mod record;
mod relay;
mod roles;

pub use clock::Clock;
pub use config::{CallError, EngineConfig, PipelineOf};
pub use device::{Device, Notice};
pub use device_task::DeviceReport;
pub use engine::{DeviceInfo, Engine, EngineMetrics, StartError};
pub use pergola_store::mastership::Timing;
pub use planning::is_resource;
pub use reconcile::{Counters, ReconcileConfig, Reconciler, Status, WriteOrder};
pub use roles::DeviceRole;
