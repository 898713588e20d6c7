/* Parser, checksums and deparser. */
#ifndef PARSER_P4
#define PARSER_P4

#include "headers.p4"

parser FabricParser(packet_in packet, out headers_t hdr, inout local_t local,
                    inout standard_metadata_t std) {
    state start {
        local.ingress_port = std.ingress_port;
        transition select(std.ingress_port) {
            CPU_PORT: from_cpu;
            default: ethernet;
        }
    }

    state from_cpu {
        packet.extract(hdr.packet_out);
        transition ethernet;
    }

    state ethernet {
        packet.extract(hdr.ethernet);
        transition select(packet.lookahead<bit<16>>()) {
            ETHERTYPE_QINQ: vlan;
            ETHERTYPE_QINQ_OLD: vlan;
            ETHERTYPE_VLAN: vlan;
            default: eth_type;
        }
    }

    state vlan {
        packet.extract(hdr.vlan);
        local.tagged = 1;
        local.vlan_id = hdr.vlan.vid;
        local.pcp = hdr.vlan.pcp;
        local.dei = hdr.vlan.dei;
        transition select(packet.lookahead<bit<16>>()) {
            ETHERTYPE_VLAN: inner_vlan;
            default: eth_type;
        }
    }

    state inner_vlan {
        packet.extract(hdr.inner_vlan);
        local.double_tagged = 1;
        local.inner_vlan_id = hdr.inner_vlan.vid;
        transition eth_type;
    }

    state eth_type {
        packet.extract(hdr.eth_type);
        local.eth_type = hdr.eth_type.value;
        transition select(hdr.eth_type.value) {
            ETHERTYPE_IPV4: ipv4;
            ETHERTYPE_IPV6: ipv6;
            ETHERTYPE_MPLS: mpls;
            ETHERTYPE_ARP: arp;
            ETHERTYPE_PPPOES: pppoe;
            default: accept;
        }
    }

    state mpls {
        packet.extract(hdr.mpls.next);
        local.settled = 1;
        transition select(hdr.mpls.last.bos) {
            0: mpls;
            default: mpls_payload;
        }
    }

    state mpls_payload {
        transition select(packet.lookahead<bit<4>>()) {
            4: ipv4;
            6: ipv6;
            default: accept;
        }
    }

    state arp {
        packet.extract(hdr.arp);
        local.src_v4 = hdr.arp.spa;
        local.dst_v4 = hdr.arp.tpa;
        transition accept;
    }

    state pppoe {
        packet.extract(hdr.pppoe);
        transition select(hdr.pppoe.protocol) {
            PPP_IPV4: pppoe_ipv4;
            PPP_IPV6: pppoe_ipv6;
            default: accept;
        }
    }

    state pppoe_ipv4 {
        local.eth_type = ETHERTYPE_IPV4;
        transition ipv4;
    }

    state pppoe_ipv6 {
        local.eth_type = ETHERTYPE_IPV6;
        transition ipv6;
    }

    state ipv4 {
        packet.extract(hdr.ipv4);
        local.ip_proto = hdr.ipv4.protocol;
        local.src_v4 = hdr.ipv4.src;
        local.dst_v4 = hdr.ipv4.dst;
        local.dscp = hdr.ipv4.dscp;
        transition select(hdr.ipv4.version_ihl) {
            IPV4_PLAIN: ipv4_payload;
            0x40 &&& 0xf0: ipv4_options;
            default: not_ip;
        }
    }

    state not_ip {
        verify(hdr.ethernet.isValid() && false, error.ParserInvalidArgument);
        transition accept;
    }

    state ipv4_options {
        verify(hdr.ipv4.version_ihl > IPV4_PLAIN, error.HeaderTooShort);
        packet.extract(hdr.ipv4_options, ((bit<32>)(hdr.ipv4.version_ihl - IPV4_PLAIN)) << 5);
        transition ipv4_payload;
    }

    state ipv4_payload {
        transition select(hdr.ipv4.fragment, hdr.ipv4.protocol) {
            (0 &&& FRAGMENT_ANY, PROTO_TCP): tcp;
            (0 &&& FRAGMENT_ANY, PROTO_UDP): udp;
            (0 &&& FRAGMENT_OFFSET, PROTO_ICMP): icmp;
            (0 &&& FRAGMENT_OFFSET, PROTO_IGMP): igmp;
            (0 &&& FRAGMENT_OFFSET, PROTO_TCP): tcp_of_fragment;
            (0 &&& FRAGMENT_OFFSET, PROTO_UDP): udp_of_fragment;
            default: accept;
        }
    }

    /* The first fragment: rules see its ports, the flow hash does not, and it is not taken out of a tunnel. */
    state tcp_of_fragment {
        packet.extract(hdr.tcp);
        local.l4_sport = hdr.tcp.sport;
        local.l4_dport = hdr.tcp.dport;
        transition accept;
    }

    state udp_of_fragment {
        packet.extract(hdr.udp);
        local.l4_sport = hdr.udp.sport;
        local.l4_dport = hdr.udp.dport;
        transition accept;
    }

    state ipv6 {
        packet.extract(hdr.ipv6);
        local.ip_proto = hdr.ipv6.next_header;
        local.dscp = hdr.ipv6.dscp;
        transition select(hdr.ipv6.version, hdr.ipv6.next_header) {
            (6, PROTO_TCP): tcp;
            (6, PROTO_UDP): udp;
            (6, PROTO_ICMPV6): icmpv6;
            (6, _): accept;
            default: not_ip;
        }
    }

    state tcp {
        packet.extract(hdr.tcp);
        local.l4_sport = hdr.tcp.sport;
        local.l4_dport = hdr.tcp.dport;
        local.flow_sport = hdr.tcp.sport;
        local.flow_dport = hdr.tcp.dport;
        transition accept;
    }

    state icmp {
        packet.extract(hdr.icmp);
        local.icmp_type = hdr.icmp.type;
        local.icmp_code = hdr.icmp.code;
        transition accept;
    }

    state icmpv6 {
        packet.extract(hdr.icmp);
        local.icmp_type = hdr.icmp.type;
        local.icmp_code = hdr.icmp.code;
        transition select(hdr.icmp.type, hdr.ipv6.payload_len) {
            (NDP_SOLICITATION, NDP_LENGTH): ndp;
            (NDP_ADVERTISEMENT, NDP_BARE_LENGTH): accept;
            (NDP_ADVERTISEMENT, _): ndp;
            default: accept;
        }
    }

    state ndp {
        packet.extract(hdr.ndp);
        transition accept;
    }

    state igmp {
        packet.extract(hdr.igmp);
        transition accept;
    }

    state udp {
        packet.extract(hdr.udp);
        local.l4_sport = hdr.udp.sport;
        local.l4_dport = hdr.udp.dport;
        local.flow_sport = hdr.udp.sport;
        local.flow_dport = hdr.udp.dport;
        transition select(hdr.udp.dport, hdr.ipv4.isValid()) {
            (UDP_PORT_GTPU, true): gtpu_length;
            default: accept;
        }
    }

    /* What has no room for a tunneled packet is something else. */
    state gtpu_length {
        transition select(hdr.udp.length) {
            0 &&& 0xffe0: accept;
            default: gtpu_check;
        }
    }

    /* Version 1, GTP (not GTP'), carrying a user packet. */
    state gtpu_check {
        transition select(packet.lookahead<bit<16>>()) {
            0x30ff &&& 0xf0ff: gtpu;
            default: accept;
        }
    }

    state gtpu {
        packet.extract(hdr.gtpu);
        local.teid = hdr.gtpu.teid;
        local.flow_sport = 0;
        local.flow_dport = 0;
        transition select(hdr.gtpu.ex_flag, hdr.gtpu.seq_flag, hdr.gtpu.npdu_flag) {
            (0, 0, 0): gtpu_payload;
            default: gtpu_options;
        }
    }

    state gtpu_options {
        packet.extract(hdr.gtpu_options);
        transition select(hdr.gtpu.ex_flag, hdr.gtpu_options.next_ext,
                          packet.lookahead<bit<8>>()) {
            (1, GTPU_EXT_PSC, 1): gtpu_psc;
            (1, 0, _): gtpu_payload;
            (0, _, _): gtpu_payload;
            default: accept;
        }
    }

    state gtpu_psc {
        packet.extract(hdr.gtpu_psc);
        transition select(hdr.gtpu_psc.next_ext) {
            0: gtpu_payload;
            default: accept;
        }
    }

    state gtpu_payload {
        transition select(packet.lookahead<bit<4>>()) {
            4: inner_ipv4;
            6: inner_ipv6;
            default: accept;
        }
    }

    state inner_ipv4 {
        packet.extract(hdr.inner_ipv4);
        transition select(hdr.inner_ipv4.version_ihl) {
            IPV4_PLAIN: inner_ipv4_payload;
            default: inner_ipv4_options;
        }
    }

    state inner_ipv4_options {
        verify(hdr.inner_ipv4.version_ihl > IPV4_PLAIN, error.HeaderTooShort);
        packet.extract(hdr.inner_ipv4_options, ((bit<32>)(hdr.inner_ipv4.version_ihl - IPV4_PLAIN)) << 5);
        transition inner_ipv4_payload;
    }

    state inner_ipv4_payload {
        transition select(hdr.inner_ipv4.fragment, hdr.inner_ipv4.protocol) {
            (0 &&& FRAGMENT_ANY, PROTO_TCP): inner_tcp;
            (0 &&& FRAGMENT_ANY, PROTO_UDP): inner_udp;
            (0 &&& FRAGMENT_OFFSET, PROTO_ICMP): inner_icmp;
            (0 &&& FRAGMENT_OFFSET, PROTO_TCP): inner_tcp_of_fragment;
            (0 &&& FRAGMENT_OFFSET, PROTO_UDP): inner_udp_of_fragment;
            default: accept;
        }
    }

    state inner_tcp_of_fragment {
        packet.extract(hdr.inner_tcp);
        transition accept;
    }

    state inner_udp_of_fragment {
        packet.extract(hdr.inner_udp);
        transition accept;
    }

    state inner_ipv6 {
        packet.extract(hdr.inner_ipv6);
        transition select(hdr.inner_ipv6.next_header) {
            PROTO_TCP: inner_tcp;
            PROTO_UDP: inner_udp;
            PROTO_ICMPV6: inner_icmp;
            default: accept;
        }
    }

    state inner_tcp {
        packet.extract(hdr.inner_tcp);
        local.flow_sport = hdr.inner_tcp.sport;
        local.flow_dport = hdr.inner_tcp.dport;
        transition accept;
    }

    state inner_udp {
        packet.extract(hdr.inner_udp);
        local.flow_sport = hdr.inner_udp.sport;
        local.flow_dport = hdr.inner_udp.dport;
        transition accept;
    }

    state inner_icmp {
        packet.extract(hdr.inner_icmp);
        transition accept;
    }
}

