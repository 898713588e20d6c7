//! The site file's shape: what one may write. The JSON Schema is made from these types.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use pergola_model::*;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

use crate::node::{Node, Shape};
use crate::read::{At, Entries, List, Many, OrNone, Read, Reader, form};
use crate::words::{PortSpan, Speed, VlanRef};

form! {
    /// A whole site: its switches and links, what attaches to them, and how packets go.
    BlueprintForm {
        must site: SiteForm,
        may switches: Entries<SwitchName, SwitchForm>,
        /// Cables between switches, each as its two ports: [leaf1/1, spine1/1].
        may links: List<LinkForm>,
        may subnets: Entries<SubnetName, SubnetForm>,
        /// Edge ports and how they carry VLANs; several in a row as leaf1/3-10.
        may ports: Entries<PortSpan, PortForm>,
        may hosts: Entries<HostName, HostForm>,
        may routes: List<RouteForm>,
        may policies: Entries<PolicyName, PolicyForm>,
        may multicast: Entries<GroupName, MulticastForm>,
        may access: Entries<AccessName, AccessForm>,
    }
}

form! {
    /// What holds for all of the site.
    SiteForm {
        must name: SiteName,
        /// The gateways' Ethernet address on every leaf. Left out: 02:00:00:00:00:fe. `none`: each leaf uses its router MAC.
        may anycast_mac: OrNone<MacAddr>,
        /// Where the key is that authenticates LLDP frames.
        may lldp_key: SecretRef,
        may timers: TimersForm,
        /// For every switch that says nothing else: sessions without protection, which only a lab may have.
        may plaintext: PlaintextReason,
        /// For every switch that says nothing else: TLS with these files.
        may tls: TlsForm,
        /// For every switch that says nothing else: what kind of switch it is.
        may target: Target,
    }
}

form! {
    /// Timers; those left out have their usual values.
    TimersForm {
        may lldp_interval_ms: u32,
        may lldp_lost: u32,
        may host_idle_ms: u32,
        may host_probe_ms: u32,
        may host_probes: u32,
        may audit_interval_ms: u32,
        may reconnect_max_ms: u32,
    }
}

form! {
    /// PEM files on the controller's machine.
    TlsForm {
        may ca_file: String,
        may cert_file: String,
        may key_file: String,
        may server_name: String,
    }
}

form! {
    /// A switch. Where its name ends in a number N from 1 to 999, ids left out follow from it. Leaf N: device id N, node label
    /// 100 + N, router MAC 02:00:00:01 and N in two bytes, loopbacks 10.255.0.N and fd00:ffff::1:N. Spine N: device id
    /// 1000 + N, node label 1100 + N, router MAC 02:00:00:02 and N, loopbacks 10.255.1.N and fd00:ffff::2:N.
    SwitchForm {
        /// Left out: what the name begins with, leaf or spine.
        may role: Role,
        may device_id: DeviceId,
        /// Where it serves P4Runtime; the lab fills it in. Left out: where it was, and gNMI and target with it.
        may p4runtime: Endpoint,
        /// Where it serves gNMI; the lab fills it in.
        may gnmi: Endpoint,
        may plaintext: PlaintextReason,
        may tls: TlsForm,
        may node_label: NodeLabel,
        may loopback_v4: OrNone<Ipv4Addr>,
        may loopback_v6: OrNone<Ipv6Addr>,
        may router_mac: MacAddr,
        /// The other leaf of its pair; both name one another.
        may pair: SwitchName,
        may target: Target,
        may cpu_port: PortNo,
        may admin: AdminState,
    }
}

form! {
    /// One VLAN and its addresses.
    SubnetForm {
        must vlan: VlanId,
        /// The fabric's own addresses with their prefix lengths, v4 and v6.
        may gateways: Many<IfAddr>,
        /// Prefixes, where there is no gateway or to say which the gateways have to be in.
        may prefixes: Many<Prefix>,
        /// Servers that DHCP requests are relayed to, v4 and v6.
        may dhcp_relay: Many<IpAddr>,
        may router_advertisement: RouterAdvertisementForm,
        may domain: DomainName,
    }
}

form! {
    /// What router advertisements say; what is left out has its usual value.
    RouterAdvertisementForm {
        may enabled: bool,
        may managed: bool,
        may other_config: bool,
        may autonomous: bool,
        may interval_s: u16,
        may lifetime_s: u16,
        may preferred_s: u32,
        may valid_s: u32,
        may mtu: u32,
        may dns: Many<Ipv6Addr>,
    }
}

form! {
    /// An edge port: `untagged`, `tagged`, `native` with `tagged`, or `qinq`.
    PortForm {
        may enabled: bool,
        may speed: Speed,
        may untagged: VlanRef,
        may tagged: Many<VlanRef>,
        may native: VlanRef,
        may qinq: Many<QinqForm>,
    }
}

form! {
    /// A pair of tags and the VLAN it stands for.
    QinqForm {
        must outer: VlanId,
        must inner: VlanId,
        must vlan: VlanRef,
    }
}

form! {
    /// A server or host. The lab emulates it.
    HostForm {
        /// One port, or two on the two leaves of a pair. A port that `ports` does not name carries the host's VLAN untagged.
        must port: Many<PortId>,
        /// Left out: the port's untagged VLAN or its only one, or that of the subnet the first address is in.
        may vlan: VlanRef,
        /// Left out: 06:00 and four bytes made from the name.
        may mac: MacAddr,
        may ips: Many<IpAddr>,
        may binding: HostBinding,
        /// Which families it asks DHCP for.
        may dhcp: DhcpClient,
    }
}

