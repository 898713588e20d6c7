//! Which packets the controller sees: the rules of the ACL that copy or punt, and those every switch has.

use std::net::{Ipv4Addr, Ipv6Addr};

use pergola_model::{ChangedKey, Key, Kind, SwitchName, View, VlanId};
use pergola_pipeline::table::{Masked, Ternary, is, masked};
use pergola_pipeline::tables::{acl, acl_ipv6};
use pergola_pipeline::{Entity, reserved};
use pergola_plan::{App, Emitter, Unit, UnitSet};

use crate::office::unit;

pub struct Punt;

const SWITCH: &str = "switch";

const UDP: u8 = 17;
const ICMP: u8 = 1;
const IGMP: u8 = 2;
const ICMPV6: u8 = 58;
const HOP_BY_HOP: u8 = 0;
const ARP: u16 = 0x0806;
const IPV4: u16 = 0x0800;
const LLDP: u16 = 0x88cc;
/// Echo packets of the link machine, which come back from spines: `pergola_discovery::links::echo` has the same.
const ECHO_PORT: u16 = 3785;
const ECHO_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// Rules of the fabric's own stand above all policies: 65535 is the highest priority a policy has.
const GENERAL: u32 = 70_000;
const QUESTION: u32 = 75_000;
const SPECIAL: u32 = 80_000;

/// The group bit (IEEE 802 8.2.2).
const GROUP: Ternary<[u8; 6]> = Some(Masked { value: [1, 0, 0, 0, 0, 0], mask: [1, 0, 0, 0, 0, 0] });

impl App for Punt {
    fn name(&self) -> &'static str {
        "punt"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.switches().map(|s| unit(SWITCH, s.name.as_str())));
    }

    fn affected(&self, _: &View, _: &View, change: &ChangedKey, out: &mut UnitSet) {
        if change.key.kind == Kind::Switch {
            out.insert(unit(SWITCH, &change.key.name));
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let name = unit.as_name().and_then(|n| n.parse::<SwitchName>().ok());
        let Some(switch) = name.and_then(|n| view.switch(&n)) else { return };
        let cause = Key::new(Kind::Switch, &switch.name);
        let mut rules = vec![lldp()];
        if switch.is_leaf() {
            rules.push(echo());
            rules.extend(host_rules());
        }
        for rule in rules {
            out.emit(&switch.name, rule.entity(), &cause);
        }
    }
}

/// One rule of either ACL.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    V4(acl::Key, acl::Act),
    V6(acl_ipv6::Key, acl_ipv6::Act),
}

impl Rule {
    pub fn entity(&self) -> Entity {
        match *self {
            Rule::V4(key, act) => acl::entry(key, act),
            Rule::V6(key, act) => acl_ipv6::entry(key, act),
        }
    }
}

const PUNT: acl::Act = acl::Act::AclPunt { punt_id: reserved::PUNT_PROTOCOL };
const COPY: acl::Act = acl::Act::AclCopy { punt_id: reserved::PUNT_PROTOCOL };
const PUNT_V6: acl_ipv6::Act = acl_ipv6::Act::AclPuntV6 { punt_id: reserved::PUNT_PROTOCOL };
const COPY_V6: acl_ipv6::Act = acl_ipv6::Act::AclCopyV6 { punt_id: reserved::PUNT_PROTOCOL };

/// Never forwarded (IEEE 802.1Q 8.6.3).
fn lldp() -> Rule {
    Rule::V4(acl::Key { eth_type: is(LLDP), priority: SPECIAL, ..acl::ANY }, PUNT)
}

/// Never forwarded either: the address is nobody's (RFC 7600 4.8).
fn echo() -> Rule {
    let key = acl::Key {
        eth_type: is(IPV4),
        ipv4_dst: is(ECHO_ADDRESS),
        ip_proto: is(UDP),
        l4_dport: is(ECHO_PORT),
        priority: SPECIAL,
        ..acl::ANY
    };
    Rule::V4(key, PUNT)
}

