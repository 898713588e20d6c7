/* Labels: in transit, taken off before the last hop, or a service label of this switch. */

control Labels(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) mpls_counter;

    /* The last hop before the labelled leaf, or a label of our own: one label comes off. */
    action pop_and_next(next_t next_id) {
        local.next_id = next_id;
        hdr.mpls.pop_front(1);
        mpls_counter.count();
    }

    /* In transit: the label stays. */
    action keep_and_next(next_t next_id) {
        local.next_id = next_id;
        mpls_counter.count();
    }

    /* A service label of a routed network: off with it, and route in there. */
    action pop_and_route(vrf_t vrf) {
        local.vrf = vrf;
        hdr.mpls.pop_front(1);
        mpls_counter.count();
    }

    /* A service label of a chain: it names the instance on this leaf. */
    action pop_to_instance(port_t port, vlan_t vlan_id, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.vlan_id = vlan_id;
        hdr.mpls.pop_front(1);
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.skip_next = 1;
        mpls_counter.count();
    }

    action mpls_drop() {
        local.drop = DENIED;
        mpls_counter.count();
    }

    table mpls {
        key = { hdr.mpls[0].label : exact @name("label"); }
        actions = { pop_and_next; keep_and_next; pop_and_route; pop_to_instance; mpls_drop; }
        const default_action = mpls_drop();
        counters = mpls_counter;
        size = MPLS_SIZE;
    }

    apply {
        local.sealed = 1;
        if (hdr.mpls[0].isValid() && hdr.mpls[0].ttl > 1) {
            hdr.mpls[0].ttl = hdr.mpls[0].ttl - 1;
            bit<1> route = 0;
            switch (mpls.apply().action_run) {
                pop_and_route: { route = 1; }
                default: { }
            }
            if (hdr.mpls[0].isValid()) {
                // Only what is under the last label can be routed.
                if (route == 1) { local.drop = DENIED; }
            } else {
                // With the last label gone the payload has its own type again.
                if (hdr.ipv4.isValid()) {
                    hdr.eth_type.value = ETHERTYPE_IPV4;
                    if (route == 1) { local.fwd = FWD_IPV4; }
                } else if (hdr.ipv6.isValid()) {
                    hdr.eth_type.value = ETHERTYPE_IPV6;
                    if (route == 1) { local.fwd = FWD_IPV6; }
                } else {
                    local.drop = DENIED;
                }
                if (route == 1) {
                    local.eth_type = hdr.eth_type.value;
                    if (local.broken == 1) {
                        local.drop = DENIED;
                        local.fwd = FWD_MPLS;
                    } else {
                        local.sealed = 0;
                    }
                }
            }
        } else {
            local.drop = DENIED;
        }
    }
}
