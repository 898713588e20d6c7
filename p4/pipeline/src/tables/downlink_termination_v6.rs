//! `downlink_termination_v6`: what becomes of a user's IPv6 packet downstream.

crate::table! {
    "FabricIngress.upf.downlink_termination_v6" = 0x0215af29, Forwarding;
    fields {
        1 ue_prefix: Exact<u64>, 64;
        2 app_id: Exact<u8>, 8;
    }
    actions {
        DownlinkForwardV6 = "FabricIngress.upf.downlink_forward_v6" 0x0122e4de {
            1 teid: u32, 32;
            2 qfi: u8, 6;
            3 tc: u8, 2;
        }
        DownlinkDropV6 = "FabricIngress.upf.downlink_drop_v6" 0x019de0dc {}
    }
}
