//! Multicast groups and clone sessions (P4Runtime 9.5).

use std::{cmp::Reverse, collections::HashMap};

use p4runtime_proto::p4::v1::{self, packet_replication_engine_entry::Type as Kind, replica, update::Type};

use crate::p4runtime::{
    failure::{Failure, Outcome},
    pipeline::Pipeline,
    plane::Replication,
};

/// Replica instances are 16 bits in v1model.
const MAX_INSTANCE: u32 = 0xffff;
/// Ports are 9 bits in v1model. A replica's port need not exist yet: what is sent there is dropped, as BMv2 does.
const MAX_PORT: u32 = 0x1ff;
/// Multicast group ids are 16 bits in v1model.
const MAX_GROUP: u32 = 0xffff;
/// Clone session ids are 15 bits in v1model's mirroring.
const MAX_SESSION: u32 = 0x7fff;

impl Pipeline {
    pub(super) fn write_replication(&mut self, kind: Type, given: &v1::PacketReplicationEngineEntry) -> Outcome<()> {
        match &given.r#type {
            Some(Kind::MulticastGroupEntry(entry)) => self.write_multicast(kind, entry),
            Some(Kind::CloneSessionEntry(entry)) => self.write_clone_session(kind, entry),
            None => Err(Failure::invalid("packet_replication_engine_entry: type is not set")),
        }
    }

    /// Checks replicas: for the data plane, and as they are read back.
    fn replicas(&self, given: &[v1::Replica]) -> Outcome<(Vec<Replication>, Vec<v1::Replica>)> {
        let mut copies: Vec<Replication> = Vec::with_capacity(given.len());
        let mut kept = Vec::with_capacity(given.len());
        let mut pairs = Vec::with_capacity(given.len());
        for (number, one) in given.iter().enumerate() {
            let within = |failure: Failure| failure.within(format_args!("replicas[{number}]"));
            let check = |instance: u32| match instance {
                0..=MAX_INSTANCE => Ok(instance),
                _ => Err(within(Failure::invalid(format!("instance {instance} is not within 0..={MAX_INSTANCE}")))),
            };
            #[allow(deprecated)]
            let (port, port_kind) = match &one.port_kind {
                Some(replica::PortKind::EgressPort(port)) => {
                    (egress(*port).map_err(within)?, replica::PortKind::EgressPort(*port))
                }
                Some(replica::PortKind::Port(bytes)) => (
                    self.number(bytes).and_then(egress).map_err(within)?,
                    replica::PortKind::Port(self.canonical_port(bytes)),
                ),
                None => return Err(within(Failure::invalid("port must be set"))),
            };
            let mut copy = Replication { port, instance: check(one.instance)?, backups: Vec::new() };
            let mut backup_replicas = Vec::with_capacity(one.backup_replicas.len());
            pairs.push((port, one.instance));
            for backup in &one.backup_replicas {
                let port = self.number(&backup.port).and_then(egress).map_err(within)?;
                if port == copy.port || copy.backups.iter().any(|(other, _)| *other == port) {
                    return Err(within(Failure::invalid(format!("port {port} is its own backup"))));
                }
                copy.backups.push((port, check(backup.instance)?));
                pairs.push((port, backup.instance));
                let port = self.canonical_port(&backup.port);
                backup_replicas.push(v1::BackupReplica { port, instance: backup.instance });
            }
            copies.push(copy);
            kept.push(v1::Replica { instance: one.instance, backup_replicas, port_kind: Some(port_kind) });
        }
        pairs.sort_unstable();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0] == pair[1]) {
            let (port, instance) = twice[0];
            return Err(Failure::invalid(format!("replicas: port {port} with instance {instance} is there twice")));
        }
        Ok((in_order(copies), kept))
    }

    fn write_multicast(&mut self, kind: Type, given: &v1::MulticastGroupEntry) -> Outcome<()> {
        let id = given.multicast_group_id;
        if !(1..=MAX_GROUP).contains(&id) {
            return Err(Failure::invalid(format!("multicast_group_id {id} is not within 1..={MAX_GROUP}")));
        }
        check_presence(kind, self.multicast.contains_key(&id), || format!("multicast group {id}"))?;
        if kind == Type::Delete {
            self.plane.set_multicast(id, None);
            self.multicast.remove(&id);
            return Ok(());
        }
        let (copies, replicas) =
            self.replicas(&given.replicas).map_err(|failure| failure.within(format_args!("multicast group {id}")))?;
        self.plane.set_multicast(id, Some(&copies));
        let metadata = bytes::Bytes::copy_from_slice(&given.metadata);
        let kept = v1::MulticastGroupEntry { multicast_group_id: id, replicas, metadata };
        self.multicast.insert(id, (kept, copies));
        Ok(())
    }

    /// A port went up or down: replicas with backups may go elsewhere (P4Runtime 9.5.1).
    pub fn port_changed(&self, port: u32) {
        for (id, (_, copies)) in &self.multicast {
            let watches = |copy: &Replication| {
                !copy.backups.is_empty()
                    && (copy.port == port || copy.backups.iter().any(|(backup, _)| *backup == port))
            };
            if copies.iter().any(watches) {
                self.plane.set_multicast(*id, Some(copies));
            }
        }
    }

    fn write_clone_session(&mut self, kind: Type, given: &v1::CloneSessionEntry) -> Outcome<()> {
        let id = given.session_id;
        if !(1..=MAX_SESSION).contains(&id) {
            return Err(Failure::invalid(format!("session_id {id} is not within 1..={MAX_SESSION}")));
        }
        check_presence(kind, self.clones.contains_key(&id), || format!("clone session {id}"))?;
        if kind == Type::Delete {
            self.plane.set_clone_session(id, None, 0);
            self.clones.remove(&id);
            return Ok(());
        }
        let within = |failure: Failure| failure.within(format_args!("clone session {id}"));
        let max_bytes = u32::try_from(given.packet_length_bytes).map_err(|_| {
            within(Failure::invalid(format!("packet_length_bytes {} is negative", given.packet_length_bytes)))
        })?;
        if given.class_of_service != 0 {
            return Err(within(Failure::invalid(format!(
                "class_of_service {}: there is one class, 0",
                given.class_of_service
            ))));
        }
        let (copies, replicas) = self.replicas(&given.replicas).map_err(within)?;
        if copies.iter().any(|copy| !copy.backups.is_empty()) {
            return Err(within(Failure::unimplemented("replicas of a clone session have no backups")));
        }
        self.plane.set_clone_session(id, Some(&copies), max_bytes);
        self.clones.insert(id, v1::CloneSessionEntry { replicas, ..given.clone() });
        Ok(())
    }
}

