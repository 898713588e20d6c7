//! `pppoe_session`: PPPoE sessions that end here.

crate::table! {
    "FabricIngress.line_up.pppoe_session" = 0x020c5f4f, Forwarding;
    fields {
        1 line_id: Exact<u32>, 32;
        2 session_id: Exact<u16>, 16;
    }
    actions {
        PppoeTerminate = "FabricIngress.line_up.pppoe_terminate" 0x01f294ae {}
        PppoeDeny = "FabricIngress.line_up.pppoe_deny" 0x0140e5c0 {}
    }
}
