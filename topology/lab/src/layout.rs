//! Names of namespaces and interfaces, and the `ip -batch` lines that make them. Pure: from a description to text.
//!
//! ```text
//!   namespace pergola.LAB                    namespace pergola.LAB.h1
//!   switches, controller, 127.0.0.1          a Linux host
//!   leaf1-3  o--------- veth ---------o  eth0                 untagged, one cable
//!   leaf1-4  o--------- veth ---------o  cable0 ~ shim ~ eth0   tags, or several cables: a TAP and a small process
//!   leaf1-1  o--- veth ---o  spine1-1                           both ends in pergola.LAB
//!   leaf1-9  o--- veth ---o  x1-9 (down)                        a port without a cable
//!   leaf1-5  o--- veth ---o  u1-5 ~ b1-5 (bridge) ~ leg7 ...    a port with several hosts: a hub, their cables in its legs
//! ```

use crate::spec::{End, HostInterface, HostSpec, LabSpec, LinkSpec};
use std::collections::BTreeSet;
use std::net::IpAddr;

/// MTU of ports and cables: tags and labels fit on top of a host's 1,500 bytes.
pub const CABLE_MTU: u32 = 9000;
/// MTU a host sees.
pub const HOST_MTU: u32 = 1500;
/// Interface index of the first cable's end in [`end_words`].
const FIRST_INDEX: usize = 100_000;

/// The namespace of the switches and the controller.
pub fn fabric_namespace(lab: &str) -> String {
    format!("pergola.{lab}")
}

/// The namespace of a host.
pub fn host_namespace(lab: &str, host: &str) -> String {
    format!("pergola.{lab}.{host}")
}

/// Whether a namespace's name belongs to this lab. Names of labs hold no dot.
pub fn belongs(lab: &str, namespace: &str) -> bool {
    let rest = namespace.strip_prefix("pergola.").and_then(|n| n.strip_prefix(lab));
    rest.is_some_and(|r| r.is_empty() || r.starts_with('.'))
}

/// Which lab a namespace's name belongs to.
pub fn lab_of(namespace: &str) -> Option<&str> {
    namespace.strip_prefix("pergola.").map(|n| n.split_once('.').map_or(n, |(lab, _)| lab))
}

/// The interface of a switch port: `leaf1-3`, or `s4-3` (fifth switch) when that is too long for the kernel.
pub fn port_interface(spec: &LabSpec, switch: &str, port: u32) -> String {
    let plain = format!("{switch}-{port}");
    if plain.len() <= 15 { plain } else { format!("s{}-{port}", position(spec, switch)) }
}

/// The other end of a port that has no cable.
pub fn loose_interface(spec: &LabSpec, switch: &str, port: u32) -> String {
    format!("x{}-{port}", position(spec, switch))
}

/// Whether several hosts are behind a port, each with a cable into a hub there.
pub fn has_hub(spec: &LabSpec, port: &End) -> bool {
    port.is_port() && spec.links.iter().filter(|l| l.a == *port || l.b == *port).count() > 1
}

fn position(spec: &LabSpec, switch: &str) -> usize {
    spec.switches.iter().position(|s| s.name == switch).unwrap_or(usize::MAX)
}

/// How a host's interface meets its cables.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Attachment {
    /// The veth end itself.
    Direct { cable: usize },
    /// A TAP that the shim joins to these cables.
    Shim { cables: Vec<usize> },
}

/// One entry an interface, in the host's order.
pub fn attachments(spec: &LabSpec, host: &HostSpec) -> Vec<Attachment> {
    let all: Vec<usize> = (0..spec.cables(&host.name).len()).collect();
    let cables_of = |i: &HostInterface| if i.cables.is_empty() { all.clone() } else { i.cables.clone() };
    let used: Vec<Vec<usize>> = host.interfaces.iter().map(cables_of).collect();
    let shared = |cable: usize| used.iter().filter(|u| u.contains(&cable)).count() > 1;
    let attach = |(interface, cables): (&HostInterface, &Vec<usize>)| match cables[..] {
        [cable] if interface.tags.is_empty() && !shared(cable) => Attachment::Direct { cable },
        _ => Attachment::Shim { cables: cables.clone() },
    };
    host.interfaces.iter().zip(&used).map(attach).collect()
}

/// The interface at a host's end of one of its cables.
pub fn cable_interface(spec: &LabSpec, host: &str, cable: usize) -> String {
    if let Some(host) = spec.hosts.iter().find(|h| h.name == host) {
        let direct = Attachment::Direct { cable };
        if let Some(n) = attachments(spec, host).iter().position(|a| *a == direct) {
            return host.interfaces[n].name(n);
        }
    }
    format!("cable{cable}")
}

