//! What only a file can go through: crashes, reopening, two openers, damage; and manual time.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use futures::future::join_all;
use pergola_store::embedded::{Clock, EmbeddedOptions, HistoryOptions};
use pergola_store::{Compare, EmbeddedStore, Error, Op, Store, Txn};

const CHILD: &str = "PERGOLA_STORE_CRASH_FILE";

fn open(path: &Path) -> EmbeddedStore {
    EmbeddedStore::open(path, EmbeddedOptions::default()).unwrap()
}

/// The process that gets killed: clients move numbers between two keys each, both written in one
/// transaction, and say every acknowledged number on standard output.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "the other half of `kill_nine_keeps_what_was_acknowledged`"]
async fn crash_child() {
    use std::io::Write;
    let Some(path) = std::env::var_os(CHILD) else { return };
    let store = Arc::new(open(Path::new(&path)));
    let clients = (0..8).map(|client| {
        let store = store.clone();
        async move {
            let key = |side: &str| format!("{side}/{client}");
            let start = store.get(&key("a")).await.unwrap();
            let start = start.map_or(0, |e| number(&e.value));
            for i in start + 1.. {
                let txn = Txn::new().then(Op::put(key("a"), i.to_string())).then(Op::put(key("b"), i.to_string()));
                let revision = store.txn(txn).await.unwrap().revision;
                let line = format!("ack {client} {i} {revision}\n");
                std::io::stdout().lock().write_all(line.as_bytes()).unwrap();
            }
        }
    });
    join_all(clients).await;
}

fn number(bytes: &[u8]) -> u64 {
    std::str::from_utf8(bytes).unwrap().parse().unwrap()
}

#[tokio::test]
async fn kill_nine_keeps_what_was_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    for round in 1..=4 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "crash_child", "--ignored", "--nocapture"])
            .env(CHILD, &path)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acknowledged = [(0, 0); 8];
        let mut count = 0;
        let mut note = |line: &str| {
            let words: Vec<_> = line.split(' ').collect();
            if let ["ack", client, value, revision] = words[..] {
                let numbers = (value.parse::<u64>().unwrap(), revision.parse::<u64>().unwrap());
                acknowledged[client.parse::<usize>().unwrap()] = numbers;
                count += 1;
            }
            count
        };
        for line in lines.by_ref() {
            if note(&line.unwrap()) == 100 * round {
                child.kill().unwrap();
                break;
            }
        }
        // What was said before the kill counts as well.
        lines.map_while(Result::ok).for_each(|line| _ = note(&line));
        child.wait().unwrap();

        let store = open(&path);
        let listing = store.range("", None).await.unwrap();
        for (client, (value, revision)) in acknowledged.into_iter().enumerate() {
            let get = |side: &str| {
                let key = format!("{side}/{client}");
                listing.entries.iter().find(|e| *e.key == *key).map(|e| (number(&e.value), e.mod_revision))
            };
            let (a, b) = (get("a"), get("b"));
            assert_eq!(a, b, "half a transaction, round {round}");
            let found = a.unwrap_or_default();
            assert!(found.0 >= value, "{value} was acknowledged, {} is there", found.0);
            assert!(found.1 >= revision && listing.revision >= revision);
        }
        // The history fits the state: replayed from the beginning it gives the same.
        let mut watch = store.watch("", 1);
        let mut state = std::collections::BTreeMap::new();
        let mut revision = 1;
        while revision < listing.revision {
            let batch = watch.next().await.unwrap().unwrap();
            assert_eq!((batch.revision, batch.events.len()), (revision + 1, 2));
            revision = batch.revision;
            for event in batch.events {
                state.insert(event.key().clone(), event.entry().unwrap().clone());
            }
        }
        assert_eq!(state.into_values().collect::<Vec<_>>(), listing.entries);
    }
}

#[tokio::test]
async fn reopening_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = open(&path);
    let r1 = store.put("a", Bytes::from_static(b"1")).await.unwrap();
    let lease = store.grant(Duration::from_millis(300)).await.unwrap();
    let leased = Txn::new().then(Op::put_leased("l", "1", lease.id));
    let r2 = store.txn(leased).await.unwrap().revision;
    store.compact(r1).await.unwrap();
    drop(store);

    let store = open(&path);
    let status = store.status().await.unwrap();
    assert_eq!((status.revision, status.oldest), (r2, r2));
    assert!(status.size_bytes > 0 && status.detail.contains("store.redb"), "{status:?}");
    assert_eq!(store.get("a").await.unwrap().unwrap().mod_revision, r1);
    assert_eq!(store.get("l").await.unwrap().unwrap().lease, Some(lease.id));
    // The lease still ends, and the next one has another name.
    let mut watch = store.watch("", r2 + 1);
    assert_ne!(store.grant(Duration::from_secs(1)).await.unwrap().id, lease.id);
    let batch = watch.next().await.unwrap().unwrap();
    assert_eq!(&**batch.events[0].key(), "l");
    assert_eq!(batch.revision, r2 + 1);
}

