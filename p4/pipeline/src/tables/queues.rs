//! `queues`: the queue of a slice's class, or a drop, by meter colour.

crate::table! {
    "FabricIngress.police.queues" = 0x021d4f67, Egress;
    fields {
        1 slice: Exact<u8>, 8;
        2 tc: Exact<u8>, 2;
        3 color: Ternary<u8>, 2;
    }
    actions {
        SetQueue = "FabricIngress.police.set_queue" 0x01d1a4f9 {
            1 queue: u8, 3;
        }
        PoliceDrop = "FabricIngress.police.police_drop" 0x010eb6ff {}
    }
}
