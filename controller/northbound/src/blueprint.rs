//! The site as one document: export it, see what another one would change, apply it.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::State;
use axum::extract::rejection::StringRejection;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use pergola_blueprint::IntentChange;
use pergola_model::{AnyResource, ChangeKind, ChangedKey, View};
use pergola_plan::Planner;
use serde_json::json;

use crate::Api;
use crate::commit::{Ask, Done};
use crate::devices::describe;
use crate::problem::Problem;

type Answer = Result<Response, Problem>;

pub async fn export(State(api): State<Api>) -> Answer {
    let text = pergola_blueprint::export(&stored(&api).await?);
    Ok(([(header::CONTENT_TYPE, "application/yaml")], text).into_response())
}

/// The intents as the store has them now; the engine's view may be a moment behind.
async fn stored(api: &Api) -> Result<View, Problem> {
    let listing = api.store.range("", None).await?;
    let resources = listing.entries.iter().filter_map(|e| AnyResource::from_stored(&e.key, &e.value).ok());
    Ok(View::from_resources(resources))
}

fn parse(body: Result<String, StringRejection>) -> Result<Vec<AnyResource>, Problem> {
    let text = body.map_err(|rejected| {
        Problem::new(rejected.status().as_u16(), "the body was not taken").detail(rejected.body_text())
    })?;
    pergola_blueprint::parse(&text).map(|b| b.into_intents()).map_err(|problems| Problem::of_blueprint(&problems))
}

/// What applying would change: intents, and entries switch by switch.
pub async fn plan(State(api): State<Api>, body: Result<String, StringRejection>) -> Answer {
    let wanted = parse(body)?;
    let old = stored(&api).await?;
    let changes = pergola_blueprint::diff(old.intents(), wanted);
    let answer = tokio::task::spawn_blocking(move || plan_of(&old, &changes))
        .await
        .map_err(|error| Problem::new(500, "planning failed").detail(error.to_string()))?;
    Ok(Json(answer).into_response())
}

/// The plan of a change, with entries in words.
pub fn plan_of(old: &View, changes: &[IntentChange]) -> serde_json::Value {
    let mut planner: Planner = Planner::new(pergola_fabric_apps::all());
    planner.plan_all(old);
    let mut new = old.clone();
    let mut changed = Vec::new();
    for change in changes {
        let key = change.key();
        let done = match change.wanted() {
            Some(resource) => new.put(resource.clone()),
            None => new.remove(&key),
        };
        changed.push(ChangedKey { key, change: done.unwrap_or(ChangeKind::Updated) });
    }
    // What stands at the keys that go, before it is gone.
    let mut before = BTreeMap::new();
    for switch in old.switches() {
        for (key, value) in planner.wanted(&switch.name) {
            before.insert((switch.name.clone(), key.clone()), value.clone());
        }
    }
    let delta = planner.apply(old, &new, &changed);
    let switches: BTreeMap<String, serde_json::Value> = delta
        .devices
        .iter()
        .map(|(name, delta)| {
            let (mut add, mut change) = (Vec::new(), Vec::new());
            for entity in &delta.put {
                let there = before.contains_key(&(name.clone(), entity.key.clone()));
                let list = if there { &mut change } else { &mut add };
                list.push(describe(&entity.key, &entity.value));
            }
            let remove: Vec<_> = delta
                .del
                .iter()
                .filter_map(|key| before.get(&(name.clone(), key.clone())).map(|value| describe(key, value)))
                .collect();
            (name.to_string(), json!({ "add": add, "change": change, "remove": remove }))
        })
        .collect();
    let problems: Vec<_> = planner
        .problems()
        .iter()
        .map(|p| json!({ "app": p.app, "cause": p.cause.to_string(), "text": p.text }))
        .collect();
    json!({
        "intents": changes.iter().map(|c| c.to_string()).collect::<Vec<_>>(),
        "switches": switches,
        "problems": problems,
    })
}

/// Makes the site what the document says, in one transaction.
pub async fn apply(State(api): State<Api>, body: Result<String, StringRejection>) -> Answer {
    let wanted = parse(body)?;
    let (revision, intents) = match api.commits.ask(Ask::Site(wanted)).await? {
        Done::Site { revision, intents } => (revision, intents),
        Done::Unchanged { revision } | Done::Written { revision, .. } => (revision, Vec::new()),
    };
    Ok(Json(json!({ "revision": revision, "intents": intents })).into_response())
}
