//! Taking a lab down so that nothing is left, whatever state it is in: with its folder or without, half built or crashed.

use crate::error::{Doing, LabError};
use crate::layout;
use crate::state::{self, State};
use crate::sys::netns::{self, NetNs};
use crate::sys::process::{self, ProcId};
use std::collections::BTreeSet;
use std::time::Duration;

/// What `down` removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    pub processes: usize,
    pub namespaces: usize,
    pub folder: bool,
}

/// Ends the processes written down and every other in the lab's namespaces, then removes the namespaces (their cables go
/// with them) and the folder. Finding nothing is no error.
pub fn down(lab: &str) -> Result<Removed, LabError> {
    let folder = state::folder(lab);
    let names = netns::list(|n| layout::belongs(lab, n));
    let mut removed = Removed { namespaces: names.len(), ..Removed::default() };

    let ids: Vec<_> = names.iter().filter_map(|n| NetNs::open(n).ok()?.id().ok()).collect();
    let mut pids = BTreeSet::new();
    let mut all: Vec<ProcId> = Vec::new();
    let written: Vec<ProcId> = State::load(&folder).map(|s| s.running().collect()).unwrap_or_default();
    // A second look finds what a dying process started meanwhile.
    for round in 0..3 {
        let found = process::inside(&ids).into_iter().chain(if round == 0 { written.clone() } else { Vec::new() });
        let new: Vec<ProcId> = found.filter(|p| pids.insert((p.pid, p.start_ticks))).collect();
        if new.is_empty() {
            break;
        }
        all.extend(process::end_all(&new, Duration::from_secs(2)));
        removed.processes = pids.len();
    }
    if let Some(stuck) = all.iter().find(|p| p.alive()) {
        let what = format!("process {} does not end", stuck.pid);
        return Err(LabError::Process { name: lab.to_owned(), what, log: String::new() });
    }
    for name in &names {
        netns::remove(name).doing(|| format!("removing namespace {name}"))?;
    }
    if folder.exists() {
        std::fs::remove_dir_all(&folder).doing(|| format!("removing {}", folder.display()))?;
        removed.folder = true;
    }
    // The last lab takes the common folder along; with others there it is not empty and stays.
    let _ = std::fs::remove_dir(state::base());
    Ok(removed)
}

/// Names of all labs that left anything, running or not.
pub fn known() -> Vec<String> {
    let of_namespaces = netns::list(|n| layout::lab_of(n).is_some());
    let mut names: BTreeSet<String> = state::labs().into_iter().collect();
    names.extend(of_namespaces.iter().filter_map(|n| layout::lab_of(n)).map(str::to_owned));
    names.into_iter().collect()
}
