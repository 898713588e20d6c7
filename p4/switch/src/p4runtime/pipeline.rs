//! A pipeline configuration and everything controllers wrote into it. Writes and reads are in the files beside this one.

use std::{
    collections::{BTreeMap, HashMap},
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use hashbrown::HashTable;
use p4runtime_proto::p4::v1;

use super::{
    failure::{Failure, Outcome},
    idle::IdleQueue,
    matching,
    plane::{Handle, Host, Plane, Replication},
    schema::Schema,
    translate::{Translation, Translations, header_types},
    values::{Call, Value, Watch},
    wrapper,
};
use crate::Switch;

/// One pipeline: running, or saved and being filled.
pub struct Pipeline {
    pub(super) schema: Arc<Schema>,
    pub(super) plane: Arc<Plane>,
    pub(super) host: Arc<dyn Host>,
    pub(super) device_config: Bytes,
    pub(super) cookie: Option<v1::forwarding_pipeline_config::Cookie>,
    /// How ports travel where they are plain bytes.
    pub(super) ports: Translation,
    pub(super) tables: Vec<TableStore>,
    pub(super) profiles: Vec<ProfileStore>,
    /// As written, and for the data plane.
    pub(super) multicast: BTreeMap<u32, (v1::MulticastGroupEntry, Vec<Replication>)>,
    pub(super) clones: BTreeMap<u32, v1::CloneSessionEntry>,
    /// Packed members.
    pub(super) value_sets: Vec<Vec<Box<[u8]>>>,
    /// Cells of indirect meters that are not in their default state.
    pub(super) meters: Vec<HashMap<usize, v1::MeterConfig>>,
    pub(super) digests: Vec<Option<v1::digest_entry::Config>>,
    pub(super) idle: IdleQueue,
    /// Keys are packed here before they are looked up.
    pub(super) scratch: Vec<u8>,
}

/// The entries of one table.
#[derive(Default)]
pub struct TableStore {
    /// With the hash of the key, so that growing does not touch the entries.
    entries: HashTable<(u64, Arc<Entry>)>,
    hasher: RandomState,
    pub(super) default: DefaultEntry,
}

/// An entry as a controller wrote it. Never changed: a modified entry is a new value, so that a read keeps its snapshot.
pub struct Entry {
    pub(super) key: Box<[u8]>,
    pub(super) priority: i32,
    pub(super) is_const: bool,
    pub(super) handle: Handle,
    pub(super) value: Value,
    /// What most entries do not have.
    pub(super) extra: Option<Box<Extra>>,
}

/// The rarer parts of an entry.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Extra {
    pub(super) metadata: Bytes,
    pub(super) controller_metadata: u64,
    pub(super) idle_timeout_ns: i64,
    /// Tells this entry's timer from those of its earlier states.
    pub(super) timer: u64,
    pub(super) meter: Option<v1::MeterConfig>,
}

/// The entry that is used when nothing matches.
#[derive(Default, Clone)]
pub struct DefaultEntry {
    /// None: the program's own.
    pub(super) call: Option<Call>,
    /// The program's own, when P4Info knows the action.
    pub(super) initial: Option<Call>,
    pub(super) extra: Extra,
}

/// Members and groups of one action profile.
#[derive(Default)]
pub struct ProfileStore {
    pub(super) members: BTreeMap<u32, Member>,
    pub(super) groups: BTreeMap<u32, Group>,
    /// Entries that hold a group of their own.
    pub(super) one_shots: usize,
    /// What counts against the profile's size: of groups and one-shots.
    pub(super) used: usize,
}

pub struct Member {
    pub(super) call: Call,
    /// Entries that name it.
    pub(super) entries: usize,
    /// Groups that contain it.
    pub(super) groups: usize,
}

pub struct Group {
    pub(super) members: Vec<GroupMember>,
    pub(super) max_size: i32,
    /// Entries that name it.
    pub(super) entries: usize,
}

pub struct GroupMember {
    pub(super) member: u32,
    pub(super) weight: i32,
    pub(super) watch: Option<Watch>,
    pub(super) port: Option<u32>,
}

