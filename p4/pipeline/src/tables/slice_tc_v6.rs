//! `slice_tc_v6`: slice and traffic class of a packet, IPv6.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.slice_tc.slice_tc_v6" = 0x025a5c73, Classification;
    fields {
        1 ig_port: Ternary<u16>, 9;
        2 vlan_id: Ternary<u16>, 12;
        3 ipv6_src: Ternary<Ipv6Addr>, 128;
        4 ipv6_dst: Ternary<Ipv6Addr>, 128;
        5 ip_proto: Ternary<u8>, 8;
        6 dscp: Ternary<u8>, 6;
        7 l4_sport: Ternary<u16>, 16;
        8 l4_dport: Ternary<u16>, 16;
    }
    actions {
        SetSliceTcV6 = "FabricIngress.slice_tc.set_slice_tc_v6" 0x011852cd {
            1 slice: u8, 8;
            2 tc: u8, 2;
        }
        TrustDscpV6 = "FabricIngress.slice_tc.trust_dscp_v6" 0x0185f93c {}
    }
}
