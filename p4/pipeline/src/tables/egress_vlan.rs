//! `egress_vlan`: the tags frames of a VLAN have on a port.

crate::table! {
    "FabricEgress.rewrite.egress_vlan" = 0x0236cd0a, Egress;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 eg_port: Exact<u16>, 9;
    }
    actions {
        SendUntagged = "FabricEgress.rewrite.send_untagged" 0x0194737f {}
        SendTagged = "FabricEgress.rewrite.send_tagged" 0x018293b6 {}
        /// Another tag than the VLAN inside has.
        SendTranslated = "FabricEgress.rewrite.send_translated" 0x01e3b362 {
            1 tag: u16, 12;
        }
        SendDouble = "FabricEgress.rewrite.send_double" 0x018dc2ac {
            1 outer: u16, 12;
            2 inner: u16, 12;
        }
        Block = "FabricEgress.rewrite.block" 0x01ce87ee {}
    }
}
