//! Whole stores: copied to another store, written to a file, read back, verified.
//!
//! A target is marked incomplete before its first entry and unmarked after verification, so that an
//! interrupted transfer is recognised ([`check_complete`]) and can be repeated. Keys bound to a
//! lease belong to a running controller and stay behind.
//!
//! ```text
//! backup file: "PERGOLA-BACKUP 1\n", revision u64,
//!              per entry 1u8, key length u32, value length u32, key, value
//!              0u8, entries u64, SHA-256 of everything before it (32 bytes)
//! ```
//! Integers are little-endian.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use crate::{Entry, Error, Key, Op, Query, Result, Revision, Store, Txn};

/// Present while a store is being filled.
pub const INCOMPLETE_KEY: &str = "~incomplete";

const MAGIC: &[u8] = b"PERGOLA-BACKUP 1\n";
/// Longest value a backup may hold; a length beyond it is damage.
const MAX_VALUE_BYTES: u32 = 1 << 30;

/// What a transfer carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transferred {
    /// The state of the source at this revision.
    pub revision: Revision,
    pub entries: u64,
    /// Keys and values.
    pub bytes: u64,
    /// Keys left behind because they are bound to a lease.
    pub leased: u64,
    /// SHA-256 over all keys and values, the same for equal content.
    pub digest: [u8; 32],
}

/// Refuses a store that a transfer left unfinished.
///
/// # Errors
/// `Corrupt` if the store is incomplete.
pub async fn check_complete(store: &dyn Store) -> Result<()> {
    match store.get(INCOMPLETE_KEY).await? {
        None => Ok(()),
        Some(entry) => Err(Error::corrupt(format!(
            "the store is incomplete: {}; repeat it",
            String::from_utf8_lossy(&entry.value)
        ))),
    }
}

/// Copies everything from one store to another, empty one, and verifies it there.
///
/// # Errors
/// `Invalid` if the target is not empty, or the source changed meanwhile (stop its controllers);
/// `Corrupt` if the target does not hold what was copied.
pub async fn copy(from: &dyn Store, to: &dyn Store) -> Result<Transferred> {
    check_complete(from).await?;
    prepare(to, "a move from another store was interrupted").await?;
    let mut pages = Pages::new(from);
    let mut loader = Loader::new(to);
    let mut content = Content::default();
    while let Some(page) = pages.next().await? {
        for entry in page {
            if content.take(&entry) {
                loader.put(entry.key, entry.value).await?;
            }
        }
    }
    loader.flush().await?;
    let copied = content.finish(pages.revision);
    let source_now = summary(from).await?;
    if source_now.digest != copied.digest {
        return Err(Error::invalid(format!(
            "the source changed while it was copied: revision {} then, {} now; stop its \
             controllers and repeat",
            copied.revision, source_now.revision
        )));
    }
    complete(to, &copied).await?;
    Ok(copied)
}

/// Writes everything to a file. The file appears under its name only when it is whole and on disk.
///
/// # Errors
/// `Unavailable` for errors of the file system and of the store.
pub async fn backup(store: &dyn Store, path: &Path) -> Result<Transferred> {
    check_complete(store).await?;
    let partial = path.with_extension("partial");
    let written = write_backup(store, &partial).await;
    let renamed = written.and_then(|transferred| {
        std::fs::rename(&partial, path).map_err(|e| file_error(path, &e))?;
        let folder = path.parent().filter(|p| !p.as_os_str().is_empty());
        let folder = folder.unwrap_or(Path::new("."));
        File::open(folder).and_then(|f| f.sync_all()).map_err(|e| file_error(folder, &e))?;
        Ok(transferred)
    });
    if renamed.is_err() {
        // The error counts, not what is left of the attempt.
        let _ = std::fs::remove_file(&partial);
    }
    renamed
}

async fn write_backup(store: &dyn Store, path: &Path) -> Result<Transferred> {
    let file = File::create(path).map_err(|e| file_error(path, &e))?;
    let mut out = Hashing { inner: BufWriter::new(file), hash: Sha256::new() };
    let mut pages = Pages::new(store);
    let mut content = Content::default();
    let mut first = true;
    loop {
        let page = pages.next().await?;
        let write =
            |out: &mut Hashing<BufWriter<File>>, bytes: &[u8]| out.write_all(bytes).map_err(|e| file_error(path, &e));
        if std::mem::take(&mut first) {
            write(&mut out, MAGIC)?;
            write(&mut out, &pages.revision.to_le_bytes())?;
        }
        let Some(page) = page else { break };
        for entry in page {
            if content.take(&entry) {
                let len = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
                if len(&entry.value) > MAX_VALUE_BYTES {
                    let found = entry.value.len() as u64;
                    let limit = MAX_VALUE_BYTES.into();
                    return Err(Error::TooLarge { what: "bytes in a value", limit, found });
                }
                write(&mut out, &[1])?;
                write(&mut out, &len(entry.key.as_bytes()).to_le_bytes())?;
                write(&mut out, &len(&entry.value).to_le_bytes())?;
                write(&mut out, entry.key.as_bytes())?;
                write(&mut out, &entry.value)?;
            }
        }
    }
    let done = content.finish(pages.revision);
    let finish = |mut out: Hashing<BufWriter<File>>| {
        out.write_all(&[0])?;
        out.write_all(&done.entries.to_le_bytes())?;
        let checksum = out.hash.clone().finalize();
        out.inner.write_all(&checksum)?;
        out.inner.into_inner().map_err(|e| e.into_error())?.sync_all()
    };
    finish(out).map_err(|e| file_error(path, &e))?;
    Ok(done)
}

