//! `applications_v6`: application filters, IPv6.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.upf.applications_v6" = 0x02101301, Forwarding;
    fields {
        1 slice: Exact<u8>, 8;
        2 ipv6_address: Ternary<Ipv6Addr>, 128;
        3 l4_port: Range<u16>, 16;
        4 ip_proto: Ternary<u8>, 8;
    }
    actions {
        SetApplicationV6 = "FabricIngress.upf.set_application_v6" 0x01639898 {
            1 app_id: u8, 8;
        }
    }
}
