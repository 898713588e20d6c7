//! The store of a cluster: etcd, below `pergola/SITE/k/`.
//!
//! Every call has a deadline. A request that reached no server is sent again, to another member
//! where there is one, until the deadline; so is a read that got no answer. A write that got no
//! answer is `Indeterminate` and is left to the caller.

mod client;
mod convert;
mod fault;
mod options;
mod watch;

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use etcd_client::{GetOptions, PutOptions};
use parking_lot::Mutex;
use tokio::task::AbortHandle;

use self::client::{Client, header_revision};
use self::convert::{seconds, signed};
use self::fault::Call;
pub use self::options::{EtcdHistory, EtcdOptions, EtcdTls};
use crate::check::prefix_end;
use crate::{
    Entry, Error, Lease, LeaseId, Limits, Op, Page, Query, Result, Revision, Status, Store, Txn, TxnOutcome,
    WatchStream, check,
};

/// Entries in a page when the caller leaves the choice to the store. etcd 3.4 counts all that is left
/// for every page, so pages are few.
const PAGE: usize = 20_000;

/// A store on an etcd cluster.
pub struct EtcdStore {
    client: Client,
    limits: Limits,
    max_txn_ops: usize,
    /// Granted times, to answer `keep_alive` with.
    ttls: Mutex<HashMap<LeaseId, Duration>>,
    compactor: Option<AbortHandle>,
}

impl EtcdStore {
    /// Connects, and reads once so that wrong addresses, certificates and passwords show here.
    ///
    /// # Errors
    /// `Invalid` for options that make no sense, `Unavailable` when no member answers,
    /// `Unauthorized` when the user may not read the site.
    pub async fn connect(options: EtcdOptions) -> Result<Self> {
        let client = Client::new(&options)?;
        client.revision().await?;
        let compactor = (!options.history.check_every.is_zero())
            .then(|| tokio::spawn(keep_compact(client.clone(), options.history)).abort_handle());
        Ok(Self {
            client,
            limits: options.limits(),
            max_txn_ops: options.max_txn_ops,
            ttls: Mutex::default(),
            compactor,
        })
    }

    async fn part(&self, txn: &Txn, ops: &[Op]) -> Result<TxnOutcome> {
        let names = &self.client.names;
        let request = names.txn(&txn.compares, ops, &txn.otherwise, self.max_txn_ops);
        let reads = |op: &Op| matches!(op, Op::Get { .. });
        let call = match ops.iter().chain(&txn.otherwise).all(reads) {
            true => Call::Read,
            false => Call::Write,
        };
        let leases: Vec<_> = ops.iter().chain(&txn.otherwise).filter_map(lease_of).collect();
        let answer = self.client.call(call, |mut etcd| {
            let request = request.clone();
            async move { etcd.kv.txn(request).await }
        });
        let answer = match answer.await {
            // etcd does not say which lease; if there is but one it is that.
            Err(Error::LeaseNotFound { .. }) => return Err(self.gone(&leases).await),
            other => other?,
        };
        let succeeded = answer.succeeded();
        let ran = if succeeded { ops } else { &txn.otherwise[..] };
        let results = names.results(ran, answer.op_responses())?;
        Ok(TxnOutcome { revision: header_revision(answer.header())?, succeeded, results })
    }

    async fn gone(&self, leases: &[LeaseId]) -> Error {
        for lease in leases {
            if let Err(error @ Error::LeaseNotFound { .. }) = self.time_to_live(*lease).await {
                return error;
            }
        }
        let lease = leases.first().copied().unwrap_or(LeaseId(0));
        Error::LeaseNotFound { lease }
    }

    /// The granted time of a lease that is alive.
    async fn time_to_live(&self, lease: LeaseId) -> Result<Duration> {
        let answer =
            self.client.call(Call::Read, |mut etcd| async move { etcd.lease.time_to_live(lease.0, None).await });
        let answer = answer.await.map_err(|e| name_lease(e, lease))?;
        if answer.ttl() <= 0 {
            return Err(Error::LeaseNotFound { lease });
        }
        Ok(Duration::from_secs(answer.granted_ttl().unsigned_abs()))
    }
}

impl Drop for EtcdStore {
    fn drop(&mut self) {
        if let Some(compactor) = &self.compactor {
            compactor.abort();
        }
    }
}

