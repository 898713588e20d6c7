//! Writing observations to the store: only by the master of the device they are about, folded into few commits, those that
//! move traffic at once.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use pergola_discovery::view::Write;
use pergola_model::{AnyResource, HostKey, Key, Kind, LinkId, PortId, SwitchName, View};
use pergola_store::{BatchOptions, BatchWriter, Op, Store};
use tokio::runtime::Handle;

use crate::roles::{Roles, Voice};

/// Observations kept while nobody is master; more are dropped.
const MOST_HELD: usize = 100_000;

/// Takes observations from any thread.
#[derive(Clone)]
pub struct Observer {
    writer: Arc<BatchWriter>,
    runtime: Handle,
    roles: Arc<Roles>,
    shown: Arc<RwLock<View>>,
    /// What was seen while nobody was master, the newest of each key.
    held: Arc<Mutex<BTreeMap<Key, Write>>>,
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
    /// devices of other masters is theirs to say and is dropped, also when that turns out only at the commit. What is
    /// about devices without any master waits for one.
    pub fn write(&self, write: Write) {
        let devices = self.devices(&write);
        let guard = match self.roles.voice(devices.iter().map(SwitchName::as_str)) {
            Voice::Ours(guard) => guard,
            Voice::Nobodys => {
                let mut held = self.held.lock();
                if held.len() < MOST_HELD {
                    held.insert(key_of(&write), write);
                }
                return;
            }
            Voice::Others => return,
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

    /// We became master of something: what was held is looked at again.
    pub fn release(&self) {
        let held = std::mem::take(&mut *self.held.lock());
        held.into_values().for_each(|write| self.write(write));
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
