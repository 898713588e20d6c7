//! The planner: remembers what every unit emitted, re-plans the units a change touches, and gives the difference.

use std::hash::BuildHasher;
use std::sync::Arc;

use hashbrown::{DefaultHashBuilder, HashMap, HashTable};
use pergola_pipeline::{EntityKey, EntityValue};

use crate::emitter::{Emitted, Trouble};
use crate::intern::{Causes, Interner};
use crate::table::DeviceTable;
use crate::{App, Claim, Conflict, Domain, Emitter, Explanation, Fabric, PlanDelta, Problem, Unit, UnitSet};

/// Where one emitted entity went.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Emission {
    device: u32,
    slot: u32,
    cause: u32,
}

/// A unit and what it emitted, ordered by device and slot.
struct UnitState {
    app: u16,
    unit: Unit,
    emissions: Box<[Emission]>,
}

/// Sizes, for metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PlanStats {
    pub units: usize,
    pub causes: usize,
    /// Wanted entities of all devices.
    pub entities: usize,
    /// Keys that several units want with different values.
    pub conflicts: usize,
}

/// Keeps the plan of all devices. Apps come first in the order they are given: of two that want one key with different
/// values, the earlier wins, and within an app the unit that comes first in order.
pub struct Planner<D: Domain = Fabric> {
    apps: Vec<Arc<dyn App<D>>>,
    devices: Interner<D::Device>,
    tables: Vec<DeviceTable>,
    units: Vec<Option<UnitState>>,
    free_units: Vec<u32>,
    unit_index: HashTable<u32>,
    hasher: DefaultHashBuilder,
    causes: Causes<D::Cause>,
    /// Different values for one key within a unit: (device, key, value not used).
    torn: HashMap<u32, Vec<(u32, EntityKey, EntityValue)>>,
    problems: HashMap<u32, Box<[Trouble<D::Cause>]>>,
    /// Reused by every re-plan.
    emitted: Vec<Emitted>,
}

impl<D: Domain> Planner<D> {
    pub fn new(apps: Vec<Arc<dyn App<D>>>) -> Planner<D> {
        Planner {
            apps,
            devices: Interner::new(),
            tables: Vec::new(),
            units: Vec::new(),
            free_units: Vec::new(),
            unit_index: HashTable::new(),
            hasher: DefaultHashBuilder::default(),
            causes: Causes::new(),
            torn: HashMap::new(),
            problems: HashMap::new(),
            emitted: Vec::new(),
        }
    }

    /// Plans every unit of every app, and forgets units that are gone.
    pub fn plan_all(&mut self, view: &D::View) -> PlanDelta<D> {
        let apps = self.apps.clone();
        for (app_no, app) in apps.iter().enumerate() {
            let mut set = UnitSet::new();
            app.units(view, &mut set);
            let gone: Vec<Unit> = self
                .units
                .iter()
                .flatten()
                .filter(|u| usize::from(u.app) == app_no && !set.contains(&u.unit))
                .map(|u| u.unit.clone())
                .collect();
            for unit in set.into_sorted() {
                self.replan(app_no as u16, app.as_ref(), view, unit);
            }
            for unit in gone {
                self.replan(app_no as u16, app.as_ref(), view, unit);
            }
        }
        self.finish()
    }

