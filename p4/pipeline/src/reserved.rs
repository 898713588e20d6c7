//! Numbers that the program and the controller agree on: `p4/fabric/src/sizes.p4` and `headers.p4` have the same.

/// The port on which packets go to and come from the controller.
pub const CPU_PORT: u16 = 255;

/// The clone session that copies to it.
pub const CPU_CLONE_SESSION: u32 = 500;

/// Why a packet was sent to the controller: a protocol it takes part in.
pub const PUNT_PROTOCOL: u16 = 1;
/// A packet to a host of a connected prefix that is not known.
pub const PUNT_GLEAN: u16 = 2;
/// An operator's rule.
pub const PUNT_POLICY: u16 = 3;
/// ARP or NDP that the switch has answered itself: to learn from, not to answer.
pub const PUNT_ANSWERED: u16 = 4;
/// A packet to be routed whose time to live is over.
pub const PUNT_EXPIRED: u16 = 5;

/// Forwarding decisions of `fwd_classifier`.
pub const FWD_BRIDGING: u8 = 0;
pub const FWD_MPLS: u8 = 1;
pub const FWD_IPV4: u8 = 2;
pub const FWD_IPV6: u8 = 3;
pub const FWD_IPV4_MULTICAST: u8 = 4;
pub const FWD_IPV6_MULTICAST: u8 = 5;

/// `packet_in` and `packet_out` metadata ids, in the order of the header's fields.
pub mod packet_in {
    pub const INGRESS_PORT: u32 = 1;
    pub const PUNT_ID: u32 = 3;
}

pub mod packet_out {
    pub const EGRESS_PORT: u32 = 1;
    pub const SUBMIT: u32 = 2;
    pub const PAD: u32 = 3;
}
