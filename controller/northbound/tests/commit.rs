//! Writes of intents through several controllers at once, on etcd: what is right alone and wrong together never meets.
#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use pergola_discovery::{GuardConfig, Machines};
use pergola_engine::{Clock, Engine, EngineConfig};
use pergola_etcd_members::Members;
use pergola_model::{AnyResource, Key, Kind, Route, RouteTarget, Subnet, View};
use pergola_northbound::Problem;
use pergola_northbound::commit::{Ask, Commits, Demand, Done};
use pergola_pipeline::fabric;
use pergola_southbound::Pipeline;
use pergola_store::etcd::EtcdOptions;
use pergola_store::{Error, EtcdStore, Store};

struct Node {
    engine: Arc<Engine>,
    commits: Commits,
    store: Arc<dyn Store>,
}

impl Node {
    async fn start(name: &str, urls: &[String]) -> Node {
        let mut options = EtcdOptions::new(urls, "site");
        options.allow_plaintext = true;
        let store: Arc<dyn Store> = loop {
            match EtcdStore::connect(options.clone()).await {
                Ok(store) => break Arc::new(store),
                Err(Error::Unavailable { .. }) => {}
                Err(other) => panic!("{other}"),
            }
        };
        let pipeline = Arc::new(Pipeline::from_text(fabric::P4INFO, fabric::JSON.to_vec()).unwrap());
        let config = EngineConfig {
            store: store.clone(),
            apps: pergola_fabric_apps::all(),
            pipeline_of: Arc::new(move |_| pipeline.clone()),
            machines: Machines::new(GuardConfig::default()),
            clock: Clock::default(),
            allow_plaintext: true,
            node: name.into(),
            mastership: Default::default(),
            record: None,
            reconcile: Default::default(),
        };
        let engine = Arc::new(Engine::start(config).await.unwrap());
        engine.wait_planned(1).await;
        Node { commits: Commits::spawn(engine.clone(), store.clone()), engine, store }
    }

    async fn put(&self, resource: AnyResource) -> Result<Done, Problem> {
        self.commits.ask(Ask::Put(resource, Demand::Nothing)).await
    }

    async fn delete(&self, key: Key) -> Result<Done, Problem> {
        self.commits.ask(Ask::Delete(key, Demand::Nothing)).await
    }
}

/// Nodes on one etcd whose store holds the 2x2 example without addresses of switches.
async fn nodes(count: usize) -> (Vec<Node>, Members, tempfile::TempDir) {
    let folder = tempfile::tempdir().unwrap();
    let members = Members::start(folder.path(), 1, "http", &[]).unwrap();
    let urls = members.urls();
    let nodes: Vec<Node> = join_all((0..count).map(|n| {
        let urls = &urls;
        async move { Node::start(&format!("n{n}"), urls).await }
    }))
    .await;
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topology/blueprint/examples/2x2.yaml");
    let mut site = pergola_blueprint::parse(&std::fs::read_to_string(path).unwrap()).unwrap().view().intents();
    for resource in &mut site {
        if let AnyResource::Switch(switch) = resource {
            (switch.p4runtime, switch.gnmi) = (None, None);
        }
    }
    nodes[0].commits.ask(Ask::Site(site)).await.unwrap();
    (nodes, members, folder)
}

