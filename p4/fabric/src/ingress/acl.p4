/* Access control: what the operator or an app permits, drops, redirects or wants to see. */

control Acl(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) acl_counter;
    direct_counter(CounterType.packets_and_bytes) acl_ipv6_counter;
    direct_meter<color_t>(MeterType.bytes) acl_meter;
    direct_meter<color_t>(MeterType.bytes) acl_ipv6_meter;
    color_t rule_color;

    action acl_permit() { acl_counter.count(); }

    /* Its way, as long as the rule's meter allows: red is 2, the bit of what is denied. */
    action acl_police() {
        acl_meter.read(rule_color);
        local.drop = local.drop | (rule_color & DENIED);
        acl_counter.count();
    }

    action acl_drop() {
        local.drop = DENIED;
        acl_counter.count();
    }

    /* To the controller, and nowhere else. */
    action acl_punt(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        local.drop = DENIED;
        acl_counter.count();
    }

    /* To the controller as well. */
    action acl_copy(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        acl_counter.count();
    }

    /* Another way, also where forwarding knew none; what was denied stays so. */
    action acl_redirect(next_t next_id) {
        local.next_id = next_id;
        local.skip_next = 0;
        std.mcast_grp = 0;
        local.to_line = 0;
        local.push_service = 0;
        local.drop = local.drop & DENIED;
        acl_counter.count();
    }

    action acl_set_port(port_t port) {
        std.egress_spec = port;
        std.mcast_grp = 0;
        local.skip_next = 1;
        local.to_line = 0;
        local.push_service = 0;
        local.drop = local.drop & DENIED;
        acl_counter.count();
    }

    table acl {
        key = {
            std.ingress_port  : ternary @name("ig_port");
            hdr.ethernet.dst  : ternary @name("eth_dst");
            hdr.ethernet.src  : ternary @name("eth_src");
            local.vlan_id     : ternary @name("vlan_id");
            local.eth_type    : ternary @name("eth_type");
            local.src_v4      : ternary @name("ipv4_src");
            local.dst_v4      : ternary @name("ipv4_dst");
            local.ip_proto    : ternary @name("ip_proto");
            local.dscp        : ternary @name("dscp");
            local.l4_sport    : ternary @name("l4_sport");
            local.l4_dport    : ternary @name("l4_dport");
            local.icmp_type   : ternary @name("icmp_type");
            local.icmp_code   : ternary @name("icmp_code");
            hdr.tcp.flags     : ternary @name("tcp_flags");
            local.from_line   : ternary @name("from_line");
        }
        actions = { acl_permit; acl_drop; acl_punt; acl_copy; acl_redirect; acl_set_port; acl_police; }
        const default_action = acl_permit();
        counters = acl_counter;
        meters = acl_meter;
        size = ACL_SIZE;
    }

    action acl_permit_v6() { acl_ipv6_counter.count(); }

    /* Its way, as long as the rule's meter allows. */
    action acl_police_v6() {
        acl_ipv6_meter.read(rule_color);
        local.drop = local.drop | (rule_color & DENIED);
        acl_ipv6_counter.count();
    }

    action acl_drop_v6() {
        local.drop = DENIED;
        acl_ipv6_counter.count();
    }

    action acl_punt_v6(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        local.drop = DENIED;
        acl_ipv6_counter.count();
    }

    action acl_copy_v6(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        acl_ipv6_counter.count();
    }

    action acl_redirect_v6(next_t next_id) {
        local.next_id = next_id;
        local.skip_next = 0;
        std.mcast_grp = 0;
        local.to_line = 0;
        local.push_service = 0;
        local.drop = local.drop & DENIED;
        acl_ipv6_counter.count();
    }

    action acl_set_port_v6(port_t port) {
        std.egress_spec = port;
        std.mcast_grp = 0;
        local.skip_next = 1;
        local.to_line = 0;
        local.push_service = 0;
        local.drop = local.drop & DENIED;
        acl_ipv6_counter.count();
    }

    table acl_ipv6 {
        key = {
            std.ingress_port  : ternary @name("ig_port");
            hdr.ethernet.dst  : ternary @name("eth_dst");
            hdr.ethernet.src  : ternary @name("eth_src");
            local.vlan_id     : ternary @name("vlan_id");
            hdr.ipv6.src      : ternary @name("ipv6_src");
            hdr.ipv6.dst      : ternary @name("ipv6_dst");
            local.ip_proto    : ternary @name("ip_proto");
            local.dscp        : ternary @name("dscp");
            local.l4_sport    : ternary @name("l4_sport");
            local.l4_dport    : ternary @name("l4_dport");
            local.icmp_type   : ternary @name("icmp_type");
            local.icmp_code   : ternary @name("icmp_code");
            hdr.tcp.flags     : ternary @name("tcp_flags");
            local.from_line   : ternary @name("from_line");
        }
        actions = { acl_permit_v6; acl_drop_v6; acl_punt_v6; acl_copy_v6; acl_redirect_v6; acl_set_port_v6; acl_police_v6; }
        const default_action = acl_permit_v6();
        counters = acl_ipv6_counter;
        meters = acl_ipv6_meter;
        size = ACL_SIZE;
    }

    apply {
        // Packets in transit under a label were judged where they entered; what a circuit carries is nobody's business.
        if (local.sealed == 0) {
            if (hdr.ipv6.isValid()) { acl_ipv6.apply(); }
            else { acl.apply(); }
        }
    }
}
