//! The whole engine with the fabric's apps and real P4Runtime servers on loopback.
#![allow(clippy::unwrap_used)]

mod chaos;
mod simulate;
mod site;

use std::time::{Duration, Instant};

use pergola_model::{AnyResource, Kind, Mastership, Prefix, Route, RouteTarget, Security, TlsFiles};
use site::{LiveSwitch, Site, synced};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_site_comes_up_and_a_restarted_controller_writes_nothing() {
    let site = Site::start("2x2").await;
    let engine = site.engine().await;
    synced(&engine, site.revision().await).await;
    let devices = engine.devices();
    assert_eq!(devices.len(), 4);
    for (name, device) in &devices {
        let report = &device.report;
        assert_eq!(report.mastership, Mastership::Primary, "{name}");
        assert_eq!(report.pipeline_pushes, 1, "{name}");
        assert!(report.status.wanted > 0, "{name}");
        assert_eq!(report.status.installed, report.status.wanted, "{name}");
        assert_eq!(report.status.counters.write_errors, 0, "{name}");
        assert_eq!(report.status.counters.inserts + report.status.counters.modifies, report.status.wanted as u64);
        assert_eq!(engine.entities(name).len(), report.status.wanted);
        // Every entry explains itself, and its cause knows it.
        for entity in engine.entities(name) {
            let why = engine.explain(name, &entity.key).unwrap();
            assert!(engine.caused_by(&why.owner.cause).contains(&(name.clone(), entity.key.clone())));
        }
    }
    assert!(engine.conflicts().is_empty());
    drop(engine);

    let started = Instant::now();
    let engine = site.engine().await;
    synced(&engine, site.revision().await).await;
    let took = started.elapsed();
    for (name, device) in engine.devices() {
        let report = &device.report;
        assert_eq!(report.status.counters.writes(), 0, "{name}: {:?}", report.status);
        assert_eq!(report.status.counters.foreign, 0, "{name}");
        assert_eq!(report.pipeline_pushes, 0, "{name}");
        assert_eq!(report.status.installed, report.status.wanted);
    }
    eprintln!("controller restart, everything installed: ready in {took:?}");
    assert!(took < Duration::from_secs(5), "{took:?}");
}