/// Where an end of a link is: namespace and interface. `second` tells the two ends of a host's cable to itself apart.
pub fn place(spec: &LabSpec, link: usize, end: &End) -> (String, String) {
    match end {
        End::Port { .. } if has_hub(spec, end) => (fabric_namespace(&spec.name), format!("leg{link}")),
        End::Port { switch, port } => (fabric_namespace(&spec.name), port_interface(spec, switch, *port)),
        End::Host(host) => {
            let cable = spec.cables(host).iter().position(|&l| l == link).unwrap_or(0);
            (host_namespace(&spec.name, host), cable_interface(spec, host, cable))
        }
    }
}

/// Every namespace of the lab, the fabric's first.
pub fn namespaces(spec: &LabSpec) -> Vec<String> {
    let hosts = spec.hosts.iter().map(|h| &h.name).chain(spec.user_hosts.iter().map(|u| &u.name));
    let hosts = hosts.map(|h| host_namespace(&spec.name, h));
    std::iter::once(fabric_namespace(&spec.name)).chain(hosts).collect()
}

/// What to run in the fabric's namespace: every cable and port.
pub fn fabric_batch(spec: &LabSpec) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    // A switch's management address, when it is not a loopback one, is on the loopback too.
    let endpoints = spec.switches.iter().flat_map(|s| [Some(s.grpc), s.gnmi]).flatten().map(|e| e.ip());
    let own: BTreeSet<IpAddr> = endpoints.filter(|a| !a.is_loopback() && !a.is_unspecified()).collect();
    lines.extend(own.into_iter().map(|a| format!("addr add {a} dev lo")));
    let mut up = Vec::new();
    for (n, link) in spec.links.iter().enumerate() {
        let (first, second) = if link.b.is_port() { (&link.b, &link.a) } else { (&link.a, &link.b) };
        let ends = [end_words(spec, n, link, first), end_words(spec, n, link, second)];
        lines.push(format!("link add name {} type veth peer name {}", ends[0], ends[1]));
        for end in [&link.a, &link.b].into_iter().filter(|end| end.is_port()) {
            up.push(format!("link set {} up", place(spec, n, end).1));
        }
    }
    let hubs: BTreeSet<&End> = spec.links.iter().flat_map(|l| [&l.a, &l.b]).filter(|e| has_hub(spec, e)).collect();
    for hub in hubs {
        let End::Port { switch, port } = hub else { continue };
        let number = position(spec, switch);
        let (front, back, bridge) =
            (port_interface(spec, switch, *port), format!("u{number}-{port}"), format!("b{number}-{port}"));
        lines.push(format!("link add name {front} mtu {CABLE_MTU} type veth peer name {back} mtu {CABLE_MTU}"));
        lines.push(format!("link add name {bridge} mtu {CABLE_MTU} type bridge mcast_snooping 0 ageing_time 8640000"));
        let legs = (0..spec.links.len()).filter(|n| [&spec.links[*n].a, &spec.links[*n].b].contains(&hub));
        let legs = legs.map(|n| place(spec, n, hub).1);
        lines.extend(legs.chain([back.clone()]).map(|leg| format!("link set {leg} master {bridge}")));
        // What comes back from the switch says nothing of where its sender is.
        lines.push(format!("link set {back} type bridge_slave learning off"));
        up.extend([bridge, back, front].map(|name| format!("link set {name} up")));
    }
    for switch in &spec.switches {
        for port in spec.ports_of(switch) {
            let is_here = |e: &End| matches!(e, End::Port { switch: s, port: p } if *s == switch.name && *p == port);
            if !spec.links.iter().any(|l| is_here(&l.a) || is_here(&l.b)) {
                let (port_end, loose) =
                    (port_interface(spec, &switch.name, port), loose_interface(spec, &switch.name, port));
                lines.push(format!(
                    "link add name {port_end} mtu {CABLE_MTU} type veth peer name {loose} mtu {CABLE_MTU}"
                ));
                up.push(format!("link set {port_end} up"));
            }
        }
    }
    lines.extend(up);
    lines
}

/// `NAME mtu N [address MAC] [netns NS]`.
fn end_words(spec: &LabSpec, n: usize, link: &LinkSpec, end: &End) -> String {
    let (namespace, interface) = place(spec, n, end);
    let mut mtu = CABLE_MTU;
    let mut more = String::new();
    if let End::Host(name) = end {
        if let Some(host) = spec.hosts.iter().find(|h| &h.name == name) {
            let direct = host.interfaces.iter().enumerate().find(|(n, i)| i.name(*n) == interface);
            if let Some((position, _)) = direct {
                mtu = HOST_MTU;
                more = format!(" address {}", host.mac(position));
            }
        }
        more.push_str(&format!(" netns {namespace}"));
    }
    // The kernel tells of a veth's carrier at once only if the two ends' indexes differ, else up to a second late. Two
    // namespaces count from the same small numbers, so one end gets a number that no count reaches: the first, since iproute2
    // does not pass the peer's on.
    let between_namespaces = !(link.a.is_port() && link.b.is_port());
    let chosen = if link.b.is_port() { &link.b } else { &link.a };
    if between_namespaces && end == chosen {
        more.push_str(&format!(" index {}", FIRST_INDEX + n));
    }
    format!("{interface} mtu {mtu}{more}")
}

