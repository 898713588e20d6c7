//! What a lab consists of, in plain words: switches, cables, hosts, controller. Read from JSON or made from a blueprint.

use crate::error::LabError;
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::str::FromStr;

/// A whole lab. Addresses of switches and controller are inside the lab's own namespace, so two labs may use the same ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LabSpec {
    /// 1 to 32 of `a-z 0-9 -`: names the namespaces and the state directory.
    pub name: String,
    #[serde(default)]
    pub target: Target,
    #[serde(default)]
    pub switches: Vec<SwitchSpec>,
    #[serde(default)]
    pub links: Vec<LinkSpec>,
    #[serde(default)]
    pub hosts: Vec<HostSpec>,
    #[serde(default)]
    pub user_hosts: Vec<UserHostsSpec>,
    #[serde(default)]
    pub controller: Option<ControllerSpec>,
    /// Doors from this machine into the lab.
    #[serde(default)]
    pub forwards: Vec<Forward>,
}

/// Which program plays the switches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// `p4switch`, ours.
    #[default]
    P4switch,
    /// `simple_switch_grpc` of BMv2.
    Bmv2,
    /// No switch processes: the ports are there, somebody else runs the switches.
    None,
}

/// One switch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SwitchSpec {
    pub name: String,
    /// P4Runtime device id.
    pub device_id: u64,
    /// Where it serves P4Runtime.
    pub grpc: SocketAddr,
    /// Where it serves gNMI, if not at the same address.
    #[serde(default)]
    pub gnmi: Option<SocketAddr>,
    /// P4Runtime number of the CPU port.
    #[serde(default = "default_cpu_port")]
    pub cpu_port: u32,
    /// Ports without a cable. Those at the end of a link need not be listed.
    #[serde(default)]
    pub ports: Vec<u32>,
    /// Which program plays it, if not the lab's.
    #[serde(default)]
    pub target: Option<Target>,
    /// More arguments for the program, after all others.
    #[serde(default)]
    pub args: Vec<String>,
}

fn default_cpu_port() -> u32 {
    255
}

/// One cable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LinkSpec {
    pub a: End,
    pub b: End,
}

/// One end of a cable: `leaf1/3`, or a host, `h1`, whose cables count from 0 in the order of the links.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum End {
    Port { switch: String, port: u32 },
    Host(String),
}

/// One host: a network namespace with a real Linux stack.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostSpec {
    pub name: String,
    /// In order `eth0`, `eth1` ... unless named.
    pub interfaces: Vec<HostInterface>,
}

/// One interface of a host, as the host's stack sees it: untagged frames. Tags and the choice among several cables are
/// added underneath, in user space.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostInterface {
    #[serde(default)]
    pub name: Option<String>,
    /// The host's cables that it uses, by number; empty: all. With more than one, flows are spread over those that are up.
    #[serde(default)]
    pub cables: Vec<usize>,
    /// `aa:bb:cc:dd:ee:ff`; when missing, made from the names.
    #[serde(default)]
    pub mac: Option<String>,
    /// VLAN ids put on what it sends, outer first; none, one or two.
    #[serde(default)]
    pub tags: Vec<u16>,
    /// Ethertype of the outer of two tags.
    #[serde(default = "default_tpid")]
    pub outer_tpid: u16,
    #[serde(default)]
    pub addresses: Vec<IpNet>,
    /// Default routes, one a family at most.
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
    /// Further routes.
    #[serde(default)]
    pub routes: Vec<Route>,
    /// Take IPv6 prefixes and the default route from router advertisements.
    #[serde(default)]
    pub slaac: bool,
    #[serde(default)]
    pub dhcp: Dhcp,
}

pub(crate) fn default_tpid() -> u16 {
    0x8100
}

/// A route of a host.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Route {
    pub to: IpNet,
    pub via: IpAddr,
}

/// Which addresses a DHCP client fetches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Dhcp {
    #[serde(default)]
    pub v4: bool,
    #[serde(default)]
    pub v6: bool,
}

/// Many hosts played by one process in user space (ARP, NDP, echo, UDP and TCP echo on port 7), all on the same cable.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserHostsSpec {
    /// As a link's end names it.
    pub name: String,
    pub hosts: Vec<UserHost>,
}

