//! Interface flags and offloads by ioctl, and a socket that tells of changes.
#![allow(unsafe_code)] // ioctl(2) and netlink sockets have no safe form in std.

use super::{check, netns::NetNs};
use std::io;
use std::net::UdpSocket;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// A handle on the interfaces of one namespace.
#[derive(Debug)]
pub struct Interfaces {
    socket: UdpSocket,
}

/// What the kernel says of an interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Flags {
    /// Set up by the administrator.
    pub up: bool,
    /// Has carrier.
    pub running: bool,
}

impl Interfaces {
    /// Of the namespace given.
    pub fn of(ns: &NetNs) -> io::Result<Self> {
        ns.run(Self::here)?
    }

    /// Of the calling thread's namespace.
    pub fn here() -> io::Result<Self> {
        Ok(Self { socket: UdpSocket::bind("0.0.0.0:0")? })
    }

    pub fn flags(&self, name: &str) -> io::Result<Flags> {
        let bits = self.raw_flags(name)?;
        Ok(Flags { up: bits & libc::IFF_UP != 0, running: bits & libc::IFF_RUNNING != 0 })
    }

    /// `ip link set NAME up|down`, without starting a process.
    pub fn set_up(&self, name: &str, up: bool) -> io::Result<()> {
        let old = self.raw_flags(name)?;
        let new = if up { old | libc::IFF_UP } else { old & !libc::IFF_UP };
        let mut request = request(name)?;
        request.ifr_ifru.ifru_flags = new as libc::c_short;
        self.ioctl(libc::SIOCSIFFLAGS, &mut request)
    }

    pub fn index(&self, name: &str) -> io::Result<u32> {
        let mut request = request(name)?;
        self.ioctl(libc::SIOCGIFINDEX, &mut request)?;
        // SAFETY: the kernel filled this member for this request.
        Ok(unsafe { request.ifr_ifru.ifru_ifindex } as u32)
    }

    /// Turns transmit checksum, segmentation and receive aggregation off: a peer that knows no partial checksums (BMv2) sees
    /// whole packets.
    pub fn offloads_off(&self, name: &str) -> io::Result<()> {
        const SIOCETHTOOL: libc::c_ulong = 0x8946;
        /// ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO, ETHTOOL_STXCSUM of linux/ethtool.h.
        const OFF: [u32; 4] = [0x1f, 0x24, 0x2c, 0x17];
        for command in OFF {
            let mut value: [u32; 2] = [command, 0];
            let mut request = request(name)?;
            request.ifr_ifru.ifru_data = value.as_mut_ptr().cast();
            self.ioctl(SIOCETHTOOL, &mut request)?;
        }
        Ok(())
    }

    fn raw_flags(&self, name: &str) -> io::Result<libc::c_int> {
        let mut request = request(name)?;
        self.ioctl(libc::SIOCGIFFLAGS, &mut request)?;
        // SAFETY: the kernel filled this member for this request.
        Ok(libc::c_int::from(unsafe { request.ifr_ifru.ifru_flags } as u16))
    }

    fn ioctl(&self, number: libc::c_ulong, request: &mut libc::ifreq) -> io::Result<()> {
        // SAFETY: an open socket and a request that lives through the call.
        check(unsafe { libc::ioctl(self.socket.as_raw_fd(), number as _, request) }).map(drop)
    }
}

/// An ifreq with the name filled in; 15 bytes at most.
pub(crate) fn request(name: &str) -> io::Result<libc::ifreq> {
    // SAFETY: all-zero is a valid ifreq.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    if name.len() >= request.ifr_name.len() || name.is_empty() {
        let text = format!("interface name `{name}` has {} bytes; 1 to 15 are allowed", name.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// Becomes readable when an interface of the calling thread's namespace changes.
#[derive(Debug)]
pub struct LinkEvents {
    fd: OwnedFd,
}

impl LinkEvents {
    pub fn here() -> io::Result<Self> {
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // SAFETY: a plain call; the descriptor is owned at once.
        let fd = check(unsafe { libc::socket(libc::AF_NETLINK, kind, libc::NETLINK_ROUTE) })?;
        // SAFETY: just opened.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // SAFETY: all-zero is a valid address, filled below.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = libc::RTMGRP_LINK as u32;
        let length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
        // SAFETY: an address of the stated length.
        check(unsafe { libc::bind(fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(Self { fd })
    }

    /// Throws away what is queued; the caller looks at the interfaces afterwards.
    pub fn drain(&self) {
        let mut buffer = [0u8; 8192];
        loop {
            // SAFETY: the buffer's own length is given.
            let n = unsafe { libc::recv(self.fd.as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), 0) };
            let overrun = n < 0 && io::Error::last_os_error().raw_os_error() == Some(libc::ENOBUFS);
            if n <= 0 && !overrun {
                return;
            }
        }
    }
}

impl AsRawFd for LinkEvents {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.fd.as_raw_fd()
    }
}
