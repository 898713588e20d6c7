//! What is known of one packet: its frame of header and metadata fields, and the registers of the traffic manager.

use crate::program::code::{Bits, Code, FieldRef, Fld};

/// Where the packet's bytes are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Source {
    /// In the frame given to the worker.
    #[default]
    Input,
    /// In [`Ctx::own`]: the packet was deparsed before.
    Own,
}

/// A packet as it leaves: new headers, and what the parser left of the old packet; both cut to the packet's truncation.
pub struct Outgoing<'p> {
    pub head: &'p [u8],
    pub payload: &'p [u8],
    /// Bytes that the headers in front of the payload grew by since the packet came in.
    pub growth: i32,
}

#[derive(Default)]
pub struct Ctx {
    /// The fields, then from `valid_at` on a bit for each header.
    pub frame: Vec<u8>,
    valid_at: usize,
    pub next: Vec<u16>,
    pub union_next: Vec<u16>,
    pub var_len: Vec<u32>,
    pub source: Source,
    pub own: Vec<u8>,
    /// The payload: what the parser left.
    pub start: usize,
    pub end: usize,
    /// Bytes that passes before this one put before the payload.
    pub growth: i32,
    pub ingress_port: u32,
    pub egress_port: u32,
    pub ingress_len: u32,
    /// BMv2's packet register 0: the length with headers added and removed.
    pub length: u32,
    pub clone_session: u16,
    pub clone_list: u16,
    pub digest: u16,
    pub resubmit: u16,
    pub recirculate: u16,
    pub truncate: usize,
    pub exit: bool,
    pub failed: bool,
    pub parser_error: u32,
    pub checksum_error: bool,
    pub enqueued_us: u64,
}

/// The bytes of a field that has them to itself are read and written alone: a wider access would wait for narrower writes
/// under way.
#[inline(always)]
pub fn load(frame: &[u8], fld: Fld) -> u64 {
    let bytes = &frame[fld.off as usize..];
    match fld.own {
        1 => bytes.first().map_or(0, |&byte| byte.into()),
        2 => bytes.first_chunk().map_or(0, |own| u16::from_be_bytes(*own).into()),
        4 => bytes.first_chunk().map_or(0, |own| u32::from_be_bytes(*own).into()),
        8 => bytes.first_chunk().map_or(0, |own| u64::from_be_bytes(*own)),
        _ => bytes.first_chunk().map_or(0, |window| u64::from_be_bytes(*window) >> fld.shift & fld.mask),
    }
}

#[inline(always)]
pub fn store(frame: &mut [u8], fld: Fld, value: u64) {
    let bytes = &mut frame[fld.off as usize..];
    let value = value & fld.mask;
    // Fails for no field: the frame ends with room for a window.
    let _ = match fld.own {
        1 => bytes.first_mut().map(|own| *own = value as u8),
        2 => bytes.first_chunk_mut().map(|own| *own = (value as u16).to_be_bytes()),
        4 => bytes.first_chunk_mut().map(|own| *own = (value as u32).to_be_bytes()),
        8 => bytes.first_chunk_mut().map(|own| *own = value.to_be_bytes()),
        _ => bytes.first_chunk_mut().map(|window| {
            let others = u64::from_be_bytes(*window) & !(fld.mask << fld.shift);
            *window = (others | value << fld.shift).to_be_bytes();
        }),
    };
}

fn wide_window(bits: Bits) -> (usize, u32, u128) {
    let shift = 128 - bits.bit % 8 - bits.width;
    let mask = if bits.width == 64 { u128::from(u64::MAX) } else { (1u128 << bits.width) - 1 };
    (bits.bit as usize / 8, shift, mask)
}

/// Up to 64 bits anywhere.
#[inline]
pub fn load_bits(frame: &[u8], bits: Bits) -> u64 {
    let (at, shift, mask) = wide_window(bits);
    let window = frame[at..].first_chunk::<16>();
    window.map_or(0, |window| (u128::from_be_bytes(*window) >> shift & mask) as u64)
}

#[inline]
pub fn store_bits(frame: &mut [u8], bits: Bits, value: u64) {
    let (at, shift, mask) = wide_window(bits);
    if let Some(window) = frame[at..].first_chunk_mut::<16>() {
        let value = (u128::from(value) & mask) << shift;
        *window = (u128::from_be_bytes(*window) & !(mask << shift) | value).to_be_bytes();
    }
}

/// The 64-bit pieces of a wide field, most significant first.
pub fn pieces(bits: Bits) -> impl DoubleEndedIterator<Item = Bits> {
    let count = bits.width.div_ceil(64);
    (0..count).map(move |i| {
        let end = bits.width - (count - 1 - i) * 64;
        let width = if i == 0 { end } else { 64 };
        Bits { bit: bits.bit + end - width, width }
    })
}

/// Zeroes a few numbers, most often none, one by one: C libraries do so by a masked vector store, which takes some processors
/// 20 ns even for nothing.
#[inline(always)]
fn zero<T: Copy + From<u8>>(numbers: &mut [T]) {
    for number in numbers {
        *number = std::hint::black_box(T::from(0));
    }
}

impl Ctx {
    pub fn new(code: &Code) -> Self {
        Ctx {
            frame: [&vec![0; code.frame_len], &code.valid0[..]].concat(),
            valid_at: code.frame_len,
            next: vec![0; code.stacks.len()],
            union_next: vec![0; code.union_stacks.len()],
            var_len: vec![0; code.var_slots],
            truncate: usize::MAX,
            ..Ctx::default()
        }
    }

    /// Ready for a new packet: no header valid, all fields zero.
    pub fn reset(&mut self, code: &Code) {
        self.frame.fill(0);
        self.reset_headers(code);
        self.growth = 0;
        self.truncate = usize::MAX;
        self.failed = false;
        self.exit = false;
        self.length = 0;
        self.clear_registers();
        self.source = Source::Input;
    }

