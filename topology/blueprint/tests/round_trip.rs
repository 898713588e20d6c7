//! Any site that passes the checks comes back from export with the same meaning.
#![allow(clippy::unwrap_used)]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU64};

use pergola_blueprint::{diff, export, parse};
use pergola_model::*;
use proptest::prelude::*;
use proptest::sample::Index;

#[derive(Debug, Clone)]
struct Choices {
    leaves: u32,
    spines: u32,
    paired: bool,
    named: bool,
    bits: Vec<bool>,
    picks: Vec<Index>,
    text: String,
}

fn choices() -> impl Strategy<Value = Choices> {
    (
        1u32..6,
        0u32..4,
        any::<bool>(),
        any::<bool>(),
        prop::collection::vec(any::<bool>(), 64),
        prop::collection::vec(any::<Index>(), 64),
        "[ -~äß]{0,20}",
    )
        .prop_map(|(leaves, spines, paired, named, bits, picks, text)| Choices {
            leaves,
            spines,
            paired,
            named,
            bits,
            picks,
            text,
        })
}

/// Draws from the choices one after another.
struct Draw<'a> {
    from: &'a Choices,
    bit: usize,
    pick: usize,
}

impl Draw<'_> {
    fn bit(&mut self) -> bool {
        self.bit += 1;
        self.from.bits[self.bit % self.from.bits.len()]
    }

    fn below(&mut self, n: usize) -> usize {
        self.pick += 1;
        self.from.picks[self.pick % self.from.picks.len()].index(n)
    }
}

fn vlan(n: u16) -> VlanId {
    VlanId::new(n).unwrap()
}

fn switches(c: &Choices, draw: &mut Draw) -> Vec<Switch> {
    let leaf_name = |i: u32| if c.named { format!("leaf{i}") } else { format!("tor-{i}") };
    let leaves = (1..=c.leaves).map(|i| (Role::Leaf, i, leaf_name(i)));
    let spines = (1..=c.spines).map(|i| (Role::Spine, i, format!("spine{i}")));
    leaves
        .chain(spines)
        .map(|(role, i, name)| {
            let tier = if role == Role::Leaf { 0 } else { 100 };
            let mate = if i % 2 == 1 { i + 1 } else { i - 1 };
            let pair = c.paired && role == Role::Leaf && mate <= c.leaves;
            let security = match draw.below(3) {
                0 => Security::Plaintext(PlaintextReason::Lab),
                1 => Security::default(),
                _ => Security::Tls(TlsFiles { ca_file: Some("/etc/a b: c.pem".into()), ..TlsFiles::default() }),
            };
            Switch {
                name: name.parse().unwrap(),
                role,
                device_id: DeviceId((i + tier).into()),
                p4runtime: draw.bit().then(|| format!("[::1]:{}", 50_000 + i + tier).parse().unwrap()),
                gnmi: draw.bit().then(|| format!("127.0.0.1:{}", 51_000 + i + tier).parse().unwrap()),
                security,
                node_label: NodeLabel::new(100 + i + tier * 10).unwrap(),
                loopback_v4: draw.bit().then(|| Ipv4Addr::new(192, 168, tier as u8, i as u8)),
                loopback_v6: draw.bit().then(|| format!("fd00:ffff::{}:{i}", 1 + tier / 100).parse().unwrap()),
                router_mac: MacAddr::from_u64(0x0200_0001_0000 + u64::from(tier + i)),
                pair: pair.then(|| leaf_name(mate).parse().unwrap()),
                target: [Target::Pergola, Target::Bmv2, Target::Other][draw.below(3)],
                cpu_port: draw.bit().then(|| PortNo::new(510).unwrap()),
                admin: if draw.bit() { AdminState::Locked } else { AdminState::Unlocked },
            }
        })
        .collect()
}

