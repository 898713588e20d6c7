//! Processes told apart by number and start time, so that a number used again is never mistaken for ours.
#![allow(unsafe_code)] // pidfd_open(2), pidfd_send_signal(2) and waitpid(2) by number have no safe form in std.

use super::check;
use super::netns::{NetNs, NsId};
use super::poll;
use serde::{Deserialize, Serialize};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

/// From here on this process ends without a word when what it writes is no longer read, as in `... | head`.
pub fn end_on_broken_pipe() {
    // SAFETY: no handler is installed, only the default put back.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_DFL) };
}

/// One process: its number and when it started, in clock ticks since boot (`/proc/PID/stat` field 22).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcId {
    pub pid: i32,
    pub start_ticks: u64,
}

impl ProcId {
    /// The process that has this number now.
    pub fn of(pid: i32) -> Option<Self> {
        stat(pid).map(|(_, start_ticks)| Self { pid, start_ticks })
    }

    /// The calling process.
    pub fn own() -> Option<Self> {
        i32::try_from(std::process::id()).ok().and_then(Self::of)
    }

    /// Whether it still runs. A zombie does not.
    pub fn alive(&self) -> bool {
        stat(self.pid).is_some_and(|(state, start)| start == self.start_ticks && !matches!(state, 'Z' | 'X'))
    }

    /// Sends a signal if it still is the same process; `Ok(false)` when it is gone.
    pub fn signal(&self, signal: i32) -> io::Result<bool> {
        let Some(fd) = self.handle() else { return Ok(false) };
        let no_info = std::ptr::null::<libc::siginfo_t>();
        // SAFETY: an open pidfd, and a null siginfo as the manual allows.
        let sent = unsafe { libc::syscall(libc::SYS_pidfd_send_signal, fd.as_raw_fd(), signal, no_info, 0) };
        match sent {
            0 => Ok(true),
            _ => match io::Error::last_os_error() {
                error if error.raw_os_error() == Some(libc::ESRCH) => Ok(false),
                error => Err(error),
            },
        }
    }

    /// Waits until it has ended, at most `timeout`; true when it has. Reaps it when it is our child.
    pub fn wait_gone(&self, timeout: Duration) -> bool {
        if let Some(fd) = self.handle() {
            let mut fds = [poll::readable(fd.as_raw_fd())];
            if !matches!(poll::wait(&mut fds, Some(timeout)), Ok(n) if n > 0) {
                return false;
            }
        }
        // SAFETY: fails with ECHILD, harmlessly, for a process that is not our child.
        unsafe { libc::waitpid(self.pid, std::ptr::null_mut(), libc::WNOHANG) };
        true
    }

    /// A pidfd, if the number still means this process.
    pub fn handle(&self) -> Option<OwnedFd> {
        // SAFETY: a plain call; the descriptor is owned from here on.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, self.pid, 0) };
        let fd = check(libc::c_int::try_from(fd).ok()?).ok()?;
        // SAFETY: just opened, owned by nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        (stat(self.pid)?.1 == self.start_ticks).then_some(fd)
    }
}

/// Ends all of them: SIGTERM, up to `grace` for each to go, then SIGKILL. Returns those that are still there.
pub fn end_all(processes: &[ProcId], grace: Duration) -> Vec<ProcId> {
    for process in processes {
        let _ = process.signal(libc::SIGTERM);
    }
    let deadline = std::time::Instant::now() + grace;
    for process in processes {
        let left = deadline.saturating_duration_since(std::time::Instant::now());
        if !process.wait_gone(left) {
            let _ = process.signal(libc::SIGKILL);
        }
    }
    processes.iter().filter(|p| !p.wait_gone(Duration::from_secs(2))).copied().collect()
}

/// Every process but this one whose main thread is in one of these namespaces.
pub fn inside(namespaces: &[NsId]) -> Vec<ProcId> {
    let own = i32::try_from(std::process::id()).unwrap_or(0);
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|e| e.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|&pid| pid != own)
        .filter(|&pid| NetNs::id_of_process(pid).is_ok_and(|id| namespaces.contains(&id)))
        .filter_map(ProcId::of)
        .collect()
}

/// State letter and start time. The command name, in brackets, may hold anything: fields count from the last bracket.
fn stat(pid: i32) -> Option<(char, u64)> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = text.rsplit_once(')')?.1.split_ascii_whitespace();
    let state = fields.next()?.chars().next()?;
    Some((state, fields.nth(18)?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn ends_only_the_process_it_means() {
        let mut child = Command::new("sleep").arg("60").spawn().unwrap();
        let id = ProcId::of(child.id() as i32).unwrap();
        assert!(id.alive());
        let other = ProcId { start_ticks: id.start_ticks + 1, ..id };
        assert!(!other.signal(libc::SIGKILL).unwrap());
        assert!(!other.alive() && id.alive());
        assert!(!id.wait_gone(Duration::from_millis(10)));
        assert_eq!(end_all(&[id], Duration::from_secs(2)), vec![]);
        assert!(!id.alive());
        let _ = child.wait();
    }
}