form! {
    /// A static route: `via` next hops, or `blackhole: true`.
    RouteForm {
        must to: Prefix,
        may via: Many<IpAddr>,
        may blackhole: bool,
        may domain: DomainName,
    }
}

form! {
    /// A list of access rules.
    PolicyForm {
        must rules: List<RuleForm>,
    }
}

form! {
    /// One rule; of those that match, the highest priority counts.
    RuleForm {
        must priority: NonZeroU16,
        may description: String,
        may matches as "match": MatchForm,
        must action: ActionForm,
    }
}

form! {
    /// What a rule matches; what is left out matches everything.
    MatchForm {
        may in_ports: Many<PortId>,
        may eth_src: MacMatch,
        may eth_dst: MacMatch,
        may eth_type: EthType,
        may vlan: VlanRef,
        may ip_src: Prefix,
        may ip_dst: Prefix,
        may ip_proto: IpProto,
        may dscp: Dscp,
        may l4_src: PortRange,
        may l4_dst: PortRange,
        may icmp_type: u8,
        may icmp_code: u8,
        may tcp_flags: TcpFlags,
    }
}

form! {
    PoliceForm {
        must rate_bps: NonZeroU64,
        must burst_bytes: NonZeroU32,
    }
}

form! {
    /// A multicast group with fixed receivers.
    MulticastForm {
        must subnet: SubnetName,
        must group: IpAddr,
        may receivers: Many<PortId>,
    }
}

form! {
    /// An OLT or a base station.
    AccessForm {
        must kind: AccessKind,
        must ports: Many<PortId>,
        may address: IpAddr,
        may mac: MacAddr,
        may management: Endpoint,
    }
}

/// Two ports, in either order.
#[derive(Debug, Clone)]
pub(crate) struct LinkForm(pub At<PortId>, pub At<PortId>);

impl Read for LinkForm {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        match &node.shape {
            Shape::List(ends) if ends.len() == 2 => {
                let a = reader.within("[0]", |r| At::read(&ends[0], r));
                let b = reader.within("[1]", |r| At::read(&ends[1], r));
                Some(LinkForm(a?, b?))
            }
            Shape::List(ends) => {
                reader.problem(node.at, format!("{} ports", ends.len()), "2 ports");
                None
            }
            _ => {
                reader.problem(node.at, node.describe(), "two ports: [leaf1/1, spine1/1]");
                None
            }
        }
    }
}

impl JsonSchema for LinkForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Link".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let port = generator.subschema_for::<PortId>();
        json_schema!({
            "description": "the two ports of a cable: [leaf1/1, spine1/1]",
            "type": "array", "items": port, "minItems": 2, "maxItems": 2,
        })
    }
}

/// A word, or a word with what it needs.
#[derive(Debug, Clone)]
pub(crate) enum ActionForm {
    Permit,
    Deny,
    MirrorToController,
    RedirectPort(At<PortId>),
    RedirectNextHop(At<IpAddr>),
    Police(PoliceForm),
}

const ACTIONS: &str = "permit, deny, mirror_to_controller, {redirect_port: PORT}, {redirect_next_hop: ADDRESS} or \
                       {police: {rate_bps: N, burst_bytes: N}}";

impl Read for ActionForm {
    fn read(node: &Node, reader: &mut Reader) -> Option<Self> {
        let (key, value) = match &node.shape {
            Shape::Scalar { text, .. } => match text.as_str() {
                "permit" => return Some(ActionForm::Permit),
                "deny" => return Some(ActionForm::Deny),
                "mirror_to_controller" => return Some(ActionForm::MirrorToController),
                other => {
                    reader.problem(node.at, other, ACTIONS);
                    return None;
                }
            },
            Shape::Map(entries) if entries.len() == 1 => &entries[0],
            _ => {
                reader.problem(node.at, node.describe(), ACTIONS);
                return None;
            }
        };
        let name = key.describe();
        match name.as_str() {
            "redirect_port" => reader.within(&name, |r| At::read(value, r)).map(ActionForm::RedirectPort),
            "redirect_next_hop" => reader.within(&name, |r| At::read(value, r)).map(ActionForm::RedirectNextHop),
            "police" => reader.within(&name, |r| PoliceForm::read(value, r)).map(ActionForm::Police),
            _ => {
                reader.problem(key.at, &name, ACTIONS);
                None
            }
        }
    }
}

impl JsonSchema for ActionForm {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Action".into()
    }
    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let port = generator.subschema_for::<PortId>();
        let police = generator.subschema_for::<PoliceForm>();
        let one = |name: &str, schema: serde_json::Value| {
            serde_json::json!({
                "type": "object", "required": [name], "additionalProperties": false,
                "properties": { name: schema },
            })
        };
        let address = generator.subschema_for::<IpAddr>();
        json_schema!({
            "description": "what happens to a packet that matches",
            "anyOf": [
                { "enum": ["permit", "deny", "mirror_to_controller"] },
                one("redirect_port", port.to_value()),
                one("redirect_next_hop", address.to_value()),
                one("police", police.to_value()),
            ],
        })
    }
}
