//! Many clients at once: nothing is lost, nothing is seen out of order.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use pergola_store::{Compare, Error, Op, Store, Txn};

const CLIENTS: u64 = 8;
const INCREMENTS: u64 = 40;
const COUNTERS: u64 = 3;

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

/// Every client increments counters by compare-and-swap. An increment acknowledged before another
/// operation began must be seen by it; every value is made exactly once; revisions follow values.
pub async fn counters_are_linearizable(store: Arc<dyn Store>) {
    let acknowledged: Arc<Vec<AtomicU64>> = Arc::new((0..COUNTERS).map(|_| 0.into()).collect());
    let clients = (0..CLIENTS).map(|client| {
        let (store, acknowledged) = (store.clone(), acknowledged.clone());
        tokio::spawn(async move {
            let mut made = Vec::new();
            let mut random = client * 7919 + 1;
            while made.len() < INCREMENTS as usize {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                let counter = random % COUNTERS;
                let key = format!("counter/{counter}");
                let floor = acknowledged[counter as usize].load(Ordering::SeqCst);
                let entry = store.get(&key).await.unwrap();
                let (value, at) = entry.map_or((0, 0), |e| (number(&e.value), e.mod_revision));
                assert!(value >= floor, "read {value} after {floor} was acknowledged");
                let txn = Txn::new().when(Compare::at(&*key, at)).then(Op::put(&*key, (value + 1).to_string()));
                let outcome = store.txn(txn).await.unwrap();
                if outcome.succeeded {
                    acknowledged[counter as usize].fetch_max(value + 1, Ordering::SeqCst);
                    made.push((counter, value + 1, outcome.revision));
                }
            }
            made
        })
    });
    let mut made = Vec::new();
    for client in clients.collect::<Vec<_>>() {
        made.extend(client.await.unwrap());
    }
    assert_eq!(made.len() as u64, CLIENTS * INCREMENTS);
    for counter in 0..COUNTERS {
        let mut values: Vec<_> = made.iter().filter(|m| m.0 == counter).map(|m| (m.1, m.2)).collect();
        values.sort_unstable();
        let wanted: Vec<u64> = (1..=values.len() as u64).collect();
        assert_eq!(values.iter().map(|v| v.0).collect::<Vec<_>>(), wanted);
        assert!(values.windows(2).all(|w| w[0].1 < w[1].1), "revisions follow values");
        let last = store.get(&format!("counter/{counter}")).await.unwrap().unwrap();
        assert_eq!((number(&last.value), last.mod_revision), *values.last().unwrap());
    }
}

pub async fn one_creator_wins(store: Arc<dyn Store>) {
    for round in 0..10 {
        let key = format!("lock/{round}");
        let tries = (0..CLIENTS).map(|client| {
            let (store, key) = (store.clone(), key.clone());
            tokio::spawn(async move {
                let value = Bytes::from(client.to_string());
                (client, store.create(&key, value).await)
            })
        });
        let mut winners = Vec::new();
        for attempt in tries.collect::<Vec<_>>() {
            match attempt.await.unwrap() {
                (client, Ok(revision)) => winners.push((client, revision)),
                (_, Err(Error::Conflict { found, .. })) => assert!(found > 0),
                (_, Err(other)) => panic!("{other}"),
            }
        }
        let entry = store.get(&key).await.unwrap().unwrap();
        assert_eq!(winners, [(number(&entry.value), entry.mod_revision)]);
    }
}
