//! Writing observations to the store: only by the master of the device they are about, folded into few commits, those that
//! move traffic at once.

use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use pergola_discovery::view::Write;
use pergola_model::{AnyResource, HostKey, Key, Kind, LinkId, MembersKey, PortId, SwitchName, View};
use pergola_store::{BatchOptions, BatchWriter, Op, Store};
use tokio::runtime::Handle;

use crate::roles::{Roles, Voice};

/// Observations kept while nobody is master; more are dropped.
const MOST_HELD: usize = 100_000;
/// How long a master may be dead before another takes its place, and then some. Until then what we see may be what it did
/// not say any more.
const SUCCESSION: Duration = Duration::from_secs(10);

/// Takes observations from any thread.
#[derive(Clone)]
pub struct Observer(Arc<Inner>);

struct Inner {
    writer: Arc<BatchWriter>,
    runtime: Handle,
    roles: Arc<Roles>,
    shown: Arc<RwLock<View>>,
    /// What was seen while somebody else or nobody was master, the newest of each key.
    held: Mutex<BTreeMap<Key, Held>>,
}

/// An observation that we were not the one to write.
struct Held {
    write: Write,
    since: Instant,
    /// Another controller was master.
    others: bool,
}

impl Observer {
    /// Must be called within a runtime.
    pub fn new(store: Arc<dyn Store>, roles: Arc<Roles>, shown: Arc<RwLock<View>>) -> Observer {
        Observer(Arc::new_cyclic(|inner: &Weak<Inner>| {
            let inner = inner.clone();
            let too_late = move |op: Op| {
                if let (Some(inner), Some(write)) = (inner.upgrade(), write_of(&op)) {
                    inner.write(write, true);
                }
            };
            let writer = Arc::new(BatchWriter::spawn_with(store, BatchOptions::default(), too_late));
            Inner { writer, runtime: Handle::current(), roles, shown, held: Mutex::default() }
        }))
    }

    /// The writer, for what is no observation.
    pub fn writer(&self) -> Arc<BatchWriter> {
        self.0.writer.clone()
    }

    /// Writes an observation soon; at once when packets may be going nowhere because of what it says. What is about
    /// devices of other masters is theirs to say; but a master may be dead already, so the state of ports and links is
    /// kept until we are master. What is about devices without any master waits for one.
    pub fn write(&self, write: Write) {
        self.0.write(write, false);
    }

    pub fn put(&self, resource: impl Into<AnyResource>) {
        self.write(Write::Put(resource.into()));
    }

    /// The master of some device is another one now, we perhaps: what was held is looked at again. Ports are seen by
    /// standbys all the time; of everything else another master knows more than we do once it had the time to say so.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.0.held.lock());
        for (key, mut held) in held {
            let late = held.others && key.kind != Kind::PortState && held.since.elapsed() >= SUCCESSION;
            let stale = late || self.0.is_outdated(&held.write);
            match self.0.voice(&held.write) {
                Voice::Ours(_) if stale => {}
                Voice::Ours(_) => self.0.write(held.write, true),
                voice => {
                    if voice == Voice::Others && !held.others {
                        held.others = true;
                        held.since = Instant::now();
                    }
                    // Unless something newer came meanwhile.
                    self.0.held.lock().entry(key).or_insert(held);
                }
            }
        }
    }
}

impl Inner {
    /// `again`: something newer may be known already and counts then.
    fn write(&self, write: Write, again: bool) {
        let guard = match self.voice(&write) {
            Voice::Ours(guard) => guard,
            Voice::Nobodys => return self.hold(write, false, again),
            Voice::Others => return self.hold(write, true, again),
        };
        let (key, op) = match write {
            Write::Put(resource) => {
                let key = resource.key();
                let op = Op::put(key.to_string(), resource.encode());
                (key, op)
            }
            Write::Delete(key) => {
                let op = Op::delete(key.to_string());
                (key, op)
            }
        };
        let taken = if again { self.writer.again(op, guard) } else { self.writer.guarded(op, guard) };
        if let Err(error) = taken {
            tracing::error!(%key, %error, "an observation was dropped");
            return;
        }
        if matches!(key.kind, Kind::LinkState | Kind::PortState) {
            let writer = self.writer.clone();
            self.runtime.spawn(async move {
                if let Err(error) = writer.flush().await {
                    tracing::warn!(%error, "observations wait");
                }
            });
        }
    }

