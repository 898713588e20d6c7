//! A site that moves: backed up while it runs, restored, moved from etcd to a file and back. Without switches and root.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output};

use pergola_scenarios::free_port;

use crate::http::ask;
use crate::office::{Part, folder, programs, retried};

fn pergola(args: &[&str]) -> Output {
    Command::new(programs().join("pergola")).args(args).output().unwrap()
}

fn done(args: &[&str]) -> String {
    let output = pergola(args);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = pergola(args);
    assert!(!output.status.success(), "{args:?}");
    String::from_utf8(output.stderr).unwrap()
}

fn controller(folder: &Path, name: &str, more: &[&str]) -> (Part, SocketAddr) {
    let listen: SocketAddr = ([127, 0, 0, 1], free_port().unwrap()).into();
    let mut args: Vec<String> = ["run", "--node", name, "--listen"].map(str::to_owned).to_vec();
    args.push(listen.to_string());
    args.extend(more.iter().map(|a| (*a).to_owned()));
    if !more.contains(&"--lab") {
        args.push("--lab".to_owned());
    }
    let mut part = Part::new(programs().join("pergola"), args, folder.join(format!("{name}.log")));
    part.run(|program| Command::new(program));
    let ready = || ask(listen, "GET", "/readyz", "").ok().filter(|(status, _)| *status == 200);
    retried("the controller is ready", ready);
    (part, listen)
}

fn body(at: SocketAddr, path: &str) -> (u16, String) {
    ask(at, "GET", path, "").unwrap()
}

const SUBNET: &str = r#"{"name": "moved", "vlan": 77, "gateways": ["10.77.0.1/24"]}"#;

#[test]
fn a_site_moves_between_stores_and_comes_back_from_a_backup() {
    let dir = folder();
    let text = |name: &str| dir.path().join(name).display().to_string();
    let etcd = pergola_etcd_members::Members::start(dir.path(), 1, "http", &[]).unwrap();
    let cluster = format!("etcd={}", etcd.urls()[0]);
    let in_etcd = |site: &'static str| ["--lab", "--cluster", &cluster, "--site", site].map(str::to_owned);
    fn words(all: &[String]) -> Vec<&str> {
        all.iter().map(String::as_str).collect()
    }

    // A cluster of one, and what it is told.
    let first = in_etcd("first");
    let (mut one, api) = controller(dir.path(), "one", &words(&first));
    let put = ask(api, "PUT", "/api/v1/subnet/moved", SUBNET).unwrap();
    assert_eq!(put.0, 201, "{put:?}");
    let server = format!("http://{api}");
    let said = done(&["backup", &text("site.backup"), "--server", &server]);
    assert!(said.starts_with("backed up"), "{said}");

    // A running site is not moved, and a second controller of its name does not run.
    let to_data = |folder: &str| {
        let mut all = vec!["store".to_owned(), "move".into(), "--to".into(), "data".into(), "--data".into()];
        all.push(text(folder));
        all
    };
    let mut moving = to_data("a");
    moving.extend(first.clone());
    let error = refused(&words(&moving));
    assert!(error.contains("controllers run on this store: found one"), "{error}");
    let mut twin = vec!["run".to_owned(), "--node".into(), "one".into()];
    twin.extend(first.clone());
    let error = refused(&words(&twin));
    assert!(error.contains("another running controller"), "{error}");

    // Stopped, it is: to a file, on which one node runs; and from there to another site in etcd.
    one.signal("TERM");
    one.reap();
    std::fs::create_dir_all(text("a")).unwrap();
    let said = done(&words(&moving));
    assert!(said.starts_with("moved"), "{said}");
    let (mut alone, api) = controller(dir.path(), "alone", &["--data", &text("a")]);
    assert_eq!(body(api, "/api/v1/subnet/moved").0, 200);
    let second = ask(api, "PUT", "/api/v1/subnet/more", &SUBNET.replace("77", "78").replace("moved", "more")).unwrap();
    assert_eq!(second.0, 201, "{second:?}");
    alone.signal("TERM");
    alone.reap();
    let mut back = ["store", "move", "--to", "etcd", "--data"].map(str::to_owned).to_vec();
    back.push(text("a"));
    back.extend(in_etcd("second"));
    done(&words(&back));
    let (second, api) = controller(dir.path(), "two", &words(&in_etcd("second")));
    assert_eq!(body(api, "/api/v1/subnet/more").0, 200);
    assert_eq!(body(api, "/api/v1/subnet/moved").0, 200);
    drop(second);

    // The backup is of before; a damaged one is refused, and so is a store that holds something.
    let mut restore = vec!["restore".to_owned(), text("site.backup")];
    let mut full = restore.clone();
    full.extend(first);
    let error = refused(&words(&full));
    assert!(error.contains("not empty"), "{error}");
    std::fs::create_dir_all(text("b")).unwrap();
    restore.extend(["--data".to_owned(), text("b")]);
    done(&words(&restore));
    let (_restored, api) = controller(dir.path(), "restored", &["--data", &text("b")]);
    assert_eq!((body(api, "/api/v1/subnet/moved").0, body(api, "/api/v1/subnet/more").0), (200, 404));
    let mut bytes = std::fs::read(text("site.backup")).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(text("bad.backup"), bytes).unwrap();
    std::fs::create_dir_all(text("c")).unwrap();
    let error = refused(&["restore", &text("bad.backup"), "--data", &text("c")]);
    assert!(error.contains("backup"), "{error}");
}
