//! `uplink_session`: sessions by tunnel address and TEID.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.uplink_session" = 0x024016ca, Forwarding;
    fields {
        1 tunnel_dst: Exact<Ipv4Addr>, 32;
        2 teid: Exact<u32>, 32;
    }
    actions {
        SetUplinkSession = "FabricIngress.upf.set_uplink_session" 0x01dc601f {
            1 session_index: u32, 17;
        }
        DropUplinkSession = "FabricIngress.upf.drop_uplink_session" 0x016f8bf4 {}
    }
}