/// Reads a backup through to its checksum and tells what is in it.
///
/// # Errors
/// `Corrupt` if it is not a whole backup, `Unavailable` if it cannot be read.
pub fn verify(path: &Path) -> Result<Transferred> {
    let mut reader = Reader::open(path)?;
    let mut content = Content::default();
    while let Some((key, value)) = reader.next()? {
        content.add(&key, &value);
    }
    Ok(content.finish(reader.revision))
}

/// Fills an empty store from a file, which is verified first, and verifies the store.
///
/// # Errors
/// `Corrupt` if the file or, at the end, the store is not right; then nothing was written, or the
/// store stays marked incomplete. `Invalid` if the store is not empty.
pub async fn restore(path: &Path, to: &dyn Store) -> Result<Transferred> {
    let wanted = verify(path)?;
    prepare(to, "a restore from a backup was interrupted").await?;
    let mut reader = Reader::open(path)?;
    let mut loader = Loader::new(to);
    while let Some((key, value)) = reader.next()? {
        loader.put(key.into(), value.into()).await?;
    }
    loader.flush().await?;
    complete(to, &wanted).await?;
    Ok(wanted)
}

/// Count and digest of a store's content.
///
/// # Errors
/// When the store cannot be read.
pub async fn summary(store: &dyn Store) -> Result<Transferred> {
    let mut pages = Pages::new(store);
    let mut content = Content::default();
    while let Some(page) = pages.next().await? {
        for entry in page {
            content.take(&entry);
        }
    }
    Ok(content.finish(pages.revision))
}

/// Makes sure the target is empty, or the rest of an interrupted transfer, and marks it.
async fn prepare(to: &dyn Store, mark: &'static str) -> Result<()> {
    if to.get(INCOMPLETE_KEY).await?.is_some() {
        to.txn(Txn::new().then(Op::delete_prefix(""))).await?;
    }
    let query = Query { limit: 1, ..Query::default() };
    if let Some(entry) = to.page(&query).await?.entries.first() {
        let key = &entry.key;
        return Err(Error::invalid(format!("the target is not empty, it holds {key:?}")));
    }
    to.create(INCOMPLETE_KEY, Bytes::from_static(mark.as_bytes())).await?;
    Ok(())
}

/// Verifies the target and removes the mark.
async fn complete(to: &dyn Store, wanted: &Transferred) -> Result<()> {
    let found = summary(to).await?;
    if (found.entries, found.digest) != (wanted.entries, wanted.digest) {
        return Err(Error::corrupt(format!(
            "the target holds {} entries after {} were written, or other values; it stays marked \
             incomplete",
            found.entries, wanted.entries
        )));
    }
    to.delete(INCOMPLETE_KEY, None).await?;
    Ok(())
}

/// All entries at one revision, page by page.
struct Pages<'s> {
    store: &'s dyn Store,
    query: Query,
    revision: Revision,
    more: bool,
}

impl<'s> Pages<'s> {
    fn new(store: &'s dyn Store) -> Self {
        Self { store, query: Query::default(), revision: 0, more: true }
    }

    async fn next(&mut self) -> Result<Option<Vec<Entry>>> {
        if !self.more {
            return Ok(None);
        }
        let page = self.store.page(&self.query).await?;
        self.revision = page.revision;
        self.more = page.more;
        self.query.at = Some(page.revision);
        self.query.after = page.entries.last().map(|entry| entry.key.clone());
        Ok(Some(page.entries))
    }
}

/// Writes many keys in as few transactions as the store takes.
struct Loader<'s> {
    store: &'s dyn Store,
    ops: Vec<Op>,
    bytes: usize,
}

impl<'s> Loader<'s> {
    fn new(store: &'s dyn Store) -> Self {
        Self { store, ops: Vec::new(), bytes: 0 }
    }

    async fn put(&mut self, key: Key, value: Bytes) -> Result<()> {
        let op = Op::Put { key, value, lease: None };
        let limits = self.store.limits();
        let size = op.size_bytes();
        let full = self.ops.len() >= limits.max_ops.min(5000);
        if full || (!self.ops.is_empty() && self.bytes + size > limits.max_request_bytes) {
            self.flush().await?;
        }
        self.bytes += size;
        self.ops.push(op);
        Ok(())
    }

    async fn flush(&mut self) -> Result<()> {
        let ops = std::mem::take(&mut self.ops);
        self.bytes = 0;
        if !ops.is_empty() {
            self.store.txn(Txn { ops, ..Txn::default() }).await?;
        }
        Ok(())
    }
}