/// What to run in a host's namespace before its shim starts: TAPs and cables.
pub fn host_prepare(spec: &LabSpec, host: &HostSpec) -> Vec<String> {
    let mut lines = vec!["link set lo up".to_owned()];
    let attachments = attachments(spec, host);
    for cable in 0..spec.cables(&host.name).len() {
        if !attachments.contains(&Attachment::Direct { cable }) {
            lines.push(format!("link set cable{cable} arp off up"));
        }
    }
    for (n, attachment) in attachments.iter().enumerate() {
        if matches!(attachment, Attachment::Shim { .. }) {
            let name = host.interfaces[n].name(n);
            lines.push(format!("tuntap add dev {name} mode tap"));
            lines.push(format!("link set {name} address {} mtu {HOST_MTU}", host.mac(n)));
        }
    }
    lines
}

/// Addresses and routes. May be run again: everything is `replace`.
pub fn host_addresses(host: &HostSpec) -> Vec<String> {
    let mut lines = Vec::new();
    for (n, interface) in host.interfaces.iter().enumerate() {
        let name = interface.name(n);
        lines.push(format!("link set {name} up"));
        for address in &interface.addresses {
            // Without `nodad` an IPv6 address may not be used for a second.
            let nodad = if address.addr().is_ipv6() { " nodad" } else { "" };
            lines.push(format!("addr replace {address} dev {name}{nodad}"));
        }
        for gateway in &interface.gateways {
            let all = if gateway.is_ipv6() { "::/0" } else { "0.0.0.0/0" };
            lines.push(format!("route replace {all} via {gateway} dev {name}"));
        }
        for route in &interface.routes {
            lines.push(format!("route replace {} via {} dev {name}", route.to.trunc(), route.via));
        }
    }
    lines
}

/// The TCP ports of switches as `ip_local_reserved_ports` has them: numbers and ranges with commas.
pub fn reserved_ports(spec: &LabSpec) -> String {
    let addresses = spec.switches.iter().flat_map(|switch| std::iter::once(switch.grpc).chain(switch.gnmi));
    let ports: BTreeSet<u16> = addresses.map(|address| address.port()).collect();
    let mut runs: Vec<(u16, u16)> = Vec::new();
    for port in ports {
        match runs.last_mut() {
            Some((_, last)) if *last + 1 == port => *last = port,
            _ => runs.push((port, port)),
        }
    }
    runs.iter().map(|(first, last)| format!("{first}-{last}")).collect::<Vec<_>>().join(",")
}

/// Kernel settings of a host's interfaces: path under `/proc/sys/net` and value.
pub fn host_sysctls(spec: &LabSpec, host: &HostSpec) -> Vec<(String, &'static str)> {
    let mut out = Vec::new();
    for cable in 0..spec.cables(&host.name).len() {
        let name = cable_interface(spec, &host.name, cable);
        if name.starts_with("cable") {
            out.push((format!("ipv6/conf/{name}/disable_ipv6"), "1"));
        }
    }
    for (n, interface) in host.interfaces.iter().enumerate() {
        let name = interface.name(n);
        let listen = if interface.slaac || interface.dhcp.v6 { "1" } else { "0" };
        out.push((format!("ipv6/conf/{name}/accept_ra"), listen));
        out.push((format!("ipv6/conf/{name}/autoconf"), if interface.slaac { "1" } else { "0" }));
        // Say who we are when the link comes up, as servers do: a moved host is found again at once.
        out.push((format!("ipv4/conf/{name}/arp_notify"), "1"));
        out.push((format!("ipv6/conf/{name}/ndisc_notify"), "1"));
    }
    out
}

