//! The controller's REST interface, as a scenario needs it: one request a connection (HTTP/1.1, RFC 9112).

use anyhow::{Context, Result, bail};
use serde_json::Value;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// A controller's API.
#[derive(Clone, Copy, Debug)]
pub struct Api(pub SocketAddr);

/// An answer: the status and the body, JSON or text.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: u16,
    pub body: Value,
}

impl Api {
    /// One request; `body` with its media type.
    pub fn ask(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Result<Answer> {
        let mut stream = TcpStream::connect_timeout(&self.0, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(30)))?;
        let mut head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.0);
        if let Some((media, body)) = body {
            head += &format!("Content-Type: {media}\r\nContent-Length: {}\r\n", body.len());
        }
        stream.write_all(format!("{head}\r\n{}", body.map_or("", |(_, body)| body)).as_bytes())?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        let answer = String::from_utf8(answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no end of the header")?;
        let status = head.split(' ').nth(1).context("no status")?.parse()?;
        let chunked = head.lines().any(|l| l.eq_ignore_ascii_case("transfer-encoding: chunked"));
        let body = if chunked { dechunk(body)? } else { body.to_owned() };
        Ok(Answer { status, body: serde_json::from_str(&body).unwrap_or(Value::String(body)) })
    }

    fn good(&self, method: &str, path: &str, body: Option<(&str, &str)>) -> Result<Value> {
        let answer = self.ask(method, path, body)?;
        if !(200..300).contains(&answer.status) {
            bail!("{method} {path}: {} {}", answer.status, answer.body);
        }
        Ok(answer.body)
    }

    /// `/api/v1/PATH`.
    pub fn get(&self, path: &str) -> Result<Value> {
        self.good("GET", &format!("/api/v1/{path}"), None)
    }

    /// Writes a resource.
    pub fn put(&self, path: &str, body: &Value) -> Result<Value> {
        self.good("PUT", &format!("/api/v1/{path}"), Some(("application/json", &body.to_string())))
    }

    pub fn delete(&self, path: &str) -> Result<Value> {
        self.good("DELETE", &format!("/api/v1/{path}"), None)
    }

    /// Makes the site what a blueprint says.
    pub fn apply(&self, blueprint: &str) -> Result<Value> {
        self.good("PUT", "/api/v1/blueprint", Some(("application/yaml", blueprint)))
    }

    /// The site as a blueprint.
    pub fn blueprint(&self) -> Result<String> {
        match self.get("blueprint")? {
            Value::String(text) => Ok(text),
            other => bail!("a blueprint that is no text: {other}"),
        }
    }

    /// The bodies of all resources of a kind.
    pub fn all(&self, kind: &str) -> Result<Vec<Value>> {
        let list = self.get(kind)?;
        Ok(list["items"].as_array().into_iter().flatten().map(|item| item["body"].clone()).collect())
    }

    /// Whether everything stored is planned and every switch of the site holds it.
    pub fn in_sync(&self) -> Result<bool> {
        let status = self.get("status")?;
        let all = status["devices"] == status["devices_in_sync"] && status["devices"] != 0;
        Ok(all && status["revision"] == status["stored_revision"])
    }

    /// Texts of the alarms of a kind that are raised.
    pub fn alarms(&self, kind: &str) -> Result<Vec<String>> {
        let status = self.get("status")?;
        let of_kind = status["alarms"].as_array().into_iter().flatten().filter(|a| a["kind"] == kind);
        Ok(of_kind.map(|a| a["text"].as_str().unwrap_or_default().to_owned()).collect())
    }

    /// Packets that a switch counted for the entries of a resource in a table.
    pub fn packets(&self, device: &str, table: &str, cause: &str) -> Result<u64> {
        let entries = self.get(&format!("devices/{device}/entries?table={table}&cause={cause}&counters=true"))?;
        Ok(entries["items"].as_array().into_iter().flatten().filter_map(|e| e["packets"].as_u64()).sum())
    }

    /// A figure of `/metrics` whose line begins so.
    pub fn metric(&self, name: &str) -> Result<f64> {
        let text = self.good("GET", "/metrics", None)?;
        let text = text.as_str().unwrap_or_default();
        let line = text.lines().find_map(|l| l.strip_prefix(name)).with_context(|| format!("no metric {name}"))?;
        Ok(line.trim().parse()?)
    }
}

fn dechunk(mut body: &str) -> Result<String> {
    let mut out = String::new();
    loop {
        let (size, rest) = body.split_once("\r\n").context("a chunk without a size")?;
        let size = usize::from_str_radix(size.trim(), 16)?;
        if size == 0 {
            return Ok(out);
        }
        out += rest.get(..size).context("a chunk that is cut off")?;
        body = rest.get(size + 2..).context("a chunk without an end")?;
    }
}
