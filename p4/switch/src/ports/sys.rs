//! The few system calls that ports need and the standard library lacks, each behind a safe function.
//!
//! Why unsafe: packet sockets, ring mappings, interface ioctls and poll exist only as C interfaces. Every block passes
//! pointers to live, correctly sized local values and checks the return code.
#![allow(unsafe_code)]

use std::io;
use std::mem::{size_of, zeroed};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Options and flags of `packet(7)` that the libc crate does not carry.
pub mod packet {
    pub const SOL_PACKET: i32 = 263;
    pub const ADD_MEMBERSHIP: i32 = 1;
    pub const RX_RING: i32 = 5;
    pub const STATISTICS: i32 = 6;
    pub const COPY_THRESH: i32 = 7;
    pub const VERSION: i32 = 10;
    pub const TX_RING: i32 = 13;
    pub const LOSS: i32 = 14;
    pub const VNET_HDR: i32 = 15;
    pub const QDISC_BYPASS: i32 = 20;
    pub const IGNORE_OUTGOING: i32 = 23;
    pub const MR_PROMISC: u16 = 1;
    pub const TPACKET_V2: i32 = 1;

    pub const STATUS_KERNEL: u32 = 0;
    pub const STATUS_USER: u32 = 1;
    pub const STATUS_COPY: u32 = 1 << 1;
    pub const STATUS_VLAN_VALID: u32 = 1 << 4;
    pub const STATUS_VLAN_TPID_VALID: u32 = 1 << 6;
    pub const STATUS_AVAILABLE: u32 = 0;
    pub const STATUS_SEND_REQUEST: u32 = 1;
    pub const STATUS_WRONG_FORMAT: u32 = 1 << 2;

    /// `struct tpacket_req`: the shape of one ring.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub struct RingRequest {
        pub block_size: u32,
        pub block_count: u32,
        pub frame_size: u32,
        pub frame_count: u32,
    }

    /// `struct tpacket_stats`: frames seen and dropped since it was last read.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub struct Statistics {
        pub packets: u32,
        pub drops: u32,
    }

    /// `struct packet_mreq`.
    #[repr(C)]
    #[derive(Clone, Copy, Default)]
    pub struct Membership {
        pub ifindex: i32,
        pub kind: u16,
        pub address_len: u16,
        pub address: [u8; 8],
    }
}

fn check(code: i32) -> io::Result<i32> {
    if code < 0 { Err(io::Error::last_os_error()) } else { Ok(code) }
}

fn check_len(code: isize) -> io::Result<usize> {
    usize::try_from(code).map_err(|_| io::Error::last_os_error())
}

/// A close-on-exec, non-blocking socket.
pub fn socket(domain: i32, kind: i32, protocol: i32) -> io::Result<OwnedFd> {
    let kind = kind | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    // SAFETY: plain integers in; a fresh descriptor that nobody else owns comes out.
    unsafe { Ok(OwnedFd::from_raw_fd(check(libc::socket(domain, kind, protocol))?)) }
}

/// `setsockopt` with a plain value.
pub fn set_option<T: Copy>(fd: impl AsFd, level: i32, name: i32, value: &T) -> io::Result<()> {
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: the pointer and length describe `value`, which outlives the call.
    check(unsafe { libc::setsockopt(fd, level, name, std::ptr::from_ref(value).cast(), size_of::<T>() as u32) })?;
    Ok(())
}

/// Reads `PACKET_STATISTICS`, which also resets them.
pub fn packet_statistics(fd: impl AsFd) -> io::Result<packet::Statistics> {
    let mut value = packet::Statistics::default();
    let mut len = size_of::<packet::Statistics>() as u32;
    let fd = fd.as_fd().as_raw_fd();
    // SAFETY: pointer and length describe `value`; both integers of it are valid for any bits.
    check(unsafe {
        libc::getsockopt(fd, packet::SOL_PACKET, packet::STATISTICS, (&raw mut value).cast(), &raw mut len)
    })?;
    Ok(value)
}

