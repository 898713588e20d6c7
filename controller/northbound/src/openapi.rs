//! The API described in OpenAPI 3.1. Schemas are the model's own, which are JSON Schema 2020-12 as 3.1 has it.

use axum::Json;
use pergola_model::Kind;
use serde_json::{Map, Value, json};

pub async fn document() -> Json<Value> {
    Json(openapi())
}

/// The whole document, as it is checked in at `controller/northbound/openapi.json`.
pub fn openapi() -> Value {
    let mut schemas = Map::new();
    let mut paths = Map::new();
    for kind in Kind::ALL {
        let mut schema = kind.schema().to_value();
        if let Some(defs) = schema.as_object_mut().and_then(|s| s.remove("$defs"))
            && let Value::Object(defs) = defs
        {
            schemas.extend(defs);
        }
        if let Some(fields) = schema.as_object_mut() {
            fields.remove("$schema");
        }
        let name = schema["title"].as_str().unwrap_or(kind.as_str()).to_owned();
        schemas.insert(name.clone(), schema);
        let body = json!({ "application/json": { "schema": refer(&name) } });
        paths.insert(
            format!("/api/v1/{kind}"),
            json!({ "get": {
                "summary": format!("Every {kind}"),
                "responses": { "200": { "description": "The list, with the store's revision",
                    "content": { "application/json": { "schema": list_of(&name) } } },
                    "default": problem() },
            }}),
        );
        let mut one = Map::new();
        one.insert(
            "parameters".into(),
            json!([{ "name": "name", "in": "path", "required": true,
            "schema": { "type": "string" } }]),
        );
        one.insert(
            "get".into(),
            json!({ "summary": format!("One {kind}"),
                "responses": { "200": ok(&body), "default": problem() } }),
        );
        if kind.is_intent() {
            let conditions = json!([
                { "name": "If-Match", "in": "header", "schema": { "type": "string" },
                  "description": "Write only when the ETag is still this one" },
                { "name": "If-None-Match", "in": "header", "schema": { "const": "*" },
                  "description": "Write only when there is none yet" },
            ]);
            one.insert(
                "put".into(),
                json!({ "summary": format!("Create or replace a {kind}"),
                    "parameters": conditions,
                    "requestBody": { "required": true, "content": body },
                    "responses": { "200": ok(&body), "201": ok(&body), "default": problem() } }),
            );
            one.insert(
                "delete".into(),
                json!({ "summary": format!("Delete a {kind}"),
                    "parameters": [conditions[0]],
                    "responses": { "204": { "description": "It is gone" }, "default": problem() } }),
            );
        }
        paths.insert(format!("/api/v1/{kind}/{{name}}"), one.into());
    }
    schemas.insert("Problem".into(), problem_schema());
    paths.extend(others());
    let mut document = json!({
        "openapi": "3.1.0",
        "info": { "title": "Pergola", "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" } },
        "paths": paths,
        "components": { "schemas": schemas,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } } },
        "security": [{}, { "token": [] }],
    });
    move_references(&mut document);
    document
}