/// One of [`UserHostsSpec::hosts`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UserHost {
    pub name: String,
    #[serde(default)]
    pub mac: Option<String>,
    #[serde(default)]
    pub tags: Vec<u16>,
    pub addresses: Vec<IpNet>,
    #[serde(default)]
    pub gateways: Vec<IpAddr>,
}

/// The controller process.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ControllerSpec {
    /// When missing: `pergola`, found as [`crate::programs`] says.
    #[serde(default)]
    pub program: Option<PathBuf>,
    pub args: Vec<String>,
    /// Files for it in the lab's folder, by name; written before it starts.
    #[serde(default)]
    pub files: BTreeMap<String, String>,
    /// Up when it takes connections here.
    #[serde(default)]
    pub ready: Option<SocketAddr>,
}

/// A TCP door: who connects to `listen` on this machine reaches `to` inside the lab.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Forward {
    pub listen: SocketAddr,
    pub to: SocketAddr,
}

impl LabSpec {
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            target: Target::default(),
            switches: Vec::new(),
            links: Vec::new(),
            hosts: Vec::new(),
            user_hosts: Vec::new(),
            controller: None,
            forwards: Vec::new(),
        }
    }

    /// Reads JSON; the error has line and column.
    pub fn from_json(text: &str) -> Result<Self, LabError> {
        let spec: Self = serde_json::from_str(text).map_err(|e| LabError::spec("lab description", e, "see LabSpec"))?;
        spec.check()?;
        Ok(spec)
    }

    /// Adds a cable, for descriptions made in code. Ends as in [`End`].
    pub fn link(mut self, a: &str, b: &str) -> Result<Self, LabError> {
        self.links.push(LinkSpec { a: a.parse()?, b: b.parse()? });
        Ok(self)
    }

    /// Adds a host with one untagged interface.
    pub fn host(mut self, name: &str, addresses: &[&str], gateways: &[&str]) -> Result<Self, LabError> {
        let interface = HostInterface {
            addresses: addresses.iter().map(|t| parse(t, "address", "10.0.0.1/24")).collect::<Result<_, _>>()?,
            gateways: gateways.iter().map(|t| parse(t, "gateway", "10.0.0.254")).collect::<Result<_, _>>()?,
            ..HostInterface::new()
        };
        self.hosts.push(HostSpec { name: name.to_owned(), interfaces: vec![interface] });
        Ok(self)
    }

    /// Everything that can be wrong before anything is built.
    pub fn check(&self) -> Result<(), LabError> {
        check_name("name", &self.name)?;
        let mut names = BTreeSet::new();
        let switches = self.switches.iter().map(|s| ("switches", &s.name));
        let hosts = self.hosts.iter().map(|h| ("hosts", &h.name));
        let users = self.user_hosts.iter().map(|u| ("user_hosts", &u.name));
        for (field, name) in switches.chain(hosts).chain(users) {
            check_name(field, name)?;
            if !names.insert(name) {
                return Err(LabError::spec(field, format!("`{name}` twice"), "each name once"));
            }
        }
        self.check_switches()?;
        self.check_links()?;
        self.check_hosts()
    }

    fn check_switches(&self) -> Result<(), LabError> {
        let mut endpoints = BTreeMap::new();
        for switch in &self.switches {
            for address in std::iter::once(switch.grpc).chain(switch.gnmi.filter(|g| *g != switch.grpc)) {
                if let Some(other) = endpoints.insert(address, &switch.name) {
                    let found = format!("{address} for `{other}` and `{}`", switch.name);
                    return Err(LabError::spec("switches.grpc", found, "an address of its own for each switch"));
                }
            }
            for &port in &switch.ports {
                check_port(&switch.name, port, switch.cpu_port)?;
            }
        }
        Ok(())
    }

    fn check_links(&self) -> Result<(), LabError> {
        let mut used: BTreeMap<&End, bool> = BTreeMap::new();
        for (n, link) in self.links.iter().enumerate() {
            // Several hosts behind a port share a hub.
            let host = !link.a.is_port() || !link.b.is_port();
            for end in [&link.a, &link.b] {
                let field = format!("links[{n}]");
                match end {
                    End::Port { switch, port } => {
                        let Some(spec) = self.switches.iter().find(|s| &s.name == switch) else {
                            return Err(LabError::spec(field, format!("no switch `{switch}`"), self.known_nodes()));
                        };
                        check_port(switch, *port, spec.cpu_port)?;
                        if used.insert(end, host).is_some_and(|before| !before || !host) {
                            let allowed = "one cable a port, or cables of hosts only";
                            return Err(LabError::spec(field, format!("port {end} twice"), allowed));
                        }
                    }
                    End::Host(host) if !self.is_host(host) => {
                        return Err(LabError::spec(field, format!("no host `{host}`"), self.known_nodes()));
                    }
                    End::Host(_) => {}
                }
            }
            if link.a == link.b {
                return Err(LabError::spec(format!("links[{n}]"), format!("{} to itself", link.a), "two ends"));
            }
        }
        Ok(())
    }

    fn check_hosts(&self) -> Result<(), LabError> {
        for host in &self.hosts {
            let cables = self.cables(&host.name).len();
            let mut names = BTreeSet::new();
            for (n, interface) in host.interfaces.iter().enumerate() {
                let field = |what: &str| format!("hosts.{}.interfaces[{n}].{what}", host.name);
                check_tags(field("tags"), &interface.tags)?;
                if let Some(cable) = interface.cables.iter().find(|c| **c >= cables) {
                    let allowed = format!("0 to {} (the host has {cables} links)", cables.saturating_sub(1));
                    return Err(LabError::spec(field("cables"), cable, allowed));
                }
                let name = interface.name(n);
                if name.len() > 15
                    || name.is_empty()
                    || name.starts_with("cable")
                    || name.contains('/')
                    || !names.insert(name.clone())
                {
                    return Err(LabError::spec(field("name"), name, "1 to 15 characters, not `cable...`, once a host"));
                }
                if let Some(mac) = &interface.mac {
                    parse_mac(mac).ok_or_else(|| {
                        LabError::spec(field("mac"), mac, "six bytes, not multicast, like 02:00:00:00:00:01")
                    })?;
                }
            }
        }
        for users in &self.user_hosts {
            if self.cables(&users.name).len() != 1 {
                let found = format!("{} links", self.cables(&users.name).len());
                return Err(LabError::spec(format!("user_hosts.{}", users.name), found, "one link"));
            }
            for host in &users.hosts {
                let field = |what: &str| format!("user_hosts.{}.{}.{what}", users.name, host.name);
                check_tags(field("tags"), &host.tags)?;
                if let Some(mac) = &host.mac {
                    parse_mac(mac).ok_or_else(|| {
                        LabError::spec(field("mac"), mac, "six bytes, not multicast, like 02:00:00:00:00:01")
                    })?;
                }
                if host.addresses.is_empty() || host.addresses.len() > 3 {
                    return Err(LabError::spec(field("addresses"), host.addresses.len(), "1 to 3"));
                }
            }
        }
        Ok(())
    }

    /// The links of a host or switch, by index into [`LabSpec::links`]. For a host the position here is the cable's number.
    pub fn cables(&self, node: &str) -> Vec<usize> {
        let touches = |l: &LinkSpec| l.a.node() == node || l.b.node() == node;
        self.links.iter().enumerate().filter(|(_, l)| touches(l)).map(|(n, _)| n).collect()
    }

    pub(crate) fn is_host(&self, name: &str) -> bool {
        self.hosts.iter().any(|h| h.name == name) || self.user_hosts.iter().any(|u| u.name == name)
    }

    fn known_nodes(&self) -> String {
        let hosts = self.hosts.iter().map(|h| h.name.as_str());
        let users = self.user_hosts.iter().map(|u| u.name.as_str());
        let all: Vec<&str> = self.switches.iter().map(|s| s.name.as_str()).chain(hosts).chain(users).collect();
        format!("one of {}", all.join(", "))
    }

    /// Whether BMv2 plays a switch.
    pub fn is_bmv2(&self, switch: &str) -> bool {
        self.switches.iter().any(|s| s.name == switch && s.target.unwrap_or(self.target) == Target::Bmv2)
    }

    /// Every port of a switch, cabled or not, in order.
    pub fn ports_of(&self, switch: &SwitchSpec) -> Vec<u32> {
        let mut ports: BTreeSet<u32> = switch.ports.iter().copied().collect();
        for end in self.links.iter().flat_map(|l| [&l.a, &l.b]) {
            if let End::Port { switch: name, port } = end
                && name == &switch.name
            {
                ports.insert(*port);
            }
        }
        ports.into_iter().collect()
    }
}

