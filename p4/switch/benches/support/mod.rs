//! A controller for the benchmarks: the fabric program and its entries over P4Runtime, for any switch that serves it.
#![allow(dead_code)]

use std::time::{Duration, Instant};

use bytes::Bytes;
use p4runtime_proto::{
    bytestring::encode,
    p4::{
        config::v1::P4Info,
        v1::{self, field_match, p4_runtime_client::P4RuntimeClient, table_action, update::Type},
    },
    text,
};
use tonic::transport::{Channel, Endpoint};

pub const FABRIC_JSON: &[u8] = include_bytes!("../../../fabric/fabric.json");
pub const FABRIC_INFO: &str = include_str!("../../../fabric/fabric.p4info.txtpb");
/// The switch's own address: frames to it are routed.
pub const ROUTER_MAC: u128 = 0x02_00_00_00_00_02;
/// Hosts behind ports 1 (10.0.0.0/24) and 2 (10.0.1.0/24).
pub const HOST_MACS: [u128; 2] = [0x02_00_00_00_00_0a, 0x02_00_00_00_00_0b];
const DEVICE: u64 = 1;
const PRIMARY: v1::Uint128 = v1::Uint128 { high: 0, low: 1 };

/// What a field of a key must be.
pub enum Is {
    Exact(u128),
    Lpm(u128, i32),
    Ternary(u128, u128),
}

/// Messages by the names in a P4Info.
pub struct Names(pub P4Info);

impl Names {
    pub fn fabric() -> Self {
        Names(text::parse_p4info(FABRIC_INFO).unwrap())
    }

    pub fn table(&self, alias: &str) -> u32 {
        let mut all = self.0.tables.iter().filter_map(|t| t.preamble.as_ref());
        all.find(|p| p.alias == alias).unwrap_or_else(|| panic!("no table {alias}")).id
    }

    fn action(&self, alias: &str, params: &[u128]) -> v1::Action {
        let mut all = self.0.actions.iter().filter_map(|a| a.preamble.as_ref());
        let action_id = all.find(|p| p.alias == alias).unwrap_or_else(|| panic!("no action {alias}")).id;
        let param = |(value, param_id)| v1::action::Param { param_id, value: encode(value) };
        v1::Action { action_id, params: params.iter().copied().zip(1..).map(param).collect() }
    }

