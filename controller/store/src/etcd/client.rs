//! Calls with a deadline, on one member at a time.
//!
//! A balancing channel spreads calls over all members, and a frozen one then keeps getting its
//! share. Here all calls go to one member until it fails, and then to the next.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use etcd_client::{ConnectOptions, GetOptions, KvClient, LeaseClient, MaintenanceClient, WatchClient};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use super::convert::{Names, signed};
use super::fault::{self, Call, Fault};
use super::options::EtcdOptions;
use crate::{Error, Result, Revision};

/// Answers can hold a page of the largest values.
const ANSWER_BYTES: usize = i32::MAX as usize;

/// What calls and watches need; cheap to clone.
#[derive(Clone)]
pub(super) struct Client {
    members: Arc<[Member]>,
    /// The member that calls go to.
    current: Arc<AtomicUsize>,
    pub(super) names: Arc<Names>,
    pub(super) request_timeout: Duration,
}

struct Member {
    url: String,
    options: ConnectOptions,
    connected: OnceCell<Connected>,
}

/// One member's services.
#[derive(Clone)]
pub(super) struct Connected {
    pub(super) kv: KvClient,
    pub(super) watch: WatchClient,
    pub(super) lease: LeaseClient,
    pub(super) maintenance: MaintenanceClient,
}

impl Member {
    /// The member's services; the first call makes the connection and authenticates. Afterwards
    /// the connection renews itself.
    async fn connected(&self) -> Result<Connected, etcd_client::Error> {
        let connect = || async {
            let options = Some(self.options.clone());
            let client = etcd_client::Client::connect([&self.url], options).await?;
            Ok(Connected {
                kv: client.kv_client().max_decoding_message_size(ANSWER_BYTES),
                watch: client.watch_client().max_decoding_message_size(ANSWER_BYTES),
                lease: client.lease_client(),
                maintenance: client.maintenance_client(),
            })
        };
        self.connected.get_or_try_init(connect).await.cloned()
    }
}

impl Client {
    pub(super) fn new(options: &EtcdOptions) -> Result<Self> {
        let connect = options.connect_options();
        let member = |url| Member { url, options: connect.clone(), connected: OnceCell::new() };
        let members: Arc<[Member]> = options.urls()?.into_iter().map(member).collect();
        // The nodes of a cluster begin at different members.
        let start = std::process::id() as usize % members.len();
        Ok(Self {
            members,
            current: Arc::new(AtomicUsize::new(start)),
            names: Arc::new(Names::new(&options.prefix()?)),
            request_timeout: options.request_timeout,
        })
    }

    pub(super) fn endpoints(&self) -> String {
        self.members.iter().map(|m| &*m.url).collect::<Vec<_>>().join(", ")
    }

    /// The member that calls go to now, for `leave`.
    pub(super) fn current(&self) -> usize {
        self.current.load(Ordering::Relaxed)
    }

    /// Goes on to the next member, unless somebody already did.
    pub(super) fn leave(&self, failed: usize) {
        let next = (failed + 1) % self.members.len();
        let relaxed = Ordering::Relaxed;
        if next != failed && self.current.compare_exchange(failed, next, relaxed, relaxed).is_ok() {
            let (from, to) = (&self.members[failed].url, &self.members[next].url);
            tracing::debug!(%from, %to, "using another etcd member");
        }
    }

    /// The services of the present member.
    pub(super) async fn connected(&self) -> Result<Connected> {
        let connected = self.members[self.current()].connected().await;
        connected.map_err(|e| fault::translate(e, Call::Read).error)
    }

    /// Runs a request until it is answered, refused, or the deadline is over.
    pub(super) async fn call<T, F>(&self, call: Call, request: impl Fn(Connected) -> F) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        // A read is given to another member when one is silent.
        let attempt = match call {
            Call::Read => self.request_timeout / 4,
            Call::Write => self.request_timeout,
        };
        self.call_within(call, attempt, request).await
    }

    /// As `call`, waiting for one member no longer than `attempt`.
    pub(super) async fn call_within<T, F>(
        &self,
        call: Call,
        attempt: Duration,
        request: impl Fn(Connected) -> F,
    ) -> Result<T>
    where
        F: Future<Output = Result<T, etcd_client::Error>>,
    {
        let deadline = Instant::now() + self.request_timeout;
        let mut pause = Duration::from_millis(10);
        loop {
            let member = self.current();
            let until = (Instant::now() + attempt).min(deadline);
            let answer = tokio::time::timeout_at(until, async {
                let connected = self.members[member].connected().await;
                let connected = connected.map_err(|e| Fault { unsent: true, ..fault::translate(e, Call::Read) })?;
                request(connected).await.map_err(|e| fault::translate(e, call))
            });
            let Fault { error, unsent } = match answer.await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err(fault)) => fault,
                Err(_) => {
                    let reason = format!("no answer from {} in time", self.members[member].url);
                    Fault { error: fault::lost(&reason, call), unsent: false }
                }
            };
            if !matches!(error, Error::Unavailable { .. } | Error::Indeterminate { .. }) {
                return Err(error);
            }
            self.leave(member);
            let again = unsent || call == Call::Read;
            if !again || Instant::now() + pause >= deadline {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(200));
        }
    }

    /// The cluster's present revision, agreed by its majority.
    pub(super) async fn revision(&self) -> Result<Revision> {
        let answer = self.call(Call::Read, |mut etcd| {
            // The user's rights end at the site, so the question is about a key in it.
            let key = self.names.full("");
            async move { etcd.kv.get(key, Some(GetOptions::new().with_keys_only())).await }
        });
        header_revision(answer.await?.header())
    }

    pub(super) async fn compact(&self, revision: Revision) -> Result<()> {
        // Compacting twice is compacting once.
        let answer = self.call(Call::Read, |mut etcd| async move {
            match etcd.kv.compact(signed(revision), None).await {
                // Somebody else was quicker, or went further.
                Err(etcd_client::Error::GRpcStatus(s)) if s.message().contains("compacted") => Ok(true),
                Err(etcd_client::Error::GRpcStatus(s)) if s.message().contains("future") => Ok(false),
                other => other.map(|_| true),
            }
        });
        if answer.await? {
            return Ok(());
        }
        let current = self.revision().await?;
        Err(Error::FutureRevision { requested: revision, current })
    }
}

pub(super) fn header_revision(header: Option<&etcd_client::ResponseHeader>) -> Result<Revision> {
    let header = header.ok_or_else(|| Error::corrupt("an etcd answer without a header"))?;
    Ok(header.revision() as u64)
}
