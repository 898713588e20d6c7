//! `ipv6_multicast`: IPv6 groups of a VLAN.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.forwarding.ipv6_multicast" = 0x02980ce4, Forwarding;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 ipv6_dst: Exact<Ipv6Addr>, 128;
        3 ipv6_src: Ternary<Ipv6Addr>, 128;
    }
    actions {
        MulticastV6 = "FabricIngress.forwarding.multicast_v6" 0x012368ef {
            1 group: u16, 16;
        }
        SnoopedV6 = "FabricIngress.forwarding.snooped_v6" 0x012fe03c {
            1 group: u16, 16;
        }
    }
}
