//! The tables of the embedded store, and how redb's errors read in our words.

use redb::{ReadableTable, TableDefinition};

use super::codec;
use crate::{Entry, Error, Key, Result, Revision};

/// Present entries by key: `codec` entry.
pub(super) const ENTRIES: TableDefinition<&str, &[u8]> = TableDefinition::new("entries");
/// History by revision and key: `codec` change.
pub(super) const LOG: TableDefinition<(u64, &str), &[u8]> = TableDefinition::new("log");
/// Time to live of each lease in milliseconds.
pub(super) const LEASES: TableDefinition<i64, u64> = TableDefinition::new("leases");
/// Which keys each lease holds.
pub(super) const LEASE_KEYS: TableDefinition<(i64, &str), ()> = TableDefinition::new("lease_keys");
/// Single numbers by name.
pub(super) const META: TableDefinition<&str, u64> = TableDefinition::new("meta");

/// `META` names: layout of this file, newest revision, newest compacted revision, last lease id
/// and bytes of history.
pub(super) const LAYOUT: &str = "layout";
pub(super) const REVISION: &str = "revision";
pub(super) const COMPACTED: &str = "compacted";
pub(super) const LAST_LEASE: &str = "last_lease";
pub(super) const LOG_BYTES: &str = "log_bytes";

/// The layout this program writes, and the oldest it reads.
pub(super) const LAYOUT_NOW: u64 = 1;

pub(super) fn meta(table: &impl ReadableTable<&'static str, u64>, name: &str) -> Result<u64> {
    let found = table.get(name).map_err(storage)?;
    found.map(|v| v.value()).ok_or_else(|| Error::corrupt(format!("no {name} in table meta")))
}

pub(super) fn read_entry(table: &impl ReadableTable<&'static str, &'static [u8]>, key: &Key) -> Result<Option<Entry>> {
    let found = table.get(&**key).map_err(storage)?;
    found.map(|bytes| codec::decode_entry(key, bytes.value())).transpose()
}

/// The oldest revision a watch or a read in the past may start from.
pub(super) fn check_kept(requested: Revision, compacted: Revision) -> Result<()> {
    if requested <= compacted {
        return Err(Error::Compacted { requested, oldest: compacted + 1 });
    }
    Ok(())
}

pub(super) fn storage(error: redb::StorageError) -> Error {
    match error {
        redb::StorageError::Corrupted(reason) => Error::corrupt(reason),
        redb::StorageError::Io(e) if e.kind() == std::io::ErrorKind::StorageFull => {
            Error::Full { reason: e.to_string() }
        }
        redb::StorageError::ValueTooLarge(found) => {
            Error::TooLarge { what: "bytes in a value", limit: u32::MAX.into(), found: found as u64 }
        }
        other => Error::unavailable(other),
    }
}

pub(super) fn table(error: redb::TableError) -> Error {
    match error {
        redb::TableError::Storage(e) => storage(e),
        other => Error::corrupt(other),
    }
}

pub(super) fn transaction(error: redb::TransactionError) -> Error {
    match error {
        redb::TransactionError::Storage(e) => storage(e),
        other => Error::unavailable(other),
    }
}
