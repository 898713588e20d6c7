//! Policies as rules of the access control tables.
//!
//! A rule without anything of IP in it goes into both tables: `acl` sees everything but IPv6, `acl_ipv6` sees IPv6. A
//! range of ports becomes a few value-mask pairs, because ternary is what switches have.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use pergola_model::{
    ChangedKey, EthType, Family, Host, IpProto, Key, Kind, Policy, PolicyName, PortRange, Prefix, Rule, RuleAction,
    RuleMatch, Switch, View,
};
use pergola_pipeline::table::{Masked, Ternary, is, masked, metered};
use pergola_pipeline::tables::{acl, acl_ipv6};
use pergola_pipeline::{MeterConfig, reserved};
use pergola_plan::{App, Emitter, Unit, UnitSet};

use crate::office::{live_locations, mac, port, unit};
use crate::redirect;
use crate::segments::moves_paths;

pub struct Acl;

const POLICY: &str = "policy";

impl App for Acl {
    fn name(&self) -> &'static str {
        "acl"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.policies().map(|p| unit(POLICY, p.name.as_str())));
    }

    fn affected(&self, old: &View, new: &View, change: &ChangedKey, out: &mut UnitSet) {
        if moves_paths(new, change) {
            out.extend(new.policies().filter(|p| redirects(p)).map(|p| unit(POLICY, p.name.as_str())));
        }
        match change.key.kind {
            Kind::Policy => out.insert(unit(POLICY, &change.key.name)),
            Kind::Switch => {
                self.units(old, out);
                self.units(new, out);
            }
            // A rule that redirects to a host follows it.
            Kind::Host | Kind::HostLocation | Kind::Port | Kind::PortState => {
                out.extend(new.policies().filter(|p| redirects(p)).map(|p| unit(POLICY, p.name.as_str())));
            }
            _ => {}
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_>) {
        let name = unit.as_name().and_then(|n| n.parse::<PolicyName>().ok());
        let Some(policy) = name.and_then(|n| view.policy(&n)) else { return };
        let cause = Key::new(Kind::Policy, &policy.name);
        for rule in &policy.rules {
            plan_rule(view, rule, &cause, out);
        }
    }
}

fn redirects(policy: &Policy) -> bool {
    policy.rules.iter().any(|r| matches!(r.action, RuleAction::RedirectNextHop(_)))
}

/// What a rule does on one switch, for either table.
#[derive(Clone, Copy)]
enum Does {
    Permit,
    Drop,
    Copy,
    Redirect(u32),
    SetPort(u16),
    Police(MeterConfig),
}

fn plan_rule(view: &View, rule: &Rule, cause: &Key, out: &mut Emitter<'_>) {
    let m = &rule.matches;
    let target = match rule.action {
        RuleAction::RedirectNextHop(ip) => {
            let known = view.hosts_by_ip(ip).find(|h| live_locations(view, h).next().is_some());
            match known {
                Some(host) => redirect::plan_home(view, host, cause, out),
                None => out.problem(cause, format!("redirect: {ip} is not known yet")),
            }
            known
        }
        _ => None,
    };
    for leaf in view.leaves() {
        // Any of several ports is one entry for each of them.
        let ports: Vec<Ternary<u16>> = if m.in_ports.is_empty() {
            vec![None]
        } else {
            m.in_ports.iter().filter(|p| p.switch == leaf.name).map(|p| is(port(p))).collect()
        };
        if ports.is_empty() {
            continue;
        }
        let Some(does) = action_on(view, leaf, rule, target, cause, out) else { continue };
        for ig_port in ports {
            for sport in ranges(m.l4_src) {
                for dport in ranges(m.l4_dst) {
                    let fields = Fields { m, ig_port, sport, dport, priority: rule.priority.get().into() };
                    if m.family() != Some(Family::Ipv6) {
                        out.emit(&leaf.name, fields.v4(does), cause);
                    }
                    let only_v4 = m.eth_type.is_some_and(|t| t != EthType::IPV6);
                    if m.family() != Some(Family::Ipv4) && !only_v4 {
                        out.emit(&leaf.name, fields.v6(does), cause);
                    }
                }
            }
        }
    }
}

