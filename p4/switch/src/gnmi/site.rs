//! What is known of the switch when ports are made over gNMI: whose names are its own, which numbers are for ports, and what
//! ports are made of.
//!
//! An interface that is made here is named as BMv2 names it, `DEVICE-PORT@INTERFACE`, or plainly as the interface, and then its
//! `config/id` is the number. Interfaces from the command line are shown under their plain names and answer to both.

use crate::ports::{PORT_MAX, PortNo, PortOptions, sys};
use tonic::Status;

/// Hears of a port's name and number.
pub type Listener = Box<dyn Fn(&str, PortNo) + Send + Sync>;

/// One switch as far as it concerns new ports.
pub struct Site {
    pub device_id: u64,
    /// Numbers that are for no interface, with what they are.
    pub reserved: Vec<(PortNo, &'static str)>,
    /// Settings of new ports.
    pub options: PortOptions,
    /// Packets come and go by gRPC, and ports are made without interfaces.
    pub remote: bool,
    /// Hears of the names of each new port.
    pub named: Listener,
}

/// The name of a port as BMv2 writes it.
pub fn qualified(device_id: u64, no: PortNo, interface: &str) -> String {
    format!("{device_id}-{no}@{interface}")
}

impl Site {
    /// See [`qualified`].
    pub fn qualified(&self, no: PortNo, interface: &str) -> String {
        qualified(self.device_id, no, interface)
    }

    /// The number and the Linux interface of a port that is to be made under `name`, with `id` from its configuration.
    ///
    /// # Errors
    /// INVALID_ARGUMENT: the name is none for a port of this device, or the number is not for ports.
    pub fn place(&self, name: &str, id: Option<PortNo>) -> Result<(PortNo, String), Status> {
        let wrong = |what: String| Status::invalid_argument(format!("interface {name}: {what}"));
        let own = self.device_id;
        let (no, interface) = match name.split_once('@') {
            None => (
                id.ok_or_else(|| {
                    wrong(format!(
                        "config/id: missing; it is the port's number, unless that is in the name, as in {own}-3@{name}"
                    ))
                })?,
                name,
            ),
            Some((numbers, interface)) => {
                let parsed = numbers
                    .split_once('-')
                    .and_then(|(device, no)| Some((device.parse::<u64>().ok()?, no.parse::<u64>().ok()?)))
                    // One way to write a number: a port has one name.
                    .filter(|(device, no)| format!("{device}-{no}") == numbers);
                let (device, no) = parsed.ok_or_else(|| {
                    wrong(format!("{numbers:?} before \"@\"; allowed are DEVICE-PORT, as in {own}-3@veth0"))
                })?;
                if device != own {
                    return Err(wrong(format!("device id {device}; this is device {own}")));
                }
                let no = PortNo::try_from(no).ok().filter(|no| *no <= PORT_MAX);
                let no = no.ok_or_else(|| wrong(format!("its port number; allowed are 0 to {PORT_MAX}")))?;
                if let Some(id) = id.filter(|id| *id != no) {
                    return Err(wrong(format!("config/id: {id}; the name says {no}")));
                }
                (no, interface)
            }
        };
        if no > PORT_MAX {
            return Err(wrong(format!("config/id: {no}; allowed are 0 to {PORT_MAX}")));
        }
        if let Some((_, what)) = self.reserved.iter().find(|(reserved, _)| *reserved == no) {
            return Err(wrong(format!("port {no} is {what}")));
        }
        let strange = |c: char| matches!(c, '/' | ':' | '@') || c.is_whitespace() || c.is_control();
        if interface.is_empty()
            || interface.len() > sys::NAME_MAX
            || interface.contains(strange)
            || [".", ".."].contains(&interface)
        {
            let max = sys::NAME_MAX;
            return Err(wrong(format!(
                "{interface:?} is no interface's name; allowed are 1 to {max} bytes without spaces, \"/\", \":\" and \"@\""
            )));
        }
        Ok((no, interface.to_owned()))
    }
}

#[cfg(test)]
pub(super) fn testing() -> Site {
    let reserved = vec![(255, "the CPU port"), (511, "the drop port")];
    Site { device_id: 1, reserved, options: PortOptions::default(), remote: false, named: Box::new(|_, _| {}) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_where_a_port_goes() {
        let place = |name, id| testing().place(name, id).unwrap();
        assert_eq!(place("1-3@veth0", None), (3, "veth0".into()));
        assert_eq!(place("1-3@s1-eth1.100", Some(3)), (3, "s1-eth1.100".into()));
        assert_eq!(place("veth0", Some(7)), (7, "veth0".into()));
    }

    #[test]
    fn what_is_wrong_with_a_name_is_said() {
        for (name, id, part) in [
            ("veth0", None, "config/id: missing; it is the port's number"),
            ("veth0", Some(65_536), "config/id: 65536; allowed are 0 to 65535"),
            ("3@veth0", None, "\"3\" before \"@\"; allowed are DEVICE-PORT, as in 1-3@veth0"),
            ("1-x@veth0", None, "\"1-x\" before \"@\""),
            ("1--3@veth0", None, "\"1--3\" before \"@\""),
            ("01-3@veth0", None, "\"01-3\" before \"@\""),
            ("1-+3@veth0", None, "\"1-+3\" before \"@\""),
            ("2-3@veth0", None, "device id 2; this is device 1"),
            ("1-65536@veth0", None, "its port number; allowed are 0 to 65535"),
            ("1-3@veth0", Some(4), "config/id: 4; the name says 3"),
            ("1-255@veth0", None, "port 255 is the CPU port"),
            ("veth0", Some(511), "port 511 is the drop port"),
            ("1-3@", None, "\"\" is no interface's name"),
            ("1-3@pcap:/etc/x", None, "is no interface's name"),
            ("1-3@interface-name-16", None, "allowed are 1 to 15 bytes"),
            ("1-3@a@b", None, "is no interface's name"),
        ] {
            let error = testing().place(name, id).unwrap_err();
            assert_eq!(error.code(), tonic::Code::InvalidArgument);
            assert!(error.message().contains(part), "{name}: {error}");
        }
    }
}
