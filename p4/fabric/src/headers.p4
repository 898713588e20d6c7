/* Headers, and the metadata that the controls hand to one another. */
#ifndef HEADERS_P4
#define HEADERS_P4

#include "sizes.p4"

typedef bit<9>   port_t;
typedef bit<48>  mac_t;
typedef bit<12>  vlan_t;
typedef bit<20>  label_t;
typedef bit<32>  ipv4_t;
typedef bit<128> ipv6_t;
typedef bit<16>  l4_port_t;
typedef bit<32>  next_t;
typedef bit<16>  vrf_t;
typedef bit<32>  line_t;
typedef bit<16>  chain_t;
typedef bit<8>   position_t;
typedef bit<8>   slice_t;
typedef bit<2>   tc_t;
typedef bit<2>   color_t;
typedef bit<8>   app_t;
typedef bit<16>  peer_t;
typedef bit<16>  mcast_t;

const bit<16> ETHERTYPE_QINQ   = 0x88a8;
const bit<16> ETHERTYPE_QINQ_OLD = 0x9100;
const bit<16> ETHERTYPE_VLAN   = 0x8100;
const bit<16> ETHERTYPE_MPLS   = 0x8847;
const bit<16> ETHERTYPE_IPV4   = 0x0800;
const bit<16> ETHERTYPE_IPV6   = 0x86dd;
const bit<16> ETHERTYPE_ARP    = 0x0806;
const bit<16> ETHERTYPE_PPPOES = 0x8864;

const bit<16> PPP_IPV4 = 0x0021;
const bit<16> PPP_IPV6 = 0x0057;

const bit<8> PROTO_ICMP   = 1;
const bit<8> PROTO_IGMP   = 2;
const bit<8> PROTO_TCP    = 6;
const bit<8> PROTO_UDP    = 17;
const bit<8> PROTO_ICMPV6 = 58;

/* Version and length of an IPv4 header without options; bits of its field about fragments. */
const bit<8>  IPV4_PLAIN      = 0x45;
const bit<16> FRAGMENT_ANY    = 0x3fff;
const bit<16> FRAGMENT_OFFSET = 0x1fff;

const bit<16> ARP_REQUEST = 1;
const bit<16> ARP_REPLY   = 2;

const bit<8>  NDP_SOLICITATION      = 135;
const bit<8>  NDP_ADVERTISEMENT     = 136;
const bit<8>  NDP_SOURCE_LINK_LAYER = 1;
const bit<8>  NDP_TARGET_LINK_LAYER = 2;
/* Solicitation or advertisement with one link-layer address, and without options. */
const bit<16> NDP_LENGTH            = 32;
const bit<16> NDP_BARE_LENGTH       = 24;

const bit<16> UDP_PORT_GTPU = 2152;
const bit<8>  GTPU_GPDU     = 255;
const bit<8>  GTPU_EXT_PSC  = 0x85;

/* Reasons to drop, one bit each. */
const bit<2> NO_WAY = 1;
const bit<2> DENIED = 2;

/* Forwarding decisions of the classifier. */
const bit<3> FWD_BRIDGING  = 0;
const bit<3> FWD_MPLS      = 1;
const bit<3> FWD_IPV4      = 2;
const bit<3> FWD_IPV6      = 3;
const bit<3> FWD_IPV4_MC   = 4;
const bit<3> FWD_IPV6_MC   = 5;

@controller_header("packet_in")
header packet_in_t {
    port_t  ingress_port;
    bit<7>  _pad;
    bit<16> punt_id;        // which rule sent it; 0 when the rule gave none
}

@controller_header("packet_out")
header packet_out_t {
    port_t  egress_port;
    bit<1>  submit;         // 1: run through the tables as if it came from the CPU port
    bit<6>  _pad;
}

header ethernet_t {
    mac_t dst;
    mac_t src;
}