    fn entry(&self, table: &str, key: &[(u32, Is)], action: table_action::Type) -> v1::TableEntry {
        use field_match::{Exact, FieldMatchType, Lpm, Ternary};
        let field = |(field_id, is): &(u32, Is)| {
            let one = match *is {
                Is::Exact(value) => FieldMatchType::Exact(Exact { value: encode(value) }),
                Is::Lpm(value, prefix_len) => FieldMatchType::Lpm(Lpm { value: encode(value), prefix_len }),
                Is::Ternary(value, mask) => {
                    FieldMatchType::Ternary(Ternary { value: encode(value), mask: encode(mask) })
                }
            };
            v1::FieldMatch { field_id: *field_id, field_match_type: Some(one) }
        };
        let action = Some(v1::TableAction { r#type: Some(action) });
        v1::TableEntry {
            table_id: self.table(table),
            r#match: key.iter().map(field).collect(),
            action,
            ..Default::default()
        }
    }

    pub fn direct(
        &self,
        table: &str,
        key: &[(u32, Is)],
        priority: i32,
        action: &str,
        params: &[u128],
    ) -> v1::TableEntry {
        let action = table_action::Type::Action(self.action(action, params));
        v1::TableEntry { priority, ..self.entry(table, key, action) }
    }

    /// An entry with four one-shot members.
    pub fn group(&self, table: &str, key: &[(u32, Is)], action: &str, params: &[u128]) -> v1::TableEntry {
        let member =
            v1::ActionProfileAction { action: Some(self.action(action, params)), weight: 1, ..Default::default() };
        let action_profile_actions = vec![member; 4];
        let set = v1::ActionProfileActionSet { action_profile_actions, ..Default::default() };
        self.entry(table, key, table_action::Type::ActionProfileActionSet(set))
    }
}

/// What the fabric program does between ports 1 and 2. Ports 3 and 4 are two ends of one link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Routed.
    Direct,
    /// Routed, tagged, over the link, untagged, routed again.
    Vlan,
    /// Routed, labelled, over the link, unlabelled.
    Mpls,
}

/// Entries of the fabric program: filters, ECMP groups of four, and `routes` routes beside those in use.
pub fn fabric_entries(names: &Names, way: Way, routes: u32) -> Vec<v1::TableEntry> {
    use Is::{Exact, Lpm, Ternary};
    let full = 0xffff_ffff_ffff;
    let mut all = Vec::new();
    for port in 1..=4 {
        let key = [(1, Exact(port)), (2, Exact(0))];
        all.push(names.direct("ingress_port_vlan", &key, 1, "permit_with_vlan", &[10, 1]));
    }
    for (eth_type, forwarding) in [(0x0800, 2), (0x8847, 1)] {
        let key = [(2, Ternary(ROUTER_MAC, full)), (3, Exact(eth_type))];
        all.push(names.direct("fwd_classifier", &key, 1, "set_forwarding", &[forwarding]));
    }
    let route = |vrf: u128, prefix: u128, next: u128| {
        names.direct("ipv4_unicast", &[(1, Exact(vrf)), (2, Lpm(prefix, 24))], 0, "route_v4", &[next])
    };
    for (n, prefix) in [(0u128, 0x0a00_0000), (1, 0x0a00_0100)] {
        // Next 1 and 2 are the hosts; 3 and 4 go over the link in the direction of the host.
        let (host, over) = (n + 1, n + 3);
        let params = [n + 1, ROUTER_MAC, HOST_MACS[n as usize]];
        all.push(names.group("next_hashed", &[(1, Exact(host))], "to_neighbour_hashed", &params));
        let out = 4 - n;
        match way {
            Way::Direct => all.push(route(1, prefix, host)),
            Way::Vlan => {
                all.push(route(1, prefix, over));
                all.push(route(2, prefix, host));
                let params = [out, 100, ROUTER_MAC, ROUTER_MAC];
                all.push(names.group("next_hashed", &[(1, Exact(over))], "to_attached_hashed", &params));
                all.push(names.direct("egress_vlan", &[(1, Exact(100)), (2, Exact(out))], 0, "send_tagged", &[]));
                let key = [(1, Exact(out)), (2, Exact(1)), (3, Ternary(100, 0xfff))];
                all.push(names.direct("ingress_port_vlan", &key, 1, "permit", &[2]));
            }
            Way::Mpls => {
                all.push(route(1, prefix, over));
                let params = [out, ROUTER_MAC, ROUTER_MAC, 100 + n];
                all.push(names.group("next_hashed", &[(1, Exact(over))], "to_node_hashed", &params));
                all.push(names.direct("mpls", &[(1, Exact(100 + n))], 0, "pop_and_next", &[host]));
            }
        }
    }
    all.extend((0..u128::from(routes)).map(|n| route(1, 0x1400_0000 + (n << 8), 1 + n % 2)));
    all
}

pub fn updates(kind: Type, entries: &[v1::TableEntry]) -> Vec<v1::Update> {
    let update = |entry: &v1::TableEntry| v1::Update {
        r#type: kind.into(),
        entity: Some(v1::Entity { entity: Some(v1::entity::Entity::TableEntry(entry.clone())) }),
    };
    entries.iter().map(update).collect()
}

/// The primary of a switch.
pub struct Controller {
    pub client: P4RuntimeClient<Channel>,
    /// What the client's calls go over.
    pub channel: Channel,
    _requests: tokio::sync::mpsc::Sender<v1::StreamMessageRequest>,
    _answers: tonic::Streaming<v1::StreamMessageResponse>,
}

/// A client whose Capabilities call was answered; tries for ten seconds.
pub async fn reach(address: &str) -> (P4RuntimeClient<Channel>, Channel) {
    let end = Instant::now() + Duration::from_secs(10);
    let windows = (Some(4 << 20), Some(16 << 20));
    let endpoint = Endpoint::from_shared(format!("http://{address}")).unwrap();
    let endpoint = endpoint.initial_stream_window_size(windows.0).initial_connection_window_size(windows.1);
    loop {
        if let Ok(channel) = endpoint.connect().await {
            let client = P4RuntimeClient::new(channel.clone());
            let mut client = client.max_decoding_message_size(256 << 20).max_encoding_message_size(256 << 20);
            if client.capabilities(v1::CapabilitiesRequest { device_id: DEVICE }).await.is_ok() {
                return (client, channel);
            }
        }
        assert!(Instant::now() < end, "no answer from {address}");
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

impl Controller {
    pub async fn connect(address: &str) -> Self {
        let (client, channel) = reach(address).await;
        let (requests, receiver) = tokio::sync::mpsc::channel(1);
        let hello = v1::MasterArbitrationUpdate { device_id: DEVICE, election_id: Some(PRIMARY), ..Default::default() };
        let update = Some(v1::stream_message_request::Update::Arbitration(hello));
        requests.send(v1::StreamMessageRequest { update }).await.unwrap();
        let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
        let mut answers = client.clone().stream_channel(stream).await.unwrap().into_inner();
        answers.message().await.unwrap().unwrap();
        Controller { client, channel, _requests: requests, _answers: answers }
    }

    pub async fn push(&self, info: &P4Info, json: &'static [u8]) -> Result<(), tonic::Status> {
        use v1::set_forwarding_pipeline_config_request::Action;
        let config = v1::ForwardingPipelineConfig {
            p4info: Some(info.clone()),
            p4_device_config: Bytes::from_static(json),
            cookie: None,
        };
        let request = v1::SetForwardingPipelineConfigRequest {
            device_id: DEVICE,
            election_id: Some(PRIMARY),
            action: Action::VerifyAndCommit.into(),
            config: Some(config),
            ..Default::default()
        };
        self.client.clone().set_forwarding_pipeline_config(request).await.map(drop)
    }

    pub fn request(updates: &[v1::Update]) -> v1::WriteRequest {
        let election_id = Some(PRIMARY);
        v1::WriteRequest { device_id: DEVICE, election_id, updates: updates.to_vec(), ..Default::default() }
    }

    pub async fn write(&self, updates: &[v1::Update]) {
        for chunk in updates.chunks(1000) {
            self.client.clone().write(Self::request(chunk)).await.unwrap();
        }
    }

    /// Program and entries of the fabric.
    pub async fn fabric(&self, way: Way, routes: u32) {
        let names = Names::fabric();
        self.push(&names.0, FABRIC_JSON).await.unwrap();
        self.write(&updates(Type::Insert, &fabric_entries(&names, way, routes))).await;
    }
}

/// BMv2's switch with P4Runtime, when it is on PATH.
pub fn bmv2() -> Option<&'static str> {
    let name = "simple_switch_grpc";
    std::env::split_paths(&std::env::var_os("PATH")?).any(|folder| folder.join(name).is_file()).then_some(name)
}

/// Arguments that both take: no program, P4Runtime at `address`, some ports.
pub fn switch_args(address: &str, ports: &[&str]) -> Vec<String> {
    let mut args: Vec<String> = ["--no-p4", "--device-id", "1"].map(String::from).into();
    for port in ports {
        args.extend(["-i".into(), (*port).into()]);
    }
    args.extend(["-L", "off", "--", "--grpc-server-addr", address, "--cpu-port", "255"].map(String::from));
    args
}
