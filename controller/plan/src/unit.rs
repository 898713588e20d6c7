//! Units: the pieces an app's work is cut into.

use std::fmt;
use std::sync::Arc;

use hashbrown::HashSet;
use ipnet::IpNet;
use pergola_model::HostKey;

/// One piece of an app's work, small and cheap to hash. `kind` says what it is to the app that made it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Unit {
    pub kind: &'static str,
    pub id: UnitId,
}

/// Which one of its kind.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum UnitId {
    /// The only one of its kind.
    Whole,
    Number(u64),
    Net(IpNet),
    Name(Arc<str>),
    NameNumber(Arc<str>, u64),
    NameNet(Arc<str>, IpNet),
    Names(Arc<str>, Arc<str>),
    /// There are hundreds of thousands of these, so they hold no text.
    Host(HostKey),
}

impl Unit {
    pub fn whole(kind: &'static str) -> Unit {
        Unit { kind, id: UnitId::Whole }
    }

    pub fn number(kind: &'static str, n: u64) -> Unit {
        Unit { kind, id: UnitId::Number(n) }
    }

    pub fn net(kind: &'static str, net: IpNet) -> Unit {
        Unit { kind, id: UnitId::Net(net) }
    }

    pub fn name(kind: &'static str, name: impl Into<Arc<str>>) -> Unit {
        Unit { kind, id: UnitId::Name(name.into()) }
    }

    pub fn name_number(kind: &'static str, name: impl Into<Arc<str>>, n: u64) -> Unit {
        Unit { kind, id: UnitId::NameNumber(name.into(), n) }
    }

    pub fn name_net(kind: &'static str, name: impl Into<Arc<str>>, net: IpNet) -> Unit {
        Unit { kind, id: UnitId::NameNet(name.into(), net) }
    }

    pub fn names(kind: &'static str, a: impl Into<Arc<str>>, b: impl Into<Arc<str>>) -> Unit {
        Unit { kind, id: UnitId::Names(a.into(), b.into()) }
    }

    pub fn host(kind: &'static str, key: HostKey) -> Unit {
        Unit { kind, id: UnitId::Host(key) }
    }

    /// The (first) name, if the id has one.
    pub fn as_name(&self) -> Option<&str> {
        match &self.id {
            UnitId::Name(n) | UnitId::NameNumber(n, _) | UnitId::NameNet(n, _) | UnitId::Names(n, _) => Some(n),
            UnitId::Whole | UnitId::Number(_) | UnitId::Net(_) | UnitId::Host(_) => None,
        }
    }

    /// The number, if the id has one.
    pub fn as_number(&self) -> Option<u64> {
        match &self.id {
            UnitId::Number(n) | UnitId::NameNumber(_, n) => Some(*n),
            _ => None,
        }
    }

    /// The prefix, if the id has one.
    pub fn as_net(&self) -> Option<IpNet> {
        match &self.id {
            UnitId::Net(n) | UnitId::NameNet(_, n) => Some(*n),
            _ => None,
        }
    }
}

impl fmt::Display for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind)?;
        match &self.id {
            UnitId::Whole => Ok(()),
            UnitId::Number(n) => write!(f, ":{n}"),
            UnitId::Net(n) => write!(f, ":{n}"),
            UnitId::Name(n) => write!(f, ":{n}"),
            UnitId::NameNumber(a, n) => write!(f, ":{a}:{n}"),
            UnitId::NameNet(a, n) => write!(f, ":{a}:{n}"),
            UnitId::Names(a, b) => write!(f, ":{a}:{b}"),
            UnitId::Host(key) => write!(f, ":{key}"),
        }
    }
}

impl fmt::Debug for Unit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of units, filled by apps.
#[derive(Debug, Default)]
pub struct UnitSet(HashSet<Unit>);

impl UnitSet {
    pub fn new() -> UnitSet {
        UnitSet::default()
    }

    pub fn insert(&mut self, unit: Unit) {
        self.0.insert(unit);
    }

    pub fn contains(&self, unit: &Unit) -> bool {
        self.0.contains(unit)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The units in their order, so that a recorded run replays the same way.
    pub fn into_sorted(self) -> Vec<Unit> {
        let mut units: Vec<Unit> = self.0.into_iter().collect();
        units.sort_unstable();
        units
    }
}

impl Extend<Unit> for UnitSet {
    fn extend<T: IntoIterator<Item = Unit>>(&mut self, iter: T) {
        self.0.extend(iter);
    }
}
