//! A whole office emulated on this machine: switches, cables, hosts and a controller in network namespaces.
//!
//! [`LabSpec`] says what there is, [`Lab::up`] builds it, [`Lab`] breaks, heals, kills and restarts, [`ping`] and [`probe`]
//! measure, [`cli`] is all of it as commands. See [`layout`] for a picture.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod agent;
mod checksum;
pub mod cli;
mod dhcp;
mod down;
mod error;
mod intents;
mod ip;
mod lab;
pub mod layout;
mod office;
pub mod ping;
pub mod probe;
pub mod programs;
mod replug;
pub mod rootless;
mod spec;
mod state;
mod status;
pub mod sys;
mod up;

pub use cli::UpContext;
pub use down::{Removed, down, known};
pub use error::LabError;
pub use intents::with_endpoints;
pub use lab::{Kill, Lab};
pub use office::{controller, office};
pub use spec::{
    ControllerSpec, Dhcp, End, Forward, HostInterface, HostSpec, LabSpec, LinkSpec, Route, SwitchSpec, Target,
    UserHost, UserHostsSpec, derived_mac, parse_mac,
};
pub use state::{Cut, Role, base, folder};
pub use status::{HostStatus, LinkState, LinkStatus, ProcessState, ProcessStatus, Status};
