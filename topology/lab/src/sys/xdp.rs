//! A cable that is cut but still looks lit: an XDP program of two instructions drops what arrives, before any raw socket.
#![allow(unsafe_code)] // bpf(2) has no safe form in std.

use super::check;
use super::rtnetlink::{NESTED, attribute, set_link};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;

/// Starts or stops dropping on an interface of the calling thread's namespace. Needs CAP_BPF in the first user namespace.
pub fn set_drop(index: u32, drop: bool) -> io::Result<()> {
    let program = if drop { Some(load()?) } else { None };
    let fd = program.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    attach(index, fd)
}

/// The start of `union bpf_attr` as BPF_PROG_LOAD reads it.
#[repr(C)]
struct LoadAttr {
    prog_type: u32,
    insn_count: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
}

fn load() -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_XDP: u32 = 6;
    /// `r0 = XDP_DROP; exit`, eight bytes each: opcode, registers, offset, immediate.
    const DROP: [u64; 2] =
        [u64::from_ne_bytes([0xb7, 0, 0, 0, 1, 0, 0, 0]), u64::from_ne_bytes([0x95, 0, 0, 0, 0, 0, 0, 0])];
    let license = c"Apache-2.0";
    let attr = LoadAttr {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_count: DROP.len() as u32,
        insns: DROP.as_ptr() as u64,
        license: license.as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log_buf: 0,
        kern_version: 0,
        prog_flags: 0,
    };
    // SAFETY: the attribute and what it points at outlive the call; its size is given.
    let fd = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const attr, size_of::<LoadAttr>()) };
    let fd = check(fd as libc::c_int)?;
    // SAFETY: just opened.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// A nested IFLA_XDP; descriptor -1 detaches.
fn attach(index: u32, fd: i32) -> io::Result<()> {
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_FD: u16 = 1;
    const IFLA_XDP_FLAGS: u16 = 3;
    let mut nested = attribute(IFLA_XDP_FD, &fd.to_ne_bytes());
    nested.extend(attribute(IFLA_XDP_FLAGS, &XDP_FLAGS_SKB_MODE.to_ne_bytes()));
    set_link(index, &attribute(IFLA_XDP | NESTED, &nested))
}
