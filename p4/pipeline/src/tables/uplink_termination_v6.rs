//! `uplink_termination_v6`: what becomes of a user's IPv6 packet upstream.

crate::table! {
    "FabricIngress.upf.uplink_termination_v6" = 0x02a623bf, Forwarding;
    fields {
        1 ue_prefix: Exact<u64>, 64;
        2 app_id: Exact<u8>, 8;
    }
    actions {
        UplinkForwardV6 = "FabricIngress.upf.uplink_forward_v6" 0x01ca66be {
            1 tc: u8, 2;
        }
        UplinkDropV6 = "FabricIngress.upf.uplink_drop_v6" 0x015df13f {}
    }
}
