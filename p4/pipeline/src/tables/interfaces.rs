//! `interfaces`: our GTP-U addresses and the pools of user addresses, IPv4.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.interfaces" = 0x0273fd9a, Classification;
    fields {
        1 vrf: Exact<u16>, 16;
        2 ipv4_dst: Lpm<Ipv4Addr>, 32;
        3 gtpu_is_valid: Exact<u8>, 1;
    }
    actions {
        AccessSide = "FabricIngress.upf.access_side" 0x017911c1 {
            1 slice: u8, 8;
        }
        CoreSide = "FabricIngress.upf.core_side" 0x0176e440 {
            1 slice: u8, 8;
        }
    }
}
