//! From the store to the switches: View, apps, plan, reconcilers; packet-in dispatch; mastership.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod device;
pub mod reconcile;

pub use device::{Device, Notice};
pub use reconcile::{Counters, ReconcileConfig, Reconciler, Status, WriteOrder};
