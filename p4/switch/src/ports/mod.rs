//! Ports: where frames enter and leave. Each kind gives a receiving half and a transmitting half; the forwarding loop
//! ([`crate::runtime`]) moves frames between halves, and [`manager::PortManager`] adds, removes and watches ports.

pub mod counters;
mod far;
pub mod join;
pub mod link;
pub mod manager;
pub mod netlink;
pub mod offload;
pub mod packet;
pub mod pcap;
pub mod port;
mod ring;
pub mod segment;
pub mod spec;
pub mod sys;
pub mod tap;
#[cfg(test)]
pub(crate) mod testing;
pub(crate) mod wakers;
mod walk;

pub use counters::{Counters, CountersSnapshot, Tally};
pub use link::{Link, LinkEnd};
pub use manager::{Opened, PortError, PortEvent, PortInfo, PortManager};
pub use offload::{Capabilities, Offload};
pub use spec::{PortOptions, PortSpec};

use std::io;
use std::os::fd::RawFd;

/// A port's number in the data plane, as in `standard_metadata.ingress_port`.
pub type PortNo = u32;

/// The highest port number: egress tables are arrays.
pub const PORT_MAX: PortNo = 65_535;

/// Longest frame that a port takes: a 64 KB segmentation frame with room for pushed headers.
pub const FRAME_MAX: usize = 65_535 + 512;

/// The receiving half of a port.
pub trait PortRx: Send {
    /// Readable when there may be frames.
    fn fd(&self) -> RawFd;

    /// Passes up to `budget` waiting frames to `take`, without blocking, and returns how many. The frame may be
    /// overwritten by `take`.
    fn receive(&mut self, budget: usize, take: &mut dyn FnMut(&mut [u8], &Offload)) -> usize;

    /// Frames lost before they reached `receive` since this was last asked.
    fn take_drops(&mut self) -> u64 {
        0
    }
}

/// What became of a frame handed to [`PortTx::send`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sent {
    Yes,
    /// No room: the frame is gone.
    Full,
    /// The port cannot take this frame.
    Failed,
}

/// The transmitting half of a port.
pub trait PortTx: Send {
    fn capabilities(&self) -> Capabilities;

    /// Queues the frame `head` + `body`. It leaves at the next [`PortTx::flush`] at the latest.
    fn send(&mut self, head: &[u8], body: &[u8], offload: &Offload) -> Sent;

    /// Lets everything queued leave.
    fn flush(&mut self) -> io::Result<()>;

    /// Frames that were to leave and wait because the interface is slower than what is sent to it.
    fn depth(&mut self) -> usize {
        0
    }
}
