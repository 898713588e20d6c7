//! REST as a client sees it: what is refused, how, and that what was accepted stays.

use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::{Request, Response};

use crate::{Controller, example};

/// One answer: status, headers that matter, body.
struct Answer {
    status: u16,
    kind: String,
    etag: String,
    allow: String,
    body: Value,
}

impl Controller {
    fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        let agent: Agent = Agent::config_builder().http_status_as_error(false).build().into();
        let mut request = Request::builder().method(method).uri(format!("{}{path}", self.server));
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut answer: Response<ureq::Body> = match method {
            "GET" | "DELETE" => agent.run(request.body(()).unwrap()),
            _ => agent.run(request.body(body.to_owned()).unwrap()),
        }
        .unwrap();
        let header = |name: &str| answer.headers().get(name).map_or(String::new(), |v| v.to_str().unwrap().to_owned());
        let (status, kind, etag) = (answer.status().as_u16(), header("content-type"), header("etag"));
        let allow = header("allow");
        let text = answer.body_mut().read_to_string().unwrap();
        Answer { status, kind, etag, allow, body: serde_json::from_str(&text).unwrap_or(Value::String(text)) }
    }

    fn put(&self, path: &str, headers: &[(&str, &str)], body: &Value) -> Answer {
        self.call("PUT", path, headers, &body.to_string())
    }

    /// Puts the 2x2 site; its text.
    fn apply_example(&self) -> String {
        let site = std::fs::read_to_string(example("2x2")).unwrap();
        let applied = self.call("PUT", "/api/v1/blueprint", &[], &site);
        assert_eq!(applied.status, 200, "{}", applied.body);
        site
    }

    fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "")
    }

    /// A problem document with this status; all of it as text.
    fn refused(answer: &Answer, status: u16) -> String {
        let text = answer.body.to_string();
        assert_eq!((answer.status, answer.kind.as_str()), (status, "application/problem+json"), "{text}");
        assert_eq!(answer.body["status"], status, "{text}");
        text
    }
}

fn subnet(name: &str, vlan: u16) -> Value {
    json!({ "name": name, "vlan": vlan, "gateways": [format!("10.9.{}.1/24", vlan % 256)] })
}

fn host(n: usize) -> Value {
    json!({ "name": format!("n{n}"), "mac": format!("02:00:00:00:{:02x}:{:02x}", n / 256, n % 256), "vlan": 10,
            "attachments": ["leaf1/3"] })
}

#[test]
fn writes_are_idempotent_and_conditional() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let path = "/api/v1/subnet/red";
    let first = controller.put(path, &[], &subnet("red", 10));
    assert_eq!(first.status, 201, "{}", first.body);
    let again = controller.put(path, &[], &subnet("red", 10));
    assert_eq!((again.status, &again.etag), (200, &first.etag), "nothing changed");
    Controller::refused(&controller.put(path, &[("if-none-match", "*")], &subnet("red", 11)), 412);
    let changed = controller.put(path, &[("if-match", &first.etag)], &subnet("red", 11));
    assert_eq!(changed.status, 200, "{}", changed.body);
    assert_ne!(changed.etag, first.etag);
    let stale = Controller::refused(&controller.put(path, &[("if-match", &first.etag)], &subnet("red", 12)), 412);
    assert!(stale.contains(changed.etag.trim_matches('"')), "says where it is: {stale}");
    assert_eq!(controller.get(path).body["vlan"], 11);
    for never in ["\"anything\"", "W/\"1\"", "\"0\""] {
        Controller::refused(&controller.put(path, &[("if-match", never)], &subnet("red", 12)), 412);
    }
    Controller::refused(&controller.put(path, &[("if-match", "anything")], &subnet("red", 12)), 400);
    Controller::refused(&controller.put("/api/v1/subnet/new", &[("if-match", "*")], &subnet("new", 12)), 412);
    assert_eq!(controller.put(path, &[("if-match", "*")], &subnet("red", 11)).etag, changed.etag);
    Controller::refused(&controller.call("DELETE", path, &[("if-match", &first.etag)], ""), 412);
    assert_eq!(controller.call("DELETE", path, &[("if-match", &changed.etag)], "").status, 204);
    Controller::refused(&controller.get(path), 404);
}

