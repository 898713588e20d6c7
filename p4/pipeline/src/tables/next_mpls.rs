//! `next_mpls`: the label that all members of a next id share, of a switch or of what it leads to there.

crate::table! {
    "FabricIngress.pre_next.next_mpls" = 0x022edf42, Next;
    fields {
        1 next_id: Exact<u32>, 32;
    }
    actions {
        SetLabel = "FabricIngress.pre_next.set_label" 0x01d91901 {
            1 label: u32, 20;
        }
        SetService = "FabricIngress.pre_next.set_service" 0x0178c433 {
            1 label: u32, 20;
        }
    }
}
