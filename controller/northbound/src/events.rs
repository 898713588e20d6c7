//! Changes as server-sent events. The event's id is the store's revision: a client that comes back with `Last-Event-ID`
//! misses nothing that the store still keeps.

use std::convert::Infallible;

use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::HeaderMap;
use axum::response::sse::{Event, KeepAlive, Sse};
use futures::{Stream, StreamExt};
use pergola_model::AnyResource;
use serde::Deserialize;
use serde_json::json;

use crate::Api;
use crate::problem::{FieldError, Problem};

/// What to watch.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Watch {
    /// Only keys that begin with this, such as `port/leaf1/`.
    #[serde(default)]
    prefix: String,
    /// From after this revision; from now on when missing.
    from: Option<u64>,
}

pub async fn watch(
    State(api): State<Api>,
    watch: Result<Query<Watch>, QueryRejection>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<Event, Infallible>>>, Problem> {
    let Query(watch) = watch?;
    let last = match headers.get("last-event-id").map(|v| v.to_str().unwrap_or_default()) {
        // An empty one is what a stream without ids leaves (HTML, 9.2).
        None | Some("") => watch.from,
        Some(text) => Some(text.parse().map_err(|_| {
            Problem::new(400, "a header is wrong").errors(vec![FieldError {
                path: "Last-Event-ID".into(),
                line: None,
                column: None,
                found: Some(text.into()),
                allowed: Some("the id of an earlier event".into()),
                detail: None,
            }])
        })?),
    };
    let from = match last {
        Some(revision) => revision,
        None => api.store.status().await?.revision,
    };
    let batches = api.store.watch(&watch.prefix, from + 1);
    let events = batches.flat_map(|batch| {
        let events: Vec<Result<Event, Infallible>> = match batch {
            Ok(batch) => batch
                .events
                .iter()
                // The store's and the cluster's own keys are nothing to clients.
                .filter(|event| pergola_engine::is_resource(event.key()))
                .map(|event| {
                    let body = event
                        .entry()
                        .and_then(|e| AnyResource::from_stored(&e.key, &e.value).ok())
                        .map(|r| r.to_json());
                    let kind = if event.entry().is_some() { "put" } else { "delete" };
                    let data = json!({ "key": event.key().to_string(), "body": body });
                    Ok(Event::default().event(kind).id(batch.revision.to_string()).data(data.to_string()))
                })
                .collect(),
            Err(error) => vec![Ok(Event::default().event("end").data(error.to_string()))],
        };
        futures::stream::iter(events)
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::default()))
}
