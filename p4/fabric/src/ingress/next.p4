/* How: the next id that forwarding chose becomes a port, addresses, labels and tags. */

control PreNext(inout headers_t hdr, inout local_t local) {
    direct_counter(CounterType.packets_and_bytes) next_vlan_counter;
    direct_counter(CounterType.packets_and_bytes) next_mpls_counter;

    action set_vlan(vlan_t vlan_id) {
        local.vlan_id = vlan_id;
        next_vlan_counter.count();
    }

    /* Both tags, final: for circuits. */
    action set_double_vlan(vlan_t outer, vlan_t inner) {
        hdr.vlan.setValid();
        hdr.vlan.tpid = ETHERTYPE_VLAN;
        hdr.vlan.pcp = local.pcp;
        hdr.vlan.dei = 0;
        hdr.vlan.vid = outer;
        hdr.inner_vlan.setValid();
        hdr.inner_vlan.tpid = ETHERTYPE_VLAN;
        hdr.inner_vlan.pcp = local.pcp;
        hdr.inner_vlan.dei = 0;
        hdr.inner_vlan.vid = inner;
        local.out_as_is = 1;
        next_vlan_counter.count();
    }

    table next_vlan {
        key = { local.next_id : exact @name("next_id"); }
        actions = { set_vlan; set_double_vlan; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = next_vlan_counter;
        size = NEXT_SIZE;
    }

    action set_label(label_t label) {
        local.push_label = 1;
        local.label = label;
        next_mpls_counter.count();
    }

    /* Under the label of the switch: which host or instance there. */
    action set_service(label_t label) {
        local.push_service = 1;
        local.service_label = label;
        next_mpls_counter.count();
    }

    /* One label for all members of a group. */
    table next_mpls {
        key = { local.next_id : exact @name("next_id"); }
        actions = { set_label; set_service; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = next_mpls_counter;
        size = NEXT_SIZE;
    }

    apply {
        if (local.next_id != 0) {
            next_vlan.apply();
            next_mpls.apply();
        }
    }
}

control Next(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) xconnect_counter;
    direct_counter(CounterType.packets_and_bytes) next_simple_counter;
    direct_counter(CounterType.packets_and_bytes) next_hashed_counter;
    direct_counter(CounterType.packets_and_bytes) next_multicast_counter;
    @max_group_size(NEXT_GROUP_MAX)
    action_selector(HashAlgorithm.identity, NEXT_MEMBERS, 32w32) next_profile;

    // -- Circuits -----------------------------------------------------------------------------

    action cross_connect(port_t port) {
        std.egress_spec = port;
        xconnect_counter.count();
    }

    table xconnect {
        key = {
            std.ingress_port : exact @name("ig_port");
            local.next_id    : exact @name("next_id");
        }
        actions = { cross_connect; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = xconnect_counter;
        size = XCONNECT_SIZE;
    }

    // -- One way out --------------------------------------------------------------------------

    action output(port_t port) {
        std.egress_spec = port;
        next_simple_counter.count();
    }

    /* A neighbour inside the fabric; fabric links carry no tags. */
    action to_neighbour(port_t port, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.out_as_is = 1;
        next_simple_counter.count();
    }

    /* A far switch, by its node label. */
    action to_node(port_t port, mac_t eth_src, mac_t eth_dst, label_t label) {
        std.egress_spec = port;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.out_as_is = 1;
        local.push_label = 1;
        local.label = label;
        next_simple_counter.count();
    }

    /* A host or router on a port of this switch. */
    action to_attached(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        next_simple_counter.count();
    }

    table next_simple {
        key = { local.next_id : exact @name("next_id"); }
        actions = { output; to_neighbour; to_node; to_attached; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = next_simple_counter;
        size = NEXT_SIZE;
    }

    // -- Several ways out ---------------------------------------------------------------------

    action output_hashed(port_t port) {
        std.egress_spec = port;
        next_hashed_counter.count();
    }

    action to_neighbour_hashed(port_t port, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.out_as_is = 1;
        next_hashed_counter.count();
    }

    action to_node_hashed(port_t port, mac_t eth_src, mac_t eth_dst, label_t label) {
        std.egress_spec = port;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.out_as_is = 1;
        local.push_label = 1;
        local.label = label;
        next_hashed_counter.count();
    }

    action to_attached_hashed(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        next_hashed_counter.count();
    }

    table next_hashed {
        key = {
            local.next_id   : exact @name("next_id");
            local.flow_hash : selector;
        }
        actions = { output_hashed; to_neighbour_hashed; to_node_hashed; to_attached_hashed;
                    @defaultonly NoAction; }
        const default_action = NoAction();
        implementation = next_profile;
        counters = next_hashed_counter;
        size = NEXT_SIZE;
    }

    // -- Many receivers -----------------------------------------------------------------------

    action replicate(mcast_t group) {
        std.mcast_grp = group;
        next_multicast_counter.count();
    }

    table next_multicast {
        key = { local.next_id : exact @name("next_id"); }
        actions = { replicate; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = next_multicast_counter;
        size = NEXT_SIZE;
    }

    apply {
        if (!xconnect.apply().hit) {
            if (!next_simple.apply().hit) {
                if (!next_hashed.apply().hit) {
                    if (!next_multicast.apply().hit) { local.drop = local.drop | NO_WAY; }
                }
            }
        }
    }
}
