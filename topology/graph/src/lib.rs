//! The fabric as a graph: links, paths, uplinks.
//!
//! [`Fabric::of`] gives the graph of a View; it is built once for all Views that agree on switches, links and their
//! states. A link is used when the site wants it, both ports are on, and nothing says that it is down or cabled wrongly.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod edge;
mod fabric;
mod health;

pub use edge::{Switched, port_admin};
pub use fabric::{Fabric, FabricLink, NextHop};
pub use health::LinkHealth;
