//! From what a site declares (its switches, links, ports, subnets and hosts) to the lab that plays it.

use crate::error::LabError;
use crate::spec::{Dhcp, End, HostInterface, HostSpec, LabSpec, LinkSpec, SwitchSpec, Target};
use ipnet::IpNet;
use pergola_blueprint::Blueprint;
use pergola_model::{AnyResource, DhcpClient, Endpoint, HostIntent, PortId, Switch, Tagging, View};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

impl LabSpec {
    /// [`LabSpec::from_view`] of a site file's intents, [`with_endpoints`].
    pub fn from_blueprint(name: &str, blueprint: &Blueprint) -> Result<Self, LabError> {
        Self::from_view(name, &with_endpoints(blueprint))
    }

    /// A lab with the switches, links and hosts of a site, as declared. Switches serve where the site says: addresses that
    /// are not loopback ones are put on the lab's own loopback. Hosts get the tags that their port wants, prefix lengths and
    /// gateways from their subnet. There is no controller yet: the caller adds it.
    ///
    /// # Errors
    /// A switch without a P4Runtime endpoint or with one that is a name; a host without attachment, or in a VLAN that its
    /// port does not carry; and whatever [`LabSpec::check`] finds.
    pub fn from_view(name: &str, view: &View) -> Result<Self, LabError> {
        let mut spec = Self::new(name);
        for switch in view.switches() {
            spec.switches.push(switch_spec(switch, view)?);
        }
        for link in view.links() {
            spec.links.push(LinkSpec { a: port_end(link.id.a()), b: port_end(link.id.b()) });
        }
        for host in view.host_intents() {
            for port in &host.attachments {
                spec.links.push(LinkSpec { a: port_end(port), b: End::Host(host.name.to_string()) });
            }
            let interfaces = vec![host_interface(host, view)?];
            spec.hosts.push(HostSpec { name: host.name.to_string(), interfaces });
        }
        spec.check()?;
        Ok(spec)
    }
}

/// A site's intents with an address for every switch that has none: 127.0.0.1, ports from 50001 in the order of names.
/// A controller has to read the same: give it `pergola_blueprint::export` of this.
pub fn with_endpoints(blueprint: &Blueprint) -> View {
    let mut intents = blueprint.intents().to_vec();
    let taken: Vec<Endpoint> =
        blueprint.view().switches().flat_map(|s| [s.p4runtime.clone(), s.gnmi.clone()]).flatten().collect();
    let mut free =
        (FIRST_PORT..).filter_map(|port| Endpoint::new("127.0.0.1", port).ok()).filter(|e| !taken.contains(e));
    for intent in &mut intents {
        if let AnyResource::Switch(switch) = intent
            && switch.p4runtime.is_none()
        {
            switch.p4runtime = free.next();
            // Both services of our switch share an address; BMv2 has no gNMI.
            if switch.gnmi.is_none() && switch.target == pergola_model::Target::Pergola {
                switch.gnmi.clone_from(&switch.p4runtime);
            }
        }
    }
    View::from_resources(intents)
}

/// BMv2 plays every switch, and the controller has to know: it serves no gNMI.
pub(crate) fn play_by_bmv2(view: &mut View) {
    let switches: Vec<Switch> = view.switches().map(|s| (**s).clone()).collect();
    for switch in switches {
        view.put(Switch { target: pergola_model::Target::Bmv2, gnmi: None, ..switch });
    }
}

const FIRST_PORT: u16 = 50_001;

