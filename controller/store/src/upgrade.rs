//! The version of what is stored, and steps from one version to the next.
//!
//! The key [`FORMAT_KEY`] holds the version of the whole store as a decimal number. Controllers of
//! version N and N+1 can share a store while it is at N: the newer ones read both and write N.
//! When all are new, [`upgrade`] rewrites the entries and then raises the number, while they run:
//! who writes entries does so under a compare on the number, in the format that it names. An upgrade
//! can be interrupted at any point and repeated, so a step must leave an entry alone that it has
//! already converted.

use bytes::Bytes;

use crate::{Compare, Entry, Error, Op, Query, Result, Store, Txn};

/// Holds the version of the stored format.
pub const FORMAT_KEY: &str = "~format";

/// How a step changes one entry: `None` leaves it, `Some(None)` removes it, else the new value.
/// The error says what is wrong with the entry.
pub type Convert = fn(&Entry) -> Result<Option<Option<Bytes>>, String>;

/// From version `from` to `from + 1`.
#[derive(Debug, Clone, Copy)]
pub struct Step {
    pub from: u64,
    /// Only keys with this prefix are converted.
    pub prefix: &'static str,
    pub convert: Convert,
}

/// What an upgrade did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Upgraded {
    pub from: u64,
    pub to: u64,
    /// Entries rewritten or removed.
    pub changed: u64,
}

/// Reads the store's version; an empty store becomes `newest`, and one without a number is 1.
///
/// # Errors
/// `Format` if the version is not within `oldest..=newest`.
pub async fn format(store: &dyn Store, oldest: u64, newest: u64) -> Result<u64> {
    loop {
        if let Some(entry) = store.get(FORMAT_KEY).await? {
            let text = std::str::from_utf8(&entry.value).ok();
            let found: u64 = text.and_then(|t| t.parse().ok()).ok_or_else(|| {
                let value = String::from_utf8_lossy(&entry.value);
                Error::corrupt(format!("{FORMAT_KEY}: found {value:?}, a number is expected"))
            })?;
            if !(oldest..=newest).contains(&found) {
                return Err(Error::Format { found, oldest, newest });
            }
            return Ok(found);
        }
        let any = store.page(&Query { limit: 1, ..Query::default() }).await?;
        let version = if any.entries.is_empty() { newest } else { 1 };
        match store.create(FORMAT_KEY, Bytes::from(version.to_string())).await {
            // Another controller was quicker: what it wrote counts.
            Ok(_) | Err(Error::Conflict { .. }) => {}
            Err(other) => return Err(other),
        }
    }
}

/// Brings the store to version `newest`, one version after the other.
///
/// # Errors
/// `Format` when there is no way from the store's version; `Corrupt` naming the entry that a step
/// cannot convert. What was converted so far stays, the number does not change.
pub async fn upgrade(store: &dyn Store, steps: &[Step], newest: u64) -> Result<Upgraded> {
    let oldest = steps.iter().map(|step| step.from).min().unwrap_or(newest).min(newest);
    let from = format(store, oldest, newest).await?;
    let mut done = Upgraded { from, to: from, changed: 0 };
    while done.to < newest {
        let here: Vec<&Step> = steps.iter().filter(|step| step.from == done.to).collect();
        if here.is_empty() {
            return Err(Error::Format { found: done.to, oldest: newest, newest });
        }
        for step in &here {
            done.changed += convert_all(store, step).await?;
        }
        let (old, new) = (done.to.to_string(), (done.to + 1).to_string());
        let raise = Txn::new().when(Compare::value(FORMAT_KEY, old)).then(Op::put(FORMAT_KEY, new));
        if !store.txn(raise).await?.succeeded {
            // Another controller did the same; conversions are harmless twice.
            done.to = format(store, oldest, newest).await?;
            continue;
        }
        done.to += 1;
        // What was written in the old format before the number changed; nothing is after it.
        for step in here {
            done.changed += convert_all(store, step).await?;
        }
    }
    Ok(done)
}

async fn convert_all(store: &dyn Store, step: &Step) -> Result<u64> {
    let mut changed = 0;
    let mut query = Query { prefix: step.prefix.into(), ..Query::default() };
    loop {
        let page = store.page(&query).await?;
        query.after = page.entries.last().map(|entry| entry.key.clone());
        for entry in page.entries {
            changed += u64::from(convert_one(store, step, entry).await?);
        }
        if !page.more {
            return Ok(changed);
        }
    }
}

/// Converts one entry as it is now, however often somebody changes it meanwhile.
async fn convert_one(store: &dyn Store, step: &Step, mut entry: Entry) -> Result<bool> {
    loop {
        if entry.key.starts_with('~') {
            return Ok(false);
        }
        let converted = (step.convert)(&entry).map_err(|what| {
            let (key, from) = (&entry.key, step.from);
            Error::corrupt(format!("{key}: cannot be brought from version {from} on: {what}"))
        })?;
        let op = match converted {
            None => return Ok(false),
            Some(None) => Op::Delete { key: entry.key.clone() },
            Some(Some(value)) => Op::Put { key: entry.key.clone(), value, lease: entry.lease },
        };
        let txn = Txn::new().when(Compare::at(entry.key.clone(), entry.mod_revision)).then(op);
        if store.txn(txn).await?.succeeded {
            return Ok(true);
        }
        match store.get(&entry.key).await? {
            Some(newer) => entry = newer,
            None => return Ok(false),
        }
    }
}
