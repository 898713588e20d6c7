//! Resources one by one. The ETag is the revision of the last change; `If-Match` and `If-None-Match: *` make a write
//! conditional (RFC 9110 13.1). Putting what is there already changes nothing.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pergola_model::{AnyResource, ChangedKey, Key, Kind, View};
use pergola_store::{Compare, Op, Txn};
use serde_json::{Value, json};

use crate::Api;
use crate::problem::{FieldError, Problem};

type Answer = Result<Response, Problem>;

fn kind(text: &str) -> Result<Kind, Problem> {
    text.parse().map_err(|error: pergola_model::ValueError| Problem::new(404, "no such kind").detail(error.to_string()))
}

pub async fn list(State(api): State<Api>, Path(kind_name): Path<String>) -> Answer {
    let kind = kind(&kind_name)?;
    let listing = api.store.range(&format!("{}/", kind.as_str()), None).await?;
    let mut items = Vec::new();
    for entry in &listing.entries {
        if let Ok(resource) = AnyResource::from_stored(&entry.key, &entry.value) {
            items.push(json!({
                "name": resource.name(),
                "revision": entry.mod_revision,
                "body": resource.to_json(),
            }));
        }
    }
    let body = json!({ "kind": kind.as_str(), "revision": listing.revision, "items": items });
    Ok(Json(body).into_response())
}

pub async fn read(State(api): State<Api>, Path((kind_name, name)): Path<(String, String)>) -> Answer {
    let key = Key::new(kind(&kind_name)?, &name);
    let entry = api.store.get(&key.to_string()).await?;
    let Some(entry) = entry else { return Err(missing(&key)) };
    let resource = AnyResource::from_stored(&entry.key, &entry.value)
        .map_err(|error| Problem::new(500, "the stored value is damaged").detail(error.to_string()))?;
    Ok(with_etag(StatusCode::OK, entry.mod_revision, resource.to_json()))
}

fn missing(key: &Key) -> Problem {
    Problem::new(404, "no such resource").detail(format!("{key} does not exist"))
}

fn with_etag(status: StatusCode, revision: u64, body: Value) -> Response {
    (status, [(header::ETAG, format!("\"{revision}\""))], Json(body)).into_response()
}

/// What a write demands of what is there.
#[derive(Debug, PartialEq, Eq)]
enum Demand {
    Nothing,
    Missing,
    At(u64),
}

fn demand(headers: &HeaderMap) -> Result<Demand, Problem> {
    let text = |name| headers.get(name).map(|v| v.to_str().unwrap_or_default().trim().to_owned());
    let bad = |field: &str, found: &str, allowed: &str| {
        Problem::new(400, "a header is wrong").errors(vec![FieldError {
            path: field.into(),
            line: None,
            column: None,
            found: Some(found.into()),
            allowed: Some(allowed.into()),
            detail: None,
        }])
    };
    match (text(header::IF_MATCH), text(header::IF_NONE_MATCH)) {
        (None, None) => Ok(Demand::Nothing),
        (None, Some(star)) if star == "*" => Ok(Demand::Missing),
        (None, Some(other)) => Err(bad("If-None-Match", &other, "*")),
        (Some(tag), None) => tag
            .trim_matches('"')
            .parse()
            .map(Demand::At)
            .map_err(|_| bad("If-Match", &tag, "the ETag of an earlier answer")),
        (Some(_), Some(other)) => Err(bad("If-None-Match", &other, "not beside If-Match")),
    }
}

/// Reads a body of a kind and says where it is wrong.
fn decode(kind: Kind, body: &[u8]) -> Result<AnyResource, Problem> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut track = serde_path_to_error::Track::new();
    let tracked = serde_path_to_error::Deserializer::new(&mut json, &mut track);
    let resource = AnyResource::deserialize(kind, tracked).map_err(|error| {
        let path = track.path().to_string();
        Problem::new(422, format!("the body is no {kind}")).errors(vec![FieldError {
            path,
            line: u32::try_from(error.line()).ok().filter(|line| *line > 0),
            column: u32::try_from(error.column()).ok().filter(|column| *column > 0),
            found: None,
            allowed: None,
            detail: Some(error.to_string()),
        }])
    })?;
    json.end().map_err(|error| Problem::new(422, format!("the body is no {kind}")).detail(error.to_string()))?;
    Ok(resource)
}

