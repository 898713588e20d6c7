//! What is known of a running lab, on disk, so that another command (or the same one after a crash) can go on with it.

use crate::error::{Doing, LabError};
use crate::spec::LabSpec;
use crate::sys::process::ProcId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

/// The state file's contents.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct State {
    pub format: u32,
    pub spec: LabSpec,
    /// The process that builds the lab or holds it in the foreground.
    pub owner: Option<ProcId>,
    /// Built completely.
    pub complete: bool,
    /// By name: `leaf1`, `controller`, `shim:h1`, `proxy` ...
    pub processes: BTreeMap<String, Process>,
    /// Cut cables by index into the spec's links.
    pub cuts: BTreeMap<usize, Cut>,
}

/// How a cable is cut.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Cut {
    /// Both ends lose carrier.
    Loud,
    /// Both ends keep carrier and nothing arrives.
    Silent,
}

/// One process of the lab; enough to start it again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Process {
    pub role: Role,
    pub namespace: String,
    pub program: PathBuf,
    pub args: Vec<String>,
    pub log: PathBuf,
    /// `None` when it was ended on purpose.
    pub id: Option<ProcId>,
    /// Its ports were switched off with it.
    #[serde(default)]
    pub power_off: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    Switch,
    Controller,
    Shim,
    UserHosts,
    Dhcp,
    Proxy,
}

/// The folder under which labs keep theirs: PERGOLA_RUN_DIR, `/run/pergola`, or `$XDG_RUNTIME_DIR/pergola` without root.
pub fn base() -> PathBuf {
    if let Some(path) = std::env::var_os("PERGOLA_RUN_DIR").filter(|v| !v.is_empty()) {
        return path.into();
    }
    if crate::rootless::is_real_root() {
        return "/run/pergola".into();
    }
    match std::env::var_os("XDG_RUNTIME_DIR").filter(|v| Path::new(v).is_dir()) {
        Some(path) => Path::new(&path).join("pergola"),
        None => std::env::temp_dir().join(format!("pergola-{}", crate::rootless::outer_uid())),
    }
}

/// A lab's folder.
pub fn folder(lab: &str) -> PathBuf {
    base().join(lab)
}

/// Labs that have a folder.
pub fn labs() -> Vec<String> {
    let entries = fs::read_dir(base()).map(|d| d.flatten().collect::<Vec<_>>()).unwrap_or_default();
    let mut names: Vec<String> = entries.into_iter().filter_map(|e| e.file_name().into_string().ok()).collect();
    names.sort();
    names
}

impl State {
    pub fn new(spec: LabSpec) -> Self {
        Self {
            format: 1,
            spec,
            owner: ProcId::own(),
            complete: false,
            processes: BTreeMap::new(),
            cuts: BTreeMap::new(),
        }
    }

    pub fn load(folder: &Path) -> Result<Self, LabError> {
        let path = folder.join("state.json");
        let text = fs::read_to_string(&path).doing(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).map_err(|e| LabError::spec(path.display().to_string(), e, "what `lab up` wrote"))
    }

    /// Writes it whole or not at all.
    pub fn save(&self, folder: &Path) -> Result<(), LabError> {
        let (path, new) = (folder.join("state.json"), folder.join("state.json.new"));
        let text = serde_json::to_string_pretty(self).map_err(|e| LabError::spec("state", e, "JSON"))?;
        fs::write(&new, text).and_then(|()| fs::rename(&new, &path)).doing(|| format!("writing {}", path.display()))
    }

    /// Something of it runs or is being built.
    pub fn alive(&self) -> bool {
        let building = !self.complete && self.owner.is_some_and(|o| o.alive() && Some(o) != ProcId::own());
        building || self.running().next().is_some()
    }

    /// The processes that run.
    pub fn running(&self) -> impl Iterator<Item = ProcId> + '_ {
        self.processes.values().filter_map(|p| p.id).filter(ProcId::alive)
    }
}

/// Held while a lab is changed, so that two commands do not meet.
pub fn lock(folder: &Path) -> Result<File, LabError> {
    let path = folder.join("lock");
    let file = File::create(&path).doing(|| format!("opening {}", path.display()))?;
    file.lock().doing(|| format!("locking {}", path.display()))?;
    Ok(file)
}

/// The last lines of a log, for an error.
pub fn tail(path: &Path, lines: usize) -> String {
    let text = fs::read_to_string(path).unwrap_or_default();
    let all: Vec<&str> = text.lines().collect();
    all[all.len().saturating_sub(lines)..].join("\n")
}
