//! Recording every input of a controller, and replaying it to the same plan.
//!
//! One file a run: `NODE-UNIXMS.pergola-record`. It begins with [`MAGIC`] and holds records:
//!
//! ```text
//! length u32 | kind u8 | time u64 (nanoseconds since the start) | fields, strings and bytes with a u32 length before them
//! ```
//!
//! All numbers are little-endian. Inputs are what the store said, packets, ports, sessions, and roles. After each plan
//! stands a digest of what it changed, which a replay compares with its own.

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use pergola_model::{Change, ChangedKey, SwitchName, View};
use pergola_plan::{App, PlanDelta, Planner};
use pergola_southbound::Nanos;
use pergola_store::Piece;
use pergola_store::mastership::Role;

use crate::packets::PacketEvent;
use crate::planning::is_resource;

const MAGIC: &[u8] = b"PERGOLA-RECORD 2\n";
/// How a recording's name ends.
pub const EXTENSION: &str = "pergola-record";
/// A longer record is damage.
const LONGEST: u32 = 1 << 30;

const SNAPSHOT: u8 = 1;
const BATCH: u8 = 2;
const INTERRUPTED: u8 = 3;
const PACKET: u8 = 4;
const PORT: u8 = 5;
const SESSION: u8 = 6;
const ROLE: u8 = 7;
const PLANNED: u8 = 8;

/// Takes inputs from any thread and writes them on one of its own. The default one takes nothing.
#[derive(Clone, Default)]
pub(crate) struct Recorder(Option<Arc<Sender<Vec<u8>>>>);

impl Recorder {
    /// Begins a recording in a folder, which is made when it is missing.
    pub fn create(folder: &Path, node: &str) -> std::io::Result<Recorder> {
        std::fs::create_dir_all(folder)?;
        let ms = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_millis();
        let path = folder.join(format!("{node}-{ms}.{EXTENSION}"));
        let mut file = BufWriter::new(File::create_new(&path)?);
        file.write_all(MAGIC)?;
        file.flush()?;
        let (to, from) = channel();
        std::thread::Builder::new().name("recorder".into()).spawn(move || write_all(file, &from, &path))?;
        Ok(Recorder(Some(Arc::new(to))))
    }

    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    fn send(&self, kind: u8, now: Nanos, fill: impl FnOnce(&mut Fields)) {
        let Some(to) = &self.0 else { return };
        let mut fields = Fields(vec![0; 4]);
        fields.0.push(kind);
        fields.number(now);
        fill(&mut fields);
        let length = (fields.0.len() - 4) as u32;
        fields.0[..4].copy_from_slice(&length.to_le_bytes());
        // The thread ends early only when the disk failed, which it has said.
        let _ = to.send(fields.0);
    }

    pub fn store(&self, now: Nanos, news: &Piece) {
        match news {
            Piece::Part { listing, first, last } => self.send(SNAPSHOT, now, |f| {
                f.number(listing.revision);
                f.0.push(u8::from(*first) | u8::from(*last) << 1);
                for entry in listing.entries.iter().filter(|e| is_resource(&e.key)) {
                    f.bytes(entry.key.as_bytes());
                    f.bytes(&entry.value);
                }
            }),
            Piece::Batch(batch) => self.send(BATCH, now, |f| {
                f.number(batch.revision);
                for event in batch.events.iter().filter(|e| is_resource(e.key())) {
                    f.bytes(event.key().as_bytes());
                    f.0.push(event.entry().is_some().into());
                    f.bytes(event.entry().map_or(&[][..], |e| &e.value));
                }
            }),
            Piece::Interrupted(error) => self.send(INTERRUPTED, now, |f| f.bytes(error.to_string().as_bytes())),
        }
    }

    pub fn packet_event(&self, now: Nanos, event: &PacketEvent) {
        match event {
            PacketEvent::In { at, frame, why } => self.send(PACKET, now, |f| {
                f.bytes(at.to_string().as_bytes());
                f.bytes(frame);
                f.bytes(format!("{why:?}").as_bytes());
            }),
            PacketEvent::Port { at, up } => self.send(PORT, now, |f| {
                f.bytes(at.to_string().as_bytes());
                f.0.push((*up).into());
            }),
            PacketEvent::Device { name, connected } => self.send(SESSION, now, |f| {
                f.bytes(name.as_bytes());
                f.0.push((*connected).into());
            }),
            // Roles and Views are recorded where they come from.
            PacketEvent::Master { .. } | PacketEvent::View { .. } | PacketEvent::Stop => {}
        }
    }

