//! The command line as people type it, against a controller of its own.

use std::io::Write;
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

const PERGOLA: &str = env!("CARGO_BIN_EXE_pergola");

fn example(name: &str) -> String {
    format!("{}/../../topology/blueprint/examples/{name}.yaml", env!("CARGO_MANIFEST_DIR"))
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Runs the program with `input` on its standard input.
fn pergola(server: &str, args: &[&str], input: &str) -> Output {
    let mut child = Command::new(PERGOLA)
        .args(args)
        .env("PERGOLA_SERVER", server)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// A controller on a store of its own; ends with the test, as if its power were cut.
struct Controller {
    child: Child,
    server: String,
}

impl Controller {
    fn start(data: &Path) -> Controller {
        let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let child = Command::new(PERGOLA)
            .args(["run", "--lab", "--listen", &free.to_string(), "--data"])
            .arg(data)
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let controller = Controller { child, server: format!("http://{free}") };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(free).is_err() {
            assert!(Instant::now() < until, "the controller does not listen on {free}");
            std::thread::sleep(Duration::from_millis(20));
        }
        controller
    }

    /// What a command prints; it must succeed.
    fn good(&self, args: &[&str]) -> String {
        self.good_with(args, "")
    }

    fn good_with(&self, args: &[&str], input: &str) -> String {
        let output = pergola(&self.server, args, input);
        assert!(output.status.success(), "pergola {args:?}: {}", text(&output.stderr));
        text(&output.stdout)
    }

    /// What a command complains; it must fail.
    fn bad_with(&self, args: &[&str], input: &str) -> String {
        let output = pergola(&self.server, args, input);
        assert!(!output.status.success(), "pergola {args:?} succeeded: {}", text(&output.stdout));
        text(&output.stderr)
    }
}

impl Drop for Controller {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn every_example_is_good() {
    for name in ["single-leaf", "2x2", "2x4-paired", "fabric-10"] {
        let output = pergola("", &["blueprint", "check", &example(name)], "");
        assert!(output.status.success(), "{name}: {}", text(&output.stderr));
    }
}

#[test]
fn a_site_goes_in_once_survives_a_power_cut_and_comes_out_again() {
    let folder = tempfile::tempdir().unwrap();
    let file = example("2x2");
    let controller = Controller::start(folder.path());
    let plan = controller.good(&["blueprint", "plan", &file]);
    assert!(plan.contains("0 to change, 0 to delete; entries on 4 switches"), "{plan}");
    assert!(plan.contains("+ fwd_classifier"), "{plan}");
    assert!(controller.good(&["get", "subnet"]).contains("nothing"), "a plan changes nothing");
    assert!(controller.good(&["blueprint", "apply", &file]).contains("intents changed (revision 2)"));
    drop(controller);

    let controller = Controller::start(folder.path());
    let again = controller.good(&["blueprint", "apply", &file]);
    assert!(again.contains("says already (revision 2)"), "{again}");
    let exported = controller.good(&["blueprint", "export"]);
    let again = controller.good_with(&["blueprint", "apply", "-"], &exported);
    assert!(again.contains("says already (revision 2)"), "{again}");
    let hosts: serde_json::Value = serde_json::from_str(&controller.good(&["get", "hosts", "-o", "json"])).unwrap();
    assert!(hosts.to_string().contains("\"h7\""), "{hosts}");
}

#[test]
fn a_bad_file_is_refused_whole_with_line_and_column() {
    let folder = tempfile::tempdir().unwrap();
    let controller = Controller::start(folder.path());
    let good = std::fs::read_to_string(example("2x2")).unwrap();
    let bad =
        good.replace("vlan: 20", "vlan: 4095").replace("leaf1/3-4: {untagged: red}", "leaf1/3-4: {untagged: pink}");
    let line = |part: &str| bad.lines().position(|l| l.contains(part)).unwrap() + 1;
    for command in [["blueprint", "check", "-"], ["blueprint", "apply", "-"]] {
        let words = controller.bad_with(&command, &bad);
        assert!(words.contains("4095") && words.contains("pink"), "every problem at once: {words}");
        assert!(words.contains(&format!("{}:", line("4095"))), "the line: {words}");
        assert!(words.contains(&format!("{}:", line("pink"))), "the line: {words}");
    }
    assert!(controller.good(&["get", "switch"]).contains("nothing"), "nothing half applied");
}

#[test]
fn without_a_controller_it_says_so() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = pergola(&format!("http://{free}"), &["get", "status"], "");
    assert!(!output.status.success());
    assert!(text(&output.stderr).contains(&free.to_string()), "{}", text(&output.stderr));
}
