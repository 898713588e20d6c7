//! `ingress_port_vlan`: which frames may enter a port, and on which VLAN.

crate::table! {
    "FabricIngress.filtering.ingress_port_vlan" = 0x0294df81, Classification;
    fields {
        1 ig_port: Exact<u16>, 9;
        2 vlan_is_valid: Exact<u8>, 1;
        3 vlan_id: Ternary<u16>, 12;
        4 inner_vlan_is_valid: Ternary<u8>, 1;
        5 inner_vlan_id: Ternary<u16>, 12;
    }
    actions {
        Deny = "FabricIngress.filtering.deny" 0x0105e787 {}
        Permit = "FabricIngress.filtering.permit" 0x0170a03c {
            1 vrf: u16, 16;
        }
        PermitWithVlan = "FabricIngress.filtering.permit_with_vlan" 0x01405c14 {
            1 vlan_id: u16, 12;
            2 vrf: u16, 16;
        }
        PermitDouble = "FabricIngress.filtering.permit_double" 0x01509d18 {
            1 vlan_id: u16, 12;
            2 vrf: u16, 16;
        }
        PermitAsIs = "FabricIngress.filtering.permit_as_is" 0x01b38f4a {
            1 next_id: u32, 32;
        }
    }
}
