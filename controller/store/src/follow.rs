//! A listing and then every change, across disconnects and compaction.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{Batch, Error, Listing, Revision, Store, WatchStream};

const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// What a follower learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Followed {
    /// The whole state at one revision; it replaces everything learned before.
    Snapshot(Listing),
    /// What one revision changed; always newer than what came before, and nothing is left out.
    Batch(Batch),
    /// The store cannot be followed right now. What was learned stays the last known state; the
    /// stream goes on by itself.
    Interrupted(Error),
}

/// Follows everything under `prefix`: a snapshot, then each change exactly once. When history was
/// compacted during an interruption, another snapshot comes. The stream never ends by itself.
pub fn follow(store: Arc<dyn Store>, prefix: impl Into<String>) -> BoxStream<'static, Followed> {
    let follower = Follower { store, prefix: prefix.into(), state: State::List, seen: 0, pause: None };
    stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await;
        Some((next, follower))
    })
    .boxed()
}

enum State {
    List,
    Reopen,
    Watch(WatchStream),
}

struct Follower {
    store: Arc<dyn Store>,
    prefix: String,
    state: State,
    /// Everything up to this revision was handed out.
    seen: Revision,
    /// How long to wait before the next try, growing while tries fail.
    pause: Option<Duration>,
}

impl Follower {
    async fn next(&mut self) -> Followed {
        loop {
            match &mut self.state {
                State::List => {
                    self.wait().await;
                    match self.store.range(&self.prefix, None).await {
                        Ok(listing) => {
                            self.seen = listing.revision;
                            self.open();
                            return Followed::Snapshot(listing);
                        }
                        // Compacted between two pages: begin again.
                        Err(Error::Compacted { .. }) => self.back_off(),
                        Err(error) => {
                            self.back_off();
                            return Followed::Interrupted(error);
                        }
                    }
                }
                State::Reopen => {
                    self.wait().await;
                    self.open();
                }
                State::Watch(events) => {
                    let next = events.next().await;
                    if let Some(followed) = self.watched(next) {
                        return followed;
                    }
                }
            }
        }
    }

    fn watched(&mut self, next: Option<crate::Result<Batch>>) -> Option<Followed> {
        match next {
            Some(Ok(batch)) => {
                self.pause = None;
                let news = batch.revision > self.seen && !batch.events.is_empty();
                self.seen = self.seen.max(batch.revision);
                news.then_some(Followed::Batch(batch))
            }
            Some(Err(Error::Compacted { requested, oldest })) => {
                tracing::info!(requested, oldest, "history is compacted; listing again");
                self.state = State::List;
                None
            }
            Some(Err(error)) => {
                self.state = State::Reopen;
                self.back_off();
                Some(Followed::Interrupted(error))
            }
            None => {
                self.state = State::Reopen;
                self.back_off();
                Some(Followed::Interrupted(Error::unavailable("the watch ended")))
            }
        }
    }

    fn open(&mut self) {
        self.state = State::Watch(self.store.watch(&self.prefix, self.seen + 1));
    }

    fn back_off(&mut self) {
        self.pause = Some(self.pause.map_or(FIRST_PAUSE, |p| (p * 2).min(LONGEST_PAUSE)));
    }

    async fn wait(&mut self) {
        if let Some(pause) = self.pause {
            tokio::time::sleep(pause).await;
        }
    }
}
