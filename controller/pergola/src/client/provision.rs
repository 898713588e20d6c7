//! A whole site put through the API, and the wait until every switch holds it; for programs that bring up an office.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use serde_json::Value;
use ureq::http::Method;

use super::http::{Client, Connection, Sent};

/// What was put.
#[derive(Clone, Copy, Debug, Default)]
pub struct Provisioned {
    /// Resources that were changed.
    pub intents: usize,
    pub switches: u64,
    /// Entries on all switches together.
    pub entries: u64,
}

/// Makes the site what `blueprint` says, and returns when all its switches are in sync, or with an error after `limit`.
pub fn provision(server: &str, blueprint: &str, limit: Duration) -> Result<Provisioned> {
    let client = Client::new(&Connection { server: server.to_owned(), token_file: None })?;
    let answer = client.send(Method::PUT, "/blueprint", Some(Sent("application/yaml", blueprint)), None)?;
    let answer = client.json("/blueprint", &answer.body)?;
    let revision = answer["revision"].as_u64().unwrap_or_default();
    let intents = answer["intents"].as_array().map_or(0, Vec::len);
    let deadline = Instant::now() + limit;
    let mut pause = Duration::from_millis(5);
    loop {
        let status = client.get("/status")?;
        let switches = status["devices"].as_u64().unwrap_or_default();
        let all = switches > 0 && status["devices_in_sync"] == status["devices"];
        if all && status["revision"].as_u64().is_some_and(|r| r >= revision) {
            let devices = client.get("/devices")?;
            let wanted = |d: &Value| d["wanted"].as_u64().unwrap_or_default();
            let entries = devices["items"].as_array().into_iter().flatten().map(wanted).sum();
            return Ok(Provisioned { intents, switches, entries });
        }
        if Instant::now() > deadline {
            bail!("after {} s not every switch holds what it should: {status}", limit.as_secs());
        }
        std::thread::sleep(pause);
        pause = (pause * 2).min(Duration::from_millis(100));
    }
}
