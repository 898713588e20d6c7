//! `tunnel_peers`: addresses of the tunnels to base stations.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.tunnel_peers" = 0x02429d97, Next;
    fields {
        1 tunnel_peer: Exact<u16>, 16;
    }
    actions {
        ToTunnel = "FabricIngress.upf.to_tunnel" 0x0165c4b1 {
            1 src: Ipv4Addr, 32;
            2 dst: Ipv4Addr, 32;
            3 sport: u16, 16;
        }
    }
}
