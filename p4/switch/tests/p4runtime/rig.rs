//! A switch without ports, its server on loopback, and clients.

use std::{
    net::SocketAddr,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use p4runtime_proto::{
    p4::{
        config::v1::P4Info,
        v1::{
            self, Entity, Update, WriteRequest, entity::Entity as Kind, field_match, field_match::FieldMatchType,
            p4_runtime_client::P4RuntimeClient, set_forwarding_pipeline_config_request::Action as Set,
            stream_message_request::Update as Request, stream_message_response::Update as Response, table_action,
            update::Type, write_request::Atomicity,
        },
    },
    status, text,
};
use p4switch::{
    PacketMeta, Switch, SwitchOptions, Worker,
    p4runtime::{Events, Server, plane::Host},
};
use parking_lot::Mutex;
use tokio::{net::TcpListener, sync::mpsc};
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::{Code, Status, Streaming, transport::Channel};

pub const DEVICE: u64 = 7;
pub const CPU: u32 = 510;
pub const JSON: &str = include_str!("../programs/p4rt_all.json");
pub const INFO: &str = include_str!("../programs/p4rt_all.p4info.txtpb");

/// Ports 0 to 15 and the CPU port, carried by one worker.
pub struct Ports {
    worker: Mutex<Worker>,
    sent: Mutex<Vec<(u32, Vec<u8>)>>,
    events: OnceLock<Events>,
}

impl Ports {
    /// Carries a frame through the switch.
    pub fn run(&self, port: u32, frame: &[u8]) {
        let mut out = |port: u32, head: &[u8], body: &[u8], _: PacketMeta| {
            let frame = [head, body].concat();
            if port == CPU {
                if let Some(events) = self.events.get() {
                    assert!(events.packet_in(frame));
                }
            } else {
                self.sent.lock().push((port, frame));
            }
        };
        self.worker.lock().process(port, frame, PacketMeta::default(), &mut out);
    }
}

impl Host for Ports {
    fn has_port(&self, port: u32) -> bool {
        port < 16 || port == CPU
    }

    fn packet_out(&self, frame: Vec<u8>) {
        self.run(CPU, &frame);
    }
}

pub struct Rig {
    pub switch: Arc<Switch>,
    pub ports: Arc<Ports>,
    pub events: Events,
    pub client: P4RuntimeClient<Channel>,
    pub info: P4Info,
    /// Keeps the primary's stream open.
    pub primary: Option<Controller>,
}

/// A switch without ports and its server.
pub fn switch() -> (Arc<Switch>, Arc<Ports>, Server, Events) {
    let options = SwitchOptions { cpu_port: Some(CPU), ..Default::default() };
    let switch = Switch::new(None, options).unwrap();
    let worker = Mutex::new(switch.worker());
    let ports = Arc::new(Ports { worker, sent: Mutex::default(), events: OnceLock::new() });
    let (server, events) = Server::new(DEVICE, switch.clone(), ports.clone());
    ports.events.set(events.clone()).unwrap();
    (switch, ports, server, events)
}

impl Rig {
    /// Without controllers and without a pipeline.
    pub async fn bare() -> Rig {
        let (switch, ports, server, events) = switch();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = tonic::transport::Server::builder().add_service(server.service());
        tokio::spawn(router.serve_with_incoming(TcpListenerStream::new(listener)));
        let client = connect(address).await;
        let info = text::parse_p4info(INFO).unwrap();
        Rig { switch, ports, events, client, info, primary: None }
    }

    /// With a primary of the default role (election id 1) and `p4rt_all` committed.
    pub async fn new() -> Rig {
        let mut rig = Rig::bare().await;
        let mut primary = Controller::open(&rig).await;
        primary.hello("", Some(1)).await;
        assert_eq!(primary.status().await, Code::Ok);
        rig.primary = Some(primary);
        rig.set(Set::VerifyAndCommit, Some(config())).await.unwrap();
        rig
    }

    /// The same with another program.
    pub async fn with(json: &'static str, info: &str) -> Rig {
        let mut rig = Rig::new().await;
        rig.info = text::parse_p4info(info).unwrap();
        let config = v1::ForwardingPipelineConfig {
            p4info: Some(rig.info.clone()),
            p4_device_config: Bytes::from_static(json.as_bytes()),
            cookie: None,
        };
        rig.set(Set::VerifyAndCommit, Some(config)).await.unwrap();
        rig
    }

    pub async fn set(&mut self, action: Set, config: Option<v1::ForwardingPipelineConfig>) -> Result<(), Status> {
        let request = v1::SetForwardingPipelineConfigRequest {
            device_id: DEVICE,
            election_id: Some(id(1)),
            action: action.into(),
            config,
            ..Default::default()
        };
        self.client.set_forwarding_pipeline_config(request).await.map(drop)
    }

    pub fn table(&self, name: &str) -> u32 {
        let preamble = |t: &p4runtime_proto::p4::config::v1::Table| t.preamble.clone().unwrap();
        self.info.tables.iter().map(preamble).find(|p| p.alias == name).unwrap().id
    }

    pub fn action(&self, name: &str) -> u32 {
        let mut actions = self.info.actions.iter().map(|a| a.preamble.clone().unwrap());
        actions.find(|p| p.alias == name).unwrap().id
    }

    pub fn profile(&self, name: &str) -> u32 {
        let mut profiles = self.info.action_profiles.iter().map(|a| a.preamble.clone().unwrap());
        profiles.find(|p| p.alias == name).unwrap().id
    }

    pub fn call(&self, name: &str, params: &[&[u8]]) -> v1::Action {
        let param = |(at, value): (usize, &&[u8])| v1::action::Param {
            param_id: at as u32 + 1,
            value: Bytes::copy_from_slice(value),
        };
        v1::Action { action_id: self.action(name), params: params.iter().enumerate().map(param).collect() }
    }

    /// An entry with an action.
    pub fn entry(&self, table: &str, key: Vec<v1::FieldMatch>, action: v1::Action) -> v1::TableEntry {
        v1::TableEntry {
            table_id: self.table(table),
            r#match: key,
            action: Some(v1::TableAction { r#type: Some(table_action::Type::Action(action)) }),
            ..Default::default()
        }
    }

    pub async fn batch(&mut self, updates: Vec<Update>, atomicity: Atomicity) -> Result<(), Status> {
        let request = WriteRequest {
            device_id: DEVICE,
            election_id: Some(id(1)),
            updates,
            atomicity: atomicity.into(),
            ..Default::default()
        };
        self.client.write(request).await.map(drop)
    }

    /// Writes one update; the code of its detail when it failed.
    pub async fn write(&mut self, kind: Type, entity: Kind) -> Result<(), Code> {
        let update = Update { r#type: kind.into(), entity: Some(Entity { entity: Some(entity) }) };
        match self.batch(vec![update], Atomicity::ContinueOnError).await {
            Ok(()) => Ok(()),
            Err(failed) => {
                assert_eq!(failed.code(), Code::Unknown, "{failed:?}");
                let errors = status::batch_errors(&failed);
                assert_eq!(errors.len(), 1, "{failed:?}");
                assert!(!errors[0].message.is_empty());
                Err(Code::from(errors[0].canonical_code))
            }
        }
    }

    pub async fn insert(&mut self, entry: &v1::TableEntry) -> Result<(), Code> {
        self.write(Type::Insert, Kind::TableEntry(entry.clone())).await
    }

    pub async fn modify(&mut self, entry: &v1::TableEntry) -> Result<(), Code> {
        self.write(Type::Modify, Kind::TableEntry(entry.clone())).await
    }

    pub async fn delete(&mut self, entry: &v1::TableEntry) -> Result<(), Code> {
        self.write(Type::Delete, Kind::TableEntry(entry.clone())).await
    }

    /// What a Read of one query yields; the code of its detail when it failed.
    pub async fn read(&mut self, query: Kind) -> Result<Vec<Kind>, Code> {
        match self.read_all(vec![query]).await {
            (found, Ok(())) => Ok(found),
            (_, Err(failed)) if failed.code() == Code::Unknown => {
                Err(Code::from(status::batch_errors(&failed)[0].canonical_code))
            }
            (_, Err(failed)) => Err(failed.code()),
        }
    }

    /// All entities that come before the end, and the end.
    pub async fn read_all(&mut self, queries: Vec<Kind>) -> (Vec<Kind>, Result<(), Status>) {
        let entities = queries.into_iter().map(|q| Entity { entity: Some(q) }).collect();
        let request = v1::ReadRequest { device_id: DEVICE, entities, ..Default::default() };
        let mut found = Vec::new();
        let mut stream = match self.client.read(request).await {
            Ok(stream) => stream.into_inner(),
            Err(failed) => return (found, Err(failed)),
        };
        loop {
            match stream.message().await {
                Ok(Some(chunk)) => found.extend(chunk.entities.into_iter().filter_map(|e| e.entity)),
                Ok(None) => return (found, Ok(())),
                Err(failed) => return (found, Err(failed)),
            }
        }
    }

    pub async fn entries(&mut self, query: v1::TableEntry) -> Result<Vec<v1::TableEntry>, Code> {
        let found = self.read(Kind::TableEntry(query)).await?;
        Ok(found
            .into_iter()
            .map(|kind| match kind {
                Kind::TableEntry(entry) => entry,
                other => panic!("{other:?}"),
            })
            .collect())
    }

    /// All entries of a table.
    pub async fn all(&mut self, table: &str) -> Vec<v1::TableEntry> {
        let query = v1::TableEntry { table_id: self.table(table), ..Default::default() };
        self.entries(query).await.unwrap()
    }

    /// Sends a frame into a port; what leaves by ports other than the CPU's.
    pub fn inject(&self, port: u32, frame: &[u8]) -> Vec<(u32, Vec<u8>)> {
        self.ports.run(port, frame);
        self.sent()
    }

    pub fn sent(&self) -> Vec<(u32, Vec<u8>)> {
        std::mem::take(&mut *self.ports.sent.lock())
    }

    pub fn primary(&mut self) -> &mut Controller {
        self.primary.as_mut().unwrap()
    }
}

pub async fn connect(address: SocketAddr) -> P4RuntimeClient<Channel> {
    let client = P4RuntimeClient::connect(format!("http://{address}")).await.unwrap();
    client.max_decoding_message_size(64 << 20)
}

pub fn config() -> v1::ForwardingPipelineConfig {
    v1::ForwardingPipelineConfig {
        p4info: Some(text::parse_p4info(INFO).unwrap()),
        p4_device_config: Bytes::from_static(JSON.as_bytes()),
        cookie: Some(v1::forwarding_pipeline_config::Cookie { cookie: 99 }),
    }
}

pub fn id(low: u64) -> v1::Uint128 {
    v1::Uint128 { high: 0, low }
}

/// A stream channel.
pub struct Controller {
    pub tx: Option<mpsc::Sender<v1::StreamMessageRequest>>,
    pub rx: Streaming<v1::StreamMessageResponse>,
}

impl Controller {
    pub async fn open(rig: &Rig) -> Controller {
        let (tx, receiver) = mpsc::channel(16);
        // The server answers the call before the first message, so this does not wait for one.
        let rx = rig.client.clone().stream_channel(ReceiverStream::new(receiver)).await.unwrap();
        Controller { tx: Some(tx), rx: rx.into_inner() }
    }

    pub async fn send(&mut self, update: Request) {
        let message = v1::StreamMessageRequest { update: Some(update) };
        self.tx.as_ref().unwrap().send(message).await.unwrap();
    }

    pub async fn hello(&mut self, role: &str, election_id: Option<u64>) {
        self.hello_to(DEVICE, role, election_id).await;
    }

    pub async fn hello_to(&mut self, device_id: u64, role: &str, election_id: Option<u64>) {
        let role = (!role.is_empty()).then(|| v1::Role { name: role.into(), ..Default::default() });
        let election_id = election_id.map(id);
        let update = v1::MasterArbitrationUpdate { device_id, role, election_id, status: None };
        self.send(Request::Arbitration(update)).await;
    }

    /// The next message, or the end; at most five seconds.
    pub async fn next(&mut self) -> Result<Option<Response>, Status> {
        let message = tokio::time::timeout(Duration::from_secs(5), self.rx.message()).await;
        let message = message.expect("no message came")?;
        Ok(message.map(|message| message.update.expect("an update")))
    }

    /// The next message, which is about arbitration.
    pub async fn arbitration(&mut self) -> v1::MasterArbitrationUpdate {
        match self.next().await.unwrap().unwrap() {
            Response::Arbitration(update) => update,
            other => panic!("{other:?}"),
        }
    }

    pub async fn status(&mut self) -> Code {
        Code::from(self.arbitration().await.status.unwrap().code)
    }

    /// The code with which the stream ended.
    pub async fn ended(&mut self) -> Code {
        match self.next().await {
            Ok(None) => Code::Ok,
            Ok(Some(other)) => panic!("{other:?}"),
            Err(status) => status.code(),
        }
    }
}

pub fn exact(field_id: u32, value: &[u8]) -> v1::FieldMatch {
    let value = Bytes::copy_from_slice(value);
    let kind = FieldMatchType::Exact(field_match::Exact { value });
    v1::FieldMatch { field_id, field_match_type: Some(kind) }
}

pub fn lpm(field_id: u32, value: &[u8], prefix_len: i32) -> v1::FieldMatch {
    let value = Bytes::copy_from_slice(value);
    let kind = FieldMatchType::Lpm(field_match::Lpm { value, prefix_len });
    v1::FieldMatch { field_id, field_match_type: Some(kind) }
}

pub fn ternary(field_id: u32, value: &[u8], mask: &[u8]) -> v1::FieldMatch {
    let (value, mask) = (Bytes::copy_from_slice(value), Bytes::copy_from_slice(mask));
    let kind = FieldMatchType::Ternary(field_match::Ternary { value, mask });
    v1::FieldMatch { field_id, field_match_type: Some(kind) }
}

pub fn optional(field_id: u32, value: &[u8]) -> v1::FieldMatch {
    let value = Bytes::copy_from_slice(value);
    let kind = FieldMatchType::Optional(field_match::Optional { value });
    v1::FieldMatch { field_id, field_match_type: Some(kind) }
}

pub fn range(field_id: u32, low: &[u8], high: &[u8]) -> v1::FieldMatch {
    let (low, high) = (Bytes::copy_from_slice(low), Bytes::copy_from_slice(high));
    let kind = FieldMatchType::Range(field_match::Range { low, high });
    v1::FieldMatch { field_id, field_match_type: Some(kind) }
}

/// An Ethernet frame of another type than IPv4.
pub fn frame(dst: u8, src: u8, kind: u16) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, 0, dst, 0, 0, 0, 0, 0, src];
    frame.extend_from_slice(&kind.to_be_bytes());
    frame.extend_from_slice(b"payload of some length");
    frame
}

/// An Ethernet frame with an IPv4 header.
pub fn ipv4(dst: [u8; 4]) -> Vec<u8> {
    let mut frame = vec![0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 2, 8, 0];
    frame.extend_from_slice(&[0x45, 0, 0, 20, 0, 0, 0, 0, 64, 17, 0, 0, 1, 2, 3, 4]);
    frame.extend_from_slice(&dst);
    frame
}
