//! Running a program on packets.

pub(crate) mod ctx;
mod deparse;
mod eval;
mod flow;
pub(crate) mod hash;
mod ops;
mod parse;
pub(crate) mod trace;
pub mod wide;

pub(crate) use ctx::{Ctx, Outgoing, Source};
pub(crate) use parse::MAX_STATES;

use crate::instance::Instance;
use crate::jit::Native;
use crate::program::code::Code;
use crate::rcu::Pin;
use crate::state::ports::Ports;
use crate::tables::memory::Memory;

/// Memory that a worker reuses from packet to packet.
#[derive(Default)]
pub(crate) struct Scratch {
    /// The packed key of the table being looked up.
    pub key: Vec<u64>,
    /// Bytes being hashed, matched or sampled.
    pub bytes: Vec<u8>,
    pub memory: Memory,
    /// State of the generator.
    pub random: u64,
    pub round_robin: u64,
}

impl Scratch {
    pub fn random(&mut self) -> u64 {
        // xorshift64*
        let mut x = self.random | 1;
        x ^= x >> 12;
        x ^= x << 25;
        x ^= x >> 27;
        self.random = x;
        x.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }
}

/// How far machine code carried a packet that it had from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(not(all(feature = "jit", any(target_arch = "x86_64", target_arch = "aarch64"))), allow(dead_code))]
pub(crate) enum Stop {
    BehindIngress,
    BehindEgress,
    /// All the way: its headers are written.
    Nowhere,
}

/// One packet on its way through one program.
pub(crate) struct Run<'a> {
    pub code: &'a Code,
    /// The compiled program, when it is ready and wanted.
    pub native: Option<&'a Native>,
    pub rt: &'a Instance,
    pub ports: &'a Ports,
    pub pin: &'a Pin,
    pub ctx: &'a mut Ctx,
    pub scratch: &'a mut Scratch,
    /// The whole packet that `ctx.start..ctx.end` cuts the payload from.
    pub packet: &'a [u8],
    pub worker: usize,
    pub drop_port: u32,
    pub priority_queues: u32,
    pub clock: &'a crate::switch::Clock,
}
