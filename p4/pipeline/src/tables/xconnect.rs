//! `xconnect`: circuits from port to port.

crate::table! {
    "FabricIngress.next.xconnect" = 0x02e7a631, Next;
    fields {
        1 ig_port: Exact<u16>, 9;
        2 next_id: Exact<u32>, 32;
    }
    actions {
        CrossConnect = "FabricIngress.next.cross_connect" 0x018e7377 {
            1 port: u16, 9;
        }
    }
}
