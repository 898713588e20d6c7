//! Refuses transactions that no store would take, with the same words for all stores.

use std::collections::HashSet;

use crate::{Compare, Error, Limits, Op, Result, Revision, Txn};

/// Longest key in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// Checks sizes, keys and that no key is written twice in a branch.
pub(crate) fn txn(txn: &Txn, limits: &Limits) -> Result<()> {
    for (what, limit, found) in [
        ("compares in a transaction", limits.max_compares, txn.compares.len()),
        ("operations in a transaction", limits.max_ops, if txn.may_split { 0 } else { txn.ops.len() }),
        ("operations in the else branch of a transaction", limits.max_compares, txn.otherwise.len()),
    ] {
        at_most(what, limit, found)?;
    }
    for key in txn.compares.iter().map(Compare::key) {
        self::key(key)?;
    }
    branch(&txn.ops, limits)?;
    branch(&txn.otherwise, limits)?;
    if !txn.may_split {
        at_most("bytes in a transaction", limits.max_request_bytes, txn.size_bytes())?;
    }
    Ok(())
}

fn branch(ops: &[Op], limits: &Limits) -> Result<()> {
    let mut written = HashSet::with_capacity(ops.len());
    for op in ops {
        // An empty prefix is allowed: it means everything.
        if !matches!(op, Op::DeletePrefix { .. }) {
            key(op.key())?;
        }
        at_most("bytes in one operation", limits.max_request_bytes, op.size_bytes())?;
        match op {
            Op::Put { key, lease, .. } => {
                if !written.insert(&**key) {
                    return Err(twice(key));
                }
                if lease.is_some_and(|l| l.0 == 0) {
                    return Err(Error::invalid(format!("key {key:?}: lease 0 names no lease")));
                }
            }
            Op::Delete { key } => {
                if !written.insert(&**key) {
                    return Err(twice(key));
                }
            }
            Op::DeletePrefix { .. } | Op::Get { .. } => {}
        }
    }
    let prefixes: Vec<&str> = ops
        .iter()
        .filter_map(|op| match op {
            Op::DeletePrefix { prefix } => Some(&**prefix),
            _ => None,
        })
        .collect();
    for (i, prefix) in prefixes.iter().enumerate() {
        if let Some(key) = written.iter().find(|key| key.starts_with(prefix)) {
            return Err(twice(key));
        }
        let overlaps = |other: &&&str| other.starts_with(prefix) || prefix.starts_with(**other);
        if let Some(other) = prefixes[..i].iter().find(overlaps) {
            return Err(twice(other));
        }
    }
    Ok(())
}

/// Checks one key.
pub(crate) fn key(key: &str) -> Result<()> {
    if key.is_empty() {
        return Err(Error::invalid("a key is empty"));
    }
    at_most("bytes in a key", MAX_KEY_BYTES, key.len())
}

/// Checks the revision of a read in the past.
pub(crate) fn at(revision: Option<Revision>) -> Result<()> {
    match revision {
        Some(0) => Err(Error::invalid("revision 0 is before the store's beginning")),
        _ => Ok(()),
    }
}

fn twice(key: &str) -> Error {
    Error::invalid(format!("key {key:?} is written more than once in a transaction"))
}

fn at_most(what: &'static str, limit: usize, found: usize) -> Result<()> {
    if found > limit {
        return Err(Error::TooLarge { what, limit: limit as u64, found: found as u64 });
    }
    Ok(())
}

/// The first string behind every string that starts with `prefix`, `None` if there is no end.
pub(crate) fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xff {
            end.push(last + 1);
            return Some(end);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: Limits = Limits { max_ops: 4, max_compares: 4, max_request_bytes: 1000 };

    #[test]
    fn sizes_are_refused_with_limit_and_found() {
        let many = (0..5).fold(Txn::new(), |t, i| t.then(Op::put(format!("k{i}"), "v")));
        let found = txn(&many, &LIMITS).unwrap_err();
        let what = "operations in a transaction";
        assert_eq!(found, Error::TooLarge { what, limit: 4, found: 5 });
        txn(&many.may_split(), &LIMITS).unwrap();
        let big = Txn::new().then(Op::put("k", vec![0; 1001])).may_split();
        assert!(matches!(txn(&big, &LIMITS), Err(Error::TooLarge { limit: 1000, .. })));
        let long = Txn::new().when(Compare::exists("k".repeat(1025)));
        assert!(matches!(txn(&long, &LIMITS), Err(Error::TooLarge { limit: 1024, .. })));
    }

    #[test]
    fn a_key_is_written_once() {
        let bad = [
            Txn::new().then(Op::put("a", "1")).then(Op::delete("a")),
            Txn::new().then(Op::delete_prefix("a")).then(Op::put("ab", "1")),
            Txn::new().then(Op::delete_prefix("a")).then(Op::delete_prefix("ab")),
            Txn::new().or_else(Op::put("a", "1")).or_else(Op::put("a", "2")),
            Txn::new().then(Op::put("", "1")),
        ];
        for t in bad {
            assert!(matches!(txn(&t, &LIMITS), Err(Error::Invalid { .. })), "{t:?}");
        }
        let good = Txn::new().then(Op::put("a", "1")).then(Op::get("a")).or_else(Op::put("a", "2"));
        txn(&good, &LIMITS).unwrap();
    }

    #[test]
    fn prefix_ends() {
        assert_eq!(prefix_end(b"ab"), Some(b"ac".to_vec()));
        assert_eq!(prefix_end(b"a\xff"), Some(b"b".to_vec()));
        assert_eq!(prefix_end(b"\xff"), None);
        assert_eq!(prefix_end(b""), None);
    }
}
