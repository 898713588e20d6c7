//! Programs, entries and packets that several tests and the benchmarks use.
#![allow(dead_code)]

use std::sync::Arc;

use p4switch::control::{ActionCall, EntryAction, EntrySpec, OneShotMember};
use p4switch::program::{Kind, TableId};
use p4switch::tables::key::{KeyField, Value};
use p4switch::{Engine, Instance, PacketMeta, Program, Switch, SwitchOptions, Worker};

pub const FEATURES: &[u8] = include_bytes!("../programs/features.json");
pub const QUEUES: &[u8] = include_bytes!("../programs/queues.json");
pub const ROUTER: &[u8] = include_bytes!("../programs/router.json");
pub const FABRIC: &[u8] = include_bytes!("../../../fabric/fabric.json");

/// A number in as few bytes as it needs.
pub fn num(value: u128) -> Value {
    value.to_be_bytes().iter().copied().skip_while(|&b| b == 0).collect()
}

pub fn exact(value: u128) -> KeyField {
    KeyField::Exact(num(value))
}

pub fn ternary(value: u128, mask: u128) -> KeyField {
    KeyField::Ternary { value: num(value), mask: num(mask) }
}

/// The default engine, from the first packet on.
fn at_once() -> Engine {
    match Engine::default() {
        Engine::Native => Engine::NativeAtOnce,
        engine => engine,
    }
}

/// A switch with one program and one worker.
pub struct Bench {
    pub switch: Arc<Switch>,
    pub instance: Arc<Instance>,
    pub worker: Worker,
}

impl Bench {
    pub fn new(json: &[u8]) -> Self {
        Self::with_engine(json, at_once())
    }

    pub fn with_engine(json: &[u8], engine: Engine) -> Self {
        let program = Program::load(json).expect("the program loads");
        let options = SwitchOptions { engine, ..SwitchOptions::default() };
        let switch = Switch::new(Some(program), options).expect("the entries fit");
        let instance = switch.instance().expect("there is a program");
        let worker = switch.worker();
        Bench { switch, instance, worker }
    }

    pub fn table(&self, name: &str) -> TableId {
        self.instance.program.table_id(name).unwrap_or_else(|| panic!("no table {name}"))
    }

    pub fn object(&self, kind: Kind, name: &str) -> usize {
        self.instance.program.id(kind, name).unwrap_or_else(|| panic!("no {kind:?} {name}"))
    }

    pub fn call(&self, table: &str, action: &str, params: &[u128]) -> ActionCall {
        let table = self.table(table);
        let action = self.instance.program.table_action(table, action);
        let action = action.expect("the table has the action");
        ActionCall { action, params: params.iter().map(|&p| num(p)).collect() }
    }

    pub fn spec(&self, table: &str, key: Vec<KeyField>, priority: i32, action: &str, params: &[u128]) -> EntrySpec {
        EntrySpec::new(key, priority, EntryAction::Call(self.call(table, action, params)))
    }

    pub fn add(&self, table: &str, key: Vec<KeyField>, priority: i32, action: &str, params: &[u128]) {
        let spec = self.spec(table, key, priority, action, params);
        let id = self.table(table);
        if let Err(error) = self.instance.insert(id, &spec, self.switch.now_ms()) {
            panic!("insert into {table}: {error}");
        }
    }

    /// What leaves when `packet` comes in: (port, bytes).
    pub fn send(&mut self, port: u32, packet: &[u8]) -> Vec<(u32, Vec<u8>)> {
        let mut out = Vec::new();
        let mut sink = |port: u32, head: &[u8], payload: &[u8], _: PacketMeta| {
            out.push((port, [head, payload].concat()));
        };
        self.worker.process(port, packet, PacketMeta::default(), &mut sink);
        out
    }

    /// The router with `routes` /24 routes and some of other lengths, four ECMP members a group.
    pub fn router(routes: u32) -> Self {
        Self::router_on(at_once(), routes)
    }

