//! A small world to plan in: named things with a list of devices, a table key and a number.
#![allow(dead_code)]

use std::collections::BTreeMap;

use pergola_pipeline::{Entity, TableEntryBuilder};
use pergola_plan::{App, Domain, Emitter, Unit, UnitSet};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct World;

impl Domain for World {
    type View = View;
    type Change = String;
    type Device = u16;
    type Cause = String;
}

/// What one thing wants: `number` under `key` on each of `devices`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    pub devices: Vec<u16>,
    pub key: u32,
    pub number: u32,
}

/// Things by name; a thing may wish several things.
pub type View = BTreeMap<String, Vec<Wish>>;

pub fn entry(key: u32, number: u32) -> Entity {
    TableEntryBuilder::new(1).exact(1, key).action(1).param(1, number).build()
}

/// Plans the things whose name begins with its letter.
pub struct Letter(pub &'static str);

impl App<World> for Letter {
    fn name(&self) -> &'static str {
        self.0
    }

    fn units(&self, view: &View, out: &mut UnitSet) {
        out.extend(view.keys().filter(|n| n.starts_with(self.0)).map(|n| Unit::name("thing", n.as_str())));
    }

    fn affected(&self, _: &View, _: &View, change: &String, out: &mut UnitSet) {
        if change.starts_with(self.0) {
            out.insert(Unit::name("thing", change.as_str()));
        }
    }

    fn plan(&self, view: &View, unit: &Unit, out: &mut Emitter<'_, World>) {
        let Some((name, wishes)) = unit.as_name().and_then(|n| view.get_key_value(n)) else {
            return;
        };
        for wish in wishes {
            if wish.devices.is_empty() {
                out.problem(name, "no device");
            }
            out.emit_on(&wish.devices, &entry(wish.key, wish.number), name);
        }
    }
}
