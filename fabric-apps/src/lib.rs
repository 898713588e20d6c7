//! Fabric capabilities, one module each, as pure functions of the View.
//!
//! | app | gives |
//! |---|---|
//! | [`base`] | what every switch needs: the controller's copy session, router addresses, fabric ports |
//! | [`punt`] | which packets the controller sees |
//! | [`bridging`] | edge ports, VLANs, floods, known addresses |
//! | [`segments`] | node labels and ECMP towards every switch |
//! | [`routing`] | hosts, subnets, static routes, groups of next hops |
//! | [`multicast`] | groups to those who listen, and to configured receivers |
//! | [`acl`] | policies |
//!
//! To add an app: a module with a type that implements [`pergola_plan::App`], a line here and one in [`all`], and its
//! line in ARCHITECTURE.md.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod acl;
pub mod base;
pub mod bridging;
pub mod multicast;
pub mod office;
pub mod punt;
pub mod redirect;
pub mod routing;
pub mod segments;

use std::sync::Arc;

use pergola_plan::App;

/// Every app of the fabric, in owner order: of two that want one key, the earlier wins.
pub fn all() -> Vec<Arc<dyn App>> {
    vec![
        Arc::new(base::Base),
        Arc::new(punt::Punt),
        Arc::new(bridging::Bridging),
        Arc::new(segments::Segments),
        Arc::new(routing::Routing),
        Arc::new(multicast::Multicast),
        Arc::new(acl::Acl),
    ]
}
