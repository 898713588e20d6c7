//! Mastership by real tasks in real time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pergola_store::mastership::{self, Device, Node, Role, Timing};
use pergola_store::{Key, Store, follow};
use tokio::sync::{mpsc, oneshot, watch};

const TTL: Duration = Duration::from_millis(1000);

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn devices(count: usize) -> BTreeSet<Device> {
    (0..count).map(|i| Device::from(format!("leaf{i}"))).collect()
}

struct Task {
    task: tokio::task::JoinHandle<()>,
    roles: mpsc::UnboundedReceiver<(Device, Option<Role>)>,
    stop: Option<oneshot::Sender<()>>,
    _devices: watch::Sender<BTreeSet<Device>>,
}

fn start(store: &Arc<dyn Store>, name: &str, count: usize) -> Task {
    let (devices, seen) = watch::channel(devices(count));
    let (sender, roles) = mpsc::unbounded_channel();
    let (stop, stopped) = oneshot::channel();
    let timing = Timing { ttl: TTL, settle: ms(300) };
    let store = store.clone();
    let name = Key::from(name);
    let task = tokio::spawn(async move { mastership::run(store, name, timing, seen, sender, stopped).await });
    Task { task, roles, stop: Some(stop), _devices: devices }
}

/// Waits until the masters in the store are as wanted.
async fn until(store: &Arc<dyn Store>, what: &str, good: impl Fn(&BTreeMap<Node, usize>) -> bool) {
    let waiting = async {
        let mut followed = follow(store.clone(), "cluster/");
        loop {
            let status = mastership::status(&**store).await.unwrap();
            let mut loads: BTreeMap<Node, usize> = BTreeMap::new();
            status.masters.values().for_each(|(node, _)| *loads.entry(node.clone()).or_default() += 1);
            if good(&loads) {
                return;
            }
            followed.next().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), waiting).await.expect(what);
}

pub async fn tasks_share_devices_and_take_over(store: Arc<dyn Store>) {
    let mut one = start(&store, "one", 6);
    until(&store, "one has all", |loads| loads.get("one") == Some(&6)).await;
    let two = start(&store, "two", 6);
    until(&store, "they share", |loads| loads.values().eq(&[3, 3])).await;

    // "two" dies; nobody tells the store.
    two.task.abort();
    let died = Instant::now();
    until(&store, "one takes over", |loads| loads.get("one") == Some(&6)).await;
    eprintln!("a dead controller was replaced in {:?}", died.elapsed());
    assert!(died.elapsed() < TTL + ms(1500), "{:?}", died.elapsed());
    let status = mastership::status(&*store).await.unwrap();
    assert!(status.masters.values().all(|(node, _)| &**node == "one"), "{status:?}");
    let wanted: BTreeMap<_, _> = status.masters.into_iter().map(|(d, (_, id))| (d, id)).collect();
    let mut masters = BTreeMap::new();
    let told = async {
        while masters != wanted {
            let (device, role) = one.roles.recv().await.unwrap();
            match role {
                Some(Role::Master { election_id }) => _ = masters.insert(device, election_id),
                _ => _ = masters.remove(&device),
            }
        }
    };
    tokio::time::timeout(ms(5000), told).await.expect("the roles are told as the store has them");

    // "one" ends in order: nothing is left, and long before the lease would have ended.
    let ended = Instant::now();
    one.stop.take().unwrap().send(()).unwrap();
    one.task.await.unwrap();
    assert!(ended.elapsed() < ms(500), "{:?}", ended.elapsed());
    let status = mastership::status(&*store).await.unwrap();
    assert!(status.nodes.is_empty() && status.masters.is_empty(), "{status:?}");
    let mut last = None;
    while let Ok((_, role)) = one.roles.try_recv() {
        last = role;
    }
    assert_eq!(last, Some(Role::Standby { master: None }));
}

pub async fn who_lives_is_named_and_who_ended_is_waited_for(store: Arc<dyn Store>) {
    let none = BTreeSet::new();
    let living = |node: &'static str| mastership::living(store.clone(), move |other| other == node);
    assert_eq!(living("one").await.unwrap(), none);
    let one = start(&store, "one", 1);
    let two = start(&store, "two", 1);
    until(&store, "one of them is master", |loads| loads.len() == 1).await;
    // It ended a moment ago and its lease goes on: watched, not guessed.
    one.task.abort();
    let ended = Instant::now();
    assert_eq!(living("one").await.unwrap(), none);
    assert!(ended.elapsed() < TTL + ms(1500), "{:?}", ended.elapsed());
    assert_eq!(mastership::living(store.clone(), |_| true).await.unwrap(), BTreeSet::from([Node::from("two")]));
    two.task.abort();
}
