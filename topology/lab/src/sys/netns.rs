//! Network namespaces by name: make, list, delete, run a closure or a command inside one.
#![allow(unsafe_code)] // setns(2), mount(2) and `pre_exec` have no safe form in std.

use super::check;
use std::ffi::{CStr, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::thread;

/// Where `ip netns` keeps its names; ours are there too, so that `ip netns exec` finds them.
pub const DIRECTORY: &str = "/run/netns";

/// An open network namespace.
#[derive(Clone, Debug)]
pub struct NetNs {
    file: Arc<File>,
}

/// Device and inode number: equal for two handles of one namespace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NsId {
    device: u64,
    inode: u64,
}

impl NetNs {
    /// Opens a named namespace.
    pub fn open(name: &str) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open(Path::new(DIRECTORY).join(name))?) })
    }

    /// The namespace of the calling thread.
    pub fn current() -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open("/proc/thread-self/ns/net")?) })
    }

    /// What tells this namespace from another.
    pub fn id(&self) -> io::Result<NsId> {
        let meta = self.file.metadata()?;
        Ok(NsId { device: meta.dev(), inode: meta.ino() })
    }

    /// The namespace a process's main thread is in.
    pub fn id_of_process(pid: i32) -> io::Result<NsId> {
        let meta = std::fs::metadata(format!("/proc/{pid}/ns/net"))?;
        Ok(NsId { device: meta.dev(), inode: meta.ino() })
    }

    /// Moves the calling thread, and what it starts from now on, into this namespace.
    pub fn enter(&self) -> io::Result<()> {
        enter_fd(self.file.as_raw_fd())
    }

    /// Runs `f` on a short-lived thread inside this namespace. Sockets opened there stay there, and may be used from any
    /// thread afterwards.
    pub fn run<T: Send>(&self, f: impl FnOnce() -> T + Send) -> io::Result<T> {
        thread::scope(|scope| {
            let inside = scope.spawn(|| {
                self.enter()?;
                Ok(f())
            });
            inside.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A command that starts inside this namespace, with a `/sys` that shows the namespace's interfaces.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        let file = Arc::clone(&self.file);
        // SAFETY: only system calls on values made before the fork; nothing allocates or takes a lock.
        unsafe {
            command.pre_exec(move || {
                enter_fd(file.as_raw_fd())?;
                own_sysfs();
                Ok(())
            });
        }
        command
    }
}

/// Makes `command` the leader of its own session, so that Ctrl-C in our terminal does not reach it.
pub fn detach(command: &mut Command) {
    // SAFETY: setsid only.
    unsafe {
        command.pre_exec(|| {
            libc::setsid();
            Ok(())
        });
    }
}

/// The names in `/run/netns` that `wanted` accepts.
pub fn list(wanted: impl Fn(&str) -> bool) -> Vec<String> {
    let Ok(entries) = std::fs::read_dir(DIRECTORY) else { return Vec::new() };
    let names = entries.flatten().filter_map(|e| e.file_name().into_string().ok());
    let mut names: Vec<String> = names.filter(|n| wanted(n)).collect();
    names.sort();
    names
}

/// Removes a name. The namespace ends when its last process and socket are gone. A missing name is no error.
pub fn remove(name: &str) -> io::Result<()> {
    let path = Path::new(DIRECTORY).join(name);
    let c_path = std::ffi::CString::new(path.as_os_str().as_encoded_bytes())?;
    // SAFETY: a valid C string.
    unsafe { libc::umount2(c_path.as_ptr(), libc::MNT_DETACH) };
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn enter_fd(fd: RawFd) -> io::Result<()> {
    // SAFETY: an open descriptor.
    check(unsafe { libc::setns(fd, libc::CLONE_NEWNET) }).map(drop)
}

/// sysfs shows the interfaces of the namespace it was mounted in, so a process in another one wants its own mount. Where that
/// is not allowed the old view stays: only programs that read `/sys/class/net` notice.
fn own_sysfs() {
    const NONE: &CStr = c"none";
    const ROOT: &CStr = c"/";
    const SYS: &CStr = c"/sys";
    const SYSFS: &CStr = c"sysfs";
    // SAFETY: constant C strings; a failure leaves things as they were.
    unsafe {
        if libc::unshare(libc::CLONE_NEWNS) != 0 {
            return;
        }
        let slave = libc::MS_REC | libc::MS_SLAVE;
        if libc::mount(NONE.as_ptr(), ROOT.as_ptr(), std::ptr::null(), slave, std::ptr::null()) == 0 {
            libc::mount(SYSFS.as_ptr(), SYS.as_ptr(), SYSFS.as_ptr(), 0, std::ptr::null());
        }
    }
}
