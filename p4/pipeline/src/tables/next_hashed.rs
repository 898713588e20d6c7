//! `next_hashed`: next ids with several ways out, shared by flow.

crate::table! {
    "FabricIngress.next.next_hashed" = 0x02492d55, Next;
    fields {
        1 next_id: Exact<u32>, 32;
    }
    actions {
        OutputHashed = "FabricIngress.next.output_hashed" 0x01a094fd {
            1 port: u16, 9;
        }
        ToNeighbourHashed = "FabricIngress.next.to_neighbour_hashed" 0x0111a834 {
            1 port: u16, 9;
            2 eth_src: [u8; 6], 48;
            3 eth_dst: [u8; 6], 48;
        }
        ToNodeHashed = "FabricIngress.next.to_node_hashed" 0x01a4963c {
            1 port: u16, 9;
            2 eth_src: [u8; 6], 48;
            3 eth_dst: [u8; 6], 48;
            4 label: u32, 20;
        }
        ToAttachedHashed = "FabricIngress.next.to_attached_hashed" 0x01c8e3a3 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
    }
}
