//! The words people may write for what they want to see.

use std::fmt;
use std::str::FromStr;

use pergola_model::Kind;

/// What `get` and `describe` can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    Kind(Kind),
    /// How the controller stands with each switch.
    Devices,
    /// What switches hold.
    Entries,
    /// The controller itself.
    Status,
}

impl What {
    /// Everything there is, in the order it is listed.
    pub fn all() -> impl Iterator<Item = What> {
        let kinds = Kind::ALL.iter().map(|kind| What::Kind(*kind));
        kinds.chain([What::Devices, What::Entries, What::Status])
    }

    pub fn name(self) -> &'static str {
        match self {
            What::Kind(kind) => kind.as_str(),
            What::Devices => "devices",
            What::Entries => "entries",
            What::Status => "status",
        }
    }

    /// Other words for it.
    pub fn aliases(self) -> &'static [&'static str] {
        match self {
            What::Kind(kind) => match kind {
                Kind::Site => &["sites"],
                Kind::Switch => &["switches"],
                Kind::Subnet => &["subnets", "vlan", "vlans"],
                Kind::Port => &["ports"],
                Kind::Link => &["links"],
                Kind::Host => &["hosts", "server", "servers"],
                Kind::Route => &["routes"],
                Kind::Policy => &["policies"],
                Kind::Multicast => &["multicasts", "group", "groups"],
                Kind::AccessDevice => &["access-devices", "olts"],
                Kind::DeviceState => &["device-states"],
                Kind::PortState => &["port-states"],
                Kind::LinkState => &["link-states"],
                Kind::HostLocation => &["host-locations"],
                Kind::CablingFault => &["cabling-faults"],
                Kind::GroupMembers => &["members", "listeners"],
            },
            What::Devices => &["device"],
            What::Entries => &["entry"],
            What::Status => &[],
        }
    }

    /// What it is, in a few words.
    pub fn about(self) -> &'static str {
        match self {
            What::Kind(kind) => match kind {
                Kind::Site => "what holds for the whole site",
                Kind::Switch => "switches as they are declared",
                Kind::Subnet => "VLANs, their gateways and what their hosts are told",
                Kind::Port => "ports, the VLANs they carry, and their state",
                Kind::Link => "links as wanted and as seen, and wrong cables",
                Kind::Host => "hosts, declared and learned, and where they are",
                Kind::Route => "static routes and blackholes",
                Kind::Policy => "access rules",
                Kind::Multicast => "multicast groups with configured receivers",
                Kind::AccessDevice => "OLTs and base stations",
                Kind::DeviceState => "sessions with switches, as stored",
                Kind::PortState => "what ports are doing",
                Kind::LinkState => "links that were seen",
                Kind::HostLocation => "where hosts were seen",
                Kind::CablingFault => "cables that are not where the site wants them",
                Kind::GroupMembers => "who listens to which multicast group",
            },
            What::Devices => "how the controller stands with each switch",
            What::Entries => "what switches hold, and why",
            What::Status => "the controller: problems, conflicts, alarms",
        }
    }

    /// Whether it can be put and deleted.
    pub fn is_intent(self) -> bool {
        matches!(self, What::Kind(kind) if kind.is_intent())
    }
}

impl fmt::Display for What {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let word = text.to_ascii_lowercase();
        What::all().find(|what| what.name() == word || what.aliases().contains(&word.as_str())).ok_or_else(|| {
            let names: Vec<&str> = What::all().map(What::name).collect();
            format!("found `{text}`, allowed: {}", names.join(", "))
        })
    }
}

/// A kind people can write to: for `apply` and `delete`.
pub fn intent(text: &str) -> Result<Kind, String> {
    match text.parse::<What>() {
        Ok(What::Kind(kind)) if kind.is_intent() => Ok(kind),
        Ok(_) => Err(format!("found `{text}`, allowed: {}", intents())),
        Err(_) => Err(format!("found `{text}`, allowed: {}", intents())),
    }
}

fn intents() -> String {
    let names: Vec<&str> = What::all().filter(|w| w.is_intent()).map(What::name).collect();
    names.join(", ")
}

/// `ports/leaf1/3` as the controller writes it: `port/leaf1/3`. Other text stays as it is.
pub fn key(text: &str) -> String {
    match text.split_once('/') {
        Some((kind, name)) => match kind.parse() {
            Ok(What::Kind(kind)) => format!("{kind}/{name}"),
            _ => text.to_owned(),
        },
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_their_plurals() {
        for what in What::all() {
            assert_eq!(what.name().parse(), Ok(what));
            for alias in what.aliases() {
                assert_eq!(alias.parse(), Ok(what), "{alias}");
            }
        }
        assert_eq!("Ports".parse(), Ok(What::Kind(Kind::Port)));
        let error = "prots".parse::<What>().unwrap_err();
        assert!(error.starts_with("found `prots`, allowed: site, switch, "), "{error}");
    }

    #[test]
    fn observations_are_not_written() {
        assert_eq!(intent("policies"), Ok(Kind::Policy));
        let error = intent("port-state").unwrap_err();
        assert!(error.contains("found `port-state`") && error.contains("access-device"), "{error}");
        assert!(!error.contains("entries"), "{error}");
    }

    #[test]
    fn keys_with_plural_kinds() {
        assert_eq!(key("ports/leaf1/3"), "port/leaf1/3");
        assert_eq!(key("route/10.0.0.0/8"), "route/10.0.0.0/8");
        assert_eq!(key("what/ever"), "what/ever");
        assert_eq!(key("leaf1"), "leaf1");
    }
}
