//! `follow` across cuts and compaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use futures::StreamExt;
use pergola_store::{Followed, Key, Listing, Op, Piece, Revision, Store, Txn, follow, follow_in_pieces};

use super::cut::Cuttable;
use super::soon;
use super::watching::{briefs, del, put};

pub async fn snapshot_then_batches(store: Arc<dyn Store>) {
    store.put("k/a", Bytes::from_static(b"1")).await.unwrap();
    let r2 = store.put("other", Bytes::from_static(b"x")).await.unwrap();
    let mut followed = follow(store.clone(), "k/");
    let first = soon("the snapshot", followed.next()).await.unwrap();
    let Followed::Snapshot(listing) = first else { panic!("{first:?}") };
    assert_eq!((listing.revision, listing.entries.len()), (r2, 1));
    let txn = Txn::new().then(Op::put("k/b", "2")).then(Op::delete("k/a"));
    let revision = store.txn(txn.then(Op::put("other", "y"))).await.unwrap().revision;
    let next = soon("the batch", followed.next()).await.unwrap();
    let Followed::Batch(batch) = next else { panic!("{next:?}") };
    assert_eq!(batch.revision, revision);
    assert_eq!(briefs(&batch), [del("k/a"), put("k/b", "2")]);
}

/// What a follower knows, checked at each step.
#[derive(Default)]
struct Replica {
    entries: BTreeMap<Key, Bytes>,
    revision: Revision,
    snapshots: usize,
    interruptions: usize,
}

impl Replica {
    fn take(&mut self, followed: Followed) {
        match followed {
            Followed::Snapshot(listing) => {
                assert!(listing.revision >= self.revision, "a snapshot goes back in time");
                self.revision = listing.revision;
                let rows = listing.entries.into_iter();
                self.entries = rows.map(|e| (e.key, e.value)).collect();
                self.snapshots += 1;
            }
            Followed::Batch(batch) => {
                assert!(batch.revision > self.revision, "{} again", batch.revision);
                assert!(!batch.events.is_empty());
                self.revision = batch.revision;
                for event in batch.events {
                    match event.entry() {
                        Some(entry) => self.entries.insert(entry.key.clone(), entry.value.clone()),
                        None => self.entries.remove(event.key()),
                    };
                }
            }
            Followed::Interrupted(_) => self.interruptions += 1,
        }
    }

    /// Follows until everything up to `revision` was learned; its last change is under the prefix.
    async fn until(&mut self, revision: Revision, followed: &mut (impl futures::Stream<Item = Followed> + Unpin)) {
        while self.revision < revision {
            let next = soon("what is missing", followed.next()).await.unwrap();
            self.take(next);
        }
    }

    async fn check(&self, store: &Arc<dyn Store>) {
        let listing = store.range("", Some(self.revision)).await.unwrap();
        let rows: BTreeMap<_, _> = listing.entries.into_iter().map(|e| (e.key, e.value)).collect();
        assert_eq!(self.entries, rows, "at revision {}", self.revision);
    }
}

pub async fn cuts_lose_and_repeat_nothing(store: Arc<dyn Store>) {
    let cuttable = Cuttable::new(store.clone());
    let mut followed = follow(cuttable.clone(), "");
    let mut replica = Replica::default();
    replica.take(followed.next().await.unwrap());
    let mut events = 0;
    for round in 0..12 {
        let mut last = 0;
        for i in 0..20 {
            let key = format!("k/{}", (round * 7 + i * 3) % 11);
            last = match i % 5 {
                4 => {
                    store.put(&key, Bytes::new()).await.unwrap();
                    events += 1;
                    store.delete(&key, None).await.unwrap()
                }
                _ => store.put(&key, Bytes::from(format!("{round}.{i}"))).await.unwrap(),
            };
            events += 1;
            if i == round {
                cuttable.cut();
            }
        }
        replica.until(last, &mut followed).await;
        replica.check(&store).await;
    }
    assert!(events > 200);
    assert!(replica.interruptions >= 3, "{} cuts were noticed", replica.interruptions);
    assert_eq!(replica.snapshots, 1, "no new listing was needed");
}

pub async fn compaction_during_an_outage(store: Arc<dyn Store>) {
    let cuttable = Cuttable::new(store.clone());
    let mut followed = follow(cuttable.clone(), "");
    let mut replica = Replica::default();
    replica.take(followed.next().await.unwrap());
    let first = store.put("k/1", Bytes::from_static(b"1")).await.unwrap();
    replica.until(first, &mut followed).await;

    cuttable.away();
    store.delete("k/1", None).await.unwrap();
    let kept = store.put("k/2", Bytes::from_static(b"2")).await.unwrap();
    store.compact(kept).await.unwrap();
    let interrupted = soon("the interruption", followed.next()).await.unwrap();
    assert!(matches!(interrupted, Followed::Interrupted(_)), "{interrupted:?}");
    let again = soon("another", followed.next()).await.unwrap();
    assert!(matches!(again, Followed::Interrupted(_)), "{again:?}");
    cuttable.mend();
    replica.until(kept, &mut followed).await;
    assert_eq!(replica.snapshots, 2, "history was gone, so it listed again");
    replica.check(&store).await;
    let last = store.put("k/3", Bytes::from_static(b"3")).await.unwrap();
    replica.until(last, &mut followed).await;
    replica.check(&store).await;
    assert_eq!(replica.snapshots, 2);
}

pub async fn a_large_state_comes_in_parts(store: Arc<dyn Store>) {
    let ops: Vec<Op> = (0..24_000).map(|n| Op::put(format!("k/{n:05}"), n.to_string())).collect();
    let mut written = 0;
    for chunk in ops.chunks(4000) {
        written = store.txn(Txn { ops: chunk.to_vec(), ..Txn::default() }).await.unwrap().revision;
    }
    let wanted = store.range("k/", None).await.unwrap();
    let mut followed = follow_in_pieces(store.clone(), "k/");
    let mut whole = Listing::default();
    let mut later = 0;
    loop {
        let piece = soon("a part", followed.next()).await.unwrap();
        let Piece::Part { listing, first, last } = piece else { panic!("{piece:?}") };
        assert_eq!((listing.revision, first), (written, whole.entries.is_empty()));
        if first {
            assert!(!last, "so many do not come in one part");
            // Of a change meanwhile the parts know nothing.
            later = store.put("k/later", Bytes::new()).await.unwrap();
        }
        whole.revision = listing.revision;
        whole.entries.extend(listing.entries);
        if last {
            break;
        }
    }
    assert!(whole == wanted, "{} entries of {}", whole.entries.len(), wanted.entries.len());
    let next = soon("the change", followed.next()).await.unwrap();
    let Piece::Batch(batch) = next else { panic!("{next:?}") };
    assert_eq!((batch.revision, briefs(&batch)), (later, vec![put("k/later", "")]));
}
