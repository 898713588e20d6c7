//! `chain_classifier_v6`: IPv6 packets that enter a chain.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.chain_classify.chain_classifier_v6" = 0x02e9a995, Classification;
    fields {
        1 line_id: Ternary<u32>, 32;
        2 slice: Ternary<u8>, 8;
        3 ig_port: Ternary<u16>, 9;
        4 vlan_id: Ternary<u16>, 12;
        5 ipv6_src: Ternary<Ipv6Addr>, 128;
        6 ipv6_dst: Ternary<Ipv6Addr>, 128;
        7 ip_proto: Ternary<u8>, 8;
        8 l4_sport: Ternary<u16>, 16;
        9 l4_dport: Ternary<u16>, 16;
    }
    actions {
        EnterChainV6 = "FabricIngress.chain_classify.enter_chain_v6" 0x014d13c7 {
            1 chain_id: u16, 16;
            2 position: u8, 8;
        }
        NoChainV6 = "FabricIngress.chain_classify.no_chain_v6" 0x014eb7f9 {}
    }
}