/// `target` is the host that the rule redirects to, if it does.
fn action_on(
    view: &View,
    leaf: &Switch,
    rule: &Rule,
    target: Option<&Host>,
    cause: &Key,
    out: &mut Emitter<'_>,
) -> Option<Does> {
    Some(match &rule.action {
        RuleAction::Permit => Does::Permit,
        RuleAction::Deny => Does::Drop,
        RuleAction::MirrorToController => Does::Copy,
        RuleAction::RedirectPort(to) => {
            // The port is on one switch; elsewhere the rule has nothing to say.
            if to.switch != leaf.name {
                return None;
            }
            Does::SetPort(port(to))
        }
        RuleAction::RedirectNextHop(ip) => {
            let Some(next_id) = redirect::plan(view, leaf, target?, cause, out) else {
                out.problem(cause, format!("redirect: there is no way from {} to {ip}", leaf.name));
                return None;
            };
            Does::Redirect(next_id)
        }
        RuleAction::Police(police) => {
            let rate = (police.rate_bps.get() / 8).max(1);
            let burst = u64::from(police.burst_bytes.get());
            Does::Police(MeterConfig { cir: rate, cburst: burst, pir: rate, pburst: burst })
        }
    })
}

struct Fields<'a> {
    m: &'a RuleMatch,
    ig_port: Ternary<u16>,
    sport: Ternary<u16>,
    dport: Ternary<u16>,
    priority: u32,
}

impl Fields<'_> {
    fn v4(&self, does: Does) -> pergola_pipeline::Entity {
        let m = self.m;
        let ip = |p: Option<Prefix>| match p?.network() {
            IpAddr::V4(a) => masked(a, mask_v4(p?.length())),
            IpAddr::V6(_) => None,
        };
        let any_ip = m.ip_src.is_some() || m.ip_dst.is_some() || m.ip_proto.is_some() || m.dscp.is_some();
        let eth_type = match m.eth_type {
            Some(t) => is(t.0),
            None if any_ip => is(EthType::IPV4.0),
            None => None,
        };
        let key = acl::Key {
            ig_port: self.ig_port,
            eth_dst: m.eth_dst.and_then(|e| masked(mac(e.value()), mac(e.mask()))),
            eth_src: m.eth_src.and_then(|e| masked(mac(e.value()), mac(e.mask()))),
            vlan_id: m.vlan.and_then(|v| is(v.get())),
            eth_type,
            ipv4_src: ip(m.ip_src),
            ipv4_dst: ip(m.ip_dst),
            ip_proto: m.ip_proto.and_then(|IpProto(p)| is(p)),
            dscp: m.dscp.and_then(|d| is(d.get())),
            l4_sport: self.sport,
            l4_dport: self.dport,
            icmp_type: m.icmp_type.and_then(is),
            icmp_code: m.icmp_code.and_then(is),
            tcp_flags: m.tcp_flags.and_then(|f| masked(f.value(), f.mask())),
            priority: self.priority,
            ..acl::ANY
        };
        match does {
            Does::Permit => acl::entry(key, acl::Act::AclPermit {}),
            Does::Drop => acl::entry(key, acl::Act::AclDrop {}),
            Does::Copy => acl::entry(key, acl::Act::AclCopy { punt_id: reserved::PUNT_POLICY }),
            Does::Redirect(next_id) => acl::entry(key, acl::Act::AclRedirect { next_id }),
            Does::SetPort(port) => acl::entry(key, acl::Act::AclSetPort { port }),
            Does::Police(meter) => metered(&key, &acl::Act::AclPolice {}, meter),
        }
    }

    fn v6(&self, does: Does) -> pergola_pipeline::Entity {
        let m = self.m;
        let ip = |p: Option<Prefix>| match p?.network() {
            IpAddr::V6(a) => masked(a, mask_v6(p?.length())),
            IpAddr::V4(_) => None,
        };
        let key = acl_ipv6::Key {
            ig_port: self.ig_port,
            eth_dst: m.eth_dst.and_then(|e| masked(mac(e.value()), mac(e.mask()))),
            eth_src: m.eth_src.and_then(|e| masked(mac(e.value()), mac(e.mask()))),
            vlan_id: m.vlan.and_then(|v| is(v.get())),
            ipv6_src: ip(m.ip_src),
            ipv6_dst: ip(m.ip_dst),
            ip_proto: m.ip_proto.and_then(|IpProto(p)| is(p)),
            dscp: m.dscp.and_then(|d| is(d.get())),
            l4_sport: self.sport,
            l4_dport: self.dport,
            icmp_type: m.icmp_type.and_then(is),
            icmp_code: m.icmp_code.and_then(is),
            tcp_flags: m.tcp_flags.and_then(|f| masked(f.value(), f.mask())),
            priority: self.priority,
            ..acl_ipv6::ANY
        };
        match does {
            Does::Permit => acl_ipv6::entry(key, acl_ipv6::Act::AclPermitV6 {}),
            Does::Drop => acl_ipv6::entry(key, acl_ipv6::Act::AclDropV6 {}),
            Does::Copy => acl_ipv6::entry(key, acl_ipv6::Act::AclCopyV6 { punt_id: reserved::PUNT_POLICY }),
            Does::Redirect(next_id) => acl_ipv6::entry(key, acl_ipv6::Act::AclRedirectV6 { next_id }),
            Does::SetPort(port) => acl_ipv6::entry(key, acl_ipv6::Act::AclSetPortV6 { port }),
            Does::Police(meter) => metered(&key, &acl_ipv6::Act::AclPoliceV6 {}, meter),
        }
    }
}

