//! Labs without root: inside a user namespace of the caller's own, where the kernel allows one.
//!
//! `lab up` starts itself again in new user, mount and network namespaces, with an empty `/run` for the names of network
//! namespaces. Later commands join those of a process of the lab. What needs the machine's own root says so.
#![allow(unsafe_code)] // unshare(2), setns(2), mount(2) and `pre_exec` have no safe form in std.

use crate::error::{Doing, LabError};
use crate::state::{self, State};
use crate::sys::check;
use std::ffi::CStr;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, IntoRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitStatus};

/// Set in a process that runs inside the user namespace, to the caller's uid outside.
const INSIDE: &str = "PERGOLA_LAB_INSIDE_UID";
/// The lab's state folder as the outside sees it.
const RUN_DIR: &str = "PERGOLA_RUN_DIR";
/// Listening sockets opened outside, `FD=ADDRESS,...`.
pub const LISTENERS: &str = "PERGOLA_LAB_LISTENERS";

/// Whether this process was started inside a user namespace by [`enter`] or [`join`].
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Root of the machine, as opposed to root of a user namespace of ours.
pub fn is_real_root() -> bool {
    !is_inside() && uid() == 0
}

/// The caller's uid on the machine.
pub fn outer_uid() -> u32 {
    std::env::var(INSIDE).ok().and_then(|v| v.parse().ok()).unwrap_or_else(uid)
}

fn uid() -> u32 {
    fs::metadata("/proc/self").map_or(u32::MAX, |m| m.uid())
}

/// Building namespaces needs CAP_SYS_ADMIN and CAP_NET_ADMIN, here or in a user namespace of ours.
pub(crate) fn require_privilege() -> Result<(), LabError> {
    if is_inside() || uid() == 0 {
        return Ok(());
    }
    Err(LabError::Privilege(
        "not root: network namespaces need it. `pergola lab up` enters a user namespace by itself; a \
         program that calls Lab::up has to run as root or under `unshare -Urnm`"
            .to_owned(),
    ))
}

/// Whether a command has to go through a user namespace: neither root nor inside already.
pub fn needed() -> bool {
    !is_inside() && uid() != 0
}

/// Runs this program again with the same arguments in new namespaces. Forwards are listened on out here, since a socket
/// belongs to the network it was opened in, and handed in.
pub fn enter(listen: &[std::net::SocketAddr]) -> Result<ExitStatus, LabError> {
    let mut handed = Vec::new();
    for address in listen {
        let socket = std::net::TcpListener::bind(address).doing(|| format!("listening on {address}"))?;
        keep_open(socket.as_raw_fd()).doing(|| "handing a socket over".into())?;
        handed.push(format!("{}={address}", socket.into_raw_fd()));
    }
    let uid = uid();
    let gid = fs::metadata("/proc/self").map_or(u32::MAX, |m| m.gid());
    let (uid_map, gid_map) = (format!("0 {uid} 1\n"), format!("0 {gid} 1\n"));
    let base = state::base();
    fs::create_dir_all(&base).doing(|| format!("making {}", base.display()))?;
    let mut command = own_command()?;
    command.env(INSIDE, uid.to_string()).env(RUN_DIR, &base).env(LISTENERS, handed.join(","));
    // SAFETY: system calls on values made before the fork; nothing allocates.
    unsafe {
        command.pre_exec(move || {
            check(libc::unshare(libc::CLONE_NEWUSER))?;
            write_file(c"/proc/self/setgroups", b"deny")?;
            write_file(c"/proc/self/uid_map", uid_map.as_bytes())?;
            write_file(c"/proc/self/gid_map", gid_map.as_bytes())?;
            check(libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET))?;
            private_run()
        });
    }
    match command.status() {
        Err(error)
            if matches!(error.raw_os_error(), Some(libc::EPERM | libc::ENOSPC | libc::EINVAL | libc::EACCES)) =>
        {
            Err(LabError::Privilege(format!(
                "not root, and this kernel refuses an unprivileged user namespace ({error}); run as root, or allow them: \
                 sysctl kernel.unprivileged_userns_clone=1, user.max_user_namespaces, or AppArmor's restriction"
            )))
        }
        other => other.doing(|| "starting inside a user namespace".into()),
    }
}