    /// No header valid and all stacks empty; fields keep their bytes.
    pub fn reset_headers(&mut self, code: &Code) {
        self.frame[self.valid_at..].copy_from_slice(&code.valid0);
        zero(&mut self.next);
        zero(&mut self.union_next);
        zero(&mut self.var_len);
    }

    pub fn reset_metadata(&mut self, code: &Code) {
        self.frame[..code.metadata_len].fill(0);
    }

    /// All registers but the length.
    pub fn clear_registers(&mut self) {
        self.clone_session = 0;
        self.clone_list = 0;
        self.digest = 0;
        self.resubmit = 0;
        self.recirculate = 0;
    }

    /// Becomes a copy of `other`, as BMv2 clones packets: flags and truncation start anew.
    pub fn copy_from(&mut self, other: &Ctx) {
        self.frame.copy_from_slice(&other.frame);
        self.next.copy_from_slice(&other.next);
        self.union_next.copy_from_slice(&other.union_next);
        self.var_len.copy_from_slice(&other.var_len);
        self.copy_packet(other);
        self.start = other.start;
        self.exit = false;
        self.failed = false;
        self.truncate = usize::MAX;
        self.clear_registers();
        self.parser_error = other.parser_error;
        self.checksum_error = other.checksum_error;
    }

    /// Takes over where the packet's bytes are and what is known of the packet as a whole.
    pub fn copy_packet(&mut self, other: &Ctx) {
        self.source = other.source;
        if other.source == Source::Own {
            self.own.clear();
            self.own.extend_from_slice(&other.own);
        }
        self.end = other.end;
        self.growth = other.growth;
        self.ingress_port = other.ingress_port;
        self.egress_port = other.egress_port;
        self.ingress_len = other.ingress_len;
        self.length = other.length;
    }

    /// What leaves when `head` was deparsed and the payload is that of `packet`.
    #[inline]
    pub fn outgoing<'p>(&self, head: &'p [u8], packet: &'p [u8]) -> Outgoing<'p> {
        let growth = self.growth + head.len() as i32 - self.start as i32;
        let payload = &packet[self.start..self.end];
        let keep_head = head.len().min(self.truncate);
        let keep_payload = payload.len().min(self.truncate - keep_head);
        Outgoing { head: &head[..keep_head], payload: &payload[..keep_payload], growth }
    }

    #[inline(always)]
    pub fn is_valid(&self, header: u16) -> bool {
        self.frame[self.valid_at + usize::from(header) / 8] >> (header % 8) & 1 == 1
    }

    /// Sets the validity bit alone.
    #[inline]
    pub fn set_bit(&mut self, header: u16, on: bool) {
        let (byte, bit) = (&mut self.frame[self.valid_at + usize::from(header) / 8], 1 << (header % 8));
        if on {
            *byte |= bit;
        } else {
            *byte &= !bit;
        }
    }

    /// Makes a header valid; the others of its union become invalid.
    #[inline]
    pub fn set_valid(&mut self, code: &Code, header: u16) {
        for &rival in &code.headers[usize::from(header)].rivals {
            self.set_bit(rival, false);
        }
        self.set_bit(header, true);
    }

    #[inline(always)]
    pub fn get(&self, fld: Option<Fld>) -> u64 {
        fld.map_or(0, |fld| load(&self.frame, fld))
    }

    #[inline(always)]
    pub fn set(&mut self, fld: Option<Fld>, value: u64) {
        if let Some(fld) = fld {
            store(&mut self.frame, fld, value);
        }
    }

    /// Copies one field from another context.
    pub fn copy_field(&mut self, from: &Ctx, code: &Code, field: FieldRef) {
        match field {
            FieldRef::Narrow(fld) => store(&mut self.frame, fld, load(&from.frame, fld)),
            FieldRef::Wide(bits) => {
                for piece in pieces(bits) {
                    store_bits(&mut self.frame, piece, load_bits(&from.frame, piece));
                }
            }
            FieldRef::Valid(_) => {}
            FieldRef::Var(header) => {
                if let Some(var) = &code.headers[usize::from(header)].var {
                    self.var_len[var.slot] = from.var_len[var.slot];
                    let area = var.area as usize..(var.area + var.max_bytes) as usize;
                    self.frame[area.clone()].copy_from_slice(&from.frame[area]);
                }
            }
        }
    }

    /// Bytes of a header on the wire now.
    #[inline]
    pub fn header_len(&self, code: &Code, header: u16) -> u32 {
        let def = &code.headers[usize::from(header)];
        def.fixed + def.var.as_ref().map_or(0, |var| self.var_len[var.slot])
    }
}

impl Ctx {
    /// Appends a field in whole bytes, most significant first.
    pub fn sample_field(&self, code: &Code, field: FieldRef, out: &mut Vec<u8>) {
        match field {
            FieldRef::Narrow(fld) => {
                let bytes = load(&self.frame, fld).to_be_bytes();
                out.extend_from_slice(&bytes[8 - usize::from(fld.width).div_ceil(8)..]);
            }
            FieldRef::Wide(bits) => {
                for piece in pieces(bits) {
                    let bytes = load_bits(&self.frame, piece).to_be_bytes();
                    out.extend_from_slice(&bytes[8 - (piece.width as usize).div_ceil(8)..]);
                }
            }
            FieldRef::Valid(header) => out.push(u8::from(self.is_valid(header))),
            FieldRef::Var(header) => {
                if let Some(var) = &code.headers[usize::from(header)].var {
                    let at = var.area as usize;
                    out.extend_from_slice(&self.frame[at..at + self.var_len[var.slot] as usize]);
                }
            }
        }
    }
}