    pub fn role(&self, now: Nanos, device: &str, role: Option<&Role>) {
        self.send(ROLE, now, |f| {
            f.bytes(device.as_bytes());
            f.bytes(format!("{role:?}").as_bytes());
        });
    }

    /// Everything recorded since the last of these was planned at once.
    pub fn planned(&self, now: Nanos, revision: u64, digest: u64) {
        self.send(PLANNED, now, |f| {
            f.number(revision);
            f.number(digest);
        });
    }
}

struct Fields(Vec<u8>);

impl Fields {
    fn number(&mut self, n: u64) {
        self.0.extend(n.to_le_bytes());
    }

    fn bytes(&mut self, bytes: &[u8]) {
        self.0.extend((bytes.len() as u32).to_le_bytes());
        self.0.extend(bytes);
    }
}

fn write_all(mut file: BufWriter<File>, from: &Receiver<Vec<u8>>, path: &Path) {
    while let Ok(first) = from.recv() {
        let mut next = Some(first);
        while let Some(record) = next {
            if let Err(error) = file.write_all(&record) {
                tracing::error!(%error, path = %path.display(), "the recording ends");
                return;
            }
            next = from.try_recv().ok();
        }
        if let Err(error) = file.flush() {
            tracing::error!(%error, path = %path.display(), "the recording ends");
            return;
        }
    }
}

/// What a plan changed, in one number: the same whatever the order within.
pub fn digest(delta: &PlanDelta) -> u64 {
    let one = |parts: &dyn Fn(&mut DefaultHasher)| {
        let mut hasher = DefaultHasher::new();
        parts(&mut hasher);
        hasher.finish()
    };
    let mut sum = 0u64;
    for (device, delta) in &delta.devices {
        for entity in &delta.put {
            sum = sum.wrapping_add(one(&|h| (device.as_str(), &entity.key, entity.value.fingerprint()).hash(h)));
        }
        for key in &delta.del {
            sum = sum.wrapping_add(one(&|h| (device.as_str(), key, "gone").hash(h)));
        }
    }
    sum
}

/// Why a recording cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    #[error("{path}: {source}")]
    File { path: String, source: std::io::Error },
    #[error("{path}: it does not begin like a recording of this version")]
    NotARecording { path: String },
    #[error("{path}: record {number}: {what}")]
    Damaged { path: String, number: u64, what: &'static str },
    #[error(
        "{path}: record {number}: the plan of revision {revision} changed {found:016x} here and {recorded:016x} in the run"
    )]
    Differs { path: String, number: u64, revision: u64, found: u64, recorded: u64 },
}

/// What a replay went through, and where it ended.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Replayed {
    /// Records of each kind, by name.
    pub records: BTreeMap<&'static str, u64>,
    /// Plans that were made again and were the same.
    pub plans: u64,
    pub revision: u64,
    /// The time of the last record, from the start.
    pub last: Nanos,
    /// Entities wanted of each device at the end, and their digest.
    pub devices: BTreeMap<SwitchName, (usize, u64)>,
}

/// The recordings in a folder, oldest first; a file is itself.
pub fn recordings(path: &Path) -> Result<Vec<PathBuf>, ReplayError> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let failed = |source| ReplayError::File { path: path.display().to_string(), source };
    let mut all = Vec::new();
    for entry in std::fs::read_dir(path).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path.extension().is_some_and(|e| e == EXTENSION) {
            all.push(path);
        }
    }
    let time = |p: &PathBuf| -> u64 {
        let stem = p.file_stem().map(|s| s.to_string_lossy().into_owned()).unwrap_or_default();
        stem.rsplit('-').next().and_then(|t| t.parse().ok()).unwrap_or(0)
    };
    all.sort_by_key(|p| (time(p), p.clone()));
    Ok(all)
}

