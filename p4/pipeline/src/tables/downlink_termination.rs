//! `downlink_termination`: what becomes of a user's packet downstream.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.downlink_termination" = 0x02f3c7e7, Forwarding;
    fields {
        1 ue_address: Exact<Ipv4Addr>, 32;
        2 app_id: Exact<u8>, 8;
    }
    actions {
        DownlinkForward = "FabricIngress.upf.downlink_forward" 0x019c2684 {
            1 teid: u32, 32;
            2 qfi: u8, 6;
            3 tc: u8, 2;
        }
        DownlinkDrop = "FabricIngress.upf.downlink_drop" 0x01d519d3 {}
    }
}
