//! Linux interfaces by packet sockets with memory-mapped rings and virtio headers.
//!
//! Three sockets a port: one receives, one sends short frames through a ring, one sends long frames directly.
//! - Received frames that do not fit a slot (segmentation frames, jumbo frames) wait whole in the socket's queue, in the
//!   order of their slots (PACKET_COPY_THRESH): slots stay small, and 64 KB frames pass.
//! - The kernel takes the outermost VLAN tag off; it is put back here.
//! - A transmit slot would become part of the sent packet and be ours again as soon as the receiver *orphans* it, while
//!   its bytes still wait in a TCP queue. The virtio header's length field says how much the kernel copies instead of
//!   mapping: it always says "all".

use super::offload::{Capabilities, Offload, VNET_LEN};
use super::ring::{Ring, SLOT_SIZE, TX_DATA};
use super::sys::{self, packet};
use super::{FRAME_MAX, PortRx, PortTx, Sent};
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

const ETH_P_ALL: u16 = 3;
/// Queue of frames longer than a slot. The kernel takes memory for it only while they wait.
const QUEUE_BYTES: i32 = 32 << 20;
const TAG_LEN: usize = 4;
/// Longest frame that fits a transmit slot.
const SLOT_FRAME_MAX: usize = SLOT_SIZE - TX_DATA - VNET_LEN;

/// Slots of the two rings. 1,024 slots are 2 MB and two milliseconds at half a million frames a second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RingOptions {
    pub rx_slots: usize,
    pub tx_slots: usize,
    /// Send past the queueing discipline and listeners, which takes a sixth less time. The port manager does so on a veth
    /// while there are neither; here it is the state at the start.
    pub qdisc_bypass: bool,
}

impl Default for RingOptions {
    fn default() -> Self {
        Self { rx_slots: 1024, tx_slots: 256, qdisc_bypass: false }
    }
}

fn packet_socket() -> io::Result<OwnedFd> {
    // Protocol 0: nothing arrives before the socket is bound to its interface.
    let fd = sys::socket(libc::AF_PACKET, libc::SOCK_RAW, 0)?;
    sys::set_option(&fd, packet::SOL_PACKET, packet::VERSION, &packet::TPACKET_V2)?;
    sys::set_option(&fd, packet::SOL_PACKET, packet::VNET_HDR, &1i32)?;
    Ok(fd)
}

/// The receiving half of an interface.
pub struct PacketRx {
    fd: OwnedFd,
    ring: Ring,
    /// Where frames longer than a slot are put together; made when the first one comes.
    long: Vec<u8>,
    lost: u64,
}

impl PacketRx {
    /// Receives every frame that arrives on the interface, but none that this host sends.
    pub fn open(ifindex: u32, options: &RingOptions) -> io::Result<Self> {
        let fd = packet_socket()?;
        sys::set_option(&fd, packet::SOL_PACKET, packet::IGNORE_OUTGOING, &1i32)?;
        sys::set_option(&fd, packet::SOL_PACKET, packet::COPY_THRESH, &1i32)?;
        if sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, &QUEUE_BYTES).is_err() {
            sys::set_option(&fd, libc::SOL_SOCKET, libc::SO_RCVBUF, &QUEUE_BYTES)?;
        }
        let ring = Ring::new(&fd, packet::RX_RING, options.rx_slots)?;
        let member = packet::Membership { ifindex: ifindex as i32, kind: packet::MR_PROMISC, ..Default::default() };
        sys::set_option(&fd, packet::SOL_PACKET, packet::ADD_MEMBERSHIP, &member)?;
        sys::bind_packet(&fd, ifindex, ETH_P_ALL)?;
        Ok(Self { fd, ring, long: Vec::new(), lost: 0 })
    }
}

/// Puts a VLAN tag behind the two addresses; `room` begins `TAG_LEN` bytes before the frame.
fn insert_tag(room: &mut [u8], tpid: u16, tci: u16) {
    room.copy_within(TAG_LEN..TAG_LEN + 12, 0);
    room[12..14].copy_from_slice(&tpid.to_be_bytes());
    room[14..16].copy_from_slice(&tci.to_be_bytes());
}

impl PortRx for PacketRx {
    fn fd(&self) -> RawFd {
        self.fd.as_raw_fd()
    }

