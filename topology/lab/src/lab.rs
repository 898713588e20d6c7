//! A running lab and what can be done to it.

use crate::error::{Doing, LabError};
use crate::layout;
use crate::spec::{End, HostSpec, LabSpec, LinkSpec};
use crate::state::{self, Cut, Process, Role, State};
use crate::status::Status;
use crate::sys::iface::Interfaces;
use crate::sys::netns::NetNs;
use crate::sys::{rtnetlink, xdp};
use crate::{down, ip, replug, rootless, up};
use std::io;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

/// A handle on a lab. Dropping it leaves the lab running; [`Lab::down`] ends it.
#[derive(Debug)]
pub struct Lab {
    folder: PathBuf,
    state: State,
}

/// How a process is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kill {
    /// SIGKILL; the ports stay lit, so the neighbours see nothing but silence.
    Crash,
    /// SIGKILL, and a switch's ports go dark with it.
    PowerOff,
    /// SIGTERM: it may say good-bye.
    Stop,
}

impl Lab {
    /// Builds the lab and waits until switches and controller take connections.
    ///
    /// # Errors
    /// What is wrong with the description, a lab of that name that lives, a program that is missing or does not start. What
    /// was built is gone again then.
    pub fn up(spec: LabSpec) -> Result<Self, LabError> {
        up::up(spec, &AtomicBool::new(false))
    }

    /// The same, given up when `cancelled` turns true.
    pub fn up_unless(spec: LabSpec, cancelled: &AtomicBool) -> Result<Self, LabError> {
        up::up(spec, cancelled)
    }

    /// A lab that is up already.
    pub fn open(name: &str) -> Result<Self, LabError> {
        let folder = state::folder(name);
        if !folder.join("state.json").exists() {
            let known = match state::labs() {
                labs if labs.is_empty() => "none is up".to_owned(),
                labs => format!("up: {}", labs.join(", ")),
            };
            return Err(LabError::NotFound { name: name.to_owned(), known });
        }
        Ok(Self { state: State::load(&folder)?, folder })
    }

    /// Ends it and removes all of it.
    pub fn down(self) -> Result<down::Removed, LabError> {
        down::down(&self.state.spec.name)
    }

    /// A command that runs on a host, or, for a switch or `controller`, in the namespace of the switches.
    pub fn command(&self, node: &str, program: &str) -> Result<Command, LabError> {
        Ok(self.namespace(node)?.command(program))
    }

    /// Runs a command on a host to its end, output captured.
    pub fn exec(&self, node: &str, program: &str, args: &[&str]) -> Result<std::process::Output, LabError> {
        self.command(node, program)?.args(args).output().doing(|| format!("running {program} on {node}"))
    }

    /// The namespace of a host, or of all switches and the controller.
    pub fn namespace(&self, node: &str) -> Result<NetNs, LabError> {
        let spec = &self.state.spec;
        let name = if spec.is_host(node) {
            layout::host_namespace(&spec.name, node)
        } else if node == "controller" || spec.switches.iter().any(|s| s.name == node) {
            layout::fabric_namespace(&spec.name)
        } else {
            let hosts = spec.hosts.iter().map(|h| h.name.clone()).chain(spec.user_hosts.iter().map(|u| u.name.clone()));
            let all = hosts.chain(spec.switches.iter().map(|s| s.name.clone())).chain(["controller".to_owned()]);
            return Err(unknown("node", node, all));
        };
        self.open_namespace(&name)
    }

    pub(crate) fn open_namespace(&self, name: &str) -> Result<NetNs, LabError> {
        NetNs::open(name).doing(|| format!("opening namespace {name}"))
    }

    /// Cuts a cable: both ends of a cable between switches go down; of a host's cable, the switch's end, and the host loses
    /// carrier. `Silent`: the ends stay lit and nothing arrives any more. BMv2's end is never switched off, for then it hears
    /// nothing on any port: towards one of our switches it loses carrier, else both ends become dormant and nothing arrives.
    pub fn break_link(&mut self, name: &str, cut: Cut) -> Result<(), LabError> {
        self.change(|lab| {
            let link = lab.find_link(name)?;
            if lab.state.cuts.get(&link).is_some_and(|old| *old != cut) {
                lab.mend(link)?;
            }
            lab.sever(link, cut)?;
            lab.state.cuts.insert(link, cut);
            Ok(())
        })
    }