fn resources(c: &Choices) -> Vec<AnyResource> {
    let mut draw = Draw { from: c, bit: 0, pick: 0 };
    let switches = switches(c, &mut draw);
    let mut out: Vec<AnyResource> = Vec::new();
    out.push(
        Site {
            name: "true".parse().unwrap(),
            anycast_mac: draw.bit().then(|| "02:aa:00:00:00:01".parse().unwrap()),
            lldp_key: draw.bit().then(|| "file:/etc/key #1".parse().unwrap()),
            timers: Timers { lldp_lost: if draw.bit() { 3 } else { 5 }, ..Timers::default() },
        }
        .into(),
    );
    let leaves: Vec<Switch> = switches.iter().filter(|s| s.is_leaf()).cloned().collect();
    for (i, leaf) in leaves.iter().enumerate() {
        for (j, spine) in switches.iter().filter(|s| s.is_spine()).enumerate() {
            let id = format!("{}/{}~{}/{}", leaf.name, j + 1, spine.name, i + 1);
            out.push(Link { id: id.parse().unwrap() }.into());
        }
    }
    out.extend(switches.into_iter().map(AnyResource::from));
    for n in 1..=4u16 {
        let v4: IfAddr = format!("10.0.{n}.1/24").parse().unwrap();
        let v6: IfAddr = format!("2001:db8:{n}::1/64").parse().unwrap();
        let gateways: Vec<IfAddr> = [(draw.bit(), v4), (draw.bit(), v6)]
            .into_iter()
            .filter_map(|(there, gateway)| there.then_some(gateway))
            .collect();
        let mut relay = DhcpRelay::default();
        if gateways.contains(&v4) && draw.bit() {
            relay.v4.push(Ipv4Addr::new(10, 0, 99, 9));
        }
        if gateways.contains(&v6) && draw.bit() {
            relay.v6.push(Ipv6Addr::LOCALHOST.to_bits().wrapping_add(0x2001 << 112).into());
        }
        out.push(
            Subnet {
                name: ["no", "red", "1e5", "a-b"][usize::from(n) - 1].parse().unwrap(),
                vlan: vlan(n),
                prefixes: if draw.bit() && gateways.is_empty() { vec![v4.prefix(), v6.prefix()] } else { vec![] },
                gateways,
                dhcp_relay: relay,
                router_advertisement: RouterAdvertisement {
                    managed: draw.bit(),
                    autonomous: draw.bit(),
                    interval_s: 4 + draw.below(100) as u16,
                    mtu: draw.bit().then_some(1400),
                    dns: if draw.bit() { vec!["2001:db8::".parse().unwrap()] } else { vec![] },
                    ..RouterAdvertisement::default()
                },
                domain: if draw.bit() { DomainName::default() } else { "blue".parse().unwrap() },
            }
            .into(),
        );
    }
    for leaf in &leaves {
        for port in 10..14u32 {
            let mode = match draw.below(5) {
                0 => PortMode::None,
                1 => PortMode::Untagged { vlan: vlan(1) },
                2 => PortMode::Tagged { vlans: vec![vlan(1), vlan(3)] },
                3 => PortMode::Native { native: vlan(1), tagged: vec![vlan(2)] },
                _ => PortMode::Qinq {
                    services: vec![
                        QinqService { outer: vlan(7), inner: vlan(1), vlan: vlan(1) },
                        QinqService { outer: vlan(7), inner: vlan(2), vlan: vlan(4000) },
                    ],
                },
            };
            let id = PortId::new(leaf.name.clone(), PortNo::new(port).unwrap());
            if !mode.is_none() && draw.bit() {
                out.push(host(&id, port, &mut draw).into());
            }
            let speed_bps = [None, Some(10_000_000_000), Some(1_500), Some(7)][draw.below(4)];
            out.push(Port { id, enabled: draw.bit(), speed_bps, mode }.into());
        }
    }
    if c.paired && leaves.len() >= 2 {
        let ports: Vec<PortId> =
            leaves[..2].iter().map(|l| PortId::new(l.name.clone(), PortNo::new(20).unwrap())).collect();
        for id in &ports {
            let mode = PortMode::Untagged { vlan: vlan(9) };
            out.push(Port { id: id.clone(), enabled: true, speed_bps: None, mode }.into());
        }
        let group = MulticastGroup {
            name: "tv".parse().unwrap(),
            subnet: "dual".parse().unwrap(),
            group: "ff05::1".parse().unwrap(),
            receivers: ports.clone(),
        };
        let subnet = r#"{"name": "dual", "vlan": 9}"#;
        out.push(serde_json::from_str::<Subnet>(subnet).unwrap().into());
        out.push(group.into());
        out.push(
            HostIntent {
                name: "dual".parse().unwrap(),
                mac: MacAddr::from_u64(0x0200_0000_9999),
                vlan: vlan(9),
                ips: vec![],
                attachments: ports,
                binding: HostBinding::Expected,
                dhcp: DhcpClient::Both,
            }
            .into(),
        );
    }
    out.push(
        Route {
            prefix: "::/0".parse().unwrap(),
            domain: if draw.bit() { DomainName::default() } else { "blue".parse().unwrap() },
            target: RouteTarget::Blackhole,
        }
        .into(),
    );
    out.push(policy(c, &leaves[0].name, &mut draw).into());
    out.push(
        AccessDevice {
            name: "olt1".parse().unwrap(),
            kind: [AccessKind::Olt, AccessKind::Enb, AccessKind::Gnb][draw.below(3)],
            ports: vec![PortId::new(leaves[0].name.clone(), PortNo::new(30).unwrap())],
            address: draw.bit().then(|| IpAddr::from([10, 0, 1, 200])),
            mac: draw.bit().then(|| MacAddr::from_u64(0x0200_0000_8888)),
            management: draw.bit().then(|| "olt1.example.net:9191".parse().unwrap()),
        }
        .into(),
    );
    out
}

