//! The View: everything in the store at one revision, as persistent maps. A clone costs a few dozen pointers, one change
//! O(log n), and a clone keeps what it had when the original moves on.

mod apply;
mod lookup;
mod pairs;
mod replicated;

use std::any::Any;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};

use imbl::{OrdMap, OrdSet};

use crate::access::AccessDevice;
use crate::host::{Host, HostIntent, HostKey};
use crate::ids::{LinkId, PortId, VlanId};
use crate::ip::Prefix;
use crate::link::Link;
use crate::multicast::{GroupMembers, MembersKey, MulticastGroup};
use crate::names::{AccessName, DomainName, GroupName, HostName, PolicyName, SubnetName, SwitchName};
use crate::observed::{CablingFault, DeviceState, LinkState, PortState};
use crate::policy::Policy;
use crate::port::Port;
use crate::replication::Replication;
use crate::resource::{DecodeError, Key};
use crate::route::{HopSet, Route, RouteId};
use crate::site::Site;
use crate::subnet::Subnet;
use crate::switch::Switch;

pub use apply::{Applied, Change, ChangeKind, ChangedKey};
use pairs::Pairs;

/// An immutable snapshot of all resources at one revision, with the indexes that apps look things up by. Every iterator
/// goes in key order, so equal views give equal answers.
#[derive(Clone, Default)]
pub struct View {
    revision: u64,
    site: Option<Arc<Site>>,
    switches: OrdMap<SwitchName, Arc<Switch>>,
    ports: OrdMap<PortId, Arc<Port>>,
    links: OrdMap<LinkId, Arc<Link>>,
    subnets: OrdMap<SubnetName, Arc<Subnet>>,
    host_intents: OrdMap<HostName, Arc<HostIntent>>,
    routes: OrdMap<RouteId, Arc<Route>>,
    policies: OrdMap<PolicyName, Arc<Policy>>,
    multicast: OrdMap<GroupName, Arc<MulticastGroup>>,
    access_devices: OrdMap<AccessName, Arc<AccessDevice>>,
    device_states: OrdMap<SwitchName, Arc<DeviceState>>,
    port_states: OrdMap<PortId, Arc<PortState>>,
    link_states: OrdMap<LinkId, Arc<LinkState>>,
    cabling_faults: OrdMap<PortId, Arc<CablingFault>>,
    group_members: OrdMap<MembersKey, Arc<GroupMembers>>,

    // Host intents and host locations joined; locations are kept nowhere else.
    hosts: OrdMap<HostKey, Host>,
    declared_hosts: Pairs<HostKey, HostName>,
    hosts_by_ip: Pairs<IpAddr, HostKey>,
    hosts_by_port: Pairs<PortId, HostKey>,
    // The intents that name a port: hosts attached there, groups received there, access devices behind it.
    port_users: Pairs<PortId, Key>,
    vlan_ports: Pairs<VlanId, PortId>,
    vlan_subnets: Pairs<VlanId, SubnetName>,
    // By hash, with the intents and observations that ask for it.
    replicated: Pairs<u32, (Replication, Key)>,
    link_ends: Pairs<PortId, LinkId>,
    seen_link_ends: Pairs<PortId, LinkId>,
    // Many routes share few sets of next hops.
    hop_sets: OrdMap<HopSet, OrdSet<RouteId>>,
    next_hop_sets: Pairs<IpAddr, HopSet>,
    prefix_subnets: Pairs<(DomainName, Prefix), SubnetName>,
    // The prefix lengths in use: a look-up tries each, the longest first.
    prefix_lengths: OrdSet<(DomainName, PrefixLength, SubnetName)>,

    refused: OrdMap<Box<str>, DecodeError>,

    // What was computed from switches, links and their states; a new slot whenever one of them changes.
    topology: Arc<TopologySlot>,
}

type TopologySlot = OnceLock<Arc<dyn Any + Send + Sync>>;

impl View {
    /// Something computed from the switches, the links, the fabric's ports and their states alone: built at most once for
    /// all views that agree on these, and shared by their clones. Meant for one type, the graph of the fabric.
    pub fn topology<T: Any + Send + Sync>(&self, build: impl FnOnce(&View) -> T) -> Arc<T> {
        let mut build = Some(build);
        let slot = self.topology.get_or_init(|| match build.take() {
            Some(build) => Arc::new(build(self)),
            None => Arc::new(()),
        });
        match slot.clone().downcast::<T>() {
            Ok(found) => found,
            Err(_) => match build.take() {
                // The slot is taken by another type.
                Some(build) => Arc::new(build(self)),
                None => unreachable!("what was just built has the type it was built with"),
            },
        }
    }
}

/// Family and length of a prefix, longest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct PrefixLength {
    v6: bool,
    short: std::cmp::Reverse<u8>,
}

impl PrefixLength {
    fn of(prefix: &Prefix) -> Self {
        PrefixLength { v6: prefix.is_ipv6(), short: std::cmp::Reverse(prefix.length()) }
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View")
            .field("revision", &self.revision)
            .field("switches", &self.switches.len())
            .field("ports", &self.ports.len())
            .field("links", &self.links.len())
            .field("subnets", &self.subnets.len())
            .field("hosts", &self.hosts.len())
            .field("routes", &self.routes.len())
            .finish_non_exhaustive()
    }
}