    /// Mends a cut cable. One that is whole stays so.
    pub fn heal_link(&mut self, name: &str) -> Result<(), LabError> {
        self.change(|lab| {
            let link = lab.find_link(name)?;
            lab.mend(link)?;
            lab.state.cuts.remove(&link);
            Ok(())
        })
    }

    /// Pulls a host's cable and plugs it into another port, which must have none. Everything else about the host stays.
    pub fn move_host(&mut self, host: &str, cable: usize, to: &str) -> Result<(), LabError> {
        let to: End = to.parse()?;
        self.change(|lab| replug::replug(lab, host, cable, &to))
    }

    fn sever(&self, link: usize, cut: Cut) -> Result<(), LabError> {
        match cut {
            Cut::Loud if self.is_bmv2_cable(link) => self.set_dormant(link, true),
            Cut::Loud => self.set_ends(link, false),
            Cut::Silent => self.set_silent(link, true),
        }
    }

    fn mend(&self, link: usize) -> Result<(), LabError> {
        match self.state.cuts.get(&link) {
            None => Ok(()),
            Some(Cut::Silent) => self.set_silent(link, false),
            Some(Cut::Loud) if self.is_bmv2_cable(link) => self.set_dormant(link, false),
            Some(Cut::Loud) => {
                self.set_ends(link, true)?;
                // A host's own end that was down has lost addresses and routes.
                let spec = &self.state.spec;
                let LinkEnds { a, .. } = self.ends(link);
                match (&spec.links[link].a, spec.links[link].b.is_port()) {
                    (End::Host(name), false) => {
                        let host = spec.hosts.iter().find(|h| &h.name == name);
                        host.map_or(Ok(()), |h| {
                            ip::batch(Some(&self.open_namespace(&a.0)?), &layout::host_addresses(h))
                        })
                    }
                    _ => Ok(()),
                }
            }
        }
    }

    /// Ports go up and down; of two hosts' cable only the first end does.
    fn set_ends(&self, link: usize, on: bool) -> Result<(), LabError> {
        let ends = self.ends(link);
        let spec = &self.state.spec.links[link];
        let no_port = !spec.a.is_port() && !spec.b.is_port();
        let may = |end: &End| end.is_port() && !self.is_spared(end);
        let chosen = [(&ends.a, may(&spec.a) || no_port), (&ends.b, may(&spec.b))];
        for ((namespace, interface), _) in chosen.into_iter().filter(|(_, chosen)| *chosen) {
            if on && self.is_dark(namespace, interface) {
                continue;
            }
            let control = self.interfaces(namespace)?;
            control.set_up(interface, on).doing(|| format!("setting {interface}"))?;
        }
        Ok(())
    }

    /// A port of a switch without power stays down when its cable is mended.
    fn is_dark(&self, namespace: &str, interface: &str) -> bool {
        let spec = &self.state.spec;
        let off = |name: &str| self.state.processes.get(name).is_some_and(|p| p.power_off);
        let owns = |s: &crate::spec::SwitchSpec| {
            spec.ports_of(s).iter().any(|p| layout::port_interface(spec, &s.name, *p) == interface)
        };
        namespace == layout::fabric_namespace(&spec.name) && spec.switches.iter().any(|s| off(&s.name) && owns(s))
    }

    fn set_silent(&self, link: usize, on: bool) -> Result<(), LabError> {
        self.at_both_ends(link, |index| xdp::set_drop(index, on))
    }

    fn set_dormant(&self, link: usize, on: bool) -> Result<(), LabError> {
        self.at_both_ends(link, |index| xdp::set_drop(index, on).and_then(|()| rtnetlink::set_dormant(index, on)))
    }

