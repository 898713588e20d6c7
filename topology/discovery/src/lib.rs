//! What the network shows: links by LLDP, hosts by ARP, NDP and DHCP; and the answers the fabric gives to hosts.
//!
//! Everything here is a [`PacketMachine`]: packets, port states and time go in, packets, observations and alarms come
//! out. [`Machines`] holds all of them for the engine. What they read of the network is the trait [`Net`], which
//! [`view::ViewNet`] implements over the View; [`view::write_of`] turns observations into resources.
//!
//! | module | machine |
//! |---|---|
//! | [`links`] | signed LLDP out of every fabric port, links and cabling faults |
//! | [`hosts`] | host table: learning, moves, dual homing, aging, duplicates, spoofing |
//! | [`respond`] | gateway ARP and NDP, proxy for known hosts, echo, router advertisements, ICMP errors |
//! | [`dhcp`] | DHCPv4 and DHCPv6 relay |
//! | [`multicast`] | IGMP and MLD querier and membership |
//!
//! The codecs under [`wire`] take any bytes without panicking.
#![cfg_attr(test, allow(clippy::unwrap_used))]

#[cfg(any(test, feature = "test-net"))]
#[doc(hidden)]
pub mod fuzz;
mod guard;
mod machine;
mod machines;
mod net;
#[cfg(any(test, feature = "test-net"))]
pub mod testnet;
mod timers;
pub mod view;
pub mod wire;

pub mod dhcp;
pub mod hosts;
pub mod links;
pub mod multicast;
pub mod respond;

pub use guard::{Guard, GuardConfig};
pub use machine::{
    Alarm, AlarmKind, Change, Host, Input, Learned, LinkLoss, MILLIS, Nanos, Observation, Output, PacketMachine, Punt,
    PuntAction, PuntTo, SECONDS, Why,
};
pub use machines::Machines;
pub use net::{DhcpRelay, Gateway, Members, Net, Port, PortRef, PortRole, PortVlans, RouterAdvert};

/// The usual set: every machine of this crate, the host table first.
pub fn standard_machines(guard: GuardConfig, links: links::LinksConfig, hosts: hosts::HostsConfig) -> Machines {
    let seed = links.seed;
    let mut all = Machines::new(guard);
    all.add(Box::new(hosts::Hosts::new(hosts)));
    all.add(Box::new(links::Links::new(links)));
    all.add(Box::new(respond::Neighbors::default()));
    all.add(Box::new(respond::Echo::default()));
    all.add(Box::new(respond::RouterAdverts::new(seed)));
    all.add(Box::new(respond::Unreachable::default()));
    all.add(Box::new(dhcp::DhcpRelay4::default()));
    all.add(Box::new(dhcp::DhcpRelay6::default()));
    all.add(Box::new(multicast::Multicast::new(multicast::MulticastConfig::default())));
    all
}
