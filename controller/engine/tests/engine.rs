//! The whole engine with the fabric's apps and real P4Runtime servers on loopback.

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
    println!("controller restart, everything installed: ready in {took:?}");
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
    println!("one route in the store to written on all leaves: median {:?}, worst {:?}", took[10], took[19]);
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

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_standby_waits_and_takes_over_when_the_primary_is_gone() {
    let site = Site::start("single-leaf").await;
    let start = |election_id| {
        let config = pergola_engine::EngineConfig { election_id: Some(election_id), ..site.config() };
        pergola_engine::Engine::start(config)
    };
    let primary = start(20).await.unwrap();
    synced(&primary, site.revision().await).await;
    let standby = start(10).await.unwrap();
    let name = primary.devices().keys().next().unwrap().clone();
    let reaches = |engine: pergola_engine::Engine, wanted| {
        let name = name.clone();
        async move {
            while engine.devices().get(&name).map(|d| d.report.mastership) != Some(wanted) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
            engine
        }
    };
    let limit = Duration::from_secs(20);
    let standby = tokio::time::timeout(limit, reaches(standby, Mastership::Backup)).await.unwrap();
    drop(primary);
    // With a greater id it becomes the primary, and finds everything as it should be.
    standby.elect(30);
    let standby = tokio::time::timeout(limit, reaches(standby, Mastership::Primary)).await.unwrap();
    synced(&standby, 1).await;
    assert_eq!(standby.devices()[&name].report.status.counters.writes(), 0);
    let state = standby.view().get(&pergola_model::Key::new(Kind::DeviceState, &name));
    assert!(state.is_some());
}
