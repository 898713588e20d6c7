// Features of v1model that p4c's STF tests leave out, one table each. Port 0 to 7 in; see ../features.rs.
#include <core.p4>
#include <v1model.p4>

header ethernet_t { bit<48> dst; bit<48> src; bit<16> type; }
header probe_t {
    bit<8>  op;
    bit<8>  a;
    bit<16> b;
    bit<32> c;
    bit<128> wide;
}
struct headers_t { ethernet_t eth; probe_t probe; }
struct meta_t { bit<2> colour; bit<1> trusted; bit<8> flow; bit<32> stored; }
struct learn_t { bit<48> src; bit<9> port; }

parser P(packet_in pkt, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    value_set<bit<16>>(4) trusted_types;
    state start {
        pkt.extract(hdr.eth);
        transition select(hdr.eth.type) {
            0x1234: probe;
            trusted_types: trusted;
            default: accept;
        }
    }
    state trusted { meta.trusted = 1; transition accept; }
    state probe { pkt.extract(hdr.probe); transition accept; }
}

control Verify(inout headers_t hdr, inout meta_t meta) { apply {} }

control MainIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    direct_counter(CounterType.packets_and_bytes) exact_counter;
    direct_meter<bit<2>>(MeterType.packets) line_meter;
    action_selector(HashAlgorithm.crc16, 64, 16) ecmp;
    action_profile(32) paths;
    register<bit<32>>(16) memory;
    register<bit<128>>(4) wide_memory;
    counter(8, CounterType.packets_and_bytes) ops;

    action drop() { mark_to_drop(std); }
    action out_port(bit<9> port) { std.egress_spec = port; }
    action metered(bit<9> port) { line_meter.read(meta.colour); std.egress_spec = port; }
    action mark(bit<8> value) { hdr.probe.a = value; }
    action set_b(bit<16> value) { hdr.probe.b = value; }
    action counted(bit<9> port) { exact_counter.count(); std.egress_spec = port; }
    action learn() { digest<learn_t>(1, { hdr.eth.src, std.ingress_port }); std.egress_spec = 9; }
    action remember() {
        bit<32> old;
        memory.read(old, (bit<32>)hdr.probe.b);
        memory.write((bit<32>)hdr.probe.b, old + hdr.probe.c);
        wide_memory.write(1, hdr.probe.wide);
        hdr.probe.c = old;
        std.egress_spec = 1;
    }

    table counted_exact {
        key = { hdr.probe.a: exact; }
        actions = { counted; drop; }
        default_action = drop();
        counters = exact_counter;
    }
    table line {
        key = { hdr.probe.a: exact; }
        actions = { metered; NoAction; }
        default_action = NoAction();
        meters = line_meter;
    }
    table ranges {
        key = { hdr.probe.b: range; hdr.probe.a: ternary; }
        actions = { mark; NoAction; }
        default_action = NoAction();
    }
    table optionals {
        key = { hdr.probe.a: optional; hdr.probe.b: optional; }
        actions = { mark; NoAction; }
        default_action = mark(0xee);
    }
    table aging {
        key = { hdr.eth.src: exact; }
        actions = { out_port; learn; }
        default_action = learn();
        support_timeout = true;
    }
    table spread {
        key = { hdr.probe.a: exact; hdr.probe.b: selector; hdr.probe.c: selector; }
        actions = { out_port; drop; }
        implementation = ecmp;
    }
    table indirect {
        key = { hdr.probe.a: exact; }
        actions = { out_port; drop; }
        implementation = paths;
    }
    table fixed {
        key = { hdr.probe.b: ternary; }
        actions = { mark; set_b; NoAction; }
        const default_action = NoAction();
        const entries = {
            0x0100 &&& 0xff00: mark(1);
            0x0101: mark(2);
            0x0200 &&& 0xfe00: set_b(0xbeef);
        }
    }
    table wide {
        key = { hdr.probe.wide: lpm; hdr.probe.a: exact; }
        actions = { out_port; drop; }
        default_action = drop();
    }
    table selected {
        key = { hdr.probe.wide: exact; hdr.probe.b: selector; hdr.probe.c: selector; }
        actions = { out_port; }
        implementation = ecmp;
    }

    apply {
        std.egress_spec = 1;
        if (meta.trusted == 1) { std.egress_spec = 5; return; }
        if (!hdr.probe.isValid()) { aging.apply(); return; }
        ops.count((bit<32>)(hdr.probe.op & 7));
        if (hdr.probe.op == 0) { counted_exact.apply(); }
        else if (hdr.probe.op == 1) {
            line.apply();
            hdr.probe.a = (bit<8>)meta.colour;
        }
        else if (hdr.probe.op == 2) { ranges.apply(); }
        else if (hdr.probe.op == 3) { optionals.apply(); }
        else if (hdr.probe.op == 4) { spread.apply(); }
        else if (hdr.probe.op == 5) { indirect.apply(); }
        else if (hdr.probe.op == 6) {
            switch (fixed.apply().action_run) {
                mark: { std.egress_spec = 2; }
                set_b: { std.egress_spec = 3; }
                default: { std.egress_spec = 4; }
            }
        }
        else if (hdr.probe.op == 7) { remember(); }
        else if (hdr.probe.op == 8) { if (wide.apply().hit) { hdr.probe.op = 0x88; } }
        else { if (!selected.apply().hit) { log_msg("op {} has no entry", { hdr.probe.op }); } }
    }
}

control MainEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) { apply {} }
control Compute(inout headers_t hdr, inout meta_t meta) { apply {} }
control Deparse(packet_out pkt, in headers_t hdr) { apply { pkt.emit(hdr.eth); pkt.emit(hdr.probe); } }

V1Switch(P(), Verify(), MainIngress(), MainEgress(), Compute(), Deparse()) main;