/// Takes the pending error off a socket, so that poll stops reporting it.
pub fn take_error(fd: RawFd) -> i32 {
    let mut value = 0i32;
    let mut len = size_of::<i32>() as u32;
    // SAFETY: pointer and length describe `value`.
    unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_ERROR, (&raw mut value).cast(), &raw mut len) };
    value
}

/// Binds a packet socket to one interface. `protocol` 0 receives nothing.
pub fn bind_packet(fd: impl AsFd, ifindex: u32, protocol: u16) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_ll is a valid value.
    let mut address: libc::sockaddr_ll = unsafe { zeroed() };
    address.sll_family = libc::AF_PACKET as u16;
    address.sll_protocol = protocol.to_be();
    address.sll_ifindex = ifindex as i32;
    bind(fd.as_fd(), &address)
}

/// Binds a route-netlink socket to a set of multicast groups.
pub fn bind_netlink(fd: impl AsFd, groups: u32) -> io::Result<()> {
    // SAFETY: an all-zero sockaddr_nl is a valid value.
    let mut address: libc::sockaddr_nl = unsafe { zeroed() };
    address.nl_family = libc::AF_NETLINK as u16;
    address.nl_groups = groups;
    bind(fd.as_fd(), &address)
}

fn bind<T>(fd: BorrowedFd, address: &T) -> io::Result<()> {
    // SAFETY: pointer and length describe `address`.
    check(unsafe { libc::bind(fd.as_raw_fd(), std::ptr::from_ref(address).cast(), size_of::<T>() as u32) })?;
    Ok(())
}

