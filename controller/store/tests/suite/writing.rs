//! Transactions, their compares, and writes in batches.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pergola_store::{BatchOptions, BatchWriter, Compare, Error, Expected, LeaseId, Op, OpResult, Relation, Store, Txn};

use super::cut::Cuttable;
use super::soon;

fn b(value: &str) -> Bytes {
    Bytes::copy_from_slice(value.as_bytes())
}

pub async fn revisions_and_values(store: Arc<dyn Store>) {
    assert_eq!(store.get("a/1").await.unwrap(), None);
    let first = store.put("a/1", b("x")).await.unwrap();
    let second = store.put("a/1", b("y")).await.unwrap();
    assert!(second > first);
    let entry = store.get("a/1").await.unwrap().unwrap();
    assert_eq!((&*entry.key, &entry.value[..]), ("a/1", &b"y"[..]));
    assert_eq!((entry.create_revision, entry.mod_revision), (first, second));
    assert_eq!(entry.lease, None);

    let gone = store.delete("a/1", None).await.unwrap();
    assert!(gone > second);
    assert_eq!(store.get("a/1").await.unwrap(), None);
    assert_eq!(store.delete("a/1", None).await.unwrap(), gone, "nothing changed, no revision");

    let again = store.put("a/1", b("z")).await.unwrap();
    let entry = store.get("a/1").await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (again, again));

    // Values are bytes, and may be empty.
    store.put("bytes", Bytes::from_static(&[0, 255, 10, 0])).await.unwrap();
    store.put("empty", Bytes::new()).await.unwrap();
    assert_eq!(&store.get("bytes").await.unwrap().unwrap().value[..], &[0, 255, 10, 0]);
    assert_eq!(store.get("empty").await.unwrap().unwrap().value.len(), 0);
    let name = "süd/büro \"1\"";
    store.put(name, b("ü")).await.unwrap();
    assert_eq!(&*store.get(name).await.unwrap().unwrap().key, name);
    assert!(store.status().await.unwrap().revision >= again + 3);
}

pub async fn conditional_writes(store: Arc<dyn Store>) {
    let made = store.create("k", b("1")).await.unwrap();
    let conflict = |expected, found| Error::Conflict { key: "k".into(), expected, found };
    assert_eq!(store.create("k", b("2")).await, Err(conflict(Expected::Missing, made)));
    let changed = store.replace("k", b("2"), made).await.unwrap();
    let stale = Err(conflict(Expected::At(made), changed));
    assert_eq!(store.replace("k", b("3"), made).await, stale);
    assert_eq!(store.delete("k", Some(made)).await, stale);
    assert_eq!(store.get("k").await.unwrap().unwrap().value, b("2"));
    store.delete("k", Some(changed)).await.unwrap();
    let gone = Err(conflict(Expected::At(changed), 0));
    assert_eq!(store.replace("k", b("4"), changed).await, gone);
    let text = store.replace("k", b("4"), changed).await.unwrap_err().to_string();
    let wanted = format!("key \"k\" is at revision 0, the caller required revision {changed}");
    assert_eq!(text, wanted);
}

pub async fn compares(store: Arc<dyn Store>) {
    let r1 = store.put("k", b("m")).await.unwrap();
    let r2 = store.put("k", b("n")).await.unwrap();
    let modified = |is, revision| Compare::ModRevision { key: "k".into(), is, revision };
    let created = |is, revision| Compare::CreateRevision { key: "k".into(), is, revision };
    let value = |is, v: &str| Compare::Value { key: "k".into(), is, value: b(v) };
    let no_value = |is, v: &str| Compare::Value { key: "none".into(), is, value: b(v) };
    use Relation::{Equal, Greater, Less, NotEqual};
    let cases = [
        (Compare::exists("k"), true),
        (Compare::missing("k"), false),
        (Compare::exists("none"), false),
        (Compare::missing("none"), true),
        (Compare::at("none", 0), true),
        (Compare::at("k", r1), false),
        (Compare::at("k", r2), true),
        (Compare::created_at("k", r1), true),
        (modified(NotEqual, r1), true),
        (modified(Greater, r1), true),
        (modified(Greater, r2), false),
        (modified(Less, r2 + 1), true),
        (created(Less, r1), false),
        (created(Less, r2), true),
        (Compare::value("k", b("n")), true),
        (Compare::value("k", b("m")), false),
        (value(NotEqual, "m"), true),
        (value(Greater, "m"), true),
        (value(Less, "m"), false),
        (value(Equal, "n"), true),
        (no_value(Equal, ""), false),
        (no_value(NotEqual, "x"), false),
    ];
    for (compare, holds) in cases {
        let txn = Txn::new().when(compare.clone()).then(Op::get("k"));
        let outcome = store.txn(txn).await.unwrap();
        assert_eq!(outcome.succeeded, holds, "{compare:?}");
        assert_eq!(outcome.results.len(), usize::from(holds));
        assert_eq!(outcome.revision, r2, "nothing was written");
    }
    let both = Txn::new().when(Compare::exists("k")).when(Compare::exists("none"));
    assert!(!store.txn(both.then(Op::put("k", "never"))).await.unwrap().succeeded);
    assert_eq!(store.get("k").await.unwrap().unwrap().mod_revision, r2);
}

