//! What BMv2's clients do by gNMI while packets come and go by gRPC: interfaces made and deleted, links that go down when told to,
//! counters.

use super::{ROUTER, ROUTER_INFO, Running, capabilities, free_port, packet, start};
use p4runtime_proto::gnmi::{
    GetRequest, Notification, Path, PathElem, SetRequest, SubscribeRequest, SubscribeResponse, Subscription,
    SubscriptionList, SubscriptionMode, TypedValue, Update, g_nmi_client::GNmiClient, subscribe_request::Request,
    subscribe_response::Response, typed_value::Value,
};
use p4runtime_proto::p4::bm::{
    PortOperStatus, SetPortOperStatusRequest, dataplane_interface_client::DataplaneInterfaceClient,
};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Code, Status, Streaming, transport::Channel};

/// `a/b[name]/c`, where only interfaces have names.
fn path(text: &str) -> Path {
    let elem = text.split('/').filter(|part| !part.is_empty()).map(|part| {
        let (name, key) = part.split_once('[').unwrap_or((part, ""));
        let key = (!key.is_empty()).then(|| ("name".to_owned(), key.trim_end_matches(']').to_owned()));
        PathElem { name: name.to_owned(), key: key.into_iter().collect() }
    });
    Path { elem: elem.collect(), ..Path::default() }
}

struct Clients {
    _switch: Running,
    gnmi: GNmiClient<Channel>,
    packets: DataplaneInterfaceClient<Channel>,
}

impl Clients {
    async fn start() -> Self {
        let dataplane = format!("127.0.0.1:{}", free_port());
        let switch = start(&["--device-id", "3", ROUTER, "--p4info", ROUTER_INFO, "--dp-grpc-server-addr", &dataplane]);
        capabilities(switch.1).await;
        let gnmi = GNmiClient::connect(format!("http://127.0.0.1:{}", switch.1)).await.unwrap();
        let packets = DataplaneInterfaceClient::connect(format!("http://{dataplane}")).await.unwrap();
        Self { _switch: switch, gnmi, packets }
    }

    /// Leaf by leaf, as BMv2's clients do.
    async fn make(&mut self, name: &str, enabled: bool) -> Result<(), Status> {
        let leaf = |leaf: &str, value| Update {
            path: Some(path(leaf)),
            val: Some(TypedValue { value: Some(value) }),
            ..Update::default()
        };
        let update = vec![
            leaf("name", Value::StringVal(name.into())),
            leaf("type", Value::StringVal("iana-if-type:ethernetCsmacd".into())),
            leaf("enabled", Value::BoolVal(enabled)),
        ];
        let prefix = Some(path(&format!("interfaces/interface[{name}]/config")));
        self.gnmi.set(SetRequest { prefix, update, ..SetRequest::default() }).await.map(drop)
    }

    async fn delete(&mut self, text: &str) {
        self.gnmi.set(SetRequest { delete: vec![path(text)], ..SetRequest::default() }).await.unwrap();
    }

    async fn counter(&mut self, name: &str, counter: &str) -> u64 {
        let text = format!("interfaces/interface[{name}]/state/counters/{counter}");
        let answer = self.gnmi.get(GetRequest { path: vec![path(&text)], ..GetRequest::default() }).await.unwrap();
        let [notification] = &answer.get_ref().notification[..] else { panic!("{answer:?}") };
        match found(notification, &text) {
            Some(Value::UintVal(number)) => *number,
            other => panic!("{text}: {other:?}"),
        }
    }

    async fn link(&mut self, port: u32, status: PortOperStatus) {
        let request = SetPortOperStatusRequest { device_id: 3, port, oper_status: status as i32 };
        self.packets.set_port_oper_status(request).await.unwrap();
    }

    /// Changes of all interfaces from now on. Dropping the sender closes the client's side.
    async fn changes(&mut self) -> (mpsc::Sender<SubscribeRequest>, Streaming<SubscribeResponse>) {
        let list = SubscriptionList {
            updates_only: true,
            subscription: vec![Subscription {
                path: Some(path("interfaces/interface/...")),
                mode: SubscriptionMode::OnChange as i32,
                ..Subscription::default()
            }],
            ..SubscriptionList::default()
        };
        let request = SubscribeRequest { request: Some(Request::Subscribe(list)), ..SubscribeRequest::default() };
        let (send, requests) = mpsc::channel(1);
        send.send(request).await.unwrap();
        let mut stream = self.gnmi.subscribe(ReceiverStream::new(requests)).await.unwrap().into_inner();
        let first = stream.message().await.unwrap().unwrap();
        assert_eq!(first.response, Some(Response::SyncResponse(true)));
        (send, stream)
    }
}

async fn next(stream: &mut Streaming<SubscribeResponse>) -> Notification {
    match stream.message().await.unwrap().unwrap().response {
        Some(Response::Update(notification)) => notification,
        other => panic!("{other:?}"),
    }
}

/// The value of one leaf in a notification.
fn found<'a>(notification: &'a Notification, text: &str) -> Option<&'a Value> {
    let update = notification.update.iter().find(|update| update.path == Some(path(text)))?;
    update.val.as_ref()?.value.as_ref()
}

