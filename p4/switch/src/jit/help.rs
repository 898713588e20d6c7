//! What compiled code calls: tables, and the interpreter for everything rare.
//!
//! Panics do not cross compiled frames: they are kept in the [`Cx`], the packet leaves its control, and the caller of the
//! compiled function goes on with them.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::cx::Cx;
use crate::exec::{Run, hash as algorithms};
use crate::program::code::*;
use crate::tables::Table;

/// The bits of what [`apply_for`] returns that hold the action that ran.
pub(super) const RAN_SHIFT: i64 = 32;
pub(super) const RAN_MASK: i64 = 0x3fff_ffff;
/// No action is left to run.
const NOTHING: u64 = u32::MAX as u64;

/// Runs `f` on the interpreter of a context.
fn with<'a>(cx: *mut Cx<'a>, f: impl FnOnce(&mut Run<'a>, &mut Cx<'a>) -> u64) -> u64 {
    // SAFETY: compiled code passes on the pointer it was called with, which is to a context on the caller's stack that nothing
    // else uses meanwhile; the run it names is borrowed by the same caller and not used there either.
    let (cx, run) = unsafe { (&mut *cx, &mut *(*cx).run) };
    match catch_unwind(AssertUnwindSafe(|| f(run, cx))) {
        Ok(value) => value,
        Err(panic) => {
            let cx: &mut Cx<'_> = cx;
            cx.panic.get_or_insert(panic);
            run.ctx.exit = true;
            0
        }
    }
}

/// Words that compiled code points at.
///
/// # Safety
/// `len` words at `ptr` live for the call, or `len` is 0.
unsafe fn words<'w>(ptr: *const u64, len: u64) -> &'w [u64] {
    if len == 0 {
        return &[];
    }
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(ptr, len as usize) }
}

