//! Bringing a lab up, step by step. What each step makes is found again by name or is written down before the next.
//!
//! ```text
//!   folder + state file -> namespaces -> cables -> hosts' TAPs -> shims, user hosts -> addresses
//!                       -> switches and controller (all at once) -> forwards -> wait until all answer -> DHCP clients
//! ```

use crate::agent::{ProxyConfig, ShimConfig, TapConfig, UserHostsConfig};
use crate::error::{Doing, LabError};
use crate::lab::Lab;
use crate::layout::{self, Attachment};
use crate::spec::{End, Forward, HostSpec, LabSpec, SwitchSpec, Target};
use crate::state::{self, Process, Role, State};
use crate::sys::iface::Interfaces;
use crate::sys::netns::{self, NetNs};
use crate::sys::poll;
use crate::sys::process::ProcId;
use crate::{ip, programs};
use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::AsRawFd;
use std::path::Path;
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const TUN: &str = "/dev/net/tun";
const AGENT_START: Duration = Duration::from_secs(10);
const SWITCH_START: Duration = Duration::from_secs(20);
const CONTROLLER_START: Duration = Duration::from_secs(60);

/// Builds everything; on an error, or when `cancelled` turns true, takes down what was built.
pub(crate) fn up(spec: LabSpec, cancelled: &AtomicBool) -> Result<Lab, LabError> {
    spec.check()?;
    crate::rootless::require_privilege()?;
    require_tun(&spec)?;
    let name = spec.name.clone();
    clear_remains(&name)?;
    let folder = state::folder(&name);
    make_folder(&name, &folder)?;
    let built = build(Lab::with(folder.clone(), State::new(spec)), cancelled);
    if built.is_err() {
        keep_logs(&folder);
        crate::down::down(&name)?;
    }
    built
}

/// Hosts with tags or several cables need TAPs. Asked for before anything is built, since `ip` does not say what it lacks.
fn require_tun(spec: &LabSpec) -> Result<(), LabError> {
    let needs = |h: &&HostSpec| layout::attachments(spec, h).iter().any(|a| matches!(a, Attachment::Shim { .. }));
    let Some(host) = spec.hosts.iter().find(needs) else { return Ok(()) };
    match OpenOptions::new().read(true).write(true).open(TUN) {
        Ok(_) => Ok(()),
        Err(error) => Err(LabError::Privilege(format!(
            "host {} sends tags or has several cables, and for that {TUN} has to be open to you, which it is not ({error}): \
             chmod 666 {TUN}, or modprobe tun, as root",
            host.name
        ))),
    }
}

/// Makes the lab's own folder. The last lab that goes down removes the common one, perhaps in this very moment.
fn make_folder(name: &str, folder: &Path) -> Result<(), LabError> {
    loop {
        fs::create_dir_all(state::base()).doing(|| format!("making {}", state::base().display()))?;
        match fs::create_dir(folder) {
            Err(error) if error.kind() == ErrorKind::NotFound => continue,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => return Err(LabError::Exists(name.to_owned())),
            made => return made.doing(|| format!("making {}", folder.display())),
        }
    }
}

/// A lab of this name that died without `down` is cleared away; one that lives is an error.
fn clear_remains(name: &str) -> Result<(), LabError> {
    let folder = state::folder(name);
    if folder.exists() {
        match State::load(&folder) {
            Ok(state) if state.alive() => return Err(LabError::Exists(name.to_owned())),
            _ => {}
        }
    }
    crate::down::down(name).map(drop)
}

/// Logs of a lab that did not come up are wanted most of all: they move to a folder of their own.
fn keep_logs(folder: &Path) {
    let Some(name) = folder.file_name() else { return };
    let kept = std::env::temp_dir().join(format!("pergola-{}-failed", name.to_string_lossy()));
    let _ = fs::remove_dir_all(&kept);
    let logs = folder.join("logs");
    let copied = fs::create_dir_all(&kept).and_then(|()| {
        for entry in fs::read_dir(&logs)?.flatten() {
            fs::copy(entry.path(), kept.join(entry.file_name()))?;
        }
        Ok(())
    });
    if copied.is_ok() {
        tracing::info!(logs = %kept.display(), "the lab did not come up");
    }
}