pub async fn steps_and_results(store: Arc<dyn Store>) {
    for key in ["h/1", "h/2", "h/3", "i"] {
        store.put(key, b("old")).await.unwrap();
    }
    let txn = Txn::new()
        .then(Op::get("n"))
        .then(Op::put("n", "1"))
        .then(Op::get("n"))
        .then(Op::delete_prefix("h/"))
        .then(Op::delete("none"))
        .then(Op::delete("i"))
        .or_else(Op::put("wrong", "branch"));
    let outcome = store.txn(txn).await.unwrap();
    assert!(outcome.succeeded);
    let written = store.get("n").await.unwrap().unwrap();
    assert_eq!(written.mod_revision, outcome.revision);
    let wanted = vec![
        OpResult::Got(None),
        OpResult::Put,
        OpResult::Got(Some(written)),
        OpResult::Deleted(3),
        OpResult::Deleted(0),
        OpResult::Deleted(1),
    ];
    assert_eq!(outcome.results, wanted);
    let left = store.range("", None).await.unwrap();
    assert_eq!(left.entries.iter().map(|e| &*e.key).collect::<Vec<_>>(), ["n"]);
    let nothing = store.txn(Txn::new().then(Op::delete("none"))).await.unwrap();
    assert_eq!(nothing.revision, outcome.revision, "a change of nothing is no revision");
    let all = store.txn(Txn::new().then(Op::delete_prefix(""))).await.unwrap();
    assert_eq!(all.results, vec![OpResult::Deleted(1)]);
}

pub async fn refused_whole(store: Arc<dyn Store>) {
    let before = store.put("k", b("1")).await.unwrap();
    let lease = LeaseId(0x7777);
    let txn = Txn::new().then(Op::put("k", "2")).then(Op::put_leased("l", "x", lease));
    assert_eq!(store.txn(txn).await, Err(Error::LeaseNotFound { lease }));
    let twice = Txn::new().then(Op::put("k", "2")).then(Op::put("k", "3"));
    assert!(matches!(store.txn(twice).await, Err(Error::Invalid { .. })));
    let covered = Txn::new().then(Op::put("k", "2")).then(Op::delete_prefix("k"));
    assert!(matches!(store.txn(covered).await, Err(Error::Invalid { .. })));
    assert!(matches!(store.put("", b("x")).await, Err(Error::Invalid { .. })));
    assert!(matches!(store.get("").await, Err(Error::Invalid { .. })));
    let listing = store.range("", None).await.unwrap();
    assert_eq!((listing.revision, listing.entries.len()), (before, 1));
}

pub async fn too_large(store: Arc<dyn Store>) {
    let limits = store.limits();
    let many = |n| (0..n).fold(Txn::new(), |t, i| t.then(Op::put(format!("k/{i:06}"), "v")));
    let found = limits.max_ops as u64 + 1;
    let refused = store.txn(many(limits.max_ops + 1)).await.unwrap_err();
    let limit = limits.max_ops as u64;
    assert_eq!(refused, Error::TooLarge { what: "operations in a transaction", limit, found });
    assert!(store.range("", None).await.unwrap().entries.is_empty());
    // As many as allowed are one revision; more than that where the caller permits.
    let whole = store.txn(many(limits.max_ops)).await.unwrap();
    assert_eq!(whole.results.len(), limits.max_ops);
    let split = store.txn(many(2 * limits.max_ops + 1).may_split()).await.unwrap();
    assert_eq!((split.succeeded, split.results.len()), (true, 2 * limits.max_ops + 1));
    let listing = store.range("", None).await.unwrap();
    assert_eq!(listing.entries.len(), 2 * limits.max_ops + 1);
    assert_eq!(listing.revision, split.revision);

    let big = Bytes::from(vec![7; limits.max_request_bytes + 1]);
    let refused = store.put("big", big).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { .. }), "{refused}");
    let key = "k".repeat(pergola_store::MAX_KEY_BYTES + 1);
    let refused = store.put(&key, b("v")).await.unwrap_err();
    assert!(matches!(refused, Error::TooLarge { limit: 1024, found: 1025, .. }), "{refused}");
    // Just inside the limit is taken, and comes back.
    let fits = Bytes::from(vec![7; limits.max_request_bytes.min(1 << 20) - 200]);
    store.put("fits", fits.clone()).await.unwrap();
    assert_eq!(store.get("fits").await.unwrap().unwrap().value, fits);
}

