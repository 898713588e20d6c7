//! The contract between the engine and everything that works on packets: inputs, outputs, and what to punt.

use crate::net::{Members, Net, PortRef};
use crate::wire::{Frame, Mac};
use std::net::IpAddr;

/// Nanoseconds since a fixed point of the caller's choice; it never goes back.
pub type Nanos = u64;

pub const MILLIS: Nanos = 1_000_000;
pub const SECONDS: Nanos = 1_000 * MILLIS;

/// A sans-IO machine fed with packets, port states and time.
///
/// No machine sleeps, reads a clock or touches a socket. `handle` pushes what is to be done; the caller calls it with
/// [`Input::Tick`] no later than `next_timeout` says.
pub trait PacketMachine: Send {
    /// A short name for logs, counters and the owner of punt entries.
    fn name(&self) -> &'static str;

    /// The packets that must reach this machine. An app turns them into punt entries of the ACL table.
    fn wants(&self) -> Vec<Punt>;

    fn handle(&mut self, input: &Input<'_>, net: &dyn Net, now: Nanos, out: &mut Vec<Output>);

    /// Whether packets that came for this reason are for this machine. Those of a rule have to be wanted as well.
    fn takes(&self, why: Why) -> bool {
        why == Why::Rule
    }

    /// When `handle` wants [`Input::Tick`] next; `None` when nothing is pending.
    fn next_timeout(&self) -> Option<Nanos>;

    /// Counters since the start, by name.
    fn counters(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }
}

/// Why a switch sent a packet.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Why {
    /// A rule that [`PacketMachine::wants`] asked for.
    #[default]
    Rule,
    /// A question that the switch has answered itself: worth learning from.
    Answered,
    /// It was to be routed to an address in a subnet of the fabric that no host is known for. The switch dropped it.
    Unknown,
    /// It was to be routed, and its time to live was over. The switch dropped it.
    Expired,
    /// An operator's rule wants a copy here.
    Mirrored,
}

/// What happened.
#[derive(Clone, Debug)]
pub enum Input<'a> {
    /// A frame as it was on the wire of port `at`, tags included.
    PacketIn { at: &'a PortRef, frame: &'a Frame<'a>, why: Why },
    /// The switch itself says that a port went up or down (gNMI). A device that never says so has no gNMI.
    Port { at: &'a PortRef, up: bool },
    /// Whether packets can be sent to and received from a device by us now (session up and we are primary).
    Device { device: &'a str, connected: bool },
    /// We are the master of a device now; a later master, of any controller, has a greater term.
    Master { device: &'a str, term: u64 },
    /// Something in the [`Net`] changed.
    Changed(Change),
    /// Time has passed.
    Tick,
}

/// What changed in the [`Net`]; machines look only at what they are told changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// First snapshot, or too much to say: look at everything again.
    All,
    /// Switches, ports, their roles and VLANs, intended links.
    Topology,
    /// Subnets, gateways, DHCP relays, router advertisements.
    Subnets,
    /// Routes outside of the fabric's subnets.
    Routes,
    /// One host was put or deleted.
    Host { vlan: u16, mac: Mac },
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Send `frame` on this port exactly as it is, tags included.
    PacketOut {
        at: PortRef,
        frame: Vec<u8>,
    },
    Observe(Observation),
    Alarm(Alarm),
}

/// What the network showed. Each replaces what was said before of the same link or host.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Observation {
    /// A link that is cabled as intended and works in both directions. `a < b`.
    LinkUp {
        a: PortRef,
        b: PortRef,
    },
    /// It does not any more.
    LinkDown {
        a: PortRef,
        b: PortRef,
        why: LinkLoss,
    },
    /// Everything that is known of a host. `locations` has one port, or two on paired leaves; the first was seen last.
    Host(Host),
    /// A host that is not there any more.
    HostGone {
        vlan: u16,
        mac: Mac,
    },
    /// Who listens to a multicast group in a VLAN of one switch. Nobody: no ports in it.
    Members(Members),
    /// A port is cabled to something else than intended (`None`: nothing is intended there).
    CablingFault {
        at: PortRef,
        expected: Option<PortRef>,
        found: PortRef,
    },
    CablingRight {
        at: PortRef,
    },
}

/// Why a link is not usable any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkLoss {
    /// A switch at one end said that its port is down.
    PortDown,
    /// Too many LLDP frames in a row did not arrive.
    Silent,
    /// One end is cabled to something else now.
    Recabled,
    /// One end is no longer a fabric port, or the link is no longer intended.
    Removed,
}

