//! `ipv4_unicast`: IPv4 routes.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.forwarding.ipv4_unicast" = 0x02cb9f03, Forwarding;
    fields {
        1 vrf: Exact<u16>, 16;
        2 ipv4_dst: Lpm<Ipv4Addr>, 32;
    }
    actions {
        RouteV4 = "FabricIngress.forwarding.route_v4" 0x01559967 {
            1 next_id: u32, 32;
        }
        ToHostV4 = "FabricIngress.forwarding.to_host_v4" 0x012a96d4 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
        ToLineV4 = "FabricIngress.forwarding.to_line_v4" 0x01192c52 {
            1 line_id: u32, 32;
        }
        GleanV4 = "FabricIngress.forwarding.glean_v4" 0x01447af1 {
            1 punt_id: u16, 16;
        }
        DropV4 = "FabricIngress.forwarding.drop_v4" 0x0171678b {}
    }
}
