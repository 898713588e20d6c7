//! Resources one by one. The ETag is the revision of the last change; `If-Match` and `If-None-Match: *` make a write
//! conditional (RFC 9110 13.1), `If-Match: *` to what is there. Putting what is there already changes nothing.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::BytesRejection;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use pergola_model::{AnyResource, Key, Kind};
use serde_json::{Value, json};

use crate::Api;
use crate::commit::{Ask, Demand, Done, missing};
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

fn with_etag(status: StatusCode, revision: u64, body: Value) -> Response {
    (status, [(header::ETAG, format!("\"{revision}\""))], Json(body)).into_response()
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
        (Some(star), None) if star == "*" => Ok(Demand::There),
        (Some(tag), None) => match tag.trim_matches('"').parse() {
            Ok(revision) => Ok(Demand::At(revision)),
            // A tag that we never gave: nothing has it.
            Err(_) if tag.contains('"') => Ok(Demand::At(0)),
            Err(_) => Err(bad("If-Match", &tag, "the ETag of an earlier answer, or *")),
        },
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

pub async fn put(
    State(api): State<Api>,
    Path((kind_name, name)): Path<(String, String)>,
    headers: HeaderMap,
    body: Result<Bytes, BytesRejection>,
) -> Answer {
    let kind = kind(&kind_name)?;
    if !kind.is_intent() {
        return Ok(observed(kind));
    }
    let body = body.map_err(|rejected| {
        Problem::new(rejected.status().as_u16(), "the body was not taken").detail(rejected.body_text())
    })?;
    let demand = demand(&headers)?;
    let resource = decode(kind, &body)?;
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
    let body = resource.to_json();
    Ok(match api.commits.ask(Ask::Put(resource, demand)).await? {
        Done::Written { revision, created: true } => with_etag(StatusCode::CREATED, revision, body),
        Done::Unchanged { revision } | Done::Written { revision, .. } | Done::Site { revision, .. } => {
            with_etag(StatusCode::OK, revision, body)
        }
    })
}

fn observed(kind: Kind) -> Response {
    let problem = Problem::new(405, "observations are not written").detail(format!("{kind} is what the network shows"));
    ([(header::ALLOW, "GET, HEAD")], problem).into_response()
}

pub async fn delete(
    State(api): State<Api>,
    Path((kind_name, name)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer {
    let kind = kind(&kind_name)?;
    if !kind.is_intent() {
        return Ok(observed(kind));
    }
    let key = Key::new(kind, &name);
    let demand = demand(&headers)?;
    api.commits.ask(Ask::Delete(key, demand)).await?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
