//! A store whose connection the test can cut.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::StreamExt;
use futures::stream;
use pergola_store::{
    Entry, Error, Lease, LeaseId, Limits, Page, Query, Result, Revision, Status, Store, Txn, TxnOutcome, WatchStream,
};
use tokio::sync::watch;

pub struct Cuttable {
    inner: Arc<dyn Store>,
    away: AtomicBool,
    /// Watches opened before the newest number are broken.
    cuts: watch::Sender<u64>,
    /// How often anything was refused.
    pub refused: AtomicU64,
}

impl Cuttable {
    pub fn new(inner: Arc<dyn Store>) -> Arc<Self> {
        let cuts = watch::Sender::new(0);
        Arc::new(Self { inner, away: AtomicBool::new(false), cuts, refused: AtomicU64::new(0) })
    }

    /// Breaks every watch. They can be opened again at once.
    pub fn cut(&self) {
        self.cuts.send_modify(|cuts| *cuts += 1);
    }

    /// Breaks every watch and refuses everything until `mend`.
    pub fn away(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub fn mend(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    fn here(&self) -> Result<&dyn Store> {
        if self.away.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(gone());
        }
        Ok(&*self.inner)
    }
}

fn gone() -> Error {
    Error::Unavailable { reason: "the test cut the connection".into() }
}

#[async_trait::async_trait]
impl Store for Cuttable {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        self.here()?.get(key).await
    }

    async fn page(&self, query: &Query) -> Result<Page> {
        self.here()?.page(query).await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        self.here()?.txn(txn).await
    }

    fn watch(&self, prefix: &str, from: Revision) -> WatchStream {
        let inner = match self.here() {
            Ok(store) => store.watch(prefix, from),
            Err(error) => return stream::iter([Err(error)]).boxed(),
        };
        let state = Some((inner, self.cuts.subscribe()));
        stream::unfold(state, |state| async {
            let (mut inner, mut cuts) = state?;
            let next = tokio::select! {
                biased;
                _ = cuts.changed() => return Some((Err(gone()), None)),
                next = inner.next() => next?,
            };
            Some((next, Some((inner, cuts))))
        })
        .boxed()
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        self.here()?.grant(ttl).await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        self.here()?.keep_alive(lease).await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.here()?.revoke(lease).await
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.here()?.compact(revision).await
    }

    async fn status(&self) -> Result<Status> {
        self.here()?.status().await
    }

    fn limits(&self) -> Limits {
        self.inner.limits()
    }
}
