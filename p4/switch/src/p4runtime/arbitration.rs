//! Which controller is primary for each role (P4Runtime 5): streams, election ids, notifications. No I/O.
//!
//! Calls are serialised with Writes by the owner of this value, so a change of primary never overtakes a Write that has begun:
//! the waiting of P4Runtime 5.3 is done by the order of the calls.

use std::collections::{BTreeMap, HashMap};

use p4runtime_proto::{
    google::rpc,
    p4::v1::{MasterArbitrationUpdate, Role, Uint128},
};
use prost_types::Any;
use tonic::Code;

use super::{
    failure::{Failure, Outcome},
    roles::Scope,
};

/// A controller's stream channel, numbered by the server.
pub type StreamId = u64;

/// A notification and the stream it goes to.
pub type Notice = (StreamId, MasterArbitrationUpdate);

/// The arbitration of one device.
#[derive(Debug)]
pub struct Arbitration {
    device_id: u64,
    /// Streams allowed for each role.
    streams_per_role: usize,
    roles: BTreeMap<String, RoleState>,
    streams: HashMap<StreamId, Session>,
}

#[derive(Debug, Default)]
struct RoleState {
    /// The highest election id ever seen.
    highest: Option<u128>,
    primary: Option<StreamId>,
    /// What the last primary sent, and what it means.
    config: Option<Any>,
    scope: Scope,
    /// In order of arrival.
    members: Vec<StreamId>,
}

#[derive(Debug)]
struct Session {
    role: String,
    election_id: Option<u128>,
}

fn number(id: &Uint128) -> u128 {
    u128::from(id.high) << 64 | u128::from(id.low)
}

fn message(id: u128) -> Uint128 {
    Uint128 { high: (id >> 64) as u64, low: id as u64 }
}

impl Arbitration {
    /// Nobody is connected yet.
    pub fn new(device_id: u64, streams_per_role: usize) -> Self {
        Arbitration { device_id, streams_per_role, roles: BTreeMap::new(), streams: HashMap::new() }
    }

    /// Handles what a controller sent. An error ends its stream.
    pub fn update(&mut self, stream: StreamId, update: &MasterArbitrationUpdate) -> Outcome<Vec<Notice>> {
        let role_name = update.role.as_ref().map_or("", |role| role.name.as_str());
        let config = update.role.as_ref().and_then(|role| role.config.as_ref());
        let election_id = update.election_id.as_ref().map(number);
        match self.streams.get(&stream) {
            None if update.device_id != self.device_id => {
                return Err(Failure::not_found(format!(
                    "device_id {} is not known, this is device {}",
                    update.device_id, self.device_id
                )));
            }
            Some(_) if update.device_id != self.device_id => {
                return Err(Failure::precondition(format!(
                    "device_id {} differs from this stream's device {}",
                    update.device_id, self.device_id
                )));
            }
            Some(session) if session.role != role_name => {
                return Err(Failure::precondition(format!(
                    "role \"{role_name}\" differs from this stream's role \"{}\"",
                    session.role
                )));
            }
            _ => {}
        }
        let scope = Scope::parse(config)?;
        for (other, state) in &self.roles {
            if other != role_name
                && let Some(id) = scope.exclusive_overlap(&state.scope)
            {
                return Err(Failure::invalid(format!(
                    "role.config: object {id:#010x} belongs exclusively to role \"{other}\""
                )));
            }
        }
        let taken = election_id.is_some()
            && self.streams.iter().any(|(other, session)| {
                *other != stream && session.role == role_name && session.election_id == election_id
            });
        if taken {
            return Err(Failure::invalid(format!(
                "election_id {} is in use by another controller of role \"{role_name}\"",
                election_id.unwrap_or_default()
            )));
        }
        let known = self.streams.contains_key(&stream);
        let members = self.roles.get(role_name).map_or(0, |role| role.members.len());
        if !known && members >= self.streams_per_role {
            return Err(Failure::exhausted(format!(
                "role \"{role_name}\" has {members} streams, the most there may be"
            )));
        }

        self.streams.insert(stream, Session { role: role_name.to_owned(), election_id });
        let role = self.roles.entry(role_name.to_owned()).or_default();
        if !known {
            role.members.push(stream);
        }
        let was_primary = role.primary == Some(stream);
        if let Some(id) = election_id.filter(|id| role.highest.is_none_or(|highest| *id >= highest)) {
            role.highest = Some(id);
            role.primary = Some(stream);
            role.config = config.cloned();
            role.scope = scope;
            // The others first, the new primary last: when it learns of its office nobody else believes to hold it.
            let mut notices = self.notify_all(role_name);
            notices.sort_by_key(|(to, _)| *to == stream);
            return Ok(notices);
        }
        if was_primary {
            role.primary = None;
            return Ok(self.notify_all(role_name));
        }
        Ok(self.notice(role_name, stream).into_iter().collect())
    }

