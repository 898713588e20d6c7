//! Figures of both stores: intents a second, start from 250,000 keys, time from a write to a watch.
//!
//! Starts Debian's etcd on loopback, one member; without it only the embedded store is measured.
#![allow(clippy::print_stdout, clippy::unwrap_used)]

use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::StreamExt;
use pergola_store::etcd::EtcdOptions;
use pergola_store::{BatchOptions, BatchWriter, Compare, EmbeddedStore, EtcdStore, Followed, Op, Store, Txn, follow};

const CLIENTS: usize = 64;
const KEYS: usize = 250_000;

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("store.redb");
        let store = Arc::new(EmbeddedStore::open(&path, Default::default()).unwrap());
        measure("embedded", store.clone()).await;
        let began = Instant::now();
        fill(&*store).await;
        report("embedded", "fill 250,000 keys", began.elapsed());
        let size = store.status().await.unwrap().size_bytes;
        println!("embedded: file of {} MB", size >> 20);
        drop(store);
        let began = Instant::now();
        let store = Arc::new(EmbeddedStore::open(&path, Default::default()).unwrap());
        report("embedded", "open with 250,000 keys", began.elapsed());
        start("embedded", store.clone()).await;
        drop(store);
        after_a_crash(&path).await;

        let Some((etcd, options)) = start_etcd(dir.path()) else {
            println!("etcd: not installed (Debian package etcd-server)");
            return;
        };
        let store = loop {
            match EtcdStore::connect(options.clone()).await {
                Ok(store) => break Arc::new(store),
                Err(error) => assert!(error.is_retryable(), "{error}"),
            }
        };
        measure("etcd", store.clone()).await;
        let began = Instant::now();
        fill(&*store).await;
        report("etcd", "fill 250,000 keys", began.elapsed());
        let began = Instant::now();
        let store = Arc::new(EtcdStore::connect(options).await.unwrap());
        report("etcd", "connect", began.elapsed());
        start("etcd", store).await;
        drop(etcd);
    });
}

fn report(store: &str, what: &str, took: Duration) {
    println!("{store}: {what}: {:.1} ms", took.as_secs_f64() * 1e3);
}

/// An intent as a person makes one: a value of 300 bytes under a compare.
async fn intents(store: Arc<dyn Store>, clients: usize, each: usize) -> f64 {
    let began = Instant::now();
    let tasks: Vec<_> = (0..clients)
        .map(|client| {
            let store = store.clone();
            tokio::spawn(async move {
                for i in 0..each {
                    let key = format!("intent/{client:03}/{i:05}");
                    let txn = Txn::new().when(Compare::missing(key.as_str())).then(Op::put(key, vec![b'x'; 300]));
                    assert!(store.txn(txn).await.unwrap().succeeded);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    let rate = (clients * each) as f64 / began.elapsed().as_secs_f64();
    store.txn(Txn::new().then(Op::delete_prefix("intent/"))).await.unwrap();
    rate
}

async fn measure(name: &str, store: Arc<dyn Store>) {
    let alone = intents(store.clone(), 1, 300).await;
    println!("{name}: intents with 1 client: {alone:.0}/s");
    let rate = intents(store.clone(), CLIENTS, 200).await;
    println!("{name}: intents with {CLIENTS} clients: {rate:.0}/s");

    let writer = BatchWriter::spawn(store.clone(), BatchOptions::default());
    let began = Instant::now();
    for host in 0..10_000 {
        writer.put(format!("host/{host:05}"), vec![b'h'; 120]).unwrap();
    }
    writer.flush().await.unwrap();
    report(name, "10,000 hosts learned", began.elapsed());
    println!("{name}: commits for them: {}", writer.commits());

    let mut watch = store.watch("one/", store.status().await.unwrap().revision + 1);
    let mut times = Vec::new();
    for i in 0..300 {
        let began = Instant::now();
        store.put("one/change", Bytes::from(i.to_string())).await.unwrap();
        while watch.next().await.unwrap().unwrap().events.is_empty() {}
        times.push(began.elapsed());
    }
    times.sort_unstable();
    report(name, "write to watch, median", times[times.len() / 2]);
    report(name, "write to watch, 99th percentile", times[times.len() * 99 / 100]);
}

async fn fill(store: &dyn Store) {
    let mut txn = Txn::new().may_split();
    for i in 0..KEYS {
        txn = txn.then(Op::put(format!("observation/{i:06}"), vec![b'o'; 200]));
        if txn.ops.len() == 10_000 {
            store.txn(std::mem::take(&mut txn).may_split()).await.unwrap();
            txn.may_split = true;
        }
    }
}

async fn start(name: &str, store: Arc<dyn Store>) {
    let began = Instant::now();
    let mut followed = follow(store, "");
    let Some(Followed::Snapshot(listing)) = followed.next().await else { panic!("no snapshot") };
    report(name, &format!("read {} entries", listing.entries.len()), began.elapsed());
}

/// Opens a copy of the file as a killed process would have left it.
async fn after_a_crash(path: &Path) {
    let copy = path.with_extension("crashed");
    let store = EmbeddedStore::open(path, Default::default()).unwrap();
    store.put("last", Bytes::new()).await.unwrap();
    std::fs::copy(path, &copy).unwrap();
    drop(store);
    let began = Instant::now();
    let store = EmbeddedStore::open(&copy, Default::default()).unwrap();
    report("embedded", "open with 250,000 keys after a crash", began.elapsed());
    assert!(store.get("last").await.unwrap().is_some());
}

struct Etcd(Child);

impl Drop for Etcd {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

fn start_etcd(dir: &Path) -> Option<(Etcd, EtcdOptions)> {
    let held: Vec<_> = (0..2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let url = |i: usize| format!("http://{}", held[i].local_addr().unwrap());
    let (client, peer) = (url(0), url(1));
    drop(held);
    let child = Command::new("etcd")
        .args(["--data-dir", dir.join("etcd").to_str().unwrap(), "--log-level", "error"])
        .args(["--logger", "zap", "--initial-cluster", &format!("default={peer}")])
        .args(["--listen-client-urls", &client, "--advertise-client-urls", &client])
        .args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .ok()?;
    let mut options = EtcdOptions::new([client], "bench");
    options.allow_plaintext = true;
    options.request_timeout = Duration::from_secs(10);
    Some((Etcd(child), options))
}
