//! `line_down`: tags and session towards a subscriber's line, with its meter downstream.

crate::table! {
    "FabricIngress.line_down.line_down" = 0x0205324e, Next;
    fields {
        1 line_id: Exact<u32>, 32;
    }
    actions {
        ToLineIpoe = "FabricIngress.line_down.to_line_ipoe" 0x011ea21b {
            1 port: u16, 9;
            2 s_tag: u16, 12;
            3 c_tag: u16, 12;
            4 eth_src: [u8; 6], 48;
            5 eth_dst: [u8; 6], 48;
        }
        ToLinePppoe = "FabricIngress.line_down.to_line_pppoe" 0x01dfe39e {
            1 port: u16, 9;
            2 s_tag: u16, 12;
            3 c_tag: u16, 12;
            4 eth_src: [u8; 6], 48;
            5 eth_dst: [u8; 6], 48;
            6 session_id: u16, 16;
        }
        LineDownDrop = "FabricIngress.line_down.line_down_drop" 0x018cf445 {}
    }
}