/// Runs this program again inside the namespaces of a lab that is up.
pub fn join(lab: &str) -> Result<ExitStatus, LabError> {
    let folder = state::folder(lab);
    let state = State::load(&folder)
        .map_err(|_| LabError::NotFound { name: lab.to_owned(), known: "it left no state".into() })?;
    let gone = || LabError::NotFound { name: lab.to_owned(), known: "none of its processes runs".into() };
    let keeper = state.running().next().ok_or_else(gone)?;
    let open = |kind: &str| {
        File::open(format!("/proc/{}/ns/{kind}", keeper.pid)).doing(|| format!("opening the lab's {kind} namespace"))
    };
    let (user, mount) = (open("user")?, open("mnt")?);
    let mut command = own_command()?;
    command.env(INSIDE, uid().to_string()).env(RUN_DIR, state::base());
    let here = std::env::current_dir().unwrap_or_else(|_| "/".into());
    // SAFETY: setns on descriptors opened before the fork.
    unsafe {
        command.pre_exec(move || {
            check(libc::setns(user.as_raw_fd(), libc::CLONE_NEWUSER))?;
            check(libc::setns(mount.as_raw_fd(), libc::CLONE_NEWNS))?;
            Ok(())
        });
    }
    command.current_dir(here);
    command.status().doing(|| format!("joining lab {lab}"))
}

fn own_command() -> Result<Command, LabError> {
    let program = std::env::current_exe().doing(|| "finding our own program".into())?;
    let mut command = Command::new(program);
    command.args(std::env::args_os().skip(1));
    Ok(command)
}

fn keep_open(fd: RawFd) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::fcntl(fd, libc::F_SETFD, 0) }).map(drop)
}

/// An own `/run` where names of network namespaces can be made, with the users' folders still in it.
fn private_run() -> io::Result<()> {
    const TMPFS: &CStr = c"tmpfs";
    let none = std::ptr::null();
    // SAFETY: constant C strings and descriptors checked before use.
    unsafe {
        let private = libc::MS_REC | libc::MS_PRIVATE;
        check(libc::mount(c"none".as_ptr(), c"/".as_ptr(), none, private, none.cast()))?;
        let users = libc::open(c"/run/user".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        let own = libc::open(c"/run/pergola".as_ptr(), libc::O_PATH | libc::O_CLOEXEC);
        check(libc::mount(TMPFS.as_ptr(), c"/run".as_ptr(), TMPFS.as_ptr(), 0, c"mode=755".as_ptr().cast()))?;
        check(libc::mkdir(c"/run/netns".as_ptr(), 0o755))?;
        for (fd, path) in [(users, c"/run/user"), (own, c"/run/pergola")] {
            if fd >= 0 {
                check(libc::mkdir(path.as_ptr(), 0o755))?;
                let mut source = *b"/proc/self/fd/\0\0\0\0\0\0\0\0\0\0\0\0";
                write_number(&mut source[14..25], fd);
                check(libc::mount(
                    source.as_ptr().cast(),
                    path.as_ptr(),
                    none,
                    libc::MS_BIND | libc::MS_REC,
                    none.cast(),
                ))?;
                libc::close(fd);
            }
        }
    }
    Ok(())
}

/// Decimal without allocation.
fn write_number(to: &mut [u8], number: RawFd) {
    let mut digits = [0u8; 10];
    let mut rest = number.unsigned_abs();
    let mut n = 0;
    loop {
        digits[n] = b'0' + (rest % 10) as u8;
        rest /= 10;
        n += 1;
        if rest == 0 {
            break;
        }
    }
    for (to, from) in to.iter_mut().zip(digits[..n].iter().rev()) {
        *to = *from;
    }
}

fn write_file(path: &CStr, text: &[u8]) -> io::Result<()> {
    // SAFETY: a constant path and a buffer of the stated length.
    unsafe {
        let fd = check(libc::open(path.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC))?;
        let done = libc::write(fd, text.as_ptr().cast(), text.len());
        let error = io::Error::last_os_error();
        libc::close(fd);
        if done < 0 { Err(error) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers() {
        for n in [0, 7, 10, 1024, i32::MAX] {
            let mut to = [0u8; 11];
            write_number(&mut to, n);
            assert_eq!(String::from_utf8_lossy(&to).trim_end_matches('\0'), n.to_string());
        }
    }
}
