// Forwards in the Mininet topology leafspine with two spines by the hosts' MAC addresses 02:00:00:00:LEAF:HOST, without any
// entries. With SPINE defined it is the spines' program, else the leaves'.
#include <core.p4>
#include <v1model.p4>

const bit<9> SPINES = 2;

header ethernet_t { bit<32> site; bit<8> leaf; bit<8> host; bit<40> src_site; bit<8> src_host; bit<16> kind; }
struct headers { ethernet_t ethernet; }
struct metadata { }

parser Parse(packet_in packet, out headers hdr, inout metadata meta, inout standard_metadata_t std) {
    state start { packet.extract(hdr.ethernet); transition accept; }
}
control Verify(inout headers hdr, inout metadata meta) { apply { } }
control Update(inout headers hdr, inout metadata meta) { apply { } }
control NoEgress(inout headers hdr, inout metadata meta, inout standard_metadata_t std) { apply { } }

control FabricIngress(inout headers hdr, inout metadata meta, inout standard_metadata_t std) {
    apply {
        if (hdr.ethernet.site != 0x02000000) {
            mark_to_drop(std);
        } else {
#ifdef SPINE
            std.egress_spec = (bit<9>)hdr.ethernet.leaf;
#else
            bool local = hdr.ethernet.src_site[7:0] == hdr.ethernet.leaf;
            if (std.ingress_port <= SPINES || local) {
                std.egress_spec = SPINES + (bit<9>)hdr.ethernet.host;
            } else {
                // Both spines carry traffic: the choice is the sender's.
                std.egress_spec = 1 + (bit<9>)(hdr.ethernet.src_host & 1);
            }
#endif
        }
    }
}

control Deparse(packet_out packet, in headers hdr) { apply { packet.emit(hdr.ethernet); } }

V1Switch(Parse(), Verify(), FabricIngress(), NoEgress(), Update(), Deparse()) main;