fn build(mut lab: Lab, cancelled: &AtomicBool) -> Result<Lab, LabError> {
    let going = || if cancelled.load(Ordering::Relaxed) { Err(LabError::Interrupted) } else { Ok(()) };
    let folder = lab.folder().to_owned();
    let logs = folder.join("logs");
    fs::create_dir(&logs).doing(|| format!("making {}", logs.display()))?;
    let lock = state::lock(&folder)?;
    lab.state().save(&folder)?;
    let spec = lab.spec().clone();

    let names = layout::namespaces(&spec);
    ip::batch(None, &names.iter().map(|n| format!("netns add {n}")).collect::<Vec<_>>())?;
    let fabric = lab.open_namespace(&names[0])?;
    going()?;
    // Ports make no noise of their own: no IPv6 on whatever is created in the fabric's namespace from here on.
    write_sysctls(&fabric, &[("ipv6/conf/default/disable_ipv6".to_owned(), "1")])?;
    // Where switches listen no connection of the controller may begin, also while a switch is off.
    write_sysctls(&fabric, &[("ipv4/ip_local_reserved_ports".to_owned(), &layout::reserved_ports(&spec))])?;
    ip::batch(Some(&fabric), &layout::fabric_batch(&spec))?;
    going()?;

    for host in &spec.hosts {
        prepare_host(&spec, host)?;
    }
    if spec.switches.iter().any(|s| spec.is_bmv2(&s.name)) {
        offloads_off(&spec)?;
    }
    going()?;
    start_helpers(&mut lab, &spec)?;
    for host in &spec.hosts {
        let ns = lab.open_namespace(&layout::host_namespace(&spec.name, &host.name))?;
        ip::batch(Some(&ns), &layout::host_addresses(host))?;
    }
    going()?;

    let mut expected: Vec<(String, SocketAddr, Duration)> = Vec::new();
    for switch in &spec.switches {
        if let Some((program, args)) = programs::switch_command(&spec, switch)? {
            let process = lab.process(Role::Switch, &names[0], &switch.name, program, args);
            lab.start(&switch.name, process)?;
            expected.push((switch.name.clone(), switch.grpc, SWITCH_START));
        }
    }
    if let Some(controller) = &spec.controller {
        let program = match &controller.program {
            Some(path) => path.clone(),
            None => programs::find("pergola", "PERGOLA_CONTROLLER")?,
        };
        for (name, text) in &controller.files {
            let path = folder.join(name);
            fs::write(&path, text).doing(|| format!("writing {}", path.display()))?;
        }
        let process = lab.process(Role::Controller, &names[0], "controller", program, controller.args.clone());
        lab.start("controller", process)?;
        expected.extend(controller.ready.map(|at| ("controller".to_owned(), at, CONTROLLER_START)));
    }
    let inside = gnmi_doors(&spec);
    if !spec.forwards.is_empty() || !inside.is_empty() || crate::rootless::is_inside() {
        // Without root this process also keeps the user namespace alive while no other of the lab runs.
        let config = ProxyConfig { namespace: names[0].clone(), forwards: spec.forwards.clone(), inside };
        start_agent(&mut lab, "proxy", Role::Proxy, None, "proxy", &config)?;
    }
    for (name, at, limit) in &expected {
        wait_for_tcp(&lab, &fabric, name, *at, *limit, cancelled)?;
    }
    start_dhcp(&mut lab, &spec)?;

    lab.state_mut().complete = true;
    lab.state().save(&folder)?;
    drop(lock);
    Ok(lab)
}

fn prepare_host(spec: &LabSpec, host: &HostSpec) -> Result<(), LabError> {
    let name = layout::host_namespace(&spec.name, &host.name);
    let ns = NetNs::open(&name).doing(|| format!("opening namespace {name}"))?;
    ip::batch(Some(&ns), &layout::host_prepare(spec, host))?;
    // Everybody on the host may ping. A user namespace knows one group.
    let groups = if crate::rootless::is_inside() { "0 0" } else { "0 2147483647" };
    write_sysctls(&ns, &[("ipv4/ping_group_range".to_owned(), groups)])?;
    write_sysctls(&ns, &layout::host_sysctls(spec, host))
}

