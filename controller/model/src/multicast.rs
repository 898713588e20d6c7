//! Multicast groups: those with configured receivers, and who was heard to listen.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{PortId, VlanId};
use crate::mac::MacAddr;
use crate::names::{GroupName, SubnetName, SwitchName};
use crate::resource::{Kind, Resource};
use crate::value::{ValueError, string_form};

/// A group whose receivers are configured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MulticastGroup {
    pub name: GroupName,
    /// The subnet in which it is received.
    pub subnet: SubnetName,
    /// A multicast address, v4 or v6.
    pub group: IpAddr,
    /// Edge ports that carry the subnet's VLAN.
    pub receivers: Vec<PortId>,
}

impl Resource for MulticastGroup {
    const KIND: Kind = Kind::Multicast;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// Who listens to a group in a VLAN of one switch, as IGMP and MLD told. Nobody: the resource is not there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GroupMembers {
    pub switch: SwitchName,
    pub vlan: VlanId,
    pub group: IpAddr,
    /// Ports that want every source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub any: Vec<PortId>,
    /// Ports that want some sources only, by source.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sources: Vec<SourceMembers>,
}

/// Ports that want one source of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SourceMembers {
    pub source: IpAddr,
    pub ports: Vec<PortId>,
}

impl GroupMembers {
    pub fn members_key(&self) -> MembersKey {
        MembersKey { vlan: self.vlan, group: self.group, switch: self.switch.clone() }
    }

    /// Every port that wants anything of the group, each as often as it is named.
    pub fn ports(&self) -> impl Iterator<Item = &PortId> {
        self.any.iter().chain(self.sources.iter().flat_map(|s| &s.ports))
    }
}

impl Resource for GroupMembers {
    const KIND: Kind = Kind::GroupMembers;

    fn name(&self) -> String {
        self.members_key().to_string()
    }
}

/// A group in a VLAN of a switch. Written `leaf1/10/239.1.2.3`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MembersKey {
    // In this order, so that the switches with members of one group are neighbours in ordered maps.
    pub vlan: VlanId,
    pub group: IpAddr,
    pub switch: SwitchName,
}

impl fmt::Display for MembersKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}/{}", self.switch, self.vlan, self.group)
    }
}

impl fmt::Debug for MembersKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for MembersKey {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || ValueError::new("group members", text, "SWITCH/VLAN/GROUP, such as leaf1/10/239.1.2.3");
        let (switch, rest) = text.split_once('/').ok_or_else(error)?;
        let (vlan, group) = rest.split_once('/').ok_or_else(error)?;
        let group: IpAddr = group.parse().map_err(|_| error())?;
        Ok(MembersKey { vlan: vlan.parse()?, group, switch: switch.parse()? })
    }
}

string_form!(
    MembersKey,
    "MembersKey",
    "a group's members on a switch: SWITCH/VLAN/GROUP, such as leaf1/10/239.1.2.3",
    "^[a-z0-9-]+/[1-9][0-9]{0,3}/[0-9a-fA-F.:]+$"
);

/// How a group looks on Ethernet (RFC 1112 6.4, RFC 2464 7).
pub fn group_mac(group: IpAddr) -> MacAddr {
    match group {
        IpAddr::V4(g) => {
            let o = g.octets();
            MacAddr([1, 0, 0x5e, o[1] & 0x7f, o[2], o[3]])
        }
        IpAddr::V6(g) => {
            let o = g.octets();
            MacAddr([0x33, 0x33, o[12], o[13], o[14], o[15]])
        }
    }
}

/// Groups that go to every port of a VLAN whether anybody says to listen or not, as addresses and masks: those of the link
/// that hosts use unasked (RFC 4541 2.1.2 and 3), by what they look like on Ethernet.
pub const FLOODED: [(MacAddr, MacAddr); 4] = [
    // 224.0.0.0/24.
    (MacAddr([1, 0, 0x5e, 0, 0, 0]), MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0])),
    // ff02::1, ff02::fb and their like; ff02::1:2, ff02::1:3; ff02::1:ff00:0/104.
    (MacAddr([0x33, 0x33, 0, 0, 0, 0]), MacAddr([0xff, 0xff, 0xff, 0xff, 0, 0])),
    (MacAddr([0x33, 0x33, 0, 1, 0, 0]), MacAddr([0xff, 0xff, 0xff, 0xff, 0xff, 0])),
    (MacAddr([0x33, 0x33, 0xff, 0, 0, 0]), MacAddr([0xff, 0xff, 0xff, 0, 0, 0])),
];

/// Whether a group stays on its link and is flooded there: nobody needs to know who listens.
pub fn is_link_group(group: IpAddr) -> bool {
    let link = match group {
        IpAddr::V4(g) => g.octets()[..3] == [224, 0, 0],
        // Scopes 0 to 2: reserved, interface, link (RFC 4291 2.7).
        IpAddr::V6(g) => g.octets()[1] & 0x0f <= 2,
    };
    let mac = group_mac(group).to_u64();
    link && FLOODED.iter().any(|(value, mask)| mac & mask.to_u64() == value.to_u64())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_read_as_they_print_and_sort_by_group() {
        for text in ["leaf1/10/239.1.2.3", "leaf-2/4094/ff3e::8000:1"] {
            assert_eq!(text.parse::<MembersKey>().unwrap().to_string(), text);
        }
        for wrong in ["leaf1/10", "leaf1/0/239.1.2.3", "leaf1/10/h1", "LEAF/10/239.1.2.3"] {
            assert!(wrong.parse::<MembersKey>().is_err(), "{wrong}");
        }
        let key = |t: &str| t.parse::<MembersKey>().unwrap();
        assert!(key("leaf9/10/239.1.2.3") < key("leaf1/10/239.1.2.4"));
    }

    #[test]
    fn groups_of_the_link() {
        for link in ["224.0.0.251", "ff02::1", "ff02::fb", "ff02::1:2", "ff02::1:ff00:17", "ff01::1"] {
            assert!(is_link_group(link.parse().unwrap()), "{link}");
        }
        // The second of each looks like one of the link's on Ethernet; a host may listen to any other group of the link.
        for routed in ["239.1.2.3", "239.0.0.7", "ff05::8000:1", "ff05::1", "ff02::8000:1"] {
            assert!(!is_link_group(routed.parse().unwrap()), "{routed}");
        }
        assert_eq!(group_mac("239.129.2.3".parse().unwrap()).to_string(), "01:00:5e:01:02:03");
        assert_eq!(group_mac("ff05::8000:1".parse().unwrap()).to_string(), "33:33:80:00:00:01");
    }
}
