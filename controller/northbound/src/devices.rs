//! Switches, and what they hold: every entry with its owner, its cause and its counters.

use std::collections::HashMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::response::{IntoResponse, Response};
use pergola_engine::DeviceInfo;
use pergola_model::SwitchName;
use pergola_pipeline::entity::{KeyView, ValueView};
use pergola_pipeline::table::TableDef;
use pergola_pipeline::{Action, EntityKey, EntityValue, Match, P4Value, tables};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::Api;
use crate::problem::Problem;

type Answer = Result<Response, Problem>;

fn summary(info: &DeviceInfo) -> Value {
    let (s, r) = (&info.switch, &info.report);
    let c = &r.status.counters;
    json!({
        "name": s.name.to_string(),
        "role": s.role,
        "device_id": s.device_id.0,
        "p4runtime": s.p4runtime.as_ref().map(ToString::to_string),
        "connected": r.connected,
        "mastership": r.mastership,
        "master": r.role.is_master(),
        "other_master": r.role.other.as_deref(),
        "last_error": r.last_error,
        "in_sync": r.status.in_sync,
        "revision": r.status.revision,
        "wanted": r.status.wanted,
        "installed": r.status.installed,
        "pending": r.status.pending,
        "failed": r.status.failed,
        "sessions": r.sessions,
        "pipeline_pushes": r.pipeline_pushes,
        "writes": { "inserts": c.inserts, "modifies": c.modifies, "deletes": c.deletes,
                    "errors": c.write_errors, "repairs": c.repairs, "foreign": c.foreign,
                    "audits": c.audits },
    })
}

pub async fn list(State(api): State<Api>) -> Answer {
    let items: Vec<Value> = api.engine.devices().values().map(summary).collect();
    Ok(Json(json!({ "items": items })).into_response())
}

fn device(api: &Api, name: &str) -> Result<(SwitchName, DeviceInfo), Problem> {
    let gone = || Problem::new(404, "no such switch").detail(format!("found: {name}"));
    let name: SwitchName = name.parse().map_err(|_| gone())?;
    let info = api.engine.devices().remove(&name).ok_or_else(gone)?;
    Ok((name, info))
}

pub async fn read(State(api): State<Api>, Path(name): Path<String>) -> Answer {
    let (_, info) = device(&api, &name)?;
    Ok(Json(summary(&info)).into_response())
}

/// Which entries are asked for.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Which {
    /// A table by name; all when missing.
    table: Option<String>,
    /// Only entries because of this resource, as `KIND/NAME`.
    cause: Option<String>,
    /// Read the counters from the switch.
    #[serde(default)]
    counters: bool,
}

pub async fn entries(
    State(api): State<Api>,
    Path(name): Path<String>,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    let Query(which) = which?;
    let (device, _) = device(&api, &name)?;
    let table = match &which.table {
        None => None,
        Some(text) => Some(tables::by_name(text).ok_or_else(|| {
            let names: Vec<&str> = tables::ALL.iter().map(|t| t.short_name()).collect();
            Problem::new(400, "no such table").detail(format!("found: {text}; allowed: {}", names.join(", ")))
        })?),
    };
    let counts: HashMap<EntityKey, (u64, u64)> = if which.counters {
        let read = api.engine.counters(&device, table.map_or(0, |t| t.id)).await;
        let read = read.map_err(|fault| Problem::new(503, "the switch did not answer").detail(fault.to_string()))?;
        read.into_iter().map(|c| (c.key, (c.packets, c.bytes))).collect()
    } else {
        HashMap::new()
    };
    let mut items = Vec::new();
    for entity in api.engine.entities(&device) {
        if table.is_some_and(|t| entity.key.table_id() != Some(t.id)) {
            continue;
        }
        let why = api.engine.explain(&device, &entity.key);
        let cause = why.as_ref().map(|w| w.owner.cause.to_string());
        if which.cause.is_some() && which.cause != cause {
            continue;
        }
        let mut item = describe(&entity.key, &entity.value);
        if let (Some(fields), Some(why)) = (item.as_object_mut(), &why) {
            fields.insert("app".into(), why.owner.app.into());
            fields.insert("unit".into(), why.owner.unit.to_string().into());
            fields.insert("cause".into(), cause.unwrap_or_default().into());
            if let Some((packets, bytes)) = counts.get(&entity.key) {
                fields.insert("packets".into(), (*packets).into());
                fields.insert("bytes".into(), (*bytes).into());
            }
        }
        items.push(item);
    }
    Ok(Json(json!({ "device": device.to_string(), "items": items })).into_response())
}

