//! `guard_v6`: source guard of a line, IPv6.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.line_up.guard_v6" = 0x026059a6, Forwarding;
    fields {
        1 line_id: Exact<u32>, 32;
        2 eth_src: Exact<[u8; 6]>, 48;
        3 ipv6_src: Lpm<Ipv6Addr>, 128;
    }
    actions {
        GuardPassV6 = "FabricIngress.line_up.guard_pass_v6" 0x019d2f10 {}
        GuardDenyV6 = "FabricIngress.line_up.guard_deny_v6" 0x01b70e36 {}
    }
}
