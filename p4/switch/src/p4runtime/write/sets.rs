//! Value sets and the configuration of digests (P4Runtime 9.6 and 9.8).

use std::collections::HashSet;

use p4runtime_proto::p4::v1::{self, update::Type};

use super::modify_only;
use crate::p4runtime::{
    failure::{Failure, Outcome},
    matching,
    pipeline::Pipeline,
};

impl Pipeline {
    pub(super) fn write_value_set(&mut self, kind: Type, given: &v1::ValueSetEntry) -> Outcome<()> {
        let at = self.schema.value_set(given.value_set_id)?;
        modify_only(kind, "a value set")?;
        let set = &self.schema.value_sets[at];
        let within = |failure: Failure| failure.within(format_args!("value set \"{}\"", set.name));
        if given.members.len() > set.size {
            return Err(within(Failure::exhausted(format!(
                "{} members are given, it holds {}",
                given.members.len(),
                set.size
            ))));
        }
        let mut members: Vec<Box<[u8]>> = Vec::with_capacity(given.members.len());
        let mut seen = HashSet::with_capacity(given.members.len());
        let mut key = Vec::new();
        for (number, member) in given.members.iter().enumerate() {
            let within = |failure: Failure| within(failure.within(format_args!("members[{number}]")));
            matching::pack(&set.fields, set.key_bytes, matching::given(&member.r#match), &mut key).map_err(within)?;
            if !seen.insert(key.clone()) {
                return Err(within(Failure::exists("the same member is given before")));
            }
            members.push(key.as_slice().into());
        }
        self.plane.set_value_set(set.program, &set.fields, &members);
        self.value_sets[at] = members;
        Ok(())
    }

    pub(super) fn write_digest(&mut self, kind: Type, given: &v1::DigestEntry) -> Outcome<()> {
        let at = self.schema.digest(given.digest_id)?;
        let digest = &self.schema.digests[at];
        let known = self.digests[at].is_some();
        match (kind, known) {
            (Type::Insert, true) => {
                return Err(Failure::exists(format!("digest \"{}\" is enabled", digest.name)));
            }
            (Type::Modify | Type::Delete, false) => {
                return Err(Failure::not_found(format!("digest \"{}\" is not enabled", digest.name)));
            }
            _ => {}
        }
        if kind == Type::Delete {
            self.digests[at] = None;
            self.plane.sample_digest(digest.program, false);
            return Ok(());
        }
        let config = given.config.unwrap_or_default();
        let fields = [
            ("max_timeout_ns", config.max_timeout_ns),
            ("max_list_size", i64::from(config.max_list_size)),
            ("ack_timeout_ns", config.ack_timeout_ns),
        ];
        if let Some((name, value)) = fields.iter().find(|(_, value)| *value < 0) {
            return Err(Failure::invalid(format!("digest \"{}\": {name} {value} is negative", digest.name)));
        }
        self.digests[at] = Some(config);
        self.plane.sample_digest(digest.program, true);
        Ok(())
    }
}
