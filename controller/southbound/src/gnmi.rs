//! Follows the states of a switch's ports over gNMI (OpenConfig interfaces, on change), and sets those that are to be off
//! or on.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use p4runtime_proto::gnmi::{
    Encoding, Path, PathElem, SetRequest, SubscribeRequest, Subscription, SubscriptionList, SubscriptionMode,
    TypedValue, Update, g_nmi_client::GNmiClient, subscribe_request::Request, subscribe_response::Response,
    subscription_list::Mode, typed_value::Value,
};
use tokio::sync::{mpsc, watch};
use tonic::transport::{Channel, Endpoint};

use crate::Backoff;

/// What gNMI says of a switch's ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PortEvent {
    /// The states that follow are current; until `Lost`.
    Connected,
    /// Nobody knows the states any more.
    Lost {
        reason: String,
    },
    Port(PortUpdate),
}

/// The state of one port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PortUpdate {
    /// The port as P4Runtime numbers it.
    pub port: u32,
    pub up: bool,
    /// Absent when the switch does not know.
    pub speed_bps: Option<u64>,
}

/// Which ports are to be on and which off, by P4Runtime number; others are left as they are.
pub type PortAdmin = BTreeMap<u32, bool>;

/// What is known of one interface so far.
#[derive(Clone, Debug, Default)]
struct Interface {
    id: Option<u32>,
    up: Option<bool>,
    speed_bps: Option<u64>,
    /// Switched on, as the switch says.
    enabled: Option<bool>,
    /// What it was last set to, until the switch says the same.
    asked: Option<bool>,
}

/// Follows port states until `events` is closed, connecting again whenever the stream ends; makes ports be as `admin` wants
/// them whenever the switch says otherwise.
pub async fn follow(
    endpoint: Endpoint,
    events: mpsc::UnboundedSender<PortEvent>,
    mut admin: watch::Receiver<PortAdmin>,
    longest_wait: Duration,
    seed: u64,
) {
    let mut backoff = Backoff::new(Duration::from_millis(50), longest_wait, seed);
    while !events.is_closed() {
        let mut seen = false;
        let reason = match subscribe(&endpoint, &events, &mut admin, &mut seen).await {
            Ok(()) => "the switch ended the stream".to_owned(),
            Err(error) => error,
        };
        if seen {
            backoff.reset();
            if events.send(PortEvent::Lost { reason }).is_err() {
                return;
            }
        }
        tokio::select! {
            () = tokio::time::sleep(backoff.wait()) => {}
            () = events.closed() => return,
        }
    }
}

async fn subscribe(
    endpoint: &Endpoint,
    events: &mpsc::UnboundedSender<PortEvent>,
    admin: &mut watch::Receiver<PortAdmin>,
    seen: &mut bool,
) -> Result<(), String> {
    let channel = endpoint.connect().await.map_err(|e| e.to_string())?;
    let request = SubscribeRequest { request: Some(Request::Subscribe(list())), ..Default::default() };
    // The request stream stays open: its end would end the subscription.
    let requests = tokio_stream::StreamExt::chain(tokio_stream::once(request), tokio_stream::pending());
    let mut client = GNmiClient::new(channel);
    let answer = client.subscribe(requests).await.map_err(|s| s.message().to_owned())?;
    let mut stream = answer.into_inner();
    let mut interfaces: HashMap<String, Interface> = HashMap::new();
    loop {
        let message = tokio::select! {
            message = stream.message() => message.map_err(|s| s.message().to_owned())?,
            Ok(()) = admin.changed() => {
                let wanted = admin.borrow_and_update().clone();
                set_ports(&mut client, &wanted, &mut interfaces).await?;
                continue;
            }
            () = events.closed() => return Ok(()),
        };
        let Some(message) = message else { return Ok(()) };
        let notification = match message.response {
            Some(Response::Update(notification)) => notification,
            _ => continue,
        };
        if !std::mem::replace(seen, true) {
            let _ = events.send(PortEvent::Connected);
        }
        let mut touched = Vec::new();
        for update in &notification.update {
            touched.extend(learn(&mut interfaces, notification.prefix.as_ref(), update));
        }
        for path in &notification.delete {
            let (name, _) = names(notification.prefix.as_ref(), path);
            if let Some(Interface { id: Some(port), .. }) = name.and_then(|n| interfaces.remove(&n)) {
                let _ = events.send(PortEvent::Port(PortUpdate { port, up: false, speed_bps: None }));
            }
        }
        touched.sort();
        touched.dedup();
        for name in touched {
            let Some(i) = interfaces.get(&name) else { continue };
            if let (Some(port), Some(up)) = (i.id, i.up) {
                let _ = events.send(PortEvent::Port(PortUpdate { port, up, speed_bps: i.speed_bps }));
            }
        }
        let wanted = admin.borrow().clone();
        set_ports(&mut client, &wanted, &mut interfaces).await?;
    }
}

