//! From a lowered program to machine code.

use cranelift_codegen::settings::{self, Configurable};
use cranelift_frontend::{FunctionBuilder, FunctionBuilderContext};
use cranelift_jit::{JITBuilder, JITModule};
use cranelift_module::{FuncId, Linkage, Module, ModuleError, default_libcall_names};

use super::emit::{Emit, Functions, signature};
use super::pass::Blocks;
use super::{Entry, Native, calc, deparser, flow, ops, parser, pass};
use crate::program::Program;

/// Why there is no machine code of a program. It is interpreted then.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CompileError {
    #[error("no compiler for this processor: {0}")]
    Processor(&'static str),
    #[error("settings of the compiler: {0}")]
    Settings(#[from] settings::SetError),
    #[error("code generator: {0}")]
    Codegen(#[from] cranelift_codegen::CodegenError),
    #[error("module: {0}")]
    Module(#[from] Box<ModuleError>),
}

impl From<ModuleError> for CompileError {
    fn from(error: ModuleError) -> Self {
        CompileError::Module(Box::new(error))
    }
}

struct Compiler<'p> {
    module: JITModule,
    program: &'p Program,
    functions: Functions,
    needed: Vec<usize>,
    builder: FunctionBuilderContext,
    context: cranelift_codegen::Context,
}

fn module() -> Result<JITModule, CompileError> {
    let mut flags = settings::builder();
    flags.set("opt_level", "speed")?;
    flags.set("is_pic", "false")?;
    flags.set("use_colocated_libcalls", "false")?;
    flags.set("unwind_info", "false")?;
    flags.set("enable_probestack", "false")?;
    flags.set("enable_verifier", if cfg!(debug_assertions) { "true" } else { "false" })?;
    let isa = cranelift_native::builder().map_err(CompileError::Processor)?;
    let isa = isa.finish(settings::Flags::new(flags))?;
    Ok(JITModule::new(JITBuilder::with_isa(isa, default_libcall_names())))
}

impl<'p> Compiler<'p> {
    fn declare(&mut self, name: &str, args: usize) -> Result<FuncId, CompileError> {
        let signature = signature(&self.module, args);
        Ok(self.module.declare_function(name, Linkage::Local, &signature)?)
    }

    /// Builds one function.
    fn define(
        &mut self,
        id: FuncId,
        args: usize,
        build: impl FnOnce(Emit<'_>, &[cranelift_codegen::ir::Value]),
    ) -> Result<(), CompileError> {
        self.context.func.signature = signature(&self.module, args);
        let b = FunctionBuilder::new(&mut self.context.func, &mut self.builder);
        let (emit, args) = Emit::start(b, &mut self.module, self.program, &self.functions, &mut self.needed);
        build(emit, &args);
        self.module.define_function(id, &mut self.context)?;
        self.module.clear_context(&mut self.context);
        Ok(())
    }
}

/// Compiles a program. The result points into the program: it must live as long.
pub(super) fn compile(program: &Program) -> Result<Native, CompileError> {
    let code = &program.code;
    let module = module()?;
    let mut compiler = Compiler {
        context: module.make_context(),
        module,
        program,
        functions: Functions { actions: vec![None; code.actions.len()], calcs: vec![None; code.calcs.len()] },
        needed: vec![0; code.actions.len()],
        builder: FunctionBuilderContext::new(),
    };
    for (id, def) in code.calcs.iter().enumerate() {
        if calc::compiles(def) {
            compiler.functions.calcs[id] = Some(compiler.declare(&format!("calculation {id}"), 1)?);
        }
    }
    for (id, shared) in flow::shared_actions(code, &program.tables).into_iter().enumerate() {
        if shared && ops::compiles(&code.actions[id]) {
            compiler.functions.actions[id] = Some(compiler.declare(&format!("action {id}"), 2)?);
        }
    }
    for (id, def) in code.calcs.iter().enumerate() {
        if let Some(function) = compiler.functions.calcs[id] {
            compiler.define(function, 1, |emit, _| emit.calculation(def))?;
        }
    }
    for id in 0..code.actions.len() {
        if let Some(function) = compiler.functions.actions[id] {
            compiler.define(function, 2, |emit, args| emit.action_function(id, args[0]))?;
        }
    }
    let parse = if parser::compiles(code) {
        let id = compiler.declare("parser", 1)?;
        compiler.define(id, 1, |emit, _| emit.parser())?;
        Some(id)
    } else {
        None
    };
    let ingress = compiler.declare("ingress", 1)?;
    compiler.define(ingress, 1, |emit, _| emit.control(&code.ingress))?;
    let egress = compiler.declare("egress", 1)?;
    compiler.define(egress, 1, |emit, _| emit.control(&code.egress))?;
    let deparse = compiler.declare("deparser", 1)?;
    compiler.define(deparse, 1, |emit, _| emit.deparser())?;
    let pass = match parse {
        Some(parse) if pass::compiles(code) => {
            let id = compiler.declare("pass", 1)?;
            compiler.define(id, 1, |emit, _| emit.pass(Blocks { parse, ingress, egress, deparse }))?;
            Some(id)
        }
        _ => None,
    };
    let Compiler { mut module, functions, needed, .. } = compiler;
    module.finalize_definitions()?;
    let entry = |id: FuncId| Entry(module.get_finalized_function(id));
    Ok(Native {
        pass: pass.map(entry),
        parse: parse.map(entry),
        ingress: entry(ingress),
        egress: entry(egress),
        deparse: entry(deparse),
        calcs: functions.calcs.iter().map(|id| id.map(entry)).collect(),
        needed,
        most_head: deparser::most_bytes(code),
        module: Some(module),
    })
}
