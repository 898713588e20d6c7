//! `pergola demo`: what a newcomer sees first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use pergola_lab::probe::{Probe, ProbeSpec};
use pergola_lab::{Cut, Lab, ping};

const BLUEPRINT: &str = include_str!("../../../topology/blueprint/examples/2x2.yaml");
const LAB: &str = "demo";

/// The demo's settings.
#[derive(Debug, Args)]
pub struct Demo {
    /// Where the controller's API is reached on this machine.
    #[arg(long, default_value = "127.0.0.1:8181")]
    api: std::net::SocketAddr,
    /// Take the lab down at the end.
    #[arg(long)]
    down: bool,
}

impl Demo {
    pub fn run(&self) -> Result<()> {
        let start = Instant::now();
        println!("1. A fabric of two spines and two leaves with seven hosts, on this machine.");
        let spec = pergola_lab::office(LAB, BLUEPRINT, self.api)?;
        let mut lab = Lab::up(spec).context("the lab did not come up")?;
        println!("   {} ({:.1} s)", lab.status()?.line(), start.elapsed().as_secs_f64());

        println!("2. Every host pings every other one, IPv4 and IPv6.");
        let begun = Instant::now();
        let report = ping::ping_all(&lab, Duration::from_secs(30))?;
        if !report.all_answered() {
            bail!("{report}\nthe lab is left running: pergola lab status; pergola lab down");
        }
        println!("   {report} ({:.1} s)", begun.elapsed().as_secs_f64());

        println!("3. A spine link is cut while 10,000 packets a second cross it.");
        let probe = Probe::start(&lab, &ProbeSpec::new("h1", "h4"))?;
        // The pauses are the measurement: a second before the cut, one after it, one healed.
        std::thread::sleep(Duration::from_secs(1));
        lab.break_link("leaf1-spine1", Cut::Loud)?;
        std::thread::sleep(Duration::from_secs(1));
        lab.heal_link("leaf1-spine1")?;
        std::thread::sleep(Duration::from_secs(1));
        println!("   {}", probe.stop()?.to_string().replace('\n', "\n   "));
        if self.down {
            lab.down()?;
            return Ok(());
        }
        println!("4. The lab is left running. Try:");
        for hint in [
            "pergola lab exec h1 -- ping -c 3 10.0.20.14",
            "pergola lab break leaf1-spine2",
            "pergola lab probe h1 h4 --break leaf1-spine1",
            "curl -s 127.0.0.1:8181/api/v1/devices",
            "pergola lab down",
        ] {
            println!("   {hint}");
        }
        Ok(())
    }
}