/// The order in which copies are made, which shows where several leave by one port. P4Runtime leaves it open; BMv2 goes from
/// the instance named last to the one named first, in each by port.
fn in_order(mut copies: Vec<Replication>) -> Vec<Replication> {
    let mut first = HashMap::new();
    for (at, copy) in copies.iter().enumerate() {
        first.entry(copy.instance).or_insert(at);
    }
    copies.sort_by_key(|copy| (first.get(&copy.instance).copied().map(Reverse), copy.port));
    copies
}

fn egress(port: u32) -> Outcome<u32> {
    if port <= MAX_PORT {
        return Ok(port);
    }
    Err(Failure::invalid(format!("port {port} is not within 0..={MAX_PORT}")))
}

/// `INSERT` needs absence, the other updates presence.
fn check_presence(kind: Type, known: bool, what: impl Fn() -> String) -> Outcome<()> {
    match (kind, known) {
        (Type::Insert, true) => Err(Failure::exists(format!("{} exists", what()))),
        (Type::Modify | Type::Delete, false) => Err(Failure::not_found(format!("{} does not exist", what()))),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_are_made_from_the_last_instance_to_the_first() {
        let copy = |(port, instance)| Replication { port, instance, backups: Vec::new() };
        let given = [(5, 0), (1, 7), (1, 6), (5, 1), (9, 7), (3, 7)];
        let found: Vec<_> = in_order(given.map(copy).into()).iter().map(|copy| (copy.port, copy.instance)).collect();
        assert_eq!(found, [(5, 1), (1, 6), (1, 7), (3, 7), (9, 7), (5, 0)]);
    }
}
