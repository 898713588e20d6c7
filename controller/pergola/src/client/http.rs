//! The HTTP side: requests to one controller, and its errors in words.

use std::fmt::{self, Write};
use std::io::{BufRead, BufReader, ErrorKind};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use ureq::http::{Method, Request, Response};
use ureq::{Agent, Body, SendBody};

const CONNECT: Duration = Duration::from_secs(5);
/// Planning a large site takes the controller seconds before it answers.
const ANSWER: Duration = Duration::from_secs(300);
/// The controller sends a comment every 15 s on a stream where nothing happens.
const SILENCE: Duration = Duration::from_secs(60);
const LARGEST_ANSWER: u64 = 4 << 30;

/// Which controller is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct Connection {
    /// Where the controller's API is.
    #[arg(long, env = "PERGOLA_SERVER", default_value = "http://127.0.0.1:8181", value_name = "URL")]
    pub server: String,
    /// A file with the bearer token. Without it, the token is what PERGOLA_TOKEN holds.
    #[arg(long, env = "PERGOLA_TOKEN_FILE", value_name = "FILE")]
    pub token_file: Option<PathBuf>,
}

/// Why there is no answer to use.
#[derive(Debug)]
pub enum Error {
    /// An option is wrong.
    Option { name: &'static str, found: String, allowed: String },
    /// Nobody answered.
    Unreachable { server: String, why: String, refused: bool },
    /// The controller said no.
    Answered { method: String, path: String, problem: Box<Problem> },
    /// The answer is not what a controller says.
    Garbled { server: String, path: String, why: String },
}

/// An error as the controller words it (RFC 9457).
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Problem {
    pub title: String,
    pub status: u16,
    pub detail: Option<String>,
    pub errors: Vec<FieldError>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct FieldError {
    pub path: String,
    pub line: Option<u32>,
    pub column: Option<u32>,
    pub found: Option<String>,
    pub allowed: Option<String>,
    pub detail: Option<String>,
}

impl fmt::Display for FieldError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}")?;
            if let Some(column) = self.column {
                write!(f, ", column {column}")?;
            }
            f.write_str(": ")?;
        }
        if !self.path.is_empty() && self.path != "." {
            write!(f, "{}: ", self.path)?;
        }
        match (&self.found, &self.allowed, &self.detail) {
            (Some(found), Some(allowed), _) => write!(f, "found `{found}`, allowed: {allowed}"),
            (Some(found), None, None) => write!(f, "found `{found}`"),
            (None, Some(allowed), _) => write!(f, "allowed: {allowed}"),
            (_, None, Some(detail)) => f.write_str(detail),
            (None, None, None) => f.write_str("wrong"),
        }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = self.title.clone();
        if let Some(detail) = &self.detail {
            let _ = write!(text, ": {detail}");
        }
        let _ = write!(text, " (status {})", self.status);
        for error in &self.errors {
            let _ = write!(text, "\n  {error}");
        }
        match self.status {
            401 => text.push_str("\n  give it with --token-file FILE or in PERGOLA_TOKEN"),
            412 => text.push_str("\n  look at what is there now, then try again"),
            _ => {}
        }
        f.write_str(&text)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Option { name, found, allowed } => {
                write!(f, "{name}: found `{found}`, allowed: {allowed}")
            }
            Error::Unreachable { server, why, refused } => {
                write!(f, "no controller answers at {server}: {why}\n  ")?;
                f.write_str(if *refused {
                    "start one with `pergola run` or `pergola lab up`, or name another with --server URL or \
                     PERGOLA_SERVER"
                } else {
                    "name the right one with --server URL or PERGOLA_SERVER"
                })
            }
            Error::Answered { method, path, problem } => write!(f, "{method} {path}: {problem}"),
            Error::Garbled { server, path, why } => {
                write!(f, "{server}{path} is no answer of a controller: {why}")
            }
        }
    }
}

impl std::error::Error for Error {}

/// An answer with a good status.
#[derive(Debug)]
pub struct Answer {
    /// The revision in the ETag.
    pub revision: Option<u64>,
    pub body: String,
}

/// A body to send, with its media type.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a>(pub &'static str, pub &'a str);

/// Asks one controller.
pub struct Client {
    agent: Agent,
    server: String,
    token: Option<String>,
}

