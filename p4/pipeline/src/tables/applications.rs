//! `applications`: application filters, IPv4.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.upf.applications" = 0x02c0b7df, Forwarding;
    fields {
        1 slice: Exact<u8>, 8;
        2 ipv4_address: Ternary<Ipv4Addr>, 32;
        3 l4_port: Range<u16>, 16;
        4 ip_proto: Ternary<u8>, 8;
    }
    actions {
        SetApplication = "FabricIngress.upf.set_application" 0x01be2740 {
            1 app_id: u8, 8;
        }
    }
}
