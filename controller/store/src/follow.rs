//! A listing and then every change, across disconnects and compaction.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::{self, BoxStream};

use crate::{Batch, Error, Key, Listing, Query, Revision, Store, WatchStream};

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

/// The same where the whole state is too much to hold twice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Piece {
    /// A part of the whole state at one revision, in key order. The first one replaces everything
    /// learned before, also parts of a state that never became whole; after the last one it is whole.
    Part { listing: Listing, first: bool, last: bool },
    /// As [`Followed::Batch`].
    Batch(Batch),
    /// As [`Followed::Interrupted`].
    Interrupted(Error),
}

/// Follows everything under `prefix`: a snapshot, then each change exactly once. When history was
/// compacted during an interruption, another snapshot comes. The stream never ends by itself.
pub fn follow(store: Arc<dyn Store>, prefix: impl Into<String>) -> BoxStream<'static, Followed> {
    let mut whole = Listing::default();
    let followed = follow_in_pieces(store, prefix).filter_map(move |piece| {
        let followed = match piece {
            Piece::Part { listing, first, last } => {
                if first {
                    whole = listing;
                } else {
                    whole.entries.extend(listing.entries);
                }
                last.then(|| Followed::Snapshot(std::mem::take(&mut whole)))
            }
            Piece::Batch(batch) => Some(Followed::Batch(batch)),
            Piece::Interrupted(error) => Some(Followed::Interrupted(error)),
        };
        std::future::ready(followed)
    });
    followed.boxed()
}

/// [`follow`], with the whole state in parts as the store gives them.
pub fn follow_in_pieces(store: Arc<dyn Store>, prefix: impl Into<String>) -> BoxStream<'static, Piece> {
    let follower = Follower { store, prefix: prefix.into(), state: State::START, seen: 0, pause: None };
    stream::unfold(follower, |mut follower| async move {
        let next = follower.next().await;
        Some((next, follower))
    })
    .boxed()
}

enum State {
    /// Behind this key at this revision, or from the beginning.
    List(Option<(Key, Revision)>),
    Reopen,
    Watch(WatchStream),
}

impl State {
    const START: State = State::List(None);
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
    async fn next(&mut self) -> Piece {
        loop {
            match &mut self.state {
                State::List(from) => {
                    let (after, at) = from.clone().unzip();
                    self.wait().await;
                    let query = Query { prefix: self.prefix.clone(), at, after, limit: 0 };
                    match self.store.page(&query).await {
                        Ok(page) => {
                            let listing = Listing { revision: page.revision, entries: page.entries };
                            let end = listing.entries.last().filter(|_| page.more);
                            let next = end.map(|entry| (entry.key.clone(), page.revision));
                            let (first, last) = (query.at.is_none(), next.is_none());
                            self.state = State::List(next);
                            if last {
                                self.seen = page.revision;
                                self.open();
                            }
                            return Piece::Part { listing, first, last };
                        }
                        // Compacted between two pages: begin again.
                        Err(Error::Compacted { .. }) => {
                            self.state = State::START;
                            self.back_off();
                        }
                        Err(error) => {
                            self.back_off();
                            return Piece::Interrupted(error);
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

    fn watched(&mut self, next: Option<crate::Result<Batch>>) -> Option<Piece> {
        match next {
            Some(Ok(batch)) => {
                self.pause = None;
                let news = batch.revision > self.seen && !batch.events.is_empty();
                self.seen = self.seen.max(batch.revision);
                news.then_some(Piece::Batch(batch))
            }
            Some(Err(Error::Compacted { requested, oldest })) => {
                tracing::info!(requested, oldest, "history is compacted; listing again");
                self.state = State::START;
                None
            }
            Some(Err(error)) => {
                self.state = State::Reopen;
                self.back_off();
                Some(Piece::Interrupted(error))
            }
            None => {
                self.state = State::Reopen;
                self.back_off();
                Some(Piece::Interrupted(Error::unavailable("the watch ended")))
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
