//! `chain_hop`: the instances of a position in a chain.

crate::table! {
    "FabricIngress.chain_steer.chain_hop" = 0x02d1c53d, Next;
    fields {
        1 chain_id: Exact<u16>, 16;
        2 position: Exact<u8>, 8;
    }
    actions {
        ToInstance = "FabricIngress.chain_steer.to_instance" 0x01d17900 {
            1 port: u16, 9;
            2 vlan_id: u16, 12;
            3 eth_src: [u8; 6], 48;
            4 eth_dst: [u8; 6], 48;
        }
        ToRemoteInstance = "FabricIngress.chain_steer.to_remote_instance" 0x0175a5f1 {
            1 next_id: u32, 32;
            2 service_label: u32, 20;
        }
        LeaveChain = "FabricIngress.chain_steer.leave_chain" 0x0199b6fa {}
        ChainDrop = "FabricIngress.chain_steer.chain_drop" 0x01b7393c {}
    }
}