/// Writes under `/proc/sys/net` as seen from a namespace. A kernel without IPv6 has nothing to set there.
pub(crate) fn write_sysctls(ns: &NetNs, settings: &[(String, &str)]) -> Result<(), LabError> {
    let write = || {
        settings.iter().try_for_each(|(path, value)| match fs::write(Path::new("/proc/sys/net").join(path), value) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(LabError::Io { what: format!("setting net/{path} to {value}"), source: error })
            }
            _ => Ok(()),
        })
    };
    ns.run(write).doing(|| "entering a namespace".into())?
}

/// BMv2 sends what it read as it read it: a checksum left to the hardware would never be filled in.
fn offloads_off(spec: &LabSpec) -> Result<(), LabError> {
    let mut by_namespace: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (n, link) in spec.links.iter().enumerate() {
        for end in [&link.a, &link.b] {
            let (namespace, interface) = layout::place(spec, n, end);
            by_namespace.entry(namespace).or_default().push(interface);
            if let End::Port { switch, port } = end
                && layout::has_hub(spec, end)
            {
                let front = layout::port_interface(spec, switch, *port);
                by_namespace.entry(layout::fabric_namespace(&spec.name)).or_default().push(front);
            }
        }
    }
    for (namespace, interfaces) in by_namespace {
        let ns = NetNs::open(&namespace).doing(|| format!("opening namespace {namespace}"))?;
        let control = Interfaces::of(&ns).doing(|| format!("opening a socket in {namespace}"))?;
        for interface in interfaces {
            control.offloads_off(&interface).doing(|| format!("turning offloads of {interface} off"))?;
        }
    }
    Ok(())
}

fn start_helpers(lab: &mut Lab, spec: &LabSpec) -> Result<(), LabError> {
    for host in &spec.hosts {
        if let Some(config) = shim_config(spec, host) {
            let namespace = layout::host_namespace(&spec.name, &host.name);
            start_agent(lab, &format!("shim:{}", host.name), Role::Shim, Some(&namespace), "shim", &config)?;
        }
    }
    for users in &spec.user_hosts {
        let namespace = layout::host_namespace(&spec.name, &users.name);
        let ns = lab.open_namespace(&namespace)?;
        ip::batch(Some(&ns), &["link set lo up".to_owned(), "link set cable0 arp off up".to_owned()])?;
        let socket = lab.folder().join(format!("{}.sock", users.name));
        let config = UserHostsConfig { interface: "cable0".into(), control: socket, hosts: users.hosts.clone() };
        start_agent(lab, &format!("hosts:{}", users.name), Role::UserHosts, Some(&namespace), "user-hosts", &config)?;
    }
    Ok(())
}

fn shim_config(spec: &LabSpec, host: &HostSpec) -> Option<ShimConfig> {
    let mut taps = Vec::new();
    for (n, attachment) in layout::attachments(spec, host).into_iter().enumerate() {
        if let Attachment::Shim { cables } = attachment {
            let interface = &host.interfaces[n];
            let (name, tags) = (interface.name(n), interface.tags.clone());
            taps.push(TapConfig { name, cables, tags, outer_tpid: interface.outer_tpid });
        }
    }
    let cables = (0..spec.cables(&host.name).len()).map(|c| layout::cable_interface(spec, &host.name, c)).collect();
    (!taps.is_empty()).then_some(ShimConfig { cables, taps })
}

/// Starts one of our own helper processes and waits until it says that it is ready.
fn start_agent<C: serde::Serialize>(
    lab: &mut Lab,
    name: &str,
    role: Role,
    namespace: Option<&str>,
    command: &str,
    config: &C,
) -> Result<(), LabError> {
    let config = serde_json::to_string(config).map_err(|e| LabError::spec("agent configuration", e, "JSON"))?;
    let args = vec!["lab-agent".to_owned(), command.to_owned(), config];
    let process = lab.process(role, namespace.unwrap_or(""), name, programs::agent()?, args);
    lab.start(name, process)
}

/// Our switch serves gNMI where it serves P4Runtime. A site that gives gNMI an address of its own gets a door there.
fn gnmi_doors(spec: &LabSpec) -> Vec<Forward> {
    let ours = spec.switches.iter().filter(|s| s.target.unwrap_or(spec.target) == Target::P4switch);
    let door = |s: &SwitchSpec| s.gnmi.filter(|g| *g != s.grpc).map(|listen| Forward { listen, to: s.grpc });
    ours.filter_map(door).collect()
}

