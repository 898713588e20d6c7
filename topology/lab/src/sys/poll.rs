//! poll(2) with a timeout in `Duration`.
#![allow(unsafe_code)] // poll(2) has no safe form in std.

use super::check;
use std::io;
use std::os::fd::RawFd;
use std::time::Duration;

/// An entry that waits for `fd` to have something to read.
pub fn readable(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Waits for any of them; without a timeout, for ever. Returns how many are ready; an interrupted wait counts as none.
pub fn wait(fds: &mut [libc::pollfd], timeout: Option<Duration>) -> io::Result<usize> {
    let limit = timeout.map(|t| libc::timespec {
        tv_sec: libc::time_t::try_from(t.as_secs()).unwrap_or(libc::time_t::MAX),
        tv_nsec: libc::c_long::from(t.subsec_nanos()),
    });
    let limit = limit.as_ref().map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the slice outlives the call and its length is given; the time, when there is one, lives until the end.
    let ready = unsafe { libc::ppoll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, limit, std::ptr::null()) };
    match check(ready) {
        Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(0),
        other => Ok(other? as usize),
    }
}

/// Whether poll marked this entry.
pub fn is_ready(fd: &libc::pollfd) -> bool {
    fd.revents != 0
}

/// Lets the calling thread's sleeps end on time: the kernel may otherwise stretch each by 50 us.
pub fn precise_sleep() {
    // SAFETY: PR_SET_TIMERSLACK takes one number and touches only this thread.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1 as libc::c_ulong) };
}
