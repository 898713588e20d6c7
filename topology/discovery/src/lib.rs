//! What the network shows: links by LLDP, hosts by ARP, NDP and DHCP; and the answers the fabric gives to hosts.
//!
//! Everything here is a [`PacketMachine`]: packets, port states and time go in, packets, observations and alarms come
//! out. [`Machines`] holds all of them for the engine. What they read of the network is the trait [`Net`].
//!
//! The codecs under [`wire`] take any bytes without panicking.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod guard;
mod machine;
mod machines;
mod net;
pub mod wire;


pub use guard::GuardConfig;
pub use machine::{
    Alarm, AlarmKind, Change, Host, Input, LinkLoss, MILLIS, Nanos, Observation, Output, PacketMachine, Punt,
    PuntAction, PuntTo, SECONDS,
};
pub use machines::Machines;
pub use net::{DhcpRelay, Gateway, Net, Port, PortRef, PortRole, PortVlans, RouterAdvert};
