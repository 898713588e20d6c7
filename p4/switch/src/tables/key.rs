//! Match keys: the typed form of the control plane and the packed words that packets are compared with.

use smallvec::SmallVec;

use crate::program::MatchKind;
use crate::program::code::TableCode;

/// An unsigned number, most significant byte first; leading zeros do not matter.
pub type Value = SmallVec<[u8; 16]>;

/// What one field of a key must be.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum KeyField {
    Exact(Value),
    Lpm {
        value: Value,
        prefix_len: u32,
    },
    Ternary {
        value: Value,
        mask: Value,
    },
    /// Both ends included.
    Range {
        low: Value,
        high: Value,
    },
    /// `None` matches everything.
    Optional(Option<Value>),
}

/// Why a key does not suit a table.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    #[error("the key has {found} fields, the table {wanted}")]
    FieldCount { found: usize, wanted: usize },
    #[error("field {field}: matched as {found}, the table matches it as {wanted:?}")]
    Kind { field: usize, found: &'static str, wanted: MatchKind },
    #[error("field {field}: the value needs {found} bits, the field has {wanted}")]
    TooWide { field: usize, found: u32, wanted: u32 },
    #[error("field {field}: prefix length {found}, the field has {wanted} bits")]
    Prefix { field: usize, found: u32, wanted: u32 },
    #[error("field {field}: the range is empty")]
    EmptyRange { field: usize },
}

/// Where a field is in the packed key: narrow ones share a word, wide ones take several, most significant first.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Slot {
    pub word: usize,
    pub words: usize,
    pub shift: u32,
    pub width: u32,
}

impl Slot {
    /// The field's bits in word `i` of its words.
    pub fn mask(&self, i: usize) -> u64 {
        let bits = if self.words == 1 {
            self.width
        } else if i == 0 {
            self.width - (self.words as u32 - 1) * 64
        } else {
            64
        };
        (if bits == 64 { u64::MAX } else { (1 << bits) - 1 }) << self.shift
    }

    fn put(&self, words: &mut [u64], value: &[u8]) {
        for (i, chunk) in value.rchunks(8).enumerate() {
            let Some(word) = self.words.checked_sub(i + 1) else { break };
            let part = chunk.iter().fold(0u64, |v, &b| v << 8 | u64::from(b));
            words[self.word + word] |= part << self.shift;
        }
    }

    fn take(&self, words: &[u64]) -> Value {
        let mut value = Value::new();
        for i in 0..self.words {
            let part = (words[self.word + i] & self.mask(i)) >> self.shift;
            value.extend_from_slice(&part.to_be_bytes());
        }
        let skip = value.len() - self.width.div_ceil(8) as usize;
        value.drain(..skip);
        value
    }

    /// The word masks of a prefix, in the words of this field only.
    pub fn prefix(&self, len: u32, words: &mut [u64]) {
        let mut left = len;
        for (i, word) in words.iter_mut().enumerate().take(self.words) {
            let full = self.mask(i);
            let bits = full.count_ones();
            let take = left.min(bits);
            left -= take;
            *word = if take == bits { full } else { full & !((full >> self.shift >> take) << self.shift) };
        }
    }
}

/// A range that a candidate's field must lie in; the words as in the packed key.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct RangeCheck {
    pub field: u16,
    pub word: u16,
    /// Masks, lows and highs of the field's words.
    pub parts: SmallVec<[(u64, u64, u64); 1]>,
}

impl RangeCheck {
    #[inline]
    pub fn holds(&self, key: &[u64]) -> bool {
        let key = &key[usize::from(self.word)..];
        let value = |i: usize, mask: u64| key[i] & mask;
        // Most significant word first, so the first difference decides.
        let cmp = |pick: fn(&(u64, u64, u64)) -> u64| {
            let words = self.parts.iter().enumerate();
            words.map(|(i, p)| value(i, p.0).cmp(&pick(p))).fold(std::cmp::Ordering::Equal, |a, b| a.then(b))
        };
        cmp(|p| p.1).is_ge() && cmp(|p| p.2).is_le()
    }
}

