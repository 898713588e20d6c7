/* Service chains: classified at the edge, steered hop by hop, released into normal forwarding. */

control ChainClassify(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) chain_return_counter;
    direct_counter(CounterType.packets_and_bytes) chain_classifier_counter;
    direct_counter(CounterType.packets_and_bytes) chain_classifier_v6_counter;

    action chain_continue(chain_t chain_id, position_t position, vrf_t vrf) {
        local.in_chain = 1;
        local.chain_id = chain_id;
        local.position = position;
        local.vrf = vrf;
        chain_return_counter.count();
    }

    /* What comes back from an instance: its port and tag tell the chain and the next position. */
    table chain_return {
        key = {
            std.ingress_port : exact @name("ig_port");
            local.vlan_id    : exact @name("vlan_id");
        }
        actions = { chain_continue; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = chain_return_counter;
        size = CHAIN_HOPS;
    }

    action enter_chain(chain_t chain_id, position_t position) {
        local.in_chain = 1;
        local.chain_id = chain_id;
        local.position = position;
        chain_classifier_counter.count();
    }

    action no_chain() { chain_classifier_counter.count(); }

    table chain_classifier {
        key = {
            local.line_id    : ternary @name("line_id");
            local.slice      : ternary @name("slice");
            std.ingress_port : ternary @name("ig_port");
            local.vlan_id    : ternary @name("vlan_id");
            hdr.ipv4.src     : ternary @name("ipv4_src");
            hdr.ipv4.dst     : ternary @name("ipv4_dst");
            local.ip_proto   : ternary @name("ip_proto");
            local.l4_sport   : ternary @name("l4_sport");
            local.l4_dport   : ternary @name("l4_dport");
        }
        actions = { enter_chain; no_chain; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = chain_classifier_counter;
        size = CHAIN_RULES;
    }

    action enter_chain_v6(chain_t chain_id, position_t position) {
        local.in_chain = 1;
        local.chain_id = chain_id;
        local.position = position;
        chain_classifier_v6_counter.count();
    }

    action no_chain_v6() { chain_classifier_v6_counter.count(); }

    table chain_classifier_v6 {
        key = {
            local.line_id    : ternary @name("line_id");
            local.slice      : ternary @name("slice");
            std.ingress_port : ternary @name("ig_port");
            local.vlan_id    : ternary @name("vlan_id");
            hdr.ipv6.src     : ternary @name("ipv6_src");
            hdr.ipv6.dst     : ternary @name("ipv6_dst");
            local.ip_proto   : ternary @name("ip_proto");
            local.l4_sport   : ternary @name("l4_sport");
            local.l4_dport   : ternary @name("l4_dport");
        }
        actions = { enter_chain_v6; no_chain_v6; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = chain_classifier_v6_counter;
        size = CHAIN_RULES;
    }

    apply {
        // Frames under a label are on their way already, those in a circuit have their own.
        if (local.settled == 0) {
            if (!chain_return.apply().hit) {
                if (hdr.ipv4.isValid()) { chain_classifier.apply(); }
                else if (hdr.ipv6.isValid()) { chain_classifier_v6.apply(); }
            }
        }
    }
}

control ChainSteer(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    @max_group_size(CHAIN_GROUP_MAX)
    action_selector(HashAlgorithm.identity, CHAIN_MEMBERS, 32w32) chain_profile;
    direct_counter(CounterType.packets_and_bytes) chain_hop_counter;

    /* The instance hangs on this switch. */
    action to_instance(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.skip_next = 1;
        local.fwd = FWD_BRIDGING;
        chain_hop_counter.count();
    }

    /* The instance hangs on another leaf: the service label carries chain, position and instance. */
    action to_remote_instance(next_t next_id, label_t service_label) {
        local.next_id = next_id;
        local.push_service = 1;
        local.service_label = service_label;
        chain_hop_counter.count();
    }

    /* The last position: back into normal forwarding. */
    action leave_chain() {
        local.in_chain = 0;
        chain_hop_counter.count();
    }

    /* No live instance and the chain must not be bypassed. */
    action chain_drop() {
        local.drop = DENIED;
        chain_hop_counter.count();
    }

    table chain_hop {
        key = {
            local.chain_id  : exact @name("chain_id");
            local.position  : exact @name("position");
            local.pair_hash : selector;
        }
        actions = { to_instance; to_remote_instance; leave_chain; chain_drop; @defaultonly NoAction; }
        const default_action = NoAction();
        implementation = chain_profile;
        counters = chain_hop_counter;
        size = CHAIN_HOPS;
    }

    apply {
        if (!chain_hop.apply().hit) { local.in_chain = 0; }
    }
}
