//! The far side of a port: what frames go to, and how it is opened.

use super::link::LinkEnd;
use super::netlink;
use super::packet::{self, PacketRx, PacketTx};
use super::pcap::{PcapRx, PcapTx, Writer};
use super::port::Port;
use super::sys;
use super::tap::{self, TapTx};
use super::{PortOptions, PortRx, PortSpec, PortTx};
use parking_lot::Mutex;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The halves of a port for the forwarding loop: one receiving, and one transmitting for each worker. None where frames do not
/// pass the loop.
pub(super) type Halves = Option<Open>;

/// What is needed to change the far side of a port.
pub(super) enum Far {
    /// A Linux interface that may go away and come back under its name.
    Interface(Mutex<Transmit>),
    Tap,
    Link(LinkEnd),
    File,
    Remote,
}

impl Far {
    /// Whether the kernel has it as a network device.
    pub(super) fn has_device(&self) -> bool {
        matches!(self, Self::Interface(_) | Self::Tap)
    }
}

/// The transmitting sockets of an interface.
pub(super) struct Transmit {
    sockets: Vec<OwnedFd>,
    veth: bool,
    /// How many wanted to see all frames when it was last told.
    pub(super) promiscuity: u32,
}

impl Transmit {
    /// The port's own receiving half.
    const OWN_PROMISCUITY: u32 = 1;

    pub(super) fn choose(&self, ifindex: u32) {
        let free = self.veth && self.promiscuity <= Self::OWN_PROMISCUITY;
        let bypass = free && netlink::has_queueing(ifindex).is_ok_and(|queueing| !queueing);
        for socket in &self.sockets {
            if let Err(error) = packet::set_qdisc_bypass(socket, bypass) {
                tracing::debug!(%error, "PACKET_QDISC_BYPASS");
            }
        }
    }
}

pub(super) fn open(port: &Port, spec: PortSpec, options: &PortOptions, workers: usize) -> io::Result<(Halves, Far)> {
    Ok(match spec {
        PortSpec::Linux(_) => {
            let (halves, transmit) = open_interface(port, options, workers)?;
            (Some(halves), Far::Interface(Mutex::new(transmit)))
        }
        PortSpec::Tap(name) => {
            let (rx, file) = tap::open(&name)?;
            port.ifindex.store(sys::interface_index(&name)?, Ordering::Relaxed);
            let sender = |_| Ok(Box::new(TapTx(file.try_clone()?)) as Box<dyn PortTx>);
            (Some((Box::new(rx), (0..workers).map(sender).collect::<io::Result<_>>()?)), Far::Tap)
        }
        PortSpec::Pcap { input, output } => {
            let rx = PcapRx::open(input.as_deref())?;
            let writer = output.as_deref().map(Writer::create).transpose()?.map(|w| Arc::new(Mutex::new(w)));
            let senders = (0..workers).map(|_| Box::new(PcapTx(writer.clone())) as _).collect();
            (Some((Box::new(rx), senders)), Far::File)
        }
        PortSpec::Link(_, end) => {
            let (rx, tx, end) = end.into_port();
            let mut senders: Vec<Box<dyn PortTx>> = vec![Box::new(tx)];
            senders.extend((1..workers).map(|_| Box::new(end.sender()) as Box<dyn PortTx>));
            (Some((Box::new(rx), senders)), Far::Link(end))
        }
        PortSpec::Remote(_) => (None, Far::Remote),
    })
}

pub(super) type Open = (Box<dyn PortRx>, Vec<Box<dyn PortTx>>);

pub(super) fn open_interface(port: &Port, options: &PortOptions, workers: usize) -> io::Result<(Open, Transmit)> {
    let ifindex = sys::interface_index(&port.interface)?;
    let ethtool = sys::ethtool(&port.interface)?;
    let rx = PacketRx::open(ifindex, &options.ring)?;
    let tx = (0..workers).map(|_| PacketTx::open(ifindex, &options.ring)).collect::<io::Result<Vec<_>>>()?;
    let mut sockets = Vec::new();
    for half in &tx {
        sockets.extend(half.sockets()?);
    }
    let promiscuity = netlink::link(ifindex)?.promiscuity;
    let transmit = Transmit { sockets, veth: ethtool.driver == "veth", promiscuity };
    transmit.choose(ifindex);
    port.ifindex.store(ifindex, Ordering::Relaxed);
    if let Some(mbps) = ethtool.speed_mbps {
        port.speed_bps.store(u64::from(mbps) * 1_000_000, Ordering::Relaxed);
    }
    Ok(((Box::new(rx), tx.into_iter().map(|half| Box::new(half) as Box<dyn PortTx>).collect()), transmit))
}
