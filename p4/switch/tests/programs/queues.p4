// Writes the depth of the queue, before and behind it, into the packet, and logs with and without values.
#include <core.p4>
#include <v1model.p4>

header depths_t {
    bit<32> before;
    bit<32> behind;
}

struct headers_t {
    depths_t depths;
}

struct meta_t {}

parser P(packet_in pkt, out headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    state start {
        pkt.extract(hdr.depths);
        transition accept;
    }
}
control Verify(inout headers_t hdr, inout meta_t meta) { apply {} }
control MainIngress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    apply {
        log_msg("two lines of a log without values, and with one");
        log_msg("from port {}", { std.ingress_port });
        std.egress_spec = std.ingress_port ^ 1;
    }
}
control MainEgress(inout headers_t hdr, inout meta_t meta, inout standard_metadata_t std) {
    apply {
        hdr.depths.before = (bit<32>)std.enq_qdepth;
        hdr.depths.behind = (bit<32>)std.deq_qdepth;
    }
}
control Compute(inout headers_t hdr, inout meta_t meta) { apply {} }
control Deparse(packet_out pkt, in headers_t hdr) { apply { pkt.emit(hdr.depths); } }

V1Switch(P(), Verify(), MainIngress(), MainEgress(), Compute(), Deparse()) main;
