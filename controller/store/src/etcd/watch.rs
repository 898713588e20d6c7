//! One watch on etcd, until its first error.
//!
//! etcd needs some care here (seen with 3.4):
//! - A delete at exactly the compacted revision is forgotten, and yet a watch from there is taken.
//!   So a watch begins one revision early, which is refused when anything it needs is gone.
//! - The answer to a progress request may name a revision whose events are still on their way. It
//!   proves that the member lives, and nothing else.
//! - A watch does not ask for previous values. etcd 3.4 reads each on its own, and every read copies the buffer of what is
//!   not in its file yet, which stays as large as it ever was: where 4,000 keys were written at once, 0.7 ms an event.
//! - After a restore from a backup the cluster is behind the watcher and would stay silent for
//!   long. The watcher compares before it opens.

use std::collections::VecDeque;
use std::time::Duration;

use etcd_client::{GetOptions, WatchOptions, WatchResponse, WatchResponseStream};
use futures::StreamExt;
use futures::stream;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::client::Client;
use super::convert::signed;
use super::fault::{self, Call};
use crate::{Batch, Error, Result, Revision, WatchStream};

/// How often a silent member is asked for a sign of life, and how long it may take to give one.
const ASK_EVERY: Duration = Duration::from_secs(1);
const SILENT_FOR: Duration = Duration::from_secs(4);

pub(super) fn watch(client: Client, prefix: &str, from: Revision) -> WatchStream {
    let from = from.max(1);
    let watcher = Watcher { client, prefix: prefix.to_owned(), from, state: State::Closed };
    stream::unfold(watcher, |mut watcher| async move {
        if matches!(watcher.state, State::Failed) {
            return None;
        }
        let next = watcher.next().await;
        if let Err(error) = &next {
            if let (State::Open(open), Error::Unavailable { .. }) = (&watcher.state, error) {
                watcher.client.leave(open.member);
            }
            watcher.state = State::Failed;
        }
        Some((next, watcher))
    })
    .boxed()
}

struct Watcher {
    client: Client,
    prefix: String,
    /// The first revision not handed out yet.
    from: Revision,
    state: State,
}

enum State {
    Closed,
    Open(Box<Open>),
    Failed,
}

struct Open {
    member: usize,
    requests: etcd_client::WatchRequestSender,
    answers: WatchResponseStream,
    heard: Instant,
    ask: Interval,
    ready: VecDeque<Batch>,
}

impl Watcher {
    async fn next(&mut self) -> Result<Batch> {
        loop {
            let open = match &mut self.state {
                State::Open(open) => open,
                _ => {
                    self.state = State::Open(Box::new(self.open().await?));
                    continue;
                }
            };
            if let Some(batch) = open.ready.pop_front() {
                self.from = batch.revision + 1;
                return Ok(batch);
            }
            tokio::select! {
                answer = open.answers.message() => {
                    let answer = answer
                        .map_err(|e| fault::translate(e, Call::Read).error)?
                        .ok_or_else(|| Error::unavailable("etcd ended the watch"))?;
                    open.heard = Instant::now();
                    open.ready = self.client.batches(&answer, self.from)?;
                }
                _ = open.ask.tick() => {
                    let silent = open.heard.elapsed();
                    if silent > SILENT_FOR {
                        let reason = format!("the etcd member is silent for {silent:.1?}");
                        return Err(Error::unavailable(reason));
                    }
                    if silent >= ASK_EVERY {
                        open.requests
                            .request_progress()
                            .await
                            .map_err(|e| fault::translate(e, Call::Read).error)?;
                    }
                }
            }
        }
    }

    async fn open(&self) -> Result<Open> {
        // This also renews an authentication token that a restarted member no longer knows.
        let now = self.client.revision().await?;
        if now + 1 < self.from {
            tracing::warn!(now, from = self.from, "etcd is at an older revision than before");
            return Err(Error::Compacted { requested: self.from, oldest: now + 1 });
        }
        let options = WatchOptions::new()
            .with_prefix()
            .with_progress_notify()
            .with_start_revision(signed(self.from.saturating_sub(1).max(1)));
        let key = self.client.names.full(&self.prefix);
        let member = self.client.current();
        let mut etcd = self.client.connected().await?;
        let open = etcd.watch.watch(key, Some(options));
        let opened = tokio::time::timeout(self.client.request_timeout, open)
            .await
            .map_err(|_| Error::unavailable("etcd does not open a watch"))?;
        let stream = opened.map_err(|e| fault::translate(e, Call::Read).error)?;
        let (requests, answers) = stream.split();
        let mut ask = tokio::time::interval(ASK_EVERY);
        ask.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let (heard, ready) = (Instant::now(), VecDeque::new());
        Ok(Open { member, requests, answers, heard, ask, ready })
    }
}

impl Client {
    /// The batches in an answer, each a whole revision, from `from` on.
    fn batches(&self, answer: &WatchResponse, from: Revision) -> Result<VecDeque<Batch>> {
        if answer.canceled() {
            return Err(canceled(answer, from));
        }
        let mut batches: VecDeque<Batch> = VecDeque::new();
        for event in answer.events() {
            let (revision, event) = self.names.event(event)?;
            if revision < from {
                continue;
            }
            match batches.back_mut() {
                Some(batch) if batch.revision == revision => batch.events.push(event),
                _ => batches.push_back(Batch { revision, events: vec![event] }),
            }
        }
        for batch in &mut batches {
            batch.events.sort_by(|a, b| a.key().cmp(b.key()));
        }
        // Unasked progress of this watch (not of the whole stream, id -1) is in order with events.
        let progress = answer.events().is_empty() && !answer.created() && answer.watch_id() >= 0;
        if let Some(header) = answer.header().filter(|_| progress) {
            let revision = header.revision() as u64;
            if revision >= from {
                batches.push_back(Batch { revision, events: Vec::new() });
            }
        }
        Ok(batches)
    }
}

fn canceled(answer: &WatchResponse, from: Revision) -> Error {
    let compacted = answer.compact_revision();
    let reason = answer.cancel_reason();
    if compacted > 0 {
        Error::Compacted { requested: from, oldest: compacted as u64 + 1 }
    } else if reason.contains("compacted") {
        Error::Compacted { requested: from, oldest: from + 1 }
    } else if ["permission denied", "auth token", "user name is empty"].iter().any(|text| reason.contains(text)) {
        Error::Unauthorized { reason: format!("etcd: {reason}") }
    } else {
        Error::unavailable(format!("etcd canceled the watch: {reason}"))
    }
}

impl Client {
    /// The newest compacted revision, 0 if there is none. etcd tells it only to a watch that
    /// begins too early.
    pub(super) async fn compacted(&self) -> Result<Revision> {
        let first = self.call(Call::Read, |mut etcd| {
            let key = self.names.full("");
            async move {
                match etcd.kv.get(key, Some(GetOptions::new().with_revision(1))).await {
                    Err(etcd_client::Error::GRpcStatus(status)) if status.code() == tonic::Code::OutOfRange => {
                        Ok(status.message().contains("compacted"))
                    }
                    other => other.map(|_| false),
                }
            }
        });
        if !first.await? {
            return Ok(0);
        }
        let mut first = watch(self.clone(), "", 1);
        match tokio::time::timeout(self.request_timeout, first.next()).await {
            Ok(Some(Err(Error::Compacted { oldest, .. }))) => Ok(oldest - 1),
            Ok(Some(Err(error))) => Err(error),
            Ok(_) => Err(Error::corrupt("etcd shows a history that it said was compacted")),
            Err(_) => Err(Error::unavailable("etcd does not open a watch")),
        }
    }
}
