//! Which things are written before which.

use std::collections::HashMap;

use pergola_pipeline::{EntityKey, Kind};
use pergola_southbound::Pipeline;

/// Ranks of things: lower ones are put first and taken away last.
#[derive(Clone, Debug, Default)]
pub struct WriteOrder {
    tables: HashMap<u32, u16>,
    ranks: u16,
}

/// Multicast groups, clone sessions, meters and members point at nothing.
const PLAIN: u16 = 0;
/// Groups point at members.
const GROUPS: u16 = 1;
const FIRST_TABLE: u16 = 2;

impl WriteOrder {
    /// Tables in order of writing: the end of the pipeline first.
    pub fn new(tables: impl IntoIterator<Item = u32>) -> WriteOrder {
        let tables: HashMap<u32, u16> = tables.into_iter().zip(FIRST_TABLE..).collect();
        let ranks = FIRST_TABLE + tables.len() as u16 + 1;
        WriteOrder { tables, ranks }
    }

    /// The order that a program's own order of tables gives: each table only leads to later ones.
    pub fn of_pipeline(pipeline: &Pipeline) -> WriteOrder {
        WriteOrder::new(pipeline.tables_from_the_end())
    }

    /// How many ranks there are.
    pub fn ranks(&self) -> u16 {
        self.ranks.max(FIRST_TABLE + 1)
    }

    /// The rank of a thing. Tables that are not known come last.
    pub fn rank(&self, key: &EntityKey) -> u16 {
        match key.kind() {
            Kind::MulticastGroup | Kind::CloneSession | Kind::Meter | Kind::Member => PLAIN,
            Kind::Group => GROUPS,
            Kind::TableEntry | Kind::TernaryEntry | Kind::DefaultAction => {
                self.tables.get(&key.object_id()).copied().unwrap_or(self.ranks() - 1)
            }
        }
    }
}