impl HostInterface {
    /// Untagged, on all cables.
    pub fn new() -> Self {
        Self { outer_tpid: default_tpid(), ..Self::default() }
    }

    /// Its name, given its position in the host.
    pub fn name(&self, position: usize) -> String {
        self.name.clone().unwrap_or_else(|| format!("eth{position}"))
    }
}

impl HostSpec {
    /// The MAC of an interface: the one given, or one made of the names, the same in every run.
    pub fn mac(&self, position: usize) -> String {
        let interface = &self.interfaces[position];
        interface.mac.clone().unwrap_or_else(|| derived_mac(&format!("{}/{}", self.name, interface.name(position))))
    }
}

/// A locally administered address from a name (FNV-1a).
pub fn derived_mac(name: &str) -> String {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x0100_0000_01b3));
    let b = hash.to_be_bytes();
    format!("02:{:02x}:{:02x}:{:02x}:{:02x}:{:02x}", b[0] ^ b[5], b[1] ^ b[6], b[2] ^ b[7], b[3], b[4])
}

/// Six bytes; refuses multicast.
pub fn parse_mac(text: &str) -> Option<[u8; 6]> {
    let mut out = [0; 6];
    let mut parts = text.split(':');
    for byte in &mut out {
        let part = parts.next().filter(|p| p.len() == 2)?;
        *byte = u8::from_str_radix(part, 16).ok()?;
    }
    (parts.next().is_none() && out[0] & 1 == 0).then_some(out)
}

