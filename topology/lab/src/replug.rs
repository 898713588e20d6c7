//! Moving a host's cable from one port to another.
//!
//! A port without a cable has a loose veth end (see [`crate::layout`]). That end goes to the host and takes the name of the
//! cable's old end; the old end becomes the loose one of the port that was left. The switches' own ends stay as they are,
//! so a running switch sees nothing but carrier going and coming.

use crate::error::{Doing, LabError};
use crate::lab::{Lab, unknown};
use crate::layout::{self, HOST_MTU};
use crate::spec::End;
use crate::state::Process;
use crate::sys::iface::Interfaces;
use crate::{ip, up};
use std::time::Duration;

pub(crate) fn replug(lab: &mut Lab, host: &str, cable: usize, to: &End) -> Result<(), LabError> {
    let spec = lab.spec().clone();
    let cables = spec.cables(host);
    let known = (0..cables.len()).map(|n| n.to_string());
    let &link = cables.get(cable).ok_or_else(|| unknown("cable", &cable.to_string(), known))?;
    let old = if spec.links[link].a.is_port() { &spec.links[link].a } else { &spec.links[link].b };
    let (End::Port { switch: old_switch, port: old_port }, End::Port { switch, port }) = (old, to) else {
        return Err(LabError::spec("to", to, "a switch port, for a cable that is in one"));
    };
    if layout::has_hub(&spec, old) {
        let found = format!("{old}, where other hosts are too");
        return Err(LabError::spec("host", found, "a host that has its port for itself"));
    }
    let Some(new_switch) = spec.switches.iter().find(|s| &s.name == switch) else {
        return Err(unknown("switch", switch, spec.switches.iter().map(|s| s.name.clone())));
    };
    if spec.links.iter().any(|l| l.a == *to || l.b == *to) || !spec.ports_of(new_switch).contains(port) {
        let free = |p: &u32| {
            let end = End::Port { switch: switch.clone(), port: *p };
            !spec.links.iter().any(|l| l.a == end || l.b == end)
        };
        let ports: Vec<String> =
            spec.ports_of(new_switch).iter().filter(|p| free(p)).map(ToString::to_string).collect();
        return Err(LabError::spec("to", to, format!("a port of {switch} without a cable: {}", ports.join(", "))));
    }

    let shim = format!("shim:{host}");
    let shim = lab.state().processes.get(&shim).cloned().map(|p| (shim, p));
    if let Some((name, Process { id: Some(id), .. })) = &shim {
        id.signal(libc::SIGTERM).doing(|| format!("ending {name}"))?;
        id.wait_gone(Duration::from_secs(5));
    }
    let fabric_name = layout::fabric_namespace(&spec.name);
    let host_name = layout::host_namespace(&spec.name, host);
    let (fabric, inside) = (lab.open_namespace(&fabric_name)?, lab.open_namespace(&host_name)?);
    let interface = layout::cable_interface(&spec, host, cable);
    let (loose, left) =
        (layout::loose_interface(&spec, switch, *port), layout::loose_interface(&spec, old_switch, *old_port));
    ip::batch(
        Some(&inside),
        &[
            format!("link set {interface} down"),
            format!("link set {interface} name {left}"),
            format!("link set {left} netns {fabric_name}"),
        ],
    )?;
    ip::batch(Some(&fabric), &[format!("link set {loose} netns {host_name} name {interface}")])?;
    if spec.is_bmv2(switch) {
        let control = Interfaces::of(&inside).doing(|| format!("opening a socket in {host_name}"))?;
        control.offloads_off(&interface).doing(|| format!("turning offloads of {interface} off"))?;
    }
    let declared = spec.hosts.iter().find(|h| h.name == host);
    let direct = declared.and_then(|h| h.interfaces.iter().enumerate().position(|(n, i)| i.name(n) == interface));
    let mut lines = match (declared, direct) {
        (Some(host), Some(n)) => vec![format!("link set {interface} address {} mtu {HOST_MTU}", host.mac(n))],
        _ => vec![format!("link set {interface} arp off up")],
    };
    if let Some(host) = declared {
        up::write_sysctls(&inside, &layout::host_sysctls(&spec, host))?;
        lines.extend(layout::host_addresses(host));
    }

    // From here on the cable is where it was wanted, also if the rest fails.
    let state = lab.state_mut();
    state.cuts.remove(&link);
    for (name, port) in [(old_switch, *old_port), (switch, *port)] {
        if let Some(s) = state.spec.switches.iter_mut().find(|s| &s.name == name)
            && !s.ports.contains(&port)
        {
            s.ports.push(port);
        }
    }
    let end = &mut state.spec.links[link];
    *(if end.a.is_port() { &mut end.a } else { &mut end.b }) = to.clone();
    if let Some((name, process)) = shim {
        lab.start(&name, process)?;
    }
    ip::batch(Some(&inside), &lines)
}
