//! `chain_classifier`: IPv4 packets that enter a chain.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.chain_classify.chain_classifier" = 0x02daa801, Classification;
    fields {
        1 line_id: Ternary<u32>, 32;
        2 slice: Ternary<u8>, 8;
        3 ig_port: Ternary<u16>, 9;
        4 vlan_id: Ternary<u16>, 12;
        5 ipv4_src: Ternary<Ipv4Addr>, 32;
        6 ipv4_dst: Ternary<Ipv4Addr>, 32;
        7 ip_proto: Ternary<u8>, 8;
        8 l4_sport: Ternary<u16>, 16;
        9 l4_dport: Ternary<u16>, 16;
    }
    actions {
        EnterChain = "FabricIngress.chain_classify.enter_chain" 0x019c2910 {
            1 chain_id: u16, 16;
            2 position: u8, 8;
        }
        NoChain = "FabricIngress.chain_classify.no_chain" 0x01fe28b4 {}
    }
}

/// Matches everything; rules are made from it with `..ANY`.
pub const ANY: Key = Key {
    line_id: None,
    slice: None,
    ig_port: None,
    vlan_id: None,
    ipv4_src: None,
    ipv4_dst: None,
    ip_proto: None,
    l4_sport: None,
    l4_dport: None,
    priority: 1,
};
