//! `slice_tc`: slice and traffic class of a packet, for everything but IPv6.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.slice_tc.slice_tc" = 0x02f1f901, Classification;
    fields {
        1 ig_port: Ternary<u16>, 9;
        2 vlan_id: Ternary<u16>, 12;
        3 ipv4_src: Ternary<Ipv4Addr>, 32;
        4 ipv4_dst: Ternary<Ipv4Addr>, 32;
        5 ip_proto: Ternary<u8>, 8;
        6 dscp: Ternary<u8>, 6;
        7 l4_sport: Ternary<u16>, 16;
        8 l4_dport: Ternary<u16>, 16;
    }
    actions {
        SetSliceTc = "FabricIngress.slice_tc.set_slice_tc" 0x016c0999 {
            1 slice: u8, 8;
            2 tc: u8, 2;
        }
        TrustDscp = "FabricIngress.slice_tc.trust_dscp" 0x0161b6a0 {}
    }
}

/// Matches everything; rules are made from it with `..ANY`.
pub const ANY: Key = Key {
    ig_port: None,
    vlan_id: None,
    ipv4_src: None,
    ipv4_dst: None,
    ip_proto: None,
    dscp: None,
    l4_sport: None,
    l4_dport: None,
    priority: 1,
};
