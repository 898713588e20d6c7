//! `pergola demo`: what a newcomer sees first.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Args;
use pergola_lab::probe::{Probe, ProbeSpec};
use pergola_lab::{Cut, Lab, LabSpec, ping, rootless};

use crate::client::provision;

const BLUEPRINT: &str = include_str!("../../../topology/blueprint/examples/2x2.yaml");
const LAB: &str = "demo";
/// The picture at the top of the example.
const PICTURE_LINES: usize = 6;

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
        if rootless::needed() {
            println!("Not root: everything runs inside an unprivileged user namespace.");
            let status = rootless::enter(&[self.api])?;
            std::process::exit(status.code().unwrap_or(1));
        }
        println!("A central office on this machine: two spines, two leaves, seven hosts, one controller.");
        let picture = BLUEPRINT.lines().skip(2).take(PICTURE_LINES);
        picture.for_each(|line| println!("{}", line.trim_start_matches('#').trim_end()));
        if pergola_lab::known().iter().any(|name| name == LAB) {
            pergola_lab::down(LAB)?;
            println!("   (the demo that was still running is taken down)");
        }

        let begun = Instant::now();
        let (spec, site) = without_site(pergola_lab::office(LAB, BLUEPRINT, self.api)?)?;
        let mut lab = Lab::up(spec).context("the lab did not come up")?;
        step(1, "Switches, hosts and a controller start. The controller knows nothing yet.", begun);
        println!("   {}", lab.status()?.line());

        let begun = Instant::now();
        let server = format!("http://{}", self.api);
        // The controller serves there inside the lab; without root that is the only way for us.
        let put = || provision(&server, &site, Duration::from_secs(60));
        let done = lab.namespace("controller")?.run(put)?.context("provisioning")?;
        step(2, &format!("The site is provisioned: PUT {server}/api/v1/blueprint."), begun);
        println!(
            "   {} resources; {} switches hold the {} entries that follow from them",
            done.intents, done.switches, done.entries
        );

        let begun = Instant::now();
        let report = ping::ping_all(&lab, Duration::from_secs(30))?;
        if !report.all_answered() {
            bail!("{report}\nthe lab is left running: {0} lab status; {0} lab down", program());
        }
        step(3, "Every host pings every other one, IPv4 and IPv6.", begun);
        println!("   {report}");

        let begun = Instant::now();
        // Eight flows: both spines carry some.
        let probe = Probe::start(&lab, &ProbeSpec { flows: 8, ..ProbeSpec::new("h1", "h4") })?;
        // The pauses are the measurement: a second before the cut, one after it, one healed.
        std::thread::sleep(Duration::from_secs(1));
        lab.break_link("leaf1-spine1", Cut::Loud)?;
        std::thread::sleep(Duration::from_secs(1));
        lab.heal_link("leaf1-spine1")?;
        std::thread::sleep(Duration::from_secs(1));
        let report = probe.stop()?;
        step(4, "10,000 packets a second from h1 to h4; the link leaf1-spine1 is cut and mended meanwhile.", begun);
        println!(
            "   {} of {} packets lost, the longest gap {:.2} ms",
            report.lost,
            report.sent,
            report.longest_gap_ms()
        );
        if self.down {
            lab.down()?;
            return Ok(());
        }
        println!("5. The lab is left running. Try:");
        if self.api.port() != 8181 {
            println!("   export PERGOLA_SERVER={server}");
        }
        for (hint, what) in [
            ("lab exec h1 -- ping -c 3 10.0.20.14", "h4, on the other leaf and in another subnet"),
            ("lab probe h1 h4 --flows 8 --break leaf1-spine1", "the loss of a cut, measured again"),
            ("lab kill controller", "traffic goes on; `lab restart controller`"),
            ("get devices", "also hosts, links, ports, subnets, entries leaf1"),
            ("describe host h1", "and every entry it caused, with counters"),
            ("lab down", "leaves nothing behind"),
        ] {
            println!("   {:<72} # {what}", format!("{} {hint}", program()));
        }
        println!("   The API: {server}/api/v1/openapi.json");
        Ok(())
    }
}

fn step(number: u8, what: &str, begun: Instant) {
    println!("{number}. {what} ({:.1} s)", begun.elapsed().as_secs_f64());
}

/// This program as it was called, since it seldom is in PATH.
fn program() -> String {
    std::env::args().next().unwrap_or_else(|| "pergola".to_owned())
}

/// The lab with a controller that is given no site at its start, and the site.
fn without_site(mut spec: LabSpec) -> Result<(LabSpec, String)> {
    let controller = spec.controller.as_mut().context("an office without a controller")?;
    let (_, site) = controller.files.pop_first().context("an office without a site")?;
    let init = controller.args.iter().position(|a| a == "--init").context("a controller without --init")?;
    controller.args.drain(init..init + 2);
    Ok((spec, site))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_site_comes_through_the_api_only() {
        let spec = pergola_lab::office("t", BLUEPRINT, ([127, 0, 0, 1], 8181).into()).unwrap();
        let (spec, site) = without_site(spec).unwrap();
        let controller = spec.controller.unwrap();
        assert!(controller.files.is_empty() && !controller.args.iter().any(|a| a.contains("blueprint")));
        assert!(pergola_blueprint::parse(&site).unwrap().view().switches().all(|s| s.p4runtime.is_some()));
    }

    #[test]
    fn the_example_begins_with_its_picture() {
        let picture: Vec<&str> = BLUEPRINT.lines().skip(2).take(PICTURE_LINES).collect();
        assert!(picture[0].contains("spine1") && picture[PICTURE_LINES - 1].contains("h1"), "{picture:?}");
    }
}