#define IPV4_FIELDS(h) { h.version_ihl, h.dscp, h.ecn, h.total_len, h.identification, h.fragment, \
                         h.ttl, h.protocol, h.src, h.dst }
#define IPV4_AND_OPTIONS(h, o) { h.version_ihl, h.dscp, h.ecn, h.total_len, h.identification, h.fragment, \
                                 h.ttl, h.protocol, h.src, h.dst, o.data }

/* With the pseudo-header of RFC 8200 8.1. */
#define NDP_FIELDS(h) { h.ipv6.src, h.ipv6.dst, 16w0, h.ipv6.payload_len, 24w0, PROTO_ICMPV6, \
                        h.icmp.type, h.icmp.code, h.ndp.flags, h.ndp.reserved, h.ndp.target, \
                        h.ndp.option_type, h.ndp.option_len, h.ndp.option_mac }

control FabricVerifyChecksum(inout headers_t hdr, inout local_t local) {
    apply {
        verify_checksum(hdr.ipv4.isValid() && !hdr.ipv4_options.isValid(), IPV4_FIELDS(hdr.ipv4),
                        hdr.ipv4.hdr_checksum, HashAlgorithm.csum16);
        verify_checksum(hdr.ipv4_options.isValid(), IPV4_AND_OPTIONS(hdr.ipv4, hdr.ipv4_options),
                        hdr.ipv4.hdr_checksum, HashAlgorithm.csum16);
        verify_checksum(hdr.inner_ipv4.isValid() && !hdr.inner_ipv4_options.isValid(), IPV4_FIELDS(hdr.inner_ipv4),
                        hdr.inner_ipv4.hdr_checksum, HashAlgorithm.csum16);
        verify_checksum(hdr.inner_ipv4_options.isValid(), IPV4_AND_OPTIONS(hdr.inner_ipv4, hdr.inner_ipv4_options),
                        hdr.inner_ipv4.hdr_checksum, HashAlgorithm.csum16);
        verify_checksum(hdr.ndp.isValid() && hdr.ipv6.payload_len == NDP_LENGTH, NDP_FIELDS(hdr), hdr.icmp.checksum, HashAlgorithm.csum16);
    }
}

