//! Proof that a neighbour without a session still forwards: a frame that it sends back.
//!
//! A leaf cannot hear LLDP of a spine that the controller has lost, for nobody can send it there. So it sends the spine a
//! signed packet under its own node label: a living spine takes the label off and sends the packet back, as it does with
//! all traffic to that leaf, and there a rule hands it to the controller. Like the echo of BFD (RFC 5880 6.4) this needs
//! nothing of the far end but its forwarding.

use std::net::{IpAddr, Ipv4Addr};

use super::Links;
use super::port::SlotId;
use crate::machine::{Nanos, Output};
use crate::net::PortRef;
use crate::wire::ip::{Ip, Link, PROTO_UDP, udp};
use crate::wire::{ETH_MPLS, Frame, Mac, Tags};

/// UDP destination port of echo packets (RFC 5881 4).
pub const ECHO_PORT: u16 = 3785;
/// Source and destination of echo packets: an address that is never routed (192.0.0.8, the IPv4 dummy address of RFC 7600).
pub const ECHO_ADDRESS: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

impl Links {
    /// Sends an echo packet out of `id` if it has a link to a device that cannot be asked.
    pub(super) fn send_echo(&mut self, id: SlotId, mac: Mac, now: Nanos, out: &mut Vec<Output>) {
        let s = &self.slots[id];
        let (Some(label), Some(peer)) = (s.echo_label, s.link) else { return };
        let Some(far) = self.devices.get(&self.slots[peer].at.device).filter(|d| !d.connected) else { return };
        let (Some(key), Some(far_mac)) = (self.config.keys.first(), far.router_mac) else { return };
        let term = self.devices.get(&s.at.device).map_or(0, |d| d.term);
        let signed = self.unit(id).signed(key, self.config.epoch_unix_ns.wrapping_add(now), term);
        let link = Link { dst: far_mac, src: mac, tags: Tags::None };
        let end = (IpAddr::V4(ECHO_ADDRESS), ECHO_PORT);
        let Some(plain) = udp(link, end, end, &signed) else { return };
        let at = self.slots[id].at.clone();
        out.push(Output::PacketOut { at, frame: labelled(&plain, label) });
        self.slots[id].unechoed += 1;
    }

    /// An echo packet came back to `at`; by another cable than it left if there are several.
    pub(super) fn echoed(&mut self, at: &PortRef, frame: &Frame<'_>, now: Nanos) {
        let Ok(ip) = Ip::parse(frame) else { return };
        if ip.proto != PROTO_UDP || ip.dst != IpAddr::V4(ECHO_ADDRESS) {
            return;
        }
        let Some(sender) = ip.udp().ok().filter(|u| u.dst == ECHO_PORT).and_then(|u| self.genuine(u.data, now)) else {
            self.count.forged += 1;
            return;
        };
        if sender.device != at.device {
            return;
        }
        let Some(&id) = self.by_port.get(&sender) else { return };
        self.count.echoed += 1;
        self.slots[id].unechoed = 0;
        if let Some(peer) = self.slots[id].link {
            self.hear(id, peer, now);
        }
    }
}

/// The same frame under one label (RFC 3032 2.1).
fn labelled(frame: &[u8], label: u32) -> Vec<u8> {
    const BOTTOM: u32 = 1 << 8;
    let mut out = Vec::with_capacity(frame.len() + 4);
    out.extend_from_slice(&frame[..12]);
    out.extend_from_slice(&ETH_MPLS.to_be_bytes());
    out.extend_from_slice(&(label << 12 | BOTTOM | 64).to_be_bytes());
    out.extend_from_slice(&frame[14..]);
    out
}
