//! A persistent index from one key to many values, in order.

use imbl::OrdSet;

/// Which values go with which key.
#[derive(Clone)]
pub(super) struct Pairs<A, B>(OrdSet<(A, Option<B>)>);

impl<A, B> Default for Pairs<A, B> {
    fn default() -> Self {
        Pairs(OrdSet::default())
    }
}

impl<A: Ord + Clone, B: Ord + Clone> Pairs<A, B> {
    pub fn insert(&mut self, key: A, value: B) {
        self.0.insert((key, Some(value)));
    }

    pub fn remove(&mut self, key: A, value: B) {
        self.0.remove(&(key, Some(value)));
    }

    /// The values of one key, in order. `None` sorts before every value, which makes it the place to start.
    pub fn of<'a>(&'a self, key: &A) -> impl Iterator<Item = &'a B> + 'a + use<'a, A, B> {
        let key = key.clone();
        self.from(key.clone()).take_while(move |(k, _)| **k == key).map(|(_, value)| value)
    }

    /// All pairs from a key on, in order.
    pub fn from<'a>(&'a self, key: A) -> impl Iterator<Item = (&'a A, &'a B)> + 'a {
        self.0.range((key, None)..).filter_map(|(k, v)| v.as_ref().map(|v| (k, v)))
    }
}
