//! A port as the LLDP machine sees it, and sending out of it.

use super::{Due, Links, SEND_GAP};
use crate::machine::{AlarmKind, Nanos, Output};
use crate::net::PortRef;
use crate::wire::lldp::{Id, Lldp, frame};

pub(super) type SlotId = usize;

#[derive(Clone, Copy, Debug)]
pub(super) struct Heard {
    pub from: SlotId,
    /// First and last frame.
    pub since: Nanos,
    pub at: Nanos,
}

#[derive(Debug)]
pub(super) struct Slot {
    pub at: PortRef,
    /// Known to the `Net` now.
    pub present: bool,
    /// Fabric or unknown port, enabled.
    pub sends: bool,
    pub intended: Option<SlotId>,
    /// The label under which the intended neighbour sends back what this port sends it.
    pub echo_label: Option<u32>,
    /// LLDP frames sent since one of them was heard, and echo packets sent since one came back.
    pub unheard: u32,
    pub unechoed: u32,
    /// What the switch says; `None` when it says nothing.
    pub oper: Option<bool>,
    pub heard: Option<Heard>,
    /// The port that it hears by its own frames, which counts when its switch has another master; and since when those
    /// name another port than its neighbour, or none.
    pub told: Option<SlotId>,
    pub deaf_since: Option<Nanos>,
    pub link: Option<SlotId>,
    /// Frames still to be sent fast.
    pub fast: u8,
    pub sending: bool,
    pub next_send: Option<Nanos>,
    pub last_sent: Option<Nanos>,
    pub expiring: Option<Nanos>,
    /// Term and time of the last believed frame that this port sent.
    pub last_signed: Option<(u64, u64)>,
    /// Last forged or replayed frame that arrived here.
    pub forged_at: Option<Nanos>,
    /// Last frame of another port than the intended one, which is heard as well.
    pub shared_at: Nanos,
    /// Wrong neighbour and intended one.
    pub fault: Option<(SlotId, Option<SlotId>)>,
    pub alarms: Vec<(AlarmKind, String)>,
}

impl Slot {
    pub fn new(at: PortRef) -> Self {
        Slot {
            at,
            present: false,
            sends: false,
            intended: None,
            echo_label: None,
            unheard: 0,
            unechoed: 0,
            oper: None,
            heard: None,
            told: None,
            deaf_since: None,
            link: None,
            fast: 0,
            sending: false,
            next_send: None,
            last_sent: None,
            expiring: None,
            last_signed: None,
            forged_at: None,
            shared_at: 0,
            fault: None,
            alarms: Vec::new(),
        }
    }
}

impl Links {
    /// Makes the next frame of a port due at `when`, or earlier if it is so already.
    pub(super) fn send_soon(&mut self, id: SlotId, when: Nanos) {
        let s = &mut self.slots[id];
        if !s.sends {
            return;
        }
        let when = when.max(s.last_sent.map_or(0, |t| t + SEND_GAP));
        if s.next_send.is_none_or(|t| t > when) {
            s.next_send = Some(self.timers.add(when, (Due::Send, id)));
        }
        s.sending = true;
    }

    pub(super) fn send(&mut self, id: SlotId, now: Nanos, out: &mut Vec<Output>) {
        let s = &mut self.slots[id];
        s.next_send = None;
        if !s.sends {
            s.sending = false;
            return;
        }
        let c = &self.config;
        let pause = if s.fast > 0 {
            s.fast -= 1;
            c.interval / 10
        } else {
            c.interval - self.jitter.below(c.interval * u64::from(c.jitter_percent.min(50)) / 100 + 1)
        };
        s.next_send = Some(self.timers.add(now + pause, (Due::Send, id)));
        s.last_sent = Some(now);
        let (Some(key), Some(device)) = (c.keys.first(), self.devices.get(&s.at.device)) else { return };
        let (true, Some(mac)) = (device.connected && s.oper != Some(false), device.router_mac) else { return };
        let unit = self.unit(id).signed(key, c.epoch_unix_ns.wrapping_add(now), device.term);
        self.count.sent += 1;
        let s = &mut self.slots[id];
        s.unheard = s.unheard.saturating_add(1);
        out.push(Output::PacketOut { at: s.at.clone(), frame: frame(mac, &unit) });
        self.send_echo(id, mac, now, out);
    }

    /// What a port says of itself.
    pub(super) fn unit(&self, id: SlotId) -> Lldp {
        let at = &self.slots[id].at;
        Lldp {
            chassis: Id::Local(at.device.to_string()),
            port: Id::Local(at.port.to_string()),
            ttl_s: u16::try_from(self.config.hold().div_ceil(crate::machine::SECONDS)).unwrap_or(u16::MAX),
            system_name: None,
            hears: self.slots[id].heard.map(|h| self.slots[h.from].at.to_string()),
            signature: None,
        }
    }
}
