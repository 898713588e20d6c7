/* What a packet looks like on the wire: time to live, labels, tunnels, sessions, tags. */

control Rewrite(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) egress_vlan_counter;
    direct_counter(CounterType.packets_and_bytes) replicas_counter;
    direct_counter(CounterType.packets_and_bytes) dscp_rewriter_counter;

    // -- Copies of a multicast packet that leave on another VLAN ---------------------------------

    action set_replica_vlan(vlan_t vlan_id, mac_t eth_src) {
        local.vlan_id = vlan_id;
        hdr.ethernet.src = eth_src;
        replicas_counter.count();
    }

    table replicas {
        key = {
            std.egress_rid  : exact @name("instance");
            std.egress_port : exact @name("eg_port");
        }
        actions = { set_replica_vlan; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = replicas_counter;
        size = REPLICA_SIZE;
    }

    // -- DSCP ---------------------------------------------------------------------------------

    action rewrite_dscp() {
        local.dscp = local.slice[3:0] ++ local.tc;
        dscp_rewriter_counter.count();
    }

    action clear_dscp() {
        local.dscp = 0;
        dscp_rewriter_counter.count();
    }

    table dscp_rewriter {
        key = { std.egress_port : exact @name("eg_port"); }
        actions = { rewrite_dscp; clear_dscp; @defaultonly NoAction; }
        const default_action = NoAction();
        counters = dscp_rewriter_counter;
        size = PORTS_SIZE;
    }

    // -- Tags ---------------------------------------------------------------------------------

    action send_untagged() { egress_vlan_counter.count(); }

    action send_tagged() {
        hdr.inner_vlan = hdr.vlan;
        hdr.vlan.setValid();
        hdr.vlan.tpid = ETHERTYPE_VLAN;
        hdr.vlan.pcp = local.pcp;
        hdr.vlan.dei = local.dei;
        hdr.vlan.vid = local.vlan_id;
        egress_vlan_counter.count();
    }

    /* The tag that stands for the VLAN on this port. */
    action send_translated(vlan_t tag) {
        hdr.inner_vlan = hdr.vlan;
        hdr.vlan.setValid();
        hdr.vlan.tpid = ETHERTYPE_VLAN;
        hdr.vlan.pcp = local.pcp;
        hdr.vlan.dei = local.dei;
        hdr.vlan.vid = tag;
        egress_vlan_counter.count();
    }

    action send_double(vlan_t outer, vlan_t inner) {
        hdr.vlan.setValid();
        hdr.vlan.tpid = ETHERTYPE_VLAN;
        hdr.vlan.pcp = local.pcp;
        hdr.vlan.dei = local.dei;
        hdr.vlan.vid = outer;
        hdr.inner_vlan.setValid();
        hdr.inner_vlan.tpid = ETHERTYPE_VLAN;
        hdr.inner_vlan.pcp = local.pcp;
        hdr.inner_vlan.dei = 0;
        hdr.inner_vlan.vid = inner;
        egress_vlan_counter.count();
    }

    /* The VLAN is not on this port. */
    action block() {
        mark_to_drop(std);
        egress_vlan_counter.count();
    }

    table egress_vlan {
        key = {
            local.vlan_id   : exact @name("vlan_id");
            std.egress_port : exact @name("eg_port");
        }
        actions = { send_untagged; send_tagged; send_translated; send_double; @defaultonly block; }
        const default_action = block();
        counters = egress_vlan_counter;
        size = EGRESS_VLAN_SIZE;
    }

    // -- Encapsulations -----------------------------------------------------------------------

    bit<16> inner_len;

    action push_gtpu_headers() {
        hdr.outer_ipv4.setValid();
        hdr.outer_ipv4.version_ihl = IPV4_PLAIN;
        hdr.outer_ipv4.dscp = local.dscp;
        hdr.outer_ipv4.ecn = 0;
        hdr.outer_ipv4.total_len = inner_len + 36;
        hdr.outer_ipv4.identification = 0;
        hdr.outer_ipv4.fragment = 0;
        hdr.outer_ipv4.ttl = 64;
        hdr.outer_ipv4.protocol = PROTO_UDP;
        hdr.outer_ipv4.src = local.tunnel_src;
        hdr.outer_ipv4.dst = local.tunnel_dst;
        hdr.outer_ipv4.hdr_checksum = 0;
        hdr.outer_udp.setValid();
        hdr.outer_udp.sport = local.tunnel_sport;
        hdr.outer_udp.dport = UDP_PORT_GTPU;
        hdr.outer_udp.length = inner_len + 16;
        hdr.outer_udp.checksum = 0;
        hdr.outer_gtpu.setValid();
        hdr.outer_gtpu.version = 1;
        hdr.outer_gtpu.pt = 1;
        hdr.outer_gtpu.spare = 0;
        hdr.outer_gtpu.ex_flag = 0;
        hdr.outer_gtpu.seq_flag = 0;
        hdr.outer_gtpu.npdu_flag = 0;
        hdr.outer_gtpu.msg_type = GTPU_GPDU;
        hdr.outer_gtpu.length = inner_len;
        hdr.outer_gtpu.teid = local.teid;
        hdr.eth_type.value = ETHERTYPE_IPV4;
    }

    /* 5G: the flow's QFI in a PDU session container, downlink type 0. */
    action push_psc() {
        hdr.outer_gtpu.ex_flag = 1;
        hdr.outer_gtpu.length = inner_len + 8;
        hdr.outer_udp.length = inner_len + 24;
        hdr.outer_ipv4.total_len = inner_len + 44;
        hdr.outer_gtpu_options.setValid();
        hdr.outer_gtpu_options.seq = 0;
        hdr.outer_gtpu_options.npdu = 0;
        hdr.outer_gtpu_options.next_ext = GTPU_EXT_PSC;
        hdr.outer_gtpu_psc.setValid();
        hdr.outer_gtpu_psc.len = 1;
        hdr.outer_gtpu_psc.type = 0;
        hdr.outer_gtpu_psc.spare0 = 0;
        hdr.outer_gtpu_psc.ppp = 0;
        hdr.outer_gtpu_psc.rqi = 0;
        hdr.outer_gtpu_psc.qfi = local.qfi;
        hdr.outer_gtpu_psc.next_ext = 0;
    }

    action push_pppoe_header(bit<16> protocol) {
        hdr.pppoe.setValid();
        hdr.pppoe.version = 1;
        hdr.pppoe.type_id = 1;
        hdr.pppoe.code = 0;
        hdr.pppoe.session_id = local.pppoe_session;
        hdr.pppoe.length = inner_len + 2;
        hdr.pppoe.protocol = protocol;
        hdr.eth_type.value = ETHERTYPE_PPPOES;
    }

    action push_mpls(label_t label, bit<1> bos) {
        hdr.mpls.push_front(1);
        hdr.mpls[0].setValid();
        hdr.mpls[0].label = label;
        hdr.mpls[0].tc = (bit<3>)local.tc;
        hdr.mpls[0].bos = bos;
        hdr.mpls[0].ttl = 64;
        hdr.eth_type.value = ETHERTYPE_MPLS;
    }

    apply {
        if (std.mcast_grp != 0) {
            // A flood never returns to where it came from.
            if (local.routed == 0 && std.egress_port == std.ingress_port) {
                mark_to_drop(std);
                exit;
            }
            replicas.apply();
        }

        if (local.sealed == 0) {
            if (dscp_rewriter.apply().hit) {
                if (hdr.ipv4.isValid()) { hdr.ipv4.dscp = local.dscp; }
                else if (hdr.ipv6.isValid()) { hdr.ipv6.dscp = local.dscp; }
            }
            if (local.routed == 1) {
                if (hdr.ipv4.isValid()) {
                    if (hdr.ipv4.ttl <= 1) { mark_to_drop(std); exit; }
                    hdr.ipv4.ttl = hdr.ipv4.ttl - 1;
                } else if (hdr.ipv6.isValid()) {
                    if (hdr.ipv6.hop_limit <= 1) { mark_to_drop(std); exit; }
                    hdr.ipv6.hop_limit = hdr.ipv6.hop_limit - 1;
                }
            }
        }

        if (local.push_gtpu == 1) {
            if (hdr.ipv4.isValid()) { inner_len = hdr.ipv4.total_len; }
            else { inner_len = hdr.ipv6.payload_len + 40; }
            push_gtpu_headers();
            if (local.qfi != 0) { push_psc(); }
        }
        if (local.push_pppoe == 1) {
            if (hdr.ipv4.isValid()) {
                inner_len = hdr.ipv4.total_len;
                push_pppoe_header(PPP_IPV4);
            } else {
                inner_len = hdr.ipv6.payload_len + 40;
                push_pppoe_header(PPP_IPV6);
            }
        }
        if (local.push_service == 1) {
            if (hdr.mpls[0].isValid()) {
                if (hdr.mpls[2].isValid()) { mark_to_drop(std); exit; }
                push_mpls(local.service_label, 0);
            } else {
                push_mpls(local.service_label, 1);
            }
        }
        if (local.push_label == 1) {
            if (hdr.mpls[0].isValid()) {
                if (hdr.mpls[2].isValid()) { mark_to_drop(std); exit; }
                push_mpls(local.label, 0);
            } else {
                push_mpls(local.label, 1);
            }
        }

        if (local.out_as_is == 0) { egress_vlan.apply(); }
    }
}