/* The type stands apart from the addresses, so that tags are pushed and popped between them. */
header eth_type_t {
    bit<16> value;
}

header vlan_t_h {
    bit<16> tpid;
    bit<3>  pcp;
    bit<1>  dei;
    vlan_t  vid;
}

header mpls_t {
    label_t label;
    bit<3>  tc;
    bit<1>  bos;
    bit<8>  ttl;
}

header arp_t {
    bit<16> hw_type;
    bit<16> proto_type;
    bit<8>  hw_len;
    bit<8>  proto_len;
    bit<16> oper;
    mac_t   sha;
    ipv4_t  spa;
    mac_t   tha;
    ipv4_t  tpa;
}

header pppoe_t {
    bit<4>  version;
    bit<4>  type_id;
    bit<8>  code;
    bit<16> session_id;
    bit<16> length;
    bit<16> protocol;
}

/* Fields that are read together are one field: 4 bits each of version and length in words; flags above the offset. */
header ipv4_h {
    bit<8>  version_ihl;
    bit<6>  dscp;
    bit<2>  ecn;
    bit<16> total_len;
    bit<16> identification;
    bit<16> fragment;
    bit<8>  ttl;
    bit<8>  protocol;
    bit<16> hdr_checksum;
    ipv4_t  src;
    ipv4_t  dst;
}

header ipv4_options_t {
    varbit<320> data;
}

header ipv6_h {
    bit<4>  version;
    bit<6>  dscp;
    bit<2>  ecn;
    bit<20> flow_label;
    bit<16> payload_len;
    bit<8>  next_header;
    bit<8>  hop_limit;
    ipv6_t  src;
    ipv6_t  dst;
}

header tcp_t {
    l4_port_t sport;
    l4_port_t dport;
    bit<32>   seq_no;
    bit<32>   ack_no;
    bit<4>    data_offset;
    bit<4>    res;
    bit<8>    flags;
    bit<16>   window;
    bit<16>   checksum;
    bit<16>   urgent_ptr;
}

header udp_t {
    l4_port_t sport;
    l4_port_t dport;
    bit<16>   length;
    bit<16>   checksum;
}

/* ICMP, ICMPv6 and IGMP start alike. */
header icmp_t {
    bit<8>  type;
    bit<8>  code;
    bit<16> checksum;
}

/* Neighbour solicitation and advertisement behind `icmp_t`, with the first option: a link-layer address. */
header ndp_t {
    bit<8>  flags;
    bit<24> reserved;
    ipv6_t  target;
    bit<8>  option_type;
    bit<8>  option_len;
    mac_t   option_mac;
}

header igmp_t {
    bit<8>  type;
    bit<8>  max_resp;
    bit<16> checksum;
    ipv4_t  group;
}

header gtpu_t {
    bit<3>  version;
    bit<1>  pt;
    bit<1>  spare;
    bit<1>  ex_flag;
    bit<1>  seq_flag;
    bit<1>  npdu_flag;
    bit<8>  msg_type;
    bit<16> length;
    bit<32> teid;
}

header gtpu_options_t {
    bit<16> seq;
    bit<8>  npdu;
    bit<8>  next_ext;
}

/* PDU session container, TS 38.415 5.5.2: one word when nothing optional follows. */
header gtpu_psc_t {
    bit<8>  len;
    bit<4>  type;
    bit<4>  spare0;
    bit<1>  ppp;
    bit<1>  rqi;
    bit<6>  qfi;
    bit<8>  next_ext;
}