fn refer(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

fn list_of(name: &str) -> Value {
    json!({ "type": "object", "required": ["kind", "revision", "items"], "properties": {
        "kind": { "type": "string" }, "revision": { "type": "integer", "minimum": 0 },
        "items": { "type": "array", "items": { "type": "object",
            "required": ["name", "revision", "body"], "properties": {
                "name": { "type": "string" }, "revision": { "type": "integer", "minimum": 0 },
                "body": refer(name) } } } } })
}

fn ok(body: &Value) -> Value {
    json!({ "description": "The resource", "content": body,
        "headers": { "ETag": { "schema": { "type": "string" } } } })
}

fn problem() -> Value {
    json!({ "description": "What is wrong (RFC 9457)",
        "content": { "application/problem+json": { "schema": refer("Problem") } } })
}

fn problem_schema() -> Value {
    json!({ "type": "object", "required": ["title", "status"], "properties": {
        "title": { "type": "string" }, "status": { "type": "integer" },
        "detail": { "type": "string" },
        "errors": { "type": "array", "items": { "type": "object", "required": ["path"],
            "properties": { "path": { "type": "string" }, "line": { "type": "integer" },
                "column": { "type": "integer" }, "found": { "type": "string" },
                "allowed": { "type": "string" }, "detail": { "type": "string" } } } } } })
}

fn others() -> Map<String, Value> {
    let yaml = json!({ "application/yaml": { "schema": { "type": "object" } } });
    let any = json!({ "description": "The answer",
        "content": { "application/json": { "schema": { "type": "object" } } } });
    let text = json!({ "description": "Text", "content": { "text/plain": { "schema": { "type": "string" } } } });
    let read = |summary: &str| {
        json!({ "get": { "summary": summary,
        "responses": { "200": any, "default": problem() } } })
    };
    let name = json!([{ "name": "name", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let mut device = read("One switch: session, mastership, figures");
    device["parameters"] = name.clone();
    let entries = json!({ "parameters": name, "get": {
        "summary": "What a switch shall hold, each entry with its owner and cause",
        "parameters": [
            { "name": "table", "in": "query", "schema": { "type": "string" } },
            { "name": "cause", "in": "query", "schema": { "type": "string" } },
            { "name": "counters", "in": "query", "schema": { "type": "boolean" } }],
        "responses": { "200": any, "default": problem() } } });
    let watch = json!({ "get": { "summary": "Changes as server-sent events",
        "parameters": [
            { "name": "prefix", "in": "query", "schema": { "type": "string" } },
            { "name": "from", "in": "query", "schema": { "type": "integer", "minimum": 0 } },
            { "name": "Last-Event-ID", "in": "header", "schema": { "type": "string" } }],
        "responses": { "200": { "description": "Events put and delete; the id is the revision",
            "content": { "text/event-stream": { "schema": { "type": "string" } } } },
            "default": problem() } } });
    let plain = |summary: &str| {
        json!({ "get": { "summary": summary,
        "responses": { "200": text, "503": text } } })
    };
    let done = json!({ "204": { "description": "Done" }, "default": problem() });
    let node = json!([{ "name": "node", "in": "path", "required": true, "schema": { "type": "string" } }]);
    let drain = json!({ "parameters": node,
        "put": { "summary": "Take every switch from a controller", "responses": done },
        "delete": { "summary": "Let a controller take part again", "responses": done } });
    let rebalance = json!({ "post": { "summary": "Spread the switches evenly now", "responses": done } });
    let backup = json!({ "get": { "summary": "One state of the store as a file, for `pergola restore`",
        "responses": { "200": { "description": "The file",
            "content": { "application/octet-stream": { "schema": { "type": "string", "format": "binary" } } } },
            "default": problem() } } });
    let entries = [
        (
            "/api/v1/blueprint".to_owned(),
            json!({
            "get": { "summary": "The site as a blueprint",
                "responses": { "200": { "description": "YAML", "content": yaml }, "default": problem() } },
            "put": { "summary": "Make the site what the blueprint says, whole or not at all",
                "requestBody": { "required": true, "content": yaml },
                "responses": { "200": any, "default": problem() } } }),
        ),
        (
            "/api/v1/blueprint/plan".to_owned(),
            json!({
            "post": { "summary": "What a blueprint would change, down to entries",
                "requestBody": { "required": true, "content": yaml },
                "responses": { "200": any, "default": problem() } } }),
        ),
        ("/api/v1/devices".to_owned(), read("Every switch")),
        ("/api/v1/devices/{name}".to_owned(), device),
        ("/api/v1/devices/{name}/entries".to_owned(), entries),
        ("/api/v1/status".to_owned(), read("Revision, problems, conflicts, alarms")),
        ("/api/v1/watch".to_owned(), watch),
        ("/api/v1/cluster".to_owned(), read("Controllers, and the master of each switch")),
        ("/api/v1/cluster/drain/{node}".to_owned(), drain),
        ("/api/v1/cluster/rebalance".to_owned(), rebalance),
        ("/api/v1/backup".to_owned(), backup),
        ("/api/v1/openapi.json".to_owned(), read("This document")),
        ("/healthz".to_owned(), plain("Alive")),
        ("/readyz".to_owned(), plain("Ready: the store was read and planned")),
        ("/metrics".to_owned(), plain("Prometheus figures")),
    ];
    entries.into_iter().collect()
}

/// Schemas refer to one another where OpenAPI keeps them.
fn move_references(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            for (name, value) in fields.iter_mut() {
                if name == "$ref"
                    && let Some(rest) = value.as_str().and_then(|s| s.strip_prefix("#/$defs/"))
                {
                    *value = format!("#/components/schemas/{rest}").into();
                }
                move_references(value);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(move_references),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Renewed with PERGOLA_RENEW=1.
    #[test]
    fn the_checked_in_document_is_current() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");
        let now = serde_json::to_string_pretty(&openapi()).unwrap() + "\n";
        if std::env::var_os("PERGOLA_RENEW").is_some() {
            std::fs::write(path, &now).unwrap();
        }
        assert!(std::fs::read_to_string(path).unwrap() == now, "renew it with PERGOLA_RENEW=1");
    }

    #[test]
    fn every_reference_has_its_schema() {
        let document = openapi();
        let mut stack = vec![&document];
        let mut seen = 0;
        while let Some(value) = stack.pop() {
            match value {
                Value::Object(fields) => {
                    if let Some(to) = fields.get("$ref").and_then(Value::as_str) {
                        seen += 1;
                        let pointer = to.strip_prefix('#').unwrap();
                        assert!(document.pointer(pointer).is_some(), "{to}");
                    }
                    stack.extend(fields.values());
                }
                Value::Array(items) => stack.extend(items),
                _ => {}
            }
        }
        assert!(seen > 50);
    }
}