#[tokio::test]
async fn only_one_process_opens_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    let store = open(&path);
    let second = EmbeddedStore::open(&path, EmbeddedOptions::default()).map(|_| ()).unwrap_err();
    assert_eq!(second, Error::InUse { path: path.display().to_string() });
    assert!(second.to_string().contains("in use by another process"));
    // A process of its own meets the same lock.
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "crash_child", "--ignored", "--nocapture"])
        .env(CHILD, &path)
        .output()
        .unwrap();
    assert!(!child.status.success());
    let said = [child.stderr, child.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    assert!(said.contains("InUse"), "{said}");
    // A watch does not keep the file.
    let mut watch = store.watch("", 1);
    drop(store);
    let ended = watch.next().await.unwrap().unwrap_err();
    assert!(matches!(ended, Error::Unavailable { .. }), "{ended:?}");
    open(&path);
}

#[tokio::test]
async fn foreign_files_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("store.redb");
    std::fs::write(&path, vec![b'x'; 20_000]).unwrap();
    let refused = EmbeddedStore::open(&path, EmbeddedOptions::default()).map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Corrupt { .. }), "{refused:?}");
    assert!(refused.to_string().contains("store.redb"), "{refused}");
    let folder = EmbeddedStore::open(dir.path(), EmbeddedOptions::default()).map(|_| ());
    assert!(matches!(folder, Err(Error::Unavailable { .. })), "{folder:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn writers_share_commits() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir.path().join("store.redb")));
    let began = std::time::Instant::now();
    let alone = 50;
    for i in 0..alone {
        store.put("alone", Bytes::from(i.to_string())).await.unwrap();
    }
    let each = began.elapsed() / alone;
    let began = std::time::Instant::now();
    let writers = (0..64).map(|w| {
        let store = store.clone();
        tokio::spawn(async move {
            for i in 0..50 {
                store.put(&format!("k/{w}"), Bytes::from(i.to_string())).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        writer.await.unwrap();
    }
    let shared = began.elapsed() / (64 * 50);
    assert!(shared * 4 < each, "alone {each:?}, among 64 {shared:?} a transaction");
}

#[tokio::test]
async fn time_is_the_callers() {
    let options = EmbeddedOptions { clock: Clock::Manual, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::in_memory(options).unwrap();
    let ms = Duration::from_millis;
    store.advance(ms(1000)).unwrap();
    let lease = store.grant(ms(500)).await.unwrap();
    let txn = Txn::new().then(Op::put_leased("a", "1", lease.id)).then(Op::put("b", "1"));
    let revision = store.txn(txn).await.unwrap().revision;
    assert_eq!(store.next_lease_end(), Some(ms(1500)));
    store.advance(ms(1499)).unwrap();
    assert_eq!(store.keep_alive(lease.id).await.unwrap(), ms(500));
    store.advance(ms(1998)).unwrap();
    assert!(store.get("a").await.unwrap().is_some());
    store.advance(ms(1999)).unwrap();
    assert!(store.get("a").await.unwrap().is_none());
    assert_eq!(store.status().await.unwrap().revision, revision + 1);
    store.advance(ms(10)).unwrap();
    assert_eq!(store.next_lease_end(), None, "time never goes back");
    let late = store.txn(Txn::new().then(Op::put_leased("a", "2", lease.id))).await;
    assert_eq!(late.unwrap_err(), Error::LeaseNotFound { lease: lease.id });
}

#[tokio::test]
async fn history_stays_in_bounds() {
    let history = HistoryOptions { max_revisions: 100, max_bytes: 1 << 20 };
    let options = EmbeddedOptions { clock: Clock::Manual, history, ..EmbeddedOptions::default() };
    let store = EmbeddedStore::in_memory(options).unwrap();
    let mut slow = store.watch("", 2);
    for i in 0..1000 {
        store.put(&format!("k/{}", i % 10), Bytes::from(i.to_string())).await.unwrap();
    }
    let status = store.status().await.unwrap();
    assert_eq!((status.revision, status.revision - status.oldest), (1001, 99));
    let lost = slow.next().await.unwrap().unwrap_err();
    assert_eq!(lost, Error::Compacted { requested: 2, oldest: status.oldest });
    let past = store.range("", Some(status.oldest)).await.unwrap();
    assert_eq!(past.entries.len(), 10);
    // Large values: the bytes count, not the number.
    for _ in 0..40 {
        store.put("large", Bytes::from(vec![0; 100_000])).await.unwrap();
    }
    let status = store.status().await.unwrap();
    assert!((1..20).contains(&(status.revision - status.oldest)), "{status:?}");
}

#[tokio::test]
async fn a_failed_request_spares_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = Arc::new(open(&dir.path().join("store.redb")));
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    let requests = (0..200).map(|i| {
        let store = store.clone();
        async move {
            match i % 4 {
                0 => store.put(&format!("k/{i}"), Bytes::new()).await.map(|_| ()),
                1 => store.keep_alive(lease.id).await.map(|_| ()),
                2 => store.revoke(pergola_store::LeaseId(-1)).await,
                _ => {
                    let txn = Txn::new()
                        .when(Compare::missing("k/none"))
                        .then(Op::put(format!("bad/{i}"), "1"))
                        .then(Op::put_leased("x", "1", pergola_store::LeaseId(-1)));
                    store.txn(txn).await.map(|_| ())
                }
            }
        }
    });
    for (i, answer) in join_all(requests).await.into_iter().enumerate() {
        assert_eq!(answer.is_ok(), i % 4 < 2, "{i}: {answer:?}");
    }
    let listing = store.range("", None).await.unwrap();
    assert_eq!(listing.entries.len(), 50);
    assert!(listing.entries.iter().all(|e| e.key.starts_with("k/")));
}
