/* Flow hashes over the innermost addresses and ports, also under MPLS and GTP-U. Longer addresses are folded to 32 bits first,
   so that the hash, which every packet pays for, is over 13 bytes. */
#define FOLD_MAC(mac) (mac[47:16] ^ (bit<32>)mac[15:0])
#define FOLD_IPV6(ip) (ip[127:96] ^ ip[95:64] ^ ip[63:32] ^ ip[31:0])

control Hashing(inout headers_t hdr, inout local_t local) {
    bit<32> a;
    bit<32> b;
    bit<8>  proto;

    apply {
        if (hdr.inner_ipv4.isValid()) {
            a = hdr.inner_ipv4.src; b = hdr.inner_ipv4.dst; proto = hdr.inner_ipv4.protocol;
        } else if (hdr.inner_ipv6.isValid()) {
            a = FOLD_IPV6(hdr.inner_ipv6.src); b = FOLD_IPV6(hdr.inner_ipv6.dst); proto = hdr.inner_ipv6.next_header;
        } else if (hdr.ipv4.isValid()) {
            a = hdr.ipv4.src; b = hdr.ipv4.dst; proto = hdr.ipv4.protocol;
        } else if (hdr.ipv6.isValid()) {
            a = FOLD_IPV6(hdr.ipv6.src); b = FOLD_IPV6(hdr.ipv6.dst); proto = hdr.ipv6.next_header;
        } else {
            a = FOLD_MAC(hdr.ethernet.src); b = FOLD_MAC(hdr.ethernet.dst); proto = 0;
        }
        // In this order neighbouring addresses and neighbouring ports spread evenly over 2, 4 and 8 members: the bits of a CRC
        // that choose are a linear function of the input, and not of every order one of full rank.
        hash(local.flow_hash, HashAlgorithm.crc32, (bit<32>)0, { a, local.flow_sport, b, local.flow_dport, proto }, (bit<32>)0xffffffff);
        // Other bits choose in the spine than in the leaf, so that the second choice does not repeat the first.
        if (local.settled == 1) { local.flow_hash = local.flow_hash[15:0] ++ local.flow_hash[31:16]; }
        if (local.in_chain == 1) {
            if (a > b || (a == b && local.flow_sport > local.flow_dport)) {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { b, local.flow_dport, a, local.flow_sport, proto }, (bit<32>)0xffffffff);
            } else {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { a, local.flow_sport, b, local.flow_dport, proto }, (bit<32>)0xffffffff);
            }
        }
    }
}
