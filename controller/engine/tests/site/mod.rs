//! An example site whose switches are real P4Runtime servers of p4switch on loopback, with nothing on their ports.
#![allow(dead_code)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use p4switch::p4runtime::Server;
use p4switch::p4runtime::plane::Host;
use p4switch::{Switch as DataPlane, SwitchOptions};
use pergola_discovery::{GuardConfig, Machines};
use pergola_engine::{Clock, Engine, EngineConfig, ReconcileConfig};
use pergola_model::{AnyResource, Endpoint, PlaintextReason, Security, SwitchName};
use pergola_pipeline::fabric;
use pergola_southbound::Pipeline;
use pergola_store::embedded::EmbeddedOptions;
use pergola_store::{EmbeddedStore, Store};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;

/// Packets that were sent out, as they came from a controller.
pub type Sent = Arc<std::sync::Mutex<Vec<Vec<u8>>>>;

struct NoPorts(Sent);

impl Host for NoPorts {
    fn has_port(&self, _: u32) -> bool {
        true
    }

    fn packet_out(&self, packet: Vec<u8>) {
        self.0.lock().unwrap().push(packet);
    }
}

/// A switch on loopback; dropping it is pulling its plug.
pub struct LiveSwitch {
    pub address: SocketAddr,
    pub sent: Sent,
    /// Its own, so that its connections end with it.
    runtime: Option<tokio::runtime::Runtime>,
}

impl LiveSwitch {
    pub fn start(device_id: u64, address: SocketAddr) -> LiveSwitch {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let entered = runtime.enter();
        let options = SwitchOptions { cpu_port: Some(255), ..SwitchOptions::default() };
        let sent = Sent::default();
        let plane = DataPlane::new(None, options).unwrap();
        let (server, events) = Server::new(device_id, plane, Arc::new(NoPorts(sent.clone())));
        let listener = TcpListener::from_std(socket(address)).unwrap();
        let address = listener.local_addr().unwrap();
        let serve = tonic::transport::Server::builder()
            .add_service(server.service())
            .serve_with_incoming(TcpListenerStream::new(listener));
        runtime.spawn(async move {
            let _events = events;
            serve.await.unwrap();
        });
        drop(entered);
        LiveSwitch { address, sent, runtime: Some(runtime) }
    }
}

impl Drop for LiveSwitch {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Reusable at once after the one before is gone.
fn socket(address: SocketAddr) -> std::net::TcpListener {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.set_reuseaddr(true).unwrap();
    socket.bind(address).unwrap();
    let listener = socket.listen(64).unwrap().into_std().unwrap();
    listener.set_nonblocking(true).unwrap();
    listener
}

pub struct Site {
    pub store: Arc<dyn Store>,
    pub switches: BTreeMap<SwitchName, LiveSwitch>,
    pub resources: Vec<AnyResource>,
    pub pipeline: Arc<Pipeline>,
    _dir: tempfile::TempDir,
}

impl Site {
    /// The example with its switches started and its intents stored.
    pub async fn start(example: &str) -> Site {
        let path = format!("{}/../../topology/blueprint/examples/{example}.yaml", env!("CARGO_MANIFEST_DIR"));
        let view = pergola_blueprint::parse(&std::fs::read_to_string(path).unwrap()).unwrap().view();
        let dir = tempfile::tempdir().unwrap();
        let store: Arc<dyn Store> =
            Arc::new(EmbeddedStore::open(dir.path().join("store"), EmbeddedOptions::default()).unwrap());
        let mut switches = BTreeMap::new();
        let mut resources = view.intents();
        for resource in &mut resources {
            let AnyResource::Switch(switch) = resource else { continue };
            let live = LiveSwitch::start(switch.device_id.0, "127.0.0.1:0".parse().unwrap());
            switch.p4runtime = Some(Endpoint::new("127.0.0.1", live.address.port()).unwrap());
            switch.gnmi = None;
            switch.security = Security::Plaintext(PlaintextReason::Lab);
            switches.insert(switch.name.clone(), live);
        }
        let pipeline = Arc::new(Pipeline::from_text(fabric::P4INFO, fabric::JSON.to_vec()).unwrap());
        let site = Site { store, switches, resources, pipeline, _dir: dir };
        for resource in &site.resources {
            site.put(resource).await;
        }
        site
    }

    /// Stores a resource; its revision.
    pub async fn put(&self, resource: &AnyResource) -> u64 {
        self.store.put(&resource.key().to_string(), resource.encode().into()).await.unwrap()
    }

    pub fn config(&self) -> EngineConfig {
        let pipeline = self.pipeline.clone();
        EngineConfig {
            store: self.store.clone(),
            apps: pergola_fabric_apps::all(),
            pipeline_of: Arc::new(move |_| pipeline.clone()),
            machines: Machines::new(GuardConfig::default()),
            clock: Clock::default(),
            allow_plaintext: true,
            node: "one".into(),
            mastership: Default::default(),
            record: None,
            reconcile: ReconcileConfig::default(),
        }
    }

    pub async fn engine(&self) -> Engine {
        Engine::start(self.config()).await.unwrap()
    }

    pub async fn revision(&self) -> u64 {
        self.store.status().await.unwrap().revision
    }
}

/// Waits until everything is in sync, or says what is not.
pub async fn synced(engine: &Engine, revision: u64) {
    let waited = tokio::time::timeout(Duration::from_secs(60), engine.wait_synced(revision)).await;
    let stands = || format!("revision {}: {:#?}", engine.revision(), engine.devices());
    assert!(waited.is_ok(), "not in sync with revision {revision}, {}", stands());
}
