//! Our transactions and entries as etcd's, below the site's prefix.

use std::time::Duration;

use bytes::Bytes;
use etcd_client::{
    Compare as EtcdCompare, CompareOp, DeleteOptions, Event as EtcdEvent, EventType, GetOptions, KeyValue, PutOptions,
    Txn as EtcdTxn, TxnOp, TxnOpResponse,
};

use crate::{Compare, Entry, Error, Event, Key, LeaseId, Op, OpResult, Relation, Result, Revision};

/// Puts keys below the site's prefix, and takes them from there.
#[derive(Debug, Clone)]
pub(super) struct Names {
    /// `pergola/SITE/k/`: the keys of the store.
    pub(super) data: String,
    /// `pergola/SITE/m/`: what this program keeps about the store itself.
    pub(super) own: String,
}

impl Names {
    pub(super) fn new(prefix: &str) -> Self {
        Self { data: format!("{prefix}k/"), own: format!("{prefix}m/") }
    }

    pub(super) fn full(&self, key: &str) -> Vec<u8> {
        [self.data.as_bytes(), key.as_bytes()].concat()
    }

    fn short(&self, full: &[u8]) -> Result<Key> {
        let key = full.strip_prefix(self.data.as_bytes()).and_then(|k| std::str::from_utf8(k).ok());
        key.map(Key::from).ok_or_else(|| {
            let full = String::from_utf8_lossy(full);
            Error::corrupt(format!("etcd key {full:?} is not one of ours under {:?}", self.data))
        })
    }

    pub(super) fn entry(&self, kv: KeyValue) -> Result<Entry> {
        let key = self.short(kv.key())?;
        let (create_revision, mod_revision) = (kv.create_revision() as u64, kv.mod_revision() as u64);
        let lease = (kv.lease() != 0).then_some(LeaseId(kv.lease()));
        let (_, value) = kv.into_key_value();
        Ok(Entry { key, value: Bytes::from(value), create_revision, mod_revision, lease })
    }

    pub(super) fn event(&self, event: &EtcdEvent) -> Result<(Revision, Event)> {
        let kv = event.kv().ok_or_else(|| Error::corrupt("an etcd event without a key"))?;
        let event = match event.event_type() {
            EventType::Put => Event::Put(self.entry(kv.clone())?),
            EventType::Delete => Event::Delete { key: self.short(kv.key())? },
        };
        Ok((kv.mod_revision() as u64, event))
    }

    /// As one transaction of etcd, in which no level holds more than `most` allows: `most` operations, or, when there are
    /// more, transactions of half as many each.
    pub(super) fn txn(&self, compares: &[Compare], ops: &[Op], otherwise: &[Op], most: usize) -> EtcdTxn {
        let compares: Vec<_> = compares.iter().map(|c| self.compare(c)).collect();
        // etcd answers a transaction without operations from what a member happens to know. A
        // read makes it as good as any other; its result is not looked at.
        let branch = |ops: &[Op]| -> Vec<TxnOp> {
            match ops {
                [] => vec![TxnOp::get(self.own.clone(), None)],
                ops => ops.iter().map(|op| self.op(op)).collect(),
            }
        };
        let then = if ops.len() <= most {
            branch(ops)
        } else {
            let inner = |ops: &[Op]| TxnOp::txn(EtcdTxn::new().and_then(branch(ops)));
            ops.chunks((most / 2).max(1)).map(inner).collect()
        };
        EtcdTxn::new().when(compares).and_then(then).or_else(branch(otherwise))
    }

    fn compare(&self, compare: &Compare) -> EtcdCompare {
        let relation = |is: &Relation| match is {
            Relation::Equal => CompareOp::Equal,
            Relation::NotEqual => CompareOp::NotEqual,
            Relation::Greater => CompareOp::Greater,
            Relation::Less => CompareOp::Less,
        };
        let key = self.full(compare.key());
        match compare {
            Compare::ModRevision { is, revision, .. } => {
                EtcdCompare::mod_revision(key, relation(is), signed(*revision))
            }
            Compare::CreateRevision { is, revision, .. } => {
                EtcdCompare::create_revision(key, relation(is), signed(*revision))
            }
            Compare::Value { is, value, .. } => EtcdCompare::value(key, relation(is), &value[..]),
        }
    }

    fn op(&self, op: &Op) -> TxnOp {
        match op {
            Op::Put { key, value, lease } => {
                let options = lease.map(|lease| PutOptions::new().with_lease(lease.0));
                TxnOp::put(self.full(key), &value[..], options)
            }
            Op::Delete { key } => TxnOp::delete(self.full(key), None),
            Op::DeletePrefix { prefix } => TxnOp::delete(self.full(prefix), Some(DeleteOptions::new().with_prefix())),
            Op::Get { key } => TxnOp::get(self.full(key), Some(GetOptions::new())),
        }
    }

    pub(super) fn results(&self, ops: &[Op], found: Vec<TxnOpResponse>) -> Result<Vec<OpResult>> {
        if ops.is_empty() {
            return Ok(Vec::new());
        }
        let mut results = Vec::with_capacity(ops.len());
        for answer in found {
            match answer {
                TxnOpResponse::Txn(inner) => {
                    for answer in inner.op_responses() {
                        results.push(self.result(answer)?);
                    }
                }
                answer => results.push(self.result(answer)?),
            }
        }
        Ok(results)
    }

    fn result(&self, answer: TxnOpResponse) -> Result<OpResult> {
        Ok(match answer {
            TxnOpResponse::Put(_) => OpResult::Put,
            TxnOpResponse::Delete(deleted) => OpResult::Deleted(deleted.deleted() as u64),
            TxnOpResponse::Get(mut got) => {
                let kv = got.take_kvs().into_iter().next();
                OpResult::Got(kv.map(|kv| self.entry(kv)).transpose()?)
            }
            TxnOpResponse::Txn(_) => return Err(Error::corrupt("etcd answered another question")),
        })
    }
}

/// etcd's revisions are signed; ours never come near the difference.
pub(super) fn signed(revision: Revision) -> i64 {
    i64::try_from(revision).unwrap_or(i64::MAX)
}

/// etcd counts a lease in whole seconds.
pub(super) fn seconds(ttl: Duration) -> i64 {
    let whole = ttl.as_secs() + u64::from(ttl.subsec_nanos() > 0);
    i64::try_from(whole).unwrap_or(i64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_is_never_shorter_than_asked() {
        assert_eq!(seconds(Duration::from_millis(1)), 1);
        assert_eq!(seconds(Duration::from_millis(1000)), 1);
        assert_eq!(seconds(Duration::from_millis(1001)), 2);
        assert_eq!(seconds(Duration::ZERO), 1);
    }

    #[test]
    fn names_go_below_the_site_and_come_back() {
        let names = Names::new("pergola/lab/");
        assert_eq!(names.full("port/1"), b"pergola/lab/k/port/1");
        assert_eq!(&*names.short(b"pergola/lab/k/port/1").unwrap(), "port/1");
        assert!(names.short(b"pergola/other/k/port/1").is_err());
        assert!(names.short(b"pergola/lab/k/\xff").is_err());
    }
}
