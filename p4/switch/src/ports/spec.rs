//! What a port is made of, and how the command line says it: `NO@INTERFACE`, `NO@tap:NAME`, `NO@pcap:IN[,OUT]`.

use super::link::LinkEnd;
use super::packet::RingOptions;
use super::{PORT_MAX, PortNo};
use std::path::PathBuf;

/// The far side of a port.
pub enum PortSpec {
    /// An existing Linux interface.
    Linux(String),
    /// A TAP interface, made when it does not exist.
    Tap(String),
    /// A capture file to read, and one to write.
    Pcap { input: Option<PathBuf>, output: Option<PathBuf> },
    /// One end of an in-process link, with the port's name.
    Link(String, LinkEnd),
    /// Nothing on this machine: packets come and go by gRPC ([`crate::dataplane`]).
    Remote(String),
}

impl std::fmt::Debug for PortSpec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.name())
    }
}

impl PortSpec {
    /// The name of what the port is made of; gNMI shows it unless there is another in the options.
    pub fn name(&self) -> String {
        match self {
            Self::Linux(name) | Self::Tap(name) | Self::Link(name, _) | Self::Remote(name) => name.clone(),
            Self::Pcap { input, output } => {
                let path = input.as_ref().or(output.as_ref());
                let stem = path.and_then(|p| p.file_stem()).map(|s| s.to_string_lossy().into_owned());
                format!("pcap:{}", stem.unwrap_or_default())
            }
        }
    }

    /// Reads `NO@WHAT`.
    ///
    /// # Errors
    /// In words: what was found and what is allowed.
    pub fn parse(text: &str) -> Result<(PortNo, Self), String> {
        const FORMS: &str = "allowed are NO@INTERFACE, NO@tap:NAME and NO@pcap:IN[,OUT]";
        let (no, what) = text.split_once('@').ok_or_else(|| format!("interface {text:?}: {FORMS}"))?;
        let no: PortNo = no
            .parse()
            .ok()
            .filter(|no| *no <= PORT_MAX)
            .ok_or_else(|| format!("interface {text:?}: port number {no:?}; allowed are 0 to {PORT_MAX}"))?;
        let spec = match what.split_once(':') {
            Some(("tap", name)) => Self::Tap(name.to_owned()),
            Some(("pcap", paths)) => {
                let (input, output) = paths.split_once(',').unwrap_or((paths, ""));
                let path = |p: &str| (!p.is_empty()).then(|| PathBuf::from(p));
                Self::Pcap { input: path(input), output: path(output) }
            }
            _ => Self::Linux(what.to_owned()),
        };
        match &spec {
            Self::Linux(name) | Self::Tap(name) if name.is_empty() || name.len() > super::sys::NAME_MAX => {
                let max = super::sys::NAME_MAX;
                Err(format!("interface {text:?}: a name of {} bytes; allowed are 1 to {max}", name.len()))
            }
            Self::Pcap { input: None, output: None } => Err(format!("interface {text:?}: no file; {FORMS}")),
            _ => Ok((no, spec)),
        }
    }
}

/// Settings of one port.
#[derive(Clone, Debug)]
pub struct PortOptions {
    /// The name that gNMI shows; none for that of the [`PortSpec`].
    pub name: Option<String>,
    /// Another name by which gNMI clients may call it.
    pub alias: Option<String>,
    /// Administrative state at the start. A Linux interface is set up or down with it.
    pub enabled: bool,
    /// Speed to show; none asks the interface.
    pub speed_bps: Option<u64>,
    pub ring: RingOptions,
    /// Folder for capture files of everything that passes.
    pub capture: Option<PathBuf>,
}

impl Default for PortOptions {
    fn default() -> Self {
        Self { name: None, alias: None, enabled: true, speed_bps: None, ring: RingOptions::default(), capture: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_every_form() {
        let parsed = |text| PortSpec::parse(text).map(|(no, spec)| (no, spec.name()));
        assert_eq!(parsed("1@veth0"), Ok((1, "veth0".into())));
        assert_eq!(parsed("0@s1-eth1.100"), Ok((0, "s1-eth1.100".into())));
        assert_eq!(parsed("3@tap:lab0"), Ok((3, "lab0".into())));
        assert_eq!(parsed("4@pcap:in/a.pcap,b.pcap"), Ok((4, "pcap:a".into())));
        assert_eq!(parsed("4@pcap:,b.pcap"), Ok((4, "pcap:b".into())));
    }

    #[test]
    fn names_what_is_wrong() {
        for (text, part) in [
            ("veth0", "allowed are NO@INTERFACE"),
            ("x@veth0", "port number \"x\""),
            ("65536@veth0", "allowed are 0 to 65535"),
            ("1@", "a name of 0 bytes"),
            ("1@interface-name-16", "allowed are 1 to 15"),
            ("1@pcap:", "no file"),
        ] {
            let error = PortSpec::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
