//! What all parts of the compiler share: the function being built, its fixed values, and calls out of it.

use std::mem::offset_of;

use cranelift_codegen::ir::condcodes::IntCC;
use cranelift_codegen::ir::types::{I8, I64};
use cranelift_codegen::ir::{
    AbiParam, Block, InstBuilder, MemFlagsData, SigRef, Signature, StackSlot, StackSlotData, StackSlotKind, Value,
};
use cranelift_frontend::FunctionBuilder;
use cranelift_jit::JITModule;
use cranelift_module::{FuncId, Module};

use super::cx::Cx;
use crate::exec::Ctx;
use crate::program::Program;
use crate::program::code::Code;

/// Accesses never trap: every address is within memory whose size the compiler knows. They need not be aligned.
pub(super) const MEM: MemFlagsData = MemFlagsData::new().with_notrap();

/// Where the parameters of the action being compiled are.
#[derive(Clone, Copy)]
pub(super) enum Params {
    /// There are none; they read as zero.
    None,
    At(Value),
}

/// The functions of one program.
pub(super) struct Functions {
    pub actions: Vec<Option<FuncId>>,
    pub calcs: Vec<Option<FuncId>>,
}

/// One function being built.
pub(super) struct Emit<'e> {
    pub b: FunctionBuilder<'e>,
    pub module: &'e mut JITModule,
    pub program: &'e Program,
    pub code: &'e Code,
    pub functions: &'e Functions,
    /// Words of parameters that compiled code reads, for each action.
    pub needed: &'e mut [usize],
    /// The action whose body is being built, with its parameters.
    pub action: Option<usize>,
    pub params: Params,
    pub cx: Value,
    pub ctx: Value,
    pub frame: Value,
    signatures: [Option<SigRef>; 8],
    key: Option<StackSlot>,
}

impl<'e> Emit<'e> {
    /// Starts a function whose first parameter is the [`Cx`]; the others are returned.
    pub fn start(
        mut b: FunctionBuilder<'e>,
        module: &'e mut JITModule,
        program: &'e Program,
        functions: &'e Functions,
        needed: &'e mut [usize],
    ) -> (Self, Vec<Value>) {
        let block = b.create_block();
        b.append_block_params_for_function_params(block);
        b.switch_to_block(block);
        let args = b.block_params(block).to_vec();
        let cx = args[0];
        let ctx = b.ins().load(I64, MEM, cx, offset_of!(Cx, ctx) as i32);
        let frame = b.ins().load(I64, MEM, cx, offset_of!(Cx, frame) as i32);
        let code = &program.code;
        let emit = Emit {
            b,
            module,
            program,
            code,
            functions,
            needed,
            action: None,
            params: Params::None,
            cx,
            ctx,
            frame,
            signatures: [None; 8],
            key: None,
        };
        (emit, args[1..].to_vec())
    }

    /// Ends the function.
    pub fn finish(mut self) {
        self.b.seal_all_blocks();
        self.b.finalize(self.module.target_config());
    }

    pub fn int(&mut self, value: u64) -> Value {
        self.b.ins().iconst(I64, value as i64)
    }

    pub fn block(&mut self) -> Block {
        self.b.create_block()
    }

    pub fn jump(&mut self, to: Block) {
        self.b.ins().jump(to, &[]);
    }

    pub fn branch_on(&mut self, cond: Value, yes: Block, no: Block) {
        self.b.ins().brif(cond, yes, &[], no, &[]);
    }

    pub fn cx_word(&mut self, offset: usize) -> Value {
        self.b.ins().load(I64, MEM, self.cx, offset as i32)
    }

    pub fn stack(&mut self, bytes: u32) -> StackSlot {
        self.b.create_sized_stack_slot(StackSlotData::new(StackSlotKind::ExplicitSlot, bytes, 3))
    }

    /// Where table keys are packed; one place for all tables of a control.
    pub fn key_slot(&mut self) -> StackSlot {
        match self.key {
            Some(slot) => slot,
            None => {
                let words = self.code.tables.iter().map(|table| table.words).max().unwrap_or(0);
                let slot = self.stack(words as u32 * 8);
                self.key = Some(slot);
                slot
            }
        }
    }

