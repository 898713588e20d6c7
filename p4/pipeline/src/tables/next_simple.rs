//! `next_simple`: next ids with one way out.

crate::table! {
    "FabricIngress.next.next_simple" = 0x0293194f, Next;
    fields {
        1 next_id: Exact<u32>, 32;
    }
    actions {
        Output = "FabricIngress.next.output" 0x0147d8ee {
            1 port: u16, 9;
        }
        ToNeighbour = "FabricIngress.next.to_neighbour" 0x0104c77f {
            1 port: u16, 9;
            2 eth_src: [u8; 6], 48;
            3 eth_dst: [u8; 6], 48;
        }
        ToNode = "FabricIngress.next.to_node" 0x01742443 {
            1 port: u16, 9;
            2 eth_src: [u8; 6], 48;
            3 eth_dst: [u8; 6], 48;
            4 label: u32, 20;
        }
        ToAttached = "FabricIngress.next.to_attached" 0x01dcbcf2 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
    }
}
