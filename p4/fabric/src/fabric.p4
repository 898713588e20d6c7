/* The central-office pipeline, v1model. README.md in p4/ has the diagram. */
#include <core.p4>
#include <v1model.p4>

#include "sizes.p4"
#include "headers.p4"
#include "parser.p4"
#include "ingress/filtering.p4"
#include "ingress/answer.p4"
#include "ingress/line.p4"
#include "ingress/labels.p4"
#include "ingress/hashing.p4"
#include "ingress/qos.p4"
#include "ingress/chain.p4"
#include "ingress/upf.p4"
#include "ingress/forwarding.p4"
#include "ingress/acl.p4"
#include "ingress/next.p4"
#include "ingress/line_down.p4"
#include "egress/rewrite.p4"

const bit<32> INSTANCE_INGRESS_CLONE = 1;

control FabricIngress(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    Filtering() filtering;
    Answer() answer;
    LineUp() line_up;
    Labels() labels;
    SliceTc() slice_tc;
    ChainClassify() chain_classify;
    ChainSteer() chain_steer;
    Hashing() hashing;
    Upf() upf;
    Forwarding() forwarding;
    Acl() acl;
    PreNext() pre_next;
    Next() next;
    LineDown() line_down;
    Police() police;

    apply {
        if (hdr.packet_out.isValid()) {
            if (hdr.packet_out.submit == 0) {
                std.egress_spec = hdr.packet_out.egress_port;
                local.bypass_egress = 1;
                hdr.packet_out.setInvalid();
                exit;
            }
            hdr.packet_out.setInvalid();
        }
        filtering.apply(hdr, local, std);
        // What is broken inside is dropped, but for circuits and what is in transit under a label: nobody reads it here.
        if (std.parser_error != error.NoError || std.checksum_error == 1) {
            local.broken = 1;
            if (!hdr.eth_type.isValid() || (local.sealed == 0 && local.fwd != FWD_MPLS)) {
                mark_to_drop(std);
                exit;
            }
        }
        if (local.sealed == 0) {
            answer.apply(hdr, local, std);
            if (local.answered == 1) { exit; }
            line_up.apply(hdr, local, std);
        }
        if (local.fwd == FWD_MPLS) { labels.apply(hdr, local, std); }
        slice_tc.apply(hdr, local, std);
        // Tunnels end for what is routed here: not in circuits, within a VLAN, or under a label.
        if (local.fwd == FWD_IPV4 || local.fwd == FWD_IPV6) { upf.apply(hdr, local, std); }
        chain_classify.apply(hdr, local, std);
        hashing.apply(hdr, local);
        if (local.in_chain == 1) { chain_steer.apply(hdr, local, std); }
        // Inside a chain the chain decides. Instances see users' packets in both directions: the tunnel begins behind it.
        if (local.in_chain == 0) {
            forwarding.apply(hdr, local, std);
            // Rules are about the user, not about the base station.
            if (local.push_gtpu == 1 && hdr.ipv4.isValid()) { local.dst_v4 = hdr.ipv4.dst; }
        } else {
            local.push_gtpu = 0;
            if (hdr.ipv4.isValid()) { local.dst_v4 = hdr.ipv4.dst; }
        }
        // Tags end where a packet is routed, and at a tunnel of labels.
        if (local.routed == 1 || local.push_service == 1) {
            hdr.vlan.setInvalid();
            hdr.inner_vlan.setInvalid();
        }
        acl.apply(hdr, local, std);
        // No hop is left: the controller tells the sender.
        if (local.routed == 1 && local.drop == 0 && std.mcast_grp == 0 &&
            ((hdr.ipv4.isValid() && hdr.ipv4.ttl <= 1) || (hdr.ipv6.isValid() && hdr.ipv6.hop_limit <= 1))) {
            local.punt_id = PUNT_EXPIRED;
            clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
            local.drop = DENIED;
        }
        if (local.to_line == 1) { line_down.apply(hdr, local, std); }
        if (local.skip_next == 0 && local.drop == 0) {
            pre_next.apply(hdr, local);
            next.apply(hdr, local, std);
        }
        police.apply(local, std);

        // Everything above only takes notes: a punted copy leaves also when the packet dies here.
        if (local.drop != 0) {
            // Nobody asks for a host on behalf of what was denied. A protocol's copy says more, an operator's less.
            if (local.drop == NO_WAY && local.glean_id != 0 && (local.punt_id == 0 || local.punt_id == PUNT_POLICY)) {
                local.punt_id = local.glean_id;
                clone_preserving_field_list(CloneType.I2E, CPU_CLONE_SESSION, PUNT_FIELDS);
            }
            std.mcast_grp = 0;
            mark_to_drop(std);
        }
    }
}

control FabricEgress(inout headers_t hdr, inout local_t local, inout standard_metadata_t std) {
    Rewrite() rewrite;

    apply {
        if (std.instance_type == INSTANCE_INGRESS_CLONE || std.egress_port == CPU_PORT) {
            hdr.packet_out.setInvalid();
            hdr.packet_in.setValid();
            hdr.packet_in.ingress_port = local.ingress_port;
            hdr.packet_in._pad = 0;
            hdr.packet_in.punt_id = local.punt_id;
        } else if (local.bypass_egress == 0) {
            rewrite.apply(hdr, local, std);
        }
    }
}

V1Switch(FabricParser(), FabricVerifyChecksum(), FabricIngress(), FabricEgress(),
         FabricComputeChecksum(), FabricDeparser()) main;
