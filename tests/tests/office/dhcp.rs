//! DHCP relays between Debian's dhclient and dnsmasq, both families: a server in a subnet of the fabric, another one behind
//! a router.

use super::*;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Stdio};

const SITE: &str = "
site: {name: leases, plaintext: lab}
switches: {leaf1: {}, leaf2: {}, spine1: {}}
links:
  - [leaf1/1, spine1/1]
  - [leaf2/1, spine1/2]
subnets:
  clients:
    vlan: 10
    gateways: [10.0.10.1/24, 2001:db8:10::1/64]
    dhcp_relay: [10.0.20.5, \"2001:db8:20::5\"]
  servers:
    vlan: 20
    gateways: [10.0.20.1/24, 2001:db8:20::1/64]
hosts:
  c1: {port: leaf1/3, vlan: clients, binding: learned}
  c2: {port: leaf2/4, vlan: clients, binding: learned}
  near: {port: leaf2/3, vlan: servers, ips: [10.0.20.5, \"2001:db8:20::5\"]}
  router: {port: leaf1/4, vlan: servers, ips: [10.0.20.254, \"2001:db8:20::254\"]}
routes:
  - {to: 10.9.0.0/24, via: 10.0.20.254}
  - {to: \"2001:db8:9::/64\", via: \"2001:db8:20::254\"}
";

/// What dhclient runs, so that this machine's own resolver is left alone.
const SCRIPT: &str = "#!/bin/sh
case \"$reason\" in
PREINIT) ip link set \"$interface\" up ;;
BOUND|REBOOT) ip addr add \"$new_ip_address/24\" dev \"$interface\"
    for r in $new_routers; do ip route replace default via \"$r\" dev \"$interface\"; done ;;
BOUND6) ip -6 addr add \"$new_ip6_address/64\" dev \"$interface\" nodad
    ip -6 route replace default via 2001:db8:10::1 ;;
esac
exit 0
";

struct Server(Child);

impl Server {
    #[allow(clippy::zombie_processes)] // A failed assertion ends everything.
    /// A dnsmasq that lends addresses ending in `last` only, ready when this returns.
    fn start(lab: &Scenario, host: &str, folder: &Path, last: u8) -> Self {
        let leases = folder.join(format!("{host}.leases"));
        let mut command = lab.command(host, "dnsmasq").unwrap();
        command.args(["--no-daemon", "--conf-file=/dev/null", "--port=0", "--user=root", "--log-facility=-"]);
        command.args(["--dhcp-authoritative", "--no-ping", "--dhcp-option=option:router,10.0.10.1"]);
        command.arg(format!("--dhcp-leasefile={}", leases.display()));
        command.arg(format!("--dhcp-range=10.0.10.{last},10.0.10.{},255.255.255.0,1h", last + 9));
        command.arg(format!("--dhcp-range=2001:db8:10::{last},2001:db8:10::{},64,1h", last + 9));
        let mut child = command.stderr(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let mut said = String::new();
        for _ in 0..20 {
            let line = lines.next().unwrap_or_else(|| panic!("dnsmasq ended: {said}")).unwrap();
            said += &line;
            if line.contains("DHCPv6, IP range") {
                // The rest is read on, so that it never waits for us.
                std::thread::spawn(move || lines.for_each(drop));
                return Self(child);
            }
        }
        panic!("dnsmasq is not ready: {said}");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs dhclient once in a family; its lease is taken over by the script.
fn lease(lab: &Scenario, host: &str, v6: bool, folder: &Path) {
    let file = |name: &str| folder.join(format!("{host}-{v6}.{name}"));
    let (script, config) = (folder.join("script"), folder.join("config"));
    std::fs::write(&script, SCRIPT).unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755)).unwrap();
    std::fs::write(&config, "timeout 20;\nretry 1;\ninitial-interval 1;\nbackoff-cutoff 2;\n").unwrap();
    // DHCPv6 is spoken from the link-local address, which is tried for a second first (RFC 4862 §5.4).
    wait_until("a link-local address", LIMIT, || {
        let text = lab.run(host, "ip -6 addr show dev eth0 scope link -tentative").ok()?;
        text.contains("fe80::").then_some(())
    })
    .unwrap();
    let mut command = lab.command(host, "dhclient").unwrap();
    command.args([if v6 { "-6" } else { "-4" }, "-1", "-v", "-sf"]).arg(&script).arg("-cf").arg(&config);
    command.arg("-lf").arg(file("leases")).arg("-pf").arg(file("pid")).arg("eth0");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It stays in the background to renew.
    if let Ok(pid) = std::fs::read_to_string(file("pid")) {
        let _ = std::process::Command::new("kill").arg(pid.trim()).status();
    }
}

fn addresses(lab: &Scenario, host: &str) -> String {
    lab.run(host, "ip -br addr show dev eth0 scope global").unwrap()
}

#[test]
fn clients_get_leases_from_near_and_far_servers() {
    if !is_root() {
        return;
    }
    let folder = pergola_scenarios::scratch().unwrap();
    let lab = start(office_of("leases", SITE));
    settled(&lab);
    reach(&lab, "near", &["10.0.20.254", "2001:db8:20::254"]);

    let near = Server::start(&lab, "near", folder.path(), 100);
    for v6 in [false, true] {
        lease(&lab, "c1", v6, folder.path());
    }
    let got = addresses(&lab, "c1");
    assert!(got.contains("10.0.10.10") && got.contains("2001:db8:10::10"), "{got}");
    reach(&lab, "c1", &["10.0.20.5", "2001:db8:20::5"]);
    let learned = |ip: &str| api(&lab).all("host-location").unwrap().iter().any(|h| h["ips"].to_string().contains(ip));
    assert!(learned("\"10.0.10.10"), "the lease tells where the host is");

    // A second server, behind a router: both are asked, and when one is dead the other answers.
    for command in [
        "ip addr add 10.9.0.5/32 dev lo",
        "ip -6 addr add 2001:db8:9::5/128 dev lo nodad",
        "ip route replace default via 10.0.20.1 src 10.9.0.5",
        "ip -6 route replace default via 2001:db8:20::1 src 2001:db8:9::5",
    ] {
        lab.run("router", command).unwrap();
    }
    let site = api(&lab).blueprint().unwrap();
    let one = "dhcp_relay: [10.0.20.5, 2001:db8:20::5]";
    let both = "dhcp_relay: [10.0.20.5, 10.9.0.5, 2001:db8:20::5, 2001:db8:9::5]";
    let site = swap(&site, one, both);
    api(&lab).apply(&site).unwrap();
    settled(&lab);
    drop(near);
    let _far = Server::start(&lab, "router", folder.path(), 200);
    for v6 in [false, true] {
        lease(&lab, "c2", v6, folder.path());
    }
    let got = addresses(&lab, "c2");
    assert!(got.contains("10.0.10.20") && got.contains("2001:db8:10::20"), "{got}");
    reach(&lab, "c2", &["10.0.20.5", "2001:db8:20::5"]);
    lab.end().unwrap();
}
