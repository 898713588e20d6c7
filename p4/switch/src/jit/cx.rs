//! What compiled code is given: addresses of the packet's memory, and the run for everything that the interpreter does.

use std::any::Any;

use crate::exec::{Ctx, Run};
use crate::tables::Table;

/// The only argument of compiled functions. Lives on the stack of the caller, for one call.
#[repr(C)]
pub(crate) struct Cx<'a> {
    pub run: *mut Run<'a>,
    pub ctx: *mut Ctx,
    /// `code.frame_len` bytes, and behind them a bit for each header.
    pub frame: *mut u8,
    /// The next index of each stack.
    pub next: *mut u16,
    pub var_len: *mut u32,
    pub packet: *const u8,
    pub tables: *const Table,
    /// Parameters of the action that a table chose.
    pub params: *const u64,
    pub params_len: usize,
    /// Where the deparser writes.
    pub out: *mut u8,
    pub drop_port: u64,
    pub priority_queues: u64,
    /// Where the worker's shard is in a counter, or 0 when the interpreter must find it.
    pub shard: usize,
    /// A panic of the interpreter, on its way through compiled code.
    pub panic: Option<Box<dyn Any + Send>>,
}
