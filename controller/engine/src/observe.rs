//! Writing observations to the store: only by the master of the device they are about, folded into few commits, those that
//! move traffic at once.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Mutex, RwLock};
use pergola_discovery::view::Write;
use pergola_model::{AnyResource, HostKey, Key, Kind, LinkId, PortId, SwitchName, View};
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
pub struct Observer {
    writer: Arc<BatchWriter>,
    runtime: Handle,
    roles: Arc<Roles>,
    shown: Arc<RwLock<View>>,
    /// What was seen while somebody else or nobody was master, the newest of each key.
    held: Arc<Mutex<BTreeMap<Key, Held>>>,
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
        let writer = Arc::new(BatchWriter::spawn(store, BatchOptions::default()));
        Observer { writer, runtime: Handle::current(), roles, shown, held: Arc::default() }
    }

    /// The writer, for what is no observation.
    pub fn writer(&self) -> Arc<BatchWriter> {
        self.writer.clone()
    }

    /// Writes an observation soon; at once when packets may be going nowhere because of what it says. What is about
    /// devices of other masters is theirs to say, also when that turns out only at the commit; but a master may be dead
    /// already, so the state of ports and links is kept until we are master. What is about devices without any master
    /// waits for one.
    pub fn write(&self, write: Write) {
        let devices = self.devices(&write);
        let guard = match self.roles.voice(devices.iter().map(SwitchName::as_str)) {
            Voice::Ours(guard) => guard,
            Voice::Nobodys => return self.hold(write, false),
            Voice::Others => return self.hold(write, true),
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
        if let Err(error) = self.writer.guarded(op, guard) {
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

    fn hold(&self, write: Write, others: bool) {
        let key = key_of(&write);
        if others && !matches!(key.kind, Kind::PortState | Kind::LinkState) {
            return;
        }
        let mut held = self.held.lock();
        if held.len() < MOST_HELD || held.contains_key(&key) {
            held.insert(key, Held { write, since: Instant::now(), others });
        }
    }

    /// We became master of something: what was held is looked at again. Ports are seen by standbys all the time; of links
    /// another master knows more than we do once it had the time to say so.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        for (key, held) in held {
            if held.others && key.kind == Kind::LinkState && held.since.elapsed() >= SUCCESSION {
                continue;
            }
            let devices = self.devices(&held.write);
            match self.roles.voice(devices.iter().map(SwitchName::as_str)) {
                Voice::Ours(_) => self.write(held.write),
                // Unless something newer came meanwhile.
                _ => _ = self.held.lock().entry(key).or_insert(held),
            }
        }
    }

    pub fn put(&self, resource: impl Into<AnyResource>) {
        self.write(Write::Put(resource.into()));
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
        _ => Vec::new(),
    }
}

fn of_key(key: &Key) -> Vec<SwitchName> {
    match key.kind {
        Kind::DeviceState => key.name.parse().ok().into_iter().collect(),
        Kind::PortState | Kind::CablingFault => key.name.parse::<PortId>().ok().map(|p| p.switch).into_iter().collect(),
        Kind::LinkState => key.name.parse::<LinkId>().map_or_else(|_| Vec::new(), |id| of_link(&id)),
        _ => Vec::new(),
    }
}