/// A key as the table stores it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
#[repr(C)]
pub(crate) struct Packed {
    pub prefix_len: u32,
    pub words: SmallVec<[u64; 4]>,
    pub ranges: Vec<RangeCheck>,
    /// All ones in exact fields; empty for tables without wildcards.
    pub masks: SmallVec<[u64; 4]>,
}

/// The layout of a table's key.
#[derive(Clone, Debug)]
pub(crate) struct Layout {
    pub slots: Vec<Slot>,
    pub kinds: Vec<MatchKind>,
    pub words: usize,
    pub wildcards: bool,
    /// The bits that the program's masks keep of each word; empty for tables without masks.
    keep: SmallVec<[u64; 4]>,
}

fn bits(value: &[u8]) -> u32 {
    let skip = value.iter().take_while(|&&b| b == 0).count();
    value.get(skip).map_or(0, |top| (value.len() - skip) as u32 * 8 - top.leading_zeros())
}

impl Layout {
    pub fn new(code: &TableCode, kinds: Vec<MatchKind>) -> Self {
        let slot = |part: &crate::program::code::KeyPart| Slot {
            word: usize::from(part.word),
            words: part.more.len().max(1),
            shift: u32::from(part.shift),
            width: part.width,
        };
        let wildcards = kinds.iter().any(|k| matches!(k, MatchKind::Ternary | MatchKind::Range | MatchKind::Optional));
        let slots: Vec<Slot> = code.key.iter().map(slot).collect();
        let mut keep: SmallVec<[u64; 4]> = SmallVec::from_elem(u64::MAX, code.words);
        for (slot, part) in slots.iter().zip(&code.key) {
            for (i, word) in keep[slot.word..slot.word + slot.words].iter_mut().enumerate() {
                let kept = part.more.get(i).map_or(part.keep << slot.shift, |&(_, mask)| mask);
                *word &= kept | !slot.mask(i);
            }
        }
        if keep.iter().all(|&word| word == u64::MAX) {
            keep.clear();
        }
        Layout { slots, kinds, words: code.words, wildcards, keep }
    }

    /// Packs a key, bits outside masks and prefixes cleared. What the program's own masks take from the packet's key they
    /// take from an entry's as well, of a range from its lower end, as on BMv2: `0x12` of `hdr.x & 0x0f` is `0x02`.
    pub fn pack(&self, key: &[KeyField]) -> Result<Packed, KeyError> {
        if key.len() != self.slots.len() {
            return Err(KeyError::FieldCount { found: key.len(), wanted: self.slots.len() });
        }
        let mut packed = Packed { words: SmallVec::from_elem(0, self.words), ..Packed::default() };
        if self.wildcards {
            packed.masks = SmallVec::from_elem(0, self.words);
        }
        let mut scratch: SmallVec<[u64; 4]> = SmallVec::new();
        for (field, ((value, slot), &kind)) in key.iter().zip(&self.slots).zip(&self.kinds).enumerate() {
            let check = |v: &[u8]| {
                let found = bits(v);
                if found > slot.width {
                    return Err(KeyError::TooWide { field, found, wanted: slot.width });
                }
                Ok(())
            };
            let wrong = |found| Err(KeyError::Kind { field, found, wanted: kind });
            let range = slot.word..slot.word + slot.words;
            let full = |packed: &mut Packed| {
                if self.wildcards {
                    (0..slot.words).for_each(|i| packed.masks[slot.word + i] |= slot.mask(i));
                }
            };
            match (value, kind) {
                (KeyField::Exact(v), MatchKind::Exact) | (KeyField::Optional(Some(v)), MatchKind::Optional) => {
                    check(v)?;
                    slot.put(&mut packed.words, v);
                    full(&mut packed);
                }
                (KeyField::Optional(None), MatchKind::Optional) => {}
                (KeyField::Lpm { value, prefix_len }, MatchKind::Lpm) => {
                    check(value)?;
                    if *prefix_len > slot.width {
                        return Err(KeyError::Prefix { field, found: *prefix_len, wanted: slot.width });
                    }
                    packed.prefix_len = *prefix_len;
                    scratch.clear();
                    scratch.resize(slot.words, 0);
                    slot.prefix(*prefix_len, &mut scratch);
                    slot.put(&mut packed.words, value);
                    for (i, mask) in scratch.iter().enumerate() {
                        packed.words[slot.word + i] &= !slot.mask(i) | mask;
                        if self.wildcards {
                            packed.masks[slot.word + i] |= mask;
                        }
                    }
                }
                (KeyField::Ternary { value, mask }, MatchKind::Ternary) => {
                    check(value)?;
                    check(mask)?;
                    slot.put(&mut packed.words, value);
                    slot.put(&mut packed.masks, mask);
                    for i in range {
                        let own = slot.mask(i - slot.word);
                        packed.words[i] &= !own | packed.masks[i];
                    }
                }
                (KeyField::Range { low, high }, MatchKind::Range) => {
                    check(low)?;
                    check(high)?;
                    self.pack_range(field, slot, low, high, &mut packed)?;
                }
                (KeyField::Exact(_), _) => return wrong("exact"),
                (KeyField::Lpm { .. }, _) => return wrong("lpm"),
                (KeyField::Ternary { .. }, _) => return wrong("ternary"),
                (KeyField::Range { .. }, _) => return wrong("range"),
                (KeyField::Optional(_), _) => return wrong("optional"),
            }
        }
        packed.words.iter_mut().zip(&self.keep).for_each(|(word, keep)| *word &= keep);
        Ok(packed)
    }