    /// Plans again what `changes` touch.
    pub fn apply<'c>(
        &mut self,
        old: &D::View,
        new: &D::View,
        changes: impl IntoIterator<Item = &'c D::Change> + Clone,
    ) -> PlanDelta<D>
    where
        D::Change: 'c,
    {
        let apps = self.apps.clone();
        for (app_no, app) in apps.iter().enumerate() {
            let mut set = UnitSet::new();
            for change in changes.clone() {
                app.affected(old, new, change, &mut set);
            }
            for unit in set.into_sorted() {
                self.replan(app_no as u16, app.as_ref(), new, unit);
            }
        }
        self.finish()
    }

    /// Plans everything from nothing beside this plan and names the units whose entities differ: those that an app
    /// failed to call affected. For tests and for doubt.
    pub fn audit(&self, view: &D::View) -> Vec<(D::Device, EntityKey)> {
        let mut fresh = Planner::<D>::new(self.apps.clone());
        fresh.plan_all(view);
        let mut wrong = Vec::new();
        for (_, device) in self.devices.iter().chain(fresh.devices.iter()) {
            for (one, other) in [(self, &fresh), (&fresh, self)] {
                for (key, value) in one.wanted(device) {
                    if other.value(device, key) != Some(value) {
                        wrong.push((device.clone(), key.clone()));
                    }
                }
            }
        }
        wrong.sort();
        wrong.dedup();
        wrong
    }

    fn unit_no(&mut self, app: u16, unit: &Unit) -> Option<u32> {
        let hash = self.hasher.hash_one((app, unit));
        self.unit_index
            .find(hash, |i| matches!(&self.units[*i as usize], Some(u) if u.app == app && u.unit == *unit))
            .copied()
    }

    fn new_unit(&mut self, app: u16, unit: Unit) -> u32 {
        let hash = self.hasher.hash_one((app, &unit));
        let state = Some(UnitState { app, unit, emissions: Box::default() });
        let no = match self.free_units.pop() {
            Some(no) => {
                self.units[no as usize] = state;
                no
            }
            None => {
                self.units.push(state);
                self.units.len() as u32 - 1
            }
        };
        let (units, hasher) = (&self.units, &self.hasher);
        self.unit_index
            .insert_unique(hash, no, |i| units[*i as usize].as_ref().map_or(0, |u| hasher.hash_one((u.app, &u.unit))));
        no
    }

    fn replan(&mut self, app_no: u16, app: &dyn App<D>, view: &D::View, unit: Unit) {
        let mut emitted = std::mem::take(&mut self.emitted);
        let mut problems = Vec::new();
        let mut emitter = Emitter {
            devices: &mut self.devices,
            causes: &mut self.causes,
            out: &mut emitted,
            problems: &mut problems,
        };
        app.plan(view, &unit, &mut emitter);
        let known = self.unit_no(app_no, &unit);
        if known.is_none() && emitted.is_empty() && problems.is_empty() {
            self.emitted = emitted;
            return;
        }
        let no = known.unwrap_or_else(|| self.new_unit(app_no, unit));
        let new = self.claim_all(no, &mut emitted);
        self.emitted = emitted;
        if problems.is_empty() {
            self.problems.remove(&no);
        } else {
            self.problems.insert(no, problems.into_boxed_slice());
        }
        let old = match &mut self.units[no as usize] {
            Some(u) => std::mem::replace(&mut u.emissions, new.into_boxed_slice()),
            None => Box::default(),
        };
        self.release_gone(no, &old);
        let empty = self.units[no as usize].as_ref().is_none_or(|u| u.emissions.is_empty());
        if empty && !self.problems.contains_key(&no) {
            self.forget_unit(no);
        }
    }

    /// Claims what a unit emitted and returns where it went, in order.
    fn claim_all(&mut self, no: u32, emitted: &mut Vec<Emitted>) -> Vec<Emission> {
        self.torn.remove(&no);
        let mut new: Vec<Emission> = Vec::with_capacity(emitted.len());
        // Of several values for one key within a unit the smallest is used, whatever order they were emitted in.
        emitted.sort_by(|a, b| (a.device, &a.entity, a.cause).cmp(&(b.device, &b.entity, b.cause)));
        let mut last: Option<(u32, EntityKey, EntityValue)> = None;
        let several = emitted.len() > 1;
        for e in emitted.drain(..) {
            if let Some((device, key, value)) = &last
                && *device == e.device
                && *key == e.entity.key
            {
                if *value != e.entity.value {
                    self.torn.entry(no).or_default().push((e.device, e.entity.key, e.entity.value));
                }
                continue;
            }
            if several {
                last = Some((e.device, e.entity.key.clone(), e.entity.value.clone()));
            }
            if self.tables.len() <= e.device as usize {
                self.tables.resize_with(e.device as usize + 1, DeviceTable::default);
            }
            let units = &self.units;
            let slot = self.tables[e.device as usize].claim(no, e.cause, e.entity, |a, b| first(units, a, b));
            new.push(Emission { device: e.device, slot, cause: e.cause });
        }
        new.sort_unstable();
        new
    }

    /// Lets go of what the unit emitted before and does not now, and keeps the causes' lists of units.
    fn release_gone(&mut self, no: u32, old: &[Emission]) {
        let new: &[Emission] = self.units[no as usize].as_ref().map_or(&[], |u| &u.emissions);
        let mut at = 0;
        for e in old {
            while at < new.len() && (new[at].device, new[at].slot) < (e.device, e.slot) {
                at += 1;
            }
            let still = at < new.len() && (new[at].device, new[at].slot) == (e.device, e.slot);
            if !still {
                self.tables[e.device as usize].release(e.slot, no);
            }
        }
        let causes = |list: &[Emission]| {
            let mut causes: Vec<u32> = list.iter().map(|e| e.cause).collect();
            causes.sort_unstable();
            causes.dedup();
            causes
        };
        let (old, new) = (causes(old), causes(new));
        for cause in &new {
            if old.binary_search(cause).is_err() {
                self.causes.add_unit(*cause, no);
            }
        }
        for cause in &old {
            if new.binary_search(cause).is_err() {
                self.causes.remove_unit(*cause, no);
            }
        }
    }

    fn forget_unit(&mut self, no: u32) {
        let Some(state) = self.units[no as usize].take() else { return };
        let hash = self.hasher.hash_one((state.app, &state.unit));
        if let Ok(entry) = self.unit_index.find_entry(hash, |i| *i == no) {
            entry.remove();
        }
        self.free_units.push(no);
    }

    fn finish(&mut self) -> PlanDelta<D> {
        self.causes.sweep();
        let mut delta = PlanDelta::default();
        for (no, table) in self.tables.iter_mut().enumerate() {
            let changed = table.finish();
            if !changed.is_empty() {
                delta.devices.insert(self.devices.value(no as u32).clone(), changed);
            }
        }
        delta
    }

    fn table(&self, device: &D::Device) -> Option<&DeviceTable> {
        self.tables.get(self.devices.get(device)? as usize)
    }

    /// The wanted entities of a device, in no order.
    pub fn wanted(&self, device: &D::Device) -> impl Iterator<Item = (&EntityKey, &EntityValue)> {
        self.table(device).into_iter().flat_map(DeviceTable::iter)
    }

    /// How many entities a device shall hold.
    pub fn wanted_len(&self, device: &D::Device) -> usize {
        self.table(device).map_or(0, DeviceTable::len)
    }

    /// The wanted value of one key of a device.
    pub fn value(&self, device: &D::Device, key: &EntityKey) -> Option<&EntityValue> {
        let table = self.table(device)?;
        Some(table.owner(table.find(key)?).value)
    }

    /// Devices that any unit ever emitted for.
    pub fn devices(&self) -> impl Iterator<Item = &D::Device> {
        self.devices.iter().map(|(_, d)| d)
    }

    fn claim_of(&self, unit: u32, cause: u32, value: &EntityValue) -> Option<Claim<D>> {
        let state = self.units.get(unit as usize)?.as_ref()?;
        Some(Claim {
            app: self.apps[usize::from(state.app)].name(),
            unit: state.unit.clone(),
            cause: self.causes.value(cause)?.clone(),
            value: value.clone(),
        })
    }

    /// Why a device holds the entity with this key; `None` when it shall not hold it.
    pub fn explain(&self, device: &D::Device, key: &EntityKey) -> Option<Explanation<D>> {
        let table = self.table(device)?;
        let slot = table.find(key)?;
        let owner = table.owner(slot);
        let others = table.waiting(slot).iter().filter_map(|w| self.claim_of(w.unit, w.cause, &w.value));
        Some(Explanation { owner: self.claim_of(owner.unit, owner.cause, owner.value)?, others: others.collect() })
    }

    /// The entities that exist because of a resource, by device and key.
    pub fn caused_by(&self, cause: &D::Cause) -> Vec<(D::Device, EntityKey)> {
        let Some(no) = self.causes.get(cause) else { return Vec::new() };
        let mut found = Vec::new();
        for unit in self.causes.units(no) {
            let Some(state) = &self.units[*unit as usize] else { continue };
            for e in state.emissions.iter().filter(|e| e.cause == no) {
                let key = self.tables[e.device as usize].owner(e.slot).key.clone();
                found.push((self.devices.value(e.device).clone(), key));
            }
        }
        found.sort();
        found.dedup();
        found
    }

    /// Keys that units want with different values, and who got them.
    pub fn conflicts(&self) -> Vec<Conflict<D>> {
        let mut found = Vec::new();
        for (no, table) in self.tables.iter().enumerate() {
            let device = self.devices.value(no as u32);
            for (slot, waiting) in table.contested() {
                let owner = table.owner(slot);
                let losers: Vec<_> = waiting
                    .iter()
                    .filter(|w| w.value != *owner.value)
                    .filter_map(|w| self.claim_of(w.unit, w.cause, &w.value))
                    .collect();
                if let (false, Some(winner)) = (losers.is_empty(), self.claim_of(owner.unit, owner.cause, owner.value))
                {
                    found.push(Conflict { device: device.clone(), key: owner.key.clone(), winner, losers });
                }
            }
        }
        for (unit, torn) in &self.torn {
            for (device, key, value) in torn {
                let table = &self.tables[*device as usize];
                let Some(slot) = table.find(key) else { continue };
                let owner = table.owner(slot);
                if let (Some(winner), Some(loser)) =
                    (self.claim_of(owner.unit, owner.cause, owner.value), self.claim_of(*unit, owner.cause, value))
                {
                    let device = self.devices.value(*device).clone();
                    found.push(Conflict { device, key: key.clone(), winner, losers: vec![loser] });
                }
            }
        }
        found.sort_by(|a, b| (&a.device, &a.key).cmp(&(&b.device, &b.key)));
        found
    }

    /// What apps could not do, by app and unit.
    pub fn problems(&self) -> Vec<Problem<D>> {
        let mut found: Vec<Problem<D>> = Vec::new();
        for (unit, list) in &self.problems {
            let Some(state) = &self.units[*unit as usize] else { continue };
            let app = self.apps[usize::from(state.app)].name();
            found.extend(list.iter().map(|(cause, text)| Problem {
                app,
                unit: state.unit.clone(),
                cause: cause.clone(),
                text: text.to_string(),
            }));
        }
        found.sort_by(|a, b| (a.app, &a.unit, &a.text).cmp(&(b.app, &b.unit, &b.text)));
        found
    }

    pub fn stats(&self) -> PlanStats {
        PlanStats {
            units: self.unit_index.len(),
            causes: self.causes.len(),
            entities: self.tables.iter().map(DeviceTable::len).sum(),
            conflicts: self.conflicts().len(),
        }
    }
}

/// Whether unit a comes before unit b in the order of owners.
fn first(units: &[Option<UnitState>], a: u32, b: u32) -> bool {
    match (&units[a as usize], &units[b as usize]) {
        (Some(a), Some(b)) => (a.app, &a.unit) < (b.app, &b.unit),
        _ => false,
    }
}