#[async_trait]
impl Store for EtcdStore {
    async fn get(&self, key: &str) -> Result<Option<Entry>> {
        check::key(key)?;
        let answer = self.client.call(Call::Read, |mut etcd| {
            let key = self.client.names.full(key);
            async move { etcd.kv.get(key, None).await }
        });
        let kv = answer.await?.take_kvs().into_iter().next();
        kv.map(|kv| self.client.names.entry(kv)).transpose()
    }

    async fn page(&self, query: &Query) -> Result<Page> {
        check::at(query.at)?;
        let names = &self.client.names;
        let limit = if query.limit == 0 { PAGE } else { query.limit };
        let mut from = names.full(&query.prefix);
        let end = prefix_end(&from).ok_or_else(|| Error::invalid("the prefix has no end"))?;
        if let Some(after) = query.after.as_ref().filter(|after| ***after >= *query.prefix) {
            from = names.full(after);
            from.push(0);
        }
        let options = GetOptions::new()
            .with_range(end)
            .with_limit(i64::try_from(limit).unwrap_or(i64::MAX))
            .with_revision(signed(query.at.unwrap_or(0)));
        let answer = self.client.call(Call::Read, |mut etcd| {
            let (from, options) = (from.clone(), options.clone());
            async move {
                match etcd.kv.get(from, Some(options)).await {
                    Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::OutOfRange => {
                        Ok(Err(status.message().contains("compacted")))
                    }
                    other => other.map(Ok),
                }
            }
        });
        let requested = query.at.unwrap_or(0);
        let mut answer = match answer.await? {
            Ok(answer) => answer,
            Err(true) => {
                return Err(Error::Compacted { requested, oldest: self.client.compacted().await? });
            }
            Err(false) => {
                let current = self.client.revision().await?;
                return Err(Error::FutureRevision { requested, current });
            }
        };
        let now = header_revision(answer.header())?;
        let more = answer.more();
        let entries = answer.take_kvs().into_iter().map(|kv| names.entry(kv));
        let entries = entries.collect::<Result<Vec<_>>>()?;
        Ok(Page { revision: query.at.unwrap_or(now), entries, more })
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome> {
        check::txn(&txn, &self.limits)?;
        let mut outcome: Option<TxnOutcome> = None;
        for ops in parts(&txn, &self.limits) {
            let part = self.part(&txn, ops).await?;
            match &mut outcome {
                Some(whole) if part.succeeded => {
                    whole.revision = part.revision;
                    whole.results.extend(part.results);
                }
                _ => outcome = Some(part),
            }
            if outcome.as_ref().is_some_and(|o| !o.succeeded) {
                break;
            }
        }
        outcome.ok_or_else(|| Error::invalid("an empty transaction"))
    }

    fn watch(&self, prefix: &str, from: Revision) -> WatchStream {
        watch::watch(self.client.clone(), prefix, from)
    }

    async fn grant(&self, ttl: Duration) -> Result<Lease> {
        // A lease whose answer was lost just ends, so trying again does no harm.
        let answer = self.client.call(Call::Read, |mut etcd| async move { etcd.lease.grant(seconds(ttl), None).await });
        let answer = answer.await?;
        let ttl = Duration::from_secs(answer.ttl().unsigned_abs());
        let lease = Lease { id: LeaseId(answer.id()), ttl };
        self.ttls.lock().insert(lease.id, ttl);
        Ok(lease)
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<Duration> {
        let known = self.ttls.lock().get(&lease).copied();
        // There must be time for another member when this one is silent.
        let attempt = known.unwrap_or(self.client.request_timeout) / 4;
        let answer = self.client.call_within(Call::Read, attempt, |mut etcd| async move {
            etcd.lease.keep_alive(lease.0).await.map(|_| ())
        });
        if let Err(error) = answer.await {
            if matches!(error, Error::LeaseNotFound { .. }) {
                self.ttls.lock().remove(&lease);
            }
            return Err(name_lease(error, lease));
        }
        match known {
            Some(ttl) => Ok(ttl),
            None => {
                let ttl = self.time_to_live(lease).await?;
                self.ttls.lock().insert(lease, ttl);
                Ok(ttl)
            }
        }
    }

    async fn revoke(&self, lease: LeaseId) -> Result<()> {
        self.ttls.lock().remove(&lease);
        let answer = self.client.call(Call::Write, |mut etcd| async move { etcd.lease.revoke(lease.0).await });
        answer.await.map(|_| ()).map_err(|e| name_lease(e, lease))
    }

    async fn compact(&self, revision: Revision) -> Result<()> {
        self.client.compact(revision).await
    }

    async fn status(&self) -> Result<Status> {
        let revision = self.client.revision().await?;
        let oldest = self.client.compacted().await? + 1;
        // A user of one site may not ask for more than that.
        let status = self.client.call(Call::Read, |mut etcd| async move { etcd.maintenance.status().await });
        let (size_bytes, version) = match status.await {
            Ok(status) => (status.db_size().unsigned_abs(), status.version().to_owned()),
            _ => (0, "unknown".to_owned()),
        };
        let detail = format!("etcd {version}, {}, {}", self.client.endpoints(), self.client.names.data);
        Ok(Status { revision, oldest, size_bytes, detail })
    }

    fn limits(&self) -> Limits {
        self.limits
    }
}

/// The operations in as few parts as the limits allow; one part unless a split is permitted.
fn parts<'t>(txn: &'t Txn, limits: &Limits) -> Vec<&'t [Op]> {
    if !txn.may_split || txn.ops.is_empty() {
        return vec![&txn.ops];
    }
    let fixed = Txn { ops: Vec::new(), ..txn.clone() }.size_bytes();
    let mut parts = Vec::new();
    let (mut start, mut bytes) = (0, fixed);
    for (i, op) in txn.ops.iter().enumerate() {
        let size = op.size_bytes();
        let full = i - start == limits.max_ops || bytes + size > limits.max_request_bytes;
        if full && i > start {
            parts.push(&txn.ops[start..i]);
            (start, bytes) = (i, fixed);
        }
        bytes += size;
    }
    parts.push(&txn.ops[start..]);
    parts
}

