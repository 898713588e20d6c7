//! `fwd_classifier`: frames to a router MAC are routed or label-switched, the rest is bridged.

crate::table! {
    "FabricIngress.filtering.fwd_classifier" = 0x02f6a38a, Classification;
    fields {
        1 ig_port: Ternary<u16>, 9;
        2 eth_dst: Ternary<[u8; 6]>, 48;
        3 eth_type: Exact<u16>, 16;
    }
    actions {
        SetForwarding = "FabricIngress.filtering.set_forwarding" 0x01603282 {
            1 fwd: u8, 3;
        }
    }
}
