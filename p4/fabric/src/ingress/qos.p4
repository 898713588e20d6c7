/* Slices and traffic classes: who gets which share. */

control SliceTc(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) slice_tc_counter;
    direct_counter(CounterType.packets_and_bytes) slice_tc_v6_counter;

    action set_slice_tc(slice_t slice, tc_t tc) {
        local.slice = slice;
        local.tc = tc;
        slice_tc_counter.count();
    }

    /* The host has set the class in the DSCP already: four bits slice, two bits class. */
    action trust_dscp() {
        local.slice = (slice_t)local.dscp[5:2];
        local.tc = local.dscp[1:0];
        slice_tc_counter.count();
    }

    table slice_tc {
        key = {
            std.ingress_port : ternary @name("ig_port");
            local.vlan_id    : ternary @name("vlan_id");
            local.src_v4     : ternary @name("ipv4_src");
            local.dst_v4     : ternary @name("ipv4_dst");
            local.ip_proto   : ternary @name("ip_proto");
            local.dscp       : ternary @name("dscp");
            local.l4_sport   : ternary @name("l4_sport");
            local.l4_dport   : ternary @name("l4_dport");
        }
        actions = { set_slice_tc; trust_dscp; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = slice_tc_counter;
        size = SLICE_TC_SIZE;
    }

    action set_slice_tc_v6(slice_t slice, tc_t tc) {
        local.slice = slice;
        local.tc = tc;
        slice_tc_v6_counter.count();
    }

    action trust_dscp_v6() {
        local.slice = (slice_t)local.dscp[5:2];
        local.tc = local.dscp[1:0];
        slice_tc_v6_counter.count();
    }

    table slice_tc_v6 {
        key = {
            std.ingress_port : ternary @name("ig_port");
            local.vlan_id    : ternary @name("vlan_id");
            hdr.ipv6.src     : ternary @name("ipv6_src");
            hdr.ipv6.dst     : ternary @name("ipv6_dst");
            local.ip_proto   : ternary @name("ip_proto");
            local.dscp       : ternary @name("dscp");
            local.l4_sport   : ternary @name("l4_sport");
            local.l4_dport   : ternary @name("l4_dport");
        }
        actions = { set_slice_tc_v6; trust_dscp_v6; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = slice_tc_v6_counter;
        size = SLICE_TC_SIZE;
    }

    apply {
        if (hdr.ipv6.isValid()) { slice_tc_v6.apply(); }
        else { slice_tc.apply(); }
    }
}

control Police(inout local_t local, inout standard_metadata_t std) {
    /* One meter for each (slice, class): index = slice * 4 + class. */
    meter(SLICE_TC_COUNT, MeterType.bytes) slice_tc_meter;
    direct_counter(CounterType.packets_and_bytes) queues_counter;

    action set_queue(bit<3> queue) {
        std.priority = queue;
        queues_counter.count();
    }

    action police_drop() {
        local.drop = DENIED;
        queues_counter.count();
    }

    table queues {
        key = {
            local.slice : exact   @name("slice");
            local.tc    : exact   @name("tc");
            local.color : ternary @name("color");
        }
        actions = { set_queue; police_drop; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = queues_counter;
        size = SLICE_TC_SIZE;
    }

    apply {
        // What goes nowhere takes nothing of a share.
        if ((local.slice != 0 || local.tc != 0) && local.drop == 0) {
            slice_tc_meter.execute_meter((bit<32>)(local.slice ++ local.tc), local.color);
            queues.apply();
        }
    }
}
