/* Mobile user plane (TS 29.281, TS 29.244): tunnels of base stations end here. */

control Upf(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) interfaces_counter;
    direct_counter(CounterType.packets_and_bytes) uplink_session_counter;
    direct_counter(CounterType.packets_and_bytes) downlink_session_counter;
    direct_counter(CounterType.packets_and_bytes) downlink_session_v6_counter;
    direct_counter(CounterType.packets_and_bytes) uplink_termination_counter;
    direct_counter(CounterType.packets_and_bytes) downlink_termination_counter;
    direct_counter(CounterType.packets_and_bytes) uplink_termination_v6_counter;
    direct_counter(CounterType.packets_and_bytes) downlink_termination_v6_counter;
    direct_counter(CounterType.packets_and_bytes) applications_counter;
    direct_counter(CounterType.packets_and_bytes) applications_v6_counter;
    direct_counter(CounterType.packets_and_bytes) tunnel_peers_counter;
    meter(UE_SESSIONS, MeterType.bytes) session_meter;
    color_t session_color = 0;

    action access_side(slice_t slice) {
        local.upf_uplink = 1;
        local.slice = slice;
        interfaces_counter.count();
    }

    action core_side(slice_t slice) {
        local.upf_downlink = 1;
        local.slice = slice;
        interfaces_counter.count();
    }

    /* Our tunnel addresses, and the pools of user addresses. */
    table interfaces {
        key = {
            local.vrf        : exact @name("vrf");
            hdr.ipv4.dst     : lpm   @name("ipv4_dst");
            hdr.gtpu.isValid() : exact @name("gtpu_is_valid");
        }
        actions = { access_side; core_side; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = interfaces_counter;
        size = UE_INTERFACES;
    }

    direct_counter(CounterType.packets_and_bytes) interfaces_v6_counter;

    action core_side_v6(slice_t slice) {
        local.upf_downlink = 1;
        local.slice = slice;
        interfaces_v6_counter.count();
    }

    table interfaces_v6 {
        key = {
            local.vrf    : exact @name("vrf");
            hdr.ipv6.dst : lpm   @name("ipv6_dst");
        }
        actions = { core_side_v6; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = interfaces_v6_counter;
        size = UE_INTERFACES;
    }

    action set_uplink_session(bit<17> session_index) {
        local.session_index = session_index;
        uplink_session_counter.count();
    }

    action drop_uplink_session() {
        local.drop = DENIED;
        uplink_session_counter.count();
    }

    table uplink_session {
        key = {
            hdr.ipv4.dst : exact @name("tunnel_dst");
            local.teid   : exact @name("teid");
        }
        actions = { set_uplink_session; @defaultonly drop_uplink_session; }
        const default_action = drop_uplink_session();
        counters = uplink_session_counter;
        size = UE_SESSIONS;
    }

    action set_downlink_session(bit<17> session_index, peer_t tunnel_peer) {
        local.session_index = session_index;
        local.tunnel_peer = tunnel_peer;
        downlink_session_counter.count();
    }

    action drop_downlink_session() {
        local.drop = DENIED;
        downlink_session_counter.count();
    }

    /* The user is idle: the controller buffers by paging first. */
    action punt_downlink_session(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        local.drop = DENIED;
        downlink_session_counter.count();
    }

    table downlink_session {
        key = { hdr.ipv4.dst : exact @name("ue_address"); }
        actions = { set_downlink_session; punt_downlink_session; @defaultonly drop_downlink_session; }
        const default_action = drop_downlink_session();
        counters = downlink_session_counter;
        size = UE_SESSIONS;
    }

    action set_downlink_session_v6(bit<17> session_index, peer_t tunnel_peer) {
        local.session_index = session_index;
        local.tunnel_peer = tunnel_peer;
        downlink_session_v6_counter.count();
    }

    action drop_downlink_session_v6() {
        local.drop = DENIED;
        downlink_session_v6_counter.count();
    }

    action punt_downlink_session_v6(bit<16> punt_id) {
        local.punt_id = punt_id;
        clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
        local.drop = DENIED;
        downlink_session_v6_counter.count();
    }

    table downlink_session_v6 {
        key = { hdr.ipv6.dst[127:64] : exact @name("ue_prefix"); }
        actions = { set_downlink_session_v6; punt_downlink_session_v6; @defaultonly drop_downlink_session_v6; }
        const default_action = drop_downlink_session_v6();
        counters = downlink_session_v6_counter;
        size = UE_SESSIONS;
    }

    action set_application(app_t app_id) {
        local.app_id = app_id;
        applications_counter.count();
    }

    /* Seen from the user: the far address and port, whichever direction the packet goes. */
    ipv4_t app_address = 0;
    l4_port_t app_port = 0;
    bit<8> app_proto = 0;

    table applications {
        key = {
            local.slice : exact   @name("slice");
            app_address : ternary @name("ipv4_address");
            app_port    : range   @name("l4_port");
            app_proto   : ternary @name("ip_proto");
        }
        actions = { set_application; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = applications_counter;
        size = APP_FILTERS;
    }

    action set_application_v6(app_t app_id) {
        local.app_id = app_id;
        applications_v6_counter.count();
    }

    ipv6_t app_address_v6 = 0;

    table applications_v6 {
        key = {
            local.slice    : exact   @name("slice");
            app_address_v6 : ternary @name("ipv6_address");
            app_port       : range   @name("l4_port");
            app_proto      : ternary @name("ip_proto");
        }
        actions = { set_application_v6; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = applications_v6_counter;
        size = APP_FILTERS;
    }

    action uplink_forward(tc_t tc) {
        local.tc = tc;
        uplink_termination_counter.count();
    }

    action uplink_drop() {
        local.drop = DENIED;
        uplink_termination_counter.count();
    }

    table uplink_termination {
        key = {
            hdr.inner_ipv4.src : exact @name("ue_address");
            local.app_id       : exact @name("app_id");
        }
        actions = { uplink_forward; uplink_drop; }
        const default_action = uplink_drop();
        counters = uplink_termination_counter;
        size = UE_TERMINATIONS;
    }

    action uplink_forward_v6(tc_t tc) {
        local.tc = tc;
        uplink_termination_v6_counter.count();
    }

    action uplink_drop_v6() {
        local.drop = DENIED;
        uplink_termination_v6_counter.count();
    }

    table uplink_termination_v6 {
        key = {
            hdr.inner_ipv6.src[127:64] : exact @name("ue_prefix");
            local.app_id               : exact @name("app_id");
        }
        actions = { uplink_forward_v6; uplink_drop_v6; }
        const default_action = uplink_drop_v6();
        counters = uplink_termination_v6_counter;
        size = UE_SESSIONS;
    }

    action downlink_forward(bit<32> teid, bit<6> qfi, tc_t tc) {
        local.teid = teid;
        local.qfi = qfi;
        local.tc = tc;
        downlink_termination_counter.count();
    }

    action downlink_drop() {
        local.drop = DENIED;
        downlink_termination_counter.count();
    }

    table downlink_termination {
        key = {
            hdr.ipv4.dst : exact @name("ue_address");
            local.app_id : exact @name("app_id");
        }
        actions = { downlink_forward; downlink_drop; }
        const default_action = downlink_drop();
        counters = downlink_termination_counter;
        size = UE_TERMINATIONS;
    }

    action downlink_forward_v6(bit<32> teid, bit<6> qfi, tc_t tc) {
        local.teid = teid;
        local.qfi = qfi;
        local.tc = tc;
        downlink_termination_v6_counter.count();
    }

    action downlink_drop_v6() {
        local.drop = DENIED;
        downlink_termination_v6_counter.count();
    }

    table downlink_termination_v6 {
        key = {
            hdr.ipv6.dst[127:64] : exact @name("ue_prefix");
            local.app_id         : exact @name("app_id");
        }
        actions = { downlink_forward_v6; downlink_drop_v6; }
        const default_action = downlink_drop_v6();
        counters = downlink_termination_v6_counter;
        size = UE_SESSIONS;
    }

    action to_tunnel(ipv4_t src, ipv4_t dst, l4_port_t sport) {
        local.tunnel_src = src;
        local.tunnel_dst = dst;
        local.tunnel_sport = sport;
        local.push_gtpu = 1;
        tunnel_peers_counter.count();
    }

    table tunnel_peers {
        key = { local.tunnel_peer : exact @name("tunnel_peer"); }
        actions = { to_tunnel; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = tunnel_peers_counter;
        size = TUNNEL_PEERS;
    }

    /* Take the tunnel off: what was inside is the packet now. */
    action decap_common() {
        hdr.ipv4.setInvalid();
        hdr.ipv4_options.setInvalid();
        hdr.udp.setInvalid();
        hdr.gtpu.setInvalid();
        hdr.gtpu_options.setInvalid();
        hdr.gtpu_psc.setInvalid();
    }

    apply {
        if (hdr.ipv4.isValid()) { interfaces.apply(); }
        else if (hdr.ipv6.isValid()) { interfaces_v6.apply(); }

        bit<1> session = 0;
        if (local.upf_uplink == 1) {
            if (uplink_session.apply().hit) { session = 1; }
            if (hdr.gtpu_psc.isValid()) { local.qfi = hdr.gtpu_psc.qfi; }
            if (hdr.inner_ipv4.isValid()) {
                app_address = hdr.inner_ipv4.dst;
                app_proto = hdr.inner_ipv4.protocol;
            } else if (hdr.inner_ipv6.isValid()) {
                app_address_v6 = hdr.inner_ipv6.dst;
                app_proto = hdr.inner_ipv6.next_header;
            } else {
                local.drop = DENIED;
            }
            if (hdr.inner_tcp.isValid()) { app_port = hdr.inner_tcp.dport; }
            else if (hdr.inner_udp.isValid()) { app_port = hdr.inner_udp.dport; }
        } else if (local.upf_downlink == 1) {
            app_proto = local.ip_proto;
            app_port = local.l4_sport;
            if (hdr.ipv4.isValid()) {
                if (downlink_session.apply().hit) { session = 1; }
                app_address = hdr.ipv4.src;
            } else {
                if (downlink_session_v6.apply().hit) { session = 1; }
                app_address_v6 = hdr.ipv6.src;
            }
        }

        // A session that pages its user has no way yet.
        if (session == 1 && local.drop == 0) {
            if ((local.upf_uplink == 1 && hdr.inner_ipv4.isValid()) || (local.upf_downlink == 1 && hdr.ipv4.isValid())) {
                applications.apply();
            } else {
                applications_v6.apply();
            }
            if (local.upf_uplink == 1) {
                if (hdr.inner_ipv4.isValid()) { uplink_termination.apply(); }
                else { uplink_termination_v6.apply(); }
            } else {
                if (hdr.ipv4.isValid()) { downlink_termination.apply(); }
                else { downlink_termination_v6.apply(); }
                tunnel_peers.apply();
            }
            // What is filtered takes nothing of the session's rate.
            if (local.drop == 0) {
                session_meter.execute_meter((bit<32>)local.session_index, session_color);
                if (session_color == 2) { local.drop = DENIED; }
            }
        }

        if (local.upf_uplink == 1 && local.drop == 0) {
            // A congested hop of the tunnel's way is told to the user (RFC 6040 4.2).
            bit<1> congested = 0;
            if (hdr.ipv4.ecn == 3) { congested = 1; }
            decap_common();
            hdr.pppoe.setInvalid();
            if (hdr.inner_ipv4.isValid()) {
                hdr.ipv4 = hdr.inner_ipv4;
                hdr.inner_ipv4.setInvalid();
                if (hdr.inner_ipv4_options.isValid()) {
                    hdr.ipv4_options = hdr.inner_ipv4_options;
                    hdr.inner_ipv4_options.setInvalid();
                }
                if (congested == 1) {
                    if (hdr.ipv4.ecn == 0) { local.drop = DENIED; }
                    hdr.ipv4.ecn = 3;
                }
                hdr.eth_type.value = ETHERTYPE_IPV4;
                local.fwd = FWD_IPV4;
                local.src_v4 = hdr.ipv4.src;
                local.dst_v4 = hdr.ipv4.dst;
                local.ip_proto = hdr.ipv4.protocol;
                local.dscp = hdr.ipv4.dscp;
            } else {
                hdr.ipv6 = hdr.inner_ipv6;
                hdr.inner_ipv6.setInvalid();
                if (congested == 1) {
                    if (hdr.ipv6.ecn == 0) { local.drop = DENIED; }
                    hdr.ipv6.ecn = 3;
                }
                hdr.eth_type.value = ETHERTYPE_IPV6;
                local.fwd = FWD_IPV6;
                local.src_v4 = 0;
                local.dst_v4 = 0;
                local.ip_proto = hdr.ipv6.next_header;
                local.dscp = hdr.ipv6.dscp;
            }
            local.eth_type = hdr.eth_type.value;
            local.l4_sport = 0;
            local.l4_dport = 0;
            if (hdr.inner_tcp.isValid()) {
                hdr.tcp = hdr.inner_tcp;
                hdr.inner_tcp.setInvalid();
                local.l4_sport = hdr.tcp.sport;
                local.l4_dport = hdr.tcp.dport;
            } else if (hdr.inner_udp.isValid()) {
                hdr.udp = hdr.inner_udp;
                hdr.inner_udp.setInvalid();
                local.l4_sport = hdr.udp.sport;
                local.l4_dport = hdr.udp.dport;
            } else if (hdr.inner_icmp.isValid()) {
                hdr.icmp = hdr.inner_icmp;
                hdr.inner_icmp.setInvalid();
                local.icmp_type = hdr.icmp.type;
                local.icmp_code = hdr.icmp.code;
            }
        }

        // Towards a base station the tunnel's address is what gets routed, by IPv4 also for users of IPv6.
        if (local.push_gtpu == 1) {
            local.dst_v4 = local.tunnel_dst;
            local.fwd = FWD_IPV4;
        }
    }
}
