//! Policies: access rules over layers 2 to 4.

use std::fmt;
use std::net::IpAddr;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::ids::{Dscp, PortId, VlanId};
use crate::ip::Prefix;
use crate::mac::MacMatch;
use crate::names::PolicyName;
use crate::resource::{Kind, Resource};
use crate::site::is_default;
use crate::value::{ValueError, string_form};

/// A list of access rules.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    pub name: PolicyName,
    pub rules: Vec<Rule>,
}

impl Resource for Policy {
    const KIND: Kind = Kind::Policy;

    fn name(&self) -> String {
        self.name.to_string()
    }
}

/// One rule: of all policies' rules that match a packet, the one with the highest priority counts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Rule {
    /// 1 to 65535; higher wins.
    pub priority: NonZeroU16,
    /// What it is for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Fields left out match everything.
    #[serde(default, rename = "match", skip_serializing_if = "is_default")]
    pub matches: RuleMatch,
    pub action: RuleAction,
}

/// What a rule matches. All fields given must match.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RuleMatch {
    /// Any of these ports; none given is every port.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub in_ports: Vec<PortId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eth_src: Option<MacMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eth_dst: Option<MacMatch>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub eth_type: Option<EthType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub vlan: Option<VlanId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_src: Option<Prefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_dst: Option<Prefix>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ip_proto: Option<IpProto>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dscp: Option<Dscp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4_src: Option<PortRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub l4_dst: Option<PortRange>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_type: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub icmp_code: Option<u8>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp_flags: Option<TcpFlags>,
}

/// The address family a rule is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    Ipv4,
    Ipv6,
}

impl RuleMatch {
    /// The family the rule's fields allow: one of them, or `None` when they say nothing of it.
    pub fn family(&self) -> Option<Family> {
        let of = |p: &Prefix| if p.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 };
        if let Some(prefix) = self.ip_src.as_ref().or(self.ip_dst.as_ref()) {
            return Some(of(prefix));
        }
        match (self.eth_type, self.ip_proto) {
            (Some(EthType::IPV4), _) | (_, Some(IpProto::ICMP)) => Some(Family::Ipv4),
            (Some(EthType::IPV6), _) | (_, Some(IpProto::ICMPV6)) => Some(Family::Ipv6),
            _ => None,
        }
    }

    /// Each field that contradicts another: its name, what was found, what is allowed.
    pub fn check(&self) -> Vec<ValueError> {
        let mut out = Vec::new();
        let mut wrong = |field, found: &dyn ToString, allowed: &'static str| {
            out.push(ValueError::new(field, found.to_string(), allowed));
        };
        let families: Vec<(&'static str, Family)> = [
            self.ip_src.map(|p| ("ip_src", if p.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 })),
            self.ip_dst.map(|p| ("ip_dst", if p.is_ipv4() { Family::Ipv4 } else { Family::Ipv6 })),
            match self.eth_type {
                Some(EthType::IPV4) => Some(("eth_type", Family::Ipv4)),
                Some(EthType::IPV6) => Some(("eth_type", Family::Ipv6)),
                _ => None,
            },
            match self.ip_proto {
                Some(IpProto::ICMP) => Some(("ip_proto", Family::Ipv4)),
                Some(IpProto::ICMPV6) => Some(("ip_proto", Family::Ipv6)),
                _ => None,
            },
        ]
        .into_iter()
        .flatten()
        .collect();
        if let Some((_, first)) = families.first()
            && let Some((field, other)) = families.iter().find(|(_, f)| f != first)
        {
            wrong(field, &format!("{other:?}"), "the same family as the rule's other fields");
        }
        let is_ip = !matches!(self.eth_type, Some(t) if t != EthType::IPV4 && t != EthType::IPV6);
        let any_ip = self.ip_src.is_some() || self.ip_dst.is_some() || self.ip_proto.is_some() || self.dscp.is_some();
        if let Some(eth_type) = self.eth_type
            && !is_ip
            && any_ip
        {
            wrong("eth_type", &eth_type, "0x0800 or 0x86dd, or none, beside IP fields");
        }
        let proto = self.ip_proto;
        let found = proto.map_or("none".to_owned(), |p| p.to_string());
        let has_ports = matches!(proto, Some(IpProto::TCP | IpProto::UDP | IpProto::SCTP));
        if (self.l4_src.is_some() || self.l4_dst.is_some()) && !has_ports {
            wrong("ip_proto", &found, "tcp, udp or sctp beside l4_src or l4_dst");
        }
        let is_icmp = matches!(proto, Some(IpProto::ICMP | IpProto::ICMPV6));
        if (self.icmp_type.is_some() || self.icmp_code.is_some()) && !is_icmp {
            wrong("ip_proto", &found, "icmp or icmpv6 beside icmp_type or icmp_code");
        }
        if self.tcp_flags.is_some() && proto != Some(IpProto::TCP) {
            wrong("ip_proto", &found, "tcp beside tcp_flags");
        }
        out
    }
}

