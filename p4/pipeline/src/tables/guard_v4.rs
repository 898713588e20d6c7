//! `guard_v4`: source guard of a line, IPv4 (TR-101 R-112).

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.line_up.guard_v4" = 0x02747fd0, Forwarding;
    fields {
        1 line_id: Exact<u32>, 32;
        2 eth_src: Exact<[u8; 6]>, 48;
        3 ipv4_src: Lpm<Ipv4Addr>, 32;
    }
    actions {
        GuardPassV4 = "FabricIngress.line_up.guard_pass_v4" 0x0124e81e {}
        GuardDenyV4 = "FabricIngress.line_up.guard_deny_v4" 0x0131f52b {}
    }
}