fn host(port: &PortId, number: u32, draw: &mut Draw) -> HostIntent {
    HostIntent {
        name: format!("h-{}-{number}", port.switch).parse().unwrap(),
        mac: MacAddr::from_u64(
            0x0200_0100_0000
                + (u64::from(number) << 8)
                + port.switch.as_str().len() as u64
                + u64::from(port.switch.as_str().bytes().last().unwrap()) * 0x1_0000,
        ),
        vlan: vlan(1),
        ips: vec![],
        attachments: vec![port.clone()],
        binding: [HostBinding::Expected, HostBinding::Pinned, HostBinding::Learned][draw.below(3)],
        dhcp: [DhcpClient::No, DhcpClient::V4, DhcpClient::V6, DhcpClient::Both][draw.below(4)],
    }
}

fn policy(c: &Choices, leaf: &SwitchName, draw: &mut Draw) -> Policy {
    let priority = |n| NonZeroU16::new(n).unwrap();
    let port = PortId::new(leaf.clone(), PortNo::new(10).unwrap());
    let tcp = RuleMatch {
        in_ports: if draw.bit() { vec![port.clone()] } else { vec![] },
        eth_src: Some("02:00:00:00:00:00/ff:ff:00:00:00:00".parse().unwrap()),
        eth_dst: draw.bit().then(|| "02:00:00:00:00:01".parse().unwrap()),
        ip_src: draw.bit().then(|| "2001:db8::/32".parse().unwrap()),
        ip_dst: draw.bit().then(|| "::/0".parse().unwrap()),
        vlan: draw.bit().then(|| vlan(12)),
        ip_proto: Some(IpProto::TCP),
        dscp: draw.bit().then(|| Dscp::new(46).unwrap()),
        l4_src: draw.bit().then(|| PortRange::new(1000, 2000).unwrap()),
        l4_dst: draw.bit().then(|| PortRange::new(80, 80).unwrap()),
        tcp_flags: draw.bit().then(|| "syn,!ack".parse().unwrap()),
        ..RuleMatch::default()
    };
    let icmp = RuleMatch {
        eth_type: draw.bit().then_some(EthType::IPV4),
        ip_proto: Some(IpProto::ICMP),
        icmp_type: draw.bit().then_some(8),
        icmp_code: draw.bit().then_some(0),
        ..RuleMatch::default()
    };
    let odd = RuleMatch { eth_type: Some(EthType(0x88b5)), ..RuleMatch::default() };
    let police =
        Police { rate_bps: NonZeroU64::new(1_000_000_000).unwrap(), burst_bytes: NonZeroU32::new(64_000).unwrap() };
    let action = [RuleAction::Permit, RuleAction::Deny, RuleAction::MirrorToController][draw.below(3)].clone();
    let rule = |n, matches, action| Rule {
        priority: priority(n),
        description: (n == 4).then(|| c.text.clone()),
        matches,
        action,
    };
    Policy {
        name: "p".parse().unwrap(),
        rules: vec![
            rule(4, tcp, action),
            rule(3, icmp, RuleAction::RedirectPort(port)),
            rule(2, odd, RuleAction::Police(police)),
            rule(1, RuleMatch::default(), RuleAction::Permit),
        ],
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn export_parses_back_to_the_same_meaning(c in choices()) {
        let view = View::from_resources(resources(&c));
        let wrong = view.check();
        prop_assert!(wrong.is_empty(), "the generator made a wrong site: {wrong:#?}");
        let text = export(&view);
        let again = match parse(&text) {
            Ok(again) => again,
            Err(problems) => return Err(TestCaseError::fail(format!("{text}\n{}", problems.render("export")))),
        };
        prop_assert_eq!(diff(view.intents(), again.view().intents()), []);
        prop_assert_eq!(export(&again.view()), text);
    }

    #[test]
    fn no_text_makes_the_reader_panic(text in "[a-z0-9:/ {}\\[\\],\\n#&*!|>'\"-]{0,80}") {
        let _ = parse(&text);
        let _ = parse(&format!("site: {{name: t}}\nswitches:\n  leaf1: {{{text}}}\n"));
    }
}
