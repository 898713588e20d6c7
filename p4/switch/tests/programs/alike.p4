// Where BMv2 does not do what one expects, or takes what p4c writes in an odd way.
#include <core.p4>
#include <v1model.p4>

header probe_t {
    bit<8> what;
    bit<8> key;
    bit<16> word;
    bit<8> found;
    int<8> number;
    int<16> wider;
}

header named_t {
    bit<8> length;
    varbit<64> name;
}

header one_t {
    bit<8> value;
}

header two_t {
    bit<16> value;
}

header_union either_t {
    one_t one;
    two_t two;
}

struct headers {
    probe_t probe;
    probe_t other;
    named_t named;
    either_t[3] either;
}

struct metadata {
    @field_list(1)
    int<8> number;
    @field_list(1)
    bit<8> passes;
}

parser MainParser(packet_in packet, out headers h, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.probe);
        transition select(h.probe.what) {
            0x10 &&& 0xf0: named;
            0x20 &&& 0xf0: either;
            default: accept;
        }
    }
    state named {
        packet.extract(h.named, (bit<32>)(packet.lookahead<bit<8>>()));
        transition accept;
    }
    state either {
        transition select(packet.lookahead<bit<8>>()) {
            1: one;
            2: two;
            default: accept;
        }
    }
    state one {
        packet.extract(h.either.next.one);
        transition either;
    }
    state two {
        packet.extract(h.either.next.two);
        transition either;
    }
}

control Verify(inout headers h, inout metadata meta) {
    apply { }
}

control Compute(inout headers h, inout metadata meta) {
    apply { }
}

control MainIngress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    register<int<8>>(1) memory;

    action found(bit<8> value) {
        h.probe.found = h.probe.found + value;
    }
    table masked_exact {
        key = { h.probe.key & 0x0f: exact @name("key"); }
        actions = { found; NoAction; }
        default_action = NoAction();
    }
    table masked_prefix {
        key = { h.probe.word & 0xf0ff: lpm @name("word"); }
        actions = { found; NoAction; }
        default_action = NoAction();
    }
    table masked_ternary {
        key = {
            h.probe.word & 0x0ff0: ternary @name("word");
            h.probe.key & 0xf0: exact @name("key");
        }
        actions = { found; NoAction; }
        default_action = NoAction();
    }
    table masked_range {
        key = { h.probe.key & 0x0f: range @name("key"); }
        actions = { found; NoAction; }
        default_action = NoAction();
    }

    action take(int<8> value) {
        meta.number = value;
        h.probe.wider = (int<16>)value;
    }
    table numbers {
        key = { h.probe.key: exact; }
        actions = { take; NoAction; }
        default_action = NoAction();
    }
    action look() {
        h.probe.found = h.probe.found + (meta.number < 0 ? 8w1 : 8w0);
        h.probe.found = h.probe.found + (meta.number > 100 ? 8w2 : 8w0);
        h.probe.found = h.probe.found + (meta.number == -1 ? 8w4 : 8w0);
    }

    apply {
        standard.egress_spec = 1;
        meta.passes = meta.passes + 1;
        if (h.probe.what == 0) {
            masked_exact.apply();
            masked_prefix.apply();
            masked_ternary.apply();
            masked_range.apply();
        } else if (h.probe.what == 1) {
            // What was a number below zero comes back as one above 127.
            memory.write(0, h.probe.number);
            memory.read(meta.number, 0);
            look();
            h.probe.wider = (int<16>)meta.number;
            h.probe.number = meta.number >> 1;
        } else if (h.probe.what == 2) {
            // A computation makes it an int<8> again.
            memory.write(0, h.probe.number);
            memory.read(meta.number, 0);
            meta.number = meta.number + 1;
            look();
            h.probe.wider = (int<16>)meta.number;
        } else if (h.probe.what == 3) {
            // Headers take the value along, until they are made anew.
            memory.write(0, h.probe.number);
            memory.read(h.probe.number, 0);
            h.other = h.probe;
            meta.number = h.other.number;
            look();
            h.other.setInvalid();
            h.other.setValid();
            h.probe.wider = (int<16>)h.other.number;
            h.other.setInvalid();
        } else if (h.probe.what == 4) {
            if (meta.passes == 1) {
                memory.write(0, h.probe.number);
                memory.read(meta.number, 0);
                resubmit_preserving_field_list(1);
            } else {
                look();
            }
        } else if (h.probe.what == 5) {
            numbers.apply();
            look();
        } else if (h.probe.what == 0x10) {
            h.named.setInvalid();
            h.named.setValid();
        } else if (h.probe.what == 0x20) {
            h.either.pop_front(1);
        } else if (h.probe.what == 0x21) {
            h.either.push_front(1);
        } else if (h.probe.what == 0x22) {
            h.either[0].one.setValid();
            h.either[0].one.value = 9;
            h.either.push_front(1);
        } else if (h.probe.what == 0x23) {
            h.either.pop_front(3);
        }
        if (h.probe.what == 0x24 && h.either[1].isValid()) {
            h.probe.found = 1;
        }
    }
}

control MainEgress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    apply {
        if (h.probe.what & 0xf0 == 0x10) {
            h.probe.word = (bit<16>)standard.packet_length;
        }
    }
}

control MainDeparser(packet_out packet, in headers h) {
    apply {
        packet.emit(h);
    }
}

V1Switch(MainParser(), Verify(), MainIngress(), MainEgress(), Compute(), MainDeparser()) main;
