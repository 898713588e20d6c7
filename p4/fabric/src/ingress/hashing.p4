/* Flow hashes over the innermost addresses and ports, also under MPLS and GTP-U. */

control Hashing(inout headers_t hdr, inout local_t local) {
    bit<128> a = 0;
    bit<128> b = 0;
    bit<8>   proto = 0;
    bit<16>  sport = 0;
    bit<16>  dport = 0;

    apply {
        if (hdr.inner_ipv4.isValid()) {
            a = (bit<128>)hdr.inner_ipv4.src; b = (bit<128>)hdr.inner_ipv4.dst; proto = hdr.inner_ipv4.protocol;
        } else if (hdr.inner_ipv6.isValid()) {
            a = hdr.inner_ipv6.src; b = hdr.inner_ipv6.dst; proto = hdr.inner_ipv6.next_header;
        } else if (hdr.ipv4.isValid()) {
            a = (bit<128>)hdr.ipv4.src; b = (bit<128>)hdr.ipv4.dst; proto = hdr.ipv4.protocol;
        } else if (hdr.ipv6.isValid()) {
            a = hdr.ipv6.src; b = hdr.ipv6.dst; proto = hdr.ipv6.next_header;
        } else {
            a = (bit<128>)hdr.ethernet.src; b = (bit<128>)hdr.ethernet.dst;
        }
        if (hdr.inner_tcp.isValid()) {
            sport = hdr.inner_tcp.sport; dport = hdr.inner_tcp.dport;
        } else if (hdr.inner_udp.isValid()) {
            sport = hdr.inner_udp.sport; dport = hdr.inner_udp.dport;
        } else if (!hdr.gtpu.isValid()) {
            sport = local.l4_sport; dport = local.l4_dport;
        }
        // Another polynomial in the spine than in the leaf, so that the second choice does not
        // repeat the first.
        if (hdr.mpls[0].isValid()) {
            hash(local.flow_hash, HashAlgorithm.crc16, (bit<32>)0, { a, b, proto, sport, dport }, (bit<32>)0xffff);
        } else {
            hash(local.flow_hash, HashAlgorithm.crc32, (bit<32>)0, { a, b, proto, sport, dport }, (bit<32>)0xffffffff);
        }
        if (local.in_chain == 1) {
            if (a > b || (a == b && sport > dport)) {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { b, a, proto, dport, sport }, (bit<32>)0xffffffff);
            } else {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { a, b, proto, sport, dport }, (bit<32>)0xffffffff);
            }
        }
    }
}