#[tokio::test]
async fn links_of_interfaces_made_by_gnmi_change_when_told_to() {
    let mut clients = Clients::start().await;
    clients.delete("interfaces/interface/...").await;
    clients.make("3-1@eth1", true).await.unwrap();
    clients.link(1, PortOperStatus::OperStatusUp).await;
    let (requests, mut changes) = clients.changes().await;
    for (status, word) in [(PortOperStatus::OperStatusDown, "DOWN"), (PortOperStatus::OperStatusUp, "UP")] {
        clients.link(1, status).await;
        let notification = next(&mut changes).await;
        let state = |leaf: &str| found(&notification, &format!("interfaces/interface[3-1@eth1]/state/{leaf}"));
        assert_eq!(state("oper-status"), Some(&Value::StringVal(word.into())));
        assert!(matches!(state("last-change"), Some(Value::UintVal(time)) if *time > 0), "{notification:?}");
    }
    assert!(clients.counter("3-1@eth1", "carrier-transitions").await > 0);
    // A state that was told before the interface was there is its state.
    clients.link(2, PortOperStatus::OperStatusDown).await;
    clients.make("3-2@eth2", true).await.unwrap();
    let made = next(&mut changes).await;
    let leaf = |leaf: &str| found(&made, &format!("interfaces/interface[3-2@eth2]/{leaf}"));
    assert_eq!(leaf("config/enabled"), Some(&Value::BoolVal(true)));
    assert_eq!(leaf("state/id"), Some(&Value::UintVal(2)));
    assert_eq!(leaf("state/oper-status"), Some(&Value::StringVal("DOWN".into())));
    clients.delete("interfaces/interface[3-2@eth2]").await;
    let gone = next(&mut changes).await;
    assert!(gone.update.is_empty() && gone.delete.contains(&path("interfaces/interface[3-2@eth2]/name")), "{gone:?}");
    // The server ends the subscription when the client does.
    drop(requests);
    assert_eq!(changes.message().await.unwrap(), None);
}

#[tokio::test]
async fn interfaces_made_by_gnmi_count() {
    let mut clients = Clients::start().await;
    for name in ["3-1@eth1", "3-0@eth0"] {
        clients.make(name, true).await.unwrap();
    }
    let all = ["in-unicast-pkts", "in-octets", "out-unicast-pkts", "out-octets"];
    for counter in all {
        assert_eq!(clients.counter("3-1@eth1", counter).await, 0);
    }
    let (send, requests) = mpsc::channel(1);
    let mut left = clients.packets.packet_stream(ReceiverStream::new(requests)).await.unwrap().into_inner();
    // From port 0 to port 1, and the other way round.
    for (port, network) in [(0, 1), (1, 0)] {
        send.send(packet(0, 3, port, network)).await.unwrap();
        let out = left.message().await.unwrap().unwrap();
        assert_eq!((out.port, out.packet.len()), (u32::from(network), 34));
    }
    for name in ["3-1@eth1", "3-0@eth0"] {
        for (counter, expected) in all.iter().zip([1, 34, 1, 34]) {
            assert_eq!(clients.counter(name, counter).await, expected, "{name} {counter}");
        }
    }
    // Nothing passes a disabled interface: of three packets the last is the first that leaves.
    clients.make("3-0@eth0", false).await.unwrap();
    for (id, port, network) in [(4, 0, 1), (5, 1, 0), (6, 2, 1)] {
        send.send(packet(id, 3, port, network)).await.unwrap();
    }
    assert_eq!(left.message().await.unwrap().unwrap().id, 6);
    assert_eq!(clients.counter("3-0@eth0", "in-discards").await, 1);
    assert_eq!(clients.counter("3-0@eth0", "out-discards").await, 1);
    // Without the interface the number is one like any other.
    clients.delete("interfaces/interface[3-0@eth0]").await;
    send.send(packet(7, 3, 0, 1)).await.unwrap();
    assert_eq!(left.message().await.unwrap().unwrap().id, 7);
}

#[tokio::test]
async fn interfaces_that_cannot_be_made_are_not() {
    let mut clients = Clients::start().await;
    clients.make("3-1@eth1", true).await.unwrap();
    for (name, code) in [
        ("4-1@eth1", Code::InvalidArgument),
        ("3-511@eth2", Code::InvalidArgument),
        ("3-1@eth2", Code::AlreadyExists),
        ("3-2@eth1", Code::AlreadyExists),
        ("eth2", Code::InvalidArgument),
    ] {
        assert_eq!(clients.make(name, true).await.unwrap_err().code(), code, "{name}");
    }
    let names = GetRequest { path: vec![path("interfaces/interface/name")], ..GetRequest::default() };
    let answer = clients.gnmi.get(names).await.unwrap().into_inner();
    let [update] = &answer.notification[0].update[..] else { panic!("{answer:?}") };
    assert_eq!(update.path, Some(path("interfaces/interface[3-1@eth1]/name")));
}
