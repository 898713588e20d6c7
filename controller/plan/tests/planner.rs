//! The planner: deltas, owners, causes, conflicts; and that the way to a view makes no difference.
#![allow(clippy::unwrap_used)]

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;

use common::{Letter, View, Wish, World, entry};
use pergola_pipeline::{EntityKey, EntityValue};
use pergola_plan::{PlanDelta, Planner};
use proptest::prelude::*;

fn planner() -> Planner<World> {
    Planner::new(vec![Arc::new(Letter("a")), Arc::new(Letter("b"))])
}

fn wish(devices: &[u16], key: u32, number: u32) -> Wish {
    Wish { devices: devices.to_vec(), key, number }
}

fn view(things: &[(&str, Wish)]) -> View {
    let mut view = View::new();
    for (name, wish) in things {
        view.entry((*name).to_owned()).or_default().push(wish.clone());
    }
    view
}

/// Names of things that differ.
fn changes(old: &View, new: &View) -> Vec<String> {
    let mut names: Vec<String> = old.keys().chain(new.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names.retain(|n| old.get(n) != new.get(n));
    names
}

type Held = BTreeMap<u16, BTreeMap<EntityKey, EntityValue>>;

/// A switch that does what deltas say, and complains of those that make no sense.
fn carry_out(held: &mut Held, delta: PlanDelta<World>) {
    for (device, delta) in delta.devices {
        let held = held.entry(device).or_default();
        for key in delta.del {
            assert!(held.remove(&key).is_some(), "deleted what was not there: {key:?}");
        }
        for e in delta.put {
            let before = held.insert(e.key, e.value.clone());
            assert_ne!(before, Some(e.value), "put what was there already");
        }
    }
}

#[test]
fn one_change_costs_one_unit() {
    let old = view(&[("a1", wish(&[1, 2], 10, 1)), ("a2", wish(&[1], 11, 1))]);
    let mut p = planner();
    assert_eq!(p.plan_all(&old).len(), 3);
    let mut new = old.clone();
    new.insert("a1".into(), vec![wish(&[1, 3], 10, 1)]);
    let delta = p.apply(&old, &new, &changes(&old, &new));
    assert_eq!(delta.devices.len(), 2, "device 1 keeps what it has");
    assert_eq!(delta.devices[&2].del, [entry(10, 1).key]);
    assert_eq!(delta.devices[&3].put, [entry(10, 1)]);
    assert!(p.apply(&new, &new, &["a1".to_owned(), "a2".to_owned()]).is_empty());
}

#[test]
fn entries_explain_themselves() {
    let world = view(&[("a1", wish(&[1], 10, 1)), ("a2", wish(&[1], 10, 1)), ("b1", wish(&[1], 11, 5))]);
    let mut p = planner();
    p.plan_all(&world);
    let why = p.explain(&1, &entry(10, 0).key).unwrap();
    assert_eq!((why.owner.app, why.owner.cause.as_str()), ("a", "a1"));
    assert_eq!(why.others.len(), 1);
    assert_eq!(why.others[0].unit.to_string(), "thing:a2");
    assert_eq!(p.caused_by(&"b1".to_owned()), [(1, entry(11, 0).key)]);
    assert_eq!(p.caused_by(&"a2".to_owned()), [(1, entry(10, 0).key)]);
    assert!(p.caused_by(&"a3".to_owned()).is_empty());
    assert!(p.explain(&2, &entry(10, 0).key).is_none());
    assert!(p.conflicts().is_empty(), "the same value twice is no conflict");

    let mut less = world.clone();
    less.remove("a1");
    assert!(p.apply(&world, &less, &["a1".to_owned()]).is_empty(), "a2 still wants it");
    assert_eq!(p.explain(&1, &entry(10, 0).key).unwrap().owner.cause, "a2");
}

#[test]
fn the_earlier_app_wins_a_conflict_whoever_came_first() {
    let one = view(&[("b1", wish(&[1], 10, 2))]);
    let both = view(&[("b1", wish(&[1], 10, 2)), ("a9", wish(&[1], 10, 1))]);
    let mut p = planner();
    p.plan_all(&one);
    let delta = p.apply(&one, &both, &["a9".to_owned()]);
    assert_eq!(delta.devices[&1].put, [entry(10, 1)]);
    let conflicts = p.conflicts();
    assert_eq!(conflicts.len(), 1);
    assert_eq!(conflicts[0].winner.cause, "a9");
    assert_eq!(conflicts[0].losers[0].cause, "b1");
    let delta = p.apply(&both, &one, &["a9".to_owned()]);
    assert_eq!(delta.devices[&1].put, [entry(10, 2)]);
    assert!(p.conflicts().is_empty());
}

#[test]
fn a_unit_at_odds_with_itself_is_reported_and_settled() {
    let torn = view(&[("a1", wish(&[1], 10, 2)), ("a1", wish(&[1], 10, 1))]);
    let mut p = planner();
    assert_eq!(p.plan_all(&torn).devices[&1].put, [entry(10, 1)]);
    assert_eq!(p.conflicts().len(), 1);
    let calm = view(&[("a1", wish(&[1], 10, 1))]);
    assert!(p.apply(&torn, &calm, &["a1".to_owned()]).is_empty());
    assert!(p.conflicts().is_empty());
}

#[test]
fn problems_are_kept_until_they_are_gone() {
    let bad = view(&[("a1", wish(&[], 10, 2))]);
    let good = view(&[("a1", wish(&[1], 10, 2))]);
    let mut p = planner();
    p.plan_all(&bad);
    assert_eq!(p.problems()[0].text, "no device");
    assert_eq!(p.problems()[0].cause, "a1");
    p.apply(&bad, &good, &["a1".to_owned()]);
    assert!(p.problems().is_empty());
    p.apply(&good, &View::new(), &["a1".to_owned()]);
    assert_eq!(p.stats(), Default::default(), "nothing is left of what is gone");
}

#[test]
fn an_audit_finds_what_affected_missed() {
    let old = view(&[("a1", wish(&[1], 10, 2))]);
    let new = view(&[("a1", wish(&[1], 10, 3))]);
    let mut p = planner();
    p.plan_all(&old);
    assert!(p.audit(&old).is_empty());
    assert_eq!(p.audit(&new), [(1, entry(10, 0).key)]);
}

fn a_view() -> impl Strategy<Value = View> {
    let wish = (proptest::collection::vec(0..3u16, 0..3), 0..4u32, 0..3u32).prop_map(|(devices, key, number)| Wish {
        devices,
        key,
        number,
    });
    proptest::collection::btree_map("[ab][0-4]", proptest::collection::vec(wish, 0..4), 0..8)
}

proptest! {
    #[test]
    fn the_way_to_a_view_makes_no_difference(views in proptest::collection::vec(a_view(), 1..8), whole in any::<u8>()) {
        let mut p = planner();
        let mut held = Held::new();
        let mut old = View::new();
        for (i, new) in views.iter().enumerate() {
            let delta = if whole >> i & 1 == 1 { p.plan_all(new) } else { p.apply(&old, new, &changes(&old, new)) };
            carry_out(&mut held, delta);
            prop_assert_eq!(p.audit(new), vec![]);
            old = new.clone();
        }
        let mut fresh = planner();
        let mut other = Held::new();
        carry_out(&mut other, fresh.plan_all(&old));
        held.retain(|_, entries| !entries.is_empty());
        prop_assert_eq!(&held, &other);
        prop_assert_eq!(p.stats(), fresh.stats());
        prop_assert_eq!(
            p.conflicts().iter().map(|c| (c.device, c.key.clone(), c.winner.cause.clone())).collect::<Vec<_>>(),
            fresh.conflicts().iter().map(|c| (c.device, c.key.clone(), c.winner.cause.clone())).collect::<Vec<_>>()
        );
        for name in old.keys() {
            prop_assert_eq!(p.caused_by(name), fresh.caused_by(name));
        }
        // And back to nothing.
        carry_out(&mut held, p.apply(&old, &View::new(), &old.keys().cloned().collect::<Vec<_>>()));
        prop_assert!(held.values().all(BTreeMap::is_empty));
        prop_assert_eq!(p.stats(), Default::default());
    }
}
