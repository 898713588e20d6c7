//! `uplink_termination`: what becomes of a user's packet upstream.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.uplink_termination" = 0x021338f6, Forwarding;
    fields {
        1 ue_address: Exact<Ipv4Addr>, 32;
        2 app_id: Exact<u8>, 8;
    }
    actions {
        UplinkForward = "FabricIngress.upf.uplink_forward" 0x01da76e9 {
            1 tc: u8, 2;
        }
        UplinkDrop = "FabricIngress.upf.uplink_drop" 0x01b6e831 {}
    }
}