impl End {
    /// The switch or host.
    pub fn node(&self) -> &str {
        match self {
            Self::Port { switch, .. } => switch,
            Self::Host(name) => name,
        }
    }

    pub fn is_port(&self) -> bool {
        matches!(self, Self::Port { .. })
    }
}

impl LinkSpec {
    /// `leaf1/1-spine1/1`, or `leaf1/3-h1`.
    pub fn exact_name(&self) -> String {
        format!("{}-{}", self.a, self.b)
    }

    /// Whether a person may mean this link by `name`: exact or by the nodes only, either end first.
    pub fn answers_to(&self, name: &str) -> bool {
        let pairs = [(&self.a, &self.b), (&self.b, &self.a)];
        pairs.iter().any(|(x, y)| name == format!("{x}-{y}") || name == format!("{}-{}", x.node(), y.node()))
    }
}

impl fmt::Display for End {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Port { switch, port } => write!(f, "{switch}/{port}"),
            Self::Host(name) => f.write_str(name),
        }
    }
}

impl FromStr for End {
    type Err = LabError;
    fn from_str(text: &str) -> Result<Self, LabError> {
        match text.split_once('/') {
            None => Ok(Self::Host(text.to_owned())),
            Some((switch, port)) => match port.parse() {
                Ok(port) => Ok(Self::Port { switch: switch.to_owned(), port }),
                Err(_) => Err(LabError::spec("link end", text, "SWITCH/PORT or HOST")),
            },
        }
    }
}

impl TryFrom<String> for End {
    type Error = LabError;
    fn try_from(text: String) -> Result<Self, LabError> {
        text.parse()
    }
}

impl From<End> for String {
    fn from(end: End) -> Self {
        end.to_string()
    }
}

fn parse<T: FromStr>(text: &str, field: &str, example: &str) -> Result<T, LabError> {
    text.parse().map_err(|_| LabError::spec(field, text, format!("like {example}")))
}