    fn hold(&self, write: Write, others: bool, again: bool) {
        let key = key_of(&write);
        if others && !matches!(key.kind, Kind::PortState | Kind::LinkState) {
            return;
        }
        let mut held = self.held.lock();
        let known = held.contains_key(&key);
        if (known && again) || (!known && held.len() >= MOST_HELD) {
            return;
        }
        held.insert(key, Held { write, since: Instant::now(), others });
    }

    /// Whether somebody has said something newer of a port or link.
    fn is_outdated(&self, write: &Write) -> bool {
        let view = self.shown.read();
        match write {
            Write::Put(AnyResource::LinkState(l)) => {
                view.link_state(&l.id).is_some_and(|known| known.changed_ms > l.changed_ms)
            }
            Write::Put(AnyResource::PortState(p)) => {
                view.port_state(&p.port).is_some_and(|known| known.changed_ms > p.changed_ms)
            }
            _ => false,
        }
    }

    fn voice(&self, write: &Write) -> Voice {
        let devices = self.devices(write);
        self.roles.voice(devices.iter().map(SwitchName::as_str))
    }

    /// The switches whose masters may say this.
    fn devices(&self, write: &Write) -> Vec<SwitchName> {
        match write {
            Write::Put(resource) => of_resource(resource),
            Write::Delete(key) => match key.kind {
                Kind::HostLocation => {
                    let host = key.name.parse::<HostKey>().ok();
                    let location = host.and_then(|h| self.shown.read().host_location(&h).cloned());
                    location.map_or_else(Vec::new, |l| of_ports(&l.ports))
                }
                _ => of_key(key),
            },
        }
    }
}

/// What an operation of the writer says.
fn write_of(op: &Op) -> Option<Write> {
    let key: Key = op.key().parse().ok()?;
    match op {
        Op::Put { value, .. } => AnyResource::decode(key.kind, value).ok().map(Write::Put),
        _ => Some(Write::Delete(key)),
    }
}

fn key_of(write: &Write) -> Key {
    match write {
        Write::Put(resource) => resource.key(),
        Write::Delete(key) => key.clone(),
    }
}

fn of_ports(ports: &[PortId]) -> Vec<SwitchName> {
    ports.iter().map(|p| p.switch.clone()).collect()
}

fn of_link(id: &LinkId) -> Vec<SwitchName> {
    vec![id.a().switch.clone(), id.b().switch.clone()]
}

fn of_resource(resource: &AnyResource) -> Vec<SwitchName> {
    match resource {
        AnyResource::DeviceState(d) => vec![d.switch.clone()],
        AnyResource::PortState(p) => vec![p.port.switch.clone()],
        AnyResource::LinkState(l) => of_link(&l.id),
        AnyResource::HostLocation(h) => of_ports(&h.ports),
        AnyResource::CablingFault(f) => vec![f.port.switch.clone()],
        AnyResource::GroupMembers(m) => vec![m.switch.clone()],
        _ => Vec::new(),
    }
}

fn of_key(key: &Key) -> Vec<SwitchName> {
    match key.kind {
        Kind::DeviceState => key.name.parse().ok().into_iter().collect(),
        Kind::PortState | Kind::CablingFault => key.name.parse::<PortId>().ok().map(|p| p.switch).into_iter().collect(),
        Kind::GroupMembers => key.name.parse::<MembersKey>().ok().map(|m| m.switch).into_iter().collect(),
        Kind::LinkState => key.name.parse::<LinkId>().map_or_else(|_| Vec::new(), |id| of_link(&id)),
        _ => Vec::new(),
    }
}
