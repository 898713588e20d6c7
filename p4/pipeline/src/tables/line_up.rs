//! `line_up`: the subscriber's line a frame came from, with its meter upstream.

crate::table! {
    "FabricIngress.line_up.line_up" = 0x02b8c01d, Classification;
    fields {
        1 ig_port: Exact<u16>, 9;
        2 s_tag: Exact<u16>, 12;
        3 c_tag: Exact<u16>, 12;
    }
    actions {
        SetLine = "FabricIngress.line_up.set_line" 0x01921763 {
            1 line_id: u32, 32;
            2 vrf: u16, 16;
            3 slice: u8, 8;
            4 tc: u8, 2;
        }
    }
}
