//! Bytes of the embedded store's tables. All integers are little-endian `u64`, except the lease.
//!
//! ```text
//! entry:  create_revision, mod_revision, lease (0: none), value...
//! change: flags (1: put, 2: had a previous entry), [put: length, entry], [previous: entry]
//! ```

use bytes::Bytes;

use crate::{Entry, Error, Event, Key, LeaseId, Result};

const HEAD: usize = 24;
const PUT: u8 = 1;
const HAD_PREVIOUS: u8 = 2;

pub(super) fn encode_entry(entry: &Entry, out: &mut Vec<u8>) {
    out.extend_from_slice(&entry.create_revision.to_le_bytes());
    out.extend_from_slice(&entry.mod_revision.to_le_bytes());
    out.extend_from_slice(&entry.lease.map_or(0, |lease| lease.0).to_le_bytes());
    out.extend_from_slice(&entry.value);
}

pub(super) fn decode_entry(key: &Key, bytes: &[u8]) -> Result<Entry> {
    let (Some(head), Some(value)) = (bytes.get(..HEAD), bytes.get(HEAD..)) else {
        return Err(short(key, bytes));
    };
    let lease = number(head, 16) as i64;
    Ok(Entry {
        key: key.clone(),
        value: Bytes::copy_from_slice(value),
        create_revision: number(head, 0),
        mod_revision: number(head, 8),
        lease: (lease != 0).then_some(LeaseId(lease)),
    })
}

/// A change as the log has it: with the entry before, by which the past is read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Logged {
    pub event: Event,
    pub previous: Option<Entry>,
}

pub(super) fn encode_event(Logged { event, previous }: &Logged) -> Vec<u8> {
    let previous = previous.as_ref();
    let sizes = [event.entry(), previous].into_iter().flatten().map(|e| HEAD + e.value.len());
    let mut out = Vec::with_capacity(9 + sizes.sum::<usize>());
    let flag = |set: bool, bit| if set { bit } else { 0 };
    out.push(flag(event.entry().is_some(), PUT) | flag(previous.is_some(), HAD_PREVIOUS));
    if let Some(entry) = event.entry() {
        out.extend_from_slice(&((HEAD + entry.value.len()) as u64).to_le_bytes());
        encode_entry(entry, &mut out);
    }
    if let Some(entry) = previous {
        encode_entry(entry, &mut out);
    }
    out
}

pub(super) fn decode_event(key: &Key, bytes: &[u8]) -> Result<Logged> {
    let (&flags, mut rest) = bytes.split_first().ok_or_else(|| short(key, bytes))?;
    let mut event = Event::Delete { key: key.clone() };
    if flags & PUT != 0 {
        let len = rest.get(..8).map(|b| number(b, 0)).ok_or_else(|| short(key, bytes))?;
        let end = usize::try_from(len).ok().and_then(|len| len.checked_add(8));
        let put = end.and_then(|end| Some((rest.get(8..end)?, rest.get(end..)?)));
        let (put, behind) = put.ok_or_else(|| short(key, bytes))?;
        event = Event::Put(decode_entry(key, put)?);
        rest = behind;
    }
    let previous = match flags & HAD_PREVIOUS {
        0 => None,
        _ => Some(decode_entry(key, rest)?),
    };
    Ok(Logged { event, previous })
}

fn number(bytes: &[u8], at: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[at..at + 8]);
    u64::from_le_bytes(number)
}

fn short(key: &str, bytes: &[u8]) -> Error {
    Error::corrupt(format!("key {key:?}: a record of {} bytes is cut short", bytes.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(value: &'static [u8], lease: Option<LeaseId>) -> Entry {
        let value = Bytes::from_static(value);
        Entry { key: "port/leaf1/3".into(), value, create_revision: 7, mod_revision: 9, lease }
    }

    #[test]
    fn events_survive_the_round_trip() {
        let leased = entry(b"new", Some(LeaseId(-5)));
        for event in [Event::Put(leased.clone()), Event::Delete { key: leased.key.clone() }] {
            for previous in [None, Some(entry(b"", None)), Some(entry(b"old", None))] {
                let logged = Logged { event: event.clone(), previous };
                assert_eq!(decode_event(&leased.key, &encode_event(&logged)).unwrap(), logged);
            }
        }
    }

    #[test]
    fn cut_records_are_damage_and_no_panic() {
        let logged = Logged { event: Event::Put(entry(b"new", None)), previous: Some(entry(b"", None)) };
        let bytes = encode_event(&logged);
        for len in 0..bytes.len() {
            let found = decode_event(logged.event.key(), &bytes[..len]);
            assert!(matches!(found, Err(Error::Corrupt { .. })), "{len}");
        }
    }
}
