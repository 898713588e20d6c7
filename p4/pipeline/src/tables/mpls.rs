//! `mpls`: labels: node labels in transit, service labels at their end.

crate::table! {
    "FabricIngress.labels.mpls" = 0x0248467e, Forwarding;
    fields {
        1 label: Exact<u32>, 20;
    }
    actions {
        PopAndNext = "FabricIngress.labels.pop_and_next" 0x01d3ba31 {
            1 next_id: u32, 32;
        }
        KeepAndNext = "FabricIngress.labels.keep_and_next" 0x0164bdd3 {
            1 next_id: u32, 32;
        }
        PopAndRoute = "FabricIngress.labels.pop_and_route" 0x01d86221 {
            1 vrf: u16, 16;
        }
        PopToInstance = "FabricIngress.labels.pop_to_instance" 0x01ef4d8a {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
        MplsDrop = "FabricIngress.labels.mpls_drop" 0x010a5af1 {}
    }
}
