//! Watches: the newest batches from memory, older ones from the log.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};

use futures::StreamExt;
use futures::stream;
use parking_lot::RwLock;
use redb::Database;
use tokio::sync::watch;

use super::read;
use super::tables::check_kept;
use crate::{Batch, Error, Result, Revision, WatchStream};

/// Events kept in memory for watches that are up to date.
const RECENT_EVENTS: usize = 4096;
/// Events read from the log at a time.
const CHUNK: usize = 1024;

/// The newest batches, without gaps.
#[derive(Default)]
pub(super) struct Recent {
    batches: VecDeque<Arc<Batch>>,
    events: usize,
}

impl Recent {
    pub(super) fn push(&mut self, batch: Arc<Batch>) {
        self.events += batch.events.len();
        self.batches.push_back(batch);
        while self.events > RECENT_EVENTS && self.batches.len() > 1 {
            let gone = self.batches.pop_front().map_or(0, |batch| batch.events.len());
            self.events -= gone;
        }
    }

    /// The batch of this revision, if it is still here.
    fn get(&self, revision: Revision) -> Option<Arc<Batch>> {
        let first = self.batches.front()?.revision;
        let index = usize::try_from(revision.checked_sub(first)?).ok()?;
        self.batches.get(index).cloned()
    }
}

/// Where a store stands, for its watches.
#[derive(Debug, Clone, Copy)]
pub(super) struct Tip {
    pub(super) revision: Revision,
    pub(super) compacted: Revision,
}

struct Watcher {
    prefix: String,
    next: Revision,
    db: Weak<Database>,
    recent: Weak<RwLock<Recent>>,
    tip: watch::Receiver<Tip>,
    /// Read from the log, not handed out yet.
    ready: VecDeque<Batch>,
    failed: bool,
}

pub(super) fn watch(
    prefix: &str,
    from: Revision,
    db: Weak<Database>,
    recent: Weak<RwLock<Recent>>,
    tip: watch::Receiver<Tip>,
) -> WatchStream {
    let prefix = prefix.to_owned();
    let ready = VecDeque::new();
    let watcher = Watcher { prefix, next: from, db, recent, tip, ready, failed: false };
    stream::unfold(watcher, |mut watcher| async move {
        if watcher.failed {
            return None;
        }
        let next = watcher.next().await;
        watcher.failed = next.is_err();
        Some((next, watcher))
    })
    .boxed()
}

impl Watcher {
    async fn next(&mut self) -> Result<Batch> {
        loop {
            if let Some(batch) = self.ready.pop_front() {
                return Ok(batch);
            }
            let tip = *self.tip.borrow_and_update();
            if self.next <= 1 {
                // Revision 1 is the empty store: "from the beginning" needs a history without gap.
                check_kept(1, tip.compacted)?;
                self.next = 2;
            }
            check_kept(self.next, tip.compacted)?;
            if self.next > tip.revision {
                self.tip.changed().await.map_err(|_| closed())?;
                continue;
            }
            let recent = self.recent.upgrade().ok_or_else(closed)?;
            let found = recent.read().get(self.next);
            match found {
                Some(batch) => {
                    self.next += 1;
                    self.ready.extend(under(&self.prefix, &batch));
                    // Progress counts: long quiet prefixes must not fall behind the history.
                }
                None => {
                    let db = self.db.upgrade().ok_or_else(closed)?;
                    let (batches, upto) = read::history(&db, &self.prefix, self.next, CHUNK)?;
                    self.ready.extend(batches);
                    self.next = upto + 1;
                }
            }
        }
    }
}

/// What of a batch lies under the prefix.
fn under(prefix: &str, batch: &Batch) -> Option<Batch> {
    let events: Vec<_> = batch.events.iter().filter(|event| event.key().starts_with(prefix)).cloned().collect();
    (!events.is_empty()).then_some(Batch { revision: batch.revision, events })
}

fn closed() -> Error {
    Error::unavailable("the embedded store was closed")
}