fn start_dhcp(lab: &mut Lab, spec: &LabSpec) -> Result<(), LabError> {
    for host in &spec.hosts {
        for (n, interface) in host.interfaces.iter().enumerate() {
            let wanted = [(interface.dhcp.v4, false), (interface.dhcp.v6, true)];
            for v6 in wanted.into_iter().filter(|(wanted, _)| *wanted).map(|(_, v6)| v6) {
                let name = format!("dhcp{}:{}:{}", if v6 { "6" } else { "4" }, host.name, interface.name(n));
                let (program, args) = crate::dhcp::client(lab.folder(), &name, &interface.name(n), v6)?;
                let namespace = layout::host_namespace(&spec.name, &host.name);
                let process = lab.process(Role::Dhcp, &namespace, &name, program, args);
                lab.start(&name, process)?;
            }
        }
    }
    Ok(())
}

/// Starts what `process` describes, its output appended to its log. A helper of ours is waited for; it says `ready`.
pub(crate) fn spawn(process: &Process) -> Result<ProcId, LabError> {
    let name = process.program.display();
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&process.log)
        .doing(|| format!("opening {}", process.log.display()))?;
    let ready_line = matches!(process.role, Role::Shim | Role::UserHosts | Role::Proxy);
    let mut command = match process.namespace.as_str() {
        "" => std::process::Command::new(&process.program),
        namespace => {
            NetNs::open(namespace).doing(|| format!("opening namespace {namespace}"))?.command(&process.program)
        }
    };
    netns::detach(&mut command);
    command.args(&process.args).stdin(Stdio::null());
    command.stderr(log.try_clone().doing(|| "sharing the log".into())?);
    command.stdout(if ready_line { Stdio::piped() } else { Stdio::from(log) });
    let mut child = command.spawn().doing(|| format!("starting {name}"))?;
    let pid = i32::try_from(child.id()).unwrap_or(-1);
    let failed = |what: &str| LabError::Process {
        name: name.to_string(),
        what: what.to_owned(),
        log: state::tail(&process.log, 20),
    };
    let id = ProcId::of(pid).ok_or_else(|| failed("ended at once"))?;
    if let Some(mut output) = child.stdout.take() {
        let mut fds = [poll::readable(output.as_raw_fd())];
        let mut word = [0u8; 6];
        let in_time = poll::wait(&mut fds, Some(AGENT_START)).is_ok_and(|n| n > 0);
        if !in_time || output.read_exact(&mut word).is_err() || &word != b"ready\n" {
            let _ = child.kill();
            let _ = child.wait();
            return Err(failed(if in_time { "ended before it was ready" } else { "did not get ready" }));
        }
    }
    Ok(id)
}

/// Waits until something listens. There is no event for that in another program, so it asks again after a pause that grows
/// from 2 to 50 ms; a process that ends meanwhile is an error at once.
pub(crate) fn wait_for_tcp(
    lab: &Lab,
    fabric: &NetNs,
    name: &str,
    at: SocketAddr,
    limit: Duration,
    cancelled: &AtomicBool,
) -> Result<(), LabError> {
    let process = lab.state().processes.get(name);
    let failed = |what: String| {
        let log = process.map(|p| state::tail(&p.log, 20)).unwrap_or_default();
        LabError::Process { name: name.to_owned(), what, log }
    };
    let Some(id) = process.and_then(|p| p.id) else { return Err(failed("is not running".into())) };
    let deadline = Instant::now() + limit;
    let try_until = || {
        let mut pause = Duration::from_millis(2);
        loop {
            if TcpStream::connect_timeout(&at, Duration::from_secs(1)).is_ok() {
                return Ok(());
            }
            if cancelled.load(Ordering::Relaxed) {
                return Err(LabError::Interrupted);
            }
            // The pause ends early when the process does.
            if id.wait_gone(pause) {
                return Err(failed("ended while it started".into()));
            }
            if Instant::now() > deadline {
                return Err(failed(format!("does not answer on {at} after {} s", limit.as_secs())));
            }
            pause = (pause * 2).min(Duration::from_millis(50));
        }
    };
    fabric.run(try_until).doing(|| "entering a namespace".into())?
}
