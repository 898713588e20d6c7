/* Where to: bridging, routes, multicast groups. */

control Forwarding(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) bridging_counter;
    direct_counter(CounterType.packets_and_bytes) ipv4_unicast_counter;
    direct_counter(CounterType.packets_and_bytes) ipv6_unicast_counter;
    direct_counter(CounterType.packets_and_bytes) ipv4_multicast_counter;
    direct_counter(CounterType.packets_and_bytes) ipv6_multicast_counter;

    // -- Bridging -----------------------------------------------------------------------------

    action bridge_to_port(port_t port) {
        std.egress_spec = port;
        local.skip_next = 1;
        bridging_counter.count();
    }

    action bridge_to_next(next_t next_id) {
        local.next_id = next_id;
        bridging_counter.count();
    }

    action flood(mcast_t group) {
        std.mcast_grp = group;
        local.skip_next = 1;
        bridging_counter.count();
    }

    action bridge_drop() {
        local.drop = local.drop | NO_WAY;
        bridging_counter.count();
    }

    /* A known address with a full mask; broadcast, multicast and unknown ones with less. */
    table bridging {
        key = {
            local.vlan_id    : exact   @name("vlan_id");
            hdr.ethernet.dst : ternary @name("eth_dst");
        }
        actions = { bridge_to_port; bridge_to_next; flood; bridge_drop; }
        const default_action = bridge_drop();
        counters = bridging_counter;
        size = BRIDGING_SIZE;
    }

    // -- IPv4 ---------------------------------------------------------------------------------

    action route_v4(next_t next_id) {
        local.next_id = next_id;
        local.routed = 1;
        ipv4_unicast_counter.count();
    }

    /* A host on a port of this switch. */
    action to_host_v4(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.routed = 1;
        local.skip_next = 1;
        ipv4_unicast_counter.count();
    }

    action to_line_v4(line_t line_id) {
        local.to_line = 1;
        local.down_line_id = line_id;
        local.routed = 1;
        local.skip_next = 1;
        ipv4_unicast_counter.count();
    }

    /* A connected prefix whose host is not known yet: the controller asks for it. */
    action glean_v4(bit<16> punt_id) {
        local.glean_id = punt_id;
        local.drop = local.drop | NO_WAY;
        local.routed = 1;
        ipv4_unicast_counter.count();
    }

    action drop_v4() {
        local.drop = local.drop | NO_WAY;
        local.routed = 1;
        ipv4_unicast_counter.count();
    }

    table ipv4_unicast {
        key = {
            local.vrf    : exact @name("vrf");
            local.dst_v4 : lpm   @name("ipv4_dst");
        }
        actions = { route_v4; to_host_v4; to_line_v4; glean_v4; drop_v4; }
        const default_action = drop_v4();
        counters = ipv4_unicast_counter;
        size = IPV4_UNICAST_SIZE;
    }

    action multicast_v4(mcast_t group) {
        std.mcast_grp = group;
        local.routed = 1;
        local.skip_next = 1;
        ipv4_multicast_counter.count();
    }

    /* Within the VLAN: to those who asked (RFC 4541). */
    action snooped_v4(mcast_t group) {
        std.mcast_grp = group;
        local.skip_next = 1;
        ipv4_multicast_counter.count();
    }

    table ipv4_multicast {
        key = {
            local.vlan_id : exact   @name("vlan_id");
            hdr.ipv4.dst  : exact   @name("ipv4_dst");
            hdr.ipv4.src  : ternary @name("ipv4_src");
        }
        actions = { multicast_v4; snooped_v4; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = ipv4_multicast_counter;
        size = IPV4_MULTICAST_SIZE;
    }

    // -- IPv6 ---------------------------------------------------------------------------------

    action route_v6(next_t next_id) {
        local.next_id = next_id;
        local.routed = 1;
        ipv6_unicast_counter.count();
    }

    action to_host_v6(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.routed = 1;
        local.skip_next = 1;
        ipv6_unicast_counter.count();
    }

    action to_line_v6(line_t line_id) {
        local.to_line = 1;
        local.down_line_id = line_id;
        local.routed = 1;
        local.skip_next = 1;
        ipv6_unicast_counter.count();
    }

    action glean_v6(bit<16> punt_id) {
        local.glean_id = punt_id;
        local.drop = local.drop | NO_WAY;
        local.routed = 1;
        ipv6_unicast_counter.count();
    }

    action drop_v6() {
        local.drop = local.drop | NO_WAY;
        local.routed = 1;
        ipv6_unicast_counter.count();
    }

    table ipv6_unicast {
        key = {
            local.vrf    : exact @name("vrf");
            hdr.ipv6.dst : lpm   @name("ipv6_dst");
        }
        actions = { route_v6; to_host_v6; to_line_v6; glean_v6; drop_v6; }
        const default_action = drop_v6();
        counters = ipv6_unicast_counter;
        size = IPV6_UNICAST_SIZE;
    }

    action multicast_v6(mcast_t group) {
        std.mcast_grp = group;
        local.routed = 1;
        local.skip_next = 1;
        ipv6_multicast_counter.count();
    }

    action snooped_v6(mcast_t group) {
        std.mcast_grp = group;
        local.skip_next = 1;
        ipv6_multicast_counter.count();
    }

    table ipv6_multicast {
        key = {
            local.vlan_id : exact   @name("vlan_id");
            hdr.ipv6.dst  : exact   @name("ipv6_dst");
            hdr.ipv6.src  : ternary @name("ipv6_src");
        }
        actions = { multicast_v6; snooped_v6; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = ipv6_multicast_counter;
        size = IPV6_MULTICAST_SIZE;
    }

    apply {
        if (local.fwd == FWD_IPV4) {
            if (hdr.ipv4.isValid() || local.push_gtpu == 1) { ipv4_unicast.apply(); }
            else { local.drop = DENIED; }
        } else if (local.fwd == FWD_IPV6) {
            if (hdr.ipv6.isValid()) { ipv6_unicast.apply(); }
            else { local.drop = DENIED; }
        } else {
            bit<1> bridge = 0;
            if (local.fwd == FWD_IPV4_MC) {
                if (!ipv4_multicast.apply().hit) { bridge = 1; }
            } else if (local.fwd == FWD_IPV6_MC) {
                if (!ipv6_multicast.apply().hit) { bridge = 1; }
            } else if (local.fwd == FWD_BRIDGING && local.sealed == 0) {
                bridge = 1;
            }
            if (bridge == 1) {
                bridging.apply();
                // Whoever is behind the port has it already (802.1Q 8.6.1).
                if (local.skip_next == 1 && std.mcast_grp == 0 && std.egress_spec == std.ingress_port) {
                    local.drop = local.drop | NO_WAY;
                }
            }
        }
    }
}
