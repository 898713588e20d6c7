//! What a table is: its id and those of its fields and actions, as p4c numbered them, and typed keys and actions from it.
//!
//! Every file in `tables/` states its table with [`table!`](crate::table!). A test compares all statements with the
//! P4Info, so a renumbered field is a failed test and never a wrong entry.

use crate::{Action, Entity, MeterConfig, P4Value, TableEntryBuilder};

/// How a field is matched (P4Runtime 1.4 §9.1.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MatchKind {
    Exact,
    Lpm,
    Ternary,
    Range,
    Optional,
}

/// One match field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FieldDef {
    pub id: u32,
    pub name: &'static str,
    pub kind: MatchKind,
    pub bits: u32,
}

/// One parameter of an action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ParamDef {
    pub id: u32,
    pub name: &'static str,
    pub bits: u32,
}

/// One action.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActionDef {
    pub id: u32,
    pub name: &'static str,
    pub params: &'static [ParamDef],
}

impl ActionDef {
    /// The last part of the name.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }
}

/// When an entry is written, relative to others: what is pointed at comes first, and goes last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// The way out of the switch: tags, tunnels, queues.
    Egress = 0,
    /// Next ids.
    Next = 1,
    /// Routes, labels, hosts: they point at next ids.
    Forwarding = 2,
    /// What lets packets in and steers them into all of this.
    Classification = 3,
}

/// One table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TableDef {
    pub id: u32,
    pub name: &'static str,
    pub stage: Stage,
    pub fields: &'static [FieldDef],
    pub actions: &'static [ActionDef],
}

impl TableDef {
    /// The last part of the name, by which people call the table.
    pub fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or(self.name)
    }

    /// True when entries carry a priority.
    pub fn has_priority(&self) -> bool {
        self.fields.iter().any(|f| matches!(f.kind, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional))
    }
}

/// A value and the bits of it that count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Masked<T> {
    pub value: T,
    pub mask: T,
}

/// The kinds of fields as types. A field that is `None` matches anything.
pub type Exact<T> = T;
pub type Ternary<T> = Option<Masked<T>>;
pub type Range<T> = Option<(T, T)>;
pub type Optional<T> = Option<T>;

/// An address and how many of its first bits count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lpm<T> {
    pub value: T,
    pub prefix_len: u32,
}

/// All bits of a number or an address.
pub trait AllOnes: Sized {
    const ALL_ONES: Self;
}

macro_rules! all_ones {
    ($($t:ty = $v:expr),* $(,)?) => { $(impl AllOnes for $t { const ALL_ONES: $t = $v; })* };
}
all_ones!(u8 = u8::MAX, u16 = u16::MAX, u32 = u32::MAX, u64 = u64::MAX, [u8; 6] = [0xff; 6]);
all_ones!(
    std::net::Ipv4Addr = std::net::Ipv4Addr::BROADCAST,
    std::net::Ipv6Addr = std::net::Ipv6Addr::from_bits(u128::MAX),
);

/// A ternary field that matches one value. Bits beyond the field's width are cut where the entry is built.
pub fn is<T: AllOnes>(value: T) -> Ternary<T> {
    Some(Masked { value, mask: T::ALL_ONES })
}

/// A ternary field that matches a value under a mask.
pub fn masked<T>(value: T, mask: T) -> Ternary<T> {
    Some(Masked { value, mask })
}

/// A typed key.
pub trait TableKey {
    fn builder(&self) -> TableEntryBuilder;
}

/// A typed action.
pub trait TableAction {
    fn action(&self) -> Action;
}

/// An entry with one action.
pub fn plain<K: TableKey, A: TableAction>(key: &K, act: &A) -> Entity {
    finish(key.builder(), act)
}

/// An entry whose action reads the entry's own meter (bytes a second, RFC 2698).
pub fn metered<K: TableKey, A: TableAction>(key: &K, act: &A, meter: MeterConfig) -> Entity {
    finish(key.builder().direct_meter(meter), act)
}

fn finish<A: TableAction>(key: TableEntryBuilder, act: &A) -> Entity {
    let action = act.action();
    action.params.into_iter().fold(key.action(action.id), |b, (id, value)| b.param(id, value)).build()
}

