// Fields without bits, which generated programs have where a feature is off.
#include <core.p4>
#include <v1model.p4>

header probe_t {
    bit<8> kind;
    bit<0> nothing;
    bit<8> found;
}

struct headers {
    probe_t probe;
}

struct metadata {
    bit<0> nothing;
    bit<8> kind;
}

parser MainParser(packet_in packet, out headers h, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.probe);
        transition accept;
    }
}

control MainVerify(inout headers h, inout metadata meta) {
    apply {}
}

control MainIngress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    action take(bit<8> found) {
        meta.nothing = h.probe.nothing;
        h.probe.nothing = 0;
        h.probe.found = found;
    }
    table kinds {
        key = {
            h.probe.nothing: exact;
            h.probe.kind: exact;
        }
        actions = {
            take;
            NoAction;
        }
    }
    apply {
        meta.kind = h.probe.kind;
        kinds.apply();
        if (meta.nothing == h.probe.nothing) {
            h.probe.kind = meta.kind + 1;
        }
        standard.egress_spec = 1;
    }
}

control MainEgress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    apply {}
}

control MainCompute(inout headers h, inout metadata meta) {
    apply {}
}

control MainDeparser(packet_out packet, in headers h) {
    apply {
        packet.emit(h.probe);
    }
}

V1Switch(MainParser(), MainVerify(), MainIngress(), MainEgress(), MainCompute(), MainDeparser()) main;
