// What a packet rarely meets: keys of headers that are gone, long loops, truncated copies that come again.
#include <core.p4>
#include <v1model.p4>

header order_t {
    bit<8> what;
    bit<8> count;
    bit<8> found;
    bit<8> pass;
    bit<16> sum;
}

header item_t {
    bit<8> key;
    bit<72> wide;
}

struct headers {
    order_t order;
    item_t item;
    item_t[2] items;
}

struct metadata {
    @field_list(1)
    bit<8> passes;
}

parser MainParser(packet_in packet, out headers h, inout metadata meta, inout standard_metadata_t standard) {
    state start {
        packet.extract(h.order);
        packet.extract(h.item);
        packet.extract(h.items.next);
        packet.extract(h.items.next);
        transition accept;
    }
}

control Verify(inout headers h, inout metadata meta) {
    apply { }
}

control Compute(inout headers h, inout metadata meta) {
    apply {
        update_checksum_with_payload(h.order.what >= 8, { h.order.what }, h.order.sum, HashAlgorithm.csum16);
    }
}

control MainIngress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    action found(bit<8> value) {
        h.order.found = h.order.found + value;
    }
    table by_key {
        key = { h.item.key: exact; }
        actions = { found; NoAction; }
        const entries = { 0: found(1); 5: found(2); }
        const default_action = NoAction();
    }
    table by_wide {
        key = { h.item.wide: lpm; }
        actions = { found; NoAction; }
        const entries = { 0: found(4); 7: found(8); }
        const default_action = NoAction();
    }
    // BMv2 does not take keys below zero.
    action constant(int<8> value) {
        h.items[1].wide = (bit<72>)(bit<16>)(int<16>)value;
        h.items[1].key = (value < 0) ? 8w1 : 8w2;
    }
    table constants {
        key = { (int<8>)h.order.count: exact @name("count"); }
        actions = { constant; NoAction; }
        const entries = { -3: constant(-4); 3: constant(4); }
        const default_action = NoAction();
    }
    action add_up() {
        for (bit<8> i = 0; i < h.order.count; i = i + 1) {
            for (bit<8> j = 0; j < h.order.count; j = j + 1) {
                h.order.sum = h.order.sum + 1;
            }
        }
    }

    apply {
        standard.egress_spec = 1;
        if (h.order.what == 1) {
            h.item.setInvalid();
        } else if (h.order.what == 2) {
            // What is pushed out changes places with what is pushed in.
            h.items.push_front(1);
            h.order.found = h.order.found + h.items[0].key;
        } else if (h.order.what == 3) {
            h.items.pop_front(1);
            h.order.found = h.order.found + h.items[1].key;
        } else if (h.order.what == 4) {
            // Fields of a header that is not valid keep what is written; tables do not see it.
            h.item.setInvalid();
            h.item.key = 5;
            h.order.found = h.order.found + h.item.key;
        } else if (h.order.what == 5) {
            add_up();
        } else if (h.order.what == 10) {
            constants.apply();
        }
        by_key.apply();
        by_wide.apply();
    }
}

control MainEgress(inout headers h, inout metadata meta, inout standard_metadata_t standard) {
    apply {
        h.order.pass = meta.passes;
        if (h.order.what == 6 && meta.passes == 0) {
            meta.passes = 1;
            truncate(10);
            recirculate_preserving_field_list(1);
        } else if (h.order.what == 7) {
            truncate(10);
        } else if (h.order.what == 9) {
            truncate(6);
        }
    }
}

control MainDeparser(packet_out packet, in headers h) {
    apply {
        packet.emit(h);
    }
}

V1Switch(MainParser(), Verify(), MainIngress(), MainEgress(), Compute(), MainDeparser()) main;
