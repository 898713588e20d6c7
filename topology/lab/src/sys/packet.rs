//! Raw frames of one interface, with the kernel's offload header and the VLAN tag it takes off on receipt.
#![allow(unsafe_code)] // AF_PACKET sockets and ancillary data have no safe form in std.

use super::{check, check_size, iface::Interfaces};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

/// Largest frame with offloads on, and room for tags.
pub const MAX_FRAME: usize = 65_536 + 256;
/// Bytes kept free before a received frame, for tags pushed later.
pub const HEADROOM: usize = 16;

/// `struct virtio_net_hdr`: what checksum and segmentation work is still to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(C)]
pub struct VnetHeader {
    pub flags: u8,
    pub gso_type: u8,
    pub hdr_len: u16,
    pub gso_size: u16,
    pub csum_start: u16,
    pub csum_offset: u16,
}

/// The frame's checksum is to be filled in from `csum_start` on.
const NEEDS_CSUM: u8 = 1;

impl VnetHeader {
    /// Follows headers that grew (positive) or shrank by so many bytes.
    pub fn shift(&mut self, bytes: i16) {
        if self.flags & NEEDS_CSUM != 0 {
            self.csum_start = self.csum_start.wrapping_add_signed(bytes);
        }
        if self.hdr_len != 0 {
            self.hdr_len = self.hdr_len.wrapping_add_signed(bytes);
        }
    }
}

/// A tag that the kernel took off: protocol and control information.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StrippedTag {
    pub tpid: u16,
    pub tci: u16,
}

/// A raw socket on one interface: sees every frame that arrives there, none that we send.
#[derive(Debug)]
pub struct PacketSocket {
    fd: OwnedFd,
}

impl PacketSocket {
    /// Opens it on an interface of the calling thread's namespace; promiscuous, non-blocking.
    pub fn open(interface: &str) -> io::Result<Self> {
        let index = Interfaces::here()?.index(interface)?;
        let kind = libc::SOCK_RAW | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
        // Protocol 0 until bound: no frame of another interface slips in between.
        // SAFETY: a plain call; the descriptor is owned at once.
        let fd = check(unsafe { libc::socket(libc::AF_PACKET, kind, 0) })?;
        // SAFETY: just opened.
        let socket = Self { fd: unsafe { OwnedFd::from_raw_fd(fd) } };
        socket.set(libc::SOL_PACKET, libc::PACKET_VNET_HDR, &1i32)?;
        socket.set(libc::SOL_PACKET, libc::PACKET_AUXDATA, &1i32)?;
        const PACKET_IGNORE_OUTGOING: libc::c_int = 23;
        socket.set(libc::SOL_PACKET, PACKET_IGNORE_OUTGOING, &1i32)?;
        socket
            .set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &(8 << 20))
            .or_else(|_| socket.set(libc::SOL_SOCKET, libc::SO_RCVBUF, &(8 << 20)))?;
        // SAFETY: all-zero is a valid request, filled below.
        let mut promiscuous: libc::packet_mreq = unsafe { std::mem::zeroed() };
        promiscuous.mr_ifindex = index as libc::c_int;
        promiscuous.mr_type = libc::PACKET_MR_PROMISC as libc::c_ushort;
        socket.set(libc::SOL_PACKET, libc::PACKET_ADD_MEMBERSHIP, &promiscuous)?;
        // SAFETY: all-zero is a valid address, filled below.
        let mut address: libc::sockaddr_ll = unsafe { std::mem::zeroed() };
        address.sll_family = libc::AF_PACKET as libc::c_ushort;
        address.sll_protocol = (libc::ETH_P_ALL as u16).to_be();
        address.sll_ifindex = index as libc::c_int;
        let length = size_of::<libc::sockaddr_ll>() as libc::socklen_t;
        // SAFETY: an address of the stated length.
        check(unsafe { libc::bind(socket.fd.as_raw_fd(), (&raw const address).cast(), length) })?;
        Ok(socket)
    }

    /// Receives one frame into `buffer`; `None` when there is none. The frame starts at the buffer's first byte.
    pub fn receive(&self, buffer: &mut [u8]) -> io::Result<Option<Received>> {
        let mut vnet = VnetHeader::default();
        let mut parts = [
            libc::iovec { iov_base: (&raw mut vnet).cast(), iov_len: size_of::<VnetHeader>() },
            libc::iovec { iov_base: buffer.as_mut_ptr().cast(), iov_len: buffer.len() },
        ];
        let mut control = [0u64; 16];
        // SAFETY: all-zero is a valid msghdr, filled below with parts that outlive the call.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = parts.as_mut_ptr();
        message.msg_iovlen = parts.len() as _;
        message.msg_control = control.as_mut_ptr().cast();
        message.msg_controllen = size_of_val(&control) as _;
        // SAFETY: every pointer in the message is valid for its stated length.
        let n = match check_size(unsafe { libc::recvmsg(self.fd.as_raw_fd(), &raw mut message, 0) }) {
            Ok(n) => n,
            Err(error) if transient(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = n.saturating_sub(size_of::<VnetHeader>());
        Ok(Some(Received { length, vnet, tag: stripped_tag(&message) }))
    }

    /// Sends one frame. A full queue or an interface that is down loses it, as a wire would: `Ok(false)`.
    pub fn send(&self, vnet: &VnetHeader, frame: &[u8]) -> io::Result<bool> {
        send_with_header(self.fd.as_raw_fd(), vnet, frame)
    }

    fn set<T>(&self, level: libc::c_int, option: libc::c_int, value: &T) -> io::Result<()> {
        let length = size_of::<T>() as libc::socklen_t;
        // SAFETY: a value of the stated length.
        let done =
            unsafe { libc::setsockopt(self.fd.as_raw_fd(), level, option, std::ptr::from_ref(value).cast(), length) };
        check(done).map(drop)
    }
}

impl AsRawFd for PacketSocket {
    fn as_raw_fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }
}

