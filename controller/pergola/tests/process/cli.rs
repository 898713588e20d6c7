//! The command line as people type it.

use std::net::TcpListener;

use crate::{Controller, example, pergola, text};

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
    let applied = controller.good(&["blueprint", "apply", &file]);
    assert!(applied.contains("intents changed (revision "), "{applied}");
    let revision = applied.rsplit("(revision ").next().and_then(|t| t.split(')').next()).unwrap();
    let says = format!("says already (revision {revision})");
    drop(controller);

    let controller = Controller::start(folder.path());
    let again = controller.good(&["blueprint", "apply", &file]);
    assert!(again.contains(&says), "{again}");
    let exported = controller.good(&["blueprint", "export"]);
    let again = controller.good_with(&["blueprint", "apply", "-"], &exported);
    assert!(again.contains(&says), "{again}");
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
