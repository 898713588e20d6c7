//! What arrives: signature, replay, who is heard where, and whether that is the intended cabling.

use super::port::{Heard, SlotId};
use super::{CALM_AFTER, Due, Links};
use crate::machine::{AlarmKind, LinkLoss, Nanos, Observation, Output};
use crate::net::PortRef;
use crate::wire::Frame;
use crate::wire::lldp::{Id, Lldp};

impl Links {
    pub(super) fn receive(&mut self, at: &PortRef, frame: &Frame<'_>, now: Nanos, out: &mut Vec<Output>) {
        self.count.received += 1;
        let Ok(unit) = Lldp::parse(frame.payload) else {
            self.count.malformed += 1;
            return;
        };
        let sender = sender(&unit);
        let ours = sender.as_ref().is_some_and(|s| self.devices.contains_key(&s.device));
        let Some(signature) = unit.signature else {
            self.count.unsigned += 1;
            // A server or an outside switch may well send LLDP; one that calls itself by our names may not.
            if ours {
                self.forged(at, &unit.chassis, &unit.port, "has no signature", now, out);
            }
            return;
        };
        if !self.config.keys.iter().any(|k| k.verify(frame.payload)) {
            self.forged(at, &unit.chassis, &unit.port, "has a wrong signature", now, out);
            return;
        }
        let wall = self.config.epoch_unix_ns.wrapping_add(now);
        if wall.abs_diff(signature.time_ns) > self.config.window {
            self.replayed(at, &unit.chassis, &unit.port, now, out);
            return;
        }
        let Some(sender) = sender else {
            self.count.malformed += 1;
            return;
        };
        let (id, from) = (self.slot(at), self.slot(&sender));
        let stamp = (signature.term, signature.time_ns);
        // What is older than the window is refused for its time. So it need not be known for longer; and neither a clock
        // that was set back nor a store that counts anew locks its owner out for longer.
        let known = |last: &(u64, u64)| wall.abs_diff(last.1) <= self.config.window;
        if self.slots[from].last_signed.filter(known).is_some_and(|last| stamp <= last) {
            self.replayed(at, &unit.chassis, &unit.port, now, out);
            return;
        }
        self.slots[from].last_signed = Some(stamp);
        let hears = unit.hears.as_deref().and_then(PortRef::parse);
        self.slots[from].told = hears.and_then(|port| self.by_port.get(&port).copied());
        self.heard(id, from, now, out);
        self.heed(id, from, now, out);
    }

    /// What the master of the far end says of our frames: after a while without them the link is not used.
    fn heed(&mut self, id: SlotId, from: SlotId, now: Nanos, out: &mut Vec<Output>) {
        let deaf = !self.is_ours(from) && self.slots[id].link == Some(from) && self.slots[from].told != Some(id);
        let since = self.slots[from].deaf_since.unwrap_or(now);
        self.slots[from].deaf_since = deaf.then_some(since);
        if deaf && now - since > self.config.hold() {
            self.link_down(id, LinkLoss::Silent, out);
        }
    }

    /// Who signed this within the window; `None` when it was not one of us.
    pub(super) fn genuine(&self, payload: &[u8], now: Nanos) -> Option<PortRef> {
        let unit = Lldp::parse(payload).ok()?;
        let wall = self.config.epoch_unix_ns.wrapping_add(now);
        let fresh = wall.abs_diff(unit.signature.as_ref()?.time_ns) <= self.config.window;
        (fresh && self.config.keys.iter().any(|k| k.verify(payload))).then(|| sender(&unit))?
    }

    fn heard(&mut self, id: SlotId, from: SlotId, now: Nanos, out: &mut Vec<Output>) {
        if self.slots[id].oper == Some(false) {
            return; // in flight while the port went down
        }
        if let Some(other) = self.slots[id].heard.filter(|h| h.from != from) {
            let fresh = now.saturating_sub(other.at) <= self.config.hold();
            let good = |peer| self.slots[id].intended == Some(peer);
            if fresh && good(other.from) {
                let text = format!(
                    "{} hears {} and {}: there is something between the switches",
                    self.slots[id].at, self.slots[other.from].at, self.slots[from].at
                );
                self.slots[id].shared_at = now;
                self.set_alarm(id, AlarmKind::SharedSegment, Some(text), out);
                return;
            }
            if self.slots[id].link.is_some_and(|peer| peer != from) {
                self.link_down(id, LinkLoss::Recabled, out);
            }
        }
        self.hear(id, from, now);
        if now.saturating_sub(self.slots[id].shared_at) > self.config.hold() {
            self.set_alarm(id, AlarmKind::SharedSegment, None, out);
        }
        if self.slots[id].link == Some(from) {
            self.set_alarm(id, AlarmKind::LldpSilent, None, out);
        }
        self.judge_cabling(id, out);
        self.try_up(id, from, now, out);
    }