    /// A stream ended, for whatever reason.
    pub fn disconnect(&mut self, stream: StreamId) -> Vec<Notice> {
        let Some(session) = self.streams.remove(&stream) else { return Vec::new() };
        let Some(role) = self.roles.get_mut(&session.role) else { return Vec::new() };
        role.members.retain(|member| *member != stream);
        if role.primary != Some(stream) {
            return Vec::new();
        }
        role.primary = None;
        self.notify_all(&session.role)
    }

    /// Lets a request through that only a primary may make (P4Runtime 12 and 14, first and second check).
    pub fn authorize(&self, device_id: u64, role: &str, election_id: Option<&Uint128>) -> Outcome<&Scope> {
        self.check_device(device_id)?;
        let state = match self.roles.get(role) {
            Some(state) => state,
            // The default role exists before anybody takes it.
            None if role.is_empty() => {
                return Err(Failure::denied("no controller is primary for the default role"));
            }
            None => return Err(Failure::not_found(format!("role \"{role}\" is not known"))),
        };
        let Some(primary) = state.primary else {
            return Err(Failure::denied(format!("role \"{role}\" has no primary now")));
        };
        let holder = self.streams.get(&primary).and_then(|session| session.election_id);
        let Some(claimed) = election_id.map(number) else {
            return Err(Failure::denied("election_id is not set, only the primary may do this"));
        };
        if holder != Some(claimed) {
            return Err(Failure::denied(format!(
                "election_id {claimed} is not that of the primary of role \"{role}\""
            )));
        }
        Ok(&state.scope)
    }

    /// Refuses a request for another device.
    pub fn check_device(&self, device_id: u64) -> Outcome<()> {
        if device_id == self.device_id {
            return Ok(());
        }
        Err(Failure::not_found(format!("device_id {device_id} is not known, this is device {}", self.device_id)))
    }

    /// What a role may see and touch; the default role and roles without a configuration: everything.
    pub fn scope(&self, role: &str) -> Outcome<&Scope> {
        match self.roles.get(role) {
            Some(state) => Ok(&state.scope),
            None if role.is_empty() => Ok(Scope::full()),
            None => Err(Failure::not_found(format!("role \"{role}\" is not known"))),
        }
    }

    /// The role that owns a P4 object alone, when it is not `role`.
    pub fn exclusive_owner(&self, role: &str, id: u32) -> Option<&str> {
        let mut others = self.roles.iter().filter(|(name, _)| name.as_str() != role);
        others.find(|(_, state)| state.scope.owns_exclusively(id)).map(|(name, _)| name.as_str())
    }

    /// The primaries of all roles and what they may see.
    pub fn primaries(&self) -> impl Iterator<Item = (StreamId, &Scope)> {
        self.roles.values().filter_map(|role| role.primary.map(|stream| (stream, &role.scope)))
    }

    /// Whether this stream is the primary of its role, and the role's scope.
    pub fn primary_scope(&self, stream: StreamId) -> Option<&Scope> {
        let role = self.roles.get(&self.streams.get(&stream)?.role)?;
        (role.primary == Some(stream)).then_some(&role.scope)
    }

    fn notify_all(&self, role: &str) -> Vec<Notice> {
        let members = self.roles.get(role).map_or(&[][..], |role| &role.members);
        members.iter().filter_map(|stream| self.notice(role, *stream)).collect()
    }