    fn at_both_ends(&self, link: usize, set: impl Fn(u32) -> io::Result<()> + Sync) -> Result<(), LabError> {
        let ends = self.ends(link);
        for (namespace, interface) in [&ends.a, &ends.b] {
            let set = || set(Interfaces::here()?.index(interface)?);
            let done = self.open_namespace(namespace)?.run(set).and_then(|r| r);
            done.doing(|| format!("silencing {interface} (needs XDP and real root)"))?;
        }
        Ok(())
    }

    /// Whether a cable can be cut at neither end by switching it off: between BMv2s, and from BMv2 to a host.
    fn is_bmv2_cable(&self, link: usize) -> bool {
        let LinkSpec { a, b } = &self.state.spec.links[link];
        let off = |end: &End| end.is_port() && !self.is_spared(end);
        (self.is_spared(a) || self.is_spared(b)) && !off(a) && !off(b)
    }

    /// Whether a port is never switched off while its switch runs. Without real root there is no other way.
    fn is_spared(&self, end: &End) -> bool {
        matches!(end, End::Port { switch, .. } if self.state.spec.is_bmv2(switch)) && rootless::is_real_root()
    }

    fn ends(&self, link: usize) -> LinkEnds {
        let spec = &self.state.spec;
        let place = |end: &End| layout::place(spec, link, end);
        LinkEnds { a: place(&spec.links[link].a), b: place(&spec.links[link].b) }
    }

    pub(crate) fn interfaces(&self, namespace: &str) -> Result<Interfaces, LabError> {
        Interfaces::of(&self.open_namespace(namespace)?).doing(|| format!("opening a socket in {namespace}"))
    }

    fn find_link(&self, name: &str) -> Result<usize, LabError> {
        let links = &self.state.spec.links;
        let found: Vec<usize> = links.iter().enumerate().filter(|(_, l)| l.answers_to(name)).map(|(n, _)| n).collect();
        match found[..] {
            [one] => Ok(one),
            [] => Err(unknown("link", name, links.iter().map(|l| l.exact_name()))),
            _ => {
                let names: Vec<String> = found.iter().map(|&n| links[n].exact_name()).collect();
                Err(LabError::Ambiguous { name: name.to_owned(), count: found.len(), names: names.join(", ") })
            }
        }
    }

    /// Ends a switch or the controller (or any other process of the lab, as `status` names it).
    pub fn kill(&mut self, name: &str, how: Kill) -> Result<(), LabError> {
        self.change(|lab| {
            let process = lab.find_process(name)?.clone();
            let signal = if how == Kill::Stop { libc::SIGTERM } else { libc::SIGKILL };
            let power_off = how == Kill::PowerOff && process.role == Role::Switch;
            if let Some(id) = process.id {
                id.signal(signal).doing(|| format!("signalling {name}"))?;
            }
            // At the same moment: a process takes a while to be gone, and its neighbours would go on sending to it.
            if power_off {
                lab.set_ports(name, false)?;
            }
            if process.id.is_some_and(|id| !id.wait_gone(Duration::from_secs(10))) {
                let (name, what) = (name.to_owned(), "does not end".to_owned());
                return Err(LabError::Process { name, what, log: state::tail(&process.log, 20) });
            }
            lab.state.processes.insert(name.to_owned(), Process { id: None, power_off, ..process });
            Ok(())
        })
    }

    /// Starts a process again that was killed or has died, and waits until it takes connections.
    pub fn restart(&mut self, name: &str) -> Result<(), LabError> {
        self.change(|lab| {
            let process = lab.find_process(name)?.clone();
            if process.id.is_some_and(|id| id.alive()) {
                let what = "is running; `kill` it first".to_owned();
                return Err(LabError::Process { name: name.to_owned(), what, log: String::new() });
            }
            let dark = process.power_off;
            // BMv2 takes only ports that are on.
            let before = dark && lab.spec().is_bmv2(name);
            if before {
                lab.set_ports(name, true)?;
            }
            lab.start(name, Process { power_off: false, ..process })?;
            if dark && !before {
                lab.set_ports(name, true)?;
            }
            let spec = lab.spec();
            let switch = spec.switches.iter().find(|s| s.name == name).map(|s| s.grpc);
            let controller = spec.controller.as_ref().filter(|_| name == "controller").and_then(|c| c.ready);
            if let Some(at) = switch.or(controller) {
                let fabric = lab.open_namespace(&layout::fabric_namespace(&spec.name))?;
                up::wait_for_tcp(lab, &fabric, name, at, Duration::from_secs(60), &AtomicBool::new(false))?;
            }
            Ok(())
        })
    }

