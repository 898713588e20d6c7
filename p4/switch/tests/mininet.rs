//! The leaf-spine topology under Debian's Mininet, where it is installed and network namespaces can be made.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::process::Command;

#[test]
fn leafspine_pings_and_carries_tcp() {
    let ready =
        |program: &str, args: &[&str]| Command::new(program).args(args).output().is_ok_and(|o| o.status.success());
    if !ready("/usr/bin/python3", &["-c", "import mininet.net"]) || !ready("unshare", &["-n", "true"]) {
        println!("skipped: needs root and Debian's mininet");
        return;
    }
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../mininet/test_pergola.py");
    let output =
        Command::new("/usr/bin/python3").arg(script).env("P4SWITCH", env!("CARGO_BIN_EXE_p4switch")).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    println!("{text}");
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
}
