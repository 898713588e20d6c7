/* Every size and reserved number of the pipeline, in one place. */
#ifndef SIZES_P4
#define SIZES_P4

// Reserved numbers that the controller shares (p4/pipeline/src/reserved.rs).
#define CPU_PORT            255
#define CPU_CLONE_SESSION   500
#define PUNT_POLICY         3
#define PUNT_EXPIRED        5

// Fabric.
#define INGRESS_VLAN_SIZE   32768
#define CLASSIFIER_SIZE     4096
#define BRIDGING_SIZE       65536
#define MPLS_SIZE           4096
#define IPV4_UNICAST_SIZE   262144
#define IPV6_UNICAST_SIZE   131072
#define IPV4_MULTICAST_SIZE 8192
#define IPV6_MULTICAST_SIZE 8192
#define NEXT_SIZE           65536
#define NEXT_MEMBERS        131072
#define NEXT_GROUP_MAX      256
#define XCONNECT_SIZE       16384
#define ACL_SIZE            8192
#define EGRESS_VLAN_SIZE    65536
#define REPLICA_SIZE        4096
#define NEIGHBOUR_SIZE      131072
#define PORTS_SIZE          512

// Subscriber lines.
#define LINE_SIZE           32768
#define GUARD_SIZE          131072

// Quality of service.
#define SLICE_TC_SIZE       4096
#define SLICE_TC_COUNT      1024

// Service chains.
#define CHAIN_RULES         16384
#define CHAIN_HOPS          8192
#define CHAIN_MEMBERS       16384
#define CHAIN_GROUP_MAX     128

// Mobile user plane.
#define UE_INTERFACES       1024
#define UE_SESSIONS         131072
#define UE_TERMINATIONS     262144
#define TUNNEL_PEERS        1024
#define APP_FILTERS         4096

#endif