/// Sets the ports that are known to be otherwise than wanted, all in one request.
async fn set_ports(
    client: &mut GNmiClient<Channel>,
    wanted: &PortAdmin,
    interfaces: &mut HashMap<String, Interface>,
) -> Result<(), String> {
    let update = to_set(wanted, interfaces);
    if update.is_empty() {
        return Ok(());
    }
    let request = SetRequest { update, ..Default::default() };
    client.set(request).await.map_err(|s| format!("setting ports: {}", s.message()))?;
    Ok(())
}

/// The updates for ports that are otherwise than wanted; each is asked once until the switch confirms it.
fn to_set(wanted: &PortAdmin, interfaces: &mut HashMap<String, Interface>) -> Vec<Update> {
    let mut updates = Vec::new();
    for (name, interface) in interfaces {
        let Some(on) = interface.id.and_then(|id| wanted.get(&id)).copied() else { continue };
        let Some(is) = interface.enabled else { continue };
        if interface.asked.unwrap_or(is) == on {
            continue;
        }
        interface.asked = Some(on);
        let path =
            [elem("interfaces", None), elem("interface", Some(name)), elem("config", None), elem("enabled", None)];
        updates.push(Update {
            path: Some(Path { elem: path.to_vec(), ..Default::default() }),
            val: Some(TypedValue { value: Some(Value::BoolVal(on)) }),
            ..Default::default()
        });
    }
    updates
}

fn elem(name: &str, key: Option<&str>) -> PathElem {
    let key = key.map(|k| ("name".to_owned(), k.to_owned()));
    PathElem { name: name.to_owned(), key: key.into_iter().collect() }
}

fn list() -> SubscriptionList {
    let below: [&[&str]; 4] =
        [&["state", "id"], &["state", "admin-status"], &["state", "oper-status"], &["ethernet", "state", "port-speed"]];
    let subscription = below.iter().map(|below| {
        let head = [elem("interfaces", None), elem("interface", Some("*"))];
        let path = head.into_iter().chain(below.iter().map(|name| elem(name, None))).collect();
        Subscription {
            path: Some(Path { elem: path, ..Default::default() }),
            mode: SubscriptionMode::OnChange as i32,
            ..Default::default()
        }
    });
    SubscriptionList {
        subscription: subscription.collect(),
        mode: Mode::Stream as i32,
        encoding: Encoding::Proto as i32,
        ..Default::default()
    }
}

/// The interface a path is about, and the names below it.
fn names(prefix: Option<&Path>, path: &Path) -> (Option<String>, Vec<String>) {
    let mut interface = None;
    let mut below = Vec::new();
    for e in prefix.into_iter().flat_map(|p| &p.elem).chain(&path.elem) {
        match (e.name.as_str(), e.key.get("name")) {
            ("interfaces", _) => {}
            ("interface", Some(name)) => interface = Some(name.clone()),
            (name, _) => below.push(name.to_owned()),
        }
    }
    (interface, below)
}

/// Takes one update in; the name of the interface when it is about one.
fn learn(interfaces: &mut HashMap<String, Interface>, prefix: Option<&Path>, update: &Update) -> Option<String> {
    let (name, below) = names(prefix, update.path.as_ref()?);
    let name = name?;
    let value = update.val.as_ref()?;
    let entry = interfaces.entry(name.clone()).or_default();
    let below: Vec<&str> = below.iter().map(String::as_str).collect();
    match below.as_slice() {
        ["state", "id"] => entry.id = number(value),
        ["state", "admin-status"] => {
            entry.enabled = Some(text(value)? == "UP");
            entry.asked = entry.asked.filter(|asked| Some(*asked) != entry.enabled);
        }
        ["state", "oper-status"] => entry.up = Some(text(value)? == "UP"),
        ["ethernet", "state", "port-speed"] => entry.speed_bps = speed_bps(&text(value)?),
        _ => return None,
    }
    Some(name)
}

