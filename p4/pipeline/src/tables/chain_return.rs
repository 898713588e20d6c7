//! `chain_return`: frames back from an instance: their chain and next position.

crate::table! {
    "FabricIngress.chain_classify.chain_return" = 0x02b9d3cf, Classification;
    fields {
        1 ig_port: Exact<u16>, 9;
        2 vlan_id: Exact<u16>, 12;
    }
    actions {
        ChainContinue = "FabricIngress.chain_classify.chain_continue" 0x018ea23d {
            1 chain_id: u16, 16;
            2 position: u8, 8;
            3 vrf: u16, 16;
        }
    }
}