impl TableStore {
    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<Entry>> {
        self.entries.iter().map(|(_, entry)| entry)
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    pub(super) fn find(&self, key: &[u8], priority: i32) -> Option<&Arc<Entry>> {
        self.find_hashed(self.hash(key), key, priority)
    }

    /// The same with the key's hash.
    fn find_hashed(&self, hash: u64, key: &[u8], priority: i32) -> Option<&Arc<Entry>> {
        let found = self.entries.find(hash, |(other, entry)| *other == hash && entry.is(key, priority));
        found.map(|(_, entry)| entry)
    }

    /// Entries with this key and any priority.
    pub(super) fn find_all<'a>(&'a self, key: &'a [u8]) -> impl Iterator<Item = &'a Arc<Entry>> {
        let found = self.entries.iter_hash(self.hash(key)).filter(move |(_, entry)| *entry.key == *key);
        found.map(|(_, entry)| entry)
    }

    /// A place for an entry with this key; none when there is one.
    pub(super) fn vacancy(&self, key: &[u8], priority: i32) -> Option<Vacancy> {
        let hash = self.hash(key);
        self.find_hashed(hash, key, priority).is_none().then_some(Vacancy(hash))
    }

    /// Adds an entry whose key has a vacancy.
    pub(super) fn add(&mut self, Vacancy(hash): Vacancy, entry: Arc<Entry>) {
        self.entries.insert_unique(hash, (hash, entry), |(hash, _)| *hash);
    }

    /// Puts a new state in the place of an entry's old one.
    pub(super) fn replace(&mut self, entry: Arc<Entry>) {
        let hash = self.hash(&entry.key);
        let same = |(_, old): &(u64, Arc<Entry>)| old.is(&entry.key, entry.priority);
        if let Some((_, place)) = self.entries.find_mut(hash, same) {
            *place = entry;
        }
    }

    pub(super) fn remove(&mut self, key: &[u8], priority: i32) -> Option<Arc<Entry>> {
        let same = |(_, entry): &(u64, Arc<Entry>)| entry.is(key, priority);
        self.entries.find_entry(self.hash(key), same).ok().map(|found| found.remove().0.1)
    }
}

/// That no entry has a key, and the key's hash.
pub(super) struct Vacancy(u64);

impl Entry {
    fn is(&self, key: &[u8], priority: i32) -> bool {
        self.priority == priority && *self.key == *key
    }

    pub(super) fn extra(&self) -> Extra {
        self.extra.as_deref().cloned().unwrap_or_default()
    }
}

impl Pipeline {
    /// Loads a configuration without running it.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the device configuration cannot be realised or disagrees with P4Info.
    pub fn load(
        config: v1::ForwardingPipelineConfig,
        switch: &Arc<Switch>,
        host: Arc<dyn Host>,
        registry: Arc<super::translate::Registry>,
    ) -> Outcome<Pipeline> {
        let info = config.p4info.ok_or_else(|| Failure::invalid("config.p4info is not set"))?;
        let device_config = config.p4_device_config;
        let program = wrapper::program(&device_config)?;
        let plane = Plane::prepare(switch, &info, &program)?;
        registry.set_cpu_port(switch.options.cpu_port.map(u64::from));
        let headers = if info.controller_packet_metadata.is_empty() { Vec::new() } else { header_types(&program) };
        let translations = Translations::new(registry, headers);
        let schema = Schema::build(Arc::new(info), plane.program(), translations)?;
        let ports = schema.translations.ports(&schema.info);
        let mut pipeline = Pipeline {
            tables: schema.tables.iter().map(|_| TableStore::default()).collect(),
            profiles: schema.profiles.iter().map(|_| ProfileStore::default()).collect(),
            multicast: BTreeMap::new(),
            clones: BTreeMap::new(),
            value_sets: schema.value_sets.iter().map(|_| Vec::new()).collect(),
            meters: schema.meters.iter().map(|_| HashMap::new()).collect(),
            digests: schema.digests.iter().map(|_| None).collect(),
            idle: IdleQueue::default(),
            scratch: Vec::new(),
            schema: Arc::new(schema),
            cookie: config.cookie,
            plane,
            host,
            device_config,
            ports,
        };
        pipeline.load_initial()?;
        Ok(pipeline)
    }

