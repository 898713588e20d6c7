//! The operator's side: REST over the store and the engine, OpenAPI, server-sent events, metrics.
//!
//! | module | paths |
//! |---|---|
//! | [`resources`] | `/api/v1/KIND`, `/api/v1/KIND/NAME`: read, put, delete |
//! | [`blueprint`] | `/api/v1/blueprint`: the site as one document; `/api/v1/blueprint/plan` |
//! | [`devices`] | `/api/v1/devices`: switches and their entries, each with owner, cause and counters |
//! | [`cluster`] | `/api/v1/cluster`: controllers and masters, drain, rebalance; `/api/v1/backup` |
//! | [`commit`] | no path: writes of intents, checked and committed in groups |
//! | [`events`] | `/api/v1/watch`: changes as they happen |
//! | [`status`] | `/healthz`, `/readyz`, `/metrics`, `/api/v1/status` |
//! | [`openapi`] | `/api/v1/openapi.json` |
//!
//! Errors are problem+json (RFC 9457). A 2xx answer to a write comes after the store has committed it.
#![cfg_attr(test, allow(clippy::unwrap_used))]

pub mod blueprint;
pub mod cluster;
pub mod commit;
pub mod devices;
pub mod events;
pub mod openapi;
pub mod problem;
pub mod resources;
pub mod status;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use pergola_engine::Engine;
use pergola_store::Store;

pub use problem::Problem;

/// The largest body of one resource, and of a blueprint, in bytes.
pub const MAX_RESOURCE_BYTES: usize = 256 * 1024;
pub const MAX_BLUEPRINT_BYTES: usize = 32 * 1024 * 1024;

/// What requests are answered from.
#[derive(Clone)]
pub struct Api {
    pub engine: Arc<Engine>,
    pub store: Arc<dyn Store>,
    /// Requests to `/api` must carry it as a bearer token (RFC 6750).
    pub token: Option<Arc<str>>,
    commits: commit::Commits,
}

impl Api {
    /// Must be called within a runtime.
    pub fn new(engine: Arc<Engine>, store: Arc<dyn Store>, token: Option<Arc<str>>) -> Api {
        let commits = commit::Commits::spawn(engine.clone(), store.clone());
        Api { engine, store, token, commits }
    }
}

/// Every path.
pub fn router(api: Api) -> Router {
    let resources = Router::new()
        .route("/{kind}", get(resources::list))
        .route("/{kind}/{*name}", get(resources::read).put(resources::put).delete(resources::delete))
        .layer(DefaultBodyLimit::max(MAX_RESOURCE_BYTES));
    let whole = Router::new()
        .route("/blueprint", get(blueprint::export).put(blueprint::apply))
        .route("/blueprint/plan", post(blueprint::plan))
        .layer(DefaultBodyLimit::max(MAX_BLUEPRINT_BYTES));
    let v1 = Router::new()
        .route("/openapi.json", get(openapi::document))
        .route("/status", get(status::status))
        .route("/watch", get(events::watch))
        .route("/cluster", get(cluster::status))
        .route("/cluster/drain/{node}", put(cluster::drain).delete(cluster::undrain))
        .route("/cluster/rebalance", post(cluster::rebalance))
        .route("/backup", get(cluster::backup))
        .route("/devices", get(devices::list))
        .route("/devices/{name}", get(devices::read))
        .route("/devices/{name}/entries", get(devices::entries))
        .merge(whole)
        .merge(resources)
        .fallback(not_found)
        .layer(axum::middleware::from_fn_with_state(api.clone(), authorize));
    Router::new()
        .route("/healthz", get(status::healthz))
        .route("/readyz", get(status::readyz))
        .route("/metrics", get(status::metrics))
        .nest("/api/v1", v1)
        .fallback(not_found)
        .with_state(api)
}

async fn not_found(request: Request) -> Problem {
    Problem::new(404, "no such path").detail(format!("found: {}", request.uri().path()))
}

async fn authorize(State(api): State<Api>, request: Request, next: Next) -> Response {
    if let Some(token) = &api.token {
        let given = request
            .headers()
            .get("authorization")
            .and_then(|v| v.to_str().ok())
            .and_then(|v| v.strip_prefix("Bearer "));
        if !given.is_some_and(|given| same(given.as_bytes(), token.as_bytes())) {
            let mut answer = Problem::new(401, "a bearer token is needed").into_response();
            answer.headers_mut().insert("www-authenticate", axum::http::HeaderValue::from_static("Bearer"));
            return answer;
        }
    }
    next.run(request).await
}

/// Compares without telling by its time where two differ.
fn same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |d, (x, y)| d | (x ^ y)) == 0
}
