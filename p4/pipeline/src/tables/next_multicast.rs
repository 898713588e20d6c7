//! `next_multicast`: next ids with many receivers.

crate::table! {
    "FabricIngress.next.next_multicast" = 0x024d5144, Next;
    fields {
        1 next_id: Exact<u32>, 32;
    }
    actions {
        Replicate = "FabricIngress.next.replicate" 0x014a5f14 {
            1 group: u16, 16;
        }
    }
}