    /// Notes that `id` hears `from`.
    pub(super) fn hear(&mut self, id: SlotId, from: SlotId, now: Nanos) {
        self.slots[from].unheard = 0;
        let s = &mut self.slots[id];
        match &mut s.heard {
            Some(h) if h.from == from => h.at = now,
            _ => s.heard = Some(Heard { from, since: now, at: now }),
        }
        if s.expiring.is_none() {
            s.expiring = Some(self.timers.add(now + self.config.hold(), (Due::Expire, id)));
        }
    }

    /// Compares what a port hears with what is intended.
    pub(super) fn judge_cabling(&mut self, id: SlotId, out: &mut Vec<Output>) {
        let s = &self.slots[id];
        let text = s.heard.and_then(|h| {
            let found = &self.slots[h.from];
            let here = &s.at;
            if h.from == id {
                return Some(format!("{here} hears itself: the cable is looped back"));
            }
            if !found.present {
                return Some(format!("{here} is cabled to {}, which is not a port of this site", found.at));
            }
            match s.intended.map(|i| &self.slots[i].at) {
                Some(want) if *want == found.at => None,
                Some(want) => Some(format!("{here} is cabled to {}, intended is {want}", found.at)),
                None if self.config.accept_undeclared && found.intended.is_none() => None,
                None => Some(format!("{here} is cabled to {}, no link is intended there", found.at)),
            }
        });
        let found = text.as_ref().and(s.heard).map(|h| h.from);
        let expected = s.intended;
        if self.slots[id].fault != found.map(|f| (f, expected)) {
            self.slots[id].fault = found.map(|f| (f, expected));
            let at = self.slots[id].at.clone();
            let name = |id: SlotId| self.slots[id].at.clone();
            out.push(Output::Observe(match found {
                Some(found) => Observation::CablingFault { at, expected: expected.map(name), found: name(found) },
                None => Observation::CablingRight { at },
            }));
        }
        self.set_alarm(id, AlarmKind::Miscabled, text, out);
    }

    fn forged(&mut self, at: &PortRef, chassis: &Id, port: &Id, what: &str, now: Nanos, out: &mut Vec<Output>) {
        self.count.forged += 1;
        self.suspicious(at, chassis, port, what, now, out);
    }

    fn replayed(&mut self, at: &PortRef, chassis: &Id, port: &Id, now: Nanos, out: &mut Vec<Output>) {
        self.count.replayed += 1;
        self.suspicious(at, chassis, port, "was sent before or too long ago", now, out);
    }

    fn suspicious(&mut self, at: &PortRef, chassis: &Id, port: &Id, what: &str, now: Nanos, out: &mut Vec<Output>) {
        // A port that nobody knows gets no memory here.
        let Some(&id) = self.by_port.get(at) else { return };
        if self.slots[id].forged_at.replace(now).is_none() {
            let text = format!("{at} got LLDP that claims to be {chassis}/{port} and {what}");
            self.set_alarm(id, AlarmKind::LldpForged, Some(text), out);
            self.timers.add(now + CALM_AFTER, (Due::Calm, id));
        }
    }

    pub(super) fn calm(&mut self, id: SlotId, now: Nanos, out: &mut Vec<Output>) {
        let Some(last) = self.slots[id].forged_at else { return };
        if now.saturating_sub(last) >= CALM_AFTER {
            self.slots[id].forged_at = None;
            self.set_alarm(id, AlarmKind::LldpForged, None, out);
        } else {
            self.timers.add(last + CALM_AFTER, (Due::Calm, id));
        }
    }
}

fn sender(unit: &Lldp) -> Option<PortRef> {
    match (&unit.chassis, &unit.port) {
        (Id::Local(device), Id::Local(port)) => PortRef::parse(&format!("{device}/{port}")),
        _ => None,
    }
}