impl Client {
    pub fn new(connection: &Connection) -> Result<Self, Error> {
        let token = match &connection.token_file {
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| Error::Option {
                    name: "--token-file",
                    found: file.display().to_string(),
                    allowed: format!("a file that can be read ({error})"),
                })?;
                Some(text.trim().to_owned())
            }
            None => std::env::var("PERGOLA_TOKEN").ok().map(|t| t.trim().to_owned()),
        };
        let agent = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("pergola/", env!("CARGO_PKG_VERSION")))
            .timeout_resolve(Some(CONNECT))
            .timeout_connect(Some(CONNECT))
            .timeout_recv_response(Some(ANSWER))
            .build()
            .new_agent();
        let token = token.filter(|t| !t.is_empty());
        Ok(Client { agent, server: base(&connection.server)?, token })
    }

    /// Sends one request. `path` begins after `/api/v1`.
    pub fn send(
        &self,
        method: Method,
        path: &str,
        body: Option<Sent<'_>>,
        if_match: Option<u64>,
    ) -> Result<Answer, Error> {
        let mut request = self.request(&method, path);
        if let Some(revision) = if_match {
            request = request.header("if-match", format!("\"{revision}\""));
        }
        let answer = match body {
            Some(Sent(media_type, text)) => request
                .header("content-type", media_type)
                .body(text)
                .map_err(ureq::Error::Http)
                .and_then(|request| self.agent.run(request)),
            None => request.body(()).map_err(ureq::Error::Http).and_then(|request| self.agent.run(request)),
        };
        let mut answer = answer.map_err(|error| self.lost(path, error))?;
        let text = answer.body_mut().with_config().limit(LARGEST_ANSWER).read_to_string();
        let text = text.map_err(|error| self.lost(path, error))?;
        let status = answer.status().as_u16();
        if !answer.status().is_success() {
            let problem = problem(status, &text).into();
            let path = format!("/api/v1{path}");
            return Err(Error::Answered { method: method.to_string(), path, problem });
        }
        let etag = answer.headers().get("etag").and_then(|v| v.to_str().ok());
        let revision = etag.and_then(|v| v.trim_matches('"').parse().ok());
        Ok(Answer { revision, body: text })
    }

    pub fn get(&self, path: &str) -> Result<Value, Error> {
        let answer = self.send(Method::GET, path, None, None)?;
        self.json(path, &answer.body)
    }

    /// Like [`Client::get`], with `None` for what is not there.
    pub fn find(&self, path: &str) -> Result<Option<(Value, u64)>, Error> {
        match self.send(Method::GET, path, None, None) {
            Ok(answer) => {
                let value = self.json(path, &answer.body)?;
                Ok(Some((value, answer.revision.unwrap_or_default())))
            }
            Err(Error::Answered { problem, .. }) if problem.status == 404 => Ok(None),
            Err(error) => Err(error),
        }
    }

    pub fn json(&self, path: &str, text: &str) -> Result<Value, Error> {
        serde_json::from_str(text).map_err(|error| Error::Garbled {
            server: self.server.clone(),
            path: format!("/api/v1{path}"),
            why: error.to_string(),
        })
    }

    /// Opens a stream of server-sent events.
    pub fn stream(&self, path: &str, last_event_id: Option<&str>) -> Result<impl BufRead + use<>, Error> {
        let mut request = self.request(&Method::GET, path).header("accept", "text/event-stream");
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let answer: Result<Response<Body>, ureq::Error> =
            request.body(SendBody::none()).map_err(ureq::Error::Http).and_then(|request| {
                let request = self.agent.configure_request(request);
                self.agent.run(request.timeout_per_read(Some(SILENCE)).build())
            });
        let mut answer = answer.map_err(|error| self.lost(path, error))?;
        if !answer.status().is_success() {
            let text = answer.body_mut().read_to_string().unwrap_or_default();
            return Err(Error::Answered {
                method: "GET".into(),
                path: format!("/api/v1{path}"),
                problem: problem(answer.status().as_u16(), &text).into(),
            });
        }
        let body = answer.into_body().into_with_config().limit(u64::MAX);
        Ok(BufReader::new(body.reader()))
    }

    fn request(&self, method: &Method, path: &str) -> ureq::http::request::Builder {
        let uri = format!("{}/api/v1{path}", self.server);
        let mut request = Request::builder().method(method.clone()).uri(uri);
        if let Some(token) = &self.token {
            request = request.header("authorization", format!("Bearer {token}"));
        }
        request
    }

    fn lost(&self, path: &str, error: ureq::Error) -> Error {
        let server = self.server.clone();
        match error {
            ureq::Error::Io(error) => {
                let refused = error.kind() == ErrorKind::ConnectionRefused;
                let why = if refused { "connection refused".into() } else { error.to_string() };
                Error::Unreachable { server, why, refused }
            }
            ureq::Error::HostNotFound => Error::Unreachable { server, why: "no such host".into(), refused: false },
            error @ (ureq::Error::Timeout(_) | ureq::Error::ConnectionFailed) => {
                Error::Unreachable { server, why: error.to_string(), refused: false }
            }
            error => Error::Garbled { server, path: format!("/api/v1{path}"), why: error.to_string() },
        }
    }
}

