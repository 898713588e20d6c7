//! `ndp_answers`: IPv6 addresses that the switch itself answers neighbour solicitations for, and whose advertisements by
//! hosts it refuses.

use std::net::Ipv6Addr;

crate::table! {
    "FabricIngress.answer.ndp_answers" = 0x0240577d, Forwarding;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 address: Exact<Ipv6Addr>, 128;
        3 message: Exact<u8>, 8;
    }
    actions {
        AnswerNdp = "FabricIngress.answer.answer_ndp" 0x01d6989b {
            1 mac: [u8; 6], 48;
            2 flags: u8, 8;
            3 punt_id: u16, 16;
        }
        RefuseNdp = "FabricIngress.answer.refuse_ndp" 0x017b68c4 {
            1 punt_id: u16, 16;
        }
    }
}