/// A host: a MAC address in a VLAN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Host {
    pub vlan: u16,
    pub mac: Mac,
    /// Sorted.
    pub ips: Vec<IpAddr>,
    pub locations: Vec<PortRef>,
    /// Tags its frames carry on the wire, outermost first (empty, one or two).
    pub tags: Vec<u16>,
    pub learned: Learned,
}

/// What told of a host last when something of it changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Learned {
    Arp,
    GratuitousArp,
    Ndp,
    Dhcp,
    Dhcpv6,
    /// Any other packet of it.
    Packet,
}

/// Something an operator should know. The pair of `kind` and `subject` identifies it; `raised: false` clears it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alarm {
    pub kind: AlarmKind,
    /// The resource it is about, for example `leaf1/3` or `10.0.1.9`.
    pub subject: String,
    pub raised: bool,
    /// One sentence with everything needed to act.
    pub text: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum AlarmKind {
    /// Cabling differs from the intended links.
    Miscabled,
    /// LLDP frames with a wrong or missing signature, or replayed ones.
    LldpForged,
    /// Two or more neighbours are heard on one fabric port.
    SharedSegment,
    /// LLDP arrives in one direction only.
    OneWay,
    /// The switches say the link is up, but LLDP does not pass.
    LldpSilent,
    /// A host uses the address of a gateway.
    GatewaySpoofed,
    /// Two hosts use one IP address.
    DuplicateIp,
    /// A host moves between ports too often.
    HostFlapping,
    /// A port sends more control packets than allowed.
    HostFlood,
    /// More hosts behind a port than allowed.
    TooManyHosts,
    /// A host answers DHCP although it is no configured server.
    RogueDhcp,
    /// A host sends router advertisements.
    RogueRouter,
}

impl AlarmKind {
    /// The name in APIs and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            AlarmKind::Miscabled => "miscabled",
            AlarmKind::LldpForged => "lldp-forged",
            AlarmKind::SharedSegment => "shared-segment",
            AlarmKind::OneWay => "one-way-link",
            AlarmKind::LldpSilent => "lldp-silent",
            AlarmKind::GatewaySpoofed => "gateway-spoofed",
            AlarmKind::DuplicateIp => "duplicate-ip",
            AlarmKind::HostFlapping => "host-flapping",
            AlarmKind::HostFlood => "host-flood",
            AlarmKind::TooManyHosts => "too-many-hosts",
            AlarmKind::RogueDhcp => "rogue-dhcp",
            AlarmKind::RogueRouter => "rogue-router",
        }
    }
}

impl Alarm {
    pub fn raise(kind: AlarmKind, subject: impl Into<String>, text: impl Into<String>) -> Output {
        Output::Alarm(Alarm { kind, subject: subject.into(), raised: true, text: text.into() })
    }

    pub fn clear(kind: AlarmKind, subject: impl Into<String>) -> Output {
        Output::Alarm(Alarm { kind, subject: subject.into(), raised: false, text: String::new() })
    }
}

/// Packets that a machine must get. Fields that are `None` match anything.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Punt {
    pub ether_type: u16,
    /// IPv4 protocol or IPv6 next header.
    pub ip_proto: Option<u8>,
    /// UDP destination port.
    pub udp_dst: Option<u16>,
    /// ICMP or ICMPv6 type.
    pub icmp_type: Option<u8>,
    pub to: PuntTo,
    pub action: PuntAction,
}

/// Which destinations a [`Punt`] matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PuntTo {
    Any,
    /// This MAC address.
    Mac(Mac),
    /// Broadcast and multicast MAC addresses.
    Group,
    /// All other MAC addresses.
    Unicast,
    /// The gateway addresses of the fabric: a host route to the controller on every leaf.
    Gateways,
}

/// What the switch does beside sending the packet to the controller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum PuntAction {
    /// Forward it as well.
    Copy,
    /// Nothing: the machine answers or forwards it.
    Trap,
}

impl Punt {
    /// Everything of one EtherType.
    pub const fn ether(ether_type: u16, to: PuntTo, action: PuntAction) -> Punt {
        Punt { ether_type, ip_proto: None, udp_dst: None, icmp_type: None, to, action }
    }

    pub const fn udp(ether_type: u16, dst: u16, to: PuntTo, action: PuntAction) -> Punt {
        Punt { ether_type, ip_proto: Some(17), udp_dst: Some(dst), icmp_type: None, to, action }
    }

    pub const fn icmp(ether_type: u16, proto: u8, icmp_type: u8, to: PuntTo, action: PuntAction) -> Punt {
        Punt { ether_type, ip_proto: Some(proto), udp_dst: None, icmp_type: Some(icmp_type), to, action }
    }
}
