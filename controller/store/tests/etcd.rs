//! The shared suite on etcd, and what only a cluster can go through.
#![allow(clippy::unwrap_used)]

mod suite;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use futures::stream::BoxStream;
use pergola_store::{Error, EtcdStore, Followed, Op, Revision, Store, Txn, follow};
use suite::members::{Certificates, Members, connect};
use suite::soon;

struct Single {
    store: Arc<dyn Store>,
    _members: Members,
}

impl suite::Fixture for Single {
    async fn start() -> Self {
        let members = Members::start(1);
        Self { store: Arc::new(members.connect().await), _members: members }
    }

    fn store(&self) -> Arc<dyn Store> {
        self.store.clone()
    }
}

mod single {
    use super::{Single, suite};
    suite!(Single);
}

fn value(number: usize) -> Bytes {
    Bytes::from(number.to_string())
}

/// Writes until it works: a write whose answer was lost may be written twice, which is the same.
async fn put_through(store: &dyn Store, key: &str, bytes: Bytes) -> Revision {
    let began = Instant::now();
    loop {
        match store.put(key, bytes.clone()).await {
            Ok(revision) => return revision,
            Err(error) if error.is_retryable() && began.elapsed() < Duration::from_secs(30) => {}
            Err(error) => panic!("{error} after {:?}", began.elapsed()),
        }
    }
}

/// Follows in the background, so that the watch is open while things happen.
fn following(store: &Arc<dyn Store>, prefix: &str) -> BoxStream<'static, Followed> {
    let mut followed = follow(store.clone(), prefix);
    let (sender, mut receiver) = tokio::sync::mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(next) = followed.next().await {
            if sender.send(next).is_err() {
                return;
            }
        }
    });
    futures::stream::poll_fn(move |context| receiver.poll_recv(context)).boxed()
}

/// What a follower saw: how many snapshots and interruptions, and every batch's revision and value.
#[derive(Default)]
struct Seen {
    snapshots: usize,
    interruptions: Vec<Error>,
    batches: Vec<(Revision, Bytes)>,
}

