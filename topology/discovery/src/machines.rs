//! All packet machines behind one door: parse once, guard against floods, dispatch to those that want the packet.

use crate::guard::{Guard, GuardConfig};
use crate::machine::{Alarm, AlarmKind, Input, Nanos, Output, PacketMachine, Punt, PuntTo, Why};
use crate::net::{Net, PortRef, PortRole};
use crate::wire::{ETH_IPV4, ETH_IPV6, Frame, Ip};

/// The set of machines of one controller.
pub struct Machines {
    members: Vec<(Vec<Punt>, Box<dyn PacketMachine>)>,
    guard: Guard,
    malformed: u64,
    mirrored: u64,
}

impl Machines {
    pub fn new(guard: GuardConfig) -> Self {
        Machines { members: Vec::new(), guard: Guard::new(guard), malformed: 0, mirrored: 0 }
    }

    /// Adds a machine; those added first see a packet first.
    pub fn add(&mut self, machine: Box<dyn PacketMachine>) {
        self.members.push((machine.wants(), machine));
    }

    /// Every packet that must be punted, each match once and sorted; where one machine copies and another traps, trap.
    pub fn wants(&self) -> Vec<Punt> {
        let mut all: Vec<Punt> = self.members.iter().flat_map(|(w, _)| w.iter().copied()).collect();
        all.sort_unstable();
        // `action` is the last field and Trap sorts after Copy: of equal matches keep the later.
        all.dedup_by(|later, kept| {
            let same = Punt { action: kept.action, ..*later } == *kept;
            if same {
                kept.action = later.action;
            }
            same
        });
        all
    }

    /// A raw frame from the CPU port of a switch, with the port on which the switch got it.
    pub fn packet_in(
        &mut self,
        at: &PortRef,
        bytes: &[u8],
        why: Why,
        net: &dyn Net,
        now: Nanos,
        out: &mut Vec<Output>,
    ) {
        let Ok(frame) = Frame::parse(bytes) else {
            self.malformed += 1;
            return;
        };
        let infra = net.role(at) == Some(PortRole::Infra);
        if !infra && !self.guard.admit(at, now, out) {
            return;
        }
        self.mirrored += u64::from(why == Why::Mirrored);
        let facts = Facts::of(&frame);
        let input = Input::PacketIn { at, frame: &frame, why };
        for (wants, machine) in &mut self.members {
            let asked = matches!(why, Why::Unknown | Why::Expired) || wants.iter().any(|w| facts.matches(w));
            if machine.takes(why) && asked {
                machine.handle(&input, net, now, out);
            }
        }
    }

    /// Anything but a packet goes to all machines.
    pub fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>) {
        if matches!(input, Input::Tick) {
            self.guard.tick(now, out);
        }
        for (_, machine) in &mut self.members {
            machine.handle(input, net, now, out);
        }
    }

    /// The earliest time at which [`Input::Tick`] is due.
    pub fn next_timeout(&self) -> Option<Nanos> {
        self.members.iter().filter_map(|(_, m)| m.next_timeout()).chain(self.guard.next_timeout()).min()
    }

    /// `(machine, counter, value)`.
    pub fn counters(&self) -> Vec<(&'static str, &'static str, u64)> {
        let mut all = vec![("dispatch", "malformed", self.malformed), ("dispatch", "over_rate", self.guard.dropped())];
        all.push(("dispatch", "mirrored", self.mirrored));
        for (_, m) in &self.members {
            all.extend(m.counters().into_iter().map(|(name, value)| (m.name(), name, value)));
        }
        all
    }
}

/// The fields of a packet that a [`Punt`] can ask for.
struct Facts {
    ether_type: u16,
    proto: Option<u8>,
    udp_dst: Option<u16>,
    icmp_type: Option<u8>,
    group: bool,
    dst: crate::wire::Mac,
}

impl Facts {
    fn of(frame: &Frame<'_>) -> Facts {
        let mut f = Facts {
            ether_type: frame.ether_type,
            proto: None,
            udp_dst: None,
            icmp_type: None,
            group: frame.dst.is_group(),
            dst: frame.dst,
        };
        if matches!(frame.ether_type, ETH_IPV4 | ETH_IPV6)
            && let Ok(ip) = Ip::parse(frame)
        {
            f.proto = Some(ip.proto);
            match ip.proto {
                17 => f.udp_dst = ip.payload.get(2..4).map(|b| u16::from_be_bytes([b[0], b[1]])),
                1 | 58 => f.icmp_type = ip.payload.first().copied(),
                _ => {}
            }
        }
        f
    }

    fn matches(&self, want: &Punt) -> bool {
        fn fits<T: PartialEq>(want: Option<T>, have: Option<T>) -> bool {
            want.is_none() || want == have
        }
        want.ether_type == self.ether_type
            && fits(want.ip_proto, self.proto)
            && fits(want.udp_dst, self.udp_dst)
            && fits(want.icmp_type, self.icmp_type)
            && match want.to {
                // The switch decided what a gateway address is when it punted the packet.
                PuntTo::Any | PuntTo::Gateways => true,
                PuntTo::Mac(mac) => mac == self.dst,
                PuntTo::Group => self.group,
                PuntTo::Unicast => !self.group,
            }
    }
}

/// Used by the guard and by machines that watch ports.
pub(crate) fn flood_alarm(at: &PortRef, rate: u32, dropped: u64) -> Output {
    Alarm::raise(
        AlarmKind::HostFlood,
        at.to_string(),
        format!("{at} sends more than {rate} control packets a second; {dropped} were dropped"),
    )
}
