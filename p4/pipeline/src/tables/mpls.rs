//! `mpls`: labels: node labels in transit, service labels at their end.

crate::table! {
    "FabricIngress.forwarding.mpls" = 0x02404d82, Forwarding;
    fields {
        1 label: Exact<u32>, 20;
    }
    actions {
        PopAndNext = "FabricIngress.forwarding.pop_and_next" 0x019fa119 {
            1 next_id: u32, 32;
        }
        KeepAndNext = "FabricIngress.forwarding.keep_and_next" 0x019cd0f8 {
            1 next_id: u32, 32;
        }
        PopAndRoute = "FabricIngress.forwarding.pop_and_route" 0x018306ef {
            1 vrf: u16, 16;
        }
        PopToInstance = "FabricIngress.forwarding.pop_to_instance" 0x011fdc46 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
        MplsDrop = "FabricIngress.forwarding.mpls_drop" 0x018020d4 {}
    }
}
