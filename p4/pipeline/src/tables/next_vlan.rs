//! `next_vlan`: tags of a next id.

crate::table! {
    "FabricIngress.pre_next.next_vlan" = 0x02dc9a1a, Next;
    fields {
        1 next_id: Exact<u32>, 32;
    }
    actions {
        SetVlan = "FabricIngress.pre_next.set_vlan" 0x01fecb32 {
            1 vlan_id: u16, 12;
        }
        SetDoubleVlan = "FabricIngress.pre_next.set_double_vlan" 0x0198009a {
            1 outer: u16, 12;
            2 inner: u16, 12;
        }
    }
}
