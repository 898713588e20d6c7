//! `acl`: rules over layers 2 to 4, for everything but IPv6.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.acl.acl" = 0x02a0fc22, Classification;
    fields {
        1 ig_port: Ternary<u16>, 9;
        2 eth_dst: Ternary<[u8; 6]>, 48;
        3 eth_src: Ternary<[u8; 6]>, 48;
        4 vlan_id: Ternary<u16>, 12;
        5 eth_type: Ternary<u16>, 16;
        6 ipv4_src: Ternary<Ipv4Addr>, 32;
        7 ipv4_dst: Ternary<Ipv4Addr>, 32;
        8 ip_proto: Ternary<u8>, 8;
        9 dscp: Ternary<u8>, 6;
        10 l4_sport: Ternary<u16>, 16;
        11 l4_dport: Ternary<u16>, 16;
        12 icmp_type: Ternary<u8>, 8;
        13 icmp_code: Ternary<u8>, 8;
        14 tcp_flags: Ternary<u8>, 8;
        15 from_line: Ternary<u8>, 1;
    }
    actions {
        AclPermit = "FabricIngress.acl.acl_permit" 0x0123deb4 {}
        AclDrop = "FabricIngress.acl.acl_drop" 0x01b78a2c {}
        AclPunt = "FabricIngress.acl.acl_punt" 0x011dfa07 {
            1 punt_id: u16, 16;
        }
        AclCopy = "FabricIngress.acl.acl_copy" 0x015acfd4 {
            1 punt_id: u16, 16;
        }
        AclRedirect = "FabricIngress.acl.acl_redirect" 0x01584f7c {
            1 next_id: u32, 32;
        }
        AclSetPort = "FabricIngress.acl.acl_set_port" 0x014c01d4 {
            1 port: u16, 9;
        }
        AclPolice = "FabricIngress.acl.acl_police" 0x01287f29 {}
    }
}

/// Matches everything; rules are made from it with `..ANY`.
pub const ANY: Key = Key {
    ig_port: None,
    eth_dst: None,
    eth_src: None,
    vlan_id: None,
    eth_type: None,
    ipv4_src: None,
    ipv4_dst: None,
    ip_proto: None,
    dscp: None,
    l4_sport: None,
    l4_dport: None,
    icmp_type: None,
    icmp_code: None,
    tcp_flags: None,
    from_line: None,
    priority: 1,
};
