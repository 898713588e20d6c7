//! The tables of the fabric pipeline, in one list.

pub mod acl;
pub mod acl_ipv6;
pub mod applications;
pub mod applications_v6;
pub mod arp_answers;
pub mod bridging;
pub mod chain_classifier;
pub mod chain_classifier_v6;
pub mod chain_hop;
pub mod chain_return;
pub mod downlink_session;
pub mod downlink_session_v6;
pub mod downlink_termination;
pub mod downlink_termination_v6;
pub mod dscp_rewriter;
pub mod egress_vlan;
pub mod fwd_classifier;
pub mod guard_v4;
pub mod guard_v6;
pub mod ingress_port_vlan;
pub mod interfaces;
pub mod interfaces_v6;
pub mod ipv4_multicast;
pub mod ipv4_unicast;
pub mod ipv6_multicast;
pub mod ipv6_unicast;
pub mod line_down;
pub mod line_up;
pub mod mpls;
pub mod ndp_answers;
pub mod next_hashed;
pub mod next_mpls;
pub mod next_multicast;
pub mod next_simple;
pub mod next_vlan;
pub mod pppoe_session;
pub mod queues;
pub mod replicas;
pub mod slice_tc;
pub mod slice_tc_v6;
pub mod tunnel_peers;
pub mod uplink_session;
pub mod uplink_termination;
pub mod uplink_termination_v6;
pub mod xconnect;

use crate::table::{Stage, TableDef};

/// Every table.
pub const ALL: &[&TableDef] = &[
    &acl::TABLE,
    &acl_ipv6::TABLE,
    &applications::TABLE,
    &applications_v6::TABLE,
    &arp_answers::TABLE,
    &bridging::TABLE,
    &chain_classifier::TABLE,
    &chain_classifier_v6::TABLE,
    &chain_hop::TABLE,
    &chain_return::TABLE,
    &downlink_session::TABLE,
    &downlink_session_v6::TABLE,
    &downlink_termination::TABLE,
    &downlink_termination_v6::TABLE,
    &dscp_rewriter::TABLE,
    &egress_vlan::TABLE,
    &fwd_classifier::TABLE,
    &guard_v4::TABLE,
    &guard_v6::TABLE,
    &ingress_port_vlan::TABLE,
    &interfaces::TABLE,
    &interfaces_v6::TABLE,
    &ipv4_multicast::TABLE,
    &ipv4_unicast::TABLE,
    &ipv6_multicast::TABLE,
    &ipv6_unicast::TABLE,
    &line_down::TABLE,
    &line_up::TABLE,
    &mpls::TABLE,
    &ndp_answers::TABLE,
    &next_hashed::TABLE,
    &next_mpls::TABLE,
    &next_multicast::TABLE,
    &next_simple::TABLE,
    &next_vlan::TABLE,
    &pppoe_session::TABLE,
    &queues::TABLE,
    &replicas::TABLE,
    &slice_tc::TABLE,
    &slice_tc_v6::TABLE,
    &tunnel_peers::TABLE,
    &uplink_session::TABLE,
    &uplink_termination::TABLE,
    &uplink_termination_v6::TABLE,
    &xconnect::TABLE,
];

/// The table with this id.
pub fn by_id(id: u32) -> Option<&'static TableDef> {
    ALL.iter().copied().find(|table| table.id == id)
}

/// The table with this name, in full or its last part.
pub fn by_name(name: &str) -> Option<&'static TableDef> {
    ALL.iter().copied().find(|table| table.name == name || table.short_name() == name)
}

/// The stage of a table; tables of other pipelines count as forwarding.
pub fn stage(id: u32) -> Stage {
    by_id(id).map_or(Stage::Forwarding, |table| table.stage)
}
