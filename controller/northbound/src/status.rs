//! How the controller is: alive, ready, in figures.

use std::fmt::Write;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use crate::Api;
use crate::problem::Problem;

pub async fn healthz() -> &'static str {
    "ok\n"
}

/// Ready once the store was read and planned.
pub async fn readyz(State(api): State<Api>) -> Response {
    if api.engine.revision() > 0 {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "the store has not been read yet\n").into_response()
    }
}

pub async fn status(State(api): State<Api>) -> Result<Response, Problem> {
    let engine = &api.engine;
    let devices = engine.devices();
    let in_sync = devices.values().filter(|d| d.report.status.in_sync).count();
    let problems: Vec<_> = engine
        .problems()
        .iter()
        .map(|p| json!({ "app": p.app, "cause": p.cause.to_string(), "text": p.text }))
        .collect();
    let conflicts: Vec<_> = engine
        .conflicts()
        .iter()
        .map(|c| {
            json!({
                "device": c.device.to_string(),
                "entry": crate::devices::describe(&c.key, &c.winner.value),
                "winner": c.winner.cause.to_string(),
                "losers": c.losers.iter().map(|l| l.cause.to_string()).collect::<Vec<_>>(),
            })
        })
        .collect();
    let alarms: Vec<_> = engine
        .alarms()
        .iter()
        .map(|a| json!({ "kind": a.kind.as_str(), "subject": a.subject, "text": a.text }))
        .collect();
    // Also while the store is away there is much to say.
    let (stored, store_error) = match api.store.status().await {
        Ok(status) => (Some(status.revision), None),
        Err(error) => (None, Some(error.to_string())),
    };
    let roles = engine.roles();
    let masters = roles.values().filter(|r| r.is_master()).count();
    Ok(Json(json!({
        "revision": engine.revision(),
        "stored_revision": stored,
        "store_error": store_error,
        "node": &**engine.node(),
        "master_of": masters,
        "devices": devices.len(),
        "devices_in_sync": in_sync,
        "problems": problems,
        "conflicts": conflicts,
        "alarms": alarms,
    }))
    .into_response())
}

/// Prometheus text format 0.0.4.
pub async fn metrics(State(api): State<Api>) -> Response {
    let m = api.engine.metrics();
    let mut out = String::new();
    let mut one = |name: &str, kind: &str, help: &str, lines: Vec<(String, f64)>| {
        let _ = writeln!(out, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in lines {
            let _ = writeln!(out, "{name}{labels} {value}");
        }
    };
    let plain = |value: f64| vec![(String::new(), value)];
    one("pergola_revision", "gauge", "Revision of the store that is planned", plain(m.revision as f64));
    one("pergola_plans_total", "counter", "Times something was planned", plain(m.plans as f64));
    one("pergola_plan_seconds_total", "counter", "Time spent planning", plain(m.plan_total_ns as f64 / 1e9));
    one(
        "pergola_plan_longest_seconds",
        "gauge",
        "The longest time one plan took",
        plain(m.plan_longest_ns as f64 / 1e9),
    );
    let devices = api.engine.devices();
    let each = |value: &dyn Fn(&pergola_engine::DeviceInfo) -> f64| -> Vec<(String, f64)> {
        devices.iter().map(|(name, d)| (format!("{{device=\"{name}\"}}"), value(d))).collect()
    };
    one("pergola_device_connected", "gauge", "A session is open", each(&|d| f64::from(u8::from(d.report.connected))));
    one(
        "pergola_device_master",
        "gauge",
        "This controller is the device's master",
        each(&|d| f64::from(u8::from(d.report.role.is_master()))),
    );
    one(
        "pergola_device_in_sync",
        "gauge",
        "The switch holds what is wanted",
        each(&|d| f64::from(u8::from(d.report.status.in_sync))),
    );
    one("pergola_device_wanted", "gauge", "Entities wanted", each(&|d| d.report.status.wanted as f64));
    one("pergola_device_pending", "gauge", "Entities not written yet", each(&|d| d.report.status.pending as f64));
    one("pergola_device_failed", "gauge", "Entities refused", each(&|d| d.report.status.failed as f64));
    let mut writes = Vec::new();
    for (name, d) in &devices {
        let c = &d.report.status.counters;
        for (op, n) in [("insert", c.inserts), ("modify", c.modifies), ("delete", c.deletes), ("error", c.write_errors)]
        {
            writes.push((format!("{{device=\"{name}\",op=\"{op}\"}}"), n as f64));
        }
    }
    one("pergola_device_writes_total", "counter", "Updates sent, and those that failed", writes);
    let machines = m
        .machines
        .iter()
        .map(|(machine, what, n)| (format!("{{machine=\"{machine}\",event=\"{what}\"}}"), *n as f64))
        .collect();
    one("pergola_packet_events_total", "counter", "What packet machines did", machines);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], out).into_response()
}
