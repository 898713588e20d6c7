//! What the machines need to read of the configured and observed network.

use crate::machine::Host;
use crate::wire::{Mac, Tags};
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

/// A port of a switch; prints as `leaf1/3`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PortRef {
    pub device: Arc<str>,
    pub port: u32,
}

impl PortRef {
    pub fn new(device: impl Into<Arc<str>>, port: u32) -> Self {
        PortRef { device: device.into(), port }
    }

    /// Reads `leaf1/3`.
    pub fn parse(text: &str) -> Option<Self> {
        let (device, port) = text.rsplit_once('/')?;
        if device.is_empty() || port.is_empty() || !port.bytes().all(|b| b.is_ascii_digit()) {
            return None;
        }
        Some(PortRef::new(device, port.parse().ok()?))
    }
}

impl fmt::Display for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.device, self.port)
    }
}

impl fmt::Debug for PortRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// What a port is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PortRole {
    /// Between switches of the fabric.
    Infra,
    /// Towards hosts, servers, access devices and outside routers.
    Edge,
    /// Nobody said.
    Unknown,
}

/// A port as configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Port {
    pub role: PortRole,
    /// False when an operator switched it off.
    pub enabled: bool,
    pub vlans: PortVlans,
    /// The other port of the same dual-homed host on the paired leaf, when declared.
    pub twin: Option<PortRef>,
}

/// How the frames of VLANs look on an edge port.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PortVlans {
    /// VLAN of frames without a tag (untagged and native mode).
    pub untagged: Option<u16>,
    /// VLANs whose frames carry their own id as the only tag.
    pub tagged: Vec<u16>,
    /// Double-tagged: (outer, inner, VLAN inside the fabric).
    pub double: Vec<(u16, u16, u16)>,
}

impl PortVlans {
    /// The VLAN of a frame with these tags, or `None` when the port does not accept it.
    /// A priority tag (id 0) counts as no tag (IEEE 802.1Q 6.9.1).
    pub fn classify(&self, tags: Tags) -> Option<u16> {
        match tags {
            Tags::None | Tags::One(0) => self.untagged,
            Tags::One(id) => self.tagged.contains(&id).then_some(id),
            Tags::Two(outer, inner) => self.double.iter().find(|d| d.0 == outer && d.1 == inner).map(|d| d.2),
        }
    }

    /// The tags that a frame of `vlan` carries on this port, or `None` when the VLAN is not on it.
    pub fn tags_for(&self, vlan: u16) -> Option<Tags> {
        if self.untagged == Some(vlan) {
            return Some(Tags::None);
        }
        if self.tagged.contains(&vlan) {
            return Some(Tags::One(vlan));
        }
        self.double.iter().find(|d| d.2 == vlan).map(|d| Tags::Two(d.0, d.1))
    }

    /// All VLANs of the port.
    pub fn all(&self) -> impl Iterator<Item = u16> + '_ {
        self.untagged.into_iter().chain(self.tagged.iter().copied()).chain(self.double.iter().map(|d| d.2))
    }
}

/// A gateway address with its subnet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Gateway {
    pub vlan: u16,
    pub ip: IpAddr,
    pub prefix_len: u8,
}

impl Gateway {
    /// Whether `ip` lies in the subnet.
    pub fn contains(&self, ip: IpAddr) -> bool {
        match (self.ip, ip) {
            (IpAddr::V4(g), IpAddr::V4(a)) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.prefix_len.min(32))).unwrap_or(0);
                (u32::from(g) ^ u32::from(a)) & mask == 0
            }
            (IpAddr::V6(g), IpAddr::V6(a)) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.prefix_len.min(128))).unwrap_or(0);
                (u128::from(g) ^ u128::from(a)) & mask == 0
            }
            _ => false,
        }
    }
}

/// Who listens to a group in a VLAN of one switch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Members {
    pub device: Arc<str>,
    pub vlan: u16,
    pub group: IpAddr,
    /// Ports that want every source.
    pub any: Vec<PortRef>,
    /// Ports by the source that they want.
    pub sources: Vec<(IpAddr, Vec<PortRef>)>,
}

/// DHCP servers of a VLAN.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DhcpRelay {
    pub v4_servers: Vec<Ipv4Addr>,
    pub v6_servers: Vec<Ipv6Addr>,
}

/// What a router advertisement for a VLAN says beside its prefixes (RFC 4861 6.2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RouterAdvert {
    /// Addresses by DHCPv6 (M flag).
    pub managed: bool,
    /// Other configuration by DHCPv6 (O flag).
    pub other: bool,
    /// Hosts may form addresses from the prefixes (A flag).
    pub autonomous: bool,
    /// 0: not a default router.
    pub lifetime_s: u16,
    pub mtu_bytes: Option<u32>,
    /// MaxRtrAdvInterval, 4 to 1800 s.
    pub interval_s: u16,
    /// Of the prefixes.
    pub valid_s: u32,
    pub preferred_s: u32,
    /// Name servers (RFC 8106).
    pub dns: Vec<Ipv6Addr>,
}

impl Default for RouterAdvert {
    fn default() -> Self {
        RouterAdvert {
            managed: false,
            other: false,
            autonomous: true,
            lifetime_s: 1800,
            mtu_bytes: None,
            interval_s: 200,
            valid_s: 2_592_000,
            preferred_s: 604_800,
            dns: Vec::new(),
        }
    }
}

