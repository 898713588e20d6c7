//! What a role may do (P4Runtime 5.2). The scheme of `role.config` is the one Stratum made common.
//!
//! A role without a configuration has full access. With one it may write the objects that are listed, exclusively or shared;
//! an object that one role owns exclusively is closed to the writes of all others. Multicast groups and clone sessions have no
//! P4Info id and are shared.

use std::collections::HashSet;

use prost::Message;
use prost_types::Any;

use super::failure::{Failure, Outcome};

/// The contents of `role.config`.
#[derive(Clone, PartialEq, Message)]
pub struct RoleConfig {
    /// P4Info ids that only this role may write.
    #[prost(uint32, repeated, tag = "1")]
    pub exclusive_p4_ids: Vec<u32>,
    /// P4Info ids that this role may write among others.
    #[prost(uint32, repeated, tag = "2")]
    pub shared_p4_ids: Vec<u32>,
    /// Whether packet-ins go to this role.
    #[prost(bool, tag = "3")]
    pub receives_packet_ins: bool,
    /// When set, only packet-ins with this value.
    #[prost(message, optional, tag = "4")]
    pub packet_in_filter: Option<PacketFilter>,
    /// Whether this role may set the pipeline.
    #[prost(bool, tag = "5")]
    pub can_push_pipeline: bool,
}

/// Selects packet-ins by one metadata field.
#[derive(Clone, PartialEq, Message)]
pub struct PacketFilter {
    /// The id in P4Info's `packet_in` header.
    #[prost(uint32, tag = "1")]
    pub metadata_id: u32,
    /// The wanted value, a canonical byte string.
    #[prost(bytes = "vec", tag = "2")]
    pub value: Vec<u8>,
}

/// Full names under which the message is accepted in `Any`.
const NAMES: [&str; 2] = ["stratum.P4RoleConfig", "pergola.p4switch.RoleConfig"];

/// A role's rights.
#[derive(Debug, Default)]
pub struct Scope(Option<Limits>);

#[derive(Debug)]
struct Limits {
    exclusive: HashSet<u32>,
    shared: HashSet<u32>,
    config: RoleConfig,
}

static FULL: Scope = Scope(None);

impl Scope {
    /// Everything is allowed.
    pub fn full() -> &'static Scope {
        &FULL
    }

    /// Reads a role's configuration; none means everything.
    pub fn parse(config: Option<&Any>) -> Outcome<Scope> {
        let Some(any) = config else { return Ok(Scope(None)) };
        let name = any.type_url.rsplit('/').next().unwrap_or_default();
        if !NAMES.contains(&name) {
            return Err(Failure::invalid(format!(
                "role.config: type \"{name}\" is not known, allowed is one of {NAMES:?}"
            )));
        }
        let config = RoleConfig::decode(any.value.as_slice())
            .map_err(|error| Failure::invalid(format!("role.config: {error}")))?;
        Ok(Scope(Some(Limits {
            exclusive: config.exclusive_p4_ids.iter().copied().collect(),
            shared: config.shared_p4_ids.iter().copied().collect(),
            config,
        })))
    }

    /// Whether the role may write the object and sees it in reads.
    pub fn includes(&self, id: u32) -> bool {
        self.0.as_ref().is_none_or(|l| l.exclusive.contains(&id) || l.shared.contains(&id))
    }

    /// Whether the role has full access.
    pub fn is_full(&self) -> bool {
        self.0.is_none()
    }

    /// Whether the role claims the object for itself.
    pub fn owns_exclusively(&self, id: u32) -> bool {
        self.0.as_ref().is_some_and(|l| l.exclusive.contains(&id))
    }

    /// An object that both claim where one claims it alone.
    pub fn exclusive_overlap(&self, other: &Scope) -> Option<u32> {
        let (ours, theirs) = (self.0.as_ref()?, other.0.as_ref()?);
        let clash = |a: &Limits, b: &Limits| {
            a.exclusive.iter().copied().find(|id| b.exclusive.contains(id) || b.shared.contains(id))
        };
        clash(ours, theirs).or_else(|| clash(theirs, ours))
    }

    /// Whether the role may set the forwarding pipeline.
    pub fn can_push_pipeline(&self) -> bool {
        self.0.as_ref().is_none_or(|l| l.config.can_push_pipeline)
    }

    /// Whether a packet-in with these metadata (id, canonical value) goes to the role.
    pub fn receives_packet(&self, metadata: &[(u32, &[u8])]) -> bool {
        let Some(limits) = &self.0 else { return true };
        limits.config.receives_packet_ins
            && limits
                .config
                .packet_in_filter
                .as_ref()
                .is_none_or(|f| metadata.iter().any(|(id, v)| *id == f.metadata_id && *v == f.value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scope(config: &RoleConfig) -> Scope {
        let type_url = "type.googleapis.com/stratum.P4RoleConfig".to_owned();
        Scope::parse(Some(&Any { type_url, value: config.encode_to_vec() })).unwrap()
    }

    #[test]
    fn limits_follow_the_lists() {
        assert!(Scope::full().includes(1) && Scope::full().can_push_pipeline());
        let a = scope(&RoleConfig { exclusive_p4_ids: vec![1], shared_p4_ids: vec![2], ..Default::default() });
        assert!(a.includes(1) && a.includes(2) && !a.includes(3));
        assert!(a.owns_exclusively(1) && !a.owns_exclusively(2));
        assert!(!a.can_push_pipeline() && !a.receives_packet(&[]));
        let b = scope(&RoleConfig { shared_p4_ids: vec![1, 2], ..Default::default() });
        assert_eq!(a.exclusive_overlap(&b), Some(1));
        assert_eq!(b.exclusive_overlap(&a), Some(1));
    }

    #[test]
    fn packet_ins_are_filtered() {
        let filter = PacketFilter { metadata_id: 1, value: vec![7] };
        let s = scope(&RoleConfig { receives_packet_ins: true, packet_in_filter: Some(filter), ..Default::default() });
        assert!(s.receives_packet(&[(2, &[1]), (1, &[7])]));
        assert!(!s.receives_packet(&[(1, &[8])]));
    }
}
