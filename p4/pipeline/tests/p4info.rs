//! The typed tables against the P4Info, and the artefacts against the source they were made from.
#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use p4runtime_proto::p4::config::v1::match_field::{Match, MatchType};
use p4runtime_proto::p4::config::v1::{P4Info, Table};
use p4runtime_proto::text::parse_p4info;
use pergola_pipeline::table::MatchKind;
use pergola_pipeline::{fabric, reserved, tables};

fn info() -> P4Info {
    parse_p4info(fabric::P4INFO).unwrap()
}

fn kind(field: &Option<Match>) -> MatchKind {
    match field {
        Some(Match::MatchType(t)) => match MatchType::try_from(*t).unwrap() {
            MatchType::Exact => MatchKind::Exact,
            MatchType::Lpm => MatchKind::Lpm,
            MatchType::Ternary => MatchKind::Ternary,
            MatchType::Range => MatchKind::Range,
            MatchType::Optional => MatchKind::Optional,
            MatchType::Unspecified => panic!("a field without a match type"),
        },
        other => panic!("match type {other:?}"),
    }
}

#[test]
fn statements_match_the_p4info() {
    let info = info();
    let by_id: BTreeMap<u32, &Table> = info.tables.iter().map(|t| (t.preamble.as_ref().unwrap().id, t)).collect();
    assert_eq!(by_id.len(), tables::ALL.len(), "a table is missing in tables/mod.rs");
    for stated in tables::ALL {
        let table = by_id.get(&stated.id).unwrap_or_else(|| panic!("no table {}", stated.name));
        assert_eq!(table.preamble.as_ref().unwrap().name, stated.name);
        assert_eq!(table.match_fields.len(), stated.fields.len(), "{}", stated.name);
        for (field, stated_field) in table.match_fields.iter().zip(stated.fields) {
            assert_eq!(field.id, stated_field.id, "{}.{}", stated.name, stated_field.name);
            assert_eq!(field.name, stated_field.name, "{}", stated.name);
            assert_eq!(field.bitwidth as u32, stated_field.bits, "{}.{}", stated.name, field.name);
            assert_eq!(kind(&field.r#match), stated_field.kind, "{}.{}", stated.name, field.name);
        }
        let named = |id: u32| info.actions.iter().find(|a| a.preamble.as_ref().unwrap().id == id).unwrap();
        let usable: Vec<u32> = table
            .action_refs
            .iter()
            .map(|r| r.id)
            .filter(|id| named(*id).preamble.as_ref().unwrap().name != "NoAction")
            .collect();
        let stated_ids: Vec<u32> = stated.actions.iter().map(|a| a.id).collect();
        assert_eq!(usable, stated_ids, "{}", stated.name);
        for action in stated.actions {
            let theirs = named(action.id);
            assert_eq!(theirs.preamble.as_ref().unwrap().name, action.name);
            let params: Vec<(u32, &str, u32)> =
                theirs.params.iter().map(|p| (p.id, p.name.as_str(), p.bitwidth as u32)).collect();
            let stated_params: Vec<(u32, &str, u32)> = action.params.iter().map(|p| (p.id, p.name, p.bits)).collect();
            assert_eq!(params, stated_params, "{}", action.name);
        }
    }
}

#[test]
fn packet_metadata_has_the_reserved_ids() {
    let info = info();
    let ids = |name: &str| -> BTreeMap<String, u32> {
        let header =
            info.controller_packet_metadata.iter().find(|m| m.preamble.as_ref().unwrap().name == name).unwrap();
        header.metadata.iter().map(|m| (m.name.clone(), m.id)).collect()
    };
    let packet_in = ids("packet_in");
    assert_eq!(packet_in["ingress_port"], reserved::packet_in::INGRESS_PORT);
    assert_eq!(packet_in["punt_id"], reserved::packet_in::PUNT_ID);
    let packet_out = ids("packet_out");
    assert_eq!(packet_out["egress_port"], reserved::packet_out::EGRESS_PORT);
    assert_eq!(packet_out["submit"], reserved::packet_out::SUBMIT);
}

fn fabric_dir() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../fabric")
}

#[test]
fn artefacts_belong_to_the_source() {
    let dir = fabric_dir();
    let output = Command::new("sh")
        .arg("-c")
        .arg("(cd src && find . -name '*.p4' | LC_ALL=C sort | xargs sha256sum); sha256sum fabric.json fabric.p4info.txtpb")
        .current_dir(&dir)
        .output()
        .unwrap();
    assert!(output.status.success());
    let now = String::from_utf8(output.stdout).unwrap();
    let then = std::fs::read_to_string(dir.join("fabric.sources.sha256")).unwrap();
    assert_eq!(now, then, "source and artefacts are not those of one compilation: run `make p4`");
}

/// With p4c here, the artefacts are what it makes now.
#[test]
fn artefacts_are_what_p4c_makes() {
    if Command::new("p4c-bm2-ss").arg("--version").output().is_err() {
        eprintln!("p4c-bm2-ss is not on PATH: not compared");
        return;
    }
    let out = tempfile::tempdir().unwrap();
    let dir = fabric_dir();
    let status = Command::new(dir.join("compile.sh")).arg("p4c-bm2-ss").arg(out.path()).status().unwrap();
    assert!(status.success());
    let parsed = |path: &Path| parse_p4info(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert!(parsed(&out.path().join("fabric.p4info.txtpb")) == info(), "P4Info differs");
    let json = |path: &Path| -> serde_json::Value {
        let mut v: serde_json::Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
        // The compiler's version says nothing of the program.
        v.as_object_mut().unwrap().remove("__meta__");
        v
    };
    assert!(json(&out.path().join("fabric.json")) == json(&dir.join("fabric.json")), "the BMv2 JSON differs");
}