fn lease_of(op: &Op) -> Option<LeaseId> {
    match op {
        Op::Put { lease, .. } => *lease,
        _ => None,
    }
}

fn name_lease(error: Error, lease: LeaseId) -> Error {
    match error {
        Error::LeaseNotFound { .. } => Error::LeaseNotFound { lease },
        other => other,
    }
}

/// Compacts now and then. All nodes run this; the one whose compare on the compaction key holds
/// does the work, so there is no leader to lose.
async fn keep_compact(client: Client, history: EtcdHistory) {
    let mut ticks = tokio::time::interval(history.check_every);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match compact_once(&client, &history).await {
            Ok(Some(upto)) => tracing::info!(upto, "compacted etcd's history"),
            Ok(None) => {}
            Err(error) => tracing::warn!(%error, "etcd's history was not compacted"),
        }
    }
}

async fn compact_once(client: &Client, history: &EtcdHistory) -> Result<Option<Revision>> {
    let key = format!("{}compaction", client.names.own);
    let answer = client.call(Call::Read, |mut etcd| {
        let key = key.clone();
        async move { etcd.kv.get(key, None).await }
    });
    let answer = answer.await?;
    let now = header_revision(answer.header())?;
    let last = answer.kvs().first();
    let compacted = last.and_then(|kv| kv.value_str().ok()?.parse::<u64>().ok()).unwrap_or(0);
    let upto = now.saturating_sub(history.max_revisions);
    // Half as much again may collect, so that compactions are few.
    if upto <= compacted + history.max_revisions / 2 {
        return Ok(None);
    }
    let seen = last.map_or(0, |kv| kv.mod_revision());
    let guard = etcd_client::Compare::mod_revision(&*key, etcd_client::CompareOp::Equal, seen);
    let put = etcd_client::TxnOp::put(&*key, upto.to_string(), None::<PutOptions>);
    let mine = etcd_client::Txn::new().when([guard]).and_then([put]);
    let answer = client.call(Call::Write, |mut etcd| {
        let mine = mine.clone();
        async move { etcd.kv.txn(mine).await }
    });
    if !answer.await?.succeeded() {
        return Ok(None);
    }
    client.compact(upto).await?;
    Ok(Some(upto))
}
