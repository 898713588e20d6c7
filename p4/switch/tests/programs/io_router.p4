// A small router with constant routes: 10.0.1.0/24 leaves by port 1, 10.0.0.0/24 by port 0. For the veth benchmark.
#include <core.p4>
#include <v1model.p4>

header ethernet_t { bit<48> dst; bit<48> src; bit<16> kind; }
header ipv4_t {
    bit<4> version; bit<4> ihl; bit<8> tos; bit<16> len; bit<16> id; bit<3> flags; bit<13> offset;
    bit<8> ttl; bit<8> protocol; bit<16> checksum; bit<32> src; bit<32> dst;
}
struct headers { ethernet_t ethernet; ipv4_t ipv4; }
struct metadata { bit<16> next; }

parser Parse(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t std) {
    state start {
        packet.extract(hdr.ethernet);
        transition select(hdr.ethernet.kind) { 0x0800: ipv4; default: accept; }
    }
    state ipv4 { packet.extract(hdr.ipv4); transition accept; }
}

control Verify(inout headers hdr, inout metadata meta) {
    apply { verify_checksum(hdr.ipv4.isValid(), { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.tos, hdr.ipv4.len, hdr.ipv4.id,
        hdr.ipv4.flags, hdr.ipv4.offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src, hdr.ipv4.dst },
        hdr.ipv4.checksum, HashAlgorithm.csum16); }
}

control RouterIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t std) {
    action drop() { mark_to_drop(std); }
    action route(bit<16> next) { meta.next = next; hdr.ipv4.ttl = hdr.ipv4.ttl - 1; }
    table routes {
        key = { hdr.ipv4.dst: lpm; }
        actions = { route; drop; }
        const default_action = drop();
        const entries = {
            0x0a000000 &&& 0xffffff00: route(1);
            0x0a000100 &&& 0xffffff00: route(2);
        }
    }
    action send(bit<9> port, bit<48> src, bit<48> dst) {
        std.egress_spec = port;
        hdr.ethernet.src = src;
        hdr.ethernet.dst = dst;
    }
    table next_hops {
        key = { meta.next: exact; }
        actions = { send; drop; }
        const default_action = drop();
        const entries = {
            1: send(0, 0x020000000010, 0x020000000001);
            2: send(1, 0x020000000011, 0x020000000002);
        }
    }
    apply {
        if (hdr.ipv4.isValid() && hdr.ipv4.ttl > 1 && std.checksum_error == 0) {
            if (routes.apply().hit) { next_hops.apply(); }
        } else {
            drop();
        }
    }
}

control NoEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t std) { apply { } }

control Update(inout headers hdr, inout metadata meta) {
    apply { update_checksum(hdr.ipv4.isValid(), { hdr.ipv4.version, hdr.ipv4.ihl, hdr.ipv4.tos, hdr.ipv4.len, hdr.ipv4.id,
        hdr.ipv4.flags, hdr.ipv4.offset, hdr.ipv4.ttl, hdr.ipv4.protocol, hdr.ipv4.src, hdr.ipv4.dst },
        hdr.ipv4.checksum, HashAlgorithm.csum16); }
}

control Deparse(packet_out packet, in headers hdr) { apply { packet.emit(hdr.ethernet); packet.emit(hdr.ipv4); } }

V1Switch(Parse(), Verify(), RouterIngress(), NoEgress(), Update(), Deparse()) main;