/// What happens to a packet a rule matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RuleAction {
    /// It goes its way.
    Permit,
    /// It is dropped.
    Deny,
    /// It leaves through this port of the switch it came in on.
    RedirectPort(PortId),
    /// It is routed as if to this host.
    RedirectNextHop(IpAddr),
    /// It goes its way, and a copy goes to the controller.
    MirrorToController,
    /// It goes its way while the rule's packets stay under a rate; those above are dropped.
    Police(Police),
}

/// A rate and how much may come at once (RFC 2697's CIR and CBS).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Police {
    pub rate_bps: NonZeroU64,
    pub burst_bytes: NonZeroU32,
}

/// An Ethernet type, written `0x0800`, or by name: `ipv4`, `ipv6`, `arp`, `lldp`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EthType(pub u16);

impl EthType {
    pub const IPV4: EthType = EthType(0x0800);
    pub const ARP: EthType = EthType(0x0806);
    pub const IPV6: EthType = EthType(0x86dd);
    pub const LLDP: EthType = EthType(0x88cc);
}

impl fmt::Display for EthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            EthType::IPV4 => f.write_str("ipv4"),
            EthType::ARP => f.write_str("arp"),
            EthType::IPV6 => f.write_str("ipv6"),
            EthType::LLDP => f.write_str("lldp"),
            EthType(other) => write!(f, "{other:#06x}"),
        }
    }
}

impl fmt::Debug for EthType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EthType {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match text {
            "ipv4" => Ok(EthType::IPV4),
            "arp" => Ok(EthType::ARP),
            "ipv6" => Ok(EthType::IPV6),
            "lldp" => Ok(EthType::LLDP),
            _ => text
                .strip_prefix("0x")
                .and_then(|hex| u16::from_str_radix(hex, 16).ok())
                .filter(|value| *value >= 0x0600)
                .map(EthType)
                .ok_or_else(|| ValueError::new("Ethernet type", text, "0x0600 to 0xffff, or ipv4, ipv6, arp, lldp")),
        }
    }
}

string_form!(
    EthType,
    "EthType",
    "an Ethernet type: 0x0600 to 0xffff, or ipv4, ipv6, arp, lldp",
    "^(0x[0-9a-fA-F]{1,4}|ipv4|ipv6|arp|lldp)$"
);

/// An IP protocol number, written as its name (`tcp`) or the number in digits (`"47"`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IpProto(pub u8);

impl IpProto {
    pub const ICMP: IpProto = IpProto(1);
    pub const TCP: IpProto = IpProto(6);
    pub const UDP: IpProto = IpProto(17);
    pub const ICMPV6: IpProto = IpProto(58);
    pub const SCTP: IpProto = IpProto(132);

    const NAMES: &'static [(&'static str, IpProto)] = &[
        ("icmp", IpProto::ICMP),
        ("tcp", IpProto::TCP),
        ("udp", IpProto::UDP),
        ("icmpv6", IpProto::ICMPV6),
        ("sctp", IpProto::SCTP),
    ];
}

impl fmt::Display for IpProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match IpProto::NAMES.iter().find(|(_, proto)| proto == self) {
            Some((name, _)) => f.write_str(name),
            None => self.0.fmt(f),
        }
    }
}

