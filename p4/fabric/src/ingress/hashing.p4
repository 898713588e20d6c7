/* Flow hashes over the innermost addresses and ports, also under MPLS and GTP-U. Longer addresses are folded to 32 bits first,
   so that the hash, which every packet pays for, is over 13 bytes. */
#define FOLD_MAC(mac) (mac[47:16] ^ (bit<32>)mac[15:0])
#define FOLD_IPV6(ip) (ip[127:96] ^ ip[95:64] ^ ip[63:32] ^ ip[31:0])

control Hashing(inout headers_t hdr, inout local_t local) {
    bit<32> a = 0;
    bit<32> b = 0;
    bit<8>  proto = 0;
    bit<16> sport = 0;
    bit<16> dport = 0;

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
            a = FOLD_MAC(hdr.ethernet.src); b = FOLD_MAC(hdr.ethernet.dst);
        }
        if (hdr.inner_tcp.isValid()) {
            sport = hdr.inner_tcp.sport; dport = hdr.inner_tcp.dport;
        } else if (hdr.inner_udp.isValid()) {
            sport = hdr.inner_udp.sport; dport = hdr.inner_udp.dport;
        } else if (!hdr.gtpu.isValid()) {
            sport = local.l4_sport; dport = local.l4_dport;
        }
        // In this order neighbouring addresses and neighbouring ports spread evenly over 2, 4 and 8 members: the bits of a CRC
        // that choose are a linear function of the input, and not of every order one of full rank.
        hash(local.flow_hash, HashAlgorithm.crc32, (bit<32>)0, { a, sport, b, dport, proto }, (bit<32>)0xffffffff);
        // Other bits choose in the spine than in the leaf, so that the second choice does not repeat the first.
        if (hdr.mpls[0].isValid()) { local.flow_hash = local.flow_hash[15:0] ++ local.flow_hash[31:16]; }
        if (local.in_chain == 1) {
            if (a > b || (a == b && sport > dport)) {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { b, dport, a, sport, proto }, (bit<32>)0xffffffff);
            } else {
                hash(local.pair_hash, HashAlgorithm.crc32, (bit<32>)0, { a, sport, b, dport, proto }, (bit<32>)0xffffffff);
            }
        }
    }
}
