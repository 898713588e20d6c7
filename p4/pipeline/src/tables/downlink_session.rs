//! `downlink_session`: sessions by user address, IPv4.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.downlink_session" = 0x026c2553, Forwarding;
    fields {
        1 ue_address: Exact<Ipv4Addr>, 32;
    }
    actions {
        SetDownlinkSession = "FabricIngress.upf.set_downlink_session" 0x0103293f {
            1 session_index: u32, 17;
            2 tunnel_peer: u16, 16;
        }
        PuntDownlinkSession = "FabricIngress.upf.punt_downlink_session" 0x018aea43 {
            1 punt_id: u16, 16;
        }
        DropDownlinkSession = "FabricIngress.upf.drop_downlink_session" 0x012e06c7 {}
    }
}
