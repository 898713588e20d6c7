//! The interfaces as a Set would leave them, and the steps from those that are there to these. Nothing is done here, so whatever
//! is wrong with a request is found before anything is changed.

use super::site::Site;
use super::tree::{self, Leaf};
use crate::ports::{PortInfo, PortNo};
use tonic::Status;

/// One change of a port that stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Enabled(PortNo, bool),
    Speed(PortNo, u64),
    /// Back to the speed that the interface itself tells.
    DefaultSpeed(PortNo),
}

/// A port to make.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct New {
    pub no: PortNo,
    /// As gNMI shows it.
    pub name: String,
    /// What it is made of.
    pub interface: String,
    pub enabled: bool,
    /// None for what the interface tells.
    pub speed_bps: Option<u64>,
}

/// The steps, of which all or none are taken.
#[derive(Debug, Default, PartialEq)]
pub struct Steps {
    pub remove: Vec<PortNo>,
    pub add: Vec<New>,
    pub changes: Vec<Change>,
}

impl Steps {
    fn change(&mut self, no: PortNo, enabled: Option<bool>, speed: Option<Speed>) {
        self.changes.extend(enabled.map(|enabled| Change::Enabled(no, enabled)));
        self.changes.extend(speed.map(|speed| match speed {
            Speed::Bps(bps) => Change::Speed(no, bps),
            Speed::Default => Change::DefaultSpeed(no),
        }));
    }
}

/// A wanted speed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    Bps(u64),
    Default,
}

/// An interface that is there or is to be.
pub struct Interface {
    /// What is known; of a new one only its name.
    port: PortInfo,
    pub new: bool,
    /// What the request sets.
    pub enabled: Option<bool>,
    pub speed: Option<Speed>,
    pub typed: bool,
    pub id: Option<PortNo>,
}

impl Interface {
    fn new(port: PortInfo, new: bool) -> Self {
        Self { port, new, enabled: None, speed: None, typed: false, id: None }
    }

    pub fn is_called(&self, name: &str) -> bool {
        self.port.name == name || self.port.alias.as_deref() == Some(name)
    }

    /// Its leaves before the request.
    pub fn leaves(&self) -> Vec<Leaf> {
        tree::leaves(&self.port)
    }
}

/// The interfaces while a request is read.
pub struct Candidate {
    pub interfaces: Vec<Interface>,
    removed: Vec<PortInfo>,
}

impl Candidate {
    pub fn new(ports: &[PortInfo]) -> Self {
        let interfaces = ports.iter().map(|port| Interface::new(port.clone(), false)).collect();
        Self { interfaces, removed: Vec::new() }
    }

    /// Takes away the interfaces for which `gone` holds.
    pub fn remove(&mut self, gone: impl Fn(&Interface) -> bool) {
        for Interface { port, new, .. } in self.interfaces.extract_if(.., |interface| gone(interface)) {
            if !new {
                self.removed.push(port);
            }
        }
    }

    /// Puts an interface in unless there is one of this name.
    pub fn ensure(&mut self, name: &str) {
        if !self.interfaces.iter().any(|interface| interface.is_called(name)) {
            let port = PortInfo { name: name.to_owned(), enabled: true, ..PortInfo::default() };
            self.interfaces.push(Interface::new(port, true));
        }
    }

    /// The steps to what the request leaves.
    ///
    /// # Errors
    /// NOT_FOUND for a new interface that is not fully described, INVALID_ARGUMENT for one whose name is none for a port here,
    /// ALREADY_EXISTS when its number or interface is in use.
    pub fn steps(self, site: &Site) -> Result<Steps, Status> {
        let mut steps = Steps::default();
        let mut taken: Vec<(PortNo, String, String)> = Vec::new();
        for Interface { port, .. } in self.interfaces.iter().filter(|interface| !interface.new) {
            taken.push((port.no, port.name.clone(), port.interface.clone()));
        }
        let mut removed = self.removed;
        for interface in &self.interfaces {
            if !interface.new {
                steps.change(interface.port.no, interface.enabled, interface.speed);
                continue;
            }
            let name = interface.port.name.clone();
            if !interface.typed {
                return Err(Status::not_found(format!(
                    "interface {name}: there is no such interface; a new one needs config/type, which is {}",
                    tree::ETHERNET
                )));
            }
            let (no, made_of) = site.place(&name, interface.id)?;
            for (other, shown, in_use) in &taken {
                if *other == no {
                    return Err(Status::already_exists(format!(
                        "interface {name}: port {no} is interface {shown} already"
                    )));
                }
                if *in_use == made_of {
                    return Err(Status::already_exists(format!("interface {name}: {made_of} is port {other} already")));
                }
            }
            taken.push((no, name.clone(), made_of.clone()));
            let same = |old: &PortInfo| old.no == no && old.name == name && old.interface == made_of;
            if let Some(at) = removed.iter().position(same) {
                // Deleted and made again by one request: it stays, and traffic with it.
                removed.remove(at);
                steps.change(
                    no,
                    Some(interface.enabled.unwrap_or(true)),
                    Some(interface.speed.unwrap_or(Speed::Default)),
                );
                continue;
            }
            steps.add.push(New {
                no,
                name,
                interface: made_of,
                enabled: interface.enabled.unwrap_or(true),
                speed_bps: interface.speed.and_then(|speed| match speed {
                    Speed::Bps(bps) => Some(bps),
                    Speed::Default => None,
                }),
            });
        }
        steps.remove = removed.iter().map(|port| port.no).collect();
        Ok(steps)
    }
}
