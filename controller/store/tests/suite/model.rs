//! Random transactions, checked against a plain map: answers, the past, and watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use pergola_store::{Compare, Entry, Key, Op, OpResult, Store, Txn};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestRng, TestRunner};

use super::watching::next;

type State = BTreeMap<Key, Entry>;

#[derive(Debug, Clone)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    DeletePrefix(u8),
    Get(u8),
}

#[derive(Debug, Clone)]
struct Plan {
    /// Keys that must exist or not.
    compares: Vec<(u8, bool)>,
    steps: Vec<Step>,
    otherwise: Vec<Step>,
}

fn key(number: u8) -> String {
    format!("{}/{}", ["a", "ab", "b"][usize::from(number % 3)], number / 3)
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => (0..12u8, any::<u8>()).prop_map(|(k, v)| Step::Put(k, v)),
        3 => (0..12u8).prop_map(Step::Delete),
        1 => (0..3u8).prop_map(Step::DeletePrefix),
        2 => (0..12u8).prop_map(Step::Get),
    ];
    prop::collection::vec(step, 0..5)
}

fn plans() -> impl Strategy<Value = Vec<Plan>> {
    let compares = prop::collection::vec((0..12u8, any::<bool>()), 0..3);
    let plan =
        (compares, steps(), steps()).prop_map(|(compares, steps, otherwise)| Plan { compares, steps, otherwise });
    prop::collection::vec(plan, 60)
}

fn ops(steps: &[Step]) -> Vec<Op> {
    let op = |step: &Step| match step {
        Step::Put(k, v) => Op::put(key(*k), vec![*v]),
        Step::Delete(k) => Op::delete(key(*k)),
        Step::DeletePrefix(p) => Op::delete_prefix(["a", "ab", "b/"][usize::from(*p)]),
        Step::Get(k) => Op::get(key(*k)),
    };
    let mut kept: Vec<Op> = Vec::new();
    for op in steps.iter().map(op) {
        let prefix = |op: &Op| matches!(op, Op::DeletePrefix { .. });
        let reads = |op: &Op| matches!(op, Op::Get { .. });
        // A key is written at most once; transactions that break this are refused, tested elsewhere.
        let clash = |other: &Op| {
            let (a, b) = (op.key(), other.key());
            !reads(&op)
                && !reads(other)
                && (a == b || (prefix(other) && a.starts_with(&**b)) || (prefix(&op) && b.starts_with(&**a)))
        };
        if !kept.iter().any(clash) {
            kept.push(op);
        }
    }
    kept
}

/// Applies operations as revision `revision`; whether anything changed.
fn apply(state: &mut State, ops: &[Op], revision: u64) -> (bool, Vec<OpResult>) {
    let mut changed = false;
    let mut results = Vec::new();
    for op in ops {
        results.push(match op {
            Op::Put { key, value, .. } => {
                let created = state.get(key).map_or(revision, |e| e.create_revision);
                let entry = Entry {
                    key: key.clone(),
                    value: value.clone(),
                    create_revision: created,
                    mod_revision: revision,
                    lease: None,
                };
                state.insert(key.clone(), entry);
                changed = true;
                OpResult::Put
            }
            Op::Get { key } => OpResult::Got(state.get(key).cloned()),
            Op::Delete { key } => {
                let removed = state.remove(key).is_some();
                changed |= removed;
                OpResult::Deleted(removed.into())
            }
            Op::DeletePrefix { prefix } => {
                let before = state.len();
                state.retain(|key, _| !key.starts_with(&**prefix));
                changed |= state.len() != before;
                OpResult::Deleted((before - state.len()) as u64)
            }
        });
    }
    (changed, results)
}

pub async fn agrees_with_the_model(store: Arc<dyn Store>) {
    let config = Config::default();
    let rng = TestRng::from_seed(config.rng_algorithm, &[17; 32]);
    let mut runner = TestRunner::new_with_rng(config, rng);
    let mut state = State::new();
    for _ in 0..8 {
        let plans = plans().new_tree(&mut runner).unwrap().current();
        state = run(&store, state, &plans).await;
    }
}

async fn run(store: &Arc<dyn Store>, mut state: State, plans: &[Plan]) -> State {
    let mut revision = store.status().await.unwrap().revision;
    let start = revision;
    let mut states = vec![(revision, state.clone())];
    for plan in plans {
        let mut txn = Txn { ops: ops(&plan.steps), otherwise: ops(&plan.otherwise), ..Txn::new() };
        let mut holds = true;
        for (k, exists) in &plan.compares {
            let named = key(*k);
            txn.compares.push(if *exists { Compare::exists(named) } else { Compare::missing(named) });
            holds &= state.contains_key(&*key(*k)) == *exists;
        }
        let branch = if holds { txn.ops.clone() } else { txn.otherwise.clone() };
        let (changed, results) = apply(&mut state, &branch, revision + 1);
        let outcome = store.txn(txn.clone()).await.unwrap();
        assert_eq!((outcome.succeeded, &outcome.results), (holds, &results), "{txn:?}");
        if changed {
            revision += 1;
            states.push((revision, state.clone()));
        }
        assert_eq!(outcome.revision, revision, "{txn:?}");
    }
    // The past, by listing.
    for (at, wanted) in &states {
        for prefix in ["", "a", "ab/", "b"] {
            let listing = store.range(prefix, Some(*at)).await.unwrap();
            let wanted = wanted.values().filter(|e| e.key.starts_with(prefix));
            assert_eq!(listing.entries, wanted.cloned().collect::<Vec<_>>(), "{prefix} at {at}");
        }
    }
    // The past, by replaying the watch.
    let mut replayed = states[0].1.clone();
    let mut watch = store.watch("", start + 1);
    for (at, wanted) in &states[1..] {
        let batch = next(&mut watch).await;
        assert_eq!(batch.revision, *at);
        assert!(batch.events.windows(2).all(|w| w[0].key() < w[1].key()));
        for event in batch.events {
            match event.entry() {
                Some(entry) => replayed.insert(entry.key.clone(), entry.clone()),
                None => replayed.remove(event.key()),
            };
        }
        assert_eq!(&replayed, wanted, "at {at}");
    }
    state
}
