//! `arp_answers`: IPv4 addresses that the switch itself answers ARP for.

use std::net::Ipv4Addr;

crate::table! {
    "FabricIngress.answer.arp_answers" = 0x021a97f5, Forwarding;
    fields {
        1 vlan_id: Exact<u16>, 12;
        2 address: Exact<Ipv4Addr>, 32;
    }
    actions {
        AnswerArp = "FabricIngress.answer.answer_arp" 0x0118851e {
            1 mac: [u8; 6], 48;
            2 punt_id: u16, 16;
        }
    }
}
