//! The P4Runtime server over real gRPC on loopback, with `p4rt_all.p4` in the data plane: one test a rule.
#![allow(clippy::unwrap_used, clippy::cloned_ref_to_slice_refs)]

mod arbitration;
mod arrays;
mod batches;
mod fabric;
mod masks;
mod pipelines;
mod preset;
mod profiles;
mod removed;
mod replication;
mod rig;
mod streams;
mod tables;
mod tls;