/// The server's address without a path, with its scheme.
fn base(text: &str) -> Result<String, Error> {
    let wrong = || Error::Option {
        name: "--server",
        found: text.to_owned(),
        allowed: "http://HOST:PORT, such as http://127.0.0.1:8181".into(),
    };
    let host = match text.split_once("://") {
        Some(("http", host)) => host,
        Some(_) => return Err(wrong()),
        None => text,
    };
    let host = host.trim_end_matches('/');
    if host.is_empty() || host.contains(['/', '?', '#', ' ', '@']) {
        return Err(wrong());
    }
    Ok(format!("http://{host}"))
}

/// An error answer; one that is not problem+json comes from something else on the way, and its text is kept.
fn problem(status: u16, text: &str) -> Problem {
    match serde_json::from_str::<Problem>(text) {
        Ok(problem) if !problem.title.is_empty() => Problem { status, ..problem },
        _ => {
            let first = text.lines().find(|line| !line.trim().is_empty()).unwrap_or("no text");
            let title: String = first.trim().chars().take(200).collect();
            Problem { title, status, ..Problem::default() }
        }
    }
}

/// A name as part of a path. Slashes stay: they are part of many names.
pub fn in_path(name: &str) -> String {
    escape(name, b"/:~,@")
}

/// A value of a query.
pub fn in_query(value: &str) -> String {
    escape(value, b"/:~,")
}

fn escape(text: &str, also: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._".contains(&byte) || also.contains(&byte) {
            out.push(char::from(byte));
        } else {
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_in_all_its_forms() {
        for text in ["http://10.0.0.1:8181", "http://10.0.0.1:8181/", "10.0.0.1:8181"] {
            assert_eq!(base(text).unwrap(), "http://10.0.0.1:8181");
        }
        assert_eq!(base("http://[::1]:80").unwrap(), "http://[::1]:80");
        for text in ["https://a", "ftp://a", "http://", "http://a/b", "http://u@a"] {
            let error = base(text).unwrap_err().to_string();
            assert!(error.contains(&format!("found `{text}`")), "{error}");
        }
    }

    #[test]
    fn names_in_paths_and_queries() {
        assert_eq!(in_path("leaf1/3~spine1/1"), "leaf1/3~spine1/1");
        assert_eq!(in_path("2001:db8::/32"), "2001:db8::/32");
        assert_eq!(in_path("a b?c%"), "a%20b%3Fc%25");
        assert_eq!(in_query("port/leaf1/3&x=1"), "port/leaf1/3%26x%3D1");
    }

    #[test]
    fn problems_name_the_field() {
        let text = r#"{"title":"the body is no port","status":422,"errors":[
            {"path":"mode.untagged.vlan","line":1,"column":9,"found":"4095","allowed":"1 to 4094"},
            {"path":"speed","detail":"unknown field `speed`"},
            {"path":".","detail":"missing field `id`"}]}"#;
        assert_eq!(
            problem(422, text).to_string(),
            "the body is no port (status 422)\n  line 1, column 9: mode.untagged.vlan: found `4095`, \
             allowed: 1 to 4094\n  speed: unknown field `speed`\n  missing field `id`"
        );
    }

    #[test]
    fn other_answers_keep_their_text() {
        let bad = problem(502, "\n<h1>Bad gateway</h1>\nmore");
        assert_eq!(bad.to_string(), "<h1>Bad gateway</h1> (status 502)");
        assert!(problem(401, "{}").to_string().contains("--token-file"));
    }

    #[test]
    fn a_refused_connection_says_what_to_do() {
        // A port that was free a moment ago and that nobody listens on.
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let server = format!("http://127.0.0.1:{port}");
        let client = Client::new(&Connection { server: server.clone(), token_file: None }).unwrap();
        let text = client.get("/status").unwrap_err().to_string();
        assert!(text.starts_with(&format!("no controller answers at {server}: connection refused")));
        assert!(text.contains("pergola run") && text.contains("PERGOLA_SERVER"), "{text}");
    }
}
