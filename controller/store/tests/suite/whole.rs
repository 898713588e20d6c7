//! Copying, backup, restore and upgrades of whole stores.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use pergola_store::transfer::{self, INCOMPLETE_KEY};
use pergola_store::upgrade::{self, FORMAT_KEY, Step};
use pergola_store::{Compare, EmbeddedStore, Entry, Error, Op, Store, Txn};

fn memory() -> EmbeddedStore {
    EmbeddedStore::in_memory(Default::default()).unwrap()
}

/// Some thousand entries, some of them large, and one bound to a lease.
async fn fill(store: &dyn Store) {
    let put = |i: usize| Op::put(format!("k/{i:05}"), vec![i as u8; i % 300]);
    let txn = (0..3000).fold(Txn::new().may_split(), |t, i| t.then(put(i)));
    store.txn(txn).await.unwrap();
    for i in 0..4 {
        store.put(&format!("large/{i}"), Bytes::from(vec![i; 600_000])).await.unwrap();
    }
    store.delete("k/00007", None).await.unwrap();
    let lease = store.grant(Duration::from_secs(600)).await.unwrap();
    store.txn(Txn::new().then(Op::put_leased("node/1", "here", lease.id))).await.unwrap();
}

async fn contents(store: &dyn Store) -> Vec<(String, Bytes)> {
    let listing = store.range("", None).await.unwrap();
    let kept = listing.entries.into_iter().filter(|e| e.lease.is_none());
    kept.map(|e| (e.key.to_string(), e.value)).collect()
}

pub async fn moves_there_and_back(store: Arc<dyn Store>) {
    fill(&*store).await;
    let wanted = contents(&*store).await;
    let other = memory();
    let there = transfer::copy(&*store, &other).await.unwrap();
    assert_eq!((there.entries, there.leased), (3003, 1));
    assert_eq!(contents(&other).await, wanted);
    let full = transfer::copy(&other, &*store).await.unwrap_err();
    assert!(matches!(&full, Error::Invalid { reason } if reason.contains("not empty")), "{full}");

    store.txn(Txn::new().then(Op::delete_prefix(""))).await.unwrap();
    let back = transfer::copy(&other, &*store).await.unwrap();
    assert_eq!((back.digest, back.leased), (there.digest, 0));
    assert_eq!(contents(&*store).await, wanted);
    transfer::check_complete(&*store).await.unwrap();
}

pub async fn backup_and_restore(store: Arc<dyn Store>) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("site.backup");
    fill(&*store).await;
    let wanted = contents(&*store).await;
    let written = transfer::backup(&*store, &path).await.unwrap();
    assert_eq!(transfer::verify(&path).unwrap().digest, written.digest);
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");

    store.txn(Txn::new().then(Op::delete_prefix(""))).await.unwrap();
    let restored = transfer::restore(&path, &*store).await.unwrap();
    assert_eq!(restored.digest, written.digest);
    assert_eq!(contents(&*store).await, wanted);
    let full = transfer::restore(&path, &*store).await.unwrap_err();
    assert!(matches!(full, Error::Invalid { .. }), "{full}");

    // Any damage is seen before the first write.
    let good = std::fs::read(&path).unwrap();
    let target = memory();
    let step = good.len() / 40;
    for at in (0..good.len()).step_by(step).chain([good.len() - 1, good.len() - 33]) {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        let damaged = dir.path().join("damaged");
        for bytes in [&bad[..], &good[..at], &[&good[..], b"x"].concat()] {
            std::fs::write(&damaged, bytes).unwrap();
            let refused = transfer::restore(&damaged, &target).await.unwrap_err();
            assert!(matches!(refused, Error::Corrupt { .. }), "{at}: {refused:?}");
            assert!(refused.to_string().contains("damaged"), "{refused}");
        }
    }
    assert_eq!(target.status().await.unwrap().revision, 1, "nothing was written");
    let nowhere = transfer::backup(&*store, &dir.path().join("no/such/dir")).await.unwrap_err();
    assert!(matches!(nowhere, Error::Unavailable { .. }), "{nowhere}");
}

pub async fn an_unfinished_target_is_known(store: Arc<dyn Store>) {
    store.put(INCOMPLETE_KEY, Bytes::from_static(b"a move was interrupted")).await.unwrap();
    store.put("half", Bytes::new()).await.unwrap();
    let refused = transfer::check_complete(&*store).await.unwrap_err();
    assert!(refused.to_string().contains("a move was interrupted"), "{refused}");
    let other = memory();
    assert!(matches!(transfer::copy(&*store, &other).await, Err(Error::Corrupt { .. })));
    // Repeating it starts over.
    other.put("k", Bytes::from_static(b"v")).await.unwrap();
    transfer::copy(&other, &*store).await.unwrap();
    assert_eq!(contents(&*store).await, [("k".into(), Bytes::from_static(b"v"))]);
}

