//! The cluster: who takes part, who is master of what, draining and spreading; and a backup of the store.

use std::collections::BTreeMap;

use axum::Json;
use axum::body::Body;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use pergola_store::mastership;
use serde_json::json;

use crate::Api;
use crate::problem::Problem;

type Answer = Result<Response, Problem>;

/// Nodes and masters as the store has them.
pub async fn status(State(api): State<Api>) -> Answer {
    let status = mastership::status(&*api.store).await?;
    let store = api.store.status().await?;
    let mut count: BTreeMap<&str, usize> = BTreeMap::new();
    for (node, _) in status.masters.values() {
        *count.entry(node).or_default() += 1;
    }
    let mut names: Vec<&str> = status.nodes.iter().chain(&status.draining).map(|n| &**n).collect();
    names.sort_unstable();
    names.dedup();
    let nodes: Vec<_> = names
        .iter()
        .map(|name| {
            json!({
                "name": name,
                "alive": status.nodes.contains(*name),
                "draining": status.draining.contains(*name),
                "masters": count.get(name).copied().unwrap_or(0),
            })
        })
        .collect();
    let epoch = mastership::epoch(&*api.store).await?;
    let devices: BTreeMap<&str, _> = status
        .masters
        .iter()
        .map(|(device, (node, since))| {
            let id = mastership::election_id(epoch, *since);
            (&**device, json!({ "master": &**node, "election_id": id.to_string() }))
        })
        .collect();
    let body = json!({
        "node": &**api.engine.node(),
        "revision": status.revision,
        "store": { "detail": store.detail, "size_bytes": store.size_bytes, "oldest_revision": store.oldest },
        "nodes": nodes,
        "devices": devices,
    });
    Ok(Json(body).into_response())
}

/// The node gives up its devices and gets none.
pub async fn drain(State(api): State<Api>, Path(node): Path<String>) -> Answer {
    set_drain(&api, &node, true).await
}

/// The node takes part again.
pub async fn undrain(State(api): State<Api>, Path(node): Path<String>) -> Answer {
    set_drain(&api, &node, false).await
}

async fn set_drain(api: &Api, node: &str, on: bool) -> Answer {
    let status = mastership::status(&*api.store).await?;
    if !status.nodes.contains(node) && !status.draining.contains(node) {
        let all: Vec<&str> = status.nodes.iter().map(|n| &**n).collect();
        let text = format!("found: {node}, allowed: {}", all.join(", "));
        return Err(Problem::new(404, "no such controller").detail(text));
    }
    mastership::drain(&*api.store, node, on).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// Devices are spread evenly now.
pub async fn rebalance(State(api): State<Api>) -> Answer {
    mastership::rebalance(&*api.store).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

/// One state of the store as a file, see [`pergola_store::transfer::backup`].
pub async fn backup(State(api): State<Api>) -> Answer {
    let failed = |error: std::io::Error| Problem::new(500, "the backup was not made").detail(error.to_string());
    let folder = tempfile::tempdir().map_err(failed)?;
    let path = folder.path().join("backup");
    let made = pergola_store::transfer::backup(&*api.store, &path).await?;
    let bytes = tokio::fs::read(&path).await.map_err(failed)?;
    let name = format!("attachment; filename=\"pergola-{}.backup\"", made.revision);
    let headers = [(header::CONTENT_TYPE, "application/octet-stream".to_owned()), (header::CONTENT_DISPOSITION, name)];
    Ok((headers, Body::from(bytes)).into_response())
}
