//! `downlink_session_v6`: sessions by user prefix, IPv6.

crate::table! {
    "FabricIngress.upf.downlink_session_v6" = 0x0282286a, Forwarding;
    fields {
        1 ue_prefix: Exact<u64>, 64;
    }
    actions {
        SetDownlinkSessionV6 = "FabricIngress.upf.set_downlink_session_v6" 0x01e9d175 {
            1 session_index: u32, 17;
            2 tunnel_peer: u16, 16;
        }
        PuntDownlinkSessionV6 = "FabricIngress.upf.punt_downlink_session_v6" 0x011eb71f {
            1 punt_id: u16, 16;
        }
        DropDownlinkSessionV6 = "FabricIngress.upf.drop_downlink_session_v6" 0x01922c38 {}
    }
}