/// An entry with several weighted actions, each in use while its watch port is up (P4Runtime 1.4 §9.2.3). A port that all of
/// them leave by is not watched: nothing could take their place, and BMv2 divides by the number of members left, and dies.
pub fn one_shot<K: TableKey, A: TableAction>(
    key: &K,
    members: impl IntoIterator<Item = (A, u32, Option<u16>)>,
) -> Entity {
    let members: Vec<_> = members.into_iter().collect();
    let one_way = members.windows(2).all(|pair| pair[0].2 == pair[1].2);
    let watched = |port: Option<u16>| port.filter(|_| !one_way);
    let members = members.into_iter().map(|(action, weight, port)| (action.action(), weight, watched(port)));
    key.builder().one_shot(members).build()
}

/// `value` cut to its lowest `bits` bits: a mask of a 9-bit port has 9 bits.
pub fn cut(value: impl Into<P4Value>, bits: u32) -> P4Value {
    let value = value.into();
    let mut mask = vec![0xffu8; bits.div_ceil(8) as usize];
    if !bits.is_multiple_of(8) {
        mask[0] = 0xff >> (8 - bits % 8);
    }
    value.masked(&P4Value::new(&mask))
}

#[doc(hidden)]
#[macro_export]
macro_rules! put_field {
    (Exact, $b:ident, $id:literal, $bits:literal, $v:expr) => {
        $b.exact($id, $v)
    };
    (Lpm, $b:ident, $id:literal, $bits:literal, $v:expr) => {
        $b.lpm($id, $v.value, $v.prefix_len)
    };
    (Ternary, $b:ident, $id:literal, $bits:literal, $v:expr) => {
        match $v {
            Some(m) => $b.ternary($id, m.value, $crate::table::cut(m.mask, $bits)),
            None => $b,
        }
    };
    (Range, $b:ident, $id:literal, $bits:literal, $v:expr) => {
        match $v {
            Some((low, high)) => $b.range($id, low, high),
            None => $b,
        }
    };
    (Optional, $b:ident, $id:literal, $bits:literal, $v:expr) => {
        $b.optional($id, $v)
    };
}

/// States a table: id, stage, fields and actions. Gives the module `TABLE`, `Key`, `Act` and `entry`.
#[macro_export]
macro_rules! table {
    (
        $table:literal = $table_id:literal, $stage:ident;
        fields { $( $fid:literal $fname:ident : $kind:ident<$fty:ty>, $fbits:literal; )* }
        actions { $( $(#[$adoc:meta])* $act:ident = $afull:literal $aid:literal
            { $( $pid:literal $pname:ident : $pty:ty, $pbits:literal; )* } )* }
    ) => {
        /// The table as the P4Info has it.
        pub const TABLE: $crate::table::TableDef = $crate::table::TableDef {
            id: $table_id,
            name: $table,
            stage: $crate::table::Stage::$stage,
            fields: &[ $( $crate::table::FieldDef {
                id: $fid,
                name: stringify!($fname),
                kind: $crate::table::MatchKind::$kind,
                bits: $fbits,
            } ),* ],
            actions: &[ $( $crate::table::ActionDef {
                id: $aid,
                name: $afull,
                params: &[ $( $crate::table::ParamDef {
                    id: $pid,
                    name: stringify!($pname),
                    bits: $pbits,
                } ),* ],
            } ),* ],
        };

        /// What an entry matches. `priority` counts in tables that have one; the greater wins.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Key {
            $( pub $fname: $crate::table::$kind<$fty>, )*
            pub priority: u32,
        }

        impl $crate::table::TableKey for Key {
            fn builder(&self) -> $crate::TableEntryBuilder {
                let b = $crate::TableEntryBuilder::new(TABLE.id);
                $( let b = $crate::put_field!($kind, b, $fid, $fbits, self.$fname); )*
                if TABLE.has_priority() { b.priority(self.priority) } else { b }
            }
        }

        /// What an entry does.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Act {
            $( $(#[$adoc])* $act { $( $pname: $pty ),* }, )*
        }

        impl $crate::table::TableAction for Act {
            fn action(&self) -> $crate::Action {
                match *self {
                    $( Act::$act { $( $pname ),* } => {
                        #[allow(unused_mut)]
                        let mut action = $crate::Action { id: $aid, params: Default::default() };
                        $( action.params.push(($pid, $pname.into())); )*
                        action
                    } )*
                }
            }
        }

        /// The entry.
        pub fn entry(key: Key, act: Act) -> $crate::Entity {
            $crate::table::plain(&key, &act)
        }
    };
}
