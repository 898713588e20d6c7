//! DHCP clients on hosts: ISC `dhclient`, `udhcpc` or busybox, whichever is installed, with a script of ours that sets
//! address and default route and leaves this machine's resolv.conf alone.

use crate::error::{Doing, LabError};
use crate::programs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

/// Called by dhclient (variables `reason`, `new_ip_address` ...) and by udhcpc (argument, variables `ip`, `mask` ...).
const SCRIPT: &str = r#"#!/bin/sh
event=${reason:-$1}
interface=${interface:-eth0}
case "$event" in
PREINIT|PREINIT6|deconfig)
    ip link set "$interface" up ;;
BOUND|RENEW|REBIND|REBOOT|bound|renew)
    address=${new_ip_address:-$ip}
    mask=${new_subnet_mask:-${mask:-24}}
    if [ -n "$old_ip_address" ] && [ "$old_ip_address" != "$address" ]; then
        ip -4 addr flush dev "$interface"
    fi
    ip -4 addr replace "$address/$mask" dev "$interface"
    for gateway in ${new_routers:-$router}; do
        ip -4 route replace default via "$gateway" dev "$interface"
        break
    done ;;
BOUND6|RENEW6|REBIND6)
    if [ -n "$old_ip6_address" ] && [ "$old_ip6_address" != "$new_ip6_address" ]; then
        ip -6 addr del "$old_ip6_address/128" dev "$interface"
    fi
    ip -6 addr replace "$new_ip6_address/${new_ip6_prefixlen:-128}" dev "$interface" nodad ;;
EXPIRE|FAIL|RELEASE|STOP|leasefail)
    ip -4 addr flush dev "$interface" ;;
EXPIRE6|DEPREF6|RELEASE6|STOP6)
    [ -z "$old_ip6_address" ] || ip -6 addr del "$old_ip6_address/128" dev "$interface" ;;
esac
exit 0
"#;

/// The client for an interface, in the foreground; its files are in the lab's folder.
pub(crate) fn client(folder: &Path, name: &str, interface: &str, v6: bool) -> Result<(PathBuf, Vec<String>), LabError> {
    let script = folder.join("dhcp-script");
    if !script.exists() {
        std::fs::write(&script, SCRIPT).doing(|| format!("writing {}", script.display()))?;
        std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o755))
            .doing(|| "making it executable".into())?;
    }
    let script = script.display().to_string();
    let file = |kind: &str| folder.join(format!("{}.{kind}", name.replace(':', "-"))).display().to_string();
    if let Ok(dhclient) =
        programs::find("dhclient", "PERGOLA_DHCLIENT").or_else(|_| fixed("/usr/sbin/dhclient", "/sbin/dhclient"))
    {
        let family = if v6 { "-6" } else { "-4" };
        let mut args = [family, "-d", "-sf", &script].map(str::to_owned).to_vec();
        args.extend(["-pf".to_owned(), file("pid"), "-lf".to_owned(), file("leases")]);
        args.extend(["-cf".to_owned(), "/dev/null".to_owned(), interface.to_owned()]);
        return Ok((dhclient, args));
    }
    if !v6 {
        let common = ["-f", "-t", "100", "-T", "1", "-i", interface, "-s", &script].map(str::to_owned);
        if let Ok(udhcpc) = programs::find("udhcpc", "PERGOLA_UDHCPC") {
            return Ok((udhcpc, common.to_vec()));
        }
        if let Ok(busybox) = programs::find("busybox", "PERGOLA_BUSYBOX") {
            return Ok((busybox, std::iter::once("udhcpc".to_owned()).chain(common).collect()));
        }
    }
    let name = if v6 { "dhclient" } else { "dhclient or udhcpc" };
    let looked = "PATH; Debian's packages are isc-dhcp-client and udhcpc".to_owned();
    Err(LabError::Program { name: name.to_owned(), looked })
}

fn fixed(first: &str, second: &str) -> Result<PathBuf, LabError> {
    let found = [first, second].into_iter().map(PathBuf::from).find(|p| p.is_file());
    found.ok_or_else(|| LabError::Program { name: first.to_owned(), looked: format!("{first}, {second}") })
}
