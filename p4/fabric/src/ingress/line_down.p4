/* Subscriber lines, downstream: tags, session and the line's share. */

control LineDown(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) line_down_counter;
    direct_meter<color_t>(MeterType.bytes) line_down_meter;
    color_t color = 0;

    /* IP over Ethernet. A tag of 0 is not pushed. */
    action to_line_ipoe(port_t port, vlan_t s_tag, vlan_t c_tag, mac_t eth_src, mac_t eth_dst) {
        std.egress_spec = port;
        local.out_vlan = s_tag;
        local.out_inner_vlan = c_tag;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        line_down_meter.read(color);
        line_down_counter.count();
    }

    action to_line_pppoe(port_t port, vlan_t s_tag, vlan_t c_tag, mac_t eth_src, mac_t eth_dst,
                         bit<16> session_id) {
        std.egress_spec = port;
        local.out_vlan = s_tag;
        local.out_inner_vlan = c_tag;
        hdr.ethernet.src = eth_src;
        hdr.ethernet.dst = eth_dst;
        local.push_pppoe = 1;
        local.pppoe_session = session_id;
        line_down_meter.read(color);
        line_down_counter.count();
    }

    action line_down_drop() {
        local.drop = DENIED;
        line_down_counter.count();
    }

    table line_down {
        key = { local.down_line_id : exact @name("line_id"); }
        actions = { to_line_ipoe; to_line_pppoe; @defaultonly line_down_drop; }
        const default_action = line_down_drop();
        counters = line_down_counter;
        meters = line_down_meter;
        size = LINE_SIZE;
    }

    apply {
        line_down.apply();
        if (color == 2) { local.drop = DENIED; }
        local.out_as_is = 1;
        hdr.vlan.setInvalid();
        hdr.inner_vlan.setInvalid();
        if (local.out_inner_vlan != 0) {
            hdr.inner_vlan.setValid();
            hdr.inner_vlan.tpid = ETHERTYPE_VLAN;
            hdr.inner_vlan.pcp = 0;
            hdr.inner_vlan.dei = 0;
            hdr.inner_vlan.vid = local.out_inner_vlan;
        }
        if (local.out_vlan != 0) {
            hdr.vlan.setValid();
            hdr.vlan.tpid = ETHERTYPE_VLAN;
            hdr.vlan.pcp = 0;
            hdr.vlan.dei = 0;
            hdr.vlan.vid = local.out_vlan;
        }
    }
}