/// What [`PacketSocket::receive`] found.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub length: usize,
    pub vnet: VnetHeader,
    /// The outer tag, which is not in the bytes.
    pub tag: Option<StrippedTag>,
}

/// Writes offload header and frame in one call, to a packet socket or a TAP.
pub(crate) fn send_with_header(fd: RawFd, vnet: &VnetHeader, frame: &[u8]) -> io::Result<bool> {
    let parts = [
        libc::iovec { iov_base: std::ptr::from_ref(vnet).cast_mut().cast(), iov_len: size_of::<VnetHeader>() },
        libc::iovec { iov_base: frame.as_ptr().cast_mut().cast(), iov_len: frame.len() },
    ];
    // SAFETY: both parts are valid for their lengths; writev only reads them.
    match check_size(unsafe { libc::writev(fd, parts.as_ptr(), 2) }) {
        Ok(_) => Ok(true),
        Err(error) if transient(&error) || error.raw_os_error() == Some(libc::EMSGSIZE) => Ok(false),
        Err(error) => Err(error),
    }
}

/// Errors that say "not now": nothing queued, no room, or the link is down.
pub(crate) fn transient(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    const NOT_NOW: [i32; 6] = [libc::EAGAIN, libc::EINTR, libc::ENOBUFS, libc::ENETDOWN, libc::EIO, libc::ENXIO];
    code.is_some_and(|c| NOT_NOW.contains(&c))
}

fn stripped_tag(message: &libc::msghdr) -> Option<StrippedTag> {
    // SAFETY: the message was filled by recvmsg; CMSG_* walk only within its control buffer.
    unsafe {
        let mut header = libc::CMSG_FIRSTHDR(message);
        while !header.is_null() {
            if (*header).cmsg_level == libc::SOL_PACKET && (*header).cmsg_type == libc::PACKET_AUXDATA {
                let aux = libc::CMSG_DATA(header).cast::<libc::tpacket_auxdata>().read_unaligned();
                if aux.tp_status & libc::TP_STATUS_VLAN_VALID == 0 {
                    return None;
                }
                let known = aux.tp_status & libc::TP_STATUS_VLAN_TPID_VALID != 0;
                let tpid = if known { aux.tp_vlan_tpid } else { libc::ETH_P_8021Q as u16 };
                return Some(StrippedTag { tpid, tci: aux.tp_vlan_tci });
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
    None
}