fn route(n: u8, hop: &str) -> AnyResource {
    let prefix: Prefix = format!("198.51.{n}.0/24").parse().unwrap();
    Route { prefix, domain: Default::default(), target: RouteTarget::NextHops(vec![hop.parse().unwrap()]) }.into()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_route_is_written_everywhere_at_once_and_taken_away_again() {
    let site = Site::start("2x4-paired").await;
    let engine = site.engine().await;
    synced(&engine, site.revision().await).await;
    let view = engine.view();
    let hop = view.hosts().find_map(|h| h.ips().into_iter().find(|ip| ip.is_ipv4())).unwrap();
    let before: usize = engine.devices().values().map(|d| d.report.status.wanted).sum();
    let mut took = Vec::new();
    for n in 0..20 {
        let resource = route(n, &hop.to_string());
        let revision = site.put(&resource).await;
        // What the store needs to make it durable is not ours.
        let stored = Instant::now();
        synced(&engine, revision).await;
        took.push(stored.elapsed());
        let entries = engine.caused_by(&resource.key());
        assert!(!entries.is_empty(), "{:?}", engine.problems());
        assert!(engine.counters(&entries[0].0, 0).await.unwrap().iter().any(|c| c.key == entries[0].1));
    }
    took.sort();
    eprintln!("one route in the store to written on all leaves: median {:?}, worst {:?}", took[10], took[19]);
    for n in 0..20 {
        site.store.delete(&route(n, &hop.to_string()).key().to_string(), None).await.unwrap();
    }
    synced(&engine, site.revision().await).await;
    assert_eq!(engine.devices().values().map(|d| d.report.status.wanted).sum::<usize>(), before);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_switch_that_lost_its_memory_is_programmed_again_and_others_are_left_alone() {
    let mut site = Site::start("2x2").await;
    let engine = site.engine().await;
    synced(&engine, site.revision().await).await;
    let before = engine.devices();
    let spine1 = "spine1".parse().unwrap();
    let old = site.switches.remove(&spine1).unwrap();
    let address = old.address;
    drop(old);
    let lost = tokio::time::timeout(Duration::from_secs(20), async {
        while engine.devices()[&spine1].report.connected {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    lost.await.unwrap();
    let device_id = before[&spine1].switch.device_id.0;
    site.switches.insert(spine1.clone(), LiveSwitch::start(device_id, address));
    synced(&engine, 1).await;
    let after = engine.devices();
    assert_eq!(after[&spine1].report.pipeline_pushes, 2);
    assert_eq!(after[&spine1].report.status.installed, before[&spine1].report.status.wanted);
    for (name, device) in after.iter().filter(|(n, _)| **n != spine1) {
        assert_eq!(device.report.status.counters.writes(), before[name].report.status.counters.writes(), "{name}");
    }
    // The world was told.
    let state = engine.view().device_state(&spine1).cloned();
    assert!(state.is_some_and(|s| s.changed_ms > 0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_must_not_be_called_is_said_and_the_rest_goes_on() {
    let site = Site::start("2x2").await;
    let mut resources = site.resources.clone();
    let mut address = None;
    for resource in &mut resources {
        let AnyResource::Switch(switch) = resource else { continue };
        match switch.name.as_str() {
            "leaf1" => address = Some((switch.device_id, switch.p4runtime.clone())),
            "leaf2" => (switch.device_id, switch.p4runtime) = address.clone().unwrap(),
            "spine2" => switch.security = Security::Tls(TlsFiles::default()),
            _ => {}
        }
        site.put(resource).await;
    }
    let engine = site.engine().await;
    synced(&engine, site.revision().await).await;
    let devices = engine.devices();
    let error = |name: &str| devices[&name.parse().unwrap()].report.last_error.clone().unwrap_or_default();
    assert!(error("leaf2").contains("also claimed by leaf1"), "{}", error("leaf2"));
    assert!(error("spine2").contains("ca_file is missing"), "{}", error("spine2"));
    assert_eq!(error("leaf1"), "");
    assert_eq!(error("spine1"), "");
    drop(engine);

    let engine =
        pergola_engine::Engine::start(pergola_engine::EngineConfig { allow_plaintext: false, ..site.config() })
            .await
            .unwrap();
    synced(&engine, site.revision().await).await;
    let devices = engine.devices();
    let spine1 = &devices[&"spine1".parse().unwrap()].report;
    assert!(!spine1.connected);
    assert!(spine1.last_error.clone().unwrap().contains("lab flag"));
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let waited = tokio::time::timeout(Duration::from_secs(20), async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    });
    assert!(waited.await.is_ok(), "{what}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_controllers_share_the_switches_and_one_takes_over_from_the_other() {
    let site = Site::start("2x2").await;
    let start = |node: &str| {
        let mastership = pergola_engine::Timing { settle: Duration::from_millis(200), ..Default::default() };
        pergola_engine::Engine::start(pergola_engine::EngineConfig { node: node.into(), mastership, ..site.config() })
    };
    let a = start("a").await.unwrap();
    synced(&a, site.revision().await).await;
    let b = start("b").await.unwrap();
    let masters = |engine: &pergola_engine::Engine| engine.roles().values().filter(|r| r.is_master()).count();
    until("evenness", || masters(&a) == 2 && masters(&b) == 2).await;
    synced(&a, 1).await;
    synced(&b, 1).await;
    let primaries = |engine: &pergola_engine::Engine| {
        let all = engine.devices();
        let primary: Vec<_> = all.into_iter().filter(|(_, d)| d.report.mastership == Mastership::Primary).collect();
        primary
    };
    assert_eq!((primaries(&a).len(), primaries(&b).len()), (2, 2));
    for (name, device) in primaries(&b) {
        // What was there already was not written again, and nothing went away.
        assert_eq!(device.report.status.counters.writes(), 0, "{name}");
        assert_eq!(device.report.pipeline_pushes, 0, "{name}");
        assert_eq!(device.report.last_error, None);
    }

    // Both write what one operator asks for, each to its own.
    let hop = b.view().hosts().find_map(|h| h.ips().into_iter().find(|ip| ip.is_ipv4())).unwrap();
    let revision = site.put(&route(1, &hop.to_string())).await;
    synced(&a, revision).await;
    synced(&b, revision).await;

    // One is killed: its part goes over when its lease ends.
    let killed = Instant::now();
    drop(a);
    until("takeover", || primaries(&b).len() == 4).await;
    let took = killed.elapsed();
    synced(&b, 1).await;
    eprintln!("controller dropped to every switch taken over: {took:?}");
    assert!(took < Duration::from_millis(1500), "{took:?}");
    for (name, device) in b.devices() {
        let report = &device.report;
        assert_eq!(report.status.installed, report.status.wanted, "{name}");
        assert_eq!(report.status.counters.repairs + report.status.counters.foreign, 0, "{name}");
    }

    // One that ends in order gives up at once, and comes back as nothing.
    let c = start("c").await.unwrap();
    until("c takes part", || masters(&c) == 2).await;
    b.resign().await;
    assert_eq!(masters(&b), 0);
    until("c has all", || primaries(&c).len() == 4).await;
    synced(&c, 1).await;
    for device in b.devices().values() {
        assert_ne!(device.report.mastership, Mastership::Primary);
    }
    let state = c.view().get(&pergola_model::Key::new(Kind::DeviceState, "leaf1"));
    assert!(state.is_some());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_recorded_is_planned_again() {
    let site = Site::start("2x2").await;
    let folder = tempfile::tempdir().unwrap();
    let record = Some(folder.path().to_owned());
    let engine = pergola_engine::Engine::start(pergola_engine::EngineConfig { record, ..site.config() }).await.unwrap();
    synced(&engine, site.revision().await).await;
    let hop = engine.view().hosts().find_map(|h| h.ips().into_iter().find(|ip| ip.is_ipv4())).unwrap();
    for n in 0..5 {
        let revision = site.put(&route(n, &hop.to_string())).await;
        synced(&engine, revision).await;
    }
    let wanted: Vec<usize> = engine.devices().keys().map(|d| engine.entities(d).len()).collect();
    drop(engine);
    let files = pergola_engine::record::recordings(folder.path()).unwrap();
    assert_eq!(files.len(), 1);
    // The recorder's thread may still be writing the last of it.
    let mut replayed = pergola_engine::record::Replayed::default();
    until("all of it is on disk", || {
        replayed = pergola_engine::record::replay(&files[0], pergola_fabric_apps::all()).unwrap();
        replayed.devices.values().map(|d| d.0).eq(wanted.iter().copied())
    })
    .await;
    assert!(replayed.plans >= 6, "{replayed:?}");
    assert!(replayed.records["roles"] >= 4 && replayed.records["sessions"] >= 4, "{replayed:?}");

    // A changed input is noticed.
    let mut bytes = std::fs::read(&files[0]).unwrap();
    let at = bytes.windows(12).rposition(|w| w == b"198.51.4.0/2").unwrap();
    bytes[at + 7] = b'9';
    std::fs::write(&files[0], bytes).unwrap();
    let error = pergola_engine::record::replay(&files[0], pergola_fabric_apps::all()).unwrap_err().to_string();
    assert!(error.contains("the plan of revision"), "{error}");
}

/// Sends a DHCPv6 packet and one that is none out of every switch, every 50 ms, as one who hopes.
struct Hopeful {
    switches: Vec<String>,
    next: u64,
    mark: u8,
}

fn udp6(port: u16, mark: u8) -> Vec<u8> {
    let mut frame =
        [&[0x33, 0x33, 0, 1, 0, 2, 2, 0, 0, 0, 0, 9, 0x86, 0xdd, 0x60, 0, 0, 0, 0, 12, 17, 64][..]].concat();
    frame.extend([0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1]);
    frame.extend([0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 2]);
    frame.extend(547u16.to_be_bytes());
    frame.extend(port.to_be_bytes());
    frame.extend([0, 12, 0, 0, mark, mark, mark, mark]);
    frame
}

impl pergola_discovery::PacketMachine for Hopeful {
    fn name(&self) -> &'static str {
        "hopeful"
    }

    fn wants(&self) -> Vec<pergola_discovery::Punt> {
        Vec::new()
    }

    fn handle(
        &mut self,
        input: &pergola_discovery::Input<'_>,
        _: &dyn pergola_discovery::Net,
        now: u64,
        out: &mut Vec<pergola_discovery::Output>,
    ) {
        if matches!(input, pergola_discovery::Input::Tick) && self.next <= now {
            self.next = now + 50_000_000;
            for switch in &self.switches {
                for port in [547, 5000] {
                    let at = pergola_discovery::PortRef::new(switch.as_str(), 1);
                    let frame = udp6(port, self.mark);
                    out.push(pergola_discovery::Output::PacketOut { at, frame });
                }
            }
        }
    }

    fn next_timeout(&self) -> Option<u64> {
        Some(self.next)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_dhcp_relay_sends_leaves_a_switch_of_another_master() {
    let site = Site::start("2x2").await;
    let start = |node: &str, mark: u8| {
        let mut config = site.config();
        let switches = site.switches.keys().map(|n| n.to_string()).collect();
        config.machines.add(Box::new(Hopeful { switches, next: 0, mark }));
        config.node = node.into();
        config.mastership = pergola_engine::Timing { settle: Duration::from_millis(200), ..Default::default() };
        pergola_engine::Engine::start(config)
    };
    let a = start("a", 0xaa).await.unwrap();
    let b = start("b", 0xbb).await.unwrap();
    let masters = |engine: &pergola_engine::Engine| engine.roles().values().filter(|r| r.is_master()).count();
    until("evenness", || masters(&a) == 2 && masters(&b) == 2).await;
    synced(&a, 1).await;
    synced(&b, 1).await;
    site.switches.values().for_each(|s| s.sent.lock().unwrap().clear());
    let has = |switch: &LiveSwitch, port: u16, mark: u8| {
        let frame = udp6(port, mark);
        switch.sent.lock().unwrap().iter().any(|p| p.ends_with(&frame))
    };
    until("both are heard everywhere", || site.switches.values().all(|s| has(s, 547, 0xaa) && has(s, 547, 0xbb))).await;
    // Anything else is for each master's own switches.
    for (name, role) in a.roles() {
        let switch = &site.switches[&name.parse().unwrap()];
        let (own, other) = if role.is_master() { (0xaa, 0xbb) } else { (0xbb, 0xaa) };
        assert!(has(switch, 5000, own) && !has(switch, 5000, other), "{name}");
    }
}
