//! A central office of 2 spines and 8 leaves: every leaf holds 120,000 outside routes and the hosts, a million entries
//! in all. Planned from nothing, and one route changed.
#![allow(clippy::print_stdout)]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, criterion_group, criterion_main};
use pergola_pipeline::{Entity, TableEntryBuilder};
use pergola_plan::{App, Domain, Emitter, Planner, Unit, UnitSet};

const ROUTES: u32 = 120_000;
const HOSTS: u32 = 10_000;
const LEAVES: usize = 8;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Office;

struct View {
    leaves: Vec<String>,
    /// Next id by route number.
    routes: Vec<u32>,
}

impl Domain for Office {
    type View = View;
    type Change = u32;
    type Device = String;
    type Cause = String;
}

fn route(n: u32, next: u32) -> Entity {
    TableEntryBuilder::new(0x0200_0010).lpm(1, (n << 8).to_be_bytes(), 24).action(0x0100_0020).param(1, next).build()
}

fn host(n: u32, leaf: u32) -> Entity {
    TableEntryBuilder::new(0x0200_0011)
        .exact(1, 10u16 + leaf as u16)
        .ternary(2, u64::from(n) | 0x0200_0000_0000, 0xffff_ffff_ffffu64)
        .priority(10)
        .action(0x0100_0021)
        .param(1, n)
        .build()
}

struct Routes;

impl App<Office> for Routes {
    fn name(&self) -> &'static str {
        "routing"
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend((0..view.routes.len() as u64).map(|n| Unit::number("route", n)));
        out.extend((0..u64::from(HOSTS)).map(|n| Unit::number("host", n)));
    }

    fn affected(&self, _: &View, _: &View, change: &u32, out: &mut UnitSet) {
        out.insert(Unit::number("route", u64::from(*change)));
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_, Office>) {
        let n = unit.as_number().unwrap_or_default() as u32;
        let cause = format!("{}/{n}", unit.kind);
        if unit.kind == "host" {
            out.emit(&view.leaves[n as usize % LEAVES], host(n, n % LEAVES as u32), &cause);
        } else if let Some(next) = view.routes.get(n as usize) {
            for leaf in &view.leaves {
                out.emit(leaf, route(n, *next), &cause);
            }
        }
    }
}

fn resident_mb() -> f64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = statm.split_whitespace().nth(1).and_then(|n| n.parse().ok()).unwrap_or(0.0);
    pages * 4096.0 / 1e6
}

fn bench(c: &mut Criterion) {
    let leaves = (0..LEAVES).map(|n| format!("leaf{}", n + 1)).collect();
    let mut view = View { leaves, routes: (0..ROUTES).map(|n| 100 + n % 50).collect() };
    let before = resident_mb();
    let mut planner = Planner::<Office>::new(vec![Arc::new(Routes)]);
    let delta = planner.plan_all(&view);
    println!("{} entities planned, {} put", planner.stats().entities, delta.len());
    drop(delta);
    println!("planner and freed delta: {:.0} MB resident", resident_mb() - before);

    let mut group = c.benchmark_group("plan");
    group.sample_size(10);
    group.bench_function("a_million_from_nothing", |b| {
        b.iter_batched(
            || Planner::<Office>::new(vec![Arc::new(Routes)]),
            |mut planner| {
                let delta = planner.plan_all(&view);
                (planner, delta)
            },
            BatchSize::PerIteration,
        );
    });
    group.bench_function("a_million_again_unchanged", |b| b.iter(|| black_box(planner.plan_all(&view)).len()));
    group.finish();
    let old = View { leaves: view.leaves.clone(), routes: Vec::new() };
    c.bench_function("plan/one_route_of_a_million", |b| {
        b.iter(|| {
            view.routes[77] += 1;
            black_box(planner.apply(&old, &view, &[77])).len()
        });
    });
}

criterion_group!(benches, bench);
criterion_main!(benches);
