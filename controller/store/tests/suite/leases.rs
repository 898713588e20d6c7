//! Leases in real time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use pergola_store::{Error, LeaseId, Op, Store, Txn};

use super::soon;
use super::watching::{briefs, del, next};

const SECOND: Duration = Duration::from_secs(1);

pub async fn end_removes_the_keys(store: Arc<dyn Store>) {
    let lease = store.grant(SECOND).await.unwrap();
    let granted = Instant::now();
    assert!(lease.ttl >= SECOND && lease.id != LeaseId(0), "{lease:?}");
    let txn = Txn::new()
        .then(Op::put_leased("a", "1", lease.id))
        .then(Op::put_leased("b", "2", lease.id))
        .then(Op::put("c", "3"));
    let revision = store.txn(txn).await.unwrap().revision;
    assert_eq!(store.get("a").await.unwrap().unwrap().lease, Some(lease.id));
    let mut watch = store.watch("", revision + 1);
    let batch = next(&mut watch).await;
    assert!(granted.elapsed() >= lease.ttl - Duration::from_millis(50), "too early");
    assert!(granted.elapsed() < lease.ttl + Duration::from_secs(4), "too late");
    assert_eq!(briefs(&batch), [del("a"), del("b")]);
    assert_eq!(store.range("", None).await.unwrap().entries.len(), 1);
    let over = Err(Error::LeaseNotFound { lease: lease.id });
    assert_eq!(store.keep_alive(lease.id).await, over);
    let late = store.txn(Txn::new().then(Op::put_leased("a", "1", lease.id))).await;
    assert_eq!(late.unwrap_err(), Error::LeaseNotFound { lease: lease.id });
}

pub async fn keep_alive_prolongs(store: Arc<dyn Store>) {
    let lease = store.grant(SECOND).await.unwrap();
    let txn = Txn::new().then(Op::put_leased("a", "1", lease.id));
    let revision = store.txn(txn).await.unwrap().revision;
    let mut watch = store.watch("", revision + 1);
    let began = Instant::now();
    let mut ticks = tokio::time::interval(lease.ttl / 4);
    while began.elapsed() < lease.ttl * 5 / 2 {
        tokio::select! {
            batch = watch.next() => {
                let batch = batch.unwrap().unwrap();
                assert!(batch.events.is_empty(), "ended while kept alive: {batch:?}");
            }
            _ = ticks.tick() => {
                assert_eq!(store.keep_alive(lease.id).await.unwrap(), lease.ttl);
            }
        }
    }
    assert!(store.get("a").await.unwrap().is_some());
    assert_eq!(briefs(&next(&mut watch).await), [del("a")]);
}

pub async fn revoke_and_detach(store: Arc<dyn Store>) {
    let hour = Duration::from_secs(3600);
    let (one, two) = (store.grant(hour).await.unwrap(), store.grant(hour).await.unwrap());
    assert_ne!(one.id, two.id);
    let txn = Txn::new()
        .then(Op::put_leased("a", "1", one.id))
        .then(Op::put_leased("b", "1", one.id))
        .then(Op::put_leased("c", "1", one.id))
        .then(Op::put_leased("d", "1", two.id));
    store.txn(txn).await.unwrap();
    // "b" moves to another lease, "c" loses its own.
    let txn = Txn::new().then(Op::put_leased("b", "2", two.id)).then(Op::put("c", "2"));
    let revision = store.txn(txn).await.unwrap().revision;
    assert_eq!(store.get("c").await.unwrap().unwrap().lease, None);
    let mut watch = store.watch("", revision + 1);
    soon("the revocation", store.revoke(one.id)).await.unwrap();
    assert_eq!(briefs(&next(&mut watch).await), [del("a")]);
    store.revoke(two.id).await.unwrap();
    assert_eq!(briefs(&next(&mut watch).await), [del("b"), del("d")]);
    assert_eq!(store.revoke(two.id).await, Err(Error::LeaseNotFound { lease: two.id }));
    assert_eq!(store.range("", None).await.unwrap().entries.len(), 1);
}