fn subnet() -> Subnet {
    serde_json::from_str(r#"{"name": "raced", "vlan": 77, "gateways": ["10.77.0.1/24"]}"#).unwrap()
}

fn route(n: u32) -> Route {
    let prefix = format!("198.18.{n}.0/24").parse().unwrap();
    let target = RouteTarget::NextHops(vec!["10.77.0.254".parse().unwrap()]);
    Route { prefix, domain: Default::default(), target }
}

/// The store as it is, checked whole.
async fn stored(node: &Node) -> View {
    let listing = node.store.range("", None).await.unwrap();
    View::from_resources(listing.entries.iter().filter_map(|e| AnyResource::from_stored(&e.key, &e.value).ok()))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_route_and_the_end_of_its_subnet_never_both_succeed() {
    let (nodes, _members, _folder) = nodes(3).await;
    let mut both_orders = [0, 0];
    for round in 0..120 {
        nodes[0].put(subnet().into()).await.unwrap();
        let revision = nodes[0].store.status().await.unwrap().revision;
        join_all(nodes.iter().map(|n| n.engine.wait_planned(revision))).await;
        // Sometimes before, sometimes after, mostly into the middle of it.
        let later = |us: u64| tokio::time::sleep(Duration::from_micros(us));
        let (ended, one, other) = tokio::join!(
            async {
                later(round % 12 * 500).await;
                nodes[0].delete(Key::new(Kind::Subnet, "raced")).await
            },
            async {
                later(2000).await;
                nodes[1].put(route(1).into()).await
            },
            async {
                later(2500).await;
                nodes[2].put(route(2).into()).await
            },
        );
        let routes = usize::from(one.is_ok()) + usize::from(other.is_ok());
        assert!(ended.is_ok() != (routes > 0), "subnet: {ended:?}, routes: {one:?} {other:?}");
        both_orders[usize::from(ended.is_ok())] += 1;
        assert_eq!(stored(&nodes[0]).await.check(), []);
        for (n, done) in [(1, one), (2, other)] {
            if done.is_ok() {
                nodes[0].delete(Key::new(Kind::Route, route(n).id())).await.unwrap();
            }
        }
    }
    eprintln!("the routes came first {} times, the end {} times", both_orders[0], both_orders[1]);
    assert!(both_orders[0] > 0 && both_orders[1] > 0, "{both_orders:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_key_through_several_controllers_is_made_once() {
    let (nodes, _members, _folder) = nodes(3).await;
    nodes[0].put(subnet().into()).await.unwrap();
    for n in 0..40 {
        let asks = |demand| join_all(nodes.iter().map(move |node| node.commits.ask(Ask::Put(route(n).into(), demand))));
        let done = if n % 2 == 0 { asks(Demand::Nothing).await } else { asks(Demand::Missing).await };
        let created = |d: &&Result<Done, Problem>| matches!(d, Ok(Done::Written { created: true, .. }));
        assert_eq!(done.iter().filter(created).count(), 1, "{done:?}");
        let refused = done.iter().filter(|d| d.is_err()).count();
        assert_eq!(refused, if n % 2 == 0 { 0 } else { 2 }, "{done:?}");
        let key = Key::new(Kind::Route, route(n).id());
        let gone = join_all(nodes.iter().map(|node| node.delete(key.clone()))).await;
        assert_eq!(gone.iter().filter(|d| d.is_ok()).count(), 1, "{gone:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_change_that_others_depend_on_comes_through_while_routes_pour_in() {
    let (nodes, _members, _folder) = nodes(3).await;
    nodes[0].put(subnet().into()).await.unwrap();
    let until = tokio::time::Instant::now() + Duration::from_secs(4);
    let pour = |from: usize| {
        let nodes = &nodes;
        async move {
            let mut n = 0;
            while tokio::time::Instant::now() < until {
                nodes[from % 3].put(route((from * 10 + n % 10) as u32).into()).await.unwrap();
                n += 1;
            }
            n
        }
    };
    let change = async {
        let mut longest = Duration::ZERO;
        let mut n = 0;
        while tokio::time::Instant::now() < until {
            let began = std::time::Instant::now();
            let mut other = subnet();
            (other.name, other.vlan) = ("other".parse().unwrap(), (100u64 + n % 100).try_into().unwrap());
            other.gateways = vec![format!("10.78.{}.1/24", n % 200).parse().unwrap()];
            nodes[n as usize % 3].put(other.into()).await.unwrap();
            longest = longest.max(began.elapsed());
            n += 1;
        }
        (n, longest)
    };
    let (poured, (changes, longest)) = tokio::join!(join_all((0..12).map(pour)), change);
    eprintln!(
        "{} writes of routes, {changes} of a subnet, of which the longest took {longest:?}",
        poured.iter().sum::<usize>()
    );
    assert!(longest < Duration::from_secs(2), "{longest:?}");
    assert_eq!(stored(&nodes[0]).await.check(), []);
}

#[test]
fn no_check_of_another_intent_looks_at_one_that_stands_apart() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../topology/blueprint/examples/2x4-paired.yaml");
    let site = pergola_blueprint::parse(&std::fs::read_to_string(path).unwrap()).unwrap().view();
    let subnet = site.subnets().find(|s| s.has_ipv4_gateway()).unwrap().clone();
    let odd =
        |prefix, hop: std::net::IpAddr| Route { prefix, target: RouteTarget::NextHops(vec![hop, hop]), ..route(1) };
    let gateway = subnet.gateways[0].address();
    let mut apart: Vec<AnyResource> = vec![
        route(1).into(),
        odd(subnet.gateways[0].prefix(), gateway).into(),
        odd("0.0.0.0/0".parse().unwrap(), gateway).into(),
        Route { target: RouteTarget::Blackhole, ..odd(subnet.gateways[0].prefix(), gateway) }.into(),
    ];
    for text in [
        r#"{"name": "guard", "rules": []}"#,
        r#"{"name": "p", "rules": [{"priority": 200, "match": {"in_ports": ["leaf1/1", "nowhere/1"]}, "action": "deny"}]}"#,
        r#"{"name": "q", "rules": [{"priority": 200, "match": {}, "action": {"redirect_next_hop": "10.99.0.1"}}]}"#,
    ] {
        apart.push(AnyResource::deserialize(Kind::Policy, &mut serde_json::Deserializer::from_str(text)).unwrap());
    }
    for kind in Kind::ALL.iter().filter(|kind| kind.stands_apart()) {
        assert!(apart.iter().any(|r| r.kind() == *kind), "{kind} is not tried");
        apart.extend(site.all(*kind));
    }
    for resource in &apart {
        assert!(resource.kind().stands_apart());
        let (mut with, mut without) = (site.clone(), site.clone());
        with.put(resource.clone());
        without.remove(&resource.key());
        for other in with.intents().iter().chain(&apart).map(AnyResource::key).filter(|key| *key != resource.key()) {
            assert_eq!(with.check_resource(&other), without.check_resource(&other), "{resource:?}");
        }
    }
}