/// Checks what a change touches: the resource itself and those that refer to it.
fn check(mut view: View, key: &Key, resource: Option<&AnyResource>) -> Result<(), Problem> {
    let change = match resource {
        Some(resource) => view.put(resource.clone()),
        None => view.remove(key),
    };
    let Some(change) = change else { return Ok(()) };
    let violations = view.check_changed(&[ChangedKey { key: key.clone(), change }]);
    if violations.is_empty() { Ok(()) } else { Err(Problem::of_violations(&violations)) }
}

/// The site as of now: the engine's view, once it shows everything that is committed.
async fn current(api: &Api) -> Result<View, Problem> {
    let revision = api.store.status().await?.revision;
    api.engine.wait_planned(revision).await;
    Ok(api.engine.view())
}

pub async fn put(
    State(api): State<Api>,
    Path((kind_name, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let kind = kind(&kind_name)?;
    if !kind.is_intent() {
        return Err(observed(kind));
    }
    let body = body.map_err(|rejected| {
        Problem::new(rejected.status().as_u16(), "the body was not taken").detail(rejected.body_text())
    })?;
    let demand = demand(&headers)?;
    let resource = decode(kind, &body)?;
    let key = Key::new(kind, &name);
    if resource.name() != name {
        return Err(Problem::new(422, "the name differs").errors(vec![FieldError {
            path: "name".into(),
            line: None,
            column: None,
            found: Some(resource.name()),
            allowed: Some(format!("{name}, as the path says")),
            detail: None,
        }]));
    }
    let value = bytes::Bytes::from(resource.encode());
    let there = api.store.get(&key.to_string()).await?;
    let now = there.as_ref().map_or(0, |e| e.mod_revision);
    match demand {
        Demand::Missing if there.is_some() => return Err(stale(&key, now)),
        Demand::At(revision) if revision != now => return Err(stale(&key, now)),
        _ => {}
    }
    if let Some(there) = &there
        && there.value == value
    {
        return Ok(with_etag(StatusCode::OK, there.mod_revision, resource.to_json()));
    }
    check(current(&api).await?, &key, Some(&resource))?;
    let mut txn = Txn::new().then(Op::put(key.to_string(), value));
    if demand != Demand::Nothing {
        txn = txn.when(Compare::at(key.to_string(), now));
    }
    let outcome = api.store.txn(txn).await?;
    if !outcome.succeeded {
        return Err(stale(&key, outcome.revision));
    }
    let status = if there.is_some() { StatusCode::OK } else { StatusCode::CREATED };
    Ok(with_etag(status, outcome.revision, resource.to_json()))
}

fn observed(kind: Kind) -> Problem {
    Problem::new(405, "observations are not written").detail(format!("{kind} is what the network shows"))
}

fn stale(key: &Key, revision: u64) -> Problem {
    Problem::new(412, "it has changed meanwhile").detail(match revision {
        0 => format!("{key} does not exist"),
        revision => format!("{key} is at revision {revision}"),
    })
}

pub async fn delete(
    State(api): State<Api>,
    Path((kind_name, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let kind = kind(&kind_name)?;
    if !kind.is_intent() {
        return Err(observed(kind));
    }
    let key = Key::new(kind, &name);
    let demand = demand(&headers)?;
    let there = api.store.get(&key.to_string()).await?;
    let Some(there) = there else { return Err(missing(&key)) };
    if let Demand::At(revision) = demand
        && revision != there.mod_revision
    {
        return Err(stale(&key, there.mod_revision));
    }
    check(current(&api).await?, &key, None)?;
    let txn = Txn::new().when(Compare::at(key.to_string(), there.mod_revision)).then(Op::delete(key.to_string()));
    let outcome = api.store.txn(txn).await?;
    if !outcome.succeeded {
        return Err(stale(&key, outcome.revision));
    }
    Ok(StatusCode::NO_CONTENT.into_response())
}