/// Version 2 says `v2:` before a port's value, and has no `old/`.
fn ports(entry: &Entry) -> Result<Option<Option<Bytes>>, String> {
    match &entry.value[..] {
        value if value.starts_with(b"v2:") => Ok(None),
        b"broken" => Err("found \"broken\"".into()),
        value => Ok(Some(Some([b"v2:", value].concat().into()))),
    }
}

fn remove(_: &Entry) -> Result<Option<Option<Bytes>>, String> {
    Ok(Some(None))
}

pub async fn formats_upgrade_step_by_step(store: Arc<dyn Store>) {
    let steps = [
        Step { from: 1, prefix: "port/", convert: ports },
        Step { from: 1, prefix: "old/", convert: remove },
        Step { from: 2, prefix: "", convert: |_| Ok(None) },
    ];
    let text = |v: &str| Bytes::copy_from_slice(v.as_bytes());
    for (key, value) in [("port/1", "a"), ("port/2", "broken"), ("old/x", "1"), ("other", "o")] {
        store.put(key, text(value)).await.unwrap();
    }
    let stuck = upgrade::upgrade(&*store, &steps, 3).await.unwrap_err();
    assert!(stuck.to_string().contains("port/2"), "{stuck}");
    assert_eq!(upgrade::format(&*store, 1, 3).await.unwrap(), 1, "the number did not change");
    store.put("port/2", text("b")).await.unwrap();
    let done = upgrade::upgrade(&*store, &steps, 3).await.unwrap();
    assert_eq!((done.from, done.to, done.changed), (1, 3, 2), "port/1 was converted before");
    let wanted = [("other", "o"), ("port/1", "v2:a"), ("port/2", "v2:b"), (FORMAT_KEY, "3")];
    let wanted: Vec<_> = wanted.map(|(k, v)| (k.to_owned(), text(v))).into();
    assert_eq!(contents(&*store).await, wanted);
    assert_eq!(upgrade::upgrade(&*store, &steps, 3).await.unwrap().changed, 0);
    // An older program keeps its hands off; so does one that lacks a step.
    let newer = upgrade::format(&*store, 1, 2).await.unwrap_err();
    assert_eq!(newer, Error::Format { found: 3, oldest: 1, newest: 2 });
    assert!(matches!(upgrade::upgrade(&*store, &[], 4).await, Err(Error::Format { .. })));
    assert_eq!(upgrade::format(&memory(), 1, 3).await.unwrap(), 3, "a new store is of today");
}

pub async fn a_format_is_upgraded_under_those_who_write(store: Arc<dyn Store>) {
    let value = |format: u64, n: u64| match format {
        1 => Bytes::from(n.to_string()),
        _ => Bytes::from(format!("v2:{n}")),
    };
    assert_eq!(upgrade::format(&*store, 1, 1).await.unwrap(), 1);
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let writers = (0..4u64).map(|w| {
        let (store, stopped) = (store.clone(), stopped.clone());
        tokio::spawn(async move {
            let mut written = [0u64; 3];
            for n in 0.. {
                if *stopped.borrow() {
                    break;
                }
                // A controller that knows both formats.
                let format = upgrade::format(&*store, 1, 2).await.unwrap();
                let put = Op::put(format!("port/{w}-{}", n % 50), value(format, n));
                let guarded = Txn::new().when(Compare::value(FORMAT_KEY, format.to_string())).then(put);
                written[format as usize] += u64::from(store.txn(guarded).await.unwrap().succeeded);
            }
            written
        })
    });
    let writers: Vec<_> = writers.collect();
    while store.range("port/", None).await.unwrap().entries.len() < 150 {
        tokio::task::yield_now().await;
    }
    let steps = [Step { from: 1, prefix: "port/", convert: ports }];
    let done = upgrade::upgrade(&*store, &steps, 2).await.unwrap();
    assert_eq!((done.from, done.to), (1, 2));
    assert!(done.changed >= 150, "{done:?}");
    stop.send(true).unwrap();
    for writer in writers {
        let written = writer.await.unwrap();
        assert!(written[1] > 0, "{written:?}");
    }
    for entry in store.range("port/", None).await.unwrap().entries {
        assert!(entry.value.starts_with(b"v2:"), "{}: {:?}", entry.key, entry.value);
    }
}