#[test]
fn what_is_wrong_is_named_and_nothing_changes() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let site = controller.apply_example();
    let before = controller.get("/api/v1/subnet").body;

    let mut odd = subnet("pink", 77);
    odd["colour"] = "pink".into();
    let text = Controller::refused(&controller.put("/api/v1/subnet/pink", &[], &odd), 422);
    assert!(text.contains("colour"), "the field: {text}");
    let text = Controller::refused(&controller.put("/api/v1/subnet/pink", &[], &subnet("pink", 4095)), 422);
    assert!(text.contains("4095") && text.contains("vlan"), "found and where: {text}");
    let text = Controller::refused(&controller.put("/api/v1/subnet/pink", &[], &subnet("pink", 10)), 422);
    assert!(text.contains("red"), "who has the VLAN already: {text}");
    let text = Controller::refused(&controller.put("/api/v1/subnet/pink", &[], &subnet("rose", 77)), 422);
    assert!(text.contains("rose") && text.contains("pink"), "{text}");
    let text = Controller::refused(&controller.call("PUT", "/api/v1/subnet/pink", &[], "{\"name\": "), 422);
    assert!(text.contains("\"line\":1"), "the place in the text: {text}");
    Controller::refused(&controller.put("/api/v1/subnet/pink", &[], &json!("x".repeat(300_000))), 413);
    let text = Controller::refused(&controller.call("DELETE", "/api/v1/switch/leaf1", &[], ""), 422);
    assert!(text.contains("leaf1/3"), "who needs it: {text}");
    Controller::refused(&controller.put("/api/v1/gadget/pink", &[], &subnet("pink", 77)), 404);
    let answer = controller.put("/api/v1/port-state/leaf1-1", &[], &json!({}));
    Controller::refused(&answer, 405);
    assert_eq!(answer.allow, "GET, HEAD");
    for query in ["devices/leaf1/entries?colour=pink", "devices/leaf1/entries?counters=7", "watch?from=x"] {
        Controller::refused(&controller.get(&format!("/api/v1/{query}")), 400);
    }
    Controller::refused(&controller.get("/api/v1/devices/leaf9"), 404);
    Controller::refused(&controller.get("/nowhere"), 404);
    let bad = site.replace("vlan: 30", "vlan: 20");
    let text = Controller::refused(&controller.call("PUT", "/api/v1/blueprint", &[], &bad), 422);
    assert!(text.contains("\"line\""), "{text}");

    let after = controller.get("/api/v1/subnet").body;
    assert_eq!(after["items"], before["items"]);
}

#[test]
fn accepted_is_durable() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    controller.apply_example();
    let before = controller.get("/api/v1/host").body["items"].as_array().unwrap().len();
    let all: Vec<usize> = (0..120).collect();
    std::thread::scope(|scope| {
        for part in all.chunks(15) {
            let controller = &controller;
            scope.spawn(move || {
                for n in part {
                    let answer = controller.put(&format!("/api/v1/host/n{n}"), &[], &host(*n));
                    assert_eq!(answer.status, 201, "{}", answer.body);
                }
            });
        }
    });
    // Dropping it is SIGKILL.
    drop(controller);
    let controller = Controller::start(folder.path());
    assert_eq!(controller.get("/api/v1/host").body["items"].as_array().unwrap().len(), before + all.len());
}

#[test]
fn a_token_is_asked_for_where_one_is_set() {
    let folder = tempfile::tempdir().unwrap();
    let token = folder.path().join("token");
    std::fs::write(&token, "open-sesame-please\n").unwrap();
    let controller = Controller::start_with(&folder.path().join("store"), &["--token-file", token.to_str().unwrap()]);
    Controller::refused(&controller.get("/api/v1/status"), 401);
    let wrong = controller.call("GET", "/api/v1/status", &[("authorization", "Bearer open-sesame-pleese")], "");
    Controller::refused(&wrong, 401);
    let right = controller.call("GET", "/api/v1/status", &[("authorization", "Bearer open-sesame-please")], "");
    assert_eq!(right.status, 200);
    // Whoever watches over the process needs no secret.
    assert_eq!(controller.get("/healthz").status, 200);
}

#[test]
fn it_describes_and_measures_itself() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let document = controller.get("/api/v1/openapi.json").body;
    assert!(document["openapi"].as_str().unwrap().starts_with("3.1"));
    for path in ["/api/v1/subnet/{name}", "/api/v1/blueprint/plan", "/api/v1/devices/{name}/entries"] {
        assert!(document["paths"].get(path).is_some(), "{path}");
    }
    let metrics = controller.get("/metrics");
    let text = metrics.body.as_str().unwrap();
    assert!(text.contains("# TYPE pergola_") && metrics.kind.starts_with("text/plain"), "{text}");
}