    fn receive(&mut self, budget: usize, take: &mut dyn FnMut(&mut [u8], &Offload)) -> usize {
        for done in 0..budget {
            if !self.ring.current_is_ready() {
                return done;
            }
            let mut slot = self.ring.current();
            let seen = slot.received();
            let tag = (seen.status & packet::STATUS_VLAN_VALID != 0).then(|| {
                let named = seen.status & packet::STATUS_VLAN_TPID_VALID != 0;
                (if named { seen.vlan_tpid } else { 0x8100 }, seen.vlan_tci)
            });
            if seen.status & packet::STATUS_COPY != 0 {
                slot.release();
                self.receive_long(tag, take);
                continue;
            }
            // The virtio header stands in front of the Ethernet header.
            if seen.captured < seen.len || seen.captured < 14 || seen.mac < VNET_LEN {
                self.lost += 1;
                slot.release();
                continue;
            }
            let bytes = slot.bytes();
            let mut header = [0u8; VNET_LEN];
            header.copy_from_slice(&bytes[seen.mac - VNET_LEN..seen.mac]);
            let offload = Offload::decode(&header);
            let end = seen.mac + seen.captured;
            match tag {
                None => take(&mut bytes[seen.mac..end], &offload),
                Some((tpid, tci)) => {
                    let room = &mut bytes[seen.mac - TAG_LEN..end];
                    insert_tag(room, tpid, tci);
                    take(room, &offload.shifted(TAG_LEN as u16));
                }
            }
            slot.release();
        }
        budget
    }

    fn take_drops(&mut self) -> u64 {
        let kernel = sys::packet_statistics(&self.fd).map_or(0, |s| u64::from(s.drops));
        kernel + std::mem::take(&mut self.lost)
    }
}

impl PacketRx {
    fn receive_long(&mut self, tag: Option<(u16, u16)>, take: &mut dyn FnMut(&mut [u8], &Offload)) {
        if self.long.is_empty() {
            self.long.resize(TAG_LEN + FRAME_MAX, 0);
        }
        let mut header = [0u8; VNET_LEN];
        let (len, cut) = match sys::recv_parts(&self.fd, &mut header, &mut self.long[TAG_LEN..]) {
            Ok(received) => received,
            Err(_) => {
                self.lost += 1;
                return;
            }
        };
        if cut || len < VNET_LEN + 14 {
            self.lost += 1;
            return;
        }
        let offload = Offload::decode(&header);
        let end = TAG_LEN + len - VNET_LEN;
        match tag {
            None => take(&mut self.long[TAG_LEN..end], &offload),
            Some((tpid, tci)) => {
                insert_tag(&mut self.long[..end], tpid, tci);
                take(&mut self.long[..end], &offload.shifted(TAG_LEN as u16));
            }
        }
    }
}

/// The transmitting half of an interface.
pub struct PacketTx {
    fd: OwnedFd,
    ring: Ring,
    queued: usize,
    long: OwnedFd,
}

impl PacketTx {
    pub fn open(ifindex: u32, options: &RingOptions) -> io::Result<Self> {
        let open = || -> io::Result<OwnedFd> {
            let fd = packet_socket()?;
            set_qdisc_bypass(&fd, options.qdisc_bypass)?;
            Ok(fd)
        };
        let (fd, long) = (open()?, open()?);
        // A frame that the kernel refuses is dropped instead of blocking those behind it.
        sys::set_option(&fd, packet::SOL_PACKET, packet::LOSS, &1i32)?;
        sys::set_option(&long, libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, &QUEUE_BYTES)
            .or_else(|_| sys::set_option(&long, libc::SOL_SOCKET, libc::SO_SNDBUF, &QUEUE_BYTES))?;
        let ring = Ring::new(&fd, packet::TX_RING, options.tx_slots)?;
        sys::bind_packet(&fd, ifindex, 0)?;
        sys::bind_packet(&long, ifindex, 0)?;
        Ok(Self { fd, ring, queued: 0, long })
    }

    /// Handles of the sockets, for [`set_qdisc_bypass`] while frames pass.
    pub fn sockets(&self) -> io::Result<[OwnedFd; 2]> {
        Ok([self.fd.try_clone()?, self.long.try_clone()?])
    }