    /// Calls a function of the run-time library; all arguments are words, and so is the result.
    pub fn call(&mut self, helper: usize, args: &[Value]) -> Value {
        let signature = match self.signatures[args.len()] {
            Some(signature) => signature,
            None => {
                let made = signature(self.module, args.len());
                let made = self.b.import_signature(made);
                self.signatures[args.len()] = Some(made);
                made
            }
        };
        let target = self.int(helper as u64);
        let call = self.b.ins().call_indirect(signature, target, args);
        self.b.inst_results(call)[0]
    }

    /// Calls a function of the program.
    pub fn call_own(&mut self, id: FuncId, args: &[Value]) -> Value {
        let target = self.module.declare_func_in_func(id, self.b.func);
        let call = self.b.ins().call(target, args);
        self.b.inst_results(call)[0]
    }

    /// The parameters of the current action as (address, number of words) for the interpreter.
    pub fn params_for_call(&mut self) -> (Value, Value) {
        match self.params {
            Params::None => (self.int(0), self.int(0)),
            Params::At(address) => {
                // All of them: nobody knows here which the interpreter reads.
                let words = self.action.map_or(0, |action| self.program.actions[action].total_words);
                self.note_params(words);
                (address, self.int(words as u64))
            }
        }
    }

    /// A word of the current action's parameters.
    pub fn param(&mut self, word: u16) -> Value {
        match self.params {
            Params::None => self.int(0),
            Params::At(address) => {
                self.note_params(usize::from(word) + 1);
                self.b.ins().load(I64, MEM, address, i32::from(word) * 8)
            }
        }
    }

    fn note_params(&mut self, words: usize) {
        if let Some(action) = self.action {
            self.needed[action] = self.needed[action].max(words);
        }
    }

    /// Leaves for `out` when the packet is done with its control.
    pub fn leave_on_exit(&mut self, out: Block) {
        let exit = self.b.ins().load(I8, MEM, self.ctx, offset_of!(Ctx, exit) as i32);
        let go_on = self.block();
        self.branch_on(exit, out, go_on);
        self.b.switch_to_block(go_on);
    }

    /// Where in the frame a header's validity is.
    pub fn valid_byte(&self, header: u16) -> (i32, i64) {
        (self.code.frame_len as i32 + i32::from(header) / 8, 1 << (header % 8))
    }

    /// Non-zero when the header is valid.
    pub fn is_valid(&mut self, header: u16) -> Value {
        let (byte, bit) = self.valid_byte(header);
        let value = self.b.ins().load(I8, MEM, self.frame, byte);
        self.b.ins().band_imm_u(value, bit)
    }

    pub fn set_bit(&mut self, header: u16, on: bool) {
        let (byte, bit) = self.valid_byte(header);
        let value = self.b.ins().load(I8, MEM, self.frame, byte);
        let value = if on { self.b.ins().bor_imm_u(value, bit) } else { self.b.ins().band_imm_u(value, !bit & 0xff) };
        self.b.ins().store(MEM, value, self.frame, byte);
    }

    /// Makes a header valid; the others of its union become invalid.
    pub fn set_valid(&mut self, header: u16) {
        let code = self.code;
        for &rival in &code.headers[usize::from(header)].rivals {
            self.set_bit(rival, false);
        }
        self.set_bit(header, true);
    }

    pub fn add(&mut self, a: Value, value: u64) -> Value {
        self.b.ins().iadd_imm_s(a, value as i64)
    }

    /// Compares with a constant of 64 bits.
    pub fn compare_to(&mut self, cc: IntCC, a: Value, value: u64) -> Value {
        let value = self.int(value);
        self.b.ins().icmp(cc, a, value)
    }
}

/// A function of `args` words that returns one.
pub(super) fn signature(module: &JITModule, args: usize) -> Signature {
    let mut signature = module.make_signature();
    signature.params.resize(args, AbiParam::new(I64));
    signature.returns.push(AbiParam::new(I64));
    signature
}