    /// A range is hashed by the leading bits that its ends share and checked in full on candidates.
    fn pack_range(
        &self,
        field: usize,
        slot: &Slot,
        low: &[u8],
        high: &[u8],
        packed: &mut Packed,
    ) -> Result<(), KeyError> {
        let (mut lows, mut highs) = (vec![0; self.words], vec![0; self.words]);
        slot.put(&mut lows, low);
        slot.put(&mut highs, high);
        let range = slot.word..slot.word + slot.words;
        if lows[range.clone()] > highs[range.clone()] {
            return Err(KeyError::EmptyRange { field });
        }
        lows.iter_mut().zip(&self.keep).for_each(|(low, keep)| *low &= keep);
        let mut same = true;
        let mut parts = SmallVec::new();
        for i in range {
            let own = slot.mask(i - slot.word);
            let differ = lows[i] ^ highs[i];
            // Bits above the first difference.
            let shared = if !same {
                0
            } else if differ == 0 {
                own
            } else {
                same = false;
                own & !(u64::MAX >> differ.leading_zeros())
            };
            packed.masks[i] |= shared;
            packed.words[i] |= lows[i] & shared;
            parts.push((own, lows[i], highs[i]));
        }
        packed.ranges.push(RangeCheck { field: field as u16, word: slot.word as u16, parts });
        Ok(())
    }

    /// The typed form of a packed key; values have the field's full length in bytes.
    pub fn unpack(&self, packed: &Packed) -> Vec<KeyField> {
        let mut fields = Vec::with_capacity(self.slots.len());
        for (field, (slot, kind)) in self.slots.iter().zip(&self.kinds).enumerate() {
            let value = || slot.take(&packed.words);
            fields.push(match kind {
                MatchKind::Exact => KeyField::Exact(value()),
                MatchKind::Lpm if self.wildcards => {
                    let bits = slot.take(&packed.masks).iter().map(|b| b.count_ones()).sum();
                    KeyField::Lpm { value: value(), prefix_len: bits }
                }
                MatchKind::Lpm => KeyField::Lpm { value: value(), prefix_len: packed.prefix_len },
                MatchKind::Ternary => KeyField::Ternary { value: value(), mask: slot.take(&packed.masks) },
                MatchKind::Optional => {
                    let any = slot.take(&packed.masks).iter().all(|&b| b == 0);
                    KeyField::Optional((!any).then(value))
                }
                MatchKind::Range => {
                    let found = packed.ranges.iter().find(|r| usize::from(r.field) == field);
                    let side = |pick: fn(&(u64, u64, u64)) -> u64| {
                        let mut words = vec![0; self.words];
                        for (i, part) in found.iter().flat_map(|r| r.parts.iter().enumerate()) {
                            words[slot.word + i] = pick(part);
                        }
                        slot.take(&words)
                    };
                    KeyField::Range { low: side(|p| p.1), high: side(|p| p.2) }
                }
            });
        }
        fields
    }
}