control FabricComputeChecksum(inout headers_t hdr, inout local_t local) {
    apply {
        update_checksum(hdr.ipv4.isValid() && !hdr.ipv4_options.isValid() && local.sealed == 0, IPV4_FIELDS(hdr.ipv4),
                        hdr.ipv4.hdr_checksum, HashAlgorithm.csum16);
        update_checksum(hdr.ipv4_options.isValid() && local.sealed == 0, IPV4_AND_OPTIONS(hdr.ipv4, hdr.ipv4_options),
                        hdr.ipv4.hdr_checksum, HashAlgorithm.csum16);
        update_checksum(hdr.outer_ipv4.isValid(), IPV4_FIELDS(hdr.outer_ipv4),
                        hdr.outer_ipv4.hdr_checksum, HashAlgorithm.csum16);
        update_checksum(hdr.ndp.isValid() && local.answered == 1, NDP_FIELDS(hdr),
                        hdr.icmp.checksum, HashAlgorithm.csum16);
    }
}

control FabricDeparser(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.vlan);
        packet.emit(hdr.inner_vlan);
        packet.emit(hdr.eth_type);
        packet.emit(hdr.mpls);
        packet.emit(hdr.arp);
        packet.emit(hdr.pppoe);
        packet.emit(hdr.outer_ipv4);
        packet.emit(hdr.outer_udp);
        packet.emit(hdr.outer_gtpu);
        packet.emit(hdr.outer_gtpu_options);
        packet.emit(hdr.outer_gtpu_psc);
        packet.emit(hdr.ipv4);
        packet.emit(hdr.ipv4_options);
        packet.emit(hdr.ipv6);
        packet.emit(hdr.tcp);
        packet.emit(hdr.udp);
        packet.emit(hdr.icmp);
        packet.emit(hdr.ndp);
        packet.emit(hdr.igmp);
        packet.emit(hdr.gtpu);
        packet.emit(hdr.gtpu_options);
        packet.emit(hdr.gtpu_psc);
        packet.emit(hdr.inner_ipv4);
        packet.emit(hdr.inner_ipv4_options);
        packet.emit(hdr.inner_ipv6);
        packet.emit(hdr.inner_tcp);
        packet.emit(hdr.inner_udp);
        packet.emit(hdr.inner_icmp);
    }
}

#endif
