//! Reads of the present and of the past, and the history for watches that fell behind.
//!
//! The past is the present with the newer part of the log undone: each change carries the entry
//! before it. History is bounded, so the cost is.

use std::collections::BTreeMap;
use std::ops::Bound;

use redb::{Database, ReadableDatabase};

use super::codec;
use super::tables::{
    COMPACTED, ENTRIES, LOG, META, REVISION, check_kept, meta, read_entry, storage, table, transaction,
};
use crate::{Batch, Entry, Error, Key, Page, Query, Result, Revision};

/// Entries in a page when the caller leaves the choice to the store.
const PAGE: usize = 4096;

pub(super) fn get(db: &Database, key: &Key) -> Result<Option<Entry>> {
    let txn = db.begin_read().map_err(transaction)?;
    read_entry(&txn.open_table(ENTRIES).map_err(table)?, key)
}

pub(super) fn page(db: &Database, query: &Query) -> Result<Page> {
    let limit = if query.limit == 0 { PAGE } else { query.limit };
    let txn = db.begin_read().map_err(transaction)?;
    let numbers = txn.open_table(META).map_err(table)?;
    let current = meta(&numbers, REVISION)?;
    let revision = query.at.unwrap_or(current);
    if revision > current {
        return Err(Error::FutureRevision { requested: revision, current });
    }
    let mut undone = BTreeMap::new();
    if revision < current {
        check_kept(revision + 1, meta(&numbers, COMPACTED)?).map_err(|_| Error::Compacted {
            requested: revision,
            oldest: meta(&numbers, COMPACTED).unwrap_or(current),
        })?;
        let log = txn.open_table(LOG).map_err(table)?;
        for row in log.range((revision + 1, "")..).map_err(storage)? {
            let (at, bytes) = row.map_err(storage)?;
            let (_, key) = at.value();
            if key.starts_with(&query.prefix) && !undone.contains_key(key) {
                let key = Key::from(key);
                let logged = codec::decode_event(&key, bytes.value())?;
                undone.insert(key, logged.previous);
            }
        }
    }
    let from = match &query.after {
        Some(after) if **after >= *query.prefix => Bound::Excluded(&**after),
        _ => Bound::Included(&*query.prefix),
    };
    let mut past = undone.range::<str, _>((from, Bound::Unbounded)).peekable();
    let mut entries = Vec::new();
    let table = txn.open_table(ENTRIES).map_err(table)?;
    for row in table.range::<&str>((from, Bound::Unbounded)).map_err(storage)? {
        let (key, bytes) = row.map_err(storage)?;
        if !key.value().starts_with(&query.prefix) || entries.len() > limit {
            break;
        }
        while let Some((_, previous)) = past.next_if(|(undone, _)| ***undone < *key.value()) {
            entries.extend(previous.clone());
        }
        match past.next_if(|(undone, _)| ***undone == *key.value()) {
            Some((_, previous)) => entries.extend(previous.clone()),
            None => entries.push(codec::decode_entry(&Key::from(key.value()), bytes.value())?),
        }
    }
    if entries.len() <= limit {
        entries.extend(past.filter_map(|(_, previous)| previous.clone()));
    }
    let more = entries.len() > limit;
    entries.truncate(limit);
    Ok(Page { revision, entries, more })
}

/// Whole revisions from `from` on, as many as hold about `max_events`, with only the events under
/// the prefix; and the revision read up to.
pub(super) fn history(
    db: &Database,
    prefix: &str,
    from: Revision,
    max_events: usize,
) -> Result<(Vec<Batch>, Revision)> {
    let txn = db.begin_read().map_err(transaction)?;
    let numbers = txn.open_table(META).map_err(table)?;
    check_kept(from, meta(&numbers, COMPACTED)?)?;
    let mut upto = meta(&numbers, REVISION)?;
    let log = txn.open_table(LOG).map_err(table)?;
    let mut batches: Vec<Batch> = Vec::new();
    let mut last = 0;
    for (read, row) in log.range((from, "")..).map_err(storage)?.enumerate() {
        let (at, bytes) = row.map_err(storage)?;
        let (revision, key) = at.value();
        if revision != last && read >= max_events {
            upto = last;
            break;
        }
        last = revision;
        if !key.starts_with(prefix) {
            continue;
        }
        let event = codec::decode_event(&Key::from(key), bytes.value())?.event;
        match batches.last_mut() {
            Some(batch) if batch.revision == revision => batch.events.push(event),
            _ => batches.push(Batch { revision, events: vec![event] }),
        }
    }
    Ok((batches, upto))
}