impl Seen {
    async fn until(&mut self, revision: Revision, followed: &mut BoxStream<'static, Followed>) {
        loop {
            match soon("what is missing", followed.next()).await.unwrap() {
                Followed::Snapshot(listing) => {
                    self.snapshots += 1;
                    if listing.revision >= revision {
                        return;
                    }
                }
                Followed::Batch(batch) => {
                    let value = batch.events[0].entry().unwrap().value.clone();
                    self.batches.push((batch.revision, value));
                    if batch.revision >= revision {
                        return;
                    }
                }
                Followed::Interrupted(error) => self.interruptions.push(error),
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_of_etcd_loses_and_repeats_nothing() {
    let mut members = Members::start(1);
    let store: Arc<dyn Store> = Arc::new(members.connect().await);
    let mut followed = following(&store, "");
    let mut seen = Seen::default();
    let start = store.put("k", value(0)).await.unwrap();
    seen.until(start, &mut followed).await;
    let mut wanted = Vec::new();
    for round in 0..3 {
        for i in 0..5 {
            let bytes = value(round * 10 + i);
            wanted.push((put_through(&*store, "k", bytes.clone()).await, bytes));
        }
        members.kill(0);
        let refused = store.put("k", value(999)).await.unwrap_err();
        let expected = matches!(refused, Error::Unavailable { .. } | Error::Indeterminate { .. });
        assert!(expected, "{refused:?}");
        members.run(0);
    }
    let last = put_through(&*store, "k", value(1000)).await;
    wanted.push((last, value(1000)));
    seen.until(last, &mut followed).await;
    seen.batches.retain(|(revision, _)| *revision > start);
    assert_eq!(seen.batches, wanted);
    assert_eq!(seen.snapshots, 1);
    assert!(!seen.interruptions.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn losing_members_one_by_one_loses_nothing() {
    let mut members = Members::start(3);
    let store: Arc<dyn Store> = Arc::new(members.connect().await);
    let mut followed = following(&store, "");
    let mut seen = Seen::default();
    let first = store.put("k", value(0)).await.unwrap();
    seen.until(first, &mut followed).await;
    let mut acknowledged = Vec::new();
    for round in 1..=3 {
        let leader = members.leader().await;
        members.kill(leader);
        let began = Instant::now();
        for i in 0..10 {
            let bytes = value(round * 100 + i);
            acknowledged.push((put_through(&*store, "k", bytes.clone()).await, bytes));
        }
        assert!(began.elapsed() < Duration::from_secs(12), "{:?}", began.elapsed());
        members.run(leader);
        soon("the member's return", async {
            let alone = members.endpoint(leader);
            let mut options = members.options();
            options.endpoints = vec![alone];
            connect(options).await;
        })
        .await;
    }
    let last = acknowledged.last().unwrap().0;
    seen.until(last, &mut followed).await;
    for wanted in &acknowledged {
        let times = seen.batches.iter().filter(|batch| *batch == wanted).count();
        assert_eq!(times, 1, "{wanted:?}");
    }
    assert!(seen.batches.windows(2).all(|w| w[0].0 < w[1].0));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_writes_are_refused_and_recovery_is_automatic() {
    let mut members = Members::start(3);
    let mut options = members.options();
    options.request_timeout = Duration::from_secs(2);
    let store: Arc<dyn Store> = Arc::new(connect(options).await);
    let before = store.put("k", value(1)).await.unwrap();
    let mut followed = following(&store, "");
    let mut seen = Seen::default();
    seen.until(before, &mut followed).await;
    members.kill(0);
    members.kill(1);
    for _ in 0..3 {
        let began = Instant::now();
        let refused = store.put("k", value(2)).await.unwrap_err();
        assert!(refused.is_retryable(), "{refused:?}");
        assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
        assert!(!refused.to_string().is_empty());
        let refused = store.get("k").await.unwrap_err();
        assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    }
    assert!(store.status().await.is_err(), "no quorum is not healthy");
    members.run(0);
    let after = put_through(&*store, "k", value(3)).await;
    seen.until(after, &mut followed).await;
    assert_eq!(seen.batches.last().unwrap(), &(after, value(3)));
    assert_eq!(seen.snapshots, 1);
    assert!(!seen.interruptions.is_empty());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_frozen_member_holds_nobody_up() {
    let members = Members::start(3);
    let store: Arc<dyn Store> = Arc::new(members.connect().await);
    let mut watches: Vec<_> = Vec::new();
    for i in 0..3 {
        let key = format!("k{i}");
        let first = store.put(&key, value(0)).await.unwrap();
        let mut followed = following(&store, &key);
        let mut seen = Seen::default();
        seen.until(first, &mut followed).await;
        watches.push((followed, seen));
    }
    let frozen = (members.leader().await + 1) % 3;
    members.signal(frozen, "STOP");
    let began = Instant::now();
    for i in 0..20 {
        let read = store.get("k0").await.unwrap().unwrap();
        assert!(read.mod_revision > 0, "{i}");
    }
    for (i, (followed, seen)) in watches.iter_mut().enumerate() {
        let revision = put_through(&*store, &format!("k{i}"), value(7)).await;
        seen.until(revision, followed).await;
        assert_eq!(seen.snapshots, 1);
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
    members.signal(frozen, "CONT");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn history_is_kept_in_bounds_by_whoever_is_there() {
    let members = Members::start(1);
    let mut options = members.options();
    options.history.max_revisions = 50;
    options.history.check_every = Duration::from_millis(50);
    let stores = [connect(options.clone()).await, connect(options).await];
    let oldest = soon("a compaction", async {
        loop {
            for i in 0..20 {
                stores[i % 2].put("k", value(i)).await.unwrap();
            }
            let status = stores[0].status().await.unwrap();
            if status.oldest > 100 {
                return status;
            }
        }
    })
    .await;
    assert!(oldest.revision - oldest.oldest >= 40, "{oldest:?}");
    let error = stores[1].watch("", 5).next().await.unwrap().unwrap_err();
    assert!(matches!(error, Error::Compacted { requested: 5, oldest } if oldest > 100), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_sites_share_a_cluster_and_see_nothing_of_each_other() {
    let members = Members::start(1);
    let one = members.connect().await;
    let mut options = members.options();
    options.site = "test2".into();
    let two = connect(options).await;
    one.put("k", value(1)).await.unwrap();
    two.put("k", value(2)).await.unwrap();
    let from = two.put("l", value(2)).await.unwrap();
    let mut watch = one.watch("", from + 1);
    one.txn(Txn::new().then(Op::delete_prefix(""))).await.unwrap();
    assert_eq!(suite::watching::next(&mut watch).await.events.len(), 1);
    assert!(one.range("", None).await.unwrap().entries.is_empty());
    assert_eq!(two.range("", None).await.unwrap().entries.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn counters_are_linearizable_across_members() {
    let members = Members::start(3);
    suite::races::counters_are_linearizable(Arc::new(members.connect().await)).await;
}

/// The keys that a member has read so far, by its own account.
fn reads(members: &Members) -> f64 {
    let url = members.endpoint(0);
    let mut stream = TcpStream::connect(url.trim_start_matches("http://")).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n").unwrap();
    let mut metrics = String::new();
    stream.read_to_string(&mut metrics).unwrap();
    let count = metrics.lines().find_map(|l| l.strip_prefix("etcd_debugging_mvcc_range_total "));
    count.and_then(|n| n.parse().ok()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_costs_no_read_a_change() {
    let members = Members::start(1);
    let store = members.connect().await;
    let write = |value: &'static str| (0..100).fold(Txn::new(), |t, i| t.then(Op::put(format!("port/{i}"), value)));
    let first = store.txn(write("1")).await.unwrap().revision;
    let before = reads(&members);
    store.txn(write("2")).await.unwrap();
    let batch = suite::watching::next(&mut store.watch("", first + 1)).await;
    assert_eq!(batch.events.len(), 100);
    let read = reads(&members) - before;
    assert!(read < 20.0, "{read} reads for 100 changes");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_with_lower_limits_is_named() {
    let members = Members::start_with(1, "http", |_| vec!["--max-txn-ops=4".into()]);
    let store = members.connect().await;
    let txn = (0..5).fold(Txn::new(), |t, i| t.then(Op::put(format!("k{i}"), "v")));
    let refused = store.txn(txn.clone()).await.unwrap_err();
    assert!(refused.to_string().contains("--max-txn-ops"), "{refused}");
    drop(store);
    let mut options = members.options();
    options.max_txn_ops = 4;
    let store = connect(options).await;
    assert_eq!(store.txn(txn.may_split()).await.unwrap().results.len(), 5);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tls_needs_the_right_authority() {
    let certificates = Certificates::new("unused");
    let members = Members::start_with(1, "https", |dir| certificates.server_args(dir, false));
    let mut options = members.options();
    options.tls = Some(certificates.tls(false));
    let store = connect(options.clone()).await;
    store.put("k", value(1)).await.unwrap();
    assert_eq!(suite::watching::next(&mut store.watch("", 1)).await.events.len(), 1);

    options.request_timeout = Duration::from_secs(1);
    options.tls = Some(Certificates::new("other").tls(false));
    let refused = EtcdStore::connect(options).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
    assert!(refused.to_string().contains("certificate"), "{refused}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn mutual_tls_needs_a_certificate() {
    let certificates = Certificates::new("pergola");
    let members = Members::start_with(1, "https", |dir| certificates.server_args(dir, true));
    let mut options = members.options();
    options.tls = Some(certificates.tls(true));
    let store = connect(options.clone()).await;
    store.put("k", value(1)).await.unwrap();

    options.request_timeout = Duration::from_secs(1);
    options.tls = Some(certificates.tls(false));
    let refused = EtcdStore::connect(options).await.map(|_| ()).unwrap_err();
    assert!(matches!(refused, Error::Unavailable { .. }), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_have_their_site_and_no_more() {
    use etcd_client::{Permission, PermissionType};
    let mut members = Members::start(1);
    drop(members.connect().await);
    let mut admin = etcd_client::Client::connect([members.endpoint(0)], None).await.unwrap();
    admin.user_add("root", "master", None).await.unwrap();
    admin.user_grant_role("root", "root").await.unwrap();
    admin.role_add("site").await.unwrap();
    let permission = Permission::new(PermissionType::Readwrite, "pergola/test/").with_prefix();
    admin.role_grant_permission("site", permission).await.unwrap();
    admin.user_add("office", "secret", None).await.unwrap();
    admin.user_grant_role("office", "site").await.unwrap();
    admin.auth_enable().await.unwrap();

    let user = |name: &str, password: &str| {
        let mut options = members.options();
        options.user = Some((name.into(), password.into()));
        options
    };
    let store: Arc<dyn Store> = Arc::new(connect(user("office", "secret")).await);
    let first = store.put("k", value(1)).await.unwrap();
    let lease = store.grant(Duration::from_secs(60)).await.unwrap();
    store.txn(Txn::new().then(Op::put_leased("l", "1", lease.id))).await.unwrap();
    store.keep_alive(lease.id).await.unwrap();
    assert!(store.status().await.unwrap().revision > first);
    // Keeping history in bounds is within a site's rights.
    store.compact(first).await.unwrap();
    assert_eq!(store.status().await.unwrap().oldest, first + 1);

    let mut elsewhere = user("office", "secret");
    elsewhere.site = "other".into();
    for options in [elsewhere, user("office", "wrong"), members.options()] {
        let what = format!("{options:?}");
        let refused = EtcdStore::connect(options).await.map(|_| ()).unwrap_err();
        assert!(matches!(refused, Error::Unauthorized { .. }), "{what}: {refused:?}");
    }

    // A restarted member has forgotten the token; neither calls nor watches stay away.
    let mut followed = following(&store, "");
    let mut seen = Seen::default();
    seen.until(first, &mut followed).await;
    members.kill(0);
    members.run(0);
    let last = put_through(&*store, "k", value(2)).await;
    seen.until(last, &mut followed).await;
    assert_eq!(seen.batches.last().unwrap(), &(last, value(2)));
}
