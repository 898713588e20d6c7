//! `ipv4_multicast`: IPv4 groups of a VLAN.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.forwarding.ipv4_multicast" = 0x02de2f23, Forwarding;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 ipv4_dst: Exact<Ipv4Addr>, 32;
        3 ipv4_src: Ternary<Ipv4Addr>, 32;
    }
    actions {
        MulticastV4 = "FabricIngress.forwarding.multicast_v4" 0x01675d7b {
            1 group: u16, 16;
        }
        SnoopedV4 = "FabricIngress.forwarding.snooped_v4" 0x016a56b4 {
            1 group: u16, 16;
        }
    }
}
