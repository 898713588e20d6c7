// Tables with entries of their own that controllers may change: for the tests of the P4Runtime server.
#include <core.p4>
#include <v1model.p4>

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> type;
}

struct headers_t {
    ethernet_t ethernet;
}

struct meta_t {
}

parser parse(packet_in packet, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        packet.extract(hdr.ethernet);
        transition accept;
    }
}

control check(inout headers_t hdr, inout meta_t meta) {
    apply {}
}

control ingress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    action forward(bit<9> port) {
        std.egress_spec = port;
    }
    action rewrite(bit<16> type) {
        hdr.ethernet.type = type;
    }

    table by_dst {
        key = { hdr.ethernet.dst: exact; }
        actions = { forward; NoAction; }
        default_action = NoAction();
        entries = {
            1: forward(3);
            2: forward(4);
        }
        size = 3;
    }
    table by_type {
        key = { hdr.ethernet.type: ternary; }
        actions = { forward; rewrite; NoAction; }
        default_action = NoAction();
        entries = {
            0x8100: rewrite(1);
            0x8000 &&& 0xf000: rewrite(2);
            _: rewrite(3);
        }
        size = 8;
    }

    apply {
        by_dst.apply();
        by_type.apply();
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
        packet.emit(hdr.ethernet);
    }
}

V1Switch(parse(), check(), ingress(), egress(), compute(), deparse()) main;
