//! What goes wrong, and how it is mended.

use super::*;

impl World {
    pub(super) fn some_switch(&mut self) -> SwitchName {
        let n = self.random.below(self.switches.len() as u64) as usize;
        self.switches.keys().nth(n).unwrap().clone()
    }

    /// One fault, or one wish of a client; and the next is due.
    pub(super) fn fault(&mut self) {
        if self.calm {
            return;
        }
        let next = self.random.below(600 * MS);
        self.at(next, Event::Fault);
        let node = self.random.below(3) as usize;
        let long = 100 * MS + self.random.below(4 * SECOND);
        match self.random.below(14) {
            0 if self.nodes[node].alive => {
                self.say(|| format!("c{} is killed for {} ms", node + 1, long / MS));
                self.nodes[node].alive = false;
                let life = self.nodes[node].life;
                let its = self.conns.iter().filter(|(_, c)| c.0 == node && c.1 == life);
                let its: Vec<(Conn, SwitchName)> = its.map(|(conn, c)| (*conn, c.2.clone())).collect();
                for (conn, switch) in its {
                    if self.switches[&switch].is_open(conn) {
                        self.cut_conn(&switch, conn);
                    }
                }
                self.at(long, Event::Mend(Mend::Restart(node)));
            }
            1 if self.nodes[node].alive => {
                self.say(|| format!("c{} is frozen for {} ms", node + 1, long / MS));
                self.nodes[node].paused_until = self.now + long;
            }
            2 => {
                self.say(|| format!("c{} loses the store for {} ms", node + 1, long / MS));
                self.nodes[node].reaches_store = false;
                self.at(long, Event::Mend(Mend::StoreOf(node)));
            }
            3 | 4 => {
                let switch = self.some_switch();
                self.say(|| format!("c{} loses {switch} for {} ms", node + 1, long / MS));
                self.cut.insert((node, switch.clone()));
                self.at(long, Event::Mend(Mend::LinkTo(node, switch)));
            }
            5 if self.majority && self.random.chance(50) => {
                self.say(|| format!("the store loses its majority for {} ms", long / MS));
                self.majority = false;
                self.at(long, Event::Mend(Mend::Majority));
            }
            6 => {
                self.slow_store = self.random.below(400 * MS);
                self.say(|| "the store's disks are slow".into());
            }
            7 => self.slow_store = 0,
            8 if self.random.chance(30) => {
                let name = self.some_switch();
                self.say(|| format!("{name} loses power for {} ms", long / MS));
                let switch = self.switches.get_mut(&name).unwrap();
                let conns = switch.connections();
                switch.up = false;
                switch.reboot();
                let fault = || Input::StreamEnded(Fault::new(Code::Unavailable, "reset"));
                self.back(&name, conns.into_iter().map(|c| (c, fault())).collect());
                self.at(long, Event::Mend(Mend::Power(name)));
            }
            _ => {
                let n = self.random.below(60) as u32;
                let client = if self.asked.insert(n) { Client::Put(n) } else { Client::Delete(n) };
                // One wish after the other: of two under way nobody could say which is the last.
                if matches!(client, Client::Put(_)) || self.acked.get(&n) == Some(&true) {
                    let delay = self.way_to_store();
                    self.at(delay, Event::Intent { node, client });
                }
            }
        }
    }

    pub(super) fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Restart(node) if !self.nodes[node].alive => {
                let now = self.now;
                self.nodes[node].restart(now);
                self.nodes[node].paused_until = 0;
                self.begin(node);
            }
            Mend::Restart(_) => {}
            Mend::StoreOf(node) => {
                self.nodes[node].reaches_store = true;
                self.begin(node);
            }
            Mend::LinkTo(node, switch) => {
                self.cut.remove(&(node, switch));
                self.tear();
            }
            Mend::Majority => {
                self.majority = true;
                self.store.renew_all(std::time::Duration::from_nanos(self.now));
                (0..3).for_each(|node| self.begin(node));
            }
            Mend::Power(name) => self.switches.get_mut(&name).unwrap().up = true,
        }
    }

    /// The storm is over: everything is whole again, in a moment.
    pub(super) fn soothe(&mut self) {
        self.calm = true;
        self.slow_store = 0;
        self.cut.clear();
        self.tear();
        self.mend(Mend::Majority);
        for node in 0..3 {
            self.mend(Mend::StoreOf(node));
            self.mend(Mend::Restart(node));
        }
        self.switches.values_mut().for_each(|s| s.up = true);
    }
}
