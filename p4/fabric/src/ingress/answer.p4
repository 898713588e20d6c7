/* ARP and NDP for addresses that are reached through this switch: answered here, with or without a controller. */

control Answer(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) arp_answers_counter;
    direct_counter(CounterType.packets_and_bytes) ndp_answers_counter;

    /* The controller sees the question, to learn who asked; the answer leaves where it came in. */
    action answered(bit<16> punt_id, mac_t mac) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        hdr.ethernet.dst = hdr.ethernet.src;
        hdr.ethernet.src = mac;
        std.egress_spec = std.ingress_port;
        local.answered = 1;
    }

    action answer_arp(mac_t mac, bit<16> punt_id) {
        hdr.arp.oper = ARP_REPLY;
        hdr.arp.tha = hdr.arp.sha;
        hdr.arp.sha = mac;
        hdr.arp.tpa = hdr.arp.spa;
        hdr.arp.spa = local.dst_v4;
        answered(punt_id, mac);
        arp_answers_counter.count();
    }

    table arp_answers {
        key = {
            local.vlan_id : exact @name("vlan_id");
            hdr.arp.tpa   : exact @name("address");
        }
        actions = { answer_arp; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = arp_answers_counter;
        size = NEIGHBOUR_SIZE;
    }

    /* RFC 4861 4.4; `flags` are router, solicited and override in the three upper bits. */
    action answer_ndp(mac_t mac, bit<8> flags, bit<16> punt_id) {
        hdr.icmp.type = NDP_ADVERTISEMENT;
        hdr.ndp.flags = flags;
        hdr.ndp.option_type = NDP_TARGET_LINK_LAYER;
        hdr.ndp.option_mac = mac;
        hdr.ipv6.dst = hdr.ipv6.src;
        hdr.ipv6.src = hdr.ndp.target;
        answered(punt_id, mac);
        ndp_answers_counter.count();
    }

    /* A host claims an address that is not its own. */
    action refuse_ndp(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        local.drop = DENIED;
        ndp_answers_counter.count();
    }

    /* Solicitations are answered, advertisements refused. */
    table ndp_answers {
        key = {
            local.vlan_id  : exact @name("vlan_id");
            hdr.ndp.target : exact @name("address");
            hdr.icmp.type  : exact @name("message");
        }
        actions = { answer_ndp; refuse_ndp; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = ndp_answers_counter;
        size = NEIGHBOUR_SIZE;
    }

    apply {
        // Forged questions, and those of hosts that try whether an address is free, are the controller's.
        if (hdr.arp.isValid()) {
            if (local.drop == 0 && hdr.arp.oper == ARP_REQUEST && hdr.arp.sha == hdr.ethernet.src &&
                hdr.arp.spa != 0 && hdr.arp.spa != hdr.arp.tpa) {
                arp_answers.apply();
            }
        } else if (hdr.ndp.isValid()) {
            if (hdr.icmp.type == NDP_ADVERTISEMENT ||
                (local.drop == 0 && hdr.ipv6.hop_limit == 255 && hdr.icmp.code == 0 &&
                hdr.ipv6.src != 0 && hdr.ipv6.src != hdr.ndp.target &&
                hdr.ndp.option_type == NDP_SOURCE_LINK_LAYER && hdr.ndp.option_len == 1 &&
                hdr.ndp.option_mac == hdr.ethernet.src)) {
                ndp_answers.apply();
            }
        }
    }
}
