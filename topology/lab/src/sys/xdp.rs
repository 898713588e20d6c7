//! A cable that is cut but still looks lit: an XDP program of two instructions drops what arrives, before any raw socket.
#![allow(unsafe_code)] // bpf(2) and rtnetlink messages have no safe form in std.

use super::check;
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

/// RTM_SETLINK with a nested IFLA_XDP; descriptor -1 detaches.
fn attach(index: u32, fd: i32) -> io::Result<()> {
    const IFLA_XDP: u16 = 43;
    const IFLA_XDP_FD: u16 = 1;
    const IFLA_XDP_FLAGS: u16 = 3;
    let mut nested = attribute(IFLA_XDP_FD, &fd.to_ne_bytes());
    nested.extend(attribute(IFLA_XDP_FLAGS, &XDP_FLAGS_SKB_MODE.to_ne_bytes()));
    let xdp = attribute(IFLA_XDP | 0x8000, &nested);

    let total = 16 + 16 + xdp.len();
    let mut message = Vec::with_capacity(total);
    message.extend((total as u32).to_ne_bytes());
    message.extend(libc::RTM_SETLINK.to_ne_bytes());
    message.extend(((libc::NLM_F_REQUEST | libc::NLM_F_ACK) as u16).to_ne_bytes());
    message.extend([0; 8]); // sequence, sender
    message.extend([0; 4]); // family, padding, device type
    message.extend(index.to_ne_bytes());
    message.extend([0; 8]); // flags, change mask
    message.extend(xdp);
    acknowledged(&message)
}

fn attribute(kind: u16, payload: &[u8]) -> Vec<u8> {
    let mut out = ((4 + payload.len()) as u16).to_ne_bytes().to_vec();
    out.extend(kind.to_ne_bytes());
    out.extend(payload);
    out.resize(out.len().next_multiple_of(4), 0);
    out
}

fn acknowledged(message: &[u8]) -> io::Result<()> {
    // SAFETY: plain calls on a descriptor owned at once and buffers of the stated lengths.
    let mut answer = [0u8; 4096];
    let n = unsafe {
        let fd = check(libc::socket(libc::AF_NETLINK, libc::SOCK_RAW | libc::SOCK_CLOEXEC, libc::NETLINK_ROUTE))?;
        let socket = OwnedFd::from_raw_fd(fd);
        super::check_size(libc::send(socket.as_raw_fd(), message.as_ptr().cast(), message.len(), 0))?;
        super::check_size(libc::recv(socket.as_raw_fd(), answer.as_mut_ptr().cast(), answer.len(), 0))?
    };
    let code = answer
        .get(16..20)
        .filter(|_| n >= 20)
        .and_then(|b| b.try_into().ok())
        .map_or(-libc::EPROTO, i32::from_ne_bytes);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}
