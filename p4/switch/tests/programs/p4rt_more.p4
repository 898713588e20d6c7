// p4rt_all.p4 with one more table: for RECONCILE_AND_COMMIT.
#include <core.p4>
#include <v1model.p4>

@p4runtime_translation("pergola/vrf", string)
type bit<10> vrf_t;

@controller_header("packet_in")
header packet_in_t {
    bit<9> ingress_port;
    bit<7> reason;
}

@controller_header("packet_out")
header packet_out_t {
    bit<9> egress_port;
    bit<7> _pad;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

header ipv4_t {
    bit<4> version;
    bit<4> ihl;
    bit<8> tos;
    bit<16> length;
    bit<16> id;
    bit<3> flags;
    bit<13> fragment;
    bit<8> ttl;
    bit<8> protocol;
    bit<16> checksum;
    bit<32> src;
    bit<32> dst;
}

struct headers_t {
    packet_in_t packet_in;
    packet_out_t packet_out;
    ethernet_t ethernet;
    ipv4_t ipv4;
}

struct meta_t {
    vrf_t vrf;
    bit<8> special;
    bit<2> color;
}

struct learn_t {
    bit<48> mac;
    bit<9> port;
}

const bit<9> CPU = 510;

parser parse(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    value_set<bit<16>>(4) special_types;

    state start {
        transition select(std.ingress_port) {
            CPU: packet_out;
            default: ethernet;
        }
    }
    state packet_out {
        packet.extract(hdr.packet_out);
        transition ethernet;
    }
    state ethernet {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.type) {
            0x0800: ipv4;
            special_types: special;
            default: accept;
        }
    }
    state special {
        meta.special = 1;
        transition accept;
    }
    state ipv4 {
        packet.extract(hdr.ipv4);
        transition accept;
    }
}

control check(inout headers_t hdr, inout meta_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) route_counter;
    direct_meter<bit<2>>(MeterType.bytes) acl_meter;
    counter(8, CounterType.packets_and_bytes) port_counter;
    meter(4, MeterType.packets) port_meter;
    register<bit<20>>(16) seen;
    @max_group_size(8)
    action_selector(HashAlgorithm.crc16, 32w64, 32w16) ecmp;
    action_profile(4) profile;

    action drop() {
        mark_to_drop(std);
    }
    action forward(bit<9> port) {
        std.egress_spec = port;
    }
    action set_group(bit<16> group) {
        std.mcast_grp = group;
    }
    action mirror(bit<32> session) {
        clone(CloneType.I2E, session);
    }
    action set_vrf(vrf_t vrf) {
        meta.vrf = vrf;
    }
    action punt() {
        std.egress_spec = CPU;
        hdr.packet_in.setValid();
        hdr.packet_in.ingress_port = std.ingress_port;
        hdr.packet_in.reason = 5;
    }
    action learn() {
        digest<learn_t>(1, { hdr.ethernet.src, std.ingress_port });
    }
    action count_and_mark(bit<32> index) {
        port_counter.count(index);
        port_meter.execute_meter(index, meta.color);
        seen.write(index, 20w7);
    }
    action police() {
        acl_meter.read(meta.color);
    }

    table vrf {
        key = { std.ingress_port: exact; }
        actions = { set_vrf; @defaultonly NoAction; }
        const default_action = NoAction();
        size = 16;
    }
    table route {
        key = { hdr.ipv4.dst: lpm; }
        actions = { forward; drop; set_group; punt; @defaultonly NoAction; }
        default_action = NoAction();
        counters = route_counter;
        size = 200000;
    }
    table by_vrf {
        key = { meta.vrf: exact; hdr.ipv4.src: optional; }
        actions = { forward; @tableonly drop; NoAction; }
        default_action = NoAction();
        size = 4;
    }
    table acl {
        key = {
            hdr.ethernet.type: ternary;
            hdr.ipv4.protocol: range;
            meta.special: optional;
        }
        actions = { police; drop; mirror; learn; count_and_mark; punt; NoAction; }
        default_action = NoAction();
        meters = acl_meter;
        size = 64;
    }
    table hop {
        key = { hdr.ethernet.dst: exact; hdr.ipv4.src: selector; hdr.ipv4.dst: selector; }
        actions = { forward; drop; NoAction; }
        implementation = ecmp;
        size = 64;
    }
    table indirect {
        key = { hdr.ethernet.src: exact; }
        actions = { forward; drop; NoAction; }
        implementation = profile;
        size = 16;
    }
    table extra {
        key = { hdr.ethernet.src: exact; }
        actions = { NoAction; }
        default_action = NoAction();
    }
    table idle {
        key = { hdr.ethernet.src: exact; }
        actions = { forward; NoAction; }
        default_action = NoAction();
        support_timeout = true;
        size = 16;
    }
    table fixed {
        key = { hdr.ethernet.type: ternary; }
        actions = { forward; NoAction; }
        default_action = NoAction();
        const entries = {
            0x88cc &&& 0xffff: forward(3);
            0x8000 &&& 0x8000: forward(4);
        }
    }
    table keyless {
        actions = { forward; NoAction; }
        default_action = NoAction();
    }

    apply {
        if (hdr.packet_out.isValid()) {
            std.egress_spec = hdr.packet_out.egress_port;
            hdr.packet_out.setInvalid();
            exit;
        }
        vrf.apply();
        if (hdr.ipv4.isValid()) {
            route.apply();
            by_vrf.apply();
        } else {
            fixed.apply();
        }
        hop.apply();
        indirect.apply();
        extra.apply();
        idle.apply();
        acl.apply();
        keyless.apply();
    }
}

control egress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    apply {}
}

control compute(inout headers_t hdr, inout meta_t meta) {
    apply {}
}

control deparse(packet_out packet, in headers_t hdr) {
    apply {
        packet.emit(hdr.packet_in);
        packet.emit(hdr.ethernet);
        packet.emit(hdr.ipv4);
    }
}

V1Switch(parse(), check(), ingress(), egress(), compute(), deparse()) main;