pub async fn batches_of_observations(store: Arc<dyn Store>) {
    let before = store.status().await.unwrap().revision;
    let writer = BatchWriter::spawn(store.clone(), BatchOptions::default());
    for round in 0..3 {
        for host in 0..10_000 {
            writer.put(format!("host/{host:05}"), format!("seen {round}")).unwrap();
        }
    }
    writer.delete("host/00000").unwrap();
    soon("the flush", writer.flush()).await.unwrap();
    let listing = store.range("host/", None).await.unwrap();
    assert_eq!(listing.entries.len(), 9_999);
    assert!(listing.entries.iter().all(|e| e.value == b("seen 2")));
    let revisions = listing.revision - before;
    assert!(revisions <= 30_000 / 100 + 10, "{revisions} revisions");
    assert!(writer.commits() >= revisions);

    // What is pending is written when the writer is dropped.
    let mut changes = store.watch("last", listing.revision + 1);
    writer.put("last", "word").unwrap();
    drop(writer);
    let batch = soon("the last write", futures::StreamExt::next(&mut changes)).await;
    assert_eq!(batch.unwrap().unwrap().events[0].entry().unwrap().value, b("word"));
}

pub async fn batch_writer_waits_out_an_outage(store: Arc<dyn Store>) {
    let cuttable = Cuttable::new(store.clone());
    let max_delay = Duration::from_millis(1);
    let options = BatchOptions { max_delay, max_pending: 3, ..BatchOptions::default() };
    let writer = BatchWriter::spawn(cuttable.clone(), options);
    writer.put("a", "1").unwrap();
    writer.flush().await.unwrap();
    cuttable.away();
    writer.put("a", "2").unwrap();
    let refused = || cuttable.refused.load(std::sync::atomic::Ordering::SeqCst) >= 2;
    soon("two tries", async {
        while !refused() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    // Meanwhile newer changes collect, within their bound.
    for (key, value) in [("a", "3"), ("b", "1"), ("c", "1"), ("b", "2")] {
        writer.put(key, value).unwrap();
    }
    assert!(matches!(writer.put("d", "1"), Err(Error::TooLarge { limit: 3, .. })));
    assert_eq!(store.get("a").await.unwrap().unwrap().value, b("1"));
    cuttable.mend();
    soon("the flush", writer.flush()).await.unwrap();
    let listing = store.range("", None).await.unwrap();
    let found: Vec<_> = listing.entries.iter().map(|e| (&*e.key, &e.value[..])).collect();
    assert_eq!(found, [("a", &b"3"[..]), ("b", b"2"), ("c", b"1")]);
}

pub async fn batch_writer_drops_only_the_bad(store: Arc<dyn Store>) {
    let writer = BatchWriter::spawn(store.clone(), BatchOptions::default());
    for i in 0..20 {
        writer.put(format!("k/{i}"), "v").unwrap();
    }
    writer.put_leased("k/bad", "v", LeaseId(0x4444)).unwrap();
    let big = vec![0; store.limits().max_request_bytes + 1];
    assert!(matches!(writer.put("k/big", big), Err(Error::TooLarge { .. })));
    soon("the flush", writer.flush()).await.unwrap();
    assert_eq!(store.range("k/", None).await.unwrap().entries.len(), 20);
    assert_eq!(writer.refused(), 1);
}

pub async fn batch_writer_gives_back_what_came_too_late(store: Arc<dyn Store>) {
    let old = store.put("term", b("1")).await.unwrap();
    let (back, returned) = std::sync::mpsc::channel();
    let writer = BatchWriter::spawn_with(store.clone(), BatchOptions::default(), move |op| back.send(op).unwrap());
    let new = store.put("term", b("2")).await.unwrap();
    let guard = |revision| Compare::at("term", revision);
    writer.guarded(Op::put("late", "old"), guard(old)).unwrap();
    writer.guarded(Op::put("right", "1"), guard(new)).unwrap();
    soon("the flush", writer.flush()).await.unwrap();
    let op = returned.try_recv().unwrap();
    assert_eq!(op, Op::put("late", "old"));
    assert!(returned.try_recv().is_err());
    assert_eq!(store.get("late").await.unwrap(), None);
    assert_eq!(store.get("right").await.unwrap().unwrap().value, b("1"));
    // Said again it is written, unless something newer waits.
    writer.again(op.clone(), guard(new)).unwrap();
    soon("the flush", writer.flush()).await.unwrap();
    assert_eq!(store.get("late").await.unwrap().unwrap().value, b("old"));
    writer.guarded(Op::put("late", "new"), guard(new)).unwrap();
    writer.again(op, guard(new)).unwrap();
    soon("the flush", writer.flush()).await.unwrap();
    assert_eq!(store.get("late").await.unwrap().unwrap().value, b("new"));
}