/// A lab's name is short, since other names begin with it; nodes may be named as in a site.
fn check_name(field: &str, name: &str) -> Result<(), LabError> {
    let limit = if field == "name" { 32 } else { 63 };
    let fits = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '_';
    if (1..=limit).contains(&name.len()) && name.chars().all(fits) && !name.starts_with('-') {
        return Ok(());
    }
    Err(LabError::spec(field, format!("`{name}`"), format!("1 to {limit} of a-z, 0-9, `-` and `_`")))
}

fn check_port(switch: &str, port: u32, cpu_port: u32) -> Result<(), LabError> {
    // v1model numbers ports in nine bits, and 511 is its drop port.
    if (1..=510).contains(&port) && port != cpu_port {
        return Ok(());
    }
    Err(LabError::spec(format!("ports of {switch}"), port, format!("1 to 510, not the CPU port {cpu_port}")))
}

fn check_tags(field: String, tags: &[u16]) -> Result<(), LabError> {
    if tags.len() > 2 {
        return Err(LabError::spec(field, format!("{} tags", tags.len()), "at most 2"));
    }
    match tags.iter().find(|t| !(1..=4094).contains(*t)) {
        Some(tag) => Err(LabError::spec(field, tag, "1 to 4094")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn two() -> LabSpec {
        let mut spec = LabSpec::new("t");
        for (n, name) in ["leaf1", "spine1"].into_iter().enumerate() {
            spec.switches.push(SwitchSpec {
                name: name.into(),
                device_id: n as u64 + 1,
                grpc: SocketAddr::from(([127, 0, 0, 1], 50_001 + n as u16)),
                gnmi: None,
                cpu_port: 255,
                ports: vec![9],
                target: None,
                args: vec![],
            });
        }
        spec.link("leaf1/1", "spine1/1").unwrap().link("leaf1/2", "spine1/2").unwrap()
    }

    #[test]
    fn round_trip_and_ports() {
        let spec = two();
        let text = serde_json::to_string(&spec).unwrap();
        assert_eq!(LabSpec::from_json(&text).unwrap(), spec);
        assert_eq!(spec.ports_of(&spec.switches[0]), vec![1, 2, 9]);
    }

    #[test]
    fn refuses_what_cannot_be_built() {
        let says = |spec: LabSpec, what: &str| {
            let error = spec.check().unwrap_err().to_string();
            assert!(error.contains(what), "{error}");
        };
        says(two().link("leaf1/1", "spine1/3").unwrap(), "leaf1/1 twice");
        says(two().link("leaf1/3", "leaf9/3").unwrap(), "no switch `leaf9`");
        says(two().link("leaf1/3", "h7").unwrap(), "no host `h7`");
        says(two().link("leaf1/511", "spine1/3").unwrap(), "511");
        let mut same = two();
        same.switches[1].grpc = same.switches[0].grpc;
        says(same, "127.0.0.1:50001 for `leaf1` and `spine1`");
        let mut tagged = two().host("h1", &["10.0.0.1/24"], &[]).unwrap();
        tagged.hosts[0].interfaces[0].tags = vec![4095];
        says(tagged, "hosts.h1.interfaces[0].tags");
        let mut bad = two();
        bad.name = "A b".into();
        says(bad, "`A b`");
    }

    #[test]
    fn link_names() {
        let spec = two();
        let hits = |name: &str| spec.links.iter().filter(|l| l.answers_to(name)).count();
        assert_eq!((hits("leaf1-spine1"), hits("spine1-leaf1")), (2, 2));
        assert_eq!((hits("spine1/2-leaf1/2"), hits("leaf1/1-spine1/2")), (1, 0));
    }

    #[test]
    fn macs() {
        assert_eq!(parse_mac("02:00:00:00:00:0a"), Some([2, 0, 0, 0, 0, 10]));
        for bad in ["01:00:00:00:00:0a", "02:00:00:00:0a", "2:0:0:0:0:0", "02:00:00:00:00:0a:00"] {
            assert_eq!(parse_mac(bad), None, "{bad}");
        }
        assert!(parse_mac(&derived_mac("h1/eth0")).is_some());
        assert_ne!(derived_mac("h1/eth0"), derived_mac("h2/eth0"));
    }
}
