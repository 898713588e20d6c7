//! The nouns of the domain: ids, units, resources, validation. No I/O.
//!
//! *Intents* are what people asked for, *observations* what the network showed; both are [`Resource`]s with a key
//! (`switch/leaf1`) and a JSON body. A [`View`] is all of them at one revision.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod access;
mod check;
mod hash;
mod host;
mod ids;
mod ip;
mod link;
mod mac;
mod multicast;
mod names;
mod observed;
mod policy;
mod port;
mod replication;
mod resource;
mod route;
mod site;
mod subnet;
mod switch;
mod value;
mod view;

pub use access::{AccessDevice, AccessKind};
pub use check::{Violation, ViolationKind};
pub use hash::stable_hash;
pub use host::{DhcpClient, Host, HostBinding, HostIntent, HostKey};
pub use ids::{DeviceId, Dscp, LinkId, NodeLabel, PortId, PortNo, VlanId};
pub use ip::{Endpoint, IfAddr, Prefix};
pub use link::Link;
pub use mac::{MacAddr, MacMatch};
pub use multicast::{FLOODED, GroupMembers, MembersKey, MulticastGroup, SourceMembers, group_mac, is_link_group};
pub use names::{
    AccessName, DomainName, GroupName, HostName, NAME_PATTERN, PolicyName, SiteName, SubnetName, SwitchName,
};
pub use observed::{
    CablingFault, DeviceState, HostLocation, LearnedFrom, LinkSource, LinkState, Mastership, PortState,
};
pub use policy::{EthType, Family, IpProto, Police, Policy, PortRange, Rule, RuleAction, RuleMatch, TcpFlags};
pub use port::{Port, PortMode, QinqService, Tagging};
pub use replication::Replication;
pub use resource::{AnyResource, DecodeError, FORMAT_VERSION, Key, Kind, Resource};
pub use route::{HopSet, Route, RouteId, RouteTarget};
pub use site::{SecretRef, Site, Timers};
pub use subnet::{DhcpRelay, RouterAdvertisement, Subnet};
pub use switch::{AdminState, PlaintextReason, Role, Security, Switch, Target, TlsFiles};
pub use value::ValueError;
pub use view::{Applied, Change, ChangeKind, ChangedKey, View};