/// What tells of hosts and groups. Questions to everybody who has an address go to the controller alone, which answers
/// or passes them on; the rest goes its way as well.
fn host_rules() -> Vec<Rule> {
    let v4 = |key| Rule::V4(key, COPY);
    let v6 = |key| Rule::V6(key, COPY_V6);
    let mut rules = vec![
        v4(acl::Key { eth_type: is(ARP), priority: GENERAL, ..acl::ANY }),
        // Reports are for the querier alone (RFC 4541 2.1.1); MLD comes behind a hop-by-hop header (RFC 3810 5).
        Rule::V4(
            acl::Key { eth_type: is(IPV4), ip_proto: is(IGMP), eth_dst: GROUP, priority: GENERAL, ..acl::ANY },
            PUNT,
        ),
        Rule::V6(
            acl_ipv6::Key { ip_proto: is(HOP_BY_HOP), eth_dst: GROUP, priority: GENERAL, ..acl_ipv6::ANY },
            PUNT_V6,
        ),
        Rule::V4(acl::Key { eth_type: is(ARP), eth_dst: GROUP, priority: QUESTION, ..acl::ANY }, PUNT),
    ];
    // Router and neighbour solicitation, and unasked advertisements (RFC 4861 4.1, 4.3, 4.4).
    for icmp_type in [133, 135, 136] {
        let key = acl_ipv6::Key {
            ip_proto: is(ICMPV6),
            icmp_type: is(icmp_type),
            eth_dst: GROUP,
            priority: QUESTION,
            ..acl_ipv6::ANY
        };
        rules.push(Rule::V6(key, PUNT_V6));
    }
    // Both ends of DHCP (RFC 2131 4.1; RFC 8415 7.2).
    for port in [67, 68] {
        rules.push(v4(acl::Key {
            eth_type: is(IPV4),
            ip_proto: is(UDP),
            l4_dport: is(port),
            priority: GENERAL,
            ..acl::ANY
        }));
    }
    for port in [546, 547] {
        rules.push(v6(acl_ipv6::Key { ip_proto: is(UDP), l4_dport: is(port), priority: GENERAL, ..acl_ipv6::ANY }));
    }
    // Router solicitation 133 to redirect 137 (RFC 4861).
    for icmp_type in [133, 134, 135, 136, 137] {
        rules.push(v6(acl_ipv6::Key {
            ip_proto: is(ICMPV6),
            icmp_type: is(icmp_type),
            priority: GENERAL,
            ..acl_ipv6::ANY
        }));
    }
    rules
}

/// ARP that asks for a gateway: the controller answers, nobody else needs to see it.
pub fn arp_for(gateway: Ipv4Addr) -> Rule {
    let key = acl::Key { eth_type: is(ARP), ipv4_dst: is(gateway), priority: SPECIAL, ..acl::ANY };
    Rule::V4(key, PUNT)
}

/// ARP that claims a gateway's address: nobody else sees it, and the controller raises an alarm.
pub fn arp_from(gateway: Ipv4Addr) -> Rule {
    let key = acl::Key { eth_type: is(ARP), ipv4_src: is(gateway), priority: SPECIAL, ..acl::ANY };
    Rule::V4(key, PUNT)
}

pub fn icmp_to(gateway: Ipv4Addr) -> Rule {
    let key = acl::Key { eth_type: is(IPV4), ipv4_dst: is(gateway), ip_proto: is(ICMP), priority: SPECIAL, ..acl::ANY };
    Rule::V4(key, PUNT)
}

pub fn icmpv6_to(gateway: Ipv6Addr) -> Rule {
    let key = acl_ipv6::Key { ipv6_dst: is(gateway), ip_proto: is(ICMPV6), priority: SPECIAL, ..acl_ipv6::ANY };
    Rule::V6(key, PUNT_V6)
}

/// Answers of DHCP servers to the relay (RFC 2131 4.1), also those of clients that renew with the gateway's address.
pub fn dhcp_v4_to(gateway: Ipv4Addr) -> Rule {
    let key = acl::Key {
        eth_type: is(IPV4),
        ipv4_dst: is(gateway),
        ip_proto: is(UDP),
        l4_dport: is(67),
        priority: SPECIAL,
        ..acl::ANY
    };
    Rule::V4(key, PUNT)
}

pub fn dhcp_v6_to(gateway: Ipv6Addr) -> Rule {
    let key = acl_ipv6::Key {
        ipv6_dst: is(gateway),
        ip_proto: is(UDP),
        l4_dport: is(547),
        priority: SPECIAL,
        ..acl_ipv6::ANY
    };
    Rule::V6(key, PUNT_V6)
}

/// Requests of clients in a relayed VLAN: to the relay only.
pub fn dhcp_v4_in_vlan(vlan: VlanId) -> Rule {
    let key = acl::Key {
        eth_type: is(IPV4),
        eth_dst: is([0xff; 6]),
        vlan_id: is(vlan.get()),
        ip_proto: is(UDP),
        l4_dport: is(67),
        priority: SPECIAL,
        ..acl::ANY
    };
    Rule::V4(key, PUNT)
}

/// All_DHCP_Relay_Agents_and_Servers, ff02::1:2 (RFC 8415 7.1).
pub fn dhcp_v6_in_vlan(vlan: VlanId) -> Rule {
    let key = acl_ipv6::Key {
        eth_dst: masked([0x33, 0x33, 0, 1, 0, 2], [0xff; 6]),
        vlan_id: is(vlan.get()),
        ip_proto: is(UDP),
        l4_dport: is(547),
        priority: SPECIAL,
        ..acl_ipv6::ANY
    };
    Rule::V6(key, PUNT_V6)
}