    /// Takes over the entries and default actions that the program declares.
    fn load_initial(&mut self) -> Outcome<()> {
        for (table, store) in self.schema.tables.iter().zip(&mut self.tables) {
            let call = |action: usize, args: &[u8]| {
                let at = table.actions.iter().position(|known| known.program == action)?;
                Some(Call { at: at as u16, args: args.into() })
            };
            if let Some((action, args)) = self.plane.initial_default(table.program) {
                store.default.initial = call(action, &args);
            }
            for entry in self.plane.initial_entries(table.program) {
                let Some(call) = call(entry.action, &entry.args) else { continue };
                let mut key = Vec::with_capacity(table.key_bytes);
                matching::pack_fields(&table.fields, &entry.key, &mut key)
                    .map_err(|failure| failure.within(format_args!("table \"{}\"", table.name)))?;
                let priority = entry.handle.priority;
                let Some(vacancy) = store.vacancy(&key, priority) else { continue };
                let (handle, value) = (entry.handle, Value::Call(call));
                let is_const = table.is_const;
                store.add(vacancy, Arc::new(Entry { key: key.into(), priority, is_const, handle, value, extra: None }));
            }
        }
        Ok(())
    }

    /// What P4Info says.
    pub fn schema(&self) -> &Arc<Schema> {
        &self.schema
    }

    /// The data plane of this pipeline.
    pub fn plane(&self) -> &Arc<Plane> {
        &self.plane
    }

    /// The configuration as it was set, with the wanted parts.
    pub fn config(
        &self,
        parts: v1::get_forwarding_pipeline_config_request::ResponseType,
    ) -> v1::ForwardingPipelineConfig {
        use v1::get_forwarding_pipeline_config_request::ResponseType::{All, DeviceConfigAndCookie, P4infoAndCookie};
        v1::ForwardingPipelineConfig {
            p4info: matches!(parts, All | P4infoAndCookie).then(|| (*self.schema.info).clone()),
            p4_device_config: match parts {
                All | DeviceConfigAndCookie => self.device_config.clone(),
                _ => Bytes::new(),
            },
            cookie: self.cookie,
        }
    }

    /// The device's number of a port that a controller names.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when there is no such port, `OUT_OF_RANGE` for a malformed number.
    pub(super) fn port(&self, bytes: &[u8]) -> Outcome<u32> {
        self.number(bytes).and_then(|port| self.existing(port))
    }

    /// The same, whether the port exists or not.
    pub(super) fn number(&self, bytes: &[u8]) -> Outcome<u32> {
        self.schema.translations.registry().port(bytes, &self.ports)
    }

    pub(super) fn existing(&self, port: u32) -> Outcome<u32> {
        if self.host.has_port(port) {
            return Ok(port);
        }
        Err(Failure::invalid(format!("port {port} does not exist on this device")))
    }

    /// Entries whose timer ran out by `now`, with their timers restarted.
    pub fn expire(&mut self, now: Instant) -> Vec<v1::TableEntry> {
        let mut queue = std::mem::take(&mut self.idle);
        let mut expired = Vec::new();
        while let Some(timer) = queue.pop_due(now) {
            let table = &self.schema.tables[timer.table];
            let Some(entry) = self.tables[timer.table].find(&timer.key, timer.priority) else {
                continue;
            };
            let Some(extra) = entry.extra.as_deref().filter(|extra| extra.timer == timer.stamp) else {
                continue;
            };
            let ttl = std::time::Duration::from_nanos(extra.idle_timeout_ns.unsigned_abs());
            let idle = self.plane.idle_for(&entry.handle);
            let idle = idle.min(now.saturating_duration_since(timer.since));
            if idle >= ttl {
                expired.push(super::read::idle_entry(table, entry));
                queue.push(timer.restarted(now, now + ttl));
            } else {
                let since = timer.since;
                queue.push(timer.restarted(since, now + (ttl - idle)));
            }
        }
        self.idle = queue;
        expired
    }

    /// When the first timer runs out.
    pub fn next_expiry(&self) -> Option<Instant> {
        self.idle.next()
    }
}