impl fmt::Debug for IpProto {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for IpProto {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        match IpProto::NAMES.iter().find(|(name, _)| *name == text) {
            Some((_, proto)) => Ok(*proto),
            None => text
                .parse()
                .map(IpProto)
                .map_err(|_| ValueError::new("IP protocol", text, "0 to 255, or icmp, icmpv6, tcp, udp, sctp")),
        }
    }
}

string_form!(
    IpProto,
    "IpProto",
    "an IP protocol: icmp, icmpv6, tcp, udp, sctp, or a number in quotes",
    "^([0-9]{1,3}|icmp|icmpv6|tcp|udp|sctp)$"
);

/// Layer 4 ports, both ends included: `"80"` or `"1000-1999"`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    low: u16,
    high: u16,
}

impl PortRange {
    pub fn new(low: u16, high: u16) -> Result<Self, ValueError> {
        if low <= high {
            Ok(PortRange { low, high })
        } else {
            Err(ValueError::new("port range", format!("{low}-{high}"), "LOW-HIGH with LOW <= HIGH"))
        }
    }

    pub fn low(&self) -> u16 {
        self.low
    }

    pub fn high(&self) -> u16 {
        self.high
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.low == self.high { self.low.fmt(f) } else { write!(f, "{}-{}", self.low, self.high) }
    }
}

impl fmt::Debug for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PortRange {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let (low, high) = text.split_once('-').unwrap_or((text, text));
        match (low.parse(), high.parse()) {
            (Ok(low), Ok(high)) => PortRange::new(low, high),
            _ => Err(ValueError::new("port range", text, "0 to 65535, or LOW-HIGH")),
        }
    }
}

string_form!(PortRange, "PortRange", "layer 4 ports: one number or LOW-HIGH, in quotes", "^[0-9]{1,5}(-[0-9]{1,5})?$");

/// TCP flags that must be set and those that must be clear, written `syn,!ack`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TcpFlags {
    value: u8,
    mask: u8,
}

/// By bit, from the lowest (RFC 9293 3.1).
const FLAG_NAMES: [&str; 8] = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr"];

impl TcpFlags {
    /// The flag bits as they must be, where `mask` has a one.
    pub fn new(value: u8, mask: u8) -> Result<Self, ValueError> {
        if mask == 0 {
            return Err(ValueError::new("TCP flags", "none", "at least one flag, or no field"));
        }
        Ok(TcpFlags { value: value & mask, mask })
    }

    pub fn value(&self) -> u8 {
        self.value
    }

    pub fn mask(&self) -> u8 {
        self.mask
    }
}

impl fmt::Display for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (bit, name) in FLAG_NAMES.iter().enumerate() {
            if self.mask >> bit & 1 == 1 {
                let not = if self.value >> bit & 1 == 1 { "" } else { "!" };
                write!(f, "{separator}{not}{name}")?;
                separator = ",";
            }
        }
        Ok(())
    }
}

impl fmt::Debug for TcpFlags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for TcpFlags {
    type Err = ValueError;

    fn from_str(text: &str) -> Result<Self, ValueError> {
        let error = || {
            ValueError::new(
                "TCP flags",
                text,
                "a list of fin, syn, rst, psh, ack, urg, ece, cwr, each once, with ! for clear: syn,!ack",
            )
        };
        let (mut value, mut mask) = (0u8, 0u8);
        for word in text.split(',') {
            let (name, set) = match word.strip_prefix('!') {
                Some(name) => (name, false),
                None => (word, true),
            };
            let bit = FLAG_NAMES.iter().position(|n| *n == name).ok_or_else(error)?;
            if mask >> bit & 1 == 1 {
                return Err(error());
            }
            mask |= 1 << bit;
            value |= u8::from(set) << bit;
        }
        TcpFlags::new(value, mask)
    }
}

string_form!(
    TcpFlags,
    "TcpFlags",
    "TCP flags that are set, or with ! clear: syn,!ack",
    "^!?(fin|syn|rst|psh|ack|urg|ece|cwr)(,!?(fin|syn|rst|psh|ack|urg|ece|cwr))*$"
);