/// The read side of the network. The engine implements it over its View; methods that visit take a closure so that
/// nothing needs to be collected.
pub trait Net {
    /// A port, or `None` when the device or port is not known at all.
    fn port(&self, at: &PortRef) -> Option<Port>;

    /// Every port of every switch.
    fn visit_ports(&self, visit: &mut dyn FnMut(PortRef, Port));

    /// The other end of the intended link of a port.
    fn intended_peer(&self, at: &PortRef) -> Option<PortRef>;

    /// The router MAC of a switch: source of everything that the fabric itself sends to hosts there.
    fn router_mac(&self, device: &str) -> Option<Mac>;

    /// The label under which `far`, a spine, sends a packet back to the leaf `near`; `None` when it would not.
    fn echo_label(&self, _near: &str, _far: &str) -> Option<u32> {
        None
    }

    /// Whether a MAC address is the router MAC of any switch.
    fn is_router_mac(&self, mac: Mac) -> bool;

    /// The leaf that is paired with this one.
    fn paired_leaf(&self, device: &str) -> Option<Arc<str>>;

    /// Gateways of a VLAN, both families.
    fn visit_gateways(&self, vlan: u16, visit: &mut dyn FnMut(Gateway));

    /// The VLAN whose gateway has this address, in the routing domain of VLAN `near`.
    fn gateway_vlan(&self, near: u16, ip: IpAddr) -> Option<u16>;

    /// Where a packet to `ip` in the routing domain of VLAN `near` goes next: the VLAN and the address to resolve there (the destination itself when it is
    /// in a subnet of the fabric, else the next hop of a route).
    fn next_hop(&self, near: u16, ip: IpAddr) -> Option<(u16, IpAddr)>;

    fn host(&self, vlan: u16, mac: Mac) -> Option<Host>;

    fn host_by_ip(&self, vlan: u16, ip: IpAddr) -> Option<Host>;

    /// The only ports where a host may be, when it is pinned to them.
    fn pinned(&self, _vlan: u16, _mac: Mac) -> Option<Vec<PortRef>> {
        None
    }

    /// All hosts observed before (not those only declared); for the start only.
    fn visit_hosts(&self, visit: &mut dyn FnMut(Host));

    /// Links observed before; for the start only. Each once.
    fn visit_links(&self, visit: &mut dyn FnMut(PortRef, PortRef));

    /// Ports with a cabling fault reported before; for the start only.
    fn visit_cabling_faults(&self, _visit: &mut dyn FnMut(PortRef)) {}

    /// Who listened to multicast groups before, as [`crate::Observation::Members`]; for the start, and for switches of
    /// former masters.
    fn visit_members(&self, _visit: &mut dyn FnMut(Members)) {}

    /// Edge ports that carry a VLAN, with the tags of its frames there.
    fn visit_edge_ports(&self, vlan: u16, visit: &mut dyn FnMut(PortRef, Tags));

    /// Addresses that must be resolved although no packet asks for them: next hops of routes, DHCP servers.
    fn visit_wanted_neighbours(&self, visit: &mut dyn FnMut(u16, IpAddr));

    fn dhcp_relay(&self, vlan: u16) -> Option<DhcpRelay>;

    /// `None`: no router advertisements on this VLAN.
    fn router_advert(&self, vlan: u16) -> Option<RouterAdvert>;

    /// The MAC address that an ARP or NDP answer on behalf of `host` gives to someone behind `asker`.
    /// The host's own one when the fabric bridges the VLAN between the two ports.
    fn proxy_mac(&self, _asker: &PortRef, host: &Host) -> Mac {
        host.mac
    }

    // What follows from the above.

    /// What a port is for.
    fn role(&self, at: &PortRef) -> Option<PortRole> {
        self.port(at).map(|p| p.role)
    }

    /// Whether hosts of the VLAN may have this address: link-local, or in one of its prefixes.
    fn in_subnet(&self, vlan: u16, ip: IpAddr) -> bool {
        matches!(ip, IpAddr::V6(a) if a.is_unicast_link_local()) || self.gateway_for(vlan, ip).is_some()
    }

    /// The VLAN of a frame that came in on an edge port.
    fn classify(&self, at: &PortRef, tags: Tags) -> Option<u16> {
        let port = self.port(at)?;
        if port.role != PortRole::Edge || !port.enabled {
            return None;
        }
        port.vlans.classify(tags)
    }

    /// The first gateway of a VLAN in the family.
    fn gateway(&self, vlan: u16, v6: bool) -> Option<Gateway> {
        let mut found = None;
        self.visit_gateways(vlan, &mut |g| {
            if found.is_none() && g.ip.is_ipv6() == v6 {
                found = Some(g);
            }
        });
        found
    }

    /// The gateway of the VLAN whose subnet holds `ip`.
    fn gateway_for(&self, vlan: u16, ip: IpAddr) -> Option<Gateway> {
        let mut found = None;
        self.visit_gateways(vlan, &mut |g| {
            if found.is_none() && g.contains(ip) {
                found = Some(g);
            }
        });
        found
    }
}