    fn kick(&mut self) -> io::Result<()> {
        self.queued = 0;
        match sys::send(&self.fd, &[], libc::MSG_DONTWAIT) {
            // Nothing to send, or the interface's queue is full: what stays in the ring goes with the next kick.
            Err(e) if !matches!(e.kind(), io::ErrorKind::WouldBlock) && e.raw_os_error() != Some(libc::ENOBUFS) => {
                Err(e)
            }
            _ => Ok(()),
        }
    }

    fn send_long(&mut self, head: &[u8], body: &[u8], offload: &Offload) -> Sent {
        if self.queued > 0 && self.kick().is_err() {
            return Sent::Failed;
        }
        match sys::send_parts(&self.long, [&offload.encode(), head, body], libc::MSG_DONTWAIT) {
            Ok(_) => Sent::Yes,
            Err(e) if e.kind() == io::ErrorKind::WouldBlock => Sent::Full,
            // Past the queueing discipline this is also how the kernel refuses a segmentation frame.
            Err(e) if e.raw_os_error() == Some(libc::ENOBUFS) && !offload.is_segmented() => Sent::Full,
            Err(_) => Sent::Failed,
        }
    }
}

impl PortTx for PacketTx {
    fn capabilities(&self) -> Capabilities {
        CAPABILITIES
    }

    fn send(&mut self, head: &[u8], body: &[u8], offload: &Offload) -> Sent {
        let len = head.len() + body.len();
        if len < 14 {
            return Sent::Failed;
        }
        if len > SLOT_FRAME_MAX || offload.is_segmented() {
            return self.send_long(head, body, offload);
        }
        if self.ring.current().status() != packet::STATUS_AVAILABLE {
            if self.kick().is_err() {
                return Sent::Failed;
            }
            if self.ring.current().status() != packet::STATUS_AVAILABLE {
                return Sent::Full;
            }
        }
        let mut header = *offload;
        header.hdr_len = len as u16;
        let mut slot = self.ring.current();
        let data = &mut slot.bytes()[TX_DATA..TX_DATA + VNET_LEN + len];
        data[..VNET_LEN].copy_from_slice(&header.encode());
        data[VNET_LEN..VNET_LEN + head.len()].copy_from_slice(head);
        data[VNET_LEN + head.len()..].copy_from_slice(body);
        slot.submit(VNET_LEN + len);
        self.queued += 1;
        Sent::Yes
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.queued == 0 { Ok(()) } else { self.kick() }
    }

    /// A slot comes back when its frame left the queueing discipline. What was not offered to the kernel yet does not count.
    fn depth(&mut self) -> usize {
        self.ring.outstanding(packet::STATUS_AVAILABLE).saturating_sub(self.queued)
    }
}

/// Lets frames pass by the queueing discipline and listeners of the interface, or not.
pub fn set_qdisc_bypass(socket: &OwnedFd, bypass: bool) -> io::Result<()> {
    sys::set_option(socket, packet::SOL_PACKET, packet::QDISC_BYPASS, &i32::from(bypass))
}

/// What the kernel does with frames sent by a packet socket.
pub const CAPABILITIES: Capabilities = Capabilities {
    // It fills in a checksum that the device cannot.
    checksum: true,
    // It also cuts in software what the device cannot, under Ethernet, VLAN and IP headers.
    segmentation: true,
    // It distrusts segmentation frames from programs, and before a device gets one, also a veth that takes any, the code of
    // its ethertype must look through its headers (`validate_xmit_skb`, SKB_GSO_DODGY). There is none for PPPoE, and that for
    // MPLS (mpls_gso) wants to be told where the labels end, which a packet socket cannot. Naming another protocol in the
    // address does not help: the IP header must stand behind 14 bytes, or behind VLAN tags.
    segmentation_any_stack: false,
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tag_goes_behind_the_addresses() {
        let mut room: Vec<u8> = (0..30).collect();
        insert_tag(&mut room, 0x88a8, 0x6064);
        assert_eq!(room[..12], (4..16).collect::<Vec<u8>>());
        assert_eq!(room[12..16], [0x88, 0xa8, 0x60, 0x64]);
        assert_eq!(room[16..], (16..30).collect::<Vec<u8>>());
    }
}
