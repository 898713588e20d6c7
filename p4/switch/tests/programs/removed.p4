// What P4Info has and the compiler then finds no packet can reach, and rare forms that it writes into the JSON.
#include <core.p4>
#include <v1model.p4>

@p4runtime_translation("", string)
type bit<9> port_name_t;

// No packet carries it: P4Info alone has it, and does not say how wide its port is.
@controller_header("packet_in")
header packet_in_t {
    port_name_t port;
    bit<7> padding;
}

header ethernet_t {
    bit<48> dst;
    bit<48> src;
    bit<16> kind;
}

header tag_t {
    bit<8> more;
    bit<8> number;
}

struct headers {
    ethernet_t ethernet;
    tag_t[2] tags;
}

struct metadata {
    error outcome;
    bit<2> colour;
    tag_t copy;
}

parser MainParser(packet_in packet, out headers h, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.ethernet);
        transition select(h.ethernet.kind) {
            0x1234: tag;
            default: accept;
        }
    }
    state tag {
        packet.extract(h.tags.next);
        meta.copy = h.tags.last;
        verify(h.tags.last.number != 9, error.NoMatch);
        transition select(h.tags.last.more) {
            1: tag;
            default: accept;
        }
    }
}

control Verify(inout headers h, inout metadata meta) {
    apply { }
}

control Compute(inout headers h, inout metadata meta) {
    apply { }
}

control MainIngress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    direct_counter(CounterType.packets) gone_packets;
    direct_meter<bit<2>>(MeterType.bytes) gone_rate;
    action_profile(8) gone_profile;
    action_selector(HashAlgorithm.crc16, 8, 8) gone_selector;

    action forward(bit<9> port) {
        standard.egress_spec = port;
    }
    action gone_action() {
        h.ethernet.dst = 1;
    }
    action gone_meter() {
        gone_rate.read(meta.colour);
    }
    table by_outcome {
        key = { meta.outcome: exact; }
        actions = { forward; NoAction; }
    }
    table gone_exact {
        key = { h.ethernet.dst: exact; }
        actions = { forward; gone_action; }
        counters = gone_packets;
    }
    table gone_metered {
        key = { h.ethernet.dst: exact; }
        actions = { gone_meter; }
        meters = gone_rate;
    }
    table gone_indirect {
        key = { h.ethernet.dst: exact; }
        actions = { forward; }
        implementation = gone_profile;
    }
    table gone_selected {
        key = { h.ethernet.dst: exact; h.ethernet.src: selector; }
        actions = { forward; }
        implementation = gone_selector;
    }

    apply {
        h.ethernet.dst[7:0] = meta.copy.number;
        meta.outcome = standard.parser_error;
        by_outcome.apply();
        log_msg("packet");
        log_msg("from port {}", { standard.ingress_port });
        digest(1, { h.ethernet.src, standard.ingress_port });
        bit<8> features = 0;
        if (features != 0) {
            gone_exact.apply();
            gone_metered.apply();
            gone_indirect.apply();
            gone_selected.apply();
        }
    }
}

control MainEgress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    apply { }
}

control MainDeparser(packet_out packet, in headers h) {
    apply {
        packet.emit(h);
    }
}

V1Switch(MainParser(), Verify(), MainIngress(), MainEgress(), Compute(), MainDeparser()) main;
