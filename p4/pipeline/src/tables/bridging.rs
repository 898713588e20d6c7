//! `bridging`: where frames of a VLAN go, known address by known address, and the flood.

crate::table! {
    "FabricIngress.forwarding.bridging" = 0x0299a54d, Forwarding;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 eth_dst: Ternary<[u8; 6]>, 48;
    }
    actions {
        BridgeToPort = "FabricIngress.forwarding.bridge_to_port" 0x0136c98f {
            1 port: u16, 9;
        }
        BridgeToNext = "FabricIngress.forwarding.bridge_to_next" 0x01bd1f96 {
            1 next_id: u32, 32;
        }
        Flood = "FabricIngress.forwarding.flood" 0x01b97e09 {
            1 group: u16, 16;
        }
        BridgeDrop = "FabricIngress.forwarding.bridge_drop" 0x01df6b17 {}
    }
}
