// A router of about twenty tables for benchmarks: the shape of a leaf's pipeline, most tables empty.
#include <core.p4>
#include <v1model.p4>

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
header vlan_t { bit<3> pcp; bit<1> dei; bit<12> vid; bit<16> type; }
header mpls_t { bit<20> label; bit<3> tc; bit<1> bos; bit<8> ttl; }
header ipv4_t {
    bit<4> version; bit<4> ihl; bit<6> dscp; bit<2> ecn; bit<16> len;
    bit<16> id; bit<3> flags; bit<13> frag; bit<8> ttl; bit<8> proto; bit<16> csum;
    bit<32> src; bit<32> dst;
}
header ipv6_t {
    bit<4> version; bit<8> tc; bit<20> flow; bit<16> len; bit<8> next; bit<8> hops;
    bit<128> src; bit<128> dst;
}
header ports_t { bit<16> sport; bit<16> dport; }

struct headers_t {
    ethernet_t eth; vlan_t vlan; vlan_t inner; mpls_t mpls; ipv4_t ipv4; ipv6_t ipv6; ports_t l4;
}
struct meta_t {
    bit<12> vid; bit<1> routed; bit<1> skip; bit<32> next; bit<3> class; bit<4> slice;
    bit<16> sport; bit<16> dport; bit<8> proto; bit<9> in_port; bit<1> punt; bit<2> colour;
}

parser P(packet_in pkt, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        meta.in_port = std.ingress_port;
        pkt.extract(hdr.eth);
        transition select(hdr.eth.type) {
            0x8100: vlan; 0x88a8: vlan; 0x8847: mpls; 0x0800: ipv4; 0x86dd: ipv6; default: accept;
        }
    }
    state vlan {
        pkt.extract(hdr.vlan);
        transition select(hdr.vlan.type) {
            0x8100: inner; 0x8847: mpls; 0x0800: ipv4; 0x86dd: ipv6; default: accept;
        }
    }
    state inner {
        pkt.extract(hdr.inner);
        transition select(hdr.inner.type) { 0x0800: ipv4; 0x86dd: ipv6; default: accept; }
    }
    state mpls {
        pkt.extract(hdr.mpls);
        transition select(pkt.lookahead<bit<4>>()) { 4: ipv4; 6: ipv6; default: accept; }
    }
    state ipv4 {
        pkt.extract(hdr.ipv4);
        meta.proto = hdr.ipv4.proto;
        transition select(hdr.ipv4.proto) { 6: l4; 17: l4; default: accept; }
    }
    state ipv6 {
        pkt.extract(hdr.ipv6);
        meta.proto = hdr.ipv6.next;
        transition select(hdr.ipv6.next) { 6: l4; 17: l4; default: accept; }
    }
    state l4 {
        pkt.extract(hdr.l4);
        meta.sport = hdr.l4.sport;
        meta.dport = hdr.l4.dport;
        transition accept;
    }
}

control Verify(inout headers_t hdr, inout meta_t meta) {
    apply {
        verify_checksum(hdr.ipv4.isValid(),
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp, hdr.ipv4.ecn, hdr.ipv4.len, hdr.ipv4.id, hdr.ipv4.flags,
              hdr.ipv4.frag, hdr.ipv4.ttl, hdr.ipv4.proto, hdr.ipv4.src, hdr.ipv4.dst },
            hdr.ipv4.csum, HashAlgorithm.csum16);
    }
}

control MainIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) port_vlan_counter;
    direct_counter(CounterType.packets_and_bytes) classifier_counter;
    direct_counter(CounterType.packets_and_bytes) bridge_counter;
    direct_counter(CounterType.packets_and_bytes) mpls_counter;
    direct_counter(CounterType.packets_and_bytes) route4_counter;
    direct_counter(CounterType.packets_and_bytes) route6_counter;
    direct_counter(CounterType.packets_and_bytes) acl_counter;
    direct_counter(CounterType.packets_and_bytes) next_counter;
    direct_counter(CounterType.packets_and_bytes) hashed_counter;
    action_selector(HashAlgorithm.crc16, 1024, 16) ecmp;

    action drop() { mark_to_drop(std); meta.skip = 1; }
    action set_vid(bit<12> vid) { meta.vid = vid; port_vlan_counter.count(); }
    action deny() { mark_to_drop(std); meta.skip = 1; port_vlan_counter.count(); }
    action route_it() { meta.routed = 1; classifier_counter.count(); }
    action bridge_it() { meta.routed = 0; classifier_counter.count(); }
    action set_next(bit<32> next) { meta.next = next; }
    action set_next4(bit<32> next) { meta.next = next; route4_counter.count(); }
    action set_next6(bit<32> next) { meta.next = next; route6_counter.count(); }
    action set_next_bridge(bit<32> next) { meta.next = next; bridge_counter.count(); }
    action pop(bit<32> next) { hdr.mpls.setInvalid(); meta.next = next; mpls_counter.count(); }
    action forward(bit<9> port, bit<48> smac, bit<48> dmac) {
        std.egress_spec = port; hdr.eth.src = smac; hdr.eth.dst = dmac; next_counter.count();
    }
    action hashed(bit<9> port, bit<48> smac, bit<48> dmac) {
        std.egress_spec = port; hdr.eth.src = smac; hdr.eth.dst = dmac; hashed_counter.count();
    }
    action replicate(bit<16> group) { std.mcast_grp = group; }
    action punt() { meta.punt = 1; acl_counter.count(); }
    action permit() { acl_counter.count(); }
    action classify(bit<4> slice, bit<3> class) { meta.slice = slice; meta.class = class; }
    action push_vlan(bit<12> vid) { meta.vid = vid; }

    table ingress_port_vlan {
        key = { std.ingress_port: exact; hdr.vlan.isValid(): exact; hdr.vlan.vid: ternary; hdr.inner.vid: ternary; }
        actions = { set_vid; deny; } default_action = deny(); counters = port_vlan_counter; size = 4096;
    }
    table classifier {
        key = { std.ingress_port: exact; hdr.eth.dst: ternary; hdr.eth.type: ternary; }
        actions = { route_it; bridge_it; } default_action = bridge_it(); counters = classifier_counter;
    }
    table lines { key = { std.ingress_port: exact; meta.vid: exact; hdr.inner.vid: exact; } actions = { set_next; NoAction; } default_action = NoAction(); size = 16384; }
    table guard { key = { meta.next: exact; hdr.eth.src: exact; hdr.ipv4.src: exact; } actions = { permit; NoAction; } default_action = NoAction(); }
    table slices { key = { std.ingress_port: optional; hdr.ipv4.src: ternary; hdr.ipv4.dst: ternary; meta.proto: optional; meta.dport: range; } actions = { classify; NoAction; } default_action = NoAction(); }
    table uplinks { key = { hdr.ipv4.dst: exact; meta.dport: exact; } actions = { set_next; NoAction; } default_action = NoAction(); size = 65536; }
    table downlinks { key = { hdr.ipv4.dst: exact; } actions = { set_next; NoAction; } default_action = NoAction(); size = 65536; }
    table bridging { key = { meta.vid: exact; hdr.eth.dst: ternary; } actions = { set_next_bridge; NoAction; } default_action = NoAction(); counters = bridge_counter; }
    table mpls { key = { hdr.mpls.label: exact; } actions = { pop; NoAction; } default_action = NoAction(); counters = mpls_counter; }
    table routes_v4 { key = { hdr.ipv4.dst: lpm; } actions = { set_next4; drop; NoAction; } default_action = NoAction(); counters = route4_counter; size = 131072; }
    table routes_v6 { key = { hdr.ipv6.dst: lpm; } actions = { set_next6; drop; NoAction; } default_action = NoAction(); counters = route6_counter; size = 65536; }
    table multicast_v4 { key = { meta.vid: exact; hdr.ipv4.dst: lpm; } actions = { set_next; NoAction; } default_action = NoAction(); }
    table multicast_v6 { key = { meta.vid: exact; hdr.ipv6.dst: lpm; } actions = { set_next; NoAction; } default_action = NoAction(); }
    table steering { key = { meta.slice: exact; hdr.ipv4.src: ternary; hdr.ipv4.dst: ternary; } actions = { set_next; NoAction; } default_action = NoAction(); }
    table next_vlan { key = { meta.next: exact; } actions = { push_vlan; NoAction; } default_action = NoAction(); }
    table acl {
        key = {
            std.ingress_port: ternary; hdr.eth.dst: ternary; hdr.eth.src: ternary; hdr.eth.type: ternary; meta.vid: ternary;
            hdr.ipv4.src: ternary; hdr.ipv4.dst: ternary; meta.proto: ternary; meta.sport: ternary; meta.dport: ternary;
        }
        actions = { punt; permit; drop; } default_action = permit(); counters = acl_counter;
    }
    table cross_connect { key = { std.ingress_port: exact; meta.next: exact; } actions = { forward; NoAction; } default_action = NoAction(); }
    table next_simple { key = { meta.next: exact; } actions = { forward; NoAction; } default_action = NoAction(); counters = next_counter; }
    table next_hashed { key = { meta.next: exact; hdr.ipv4.src: selector; hdr.ipv4.dst: selector; meta.proto: selector; meta.sport: selector; meta.dport: selector; } actions = { hashed; drop; } implementation = ecmp; counters = hashed_counter; size = 16384; }
    table next_multicast { key = { meta.next: exact; } actions = { replicate; NoAction; } default_action = NoAction(); }

    apply {
        ingress_port_vlan.apply();
        if (meta.skip == 1) { return; }
        classifier.apply();
        lines.apply();
        guard.apply();
        slices.apply();
        if (hdr.l4.isValid()) { uplinks.apply(); downlinks.apply(); }
        if (hdr.mpls.isValid()) { mpls.apply(); }
        else if (meta.routed == 1) {
            if (hdr.ipv4.isValid()) { multicast_v4.apply(); routes_v4.apply(); hdr.ipv4.ttl = hdr.ipv4.ttl - 1; }
            else if (hdr.ipv6.isValid()) { multicast_v6.apply(); routes_v6.apply(); hdr.ipv6.hops = hdr.ipv6.hops - 1; }
        } else { bridging.apply(); }
        steering.apply();
        next_vlan.apply();
        acl.apply();
        cross_connect.apply();
        next_simple.apply();
        if (!next_hashed.apply().hit) { next_multicast.apply(); }
        if (meta.punt == 1) { std.egress_spec = 255; }
    }
}

control MainEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) vlan_counter;
    action untag() { hdr.vlan.setInvalid(); vlan_counter.count(); }
    action tag() { hdr.vlan.setValid(); hdr.vlan.vid = meta.vid; hdr.vlan.type = hdr.eth.type; hdr.eth.type = 0x8100; vlan_counter.count(); }
    action remark(bit<6> dscp) { hdr.ipv4.dscp = dscp; }
    table egress_vlan { key = { std.egress_port: exact; meta.vid: exact; } actions = { untag; tag; NoAction; } default_action = NoAction(); counters = vlan_counter; }
    table rewrite { key = { meta.slice: exact; meta.class: exact; } actions = { remark; NoAction; } default_action = NoAction(); }
    apply { egress_vlan.apply(); if (hdr.ipv4.isValid()) { rewrite.apply(); } }
}

control Compute(inout headers_t hdr, inout meta_t meta) {
    apply {
        update_checksum(hdr.ipv4.isValid(),
            { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.dscp, hdr.ipv4.ecn, hdr.ipv4.len, hdr.ipv4.id, hdr.ipv4.flags,
              hdr.ipv4.frag, hdr.ipv4.ttl, hdr.ipv4.proto, hdr.ipv4.src, hdr.ipv4.dst },
            hdr.ipv4.csum, HashAlgorithm.csum16);
    }
}
control Deparse(packet_out pkt, in headers_t hdr) { apply { pkt.emit(hdr); } }

V1Switch(P(), Verify(), MainIngress(), MainEgress(), Compute(), Deparse()) main;
