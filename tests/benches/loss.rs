//! What a cut cable, a dead spine and a dead controller cost, on the 2x2 example with traffic running. Figures go to
//! BENCHMARKS.md. Needs root, and `pergola` and `p4switch` beside this program's folder (`make bench` builds them).
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::path::Path;
use std::time::{Duration, Instant};

use pergola_lab::probe::{Gap, Probe, ProbeReport, ProbeSpec};
use pergola_lab::{Cut, Kill};
use pergola_scenarios::{Api, Scenario, free_port, is_root, unique_name, wait_until};

const CUTS: usize = 100;
const LIMIT: Duration = Duration::from_secs(60);
const LINKS: [&str; 4] = ["leaf1-spine1", "leaf1-spine2", "leaf2-spine1", "leaf2-spine2"];

fn main() {
    if std::env::args().any(|a| a == "--test") || !is_root() {
        return;
    }
    let own = std::env::current_exe().unwrap();
    let programs = own.ancestors().find(|p| p.ends_with("deps")).unwrap().parent().unwrap().to_owned();
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../topology/blueprint/examples/2x2.yaml");
    let listen = ([127, 0, 0, 1], free_port().unwrap()).into();
    let mut spec =
        pergola_lab::office(&unique_name("loss"), &std::fs::read_to_string(example).unwrap(), listen).unwrap();
    spec.controller.as_mut().unwrap().program = Some(programs.join("pergola"));
    let mut lab = Scenario::start_named(spec).unwrap();
    let api = Api(listen);
    lab.ping_all(LIMIT).unwrap();
    whole(&api);
    cuts(&mut lab, &api, Cut::Loud, CUTS);
    kills(&mut lab, &api, "spine1", Kill::PowerOff, 10);
    kills(&mut lab, &api, "controller", Kill::Crash, 10);
    lab.end().unwrap();
}

fn probe(lab: &Scenario) -> Probe {
    // Sixteen flows, so that every link carries some.
    Probe::start(lab, &ProbeSpec { flows: 16, ..ProbeSpec::new("h1", "h4") }).unwrap()
}

/// All links up and all switches programmed.
fn whole(api: &Api) {
    wait_until("the fabric is whole", LIMIT, || {
        let up = api.all("link-state").ok()?.iter().filter(|l| l["up"] == true).count();
        (up == LINKS.len() && api.in_sync().ok()?).then_some(())
    })
    .unwrap();
}

/// The longest gap that began within each span of time.
fn longest(report: &ProbeReport, spans: &[(Duration, Duration)]) -> Vec<f64> {
    let within = |g: &&Gap, (from, to): &(Duration, Duration)| {
        let at = Duration::from_secs_f64(g.at_ms / 1e3);
        at + Duration::from_millis(5) >= *from && at < *to
    };
    let longest = |span| report.gaps.iter().filter(|g| within(g, span)).map(|g| g.ms).fold(0.0, f64::max);
    spans.iter().map(longest).collect()
}

fn tell(what: &str, mut gaps: Vec<f64>, lost: u64, sent: u64) {
    gaps.sort_by(f64::total_cmp);
    let at = |share: f64| gaps[((gaps.len() as f64 * share).ceil() as usize).max(1) - 1];
    println!(
        "{what}, {} times: gap median {:.2} ms, 99 % {:.2} ms, worst {:.2} ms; {lost} of {sent} packets lost",
        gaps.len(),
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

fn cuts(lab: &mut Scenario, api: &Api, how: Cut, count: usize) {
    let probe = probe(lab);
    let started = Instant::now();
    let (mut broken, mut healed) = (Vec::new(), Vec::new());
    for n in 0..count {
        let link = LINKS[n % LINKS.len()];
        // What follows a change within this time is its doing.
        let cut = started.elapsed();
        lab.break_link(link, how).unwrap();
        std::thread::sleep(Duration::from_millis(200));
        let heal = started.elapsed();
        lab.heal_link(link).unwrap();
        whole(api);
        std::thread::sleep(Duration::from_millis(100));
        broken.push((cut, heal));
        healed.push((heal, started.elapsed()));
    }
    let report = probe.stop().unwrap();
    tell("a cable cut", longest(&report, &broken), report.lost, report.sent);
    tell("a cable mended", longest(&report, &healed), report.lost, report.sent);
}

fn kills(lab: &mut Scenario, api: &Api, name: &str, how: Kill, count: usize) {
    let (mut gaps, mut lost, mut sent) = (Vec::new(), 0, 0);
    for _ in 0..count {
        let probe = probe(lab);
        let before = probe.received();
        wait_until("packets flow", LIMIT, || (probe.received() > before + 2_000).then_some(())).unwrap();
        lab.kill(name, how).unwrap();
        std::thread::sleep(Duration::from_millis(500));
        lab.restart(name).unwrap();
        wait_until("the API answers", LIMIT, || api.in_sync().ok()).unwrap();
        whole(api);
        let report = probe.stop().unwrap();
        gaps.push(report.longest_gap_ms());
        lost += report.lost;
        sent += report.sent;
    }
    tell(&format!("{name}: {how:?}"), gaps, lost, sent);
}