fn switch_spec(switch: &Switch, view: &View) -> Result<SwitchSpec, LabError> {
    let field = |what: &str| format!("switches.{}.{what}", switch.name);
    let Some(grpc) = &switch.p4runtime else {
        return Err(LabError::spec(field("p4runtime"), "none", "an address and port"));
    };
    let gnmi = switch.gnmi.as_ref().map(|e| socket_address(e, field("gnmi"))).transpose()?;
    let target = match switch.target {
        pergola_model::Target::Pergola => None,
        pergola_model::Target::Bmv2 => Some(Target::Bmv2),
        pergola_model::Target::Other => Some(Target::None),
    };
    Ok(SwitchSpec {
        name: switch.name.to_string(),
        device_id: switch.device_id.0,
        grpc: socket_address(grpc, field("p4runtime"))?,
        gnmi,
        cpu_port: switch.cpu_port().get(),
        ports: view.ports_of(&switch.name).map(|p| p.id.port.get()).collect(),
        target,
        args: Vec::new(),
    })
}

fn socket_address(endpoint: &Endpoint, field: String) -> Result<SocketAddr, LabError> {
    let host = match endpoint.host() {
        "localhost" => IpAddr::V4(Ipv4Addr::LOCALHOST),
        text => {
            text.parse().map_err(|_| LabError::spec(field, text, "an IP address or localhost: a lab has no DNS"))?
        }
    };
    Ok(SocketAddr::new(host, endpoint.port()))
}

fn port_end(port: &PortId) -> End {
    End::Port { switch: port.switch.to_string(), port: port.port.get() }
}

