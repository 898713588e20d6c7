//! `ipv6_unicast`: IPv6 routes.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.forwarding.ipv6_unicast" = 0x020f19c6, Forwarding;
    fields {
        1 vrf: Exact<u16>, 16;
        2 ipv6_dst: Lpm<Ipv6Addr>, 128;
    }
    actions {
        RouteV6 = "FabricIngress.forwarding.route_v6" 0x01987de9 {
            1 next_id: u32, 32;
        }
        ToHostV6 = "FabricIngress.forwarding.to_host_v6" 0x01c94c11 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
        ToLineV6 = "FabricIngress.forwarding.to_line_v6" 0x01830b24 {
            1 line_id: u32, 32;
        }
        GleanV6 = "FabricIngress.forwarding.glean_v6" 0x0160b32a {
            1 punt_id: u16, 16;
        }
        DropV6 = "FabricIngress.forwarding.drop_v6" 0x0151f74b {}
    }
}
