//! The user-space end of a TAP interface.
#![allow(unsafe_code)] // TUNSETIFF and the other ioctls have no safe form in std.

use super::packet::{VnetHeader, send_with_header, transient};
use super::{check, check_size, iface};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::fs::OpenOptionsExt;

/// A TAP of the calling thread's namespace, attached to (or created) by name.
#[derive(Debug)]
pub struct Tap {
    file: File,
}

impl Tap {
    /// Attaches; the interface has carrier from now on. No offloads towards us: frames read are complete.
    pub fn open(name: &str) -> io::Result<Self> {
        const IFF_TAP: i32 = 0x0002;
        const IFF_NO_PI: i32 = 0x1000;
        const IFF_VNET_HDR: i32 = 0x4000;
        let options = libc::O_NONBLOCK | libc::O_CLOEXEC;
        let file = OpenOptions::new().read(true).write(true).custom_flags(options).open("/dev/net/tun")?;
        let mut request = iface::request(name)?;
        request.ifr_ifru.ifru_flags = (IFF_TAP | IFF_NO_PI | IFF_VNET_HDR) as libc::c_short;
        // SAFETY: an open descriptor and a request that lives through the call.
        check(unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF as _, &raw mut request) })?;
        Ok(Self { file })
    }

    /// Reads one frame; `None` when there is none.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<(usize, VnetHeader)>> {
        let mut vnet = VnetHeader::default();
        let parts = [
            libc::iovec { iov_base: (&raw mut vnet).cast(), iov_len: size_of::<VnetHeader>() },
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
        ];
        // SAFETY: both parts are valid for their lengths.
        match check_size(unsafe { libc::readv(self.file.as_raw_fd(), parts.as_ptr(), 2) }) {
            Ok(n) => Ok(Some((n.saturating_sub(size_of::<VnetHeader>()), vnet))),
            Err(error) if transient(&error) || error.raw_os_error() == Some(libc::EBADFD) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Hands a frame to the kernel; `Ok(false)` when the interface is down.
    pub fn send(&self, vnet: &VnetHeader, frame: &[u8]) -> io::Result<bool> {
        match send_with_header(self.file.as_raw_fd(), vnet, frame) {
            // A malformed offload header of the peer: that frame is lost, not the interface.
            Err(error) if error.kind() == io::ErrorKind::InvalidInput => Ok(false),
            other => other,
        }
    }

    /// Shows the host whether its cable is plugged in.
    pub fn set_carrier(&self, on: bool) -> io::Result<()> {
        /// `_IOW('T', 226, int)`.
        const TUNSETCARRIER: libc::c_ulong = 0x4004_54e2;
        let value = libc::c_int::from(on);
        // SAFETY: an open descriptor and a pointer to an int.
        check(unsafe { libc::ioctl(self.file.as_raw_fd(), TUNSETCARRIER as _, &raw const value) }).map(drop)
    }
}

impl AsRawFd for Tap {
    fn as_raw_fd(&self) -> RawFd {
        self.file.as_raw_fd()
    }
}
