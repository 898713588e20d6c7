//! Tables hold what they promise, and say so when they are full.

use std::time::Instant;

use p4runtime_proto::p4::v1::{self, Update, WriteRequest, update::Type};
use p4runtime_proto::{status, text};
use pergola_pipeline::table::{Lpm, TableDef};
use pergola_pipeline::tables::{
    self, downlink_session, downlink_session_v6, ipv4_unicast, ipv6_unicast, line_down, line_up, uplink_session,
};
use pergola_pipeline::{Entity, fabric};
use tonic::Code;

use super::frames::{eth, udp, v6};
use super::{HOST, Office, PEER, ROUTER, bare, next, to_router, untagged};

/// Entry number `n` of a table.
type Make = fn(u32) -> Entity;

/// Every second one a network, the others hosts.
fn route(n: u32) -> Entity {
    let network = 0x2001_0db8 << 96 | u128::from(n) << 64;
    let (value, prefix_len) = if n.is_multiple_of(2) { (network, 64) } else { (network | 1, 128) };
    let key = ipv6_unicast::Key { vrf: 1, ipv6_dst: Lpm { value: value.into(), prefix_len }, priority: 0 };
    ipv6_unicast::entry(key, ipv6_unicast::Act::RouteV6 { next_id: 2 })
}

fn line(n: u32) -> Entity {
    let key = line_up::Key { ig_port: (n >> 12) as u16, s_tag: 100, c_tag: (n & 0xfff) as u16, priority: 0 };
    line_up::entry(key, line_up::Act::SetLine { line_id: n, vrf: 1, slice: 0, tc: 0 })
}

fn tunnel(n: u32) -> Entity {
    let key = uplink_session::Key { tunnel_dst: [192u8, 168, 0, 1].into(), teid: n, priority: 0 };
    uplink_session::entry(key, uplink_session::Act::SetUplinkSession { session_index: n & 0x1_ffff })
}

/// The code of each update.
fn write(office: &mut Office, kind: Type, entries: impl IntoIterator<Item = Entity>) -> Vec<Code> {
    let update = |entry: Entity| Update { r#type: kind.into(), entity: Some(entry.to_proto()) };
    let updates: Vec<_> = entries.into_iter().map(update).collect();
    let election_id = Some(v1::Uint128 { high: 0, low: 1 });
    let request = WriteRequest { device_id: 1, election_id, updates, ..Default::default() };
    match office.device.write(&request, Instant::now()) {
        Ok(_) => vec![Code::Ok; request.updates.len()],
        Err(failed) => status::batch_errors(&failed).iter().map(|error| Code::from(error.canonical_code)).collect(),
    }
}

fn size(table: &TableDef) -> u32 {
    let info = text::parse_p4info(fabric::P4INFO).unwrap();
    info.tables.iter().find(|t| t.preamble.as_ref().unwrap().id == table.id).unwrap().size as u32
}

#[test]
fn tables_have_room_for_what_is_promised() {
    for (table, promised) in [
        (&ipv4_unicast::TABLE, 65_536),
        (&ipv6_unicast::TABLE, 65_536),
        (&line_up::TABLE, 16_384),
        (&line_down::TABLE, 16_384),
        (&uplink_session::TABLE, 65_536),
        (&downlink_session::TABLE, 65_536),
        (&downlink_session_v6::TABLE, 65_536),
    ] {
        let (name, size) = (table.short_name(), size(table));
        assert!(size >= promised, "{name}: {size}");
    }
}

#[test]
fn routes_lines_and_sessions_up_to_the_last_one() {
    let attached = super::next_simple::Act::ToAttached { port: 2, vlan_id: 20, eth_src: ROUTER, eth_dst: PEER };
    let mut office = Office::new([untagged(1, 10, 1), bare(20, 2), to_router(0x86dd, 3), next(2, attached)]);
    let kinds: [(&TableDef, Make); 3] =
        [(&ipv6_unicast::TABLE, route), (&line_up::TABLE, line), (&uplink_session::TABLE, tunnel)];
    for (table, make) in kinds {
        let (name, size) = (table.short_name(), size(table));
        for start in (0..size).step_by(8_192) {
            let codes = write(&mut office, Type::Insert, (start..size.min(start + 8_192)).map(make));
            assert!(codes.iter().all(|code| *code == Code::Ok), "{name} at {start}");
        }
        // Full: no more, and what is there can be changed and replaced.
        let codes = write(&mut office, Type::Insert, [make(size), make(0), make(size + 1)]);
        assert_eq!(codes, [Code::ResourceExhausted, Code::AlreadyExists, Code::ResourceExhausted], "{name}");
        assert_eq!(write(&mut office, Type::Modify, [make(7)]), [Code::Ok], "{name}");
        assert_eq!(write(&mut office, Type::Delete, [make(7)]), [Code::Ok], "{name}");
        assert_eq!(write(&mut office, Type::Insert, [make(size)]), [Code::Ok], "{name}");
        assert_eq!(write(&mut office, Type::Insert, [make(7)]), [Code::ResourceExhausted], "{name}");
    }
    // Packets find their way in it: the first, the last, and not one that was deleted.
    let last = size(&ipv6_unicast::TABLE);
    for (n, left) in [(0, 1), (1, 1), (last - 1, 1), (last, 1), (7, 0), (last + 1, 0)] {
        let at = [0x2001, 0xdb8, (n >> 16) as u16, n as u16, 0, 0, 0, 1];
        let sent = eth(ROUTER, HOST, &[], 0x86dd, &v6([1; 8], at, 17, 64, &udp(1, 2, b"x")));
        assert_eq!(office.send(1, &sent).len(), left, "{n}");
    }
}

#[test]
fn every_table_counts_and_has_a_size() {
    let info = text::parse_p4info(fabric::P4INFO).unwrap();
    let sizes = include_str!("../../../../fabric/src/sizes.p4");
    let stated: Vec<i64> = sizes.lines().filter_map(|line| line.split_whitespace().nth(2)?.parse().ok()).collect();
    for table in &info.tables {
        let name = &table.preamble.as_ref().unwrap().name;
        let counted = info.direct_counters.iter().any(|c| c.direct_table_id == table.preamble.as_ref().unwrap().id);
        assert!(counted, "{name} has no counter");
        assert!(stated.contains(&table.size), "{name}: {} is not in sizes.p4", table.size);
    }
    assert_eq!(info.tables.len(), tables::ALL.len());
}