    fn notice(&self, name: &str, stream: StreamId) -> Option<Notice> {
        let role = self.roles.get(name)?;
        let (code, text) = match role.primary {
            Some(primary) if primary == stream => (Code::Ok, "you are primary"),
            Some(_) => (Code::AlreadyExists, "another controller is primary"),
            None => (Code::NotFound, "there is no primary"),
        };
        let update = MasterArbitrationUpdate {
            device_id: self.device_id,
            // The default role travels as an unset message, the way controllers send it.
            role: (!name.is_empty() || role.config.is_some()).then(|| Role {
                name: name.to_owned(),
                config: role.config.clone(),
                ..Default::default()
            }),
            election_id: role.highest.map(message),
            status: Some(rpc::Status { code: code as i32, message: text.to_owned(), details: Vec::new() }),
        };
        Some((stream, update))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hello(device_id: u64, role: &str, id: Option<u128>) -> MasterArbitrationUpdate {
        MasterArbitrationUpdate {
            device_id,
            role: (!role.is_empty()).then(|| Role { name: role.into(), ..Default::default() }),
            election_id: id.map(message),
            status: None,
        }
    }

    fn codes(notices: &[Notice]) -> Vec<(StreamId, i32)> {
        notices.iter().map(|(to, n)| (*to, n.status.as_ref().unwrap().code)).collect()
    }

    const OK: i32 = Code::Ok as i32;
    const BACKUP: i32 = Code::AlreadyExists as i32;
    const NONE: i32 = Code::NotFound as i32;

    #[test]
    fn the_highest_election_id_is_primary() {
        let mut a = Arbitration::new(1, 8);
        assert_eq!(codes(&a.update(1, &hello(1, "", Some(5))).unwrap()), [(1, OK)]);
        // A lower one is told alone.
        assert_eq!(codes(&a.update(2, &hello(1, "", Some(4))).unwrap()), [(2, BACKUP)]);
        // A higher one deposes; it hears last.
        let notices = a.update(2, &hello(1, "", Some(u128::MAX))).unwrap();
        assert_eq!(codes(&notices), [(1, BACKUP), (2, OK)]);
        assert_eq!(notices[0].1.election_id, Some(message(u128::MAX)));
        assert_eq!(a.authorize(1, "", Some(&message(5))).unwrap_err().code, Code::PermissionDenied);
        assert!(a.authorize(1, "", Some(&message(u128::MAX))).is_ok());
        assert_eq!(a.authorize(1, "", None).unwrap_err().code, Code::PermissionDenied);
    }

    #[test]
    fn an_unset_election_id_never_wins() {
        let mut a = Arbitration::new(1, 8);
        let notices = a.update(1, &hello(1, "", None)).unwrap();
        assert_eq!(codes(&notices), [(1, NONE)]);
        assert_eq!(notices[0].1.election_id, None);
        // Zero is an id and wins over nothing at all.
        assert_eq!(codes(&a.update(2, &hello(1, "", Some(0))).unwrap()), [(1, BACKUP), (2, OK)]);
        // Two controllers without an id are no conflict.
        assert_eq!(codes(&a.update(3, &hello(1, "", None)).unwrap()), [(3, BACKUP)]);
    }

    #[test]
    fn when_the_primary_leaves_nobody_follows_by_itself() {
        let mut a = Arbitration::new(1, 8);
        a.update(1, &hello(1, "", Some(5))).unwrap();
        a.update(2, &hello(1, "", Some(4))).unwrap();
        let notices = a.disconnect(1);
        assert_eq!(codes(&notices), [(2, NONE)]);
        assert_eq!(notices[0].1.election_id, Some(message(5)));
        assert_eq!(a.authorize(1, "", Some(&message(5))).unwrap_err().code, Code::PermissionDenied);
        // Less than the highest ever is not enough.
        assert_eq!(codes(&a.update(2, &hello(1, "", Some(4))).unwrap()), [(2, NONE)]);
        assert_eq!(codes(&a.update(2, &hello(1, "", Some(5))).unwrap()), [(2, OK)]);
        assert!(a.disconnect(7).is_empty());
    }

    #[test]
    fn a_primary_may_step_down() {
        let mut a = Arbitration::new(1, 8);
        a.update(1, &hello(1, "", Some(5))).unwrap();
        a.update(2, &hello(1, "", Some(4))).unwrap();
        let notices = a.update(1, &hello(1, "", None)).unwrap();
        assert_eq!(codes(&notices), [(1, NONE), (2, NONE)]);
        assert_eq!(a.authorize(1, "", Some(&message(5))).unwrap_err().code, Code::PermissionDenied);
    }

    #[test]
    fn errors_that_end_a_stream() {
        let mut a = Arbitration::new(1, 2);
        let code = |r: Outcome<Vec<Notice>>| r.unwrap_err().code;
        assert_eq!(code(a.update(1, &hello(9, "", Some(1)))), Code::NotFound);
        a.update(1, &hello(1, "", Some(1))).unwrap();
        assert_eq!(code(a.update(2, &hello(1, "", Some(1)))), Code::InvalidArgument);
        assert_eq!(code(a.update(1, &hello(2, "", Some(1)))), Code::FailedPrecondition);
        assert_eq!(code(a.update(1, &hello(1, "other", Some(1)))), Code::FailedPrecondition);
        a.update(2, &hello(1, "", Some(2))).unwrap();
        assert_eq!(code(a.update(3, &hello(1, "", Some(3)))), Code::ResourceExhausted);
        // The same id again from its owner is no conflict.
        assert_eq!(codes(&a.update(2, &hello(1, "", Some(2))).unwrap()), [(1, BACKUP), (2, OK)]);
    }

    #[test]
    fn roles_are_independent() {
        let mut a = Arbitration::new(1, 8);
        a.update(1, &hello(1, "", Some(5))).unwrap();
        let notices = a.update(2, &hello(1, "acl", Some(1))).unwrap();
        assert_eq!(codes(&notices), [(2, OK)]);
        assert_eq!(notices[0].1.role.as_ref().unwrap().name, "acl");
        assert!(a.authorize(1, "acl", Some(&message(1))).is_ok());
        assert!(a.authorize(1, "", Some(&message(5))).is_ok());
        assert_eq!(a.authorize(1, "x", Some(&message(5))).unwrap_err().code, Code::NotFound);
        assert_eq!(a.authorize(2, "", Some(&message(5))).unwrap_err().code, Code::NotFound);
        assert_eq!(a.primaries().count(), 2);
    }

    #[test]
    fn a_role_config_of_an_unknown_kind_is_refused() {
        let mut a = Arbitration::new(1, 8);
        let mut update = hello(1, "r", Some(1));
        update.role.as_mut().unwrap().config = Some(Any { type_url: "type.googleapis.com/x.Y".into(), value: vec![1] });
        assert_eq!(a.update(1, &update).unwrap_err().code, Code::InvalidArgument);
        assert!(a.scope("r").is_err());
    }
}