fn host_interface(host: &HostIntent, view: &View) -> Result<HostInterface, LabError> {
    let Some(port) = host.attachments.first() else {
        return Err(LabError::spec(format!("hosts.{}.attachments", host.name), "none", "at least one port"));
    };
    let tagging = view.port(port).and_then(|p| p.mode.tagging(host.vlan));
    let tags = match tagging {
        Some(Tagging::Untagged) => Vec::new(),
        Some(Tagging::Tagged(vlan)) => vec![vlan.get()],
        Some(Tagging::Double { outer, inner }) => vec![outer.get(), inner.get()],
        None => {
            let (field, found) = (format!("hosts.{}.vlan", host.name), format!("{} on {port}", host.vlan));
            return Err(LabError::spec(field, found, "a VLAN that the port carries"));
        }
    };
    let subnets = || view.subnets_of_vlan(host.vlan);
    let with_length = |ip: &IpAddr| {
        let length = subnets().find_map(|s| s.prefix_of(*ip)).map(|p| p.length());
        IpNet::new(*ip, length.unwrap_or(if ip.is_ipv4() { 32 } else { 128 })).unwrap_or(IpNet::from(*ip))
    };
    let mut gateways: Vec<IpAddr> = Vec::new();
    for ip in &host.ips {
        let gateway = subnets().find_map(|s| s.gateway_for(*ip)).map(|g| g.address());
        gateways.extend(gateway.filter(|g| !gateways.iter().any(|old| old.is_ipv4() == g.is_ipv4())));
    }
    let dhcp = match host.dhcp {
        DhcpClient::No => Dhcp::default(),
        DhcpClient::V4 => Dhcp { v4: true, v6: false },
        DhcpClient::V6 => Dhcp { v4: false, v6: true },
        DhcpClient::Both => Dhcp { v4: true, v6: true },
    };
    Ok(HostInterface {
        mac: Some(host.mac.to_string()),
        tags,
        addresses: host.ips.iter().map(with_length).collect(),
        gateways,
        dhcp,
        ..HostInterface::new()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use pergola_model::Kind;

    fn view(extra: &[(Kind, serde_json::Value)]) -> View {
        use serde_json::json;
        let switch = |name: &str, id: u64, role: &str| {
            json!({"name": name, "role": role, "device_id": id, "p4runtime": format!("10.99.0.{id}:9559"),
                   "node_label": 100 + id, "router_mac": format!("02:aa:00:00:00:0{id}")})
        };
        let mut all = vec![
            (Kind::Switch, switch("leaf1", 1, "leaf")),
            (Kind::Switch, switch("leaf2", 2, "leaf")),
            (Kind::Link, json!({"id": "leaf1/49~leaf2/49"})),
            (Kind::Port, json!({"id": "leaf1/1", "mode": {"tagged": {"vlans": [10]}}})),
            (Kind::Port, json!({"id": "leaf2/1", "mode": {"tagged": {"vlans": [10]}}})),
            (Kind::Port, json!({"id": "leaf2/7"})),
            (Kind::Subnet, json!({"name": "a", "vlan": 10, "gateways": ["10.0.1.254/24", "2001:db8:1::ff/64"]})),
        ];
        all.extend(extra.iter().cloned());
        View::from_resources(all.into_iter().map(|(kind, body)| AnyResource::deserialize(kind, body).unwrap()))
    }

    fn host(vlan: u16) -> (Kind, serde_json::Value) {
        let body = serde_json::json!({"name": "h1", "mac": "02:00:00:00:00:01", "vlan": vlan,
            "ips": ["10.0.1.1", "2001:db8:1::1"], "attachments": ["leaf1/1", "leaf2/1"]});
        (Kind::Host, body)
    }

    #[test]
    fn a_dual_homed_tagged_host() {
        let spec = LabSpec::from_view("t", &view(&[host(10)])).unwrap();
        let interface = &spec.hosts[0].interfaces[0];
        assert_eq!(interface.tags, [10]);
        assert_eq!(interface.addresses, ["10.0.1.1/24", "2001:db8:1::1/64"].map(|t| t.parse::<IpNet>().unwrap()));
        assert_eq!(interface.gateways, ["10.0.1.254", "2001:db8:1::ff"].map(|t| t.parse::<IpAddr>().unwrap()));
        let links: Vec<String> = spec.links.iter().map(LinkSpec::exact_name).collect();
        assert_eq!(links, ["leaf1/49-leaf2/49", "leaf1/1-h1", "leaf2/1-h1"]);
        assert_eq!(spec.ports_of(&spec.switches[1]), [1, 7, 49]);
        let lines = crate::layout::fabric_batch(&spec);
        assert!(lines.contains(&"addr add 10.99.0.2 dev lo".to_owned()), "{lines:?}");
    }

    #[test]
    fn bmv2_has_no_gnmi_and_the_controller_knows() {
        let text = include_str!("../../blueprint/examples/2x2.yaml");
        let mut view = with_endpoints(&pergola_blueprint::parse(text).unwrap());
        assert!(view.switches().all(|s| s.gnmi.is_some()));
        play_by_bmv2(&mut view);
        let read = pergola_blueprint::parse(&pergola_blueprint::export(&view)).unwrap().view();
        assert!(read.switches().count() == 4 && read.switches().all(|s| s.gnmi.is_none() && s.p4runtime.is_some()));
        let spec = LabSpec::from_view("t", &read).unwrap();
        assert!(spec.switches.iter().all(|s| s.target == Some(Target::Bmv2) && s.gnmi.is_none()));
    }

    #[test]
    fn every_example_is_a_lab() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../blueprint/examples");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let text = std::fs::read_to_string(entry.path()).unwrap();
            let blueprint = pergola_blueprint::parse(&text).unwrap();
            let spec = LabSpec::from_blueprint("t", &blueprint).unwrap();
            let completed = pergola_blueprint::parse(&pergola_blueprint::export(&with_endpoints(&blueprint))).unwrap();
            assert_eq!(LabSpec::from_view("t", &completed.view()).unwrap(), spec, "what the controller reads");
            assert!(!spec.switches.is_empty() && spec.hosts.len() > 1, "{:?}", entry.path());
            seen += 1;
        }
        assert!(seen >= 4, "{seen} examples");
    }

    #[test]
    fn a_vlan_that_the_port_does_not_carry() {
        let error = LabSpec::from_view("t", &view(&[host(11)])).unwrap_err().to_string();
        assert!(error.contains("hosts.h1.vlan") && error.contains("11 on leaf1/1"), "{error}");
    }
}
