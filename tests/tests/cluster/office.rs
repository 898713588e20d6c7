//! The office of these tests: the paired example on the lab, with etcd's members and controllers as processes that can be
//! killed, frozen and started again.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use pergola_lab::Forward;
use pergola_scenarios::{Scenario, free_port, unique_name, wait_until};
use serde_json::Value;

use crate::http::ask;

pub const LIMIT: Duration = Duration::from_secs(40);
const NODES: [&str; 3] = ["c1", "c2", "c3"];

/// The programs that `make test` builds before it runs tests.
pub fn programs() -> PathBuf {
    let own = std::env::current_exe().unwrap();
    own.ancestors().find(|p| p.file_name().is_some_and(|n| n == "deps")).unwrap().parent().unwrap().to_owned()
}

pub fn rounds() -> u64 {
    std::env::var("PERGOLA_CHAOS_ROUNDS").ok().and_then(|n| n.parse().ok()).unwrap_or(0)
}

pub fn seed() -> u64 {
    std::env::var("PERGOLA_CHAOS_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

/// Asks until there is an answer.
pub fn retried<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    wait_until(what, LIMIT, ask).unwrap()
}

/// A process that comes and goes.
pub struct Part {
    program: PathBuf,
    args: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
}

impl Part {
    pub fn new(program: impl Into<PathBuf>, args: Vec<String>, log: PathBuf) -> Part {
        Part { program: program.into(), args, log, child: None }
    }

    /// Starts it as `command` says, which is given the program.
    pub fn run(&mut self, command: impl FnOnce(&str) -> Command) {
        assert!(self.child.is_none());
        let log: File = OpenOptions::new().create(true).append(true).open(&self.log).unwrap();
        let mut command = command(self.program.to_str().unwrap());
        command.args(&self.args).stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        self.child = Some(command.spawn().unwrap_or_else(|e| panic!("{}: {e}", self.program.display())));
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn reap(&mut self) {
        self.child.take().unwrap().wait().unwrap();
    }

    pub fn signal(&self, signal: &str) {
        let id = self.child.as_ref().unwrap().id().to_string();
        assert!(Command::new("kill").args([format!("-{signal}"), id]).status().unwrap().success());
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        self.kill();
    }
}

pub struct Office {
    parts: BTreeMap<String, Part>,
    apis: BTreeMap<String, SocketAddr>,
    folder: Option<tempfile::TempDir>,
    pub lab: Scenario,
}

/// On a file system in memory if there is one: what is tested is not the disk.
pub fn folder() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let base = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    tempfile::Builder::new().prefix("pergola-cluster-").tempdir_in(base).unwrap()
}

impl Office {
    pub fn start() -> Office {
        let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/blueprint/examples/2x4-paired.yaml");
        let name = unique_name("cluster");
        let any: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
        let mut spec = pergola_lab::office(&name, &std::fs::read_to_string(example).unwrap(), any).unwrap();
        // The lab's own controller is replaced by ours.
        let controller = spec.controller.take().unwrap();
        let folder = folder();
        let blueprint = folder.path().join("blueprint.yaml");
        std::fs::write(&blueprint, controller.files.values().next().unwrap()).unwrap();
        spec.forwards.clear();
        let mut parts = BTreeMap::new();
        let mut apis = BTreeMap::new();
        // In a namespace of their own.
        let members = pergola_etcd_members::members(folder.path(), "http", &[(2379, 2380), (3379, 3380), (4379, 4380)]);
        let urls: Vec<String> = members.iter().map(|m| m.url.clone()).collect();
        for member in members {
            let log = folder.path().join(format!("{}.log", member.name));
            parts.insert(member.name, Part::new("etcd", member.args, log));
        }
        for node in NODES {
            let listen: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
            spec.forwards.push(Forward { listen, to: listen });
            apis.insert(node.to_owned(), listen);
            let mut args: Vec<String> = ["run", "--lab", "--node", node, "--init"].map(str::to_owned).to_vec();
            args.push(blueprint.display().to_string());
            args.extend(["--cluster".to_owned(), format!("etcd={}", urls.join(","))]);
            args.extend(["--listen".to_owned(), listen.to_string()]);
            let log = folder.path().join(format!("{node}.log"));
            parts.insert(node.to_owned(), Part::new(programs().join("pergola"), args, log));
        }
        let lab = Scenario::start_named(spec).unwrap();
        let mut office = Office { parts, apis, folder: Some(folder), lab };
        for name in ["m0", "m1", "m2", "c1", "c2", "c3"] {
            office.run(name);
        }
        office.settled("c1");
        office
    }

    pub fn run(&mut self, name: &str) {
        let lab = &self.lab;
        self.parts.get_mut(name).unwrap().run(|program| lab.command("leaf1", program).unwrap());
    }

    pub fn kill(&mut self, name: &str) {
        self.parts.get_mut(name).unwrap().kill();
    }

    pub fn reap(&mut self, name: &str) {
        self.parts.get_mut(name).unwrap().reap();
    }

    pub fn signal(&self, name: &str, signal: &str) {
        self.parts[name].signal(signal);
    }

    pub fn get(&self, node: &str, path: &str) -> std::io::Result<(u16, String)> {
        ask(self.apis[node], "GET", path, "")
    }

    fn json(&self, node: &str, path: &str) -> Option<Value> {
        let (status, text) = self.get(node, path).ok()?;
        (status == 200).then(|| serde_json::from_str(&text).unwrap())
    }

    /// A command of the command line, asked of a node.
    pub fn pergola(&self, node: &str, args: &[&str]) -> String {
        let server = format!("http://{}", self.apis[node]);
        let output = Command::new(programs().join("pergola")).args(args).args(["--server", &server]).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }

    /// The master of each switch, as a node tells it.
    fn try_masters(&self, node: &str) -> Option<BTreeMap<String, String>> {
        let status = self.json(node, "/api/v1/cluster")?;
        let devices = status["devices"].as_object()?;
        Some(devices.iter().map(|(d, v)| (d.clone(), v["master"].as_str().unwrap().to_owned())).collect())
    }

    pub fn masters(&self, node: &str) -> BTreeMap<String, String> {
        retried("masters", || self.try_masters(node).filter(|m| m.len() == 6))
    }

    pub fn devices_of(&self, node: &str) -> BTreeSet<String> {
        let asked = NODES.iter().find_map(|n| self.try_masters(n)).unwrap_or_default();
        asked.into_iter().filter(|(_, master)| master == node).map(|(device, _)| device).collect()
    }

    /// How long after `since` every switch has a master other than `gone`, one that is the switch's primary and holds all
    /// that is wanted.
    pub fn taken_over(&self, asked: &str, gone: &str, since: Instant) -> Duration {
        let mut named = None;
        retried("new masters", || {
            let masters = self.try_masters(asked)?;
            (masters.len() == 6 && masters.values().all(|m| m != gone)).then_some(())?;
            named.get_or_insert(since.elapsed());
            let rest: Vec<&str> = NODES.iter().copied().filter(|n| *n != gone).collect();
            (self.primaries(&rest)? == 6).then_some(())
        });
        named.unwrap()
    }

    /// Switches whose primary is one of these nodes.
    fn primaries(&self, nodes: &[&str]) -> Option<usize> {
        let mut count = 0;
        for node in nodes {
            let list = self.json(node, "/api/v1/devices")?;
            let primary = |d: &&Value| d["mastership"] == "primary" && d["master"] == true;
            count += list["items"].as_array()?.iter().filter(primary).count();
        }
        Some(count)
    }

    /// Every node's own switches hold exactly what is wanted, and together they are all.
    pub fn in_sync(&self, nodes: &[&str]) {
        let mut last = String::new();
        let found = wait_until("everything is in sync", LIMIT, || {
            let mut count = 0;
            for node in nodes {
                let list = self.json(node, "/api/v1/devices")?;
                last = format!("{node}: {list}");
                for device in list["items"].as_array()?.iter().filter(|d| d["master"] == true) {
                    let right = device["in_sync"] == true && device["mastership"] == "primary";
                    count += usize::from(right && device["failed"] == 0);
                }
            }
            (count == 6).then_some(())
        });
        found.unwrap_or_else(|e| panic!("{e}: {last}"));
    }

    /// All nodes that run live in the store, each switch has a master, and all is in sync.
    pub fn settled(&self, asked: &str) {
        let alive = |status: &Value| {
            let nodes = status["nodes"].as_array().unwrap().iter();
            nodes.filter(|n| n["alive"] == true).count() == NODES.len()
        };
        retried("all controllers", || self.json(asked, "/api/v1/cluster").filter(alive));
        self.in_sync(&NODES);
    }

    /// Two switches each.
    pub fn spread(&self) {
        self.settled("c1");
        self.pergola("c1", &["cluster", "rebalance"]);
        retried("evenness", || {
            let masters = self.try_masters("c1")?;
            NODES.iter().all(|n| masters.values().filter(|m| m == n).count() == 2).then_some(())
        });
        self.in_sync(&NODES);
    }

    pub fn put_route(&self, n: usize, node: &str) -> std::io::Result<(u16, String)> {
        let name = format!("198.18.{n}.0/24");
        let body = format!(r#"{{"prefix": "{name}", "target": {{"next_hops": ["10.0.20.254"]}}}}"#);
        ask(self.apis[node], "PUT", &format!("/api/v1/route/{name}"), &body)
    }

    /// Puts a route, however long it takes until the store takes it.
    pub fn route(&self, n: usize, node: &str) {
        retried("the route is stored", || match self.put_route(n, node) {
            Ok((200 | 201, _)) => Some(()),
            Ok((503, _)) | Err(_) => None,
            Ok(other) => panic!("{other:?}"),
        });
    }

    pub fn routes(&self, node: &str) -> BTreeSet<String> {
        let list = retried("the routes", || self.json(node, "/api/v1/route"));
        list["items"].as_array().unwrap().iter().map(|i| i["name"].as_str().unwrap().to_owned()).collect()
    }

    /// Waits until the store says of every link what is so, as each node reads it.
    pub fn links_are_up_but(&self, down: &[&str]) {
        for node in NODES {
            let mut last = Value::Null;
            let found = wait_until("the links' states", LIMIT, || {
                last = self.json(node, "/api/v1/link-state")?["items"].take();
                let links = last.as_array()?;
                let right = |l: &&Value| l["name"].as_str().is_some_and(|id| l["body"]["up"] != down.contains(&id));
                (links.len() == 10 && links.iter().filter(right).count() == 10).then_some(())
            });
            found.unwrap_or_else(|e| panic!("{e} at {node}: {last:#}"));
        }
    }

    pub fn end(mut self) {
        self.parts.clear();
        let folder = self.folder.take();
        drop(folder);
        let Office { lab, .. } = { self };
        lab.end().unwrap();
    }
}