/// Plans again what a run planned, and compares each plan with the run's. A recording that was cut short by the end of
/// its process is replayed as far as it goes.
pub fn replay(path: &Path, apps: Vec<Arc<dyn App>>) -> Result<Replayed, ReplayError> {
    let name = path.display().to_string();
    let failed = |source| ReplayError::File { path: name.clone(), source };
    let mut file = BufReader::new(File::open(path).map_err(failed)?);
    let mut magic = [0; MAGIC.len()];
    if file.read_exact(&mut magic).is_err() || magic != MAGIC {
        return Err(ReplayError::NotARecording { path: name });
    }
    let mut planner: Planner = Planner::new(apps);
    let mut view = View::default();
    // A snapshot that comes in parts.
    let mut listed = View::default();
    let mut pending: Vec<(u64, Changes)> = Vec::new();
    let mut done = Replayed::default();
    let mut number = 0;
    while let Some(record) = next_record(&mut file).map_err(failed)? {
        number += 1;
        let damaged = |what| ReplayError::Damaged { path: name.clone(), number, what };
        let mut fields = Reading(&record);
        let kind = fields.byte().ok_or_else(|| damaged("it is empty"))?;
        done.last = fields.number().ok_or_else(|| damaged("it has no time"))?;
        let what = match kind {
            SNAPSHOT => {
                let head = fields.number().zip(fields.byte());
                let (revision, place) = head.ok_or_else(|| damaged("a snapshot without a revision"))?;
                let (first, last) = (place & 1 == 1, place & 2 == 2);
                let mut puts = Vec::new();
                while !fields.0.is_empty() {
                    let entry = fields.text().zip(fields.bytes()).ok_or_else(|| damaged("an entry is cut short"))?;
                    puts.push((entry.0, Some(entry.1.to_vec())));
                }
                if first {
                    listed = View::default();
                }
                apply(&mut listed, revision, &puts);
                if last {
                    view = std::mem::take(&mut listed);
                    let found = digest(&planner.plan_all(&view));
                    // The digest of a snapshot comes next.
                    pending = vec![(found, Vec::new())];
                }
                "snapshots"
            }
            BATCH => {
                let revision = fields.number().ok_or_else(|| damaged("a batch without a revision"))?;
                let mut changes = Vec::new();
                while !fields.0.is_empty() {
                    let one = fields.text().zip(fields.byte()).zip(fields.bytes());
                    let ((key, put), value) = one.ok_or_else(|| damaged("a change is cut short"))?;
                    changes.push((key, (put == 1).then(|| value.to_vec())));
                }
                pending.push((revision, changes));
                "batches"
            }
            PLANNED => {
                let (revision, recorded) =
                    fields.number().zip(fields.number()).ok_or_else(|| damaged("a plan without a digest"))?;
                let found = match &pending[..] {
                    [(found, changes)] if changes.is_empty() && view.revision() == revision => *found,
                    _ => {
                        let old = view.clone();
                        let mut changed: Vec<ChangedKey> = Vec::new();
                        for (revision, changes) in &pending {
                            changed.extend(apply(&mut view, *revision, changes));
                        }
                        digest(&planner.apply(&old, &view, &changed))
                    }
                };
                pending.clear();
                if found != recorded {
                    return Err(ReplayError::Differs { path: name, number, revision, found, recorded });
                }
                done.plans += 1;
                done.revision = revision;
                "plans"
            }
            INTERRUPTED => "interruptions",
            PACKET => "packets",
            PORT => "ports",
            SESSION => "sessions",
            ROLE => "roles",
            _ => return Err(damaged("its kind is not known")),
        };
        *done.records.entry(what).or_default() += 1;
    }
    for switch in view.switches() {
        let mut count = 0;
        let mut sum = 0u64;
        for (key, value) in planner.wanted(&switch.name) {
            let mut hasher = DefaultHasher::new();
            (key, value.fingerprint()).hash(&mut hasher);
            sum = sum.wrapping_add(hasher.finish());
            count += 1;
        }
        done.devices.insert(switch.name.clone(), (count, sum));
    }
    Ok(done)
}

type Changes = Vec<(String, Option<Vec<u8>>)>;

fn apply(view: &mut View, revision: u64, changes: &Changes) -> Vec<ChangedKey> {
    let all: Vec<Change<'_>> = changes.iter().map(|(key, value)| Change { key, value: value.as_deref() }).collect();
    view.apply(revision, &all).changed
}

/// The next record; none at the end, also when the last one is cut short.
fn next_record(file: &mut BufReader<File>) -> std::io::Result<Option<Vec<u8>>> {
    let mut length = [0; 4];
    match file.read_exact(&mut length) {
        Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => return Ok(None),
        other => other?,
    }
    let length = u32::from_le_bytes(length);
    if length > LONGEST {
        return Ok(Some(Vec::new()));
    }
    let mut record = Vec::new();
    file.take(length.into()).read_to_end(&mut record)?;
    Ok((record.len() == length as usize).then_some(record))
}

struct Reading<'a>(&'a [u8]);

impl<'a> Reading<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1).map(|b| b[0])
    }

    fn number(&mut self) -> Option<u64> {
        self.take(8)?.try_into().ok().map(u64::from_le_bytes)
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = self.take(4)?.try_into().ok().map(u32::from_le_bytes)?;
        self.take(length as usize)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}