macro_rules! helper {
    ($(#[$doc:meta])* $name:ident, $ty:ty, |$run:ident, $item:ident, $params:ident| $body:expr) => {
        $(#[$doc])*
        pub(super) extern "C" fn $name(cx: *mut Cx<'_>, item: *const $ty, params: *const u64, len: u64) -> u64 {
            // SAFETY: compiled code names parts of the program it was made from, which outlives it, and parameters whose
            // number it checked.
            let ($item, $params) = unsafe { (&*item, words(params, len)) };
            with(cx, |$run, _| $body)
        }
    };
}

helper!(num, Num, |run, item, params| run.num(item, params));
helper!(bool, Bool, |run, item, params| u64::from(run.bool(item, params)));
helper!(op, Op, |run, item, params| {
    run.op(item, params);
    0
});

/// A whole action.
pub(super) extern "C" fn action(cx: *mut Cx<'_>, id: u64, params: *const u64, len: u64) -> u64 {
    // SAFETY: compiled code checked the number of parameters.
    let params = unsafe { words(params, len) };
    with(cx, |run, _| {
        run.action(id as usize, params);
        0
    })
}

/// The action that [`look_up`] chose, when the table's compiled code does not have it.
pub(super) extern "C" fn unlisted(cx: *mut Cx<'_>, id: u64) -> u64 {
    with(cx, |run, cx| {
        if id != NOTHING {
            // SAFETY: `apply` took both from action data that the pin of this packet keeps alive.
            let params = unsafe { words(cx.params, cx.params_len as u64) };
            run.action(id as usize, params);
        }
        0
    })
}

/// The parser's position after the operation, or the complement of the error.
pub(super) extern "C" fn parse_op(cx: *mut Cx<'_>, op: *const ParseOp, at: u64) -> u64 {
    // SAFETY: a part of the program.
    let op = unsafe { &*op };
    with(cx, |run, _| {
        let mut at = at as usize;
        match run.parse_op(op, &mut at) {
            Ok(()) => at as u64,
            Err(error) => !u64::from(error),
        }
    })
}

/// The next state, or the complement of the error.
pub(super) extern "C" fn select(cx: *mut Cx<'_>, select: *const Select, at: u64) -> u64 {
    // SAFETY: a part of the program.
    let select = unsafe { &*select };
    with(cx, |run, _| match run.select(select, at as usize) {
        Ok(next) => u64::from(next),
        Err(error) => !u64::from(error),
    })
}

/// The function that applies a table whose key has this many words.
///
/// It takes the context, the table, its number, and the key with the number of its words, and looks the key up. It returns the
/// action to run in the low 32 bits, from [`RAN_SHIFT`] on the same again, the highest bit for a hit. The parameters are in the
/// context.
pub(super) fn apply_for(words: usize) -> usize {
    let function: extern "C" fn(*mut Cx<'_>, *const Table, u64, *const u64, u64) -> u64 = match words {
        0 => apply::<0>,
        1 => apply::<1>,
        2 => apply::<2>,
        3 => apply::<3>,
        4 => apply::<4>,
        5 => apply::<5>,
        6 => apply::<6>,
        7 => apply::<7>,
        8 => apply::<8>,
        _ => apply_long,
    };
    function as *const () as usize
}

extern "C" fn apply<const WORDS: usize>(cx: *mut Cx<'_>, table: *const Table, id: u64, key: *const u64, _: u64) -> u64 {
    // SAFETY: compiled code names a table of the instance, and packed as many words as it asked this function for.
    let (table, key) = unsafe { (&*table, words(key, WORDS as u64)) };
    with(cx, |run, cx| look_up(run, cx, table, id as usize, key))
}

extern "C" fn apply_long(cx: *mut Cx<'_>, table: *const Table, id: u64, key: *const u64, len: u64) -> u64 {
    // SAFETY: compiled code names a table of the instance, and packed as many words as it says.
    let (table, key) = unsafe { (&*table, words(key, len)) };
    with(cx, |run, cx| look_up(run, cx, table, id as usize, key))
}

#[inline(always)]
fn look_up<'a>(run: &mut Run<'a>, cx: &mut Cx<'a>, table: &'a Table, id: usize, key: &[u64]) -> u64 {
    let found = if table.is_empty() { None } else { run.scratch.memory.find(id, table, key, run.pin) };
    let (hit, data) = run.settle(id, table, found);
    let hit = u64::from(hit) << 63;
    let Some(data) = data else { return NOTHING | (RAN_MASK as u64) << RAN_SHIFT | hit };
    let ran = (data.action as u64) << RAN_SHIFT | hit;
    if run.native.is_none_or(|native| data.words.len() < native.needed(data.action)) {
        run.action(data.action, &data.words);
        return NOTHING | ran;
    }
    (cx.params, cx.params_len) = (data.words.as_ptr(), data.words.len());
    data.action as u64 | ran
}

/// Counts a packet that a table does nothing else with.
pub(super) extern "C" fn count_idle(cx: *mut Cx<'_>, id: u64) -> u64 {
    with(cx, |run, _| {
        let rt = run.rt;
        if let Some(counter) = rt.tables[id as usize].default.load(run.pin).and_then(|entry| entry.counter.as_ref()) {
            counter.add(run.worker, u64::from(run.ctx.ingress_len));
        }
        0
    })
}

/// An indexed counter.
pub(super) extern "C" fn count(cx: *mut Cx<'_>, counter: u64, index: u64) -> u64 {
    with(cx, |run, _| {
        if let Some(cell) = run.rt.counters[counter as usize].get(index & u64::from(u32::MAX)) {
            cell.add(run.worker, u64::from(run.ctx.ingress_len));
        }
        0
    })
}

/// Microseconds since the switch started.
pub(super) extern "C" fn now(cx: *mut Cx<'_>) -> u64 {
    with(cx, |run, _| run.clock.now_us())
}

/// A calculation that is not compiled.
pub(super) extern "C" fn calculate(cx: *mut Cx<'_>, calc: u64) -> u64 {
    with(cx, |run, _| run.calculate(calc as u16))
}

/// Writes a header to the output; the address behind it.
pub(super) extern "C" fn emit(cx: *mut Cx<'_>, header: u64, to: *mut u8) -> u64 {
    with(cx, |run, _| {
        let mut bytes = std::mem::take(&mut run.scratch.bytes);
        bytes.clear();
        run.emit(header as u16, &mut bytes);
        // SAFETY: the output has room for every header at its longest.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        let end = to as u64 + bytes.len() as u64;
        run.scratch.bytes = bytes;
        end
    })
}

/// The bytes that compiled code gathered.
///
/// # Safety
/// `len` bytes at `ptr` live for the call.
unsafe fn gathered<'b>(ptr: *const u8, len: u64) -> &'b [u8] {
    // SAFETY: the caller's promise.
    unsafe { std::slice::from_raw_parts(ptr, len as usize) }
}

pub(super) extern "C" fn crc32(ptr: *const u8, len: u64) -> u64 {
    // SAFETY: compiled code passes a part of its stack.
    algorithms::hash(Algo::Crc32, unsafe { gathered(ptr, len) })
}

pub(super) extern "C" fn crc16(ptr: *const u8, len: u64) -> u64 {
    // SAFETY: compiled code passes a part of its stack.
    algorithms::hash(Algo::Crc16, unsafe { gathered(ptr, len) })
}

pub(super) extern "C" fn hash(algo: *const Algo, ptr: *const u8, len: u64) -> u64 {
    // SAFETY: a part of the program, and a part of the stack of compiled code.
    let (algo, bytes) = unsafe { (*algo, gathered(ptr, len)) };
    algorithms::hash(algo, bytes)
}
