//! `acl_ipv6`: rules over layers 2 to 4 of IPv6 packets.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.acl.acl_ipv6" = 0x02da2b3c, Classification;
    fields {
        1 ig_port: Ternary<u16>, 9;
        2 eth_dst: Ternary<[u8; 6]>, 48;
        3 eth_src: Ternary<[u8; 6]>, 48;
        4 vlan_id: Ternary<u16>, 12;
        5 ipv6_src: Ternary<Ipv6Addr>, 128;
        6 ipv6_dst: Ternary<Ipv6Addr>, 128;
        7 ip_proto: Ternary<u8>, 8;
        8 dscp: Ternary<u8>, 6;
        9 l4_sport: Ternary<u16>, 16;
        10 l4_dport: Ternary<u16>, 16;
        11 icmp_type: Ternary<u8>, 8;
        12 icmp_code: Ternary<u8>, 8;
        13 tcp_flags: Ternary<u8>, 8;
        14 from_line: Ternary<u8>, 1;
    }
    actions {
        AclPermitV6 = "FabricIngress.acl.acl_permit_v6" 0x011bf940 {}
        AclDropV6 = "FabricIngress.acl.acl_drop_v6" 0x01961963 {}
        AclPuntV6 = "FabricIngress.acl.acl_punt_v6" 0x010081b2 {
            1 punt_id: u16, 16;
        }
        AclCopyV6 = "FabricIngress.acl.acl_copy_v6" 0x011e8879 {
            1 punt_id: u16, 16;
        }
        AclRedirectV6 = "FabricIngress.acl.acl_redirect_v6" 0x01fee07a {
            1 next_id: u32, 32;
        }
        AclSetPortV6 = "FabricIngress.acl.acl_set_port_v6" 0x01195eb1 {
            1 port: u16, 9;
        }
        AclPoliceV6 = "FabricIngress.acl.acl_police_v6" 0x011d55e3 {}
    }
}

/// Matches everything; rules are made from it with `..ANY`.
pub const ANY: Key = Key {
    ig_port: None,
    eth_dst: None,
    eth_src: None,
    vlan_id: None,
    ipv6_src: None,
    ipv6_dst: None,
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
