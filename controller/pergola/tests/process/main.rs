//! The program as a process: its command line and its API, against a controller of its own.
#![allow(clippy::unwrap_used)]

mod cli;
mod rest;

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
        Controller::start_with(data, &[])
    }

    fn start_with(data: &Path, more: &[&str]) -> Controller {
        let until = Instant::now() + Duration::from_secs(20);
        loop {
            let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let child = Command::new(PERGOLA)
                .args(["run", "--lab", "--listen", &free.to_string(), "--data"])
                .arg(data)
                .args(more)
                .stderr(Stdio::null())
                .spawn()
                .unwrap();
            let mut controller = Controller { child, server: format!("http://{free}") };
            // Another test may have taken the port meanwhile: then the controller ends and is started anew.
            while controller.child.try_wait().unwrap().is_none() {
                if TcpStream::connect(free).is_ok() {
                    return controller;
                }
                assert!(Instant::now() < until, "the controller does not listen on {free}");
                std::thread::sleep(Duration::from_millis(20));
            }
            assert!(Instant::now() < until, "the controller does not start");
        }
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
