//! What the lab needs of the kernel: namespaces, processes, interfaces, raw frames. The only files here with `unsafe`.

pub mod iface;
pub mod netns;
pub mod packet;
pub mod poll;
pub mod process;
pub mod rtnetlink;
pub mod tap;
pub mod xdp;

use std::io;

/// Turns the kernel's `-1` into the error it stands for.
pub(crate) fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}

/// The same for calls that return a size.
pub(crate) fn check_size(result: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(result).map_err(|_| io::Error::last_os_error())
}