    pub fn router_on(engine: Engine, routes: u32) -> Self {
        let bench = Bench::with_engine(ROUTER, engine);
        let t = |name: &str| format!("MainIngress.{name}");
        for port in 0..32 {
            let key = vec![exact(port), exact(0), ternary(0, 0), ternary(0, 0)];
            bench.add(&t("ingress_port_vlan"), key, 1, "MainIngress.set_vid", &[10]);
            let key = vec![exact(port), ternary(0x00_aa_bb_cc_dd_ee, 0xffff_ffff_ffff), ternary(0x0800, 0xffff)];
            bench.add(&t("classifier"), key, 1, "MainIngress.route_it", &[]);
        }
        let groups = 64u32;
        for group in 0..groups {
            let members = (0..4).map(|i| {
                let port = u128::from(1 + (group * 4 + i) % 31);
                let call =
                    bench.call(&t("next_hashed"), "MainIngress.hashed", &[port, 0x02_00, u128::from(group) << 8]);
                OneShotMember { call, weight: 1, watch_port: Some(port as u32) }
            });
            let key = vec![exact(u128::from(group + 1))];
            let spec = EntrySpec::new(key, 0, EntryAction::OneShot(members.collect()));
            bench.instance.insert(bench.table(&t("next_hashed")), &spec, 0).expect("a group");
        }
        for route in 0..routes {
            let (value, prefix_len) = route_of(route);
            let key = vec![KeyField::Lpm { value: num(u128::from(value)), prefix_len }];
            bench.add(&t("routes_v4"), key, 0, "MainIngress.set_next4", &[u128::from(route % groups + 1)]);
        }
        bench
    }

    /// The fabric program as a leaf: ports 1 to 32 route untagged IPv4 by `routes` routes, each to one of 64 ECMP groups of
    /// four members. With `labels` the members are far switches behind an MPLS label, else neighbours.
    pub fn fabric(routes: u32, labels: bool) -> Self {
        Self::fabric_on(at_once(), routes, labels)
    }

    pub fn fabric_on(engine: Engine, routes: u32, labels: bool) -> Self {
        let bench = Bench::with_engine(FABRIC, engine);
        let t = |name: &str| format!("FabricIngress.{name}");
        let (filter, classify) = (t("filtering.ingress_port_vlan"), t("filtering.fwd_classifier"));
        for port in 1..33 {
            let any = || ternary(0, 0);
            let key = vec![exact(port), exact(0), any(), any(), any()];
            bench.add(&filter, key, 1, &t("filtering.permit_with_vlan"), &[10, 1]);
            let key = vec![ternary(port, 511), ternary(0x00_aa_bb_cc_dd_ee, 0xffff_ffff_ffff), exact(0x800)];
            bench.add(&classify, key, 1, &t("filtering.set_forwarding"), &[2]);
        }
        let (table, action) = (t("next.next_hashed"), if labels { "to_node_hashed" } else { "to_neighbour_hashed" });
        let action = t(&format!("next.{action}"));
        for group in 1..=64u32 {
            let members = (0..4).map(|i| {
                let port = u128::from(1 + (group * 4 + i) % 31);
                let mut params = vec![port, 0x02_00_00_00_00_01, 0x02_00_00_00_01_00 | u128::from(group * 4 + i)];
                params.extend(labels.then_some(u128::from(100 + group)));
                OneShotMember { call: bench.call(&table, &action, &params), weight: 1, watch_port: Some(port as u32) }
            });
            let spec = EntrySpec::new(vec![exact(group.into())], 0, EntryAction::OneShot(members.collect()));
            bench.instance.insert(bench.table(&table), &spec, 0).expect("a group");
        }
        for route in 0..routes {
            let (value, prefix_len) = route_of(route);
            let key = vec![exact(1), KeyField::Lpm { value: num(value.into()), prefix_len }];
            let next = u128::from(route % 64 + 1);
            bench.add(&t("forwarding.ipv4_unicast"), key, 0, &t("forwarding.route_v4"), &[next]);
        }
        bench
    }
}

/// Route number `n`: nine of ten are /24, the others /16, /20, /28 and /32.
pub fn route_of(n: u32) -> (u32, u32) {
    let base = 0x0a00_0000 | (n << 8);
    match n % 40 {
        0 => (0x0b00_0000 + ((n / 40) << 16), 16),
        10 => ((base & 0xffff_f000) | 0x4000_0000, 20),
        20 => (base | 0x30, 28),
        30 => (base | 7, 32),
        _ => (base, 24),
    }
}

/// A 64-byte IPv4 UDP packet to `dst`, checksum right.
pub fn ipv4(dst: u32, sport: u16) -> Vec<u8> {
    let mut packet = vec![0x00, 0xaa, 0xbb, 0xcc, 0xdd, 0xee, 0, 1, 2, 3, 4, 5, 0x08, 0];
    packet.extend([0x45, 0, 0, 50, 0, 1, 0, 0, 64, 17, 0, 0, 192, 168, 0, 1]);
    packet.extend(dst.to_be_bytes());
    let sum: u32 = packet[14..34].chunks(2).map(|w| u32::from(w[0]) << 8 | u32::from(w[1])).sum();
    let sum = (sum & 0xffff) + (sum >> 16);
    let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
    packet[24..26].copy_from_slice(&sum.to_be_bytes());
    packet.extend(sport.to_be_bytes());
    packet.extend([0, 80, 0, 30, 0, 0]);
    packet.resize(64, 0x55);
    packet
}
