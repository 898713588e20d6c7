/* Which packets may enter a port, on which VLAN, and how they are to be forwarded. */

control Filtering(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) ingress_port_vlan_counter;
    direct_counter(CounterType.packets_and_bytes) fwd_classifier_counter;

    action deny() {
        local.drop = DENIED;
        ingress_port_vlan_counter.count();
    }

    /* The outer tag names the VLAN; an inner one stays in the packet. */
    action permit(vrf_t vrf) {
        local.vrf = vrf;
        ingress_port_vlan_counter.count();
    }

    /* No tag, or a tag that is translated: the rule names the VLAN. */
    action permit_with_vlan(vlan_t vlan_id, vrf_t vrf) {
        local.vlan_id = vlan_id;
        local.vrf = vrf;
        ingress_port_vlan_counter.count();
    }

    /* Both tags end here and stand for one VLAN inside. */
    action permit_double(vlan_t vlan_id, vrf_t vrf) {
        local.vlan_id = vlan_id;
        local.vrf = vrf;
        hdr.inner_vlan.setInvalid();
        ingress_port_vlan_counter.count();
    }

    /* Tags stay as they are; forwarding is by cross-connect only. */
    action permit_as_is(next_t next_id) {
        local.next_id = next_id;
        local.out_as_is = 1;
        local.sealed = 1;
        local.settled = 1;
        ingress_port_vlan_counter.count();
    }

    table ingress_port_vlan {
        key = {
            std.ingress_port    : exact   @name("ig_port");
            hdr.vlan.isValid()  : exact   @name("vlan_is_valid");
            local.vlan_id       : ternary @name("vlan_id");
            local.double_tagged : ternary @name("inner_vlan_is_valid");
            local.inner_vlan_id : ternary @name("inner_vlan_id");
        }
        actions = { deny; permit; permit_with_vlan; permit_double; permit_as_is; }
        const default_action = deny();
        counters = ingress_port_vlan_counter;
        size = INGRESS_VLAN_SIZE;
    }

    action set_forwarding(bit<3> fwd) {
        local.fwd = fwd;
        fwd_classifier_counter.count();
    }

    /* Frames to a router MAC are routed, the others are bridged. */
    table fwd_classifier {
        key = {
            std.ingress_port : ternary @name("ig_port");
            hdr.ethernet.dst : ternary @name("eth_dst");
            local.eth_type   : exact   @name("eth_type");
        }
        actions = { set_forwarding; }
        const default_action = set_forwarding(FWD_BRIDGING);
        counters = fwd_classifier_counter;
        size = CLASSIFIER_SIZE;
    }

    apply {
        ingress_port_vlan.apply();
        // What comes by a circuit leaves by it, whatever its addresses.
        if (local.sealed == 0) {
            // The tag is kept in `local` from here on; egress puts one back where the port wants it.
            hdr.vlan.setInvalid();
            if (hdr.inner_vlan.isValid()) {
                hdr.vlan = hdr.inner_vlan;
                hdr.inner_vlan.setInvalid();
            }
            fwd_classifier.apply();
        }
    }
}