fn mask_v4(length: u8) -> Ipv4Addr {
    Ipv4Addr::from_bits(u32::MAX.checked_shl(32 - u32::from(length)).unwrap_or(0))
}

fn mask_v6(length: u8) -> Ipv6Addr {
    Ipv6Addr::from_bits(u128::MAX.checked_shl(128 - u32::from(length)).unwrap_or(0))
}

/// A range as value-mask pairs, at most 30 of them for 16 bits; no range is one that matches anything.
fn ranges(range: Option<PortRange>) -> Vec<Ternary<u16>> {
    let Some(range) = range else { return vec![None] };
    let (mut low, high) = (u32::from(range.low()), u32::from(range.high()));
    if low == 0 && high == 0xffff {
        return vec![None];
    }
    let mut out = Vec::new();
    while low <= high {
        // The largest aligned block that starts here and does not go past the end.
        let mut size = if low == 0 { 1 << 16 } else { low & low.wrapping_neg() };
        while low + size - 1 > high {
            size >>= 1;
        }
        out.push(Some(Masked { value: low as u16, mask: !(size - 1) as u16 }));
        low += size;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_range_matches_what_it_says(a: u16, b: u16, probe: u16) {
            let (low, high) = (a.min(b), a.max(b));
            let pairs = ranges(Some(PortRange::new(low, high).unwrap()));
            prop_assert!(pairs.len() <= 30);
            for value in [probe, low, high, low.wrapping_sub(1), high.wrapping_add(1)] {
                let hits = pairs
                    .iter()
                    .filter(|p| p.is_none_or(|m| value & m.mask == m.value & m.mask))
                    .count();
                prop_assert_eq!(hits, usize::from((low..=high).contains(&value)));
            }
        }
    }

    #[test]
    fn masks_have_as_many_ones_as_the_prefix_is_long() {
        assert_eq!(mask_v4(0), Ipv4Addr::UNSPECIFIED);
        assert_eq!(mask_v4(24), Ipv4Addr::new(255, 255, 255, 0));
        assert_eq!(mask_v6(128), Ipv6Addr::from_bits(u128::MAX));
    }
}
