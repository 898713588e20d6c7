//! The whole way of the usual packet in one call: parsed, through ingress, to one port, through egress, and out.
//!
//! Whatever is not usual (copies, digests, drops, other passes, the end of a control by `exit`) stops it behind the control that asked
//! for it, and [`crate::switch`] goes on from there.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I16, I32, I64};
use cranelift_codegen::ir::{Block, InstBuilder, Value};
use cranelift_module::FuncId;

use super::cx::Cx;
use super::emit::{Emit, MEM};
use super::help;
use crate::exec::{Ctx, Stop};
use crate::program::code::Code;

/// Where a result of the function says how far the packet came; below are the bytes of headers when it went all the way.
pub(super) const STOP_SHIFT: i64 = 32;

/// Whether the function can be: how deep queues are, who sends the packet knows.
pub(super) fn compiles(code: &Code) -> bool {
    code.std.enq_qdepth.is_none() && code.std.deq_qdepth.is_none()
}

/// The functions of a program's blocks.
#[derive(Clone, Copy)]
pub(super) struct Blocks {
    pub parse: FuncId,
    pub ingress: FuncId,
    pub egress: FuncId,
    pub deparse: FuncId,
}

impl Emit<'_> {
    /// The function of the whole pass.
    pub fn pass(mut self, blocks: Blocks) {
        let code = self.code;
        let std = &code.std;
        let (ingress, egress) = (self.block(), self.block());

        self.arrived();
        self.call_own(blocks.parse, &[self.cx]);
        if let Some(fld) = std.parser_error {
            let error = self.b.ins().uload32(MEM, self.ctx, offset_of!(Ctx, parser_error) as i32);
            self.store(fld, error, 32);
        }
        if let Some(fld) = std.checksum_error {
            let wrong = self.b.ins().uload8(I64, MEM, self.ctx, offset_of!(Ctx, checksum_error) as i32);
            self.store(fld, wrong, 1);
        }
        self.leave_on_exit(ingress);
        self.call_own(blocks.ingress, &[self.cx]);
        self.leave_on_exit(ingress);

        let asked = [offset_of!(Ctx, clone_session), offset_of!(Ctx, digest), offset_of!(Ctx, resubmit)];
        self.leave_on_register(&asked, ingress);
        if let Some(fld) = std.mcast_grp {
            let group = self.load(fld);
            self.leave_if(group, ingress);
        }
        let drop_port = self.cx_word(offset_of!(Cx, drop_port));
        let port = self.egress_spec();
        let drops = self.b.ins().icmp(IntCC::Equal, port, drop_port);
        self.leave_if(drops, ingress);
        if let Some(fld) = std.priority {
            let (priority, queues) = (self.load(fld), self.cx_word(offset_of!(Cx, priority_queues)));
            let none = self.b.ins().icmp(IntCC::UnsignedGreaterThanOrEqual, priority, queues);
            self.leave_if(none, ingress);
        }
        self.queue(port, drop_port);
        self.call_own(blocks.egress, &[self.cx]);
        self.leave_on_exit(egress);
        self.leave_on_register(&[offset_of!(Ctx, clone_session), offset_of!(Ctx, recirculate)], egress);
        let port = self.egress_spec();
        let drops = self.b.ins().icmp(IntCC::Equal, port, drop_port);
        self.leave_if(drops, egress);
        let len = self.call_own(blocks.deparse, &[self.cx]);
        let left = self.int((Stop::Nowhere as u64) << STOP_SHIFT);
        let result = self.b.ins().bor(left, len);
        self.b.ins().return_(&[result]);
        for (block, stop) in [(ingress, Stop::BehindIngress), (egress, Stop::BehindEgress)] {
            self.b.switch_to_block(block);
            self.b.set_cold_block(block);
            let result = self.int((stop as u64) << STOP_SHIFT);
            self.b.ins().return_(&[result]);
        }
        self.finish();
    }

    fn egress_spec(&mut self) -> Value {
        match self.code.std.egress_spec {
            Some(fld) => self.load(fld),
            None => self.int(0),
        }
    }

    fn leave_if(&mut self, condition: Value, out: Block) {
        let go_on = self.block();
        self.branch_on(condition, out, go_on);
        self.b.switch_to_block(go_on);
    }

    /// Leaves when one of these registers of the packet, of 16 bits each, is not zero.
    fn leave_on_register(&mut self, registers: &[usize], out: Block) {
        let mut any = self.b.ins().iconst(I16, 0);
        for &register in registers {
            let value = self.b.ins().load(I16, MEM, self.ctx, register as i32);
            any = self.b.ins().bor(any, value);
        }
        self.leave_if(any, out);
    }

    /// The metadata of a packet that was received; what is zero is already.
    fn arrived(&mut self) {
        let std = &self.code.std;
        let known = [(std.ingress_port, offset_of!(Ctx, ingress_port)), (std.packet_length, offset_of!(Ctx, length))];
        for (fld, from) in known {
            if let Some(fld) = fld {
                let value = self.b.ins().uload32(MEM, self.ctx, from as i32);
                self.store(fld, value, 32);
            }
        }
        if let Some(fld) = std.ingress_timestamp {
            let now = self.call(help::now as *const () as usize, &[self.cx]);
            self.store(fld, now, 64);
        }
    }

    /// The metadata of a packet that waits in the queue of `port` and leaves it, both at once.
    fn queue(&mut self, port: Value, drop_port: Value) {
        let code = self.code;
        let std = &code.std;
        if let Some(fld) = std.instance_type {
            self.store_const(fld, 0);
        }
        let narrow = self.b.ins().ireduce(I32, port);
        self.b.ins().store(MEM, narrow, self.ctx, offset_of!(Ctx, egress_port) as i32);
        if let Some(fld) = std.egress_port {
            self.store(fld, port, 64);
        }
        // Anything but the drop port: the program decides anew.
        if let Some(fld) = std.egress_spec {
            let other = self.add(drop_port, 1);
            self.store(fld, other, 64);
        }
        if let Some(fld) = std.packet_length {
            let length = self.b.ins().uload32(MEM, self.ctx, offset_of!(Ctx, length) as i32);
            self.store(fld, length, 32);
        }
        if std.enq_timestamp.is_some() || std.egress_timestamp.is_some() {
            let now = self.call(help::now as *const () as usize, &[self.cx]);
            for fld in [std.enq_timestamp, std.egress_timestamp].into_iter().flatten() {
                self.store(fld, now, 64);
            }
        }
        if let Some(fld) = std.deq_timedelta {
            self.store_const(fld, 0);
        }
        if let Some(fld) = std.qid {
            let priority = match std.priority {
                Some(priority) => self.load(priority),
                None => self.int(0),
            };
            self.store(fld, priority, 64);
        }
    }
}
