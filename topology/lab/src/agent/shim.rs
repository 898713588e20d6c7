//! Stands between a host's Linux stack and its cables, where the kernel has no 802.1Q and no bonding: the stack sees plain
//! TAPs, the cables carry tags, and a TAP with several cables sends each flow over one that is up.
//!
//! Always used for such hosts, also where the kernel could do it: one way that behaves the same on every machine.

use super::frame::{Frame, Tags};
use super::{ShimConfig, invalid, ready};
use crate::sys::iface::{Interfaces, LinkEvents};
use crate::sys::packet::PacketSocket;
use crate::sys::poll;
use crate::sys::tap::Tap;
use std::io;
use std::os::fd::AsRawFd;

/// Frames taken from one side before the others get a turn.
const BURST: usize = 64;

struct Cable {
    name: String,
    socket: PacketSocket,
    up: bool,
}

struct HostSide {
    tap: Tap,
    cables: Vec<usize>,
    tags: Tags,
    /// What to push, inner first: protocol and VLAN id.
    push: Vec<(u16, u16)>,
    carrier: bool,
}

pub(super) fn run(config: &ShimConfig) -> io::Result<()> {
    let mut shim = Shim::open(config)?;
    shim.look_at_cables()?;
    ready()?;
    shim.forward()
}

struct Shim {
    cables: Vec<Cable>,
    hosts: Vec<HostSide>,
    interfaces: Interfaces,
    events: LinkEvents,
    frame: Frame,
}

impl Shim {
    fn open(config: &ShimConfig) -> io::Result<Self> {
        // Before the first look at the cables, so that no change falls in between.
        let events = LinkEvents::here()?;
        let open = |name: &String| {
            // Several cables, but a direct interface beside a shimmed one: that cable is not ours.
            let used = config.taps.iter().any(|t| t.cables.iter().any(|c| config.cables.get(*c) == Some(name)));
            used.then(|| Ok::<_, io::Error>(Cable { name: name.clone(), socket: PacketSocket::open(name)?, up: false }))
                .transpose()
        };
        let mut index = vec![None; config.cables.len()];
        let mut cables = Vec::new();
        for (n, name) in config.cables.iter().enumerate() {
            if let Some(cable) = open(name)? {
                index[n] = Some(cables.len());
                cables.push(cable);
            }
        }
        let host = |tap: &super::TapConfig| {
            let places = tap.cables.iter().map(|c| index.get(*c).copied().flatten());
            let cables =
                places.collect::<Option<Vec<_>>>().ok_or_else(|| invalid(format!("no such cable for {}", tap.name)))?;
            let inner_first = tap.tags.iter().rev().enumerate();
            let outer_of_two = |n: usize| if n == 1 { tap.outer_tpid } else { 0x8100 };
            Ok(HostSide {
                tap: Tap::open(&tap.name)?,
                cables,
                tags: Tags::of(&tap.tags),
                push: inner_first.map(|(n, id)| (outer_of_two(n), *id)).collect(),
                carrier: true,
            })
        };
        let hosts = config.taps.iter().map(host).collect::<io::Result<_>>()?;
        Ok(Self { cables, hosts, interfaces: Interfaces::here()?, events, frame: Frame::new() })
    }

    fn forward(&mut self) -> io::Result<()> {
        let cables = self.cables.len();
        let mut fds: Vec<libc::pollfd> = self.cables.iter().map(|c| poll::readable(c.socket.as_raw_fd())).collect();
        fds.extend(self.hosts.iter().map(|h| poll::readable(h.tap.as_raw_fd())));
        fds.push(poll::readable(self.events.as_raw_fd()));
        loop {
            poll::wait(&mut fds, None)?;
            if fds.last().is_some_and(poll::is_ready) {
                self.events.drain();
                self.look_at_cables()?;
            }
            for n in (0..cables).filter(|&n| poll::is_ready(&fds[n])) {
                self.forward_inwards(n)?;
            }
            for n in (0..self.hosts.len()).filter(|&n| poll::is_ready(&fds[cables + n])) {
                self.forward_outwards(n)?;
            }
        }
    }

    /// A host has carrier while one of its cables has.
    fn look_at_cables(&mut self) -> io::Result<()> {
        for cable in &mut self.cables {
            cable.up = self.interfaces.flags(&cable.name).is_ok_and(|f| f.up && f.running);
        }
        for host in &mut self.hosts {
            let carrier = host.cables.iter().any(|&c| self.cables[c].up);
            if carrier != host.carrier {
                host.tap.set_carrier(carrier)?;
                host.carrier = carrier;
            }
        }
        Ok(())
    }

    fn forward_inwards(&mut self, n: usize) -> io::Result<()> {
        for _ in 0..BURST {
            let Some(received) = self.cables[n].socket.receive(self.frame.space())? else { break };
            self.frame.received_from_wire(&received);
            if self.frame.is_runt() {
                continue;
            }
            let tags = self.frame.tags();
            // Frames with other tags are for nobody here.
            let here = |h: &&HostSide| h.cables.contains(&n) && h.tags == tags;
            if let Some(host) = self.hosts.iter().find(here) {
                self.frame.pop(tags.len());
                host.tap.send(&self.frame.vnet, self.frame.bytes())?;
            }
        }
        Ok(())
    }

    fn forward_outwards(&mut self, n: usize) -> io::Result<()> {
        for _ in 0..BURST {
            let host = &self.hosts[n];
            let Some((length, vnet)) = host.tap.receive(self.frame.space())? else { break };
            self.frame.received(length, vnet);
            if self.frame.is_runt() {
                continue;
            }
            let up = host.cables.iter().filter(|&&c| self.cables[c].up);
            let count = up.clone().count();
            if count == 0 {
                continue;
            }
            let chosen = self.frame.flow_hash() as usize % count;
            for (tpid, id) in &host.push {
                self.frame.push(*tpid, *id);
            }
            if let Some(&cable) = up.clone().nth(chosen) {
                self.cables[cable].socket.send(&self.frame.vnet, self.frame.bytes())?;
            }
        }
        Ok(())
    }
}
