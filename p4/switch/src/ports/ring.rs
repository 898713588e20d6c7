//! Memory-mapped packet rings (TPACKET_V2): slots shared with the kernel, handed over by a status word.
//!
//! Why unsafe: the kernel writes into the mapping, so slots are raw memory. A slot may be touched only between reading a
//! status that gives it to us (acquire) and writing one that gives it back (release); `Slot` borrows the ring mutably,
//! so there is one at a time, and every access is bounded by the slot's size.
//!
//! Version 2 and not 3: version 3 packs frames into blocks that are handed over when full or after at least a
//! millisecond, which is the same rate at 1.5 ms median latency.
#![allow(unsafe_code)]

use super::sys::{self, packet};
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::atomic::{AtomicU32, Ordering};

/// Bytes of one slot: a 1,500-byte frame with tags and all headers. Longer frames take the socket itself.
pub const SLOT_SIZE: usize = 2048;
const BLOCK_SIZE: usize = 1 << 16;
/// Fewest and most slots of a ring.
pub const SLOTS_MIN: usize = BLOCK_SIZE / SLOT_SIZE;
pub const SLOTS_MAX: usize = 1 << 16;
/// Where the data of a transmit slot begins: `TPACKET2_HDRLEN - sizeof(struct sockaddr_ll)`.
pub const TX_DATA: usize = 32;

/// A receive or transmit ring. `slots` is rounded up to a multiple of `SLOTS_MIN`.
pub struct Ring {
    base: *mut u8,
    len: usize,
    slots: usize,
    next: usize,
    /// Slots from here to `next` may be outstanding; those before have come back.
    oldest: usize,
}

// SAFETY: the mapping belongs to the process, not to a thread, and `Ring` is its only user.
unsafe impl Send for Ring {}

impl Ring {
    /// Makes the ring of a socket and maps it. `option` is `packet::RX_RING` or `packet::TX_RING`.
    pub fn new(fd: impl AsFd, option: i32, slots: usize) -> io::Result<Self> {
        let slots = slots.clamp(SLOTS_MIN, SLOTS_MAX).next_multiple_of(SLOTS_MIN);
        let len = slots * SLOT_SIZE;
        let request = packet::RingRequest {
            block_size: BLOCK_SIZE as u32,
            block_count: (len / BLOCK_SIZE) as u32,
            frame_size: SLOT_SIZE as u32,
            frame_count: slots as u32,
        };
        sys::set_option(&fd, packet::SOL_PACKET, option, &request)?;
        // SAFETY: a fresh shared mapping at an address of the kernel's choice; the result is checked.
        let base = unsafe {
            let prot = libc::PROT_READ | libc::PROT_WRITE;
            libc::mmap(std::ptr::null_mut(), len, prot, libc::MAP_SHARED, fd.as_fd().as_raw_fd(), 0)
        };
        if base == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Self { base: base.cast(), len, slots, next: 0, oldest: 0 })
    }

    /// The slot whose turn it is.
    pub fn current(&mut self) -> Slot<'_> {
        // SAFETY: next < slots, so the whole slot lies inside the mapping.
        let base = unsafe { self.base.add(self.next * SLOT_SIZE) };
        Slot { base, ring: self }
    }

    /// Slots handed over that have not come back with status `back`, from the oldest on. One that came back before an older one
    /// counts until that is back too. Exact as long as it is asked once a round of the ring.
    pub fn outstanding(&mut self, back: u32) -> usize {
        let is_back = |ring: &mut Ring, at: usize| {
            // SAFETY: at < slots, so the whole slot lies inside the mapping.
            let base = unsafe { ring.base.add(at * SLOT_SIZE) };
            (Slot { base, ring }).status() == back
        };
        while self.oldest != self.next {
            if !is_back(self, self.oldest) {
                return (self.next + self.slots - self.oldest) % self.slots;
            }
            self.oldest = if self.oldest + 1 == self.slots { 0 } else { self.oldest + 1 };
        }
        // None, or the whole ring.
        if is_back(self, self.next) { 0 } else { self.slots }
    }

    /// Whether `status` is what the current slot holds: one load, no borrow of its bytes.
    pub fn current_is_ready(&mut self) -> bool {
        self.current().status() & packet::STATUS_USER != 0
    }
}

impl Drop for Ring {
    fn drop(&mut self) {
        // SAFETY: exactly the mapping that `new` made; no slot outlives the ring.
        unsafe { libc::munmap(self.base.cast(), self.len) };
    }
}

/// One slot: `struct tpacket2_hdr`, then the frame.
pub struct Slot<'a> {
    base: *mut u8,
    ring: &'a mut Ring,
}

/// What the kernel says about a received frame.
#[derive(Clone, Copy, Debug)]
pub struct Received {
    pub status: u32,
    /// Length on the wire and length in the slot.
    pub len: usize,
    pub captured: usize,
    /// Offset of the Ethernet header in the slot.
    pub mac: usize,
    pub vlan_tci: u16,
    pub vlan_tpid: u16,
}

impl Slot<'_> {
    fn word(&self, at: usize) -> u32 {
        // SAFETY: `at` is one of the constant offsets of tpacket2_hdr, aligned to four bytes and inside the slot.
        unsafe { self.base.add(at).cast::<u32>().read() }
    }

    fn half(&self, at: usize) -> u16 {
        // SAFETY: as in `word`, aligned to two bytes.
        unsafe { self.base.add(at).cast::<u16>().read() }
    }

    pub fn status(&self) -> u32 {
        // SAFETY: the status word is the first of the slot, aligned, and shared only as an atomic.
        unsafe { AtomicU32::from_ptr(self.base.cast()) }.load(Ordering::Acquire)
    }

    fn set_status(&self, status: u32) {
        // SAFETY: as in `status`.
        unsafe { AtomicU32::from_ptr(self.base.cast()) }.store(status, Ordering::Release);
    }

    /// The header of a received frame (`status() & STATUS_USER != 0`). Offsets are cut to the slot.
    pub fn received(&self) -> Received {
        let mac = usize::from(self.half(12)).min(SLOT_SIZE);
        Received {
            status: self.status(),
            len: self.word(4) as usize,
            captured: (self.word(8) as usize).min(SLOT_SIZE - mac),
            mac,
            vlan_tci: self.half(24),
            vlan_tpid: self.half(26),
        }
    }

    /// The whole slot. Call only while the slot is ours.
    pub fn bytes(&mut self) -> &mut [u8] {
        // SAFETY: the slot is inside the mapping, borrowed mutably from the ring, and by contract not the kernel's now.
        unsafe { std::slice::from_raw_parts_mut(self.base, SLOT_SIZE) }
    }

    /// Gives a read slot back to the kernel and moves on.
    pub fn release(self) {
        self.set_status(packet::STATUS_KERNEL);
        self.advance();
    }

    /// Hands a filled slot, `len` bytes from `TX_DATA`, to the kernel and moves on.
    pub fn submit(self, len: usize) {
        // SAFETY: tp_len and tp_snaplen of tpacket2_hdr, aligned and inside the slot, which is ours.
        unsafe {
            self.base.add(4).cast::<u32>().write(len as u32);
            self.base.add(8).cast::<u32>().write(len as u32);
        }
        self.set_status(packet::STATUS_SEND_REQUEST);
        self.advance();
    }

    fn advance(self) {
        self.ring.next = if self.ring.next + 1 == self.ring.slots { 0 } else { self.ring.next + 1 };
    }
}