/// The first address of a host in each family.
pub fn first_addresses(host: &HostSpec) -> (Option<IpAddr>, Option<IpAddr>) {
    let mut all = host.interfaces.iter().flat_map(|i| &i.addresses).map(|a| a.addr());
    let v4 = all.clone().find(IpAddr::is_ipv4);
    (v4, all.find(IpAddr::is_ipv6))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::SwitchSpec;
    use std::net::SocketAddr;

    fn spec() -> LabSpec {
        let mut spec = LabSpec::new("t");
        for (n, name) in ["leaf1", "a-very-long-name-1"].into_iter().enumerate() {
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
        let spec = spec.host("h1", &["10.0.0.1/24", "2001:db8::1/64"], &["10.0.0.254"]).unwrap();
        let mut spec = spec.host("h2", &["10.0.0.2/24"], &[]).unwrap();
        spec.hosts[1].interfaces[0].tags = vec![10];
        let spec = spec.link("leaf1/1", "a-very-long-name-1/1").unwrap();
        spec.link("h1", "leaf1/2").unwrap().link("h2", "leaf1/3").unwrap().link("h2", "a-very-long-name-1/3").unwrap()
    }

    #[test]
    fn names_of_one_lab_are_not_another_s() {
        assert!(belongs("a", "pergola.a") && belongs("a", "pergola.a.h1"));
        assert!(!belongs("a", "pergola.ab") && !belongs("a", "pergola.ab.h1") && !belongs("a", "a"));
        assert_eq!(lab_of("pergola.a.h1"), Some("a"));
    }

    #[test]
    fn ports_of_switches_are_reserved_in_runs() {
        let mut spec = LabSpec::new("t");
        for (grpc, gnmi) in [(50_001, None), (50_003, Some(50_002)), (9_559, None), (65_535, Some(65_535))] {
            let at = |port: u16| SocketAddr::from(([127, 0, 0, 1], port));
            let named = format!("s{grpc}");
            spec.switches.push(SwitchSpec {
                name: named.as_str().into(),
                device_id: grpc.into(),
                grpc: at(grpc),
                gnmi: gnmi.map(at),
                cpu_port: 255,
                ports: vec![],
                target: None,
                args: vec![],
            });
        }
        assert_eq!(reserved_ports(&spec), "9559-9559,50001-50003,65535-65535");
    }

    #[test]
    fn cables_and_loose_ports() {
        let lines = fabric_batch(&spec());
        let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line} not in {lines:#?}");
        has("link add name s1-1 mtu 9000 type veth peer name leaf1-1 mtu 9000");
        let mac = spec().hosts[0].mac(0);
        has(&format!(
            "link add name leaf1-2 mtu 9000 index 100001 type veth peer name eth0 mtu 1500 address {mac} netns pergola.t.h1"
        ));
        has("link add name s1-3 mtu 9000 index 100003 type veth peer name cable1 mtu 9000 netns pergola.t.h2");
        has("link add name leaf1-9 mtu 9000 type veth peer name x0-9 mtu 9000");
        has("link set leaf1-9 up");
    }

    #[test]
    fn several_hosts_behind_a_port_share_a_hub() {
        let spec = spec().host("h3", &["10.0.0.3/24"], &[]).unwrap().link("h3", "leaf1/2").unwrap();
        spec.check().unwrap();
        let lines = fabric_batch(&spec);
        let has = |line: &str| assert!(lines.iter().any(|l| l == line), "{line} not in {lines:#?}");
        let mac = spec.hosts[0].mac(0);
        has(&format!(
            "link add name leg1 mtu 9000 index 100001 type veth peer name eth0 mtu 1500 address {mac} netns pergola.t.h1"
        ));
        has("link add name leaf1-2 mtu 9000 type veth peer name u0-2 mtu 9000");
        has("link add name b0-2 mtu 9000 type bridge mcast_snooping 0 ageing_time 8640000");
        has("link set u0-2 type bridge_slave learning off");
        for leg in ["leg1", "leg4", "u0-2"] {
            has(&format!("link set {leg} master b0-2"));
            has(&format!("link set {leg} up"));
        }
        // A cable between switches shares its port with nobody.
        let wrong = spec.link("h3", "leaf1/1").unwrap().check().unwrap_err().to_string();
        assert!(wrong.contains("leaf1/1 twice"), "{wrong}");
    }

    #[test]
    fn tagged_and_dual_homed_hosts_get_a_shim() {
        let spec = spec();
        assert_eq!(attachments(&spec, &spec.hosts[0]), vec![Attachment::Direct { cable: 0 }]);
        assert_eq!(attachments(&spec, &spec.hosts[1]), vec![Attachment::Shim { cables: vec![0, 1] }]);
        let lines = host_prepare(&spec, &spec.hosts[1]);
        assert!(lines.iter().any(|l| l == "tuntap add dev eth0 mode tap"), "{lines:?}");
        assert!(lines.iter().any(|l| l == "link set cable1 arp off up"), "{lines:?}");
    }

    #[test]
    fn addresses_can_be_set_again() {
        let lines = host_addresses(&spec().hosts[0]);
        assert!(lines.contains(&"addr replace 2001:db8::1/64 dev eth0 nodad".to_owned()), "{lines:?}");
        assert!(lines.contains(&"route replace 0.0.0.0/0 via 10.0.0.254 dev eth0".to_owned()), "{lines:?}");
    }
}