struct headers_t {
    packet_out_t   packet_out;
    packet_in_t    packet_in;
    ethernet_t     ethernet;
    vlan_t_h       vlan;
    vlan_t_h       inner_vlan;
    eth_type_t     eth_type;
    mpls_t[3]      mpls;
    arp_t          arp;
    pppoe_t        pppoe;
    // What the mobile user plane puts in front on the way to a base station.
    ipv4_h         outer_ipv4;
    udp_t          outer_udp;
    gtpu_t         outer_gtpu;
    gtpu_options_t outer_gtpu_options;
    gtpu_psc_t     outer_gtpu_psc;
    ipv4_h         ipv4;
    ipv4_options_t ipv4_options;
    ipv6_h         ipv6;
    tcp_t          tcp;
    udp_t          udp;
    icmp_t         icmp;
    ndp_t          ndp;
    igmp_t         igmp;
    gtpu_t         gtpu;
    gtpu_options_t gtpu_options;
    gtpu_psc_t     gtpu_psc;
    ipv4_h         inner_ipv4;
    ipv4_options_t inner_ipv4_options;
    ipv6_h         inner_ipv6;
    tcp_t          inner_tcp;
    udp_t          inner_udp;
    icmp_t         inner_icmp;
}

/* Kept on the copy that goes to the controller. */
#define PUNT_FIELDS 1

struct local_t {
    @field_list(PUNT_FIELDS)
    port_t     ingress_port;
    @field_list(PUNT_FIELDS)
    bit<16>    punt_id;

    // Set by the classifier of ports and VLANs.
    bit<1>     tagged;
    bit<1>     double_tagged;
    vlan_t     vlan_id;         // the VLAN inside the switch
    vlan_t     inner_vlan_id;
    bit<3>     pcp;
    bit<1>     dei;
    vrf_t      vrf;
    bit<16>    eth_type;        // behind tags and PPPoE
    bit<1>     broken;          // cut short or with a wrong checksum: leaves as it is, or not at all
    bit<1>     sealed;          // in a circuit or in transit under a label: nothing behind tags and labels is touched
    bit<1>     settled;         // came under a label or in a circuit: no service chain begins here

    bit<1>     answered;        // the packet is an answer of this switch to where it came from

    // Forwarding.
    bit<3>     fwd;
    next_t     next_id;
    bit<1>     skip_next;       // the way out is already decided
    bit<2>     drop;            // NO_WAY, which a rule may mend, and DENIED
    bit<16>    glean_id;        // the controller is to ask for the host; 0 when not
    bit<1>     routed;          // decrement the TTL
    bit<1>     push_label;
    label_t    label;
    bit<1>     push_service;
    label_t    service_label;
    bit<1>     bypass_egress;   // a packet-out leaves as it came
    bit<1>     out_double;
    bit<1>     out_as_is;       // tags are final: no egress VLAN rule applies
    vlan_t     out_vlan;
    vlan_t     out_inner_vlan;

    // Fields of the packet that several tables match on, valid or zero.
    ipv4_t     src_v4;
    ipv4_t     dst_v4;
    bit<8>     ip_proto;
    l4_port_t  l4_sport;
    l4_port_t  l4_dport;
    bit<8>     icmp_type;
    bit<8>     icmp_code;
    bit<6>     dscp;
    l4_port_t  flow_sport;      // of the innermost packet; 0 in fragments, so that all of them go one way
    l4_port_t  flow_dport;
    bit<32>    flow_hash;
    bit<32>    pair_hash;       // the same for both directions of a flow

    // Subscribers.
    bit<1>     from_line;
    line_t     line_id;
    bit<1>     to_line;
    line_t     down_line_id;
    bit<1>     push_pppoe;
    bit<16>    pppoe_session;

    // Quality of service.
    slice_t    slice;
    tc_t       tc;
    color_t    color;

    // Service chains.
    bit<1>     in_chain;
    chain_t    chain_id;
    position_t position;

    // Mobile user plane.
    bit<1>     upf_uplink;
    bit<1>     upf_downlink;
    bit<32>    teid;
    bit<6>     qfi;
    app_t      app_id;
    peer_t     tunnel_peer;
    bit<17>    session_index;
    bit<1>     push_gtpu;
    ipv4_t     tunnel_src;
    ipv4_t     tunnel_dst;
    l4_port_t  tunnel_sport;
}

#endif
