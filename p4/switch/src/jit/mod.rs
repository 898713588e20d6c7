//! Programs as machine code.
//!
//! Cranelift compiles the parser, both controls, the deparser and the calculations of a lowered program to one function each.
//! What is rare (wide arithmetic, registers, meters, header stacks beyond extraction, logs) is a call of the interpreter with
//! that very operation, so that every program runs and both ways mean the same. Packets that come before the code is ready
//! are interpreted.
//!
//! Compiled code reads and writes only: the frame and the validity bits of its packet, whose sizes the program fixes; the
//! packet's bytes, after it compared with their end; the heads of the instance's tables, which the program numbers; parameters, after `help::look_up` compared their number; the output, which
//! has room for all headers; and its own stack.
#![allow(unsafe_code)]

mod calc;
mod compile;
mod cx;
mod deparser;
mod emit;
mod expr;
mod flow;
mod frame;
mod help;
mod ops;
mod parser;
mod pass;

use std::panic::resume_unwind;

use cranelift_jit::JITModule;

use crate::exec::{Ctx, Run, Stop};
use crate::program::Program;
use crate::state::counter::CounterCell;
use cx::Cx;

/// A compiled function of one [`Cx`].
#[derive(Clone, Copy)]
struct Entry(*const u8);

/// The machine code of one program.
pub(crate) struct Native {
    pass: Option<Entry>,
    parse: Option<Entry>,
    ingress: Entry,
    egress: Entry,
    deparse: Entry,
    calcs: Vec<Option<Entry>>,
    needed: Vec<usize>,
    most_head: usize,
    /// Always there until the drop.
    module: Option<JITModule>,
}

// SAFETY: after compilation the module is only kept for its memory, which is not written any more.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

impl Drop for Native {
    fn drop(&mut self) {
        if let Some(module) = self.module.take() {
            // SAFETY: functions are called by runs on the program only, and the program is being dropped.
            unsafe { module.free_memory() };
        }
    }
}

/// Returns what the compiler used to the operating system: it is several megabytes, and needed once.
fn give_back() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    // SAFETY: the function may be called at any time by any thread.
    unsafe {
        libc::malloc_trim(0);
    }
}

impl Native {
    /// Compiles a program; None when that is not possible here.
    pub fn new(program: &Program) -> Option<Native> {
        match compile::compile(program) {
            Ok(native) => {
                give_back();
                Some(native)
            }
            Err(error) => {
                tracing::warn!("the program is interpreted: {error}");
                None
            }
        }
    }

    /// Parameter words that the compiled form of an action reads.
    #[inline]
    pub fn needed(&self, action: usize) -> usize {
        self.needed[action]
    }

    #[inline]
    fn call(&self, entry: Entry, run: &mut Run<'_>, out: *mut u8) -> u64 {
        let ctx: *mut Ctx = run.ctx;
        let mut cx = Cx {
            frame: run.ctx.frame.as_mut_ptr(),
            next: run.ctx.next.as_mut_ptr(),
            var_len: run.ctx.var_len.as_mut_ptr(),
            ctx,
            packet: run.packet.as_ptr(),
            tables: run.rt.tables.as_ptr(),
            params: std::ptr::null(),
            params_len: 0,
            out,
            drop_port: u64::from(run.drop_port),
            priority_queues: u64::from(run.priority_queues),
            shard: CounterCell::in_place(run.worker).unwrap_or(0),
            panic: None,
            run,
        };
        // SAFETY: the entry is a function of this signature, compiled from the program of this run, whose frame has the size
        // that the program asks for; it uses what the context points at and nothing else.
        let result = unsafe {
            let function: unsafe extern "C" fn(*mut Cx<'_>) -> u64 = std::mem::transmute(entry.0);
            function(&raw mut cx)
        };
        if let Some(panic) = cx.panic.take() {
            resume_unwind(panic);
        }
        result
    }

    /// Parses a packet and carries it on as far as it goes the usual way, its headers to `out`. None, and nothing done, when
    /// the program has no function for that.
    #[inline]
    pub fn pass(&self, run: &mut Run<'_>, out: &mut Vec<u8>) -> Option<Stop> {
        let entry = self.pass?;
        run.forget_errors();
        out.clear();
        out.reserve(self.most_head);
        let result = self.call(entry, run, out.as_mut_ptr());
        // SAFETY: the deparser wrote this many bytes, or none, and never more than there was room for.
        unsafe { out.set_len(result as u32 as usize) };
        Some(match result >> pass::STOP_SHIFT {
            0 => Stop::BehindIngress,
            1 => Stop::BehindEgress,
            _ => Stop::Nowhere,
        })
    }

    /// Parses; false when the interpreter must.
    #[inline]
    pub fn parse(&self, run: &mut Run<'_>) -> bool {
        let Some(entry) = self.parse else { return false };
        self.call(entry, run, std::ptr::null_mut());
        true
    }

    #[inline]
    pub fn ingress(&self, run: &mut Run<'_>) {
        self.call(self.ingress, run, std::ptr::null_mut());
    }

    #[inline]
    pub fn egress(&self, run: &mut Run<'_>) {
        self.call(self.egress, run, std::ptr::null_mut());
    }

    /// Updates checksums and writes the headers to `out`.
    #[inline]
    pub fn deparse(&self, run: &mut Run<'_>, out: &mut Vec<u8>) {
        out.clear();
        out.reserve(self.most_head);
        let len = self.call(self.deparse, run, out.as_mut_ptr()) as usize;
        // SAFETY: the deparser wrote this many bytes, and never more than there was room for.
        unsafe { out.set_len(len) };
    }

    /// A calculation; None when the interpreter must.
    #[inline]
    pub fn calculate(&self, run: &mut Run<'_>, calc: u16) -> Option<u64> {
        let entry = self.calcs[usize::from(calc)]?;
        Some(self.call(entry, run, std::ptr::null_mut()))
    }
}
