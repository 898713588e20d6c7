//! Sending to a server by its address: next hop, its host, its port. Packets wait a moment while it is unknown.

use crate::hosts::ask_everywhere;
use crate::machine::{Change, Nanos, Output, SECONDS};
use crate::net::Net;
use crate::wire::ip::{Link, udp};
use std::collections::VecDeque;
use std::net::IpAddr;

const WAITING: usize = 64;
const PATIENCE: Nanos = 2 * SECONDS;

#[derive(Debug)]
struct Packet {
    src: (IpAddr, u16),
    dst: (IpAddr, u16),
    data: Vec<u8>,
    until: Nanos,
    /// What must be known before it can go.
    vlan: u16,
    hop: IpAddr,
}

/// Sends UDP packets of the fabric itself.
#[derive(Debug, Default)]
pub(super) struct Forward {
    waiting: VecDeque<Packet>,
    pub sent: u64,
    pub unreachable: u64,
}

impl Forward {
    /// Sends in the routing domain of VLAN `near`.
    #[allow(clippy::too_many_arguments)]
    pub fn send(
        &mut self,
        net: &dyn Net,
        near: u16,
        src: (IpAddr, u16),
        dst: (IpAddr, u16),
        data: Vec<u8>,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let Some((vlan, hop)) = net.next_hop(near, dst.0) else {
            self.unreachable += 1;
            return;
        };
        let packet = Packet { src, dst, data, until: now + PATIENCE, vlan, hop };
        let Some(packet) = self.try_send(net, packet, out) else { return };
        if !self.waiting.iter().any(|p| (p.vlan, p.hop) == (vlan, hop)) {
            ask_everywhere(net, vlan, hop, out);
        }
        if self.waiting.len() >= WAITING {
            self.waiting.pop_front();
            self.unreachable += 1;
        }
        self.waiting.push_back(packet);
    }

    /// The packet again when its next hop is not known.
    fn try_send(&mut self, net: &dyn Net, packet: Packet, out: &mut Vec<Output>) -> Option<Packet> {
        let frame = net.host_by_ip(packet.vlan, packet.hop).and_then(|host| {
            host.locations.iter().find_map(|at| {
                let tags = net.port(at)?.vlans.tags_for(packet.vlan)?;
                let link = Link { dst: host.mac, src: net.router_mac(&at.device)?, tags };
                Some((at.clone(), udp(link, packet.src, packet.dst, &packet.data)?))
            })
        });
        let Some((at, frame)) = frame else { return Some(packet) };
        self.sent += 1;
        out.push(Output::PacketOut { at, frame });
        None
    }

    pub fn changed(&mut self, change: Change, net: &dyn Net, out: &mut Vec<Output>) {
        if self.waiting.is_empty()
            || matches!(change, Change::Host { vlan, .. } if !self.waiting.iter().any(|p| p.vlan == vlan))
        {
            return;
        }
        for packet in std::mem::take(&mut self.waiting) {
            if let Some(still) = self.try_send(net, packet, out) {
                self.waiting.push_back(still);
            }
        }
    }

    pub fn tick(&mut self, now: Nanos) {
        while self.waiting.front().is_some_and(|p| p.until <= now) {
            self.waiting.pop_front();
            self.unreachable += 1;
        }
    }

    pub fn next_timeout(&self) -> Option<Nanos> {
        self.waiting.front().map(|p| p.until)
    }
}
