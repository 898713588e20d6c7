//! Replicated state behind one trait: embedded for a single node, etcd for a cluster.
//!
//! A [`Store`] is a map from string keys to opaque bytes in which every change has a *revision*.
//! Transactions compare and write atomically; watches deliver every change once, in order, from any
//! revision that is still kept; leases remove keys whose holder went away.
//!
//! - [`EmbeddedStore`]: one file of this process, durable before a transaction answers.
//! - [`EtcdStore`]: an etcd cluster, shared by several controllers.
//! - [`follow`]: a listing and then every change, across disconnects and compaction.
//! - [`BatchWriter`]: folds a storm of observations into few commits.
#![cfg_attr(test, allow(clippy::unwrap_used))]

mod batch;
mod check;
pub mod embedded;
mod error;
pub mod etcd;
mod follow;
pub mod mastership;
pub mod transfer;
mod types;
pub mod upgrade;

use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

pub use batch::{BatchOptions, BatchWriter};
pub use check::MAX_KEY_BYTES;
pub use embedded::EmbeddedStore;
pub use error::{Error, Expected, Result};
pub use etcd::EtcdStore;
pub use follow::{Followed, Piece, follow, follow_in_pieces};
pub use types::{
    Batch, Compare, Entry, Event, Key, Lease, LeaseId, Limits, Listing, Op, OpResult, Page, Query, Relation, Revision,
    Status, Txn, TxnOutcome,
};

/// Batches in order of revision. After the first error the stream ends.
pub type WatchStream = BoxStream<'static, Result<Batch>>;

/// A revisioned key-value map with transactions, watches and leases.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// Reads one key. Linearizable: it sees every write acknowledged before the call.
    async fn get(&self, key: &str) -> Result<Option<Entry>>;

    /// Reads one page of the entries under a prefix, in key order.
    ///
    /// # Errors
    /// `Compacted` or `FutureRevision` if the state at `query.at` is not kept.
    async fn page(&self, query: &Query) -> Result<Page>;

    /// Applies a transaction. When this returns `Ok`, its writes are durable.
    ///
    /// # Errors
    /// A failed compare is no error (`succeeded` is false). `Indeterminate` if the store went away
    /// in the middle; `LeaseNotFound`, `TooLarge`, `Invalid` leave everything as it was.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome>;

    /// Every change under `prefix` from revision `from` on (0 and 1 are the beginning).
    ///
    /// All events of a revision come in one batch. The stream ends after an error: on
    /// `Unavailable` watch again from the last revision seen + 1, on `Compacted` list again.
    /// [`follow`] does both.
    fn watch(&self, prefix: &str, from: Revision) -> WatchStream;

    /// Grants a lease; the store may round the time up.
    async fn grant(&self, ttl: Duration) -> Result<Lease>;

    /// Starts the lease's time anew and returns it.
    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration>;

    /// Ends a lease and removes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<()>;

    /// Forgets history up to and including `revision`. Stores also do this by themselves to keep
    /// history bounded.
    async fn compact(&self, revision: Revision) -> Result<()>;

    /// Revision, size and health. Fails when the store cannot be written.
    async fn status(&self) -> Result<Status>;

    /// What the store takes in one request.
    fn limits(&self) -> Limits;

    /// Everything under a prefix at one revision (the newest, or `at`).
    async fn range(&self, prefix: &str, at: Option<Revision>) -> Result<Listing> {
        let mut query = Query { prefix: prefix.to_owned(), at, ..Query::default() };
        let mut listing = Listing::default();
        loop {
            let page = self.page(&query).await?;
            listing.revision = page.revision;
            listing.entries.extend(page.entries);
            if !page.more {
                return Ok(listing);
            }
            query.at = Some(page.revision);
            query.after = listing.entries.last().map(|entry| entry.key.clone());
        }
    }

    /// Writes a key, whatever it holds.
    async fn put(&self, key: &str, value: Bytes) -> Result<Revision> {
        Ok(self.txn(Txn::new().then(Op::put(key, value))).await?.revision)
    }

    /// Writes a key that must not exist yet, or fails with `Conflict`.
    async fn create(&self, key: &str, value: Bytes) -> Result<Revision> {
        let txn = Txn::new().when(Compare::missing(key)).then(Op::put(key, value));
        conditional(self, key, Expected::Missing, txn).await
    }

    /// Writes a key that must be at mod revision `expected`, or fails with `Conflict`.
    async fn replace(&self, key: &str, value: Bytes, expected: Revision) -> Result<Revision> {
        let txn = Txn::new().when(Compare::at(key, expected)).then(Op::put(key, value));
        conditional(self, key, Expected::At(expected), txn).await
    }

    /// Removes a key; with `expected`, only at that mod revision, else `Conflict`. Without it,
    /// removing a missing key is no error.
    async fn delete(&self, key: &str, expected: Option<Revision>) -> Result<Revision> {
        let txn = Txn::new().then(Op::delete(key));
        match expected {
            None => Ok(self.txn(txn).await?.revision),
            Some(at) => {
                let txn = txn.when(Compare::at(key, at));
                conditional(self, key, Expected::At(at), txn).await
            }
        }
    }
}

async fn conditional<S: Store + ?Sized>(store: &S, key: &str, expected: Expected, txn: Txn) -> Result<Revision> {
    let outcome = store.txn(txn.or_else(Op::get(key))).await?;
    if outcome.succeeded {
        return Ok(outcome.revision);
    }
    let found = match outcome.results.first() {
        Some(OpResult::Got(Some(entry))) => entry.mod_revision,
        _ => 0,
    };
    Err(Error::Conflict { key: key.to_owned(), expected, found })
}
