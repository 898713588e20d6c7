//! A software switch that runs BMv2 JSON and serves P4Runtime and gNMI.
//!
//! [`Program::load`] lowers p4c's JSON; [`Switch`] holds a program and its state; a [`Worker`] in each thread carries
//! packets through it; [`control`] is what the P4Runtime server, the STF runner and tests write with.
#![cfg_attr(test, allow(clippy::unwrap_used))]
// What only compiled code uses is there without it too.
#![cfg_attr(not(feature = "jit"), allow(dead_code, unused_imports))]

pub mod cli;
pub mod control;
mod dataplane;
mod exec;
pub mod forward;
pub mod gnmi;
mod instance;
#[cfg(all(feature = "jit", any(target_arch = "x86_64", target_arch = "aarch64")))]
mod jit;
#[cfg(not(all(feature = "jit", any(target_arch = "x86_64", target_arch = "aarch64"))))]
#[path = "jit_none.rs"]
mod jit;
mod json;
mod lane;
pub mod p4runtime;
pub mod ports;
pub mod program;
pub mod rcu;
pub mod runtime;
pub mod server;
pub mod state;
pub mod stf;
pub mod switch;
pub mod tables;
pub mod tls;

pub use instance::Instance;
pub use lane::Worker;
pub use program::{LoadError, Program};
pub use switch::{Engine, PacketMeta, Sink, Switch, SwitchOptions};