/// Counts and digests content in key order.
#[derive(Default)]
struct Content {
    entries: u64,
    bytes: u64,
    leased: u64,
    hash: Sha256,
}

impl Content {
    /// Whether the entry is part of a transfer; counts it if so.
    fn take(&mut self, entry: &Entry) -> bool {
        if &*entry.key == INCOMPLETE_KEY {
            return false;
        }
        if entry.lease.is_some() {
            self.leased += 1;
            return false;
        }
        self.add(&entry.key, &entry.value);
        true
    }

    fn add(&mut self, key: &str, value: &[u8]) {
        self.entries += 1;
        self.bytes += (key.len() + value.len()) as u64;
        for part in [key.as_bytes(), value] {
            self.hash.update((part.len() as u64).to_le_bytes());
            self.hash.update(part);
        }
    }

    fn finish(self, revision: Revision) -> Transferred {
        let Self { entries, bytes, leased, hash } = self;
        Transferred { revision, entries, bytes, leased, digest: hash.finalize().into() }
    }
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    hash: Sha256,
}

impl<T: Write> Hashing<T> {
    fn write_all(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.hash.update(bytes);
        self.inner.write_all(bytes)
    }
}

struct Reader<'p> {
    path: &'p Path,
    file: Hashing<BufReader<File>>,
    revision: Revision,
    entries: u64,
}

impl<'p> Reader<'p> {
    fn open(path: &'p Path) -> Result<Self> {
        let file = File::open(path).map_err(|e| file_error(path, &e))?;
        let file = Hashing { inner: BufReader::new(file), hash: Sha256::new() };
        let mut reader = Self { path, file, revision: 0, entries: 0 };
        let mut magic = [0; MAGIC.len()];
        reader.fill(&mut magic)?;
        if magic != MAGIC {
            return Err(reader.damaged("it does not begin like a backup of this version"));
        }
        let mut revision = [0; 8];
        reader.fill(&mut revision)?;
        reader.revision = u64::from_le_bytes(revision);
        Ok(reader)
    }

    /// The next entry; after the last one the checksum has been compared.
    fn next(&mut self) -> Result<Option<(String, Vec<u8>)>> {
        let mut kind = [0];
        self.fill(&mut kind)?;
        match kind[0] {
            0 => return self.finish().map(|()| None),
            1 => {}
            other => return Err(self.damaged(&format!("found a record of kind {other}"))),
        }
        let mut lengths = [0; 8];
        self.fill(&mut lengths)?;
        let (key_len, value_len) = lengths.split_at(4);
        let number = |b: &[u8]| b.iter().rev().fold(0u32, |n, byte| n << 8 | u32::from(*byte));
        let (key_len, value_len) = (number(key_len), number(value_len));
        if key_len as usize > crate::MAX_KEY_BYTES || value_len > MAX_VALUE_BYTES {
            let text = format!("a record with a key of {key_len} and a value of {value_len} bytes");
            return Err(self.damaged(&text));
        }
        let mut key = vec![0; key_len as usize];
        self.fill(&mut key)?;
        let key = String::from_utf8(key).map_err(|_| self.damaged("a key is not UTF-8"))?;
        let value = self.take(value_len)?;
        self.entries += 1;
        Ok(Some((key, value)))
    }

    fn finish(&mut self) -> Result<()> {
        let mut entries = [0; 8];
        self.fill(&mut entries)?;
        let wanted = self.file.hash.clone().finalize();
        let mut found = [0; 32];
        self.fill(&mut found)?;
        if found[..] != wanted[..] {
            return Err(self.damaged("its checksum does not fit"));
        }
        if u64::from_le_bytes(entries) != self.entries {
            return Err(self.damaged("it has another number of entries than it says"));
        }
        if self.file.inner.read(&mut [0]).map_err(|e| file_error(self.path, &e))? != 0 {
            return Err(self.damaged("something follows its end"));
        }
        Ok(())
    }

    /// Reads so many bytes, without trusting the number with memory first.
    fn take(&mut self, count: u32) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        let read = (&mut self.file.inner).take(count.into()).read_to_end(&mut bytes);
        read.map_err(|e| file_error(self.path, &e))?;
        if bytes.len() != count as usize {
            return Err(self.damaged("it is cut short"));
        }
        self.file.hash.update(&bytes);
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        match self.file.inner.read_exact(bytes) {
            Ok(()) => {
                self.file.hash.update(&*bytes);
                Ok(())
            }
            Err(e) if e.kind() == std::io::ErrorKind::UnexpectedEof => Err(self.damaged("it is cut short")),
            Err(e) => Err(file_error(self.path, &e)),
        }
    }

    fn damaged(&self, what: &str) -> Error {
        Error::corrupt(format!("backup {}: {what}", self.path.display()))
    }
}

fn file_error(path: &Path, error: &std::io::Error) -> Error {
    match error.kind() {
        std::io::ErrorKind::StorageFull => Error::Full { reason: format!("{}: {error}", path.display()) },
        _ => Error::unavailable(format!("{}: {error}", path.display())),
    }
}
