//! `interfaces_v6`: the pools of user prefixes, IPv6.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.upf.interfaces_v6" = 0x022dd058, Classification;
    fields {
        1 vrf: Exact<u16>, 16;
        2 ipv6_dst: Lpm<Ipv6Addr>, 128;
    }
    actions {
        CoreSideV6 = "FabricIngress.upf.core_side_v6" 0x012296e4 {
            1 slice: u8, 8;
        }
    }
}
