/* Subscriber lines, upstream: which line sent this, and may it send it (TR-101 R-112: source guard). */

control LineUp(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) line_up_counter;
    direct_meter<color_t>(MeterType.bytes) line_up_meter;
    direct_counter(CounterType.packets_and_bytes) guard_v4_counter;
    direct_counter(CounterType.packets_and_bytes) guard_v6_counter;
    color_t color = 0;

    action set_line(line_t line_id, vrf_t vrf, slice_t slice, tc_t tc) {
        local.from_line = 1;
        local.line_id = line_id;
        local.vrf = vrf;
        local.slice = slice;
        local.tc = tc;
        line_up_meter.read(color);
        line_up_counter.count();
    }

    table line_up {
        key = {
            std.ingress_port    : exact @name("ig_port");
            local.vlan_id       : exact @name("s_tag");
            local.inner_vlan_id : exact @name("c_tag");
        }
        actions = { set_line; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = line_up_counter;
        meters = line_up_meter;
        size = LINE_SIZE;
    }

    action guard_pass_v4() { guard_v4_counter.count(); }
    action guard_deny_v4() { local.drop = DENIED; guard_v4_counter.count(); }

    table guard_v4 {
        key = {
            local.line_id    : exact @name("line_id");
            hdr.ethernet.src : exact @name("eth_src");
            hdr.ipv4.src     : lpm   @name("ipv4_src");
        }
        actions = { guard_pass_v4; @defaultonly guard_deny_v4; }
        const default_action = guard_deny_v4();
        counters = guard_v4_counter;
        size = GUARD_SIZE;
    }

    action guard_pass_v6() { guard_v6_counter.count(); }
    action guard_deny_v6() { local.drop = DENIED; guard_v6_counter.count(); }

    table guard_v6 {
        key = {
            local.line_id    : exact @name("line_id");
            hdr.ethernet.src : exact @name("eth_src");
            hdr.ipv6.src     : lpm   @name("ipv6_src");
        }
        actions = { guard_pass_v6; @defaultonly guard_deny_v6; }
        const default_action = guard_deny_v6();
        counters = guard_v6_counter;
        size = GUARD_SIZE;
    }

    direct_counter(CounterType.packets_and_bytes) pppoe_counter;

    /* A PPPoE session ends here: what it carries is routed. */
    action pppoe_terminate() {
        hdr.pppoe.setInvalid();
        hdr.eth_type.value = local.eth_type;
        pppoe_counter.count();
    }

    action pppoe_deny() { local.drop = DENIED; pppoe_counter.count(); }

    table pppoe_session {
        key = {
            local.line_id        : exact @name("line_id");
            hdr.pppoe.session_id : exact @name("session_id");
        }
        actions = { pppoe_terminate; @defaultonly pppoe_deny; }
        const default_action = pppoe_deny();
        counters = pppoe_counter;
        size = LINE_SIZE;
    }

    apply {
        if (line_up.apply().hit) {
            // Tags of a line end here.
            hdr.vlan.setInvalid();
            if (color == 2) { local.drop = DENIED; }
            // Sessions first: what they carry is what the guard looks at. Control frames of PPP
            // carry no IP packet and go to the controller by ACL.
            if (hdr.pppoe.isValid()) {
                if (hdr.ipv4.isValid() || hdr.ipv6.isValid()) { pppoe_session.apply(); }
            }
            if (hdr.ipv4.isValid()) { guard_v4.apply(); }
            else if (hdr.ipv6.isValid()) { guard_v6.apply(); }
        } else if (hdr.pppoe.isValid() && local.fwd != FWD_BRIDGING) {
            // Nobody's session ends here.
            local.drop = DENIED;
        }
    }
}