/// A scalar, however it is encoded.
fn text(value: &TypedValue) -> Option<String> {
    match value.value.as_ref()? {
        Value::StringVal(s) | Value::AsciiVal(s) => Some(s.clone()),
        Value::UintVal(n) => Some(n.to_string()),
        Value::IntVal(n) => Some(n.to_string()),
        Value::JsonVal(b) | Value::JsonIetfVal(b) => {
            std::str::from_utf8(b).ok().map(|s| s.trim_matches('"').to_owned())
        }
        _ => None,
    }
}

fn number(value: &TypedValue) -> Option<u32> {
    text(value)?.parse().ok()
}

/// `SPEED_10GB` and its like, with or without the module's name in front.
fn speed_bps(name: &str) -> Option<u64> {
    let name = name.rsplit(':').next()?.strip_prefix("SPEED_")?;
    let (digits, unit) = name.split_at(name.find(|c: char| !c.is_ascii_digit())?);
    let unit = match unit {
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn update(below: &[&str], value: Value) -> Update {
        let head = [elem("interfaces", None), elem("interface", Some("eth1"))];
        let path =
            Path { elem: head.into_iter().chain(below.iter().map(|n| elem(n, None))).collect(), ..Default::default() };
        Update { path: Some(path), val: Some(TypedValue { value: Some(value) }), ..Default::default() }
    }

    #[test]
    fn a_port_is_known_by_its_id_whatever_the_order_and_encoding() {
        let mut known = HashMap::new();
        let json = Value::JsonIetfVal(b"\"UP\"".to_vec().into());
        assert_eq!(learn(&mut known, None, &update(&["state", "oper-status"], json)), Some("eth1".into()));
        assert_eq!(known["eth1"].id, None);
        learn(&mut known, None, &update(&["state", "id"], Value::UintVal(7)));
        learn(&mut known, None, &update(&["ethernet", "state", "port-speed"], Value::StringVal("SPEED_2500MB".into())));
        let eth1 = &known["eth1"];
        assert_eq!((eth1.id, eth1.up, eth1.speed_bps), (Some(7), Some(true), Some(2_500_000_000)));
        assert_eq!(learn(&mut known, None, &update(&["state", "mtu"], Value::UintVal(9))), None);
    }

    #[test]
    fn a_port_is_set_once_and_again_when_the_switch_forgets() {
        let mut known = HashMap::new();
        let status = |up: bool| Value::StringVal(if up { "UP" } else { "DOWN" }.to_owned());
        learn(&mut known, None, &update(&["state", "id"], Value::UintVal(7)));
        let wanted = PortAdmin::from([(7, false), (8, false)]);
        assert!(to_set(&wanted, &mut known).is_empty(), "not known yet how it is");
        learn(&mut known, None, &update(&["state", "admin-status"], status(true)));
        let set = to_set(&wanted, &mut known);
        assert_eq!(set.len(), 1);
        assert_eq!(set[0].val, Some(TypedValue { value: Some(Value::BoolVal(false)) }));
        assert!(to_set(&wanted, &mut known).is_empty(), "asked already");
        learn(&mut known, None, &update(&["state", "admin-status"], status(false)));
        assert!(to_set(&wanted, &mut known).is_empty(), "as wanted");
        learn(&mut known, None, &update(&["state", "admin-status"], status(true)));
        assert_eq!(to_set(&wanted, &mut known).len(), 1, "somebody switched it on");
        // Wanted on again before the switch has confirmed.
        assert_eq!(to_set(&PortAdmin::from([(7, true)]), &mut known).len(), 1);
        assert!(to_set(&PortAdmin::new(), &mut known).is_empty(), "not ours any more");
    }

    #[test]
    fn speeds() {
        assert_eq!(speed_bps("openconfig-if-ethernet:SPEED_100GB"), Some(100_000_000_000));
        assert_eq!(speed_bps("SPEED_10MB"), Some(10_000_000));
        assert_eq!(speed_bps("SPEED_UNKNOWN"), None);
        assert_eq!(speed_bps("fast"), None);
    }
}