/// An entity in the words of the pipeline.
pub fn describe(key: &EntityKey, value: &EntityValue) -> Value {
    let mut out = Map::new();
    let mut table = None;
    match key.view() {
        KeyView::Table { table: id, priority, fields } => {
            table = tables::by_id(id);
            out.insert("table".into(), table_name(table, id).into());
            let fields: Map<String, Value> = fields
                .iter()
                .map(|(id, m)| {
                    let def = table.and_then(|t| t.fields.iter().find(|f| f.id == *id));
                    let name = def.map_or_else(|| id.to_string(), |f| f.name.to_owned());
                    (name.clone(), matched(&name, m).into())
                })
                .collect();
            out.insert("match".into(), fields.into());
            if priority > 0 {
                out.insert("priority".into(), priority.into());
            }
        }
        KeyView::DefaultAction { table: id } => {
            table = tables::by_id(id);
            out.insert("table".into(), table_name(table, id).into());
            out.insert("default".into(), true.into());
        }
        KeyView::MulticastGroup { id } => drop(out.insert("multicast_group".into(), id.into())),
        KeyView::CloneSession { id } => drop(out.insert("clone_session".into(), id.into())),
        KeyView::Meter { id, index } => {
            out.insert("meter".into(), id.into());
            out.insert("index".into(), index.into());
        }
        other => drop(out.insert("key".into(), format!("{other:?}").into())),
    }
    match value.view() {
        ValueView::Action { action, .. } => {
            let (name, params) = acted(table, &action);
            out.insert("action".into(), name.into());
            out.insert("params".into(), params);
        }
        ValueView::OneShot { members, .. } => {
            let members: Vec<Value> = members
                .iter()
                .map(|m| {
                    let (name, params) = acted(table, &m.action);
                    let watch = m.watch_port.as_ref().and_then(P4Value::to_u64);
                    json!({ "action": name, "params": params, "weight": m.weight,
                            "watch_port": watch })
                })
                .collect();
            out.insert("members".into(), members.into());
        }
        ValueView::Multicast { replicas } | ValueView::Clone { replicas, .. } => {
            let ports: Vec<u32> = replicas.iter().map(|r| r.port).collect();
            out.insert("ports".into(), ports.into());
        }
        other => drop(out.insert("value".into(), format!("{other:?}").into())),
    }
    out.into()
}

fn table_name(table: Option<&TableDef>, id: u32) -> String {
    table.map_or_else(|| format!("{id:#010x}"), |t| t.short_name().to_owned())
}

fn acted(table: Option<&TableDef>, action: &Action) -> (String, Value) {
    let def = table.and_then(|t| t.actions.iter().find(|a| a.id == action.id));
    let name = def.map_or_else(|| format!("{:#010x}", action.id), |d| d.short_name().to_owned());
    let params: Map<String, Value> = action
        .params
        .iter()
        .map(|(id, value)| {
            let param = def.and_then(|d| d.params.iter().find(|p| p.id == *id));
            let name = param.map_or_else(|| id.to_string(), |p| p.name.to_owned());
            (name.clone(), shown(&name, value).into())
        })
        .collect();
    (name, params.into())
}

fn matched(name: &str, m: &Match) -> String {
    match m {
        Match::Exact(v) | Match::Optional(v) => shown(name, v),
        Match::Lpm(v, length) => format!("{}/{length}", shown(name, v)),
        Match::Ternary(v, mask) => match mask.as_slice().iter().all(|b| *b == 0xff) {
            true => shown(name, v),
            false => format!("{} &&& {}", shown(name, v), shown(name, mask)),
        },
        Match::Range(low, high) => format!("{}..{}", shown(name, low), shown(name, high)),
    }
}

/// A value as people write what the field holds: addresses as addresses, numbers as numbers.
fn shown(name: &str, value: &P4Value) -> String {
    let bytes = value.as_slice();
    let padded = |n: usize| -> Vec<u8> {
        std::iter::repeat_n(0, n.saturating_sub(bytes.len())).chain(bytes.iter().copied()).collect()
    };
    let (v4, v6) = match name {
        // Of either family; no IPv6 address in use begins with twelve zero bytes.
        "address" => (bytes.len() <= 4, bytes.len() > 4),
        _ => (name.starts_with("ipv4"), name.starts_with("ipv6")),
    };
    if v4 && bytes.len() <= 4 {
        let b = padded(4);
        return std::net::Ipv4Addr::new(b[0], b[1], b[2], b[3]).to_string();
    }
    if v6 && bytes.len() <= 16 {
        let number = padded(16).iter().fold(0u128, |n, b| (n << 8) | u128::from(*b));
        return std::net::Ipv6Addr::from_bits(number).to_string();
    }
    if (name == "mac" || name.starts_with("eth_") && name != "eth_type") && bytes.len() <= 6 {
        let b: Vec<String> = padded(6).iter().map(|b| format!("{b:02x}")).collect();
        return b.join(":");
    }
    match value.to_u64() {
        Some(n) if name == "eth_type" => format!("{n:#06x}"),
        Some(n) => n.to_string(),
        None => format!("{value:?}"),
    }
}
