//! The P4Runtime server (P4Runtime 1.5).
//!
//! ```text
//!            wire (Write and Read as bytes: batch)
//!            service (tonic, streams, timers)
//!                 │ requests, events          ▲ outputs
//!              device (one lock, no I/O)──────┘
//!      ┌──────────┼───────────────┬─────────────┐
//!  arbitration  pipeline        digests      packets
//!   (roles)   ┌───┴────┬──────┐
//!           write    read   reconcile, undo      each entity: matching, values, translate
//!             └────────┴── schema (P4Info joined with the program)
//!                              │
//!                            plane: what is asked of the data plane
//! ```

pub mod arbitration;
pub mod batch;
pub mod device;
mod digests;
pub mod failure;
mod idle;
mod matching;
mod packets;
mod pipeline;
pub mod plane;
mod read;
mod reconcile;
pub mod roles;
mod schema;
pub mod service;
mod translate;
mod undo;
mod values;
mod wire;
mod wrapper;
mod write;

pub use device::{Device, Output};
pub use failure::Failure;
pub use matching::Part;
pub use service::{Events, Server};