    /// A switch's own ports; those of cut cables stay down.
    fn set_ports(&self, switch: &str, on: bool) -> Result<(), LabError> {
        let spec = &self.state.spec;
        let control = self.interfaces(&layout::fabric_namespace(&spec.name))?;
        let Some(switch) = spec.switches.iter().find(|s| s.name == switch) else { return Ok(()) };
        for port in spec.ports_of(switch) {
            let end = End::Port { switch: switch.name.clone(), port };
            // Behind a hub it is the hub's leg that is cut.
            let own = !self.is_spared(&end) && !layout::has_hub(spec, &end);
            let held = |l: usize| own && (spec.links[l].a == end || spec.links[l].b == end);
            let cut = self.state.cuts.iter().any(|(&l, &c)| c == Cut::Loud && held(l));
            if !(on && cut) {
                let interface = layout::port_interface(spec, &switch.name, port);
                control.set_up(&interface, on).doing(|| format!("setting {interface}"))?;
            }
        }
        Ok(())
    }

    fn find_process(&self, name: &str) -> Result<&Process, LabError> {
        let all = &self.state.processes;
        all.get(name).ok_or_else(|| unknown("process", name, all.keys().cloned()))
    }

    /// Describes a process of this lab; its log is named after it.
    pub(crate) fn process(
        &self,
        role: Role,
        namespace: &str,
        name: &str,
        program: PathBuf,
        args: Vec<String>,
    ) -> Process {
        let log = self.folder.join("logs").join(format!("{}.log", name.replace(':', "-")));
        Process { role, namespace: namespace.to_owned(), program, args, log, id: None, power_off: false }
    }

    /// Starts it and writes it down.
    pub(crate) fn start(&mut self, name: &str, process: Process) -> Result<(), LabError> {
        let id = up::spawn(&process)?;
        self.state.processes.insert(name.to_owned(), Process { id: Some(id), ..process });
        self.state.save(&self.folder)
    }

    /// What runs and which cables are whole, as the kernel sees it now.
    pub fn status(&self) -> Result<Status, LabError> {
        Status::of(self)
    }

    /// The first address of a host in a family.
    pub fn address(&self, host: &str, v6: bool) -> Option<IpAddr> {
        let (first_v4, first_v6) = layout::first_addresses(self.host(host)?);
        if v6 { first_v6 } else { first_v4 }
    }

    pub fn host(&self, name: &str) -> Option<&HostSpec> {
        self.state.spec.hosts.iter().find(|h| h.name == name)
    }

    pub fn spec(&self) -> &LabSpec {
        &self.state.spec
    }

    pub fn name(&self) -> &str {
        &self.state.spec.name
    }

    /// Where its state, logs and sockets are.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The log of a process.
    pub fn log(&self, process: &str) -> Result<PathBuf, LabError> {
        Ok(self.find_process(process)?.log.clone())
    }

    pub(crate) fn with(folder: PathBuf, state: State) -> Self {
        Self { folder, state }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(crate) fn state_mut(&mut self) -> &mut State {
        &mut self.state
    }

    /// Runs a change under the lab's lock, on the newest state, and writes the result down even when the change failed
    /// halfway: what was started must be found again.
    pub(crate) fn change<T>(&mut self, f: impl FnOnce(&mut Self) -> Result<T, LabError>) -> Result<T, LabError> {
        let _lock = state::lock(&self.folder)?;
        self.state = State::load(&self.folder)?;
        let result = f(self);
        self.state.save(&self.folder)?;
        result
    }
}

/// Namespace and interface of both ends of a cable.
struct LinkEnds {
    a: (String, String),
    b: (String, String),
}

pub(crate) fn unknown(kind: &'static str, name: &str, all: impl Iterator<Item = String>) -> LabError {
    LabError::Unknown { kind, name: name.to_owned(), known: all.collect::<Vec<_>>().join(", ") }
}
