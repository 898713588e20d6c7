//! Watches: order, completeness, history, compaction.

use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use pergola_store::{Batch, Error, Event, Op, Store, Txn, WatchStream};

use super::soon;

/// The next batch with events.
pub async fn next(watch: &mut WatchStream) -> Batch {
    loop {
        let batch = soon("a batch", watch.next()).await.unwrap().unwrap();
        if !batch.events.is_empty() {
            return batch;
        }
    }
}

fn brief(event: &Event) -> (String, Option<String>) {
    let value = event.entry().map(|e| String::from_utf8_lossy(&e.value).into_owned());
    (event.key().to_string(), value)
}

pub fn briefs(batch: &Batch) -> Vec<(String, Option<String>)> {
    batch.events.iter().map(brief).collect()
}

pub fn put(key: &str, value: &str) -> (String, Option<String>) {
    (key.to_owned(), Some(value.to_owned()))
}

pub fn del(key: &str) -> (String, Option<String>) {
    (key.to_owned(), None)
}

pub async fn all_events_of_a_revision_together(store: Arc<dyn Store>) {
    let old = store.put("c", Bytes::from_static(b"old")).await.unwrap();
    let mut watch = store.watch("", old + 1);
    let txn = Txn::new().then(Op::put("d", "1")).then(Op::delete("c")).then(Op::put("b", "2")).then(Op::delete("none"));
    let revision = store.txn(txn).await.unwrap().revision;
    let batch = next(&mut watch).await;
    assert_eq!(batch.revision, revision);
    assert_eq!(briefs(&batch), [put("b", "2"), del("c"), put("d", "1")]);
    let Event::Put(entry) = &batch.events[0] else { panic!("a put") };
    assert_eq!((entry.create_revision, entry.mod_revision), (revision, revision));

    // A large transaction is one batch as well.
    let size = store.limits().max_ops.min(2000);
    let large = (0..size).fold(Txn::new(), |t, i| t.then(Op::put(format!("x/{i:05}"), "v")));
    let revision = store.txn(large).await.unwrap().revision;
    let batch = next(&mut watch).await;
    assert_eq!((batch.revision, batch.events.len()), (revision, size));
}

pub async fn history_then_live(store: Arc<dyn Store>) {
    let mut wanted = Vec::new();
    let start = store.status().await.unwrap().revision + 1;
    for i in 0..300 {
        let value = Bytes::from(i.to_string());
        wanted.push((store.put(&format!("k/{}", i % 7), value).await.unwrap(), i));
    }
    let mut all = store.watch("", start);
    let mut late = store.watch("", wanted[150].0);
    let writer = {
        let store = store.clone();
        tokio::spawn(async move {
            let mut live = Vec::new();
            for i in 300..600 {
                let value = Bytes::from(i.to_string());
                live.push((store.put(&format!("k/{}", i % 7), value).await.unwrap(), i));
            }
            live
        })
    };
    let mut seen = Vec::new();
    for _ in 0..600 {
        let batch = next(&mut all).await;
        let value: i32 = briefs(&batch)[0].1.as_ref().unwrap().parse().unwrap();
        seen.push((batch.revision, value));
    }
    wanted.extend(writer.await.unwrap());
    assert_eq!(seen, wanted);
    for (revision, _) in &wanted[150..] {
        assert_eq!(next(&mut late).await.revision, *revision);
    }
}

pub async fn only_the_prefix(store: Arc<dyn Store>) {
    let start = store.status().await.unwrap().revision + 1;
    let mut ports = store.watch("port/", start);
    for i in 0..50 {
        store.put(&format!("host/{i}"), Bytes::new()).await.unwrap();
    }
    let txn = Txn::new().then(Op::put("port/1", "up")).then(Op::put("poru", "no"));
    store.txn(txn.then(Op::put("port", "no"))).await.unwrap();
    assert_eq!(briefs(&next(&mut ports).await), [put("port/1", "up")]);
    store.txn(Txn::new().then(Op::delete_prefix("po"))).await.unwrap();
    assert_eq!(briefs(&next(&mut ports).await), [del("port/1")]);
}

pub async fn compacted_tells_the_oldest(store: Arc<dyn Store>) {
    let mut revisions = Vec::new();
    for i in 0..10 {
        revisions.push(store.put("k", Bytes::from(i.to_string())).await.unwrap());
    }
    store.compact(revisions[5]).await.unwrap();
    let mut watch = store.watch("", revisions[2]);
    let error = soon("the error", watch.next()).await.unwrap().unwrap_err();
    let (requested, oldest) = (revisions[2], revisions[6]);
    assert_eq!(error, Error::Compacted { requested, oldest });
    assert!(soon("the end", watch.next()).await.is_none(), "a stream ends after its error");
    let mut watch = store.watch("", oldest);
    assert_eq!(next(&mut watch).await.revision, oldest);
}