/// `recv`; returns the datagram's full length when `flags` has MSG_TRUNC.
pub fn recv(fd: impl AsFd, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`.
    check_len(unsafe { libc::recv(fd.as_fd().as_raw_fd(), buffer.as_mut_ptr().cast(), buffer.len(), flags) })
}

/// `send` of one buffer; an empty one makes a packet socket transmit its ring.
pub fn send(fd: impl AsFd, buffer: &[u8], flags: i32) -> io::Result<usize> {
    // SAFETY: pointer and length describe `buffer`.
    check_len(unsafe { libc::send(fd.as_fd().as_raw_fd(), buffer.as_ptr().cast(), buffer.len(), flags) })
}

/// One datagram gathered from three parts.
pub fn send_parts(fd: impl AsFd, parts: [&[u8]; 3], flags: i32) -> io::Result<usize> {
    let mut iov = parts.map(|p| libc::iovec { iov_base: p.as_ptr().cast_mut().cast(), iov_len: p.len() });
    // SAFETY: an all-zero msghdr is valid; the iovecs point at live slices, which sendmsg only reads.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = iov.as_mut_ptr();
        message.msg_iovlen = iov.len() as _;
        check_len(libc::sendmsg(fd.as_fd().as_raw_fd(), &raw const message, flags))
    }
}

/// One datagram scattered over two parts, and whether it was longer than both.
pub fn recv_parts(fd: impl AsFd, first: &mut [u8], second: &mut [u8]) -> io::Result<(usize, bool)> {
    let mut iov = [first, second].map(|p| libc::iovec { iov_base: p.as_mut_ptr().cast(), iov_len: p.len() });
    // SAFETY: an all-zero msghdr is valid; the iovecs point at live, exclusively borrowed slices.
    unsafe {
        let mut message: libc::msghdr = zeroed();
        message.msg_iov = iov.as_mut_ptr();
        message.msg_iovlen = iov.len() as _;
        let len = check_len(libc::recvmsg(fd.as_fd().as_raw_fd(), &raw mut message, libc::MSG_DONTWAIT))?;
        Ok((len, message.msg_flags & libc::MSG_TRUNC != 0))
    }
}

/// Waits for readiness; `timeout_ms` below zero waits for ever. Interruption counts as nothing ready.
pub fn poll(fds: &mut [libc::pollfd], timeout_ms: i32) -> io::Result<usize> {
    // SAFETY: pointer and length describe `fds`.
    match check(unsafe { libc::poll(fds.as_mut_ptr(), fds.len() as libc::nfds_t, timeout_ms) }) {
        Ok(n) => Ok(n as usize),
        Err(e) if e.kind() == io::ErrorKind::Interrupted => Ok(0),
        Err(e) => Err(e),
    }
}

/// A poll entry that waits for input.
pub fn poll_in(fd: RawFd) -> libc::pollfd {
    libc::pollfd { fd, events: libc::POLLIN, revents: 0 }
}

/// Descriptors that a thread waits on again and again: the kernel keeps the list, so that a wait costs what is ready and not what
/// there is.
pub struct Epoll {
    fd: OwnedFd,
    ready: [libc::epoll_event; 32],
}

impl Epoll {
    pub fn new() -> io::Result<Self> {
        // SAFETY: a plain integer in; a fresh descriptor comes out.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: nobody else owns `fd`.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Self { fd, ready: [libc::epoll_event { events: 0, u64: 0 }; 32] })
    }

    /// Waits for input of `fd` too; `token` names it in what is ready. A closed descriptor is forgotten by itself.
    pub fn add(&self, fd: RawFd, token: u64) -> io::Result<()> {
        let mut event = libc::epoll_event { events: libc::EPOLLIN as u32, u64: token };
        // SAFETY: the pointer is to a live local value.
        check(unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event) }).map(drop)
    }

    pub fn remove(&self, fd: RawFd) {
        // SAFETY: no pointer is used. It fails only when the descriptor is not there.
        unsafe { libc::epoll_ctl(self.fd.as_raw_fd(), libc::EPOLL_CTL_DEL, fd, std::ptr::null_mut()) };
    }

    /// Waits for readiness; `timeout_ms` below zero waits for ever. What is ready: its token, and whether it has an error and no
    /// input. Interruption counts as nothing ready.
    pub fn wait(&mut self, timeout_ms: i32) -> io::Result<impl Iterator<Item = (u64, bool)> + '_> {
        let (list, most) = (self.ready.as_mut_ptr(), self.ready.len() as i32);
        // SAFETY: pointer and length describe `ready`.
        let count = match check(unsafe { libc::epoll_wait(self.fd.as_raw_fd(), list, most, timeout_ms) }) {
            Ok(n) => n as usize,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => 0,
            Err(e) => return Err(e),
        };
        Ok(self.ready[..count].iter().map(|event| (event.u64, event.events & libc::EPOLLIN as u32 == 0)))
    }
}

/// A counter that a thread can wait on by poll.
#[derive(Debug)]
pub struct EventFd(OwnedFd);

impl EventFd {
    pub fn new() -> io::Result<Self> {
        // SAFETY: plain integers in; a fresh descriptor comes out.
        let fd = check(unsafe { libc::eventfd(0, libc::EFD_NONBLOCK | libc::EFD_CLOEXEC) })?;
        // SAFETY: nobody else owns `fd`.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    /// Makes the descriptor readable.
    pub fn signal(&self) {
        let one = 1u64.to_ne_bytes();
        // SAFETY: pointer and length describe `one`. It fails only when already readable.
        unsafe { libc::write(self.0.as_raw_fd(), one.as_ptr().cast(), one.len()) };
    }

    /// Makes the descriptor unreadable until the next signal.
    pub fn clear(&self) {
        let mut count = [0u8; 8];
        // SAFETY: pointer and length describe `count`.
        unsafe { libc::read(self.0.as_raw_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    pub fn raw(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

/// Lets this thread run before ordinary ones, where that is permitted. For threads that wait much and do little.
pub fn prefer_this_thread() {
    let parameters = libc::sched_param { sched_priority: 1 };
    // SAFETY: the pointer is to a live local value; 0 names the calling thread.
    unsafe { libc::sched_setscheduler(0, libc::SCHED_RR | libc::SCHED_RESET_ON_FORK, &raw const parameters) };
}

/// Longest interface name without its terminating zero (`IFNAMSIZ` - 1).
pub const NAME_MAX: usize = 15;

fn interface_request(name: &str) -> io::Result<libc::ifreq> {
    if name.is_empty() || name.len() > NAME_MAX || name.bytes().any(|b| b == 0) {
        let text = format!("interface name {name:?}: allowed are 1 to {NAME_MAX} bytes without zero");
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    // SAFETY: an all-zero ifreq is a valid value.
    let mut request: libc::ifreq = unsafe { zeroed() };
    for (to, from) in request.ifr_name.iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    Ok(request)
}

/// The kernel's index of an interface in this network namespace.
pub fn interface_index(name: &str) -> io::Result<u32> {
    let mut request = interface_request(name)?;
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // SAFETY: SIOCGIFINDEX reads the name and writes ifru_ifindex of the live `request`.
    unsafe {
        check(libc::ioctl(fd.as_raw_fd(), libc::SIOCGIFINDEX, &raw mut request))?;
        Ok(request.ifr_ifru.ifru_ifindex as u32)
    }
}

/// What ethtool tells about an interface; absent where the driver does not answer.
#[derive(Clone, Debug, Default)]
pub struct EthtoolInfo {
    pub driver: String,
    pub speed_mbps: Option<u32>,
}

/// Asks for driver name and link speed (`SIOCETHTOOL`).
pub fn ethtool(name: &str) -> io::Result<EthtoolInfo> {
    const GSET: u32 = 0x01;
    const GDRVINFO: u32 = 0x03;
    let fd = socket(libc::AF_INET, libc::SOCK_DGRAM, 0)?;
    // The larger of the two answers (struct ethtool_drvinfo) has 196 bytes.
    let ask = |command: u32| -> io::Result<[u32; 64]> {
        let mut answer = [0u32; 64];
        answer[0] = command;
        let mut request = interface_request(name)?;
        request.ifr_ifru.ifru_data = answer.as_mut_ptr().cast();
        // SAFETY: ifru_data points at `answer`, which is larger than any structure these commands write.
        check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::SIOCETHTOOL as _, &raw mut request) })?;
        Ok(answer)
    };
    let mut info = EthtoolInfo::default();
    if let Ok(answer) = ask(GDRVINFO) {
        // cmd: u32, driver: [u8; 32]
        let bytes = answer[1..9].iter().flat_map(|w| w.to_ne_bytes()).take_while(|b| *b != 0);
        info.driver = bytes.map(char::from).collect();
    }
    if let Ok(answer) = ask(GSET) {
        // cmd, supported, advertising: u32; speed: u16; ... maxtxpkt, maxrxpkt: u32; speed_hi: u16
        let speed = (answer[3] & 0xffff) | ((answer[7] & 0xffff) << 16);
        info.speed_mbps = (speed != 0 && speed != u32::MAX && speed != 0xffff).then_some(speed);
    }
    Ok(info)
}

/// Opens a TAP interface with virtio headers of ten bytes, making it when it does not exist.
pub fn open_tap(name: &str) -> io::Result<std::fs::File> {
    let file = std::fs::OpenOptions::new().read(true).write(true).open("/dev/net/tun")?;
    let mut request = interface_request(name)?;
    request.ifr_ifru.ifru_flags = (libc::IFF_TAP | libc::IFF_NO_PI | libc::IFF_VNET_HDR) as i16;
    let offloads = libc::TUN_F_CSUM | libc::TUN_F_TSO4 | libc::TUN_F_TSO6;
    let header_len: i32 = 10;
    // SAFETY: TUNSETIFF reads the live `request`, TUNSETVNETHDRSZ the live integer; TUNSETOFFLOAD takes a value. The
    // fcntl calls take integers only.
    unsafe {
        let fd = file.as_raw_fd();
        check(libc::ioctl(fd, libc::TUNSETIFF as _, &raw mut request))?;
        check(libc::ioctl(fd, libc::TUNSETVNETHDRSZ as _, &raw const header_len))?;
        check(libc::ioctl(fd, libc::TUNSETOFFLOAD as _, libc::c_ulong::from(offloads)))?;
        let flags = check(libc::fcntl(fd, libc::F_GETFL))?;
        check(libc::fcntl(fd, libc::F_SETFL, flags | libc::O_NONBLOCK))?;
    }
    Ok(file)
}
