//! A software switch that runs BMv2 JSON and serves P4Runtime and gNMI.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod ports;
pub mod runtime;
