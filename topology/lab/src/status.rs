//! A lab at a glance: processes, cables, hosts.

use crate::error::{Doing, LabError};
use crate::lab::Lab;
use crate::layout;
use crate::state::{Cut, Role};
use crate::sys::iface::Interfaces;
use comfy_table::{Table, presets};
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Status {
    pub lab: String,
    pub processes: Vec<ProcessStatus>,
    pub links: Vec<LinkStatus>,
    pub hosts: Vec<HostStatus>,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ProcessStatus {
    pub name: String,
    pub role: Role,
    pub state: ProcessState,
    pub pid: Option<i32>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ProcessState {
    Running,
    /// Ended with `kill`.
    Killed,
    /// Ended by itself.
    Died,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LinkStatus {
    pub name: String,
    pub state: LinkState,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum LinkState {
    Up,
    /// No carrier at one end at least.
    Down,
    /// Lit, but cut with `break --silent`.
    Silent,
}

#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HostStatus {
    pub name: String,
    pub cabled_to: Vec<String>,
    pub addresses: Vec<String>,
}

impl Status {
    pub(crate) fn of(lab: &Lab) -> Result<Self, LabError> {
        let state = lab.state();
        let processes = state.processes.iter().map(|(name, p)| ProcessStatus {
            name: name.clone(),
            role: p.role,
            state: match p.id {
                None => ProcessState::Killed,
                Some(id) if id.alive() => ProcessState::Running,
                Some(_) => ProcessState::Died,
            },
            pid: p.id.map(|id| id.pid),
        });
        Ok(Self { lab: lab.name().to_owned(), processes: processes.collect(), links: links(lab)?, hosts: hosts(lab) })
    }

    /// One line for a terminal.
    pub fn line(&self) -> String {
        let count = |role: Role| {
            let of_role = || self.processes.iter().filter(move |p| p.role == role);
            (of_role().filter(|p| p.state == ProcessState::Running).count(), of_role().count())
        };
        let (up, all) = count(Role::Switch);
        let controller = match count(Role::Controller) {
            (_, 0) => String::new(),
            (0, _) => ", controller down".to_owned(),
            _ => ", controller up".to_owned(),
        };
        let whole = self.links.iter().filter(|l| l.state == LinkState::Up).count();
        format!(
            "{}: {up}/{all} switches{controller}, {whole}/{} cables, {} hosts",
            self.lab,
            self.links.len(),
            self.hosts.len()
        )
    }
}

fn links(lab: &Lab) -> Result<Vec<LinkStatus>, LabError> {
    let spec = lab.spec();
    let mut open: BTreeMap<String, Interfaces> = BTreeMap::new();
    let mut out = Vec::new();
    for (n, link) in spec.links.iter().enumerate() {
        let mut running = true;
        for end in [&link.a, &link.b] {
            let (namespace, interface) = layout::place(spec, n, end);
            if !open.contains_key(&namespace) {
                open.insert(namespace.clone(), lab.interfaces(&namespace)?);
            }
            let flags = open[&namespace].flags(&interface).doing(|| format!("reading {interface}"))?;
            running &= flags.up && flags.running;
        }
        let silent = lab.state().cuts.get(&n) == Some(&Cut::Silent);
        let state = match (running, silent) {
            (false, _) => LinkState::Down,
            (true, true) => LinkState::Silent,
            (true, false) => LinkState::Up,
        };
        out.push(LinkStatus { name: link.exact_name(), state });
    }
    Ok(out)
}

fn hosts(lab: &Lab) -> Vec<HostStatus> {
    let spec = lab.spec();
    let cabled_to = |name: &str| {
        let ends = spec.cables(name).into_iter().map(|l| {
            let link = &spec.links[l];
            if link.a.node() == name { link.b.to_string() } else { link.a.to_string() }
        });
        ends.collect::<Vec<_>>()
    };
    let plain = spec.hosts.iter().map(|h| HostStatus {
        name: h.name.clone(),
        cabled_to: cabled_to(&h.name),
        addresses: h.interfaces.iter().flat_map(|i| &i.addresses).map(ToString::to_string).collect(),
    });
    let users = spec.user_hosts.iter().flat_map(|u| {
        let cabled_to = cabled_to(&u.name);
        u.hosts.iter().map(move |h| HostStatus {
            name: format!("{}:{}", u.name, h.name),
            cabled_to: cabled_to.clone(),
            addresses: h.addresses.iter().map(ToString::to_string).collect(),
        })
    });
    plain.chain(users).collect()
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n", self.line())?;
        let mut processes = table(["PROCESS", "STATE", "PID"]);
        for p in &self.processes {
            let pid = p.pid.map_or_else(|| "-".to_owned(), |pid| pid.to_string());
            processes.add_row([p.name.clone(), word(&p.state), pid]);
        }
        let mut links = table(["CABLE", "STATE", ""]);
        for l in &self.links {
            links.add_row([l.name.clone(), word(&l.state), String::new()]);
        }
        let mut hosts = table(["HOST", "AT", "ADDRESSES"]);
        for h in &self.hosts {
            hosts.add_row([h.name.clone(), h.cabled_to.join(" "), h.addresses.join(" ")]);
        }
        write!(f, "{processes}\n\n{links}\n\n{hosts}")
    }
}

fn table(header: [&str; 3]) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_header(header);
    table
}

/// The name a state has in JSON.
fn word<T: Serialize>(value: &T) -> String {
    serde_json::to_value(value).ok().and_then(|v| v.as_str().map(str::to_owned)).unwrap_or_default()
}
