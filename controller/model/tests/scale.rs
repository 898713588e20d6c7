//! A large office's observations in one View: how long they take to load and how much they hold.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::time::{Duration, Instant};

use pergola_model::*;

const HOSTS: u32 = 200_000;

/// Resident memory in bytes (proc(5), statm).
fn resident() -> Option<usize> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(statm.split(' ').nth(1)?.parse::<usize>().ok()? * 4096)
}

#[test]
fn two_hundred_thousand_hosts_load_fast_and_small() {
    let mut base = View::default();
    for leaf in 1..=8 {
        let switch = serde_json::json!({
            "name": format!("leaf{leaf}"), "role": "leaf", "device_id": leaf, "node_label": 100 + leaf,
            "router_mac": MacAddr::from_u64(0x0200_0001_0000 + leaf),
        });
        base.put(serde_json::from_value::<Switch>(switch).unwrap());
    }
    let stored: Vec<(String, Vec<u8>)> = (0..HOSTS)
        .map(|n| {
            let [_, a, b, c] = n.to_be_bytes();
            let location = HostLocation {
                mac: MacAddr([2, 0, 0, a, b, c]),
                vlan: VlanId::new(1 + (n % 4000) as u16).unwrap(),
                ips: vec![
                    std::net::IpAddr::from([10, a, b, c]),
                    format!("2001:db8:{:x}::{c:x}", n >> 8).parse().unwrap(),
                ],
                ports: vec![format!("leaf{}/{}", 1 + n % 8, 1 + n % 48).parse().unwrap()],
                learned_from: LearnedFrom::Arp,
                moved_ms: 1_700_000_000_000,
            };
            (location.key().to_string(), location.encode())
        })
        .collect();
    let changes: Vec<Change> = stored.iter().map(|(key, value)| Change { key, value: Some(value) }).collect();

    let before = resident();
    let started = Instant::now();
    let mut view = base;
    for batch in changes.chunks(1000) {
        let applied = view.apply(2, batch);
        assert!(applied.refused.is_empty());
        assert_eq!(applied.changed.len(), batch.len());
    }
    let took = started.elapsed();
    let grown = before.zip(resident()).map(|(before, after)| after.saturating_sub(before) >> 20);
    assert_eq!(view.host_count(), HOSTS as usize);

    let started = Instant::now();
    let copies: Vec<View> = (0..1000).map(|_| view.clone()).collect();
    let clone = started.elapsed() / 1000;
    drop(copies);

    let started = Instant::now();
    let moved = MacAddr([2, 0, 0, 0, 0, 1]);
    for n in 0..1000u32 {
        // A snapshot is held while the next change is made, as the engine does.
        let _held = view.clone();
        view.put(HostLocation {
            mac: moved,
            vlan: VlanId::new(2).unwrap(),
            ips: vec![],
            ports: vec![format!("leaf1/{}", 1 + n % 48).parse().unwrap()],
            learned_from: LearnedFrom::Frame,
            moved_ms: n.into(),
        });
    }
    let change = started.elapsed() / 1000;
    println!("{HOSTS} hosts: {took:?} to load, {grown:?} MiB; clone {clone:?}, change with a clone held {change:?}");
    // Generous: tests run on busy machines and with little optimisation.
    assert!(took < Duration::from_secs(8), "{took:?}");
    assert!(grown.is_none_or(|mib| mib < 150), "{grown:?} MiB");
    assert!(change < Duration::from_millis(1), "{change:?}");
}
