//! A subnet: one VLAN, its gateways, and what its hosts are told.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::VlanId;
use crate::ip::{IfAddr, Prefix};
use crate::names::{DomainName, SubnetName};
use crate::resource::{Kind, Resource};
use crate::site::is_default;

/// One VLAN and its addresses. With no gateway it is bridged only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Subnet {
    pub name: SubnetName,
    pub vlan: VlanId,
    /// The fabric's own addresses in it, v4 and v6, the same on every leaf.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub gateways: Vec<IfAddr>,
    /// Its prefixes where they are not clear from the gateways: those without a gateway, or all of a family, and then each
    /// gateway of the family has to be in one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prefixes: Vec<Prefix>,
    #[serde(default, skip_serializing_if = "is_default")]
    pub dhcp_relay: DhcpRelay,
    #[serde(default, skip_serializing_if = "is_default")]
    pub router_advertisement: RouterAdvertisement,
    /// Subnets reach one another within a domain; one alone in its domain is isolated.
    #[serde(default, skip_serializing_if = "DomainName::is_default")]
    pub domain: DomainName,
}

impl Resource for Subnet {
    const KIND: Kind = Kind::Subnet;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

impl Subnet {
    /// Every prefix of the subnet: first the gateways', then those listed; one may come twice.
    pub fn all_prefixes(&self) -> impl Iterator<Item = Prefix> + '_ {
        self.gateways.iter().map(IfAddr::prefix).chain(self.prefixes.iter().copied())
    }

    /// The subnet's prefix that contains `address`, the longest first.
    pub fn prefix_of(&self, address: IpAddr) -> Option<Prefix> {
        self.all_prefixes().filter(|p| p.contains(address)).max_by_key(Prefix::length)
    }

    /// The gateway a host with `address` uses.
    pub fn gateway_for(&self, address: IpAddr) -> Option<IfAddr> {
        self.gateways.iter().filter(|g| g.prefix().contains(address)).max_by_key(|g| g.length()).copied()
    }

    pub fn has_ipv4_gateway(&self) -> bool {
        self.gateways.iter().any(IfAddr::is_ipv4)
    }

    pub fn has_ipv6_gateway(&self) -> bool {
        self.gateways.iter().any(|g| !g.is_ipv4())
    }
}

/// Servers that DHCP requests of a subnet are relayed to, each request to all of its family.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DhcpRelay {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v4: Vec<Ipv4Addr>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub v6: Vec<Ipv6Addr>,
}

/// What router advertisements say (RFC 4861 4.2, 4.6). They are sent in subnets that have a v6 gateway.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RouterAdvertisement {
    pub enabled: bool,
    /// Hosts get addresses by DHCPv6 (the M flag).
    pub managed: bool,
    /// Hosts get other settings by DHCPv6 (the O flag).
    pub other_config: bool,
    /// Hosts make their own addresses in prefixes of 64 bits (the A flag).
    pub autonomous: bool,
    /// Between two unasked advertisements; RFC 4861 6.2.1 allows 4 to 1800.
    #[schemars(range(min = 4, max = 1800))]
    pub interval_s: u16,
    /// How long the gateway stays a default router; 0 is not at all, at most 9000.
    #[schemars(range(max = 9000))]
    pub lifetime_s: u16,
    /// How long prefixes stay preferred, and valid.
    pub preferred_s: u32,
    pub valid_s: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 1280))]
    pub mtu: Option<u32>,
    /// Name servers (RFC 8106).
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dns: Vec<Ipv6Addr>,
}

impl Default for RouterAdvertisement {
    fn default() -> Self {
        RouterAdvertisement {
            enabled: true,
            managed: false,
            other_config: false,
            autonomous: true,
            interval_s: 200,
            lifetime_s: 1800,
            preferred_s: 604_800,
            valid_s: 2_592_000,
            mtu: None,
            dns: Vec::new(),
        }
    }
}
