//! `p4switch stf PROGRAM.json TEST.stf`: p4c's switch test format, run in-process on virtual ports.
//!
//! Statements, one a line, `#` starts a comment:
//! ```text
//! packet PORT HEX...                      inject a packet
//! expect PORT [HEX... [$]]                a packet must leave PORT; * is any digit, $ means no more bytes follow
//! no_packet                               nothing more may leave
//! add TABLE [PRIORITY] FIELD:VALUE... ACTION(PARAM:VALUE, ...) [= LABEL]
//! setdefault TABLE ACTION(...)            remove all | remove LABEL | remove TABLE [PRIORITY] FIELD:VALUE...
//! mc_mgrp_create GROUP                    mc_node_create RID PORT...     mc_node_update NODE PORT...
//! mc_node_associate GROUP NODE            mc_node_dissociate GROUP NODE  mc_node_destroy NODE  mc_mgrp_destroy GROUP
//! mirroring_add SESSION PORT              mirroring_add_mc SESSION GROUP
//! mirroring_delete SESSION                mirroring_get SESSION
//! register_read NAME INDEX [OP VALUE]     register_write NAME INDEX VALUE     register_reset NAME
//! counter_read NAME INDEX [bytes|packets OP VALUE]...  counter_write NAME INDEX BYTES PACKETS
//! check_counter NAME(INDEX or LABEL) [bytes|packets OP VALUE]
//! meter_get_rates NAME INDEX [R:B R:B]    meter_set_rates NAME INDEX R:B R:B  meter_array_set_rates NAME R:B R:B
//! wait                                    packets are done when `packet` returns, so there is nothing to wait for
//! ```
//! Values are decimal, 0x, 0o or 0b; `*` digits are wildcards in ternary and lpm fields, `V/LEN` is a prefix, `V&&&MASK`
//! a mask, `LOW..HIGH` (or `LOW->HIGH`) a range, `*` alone matches everything. OP is == != < <= > >=, == when left out.
//! Expected packets are compared with those of each port in order when the test ends, as p4c's runner does.

mod parse;
mod run;
#[cfg(test)]
mod tests;
mod value;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

pub use parse::{StfError, parse};
pub use run::run;

use crate::program::Program;

/// Runs one test; the arguments are those after `stf`. Exit status 0: all matched; 1: a difference; 2: bad usage or input.
pub fn main(args: impl Iterator<Item = OsString>) -> ExitCode {
    let args: Vec<PathBuf> = args.map(PathBuf::from).collect();
    let [json, stf] = &args[..] else {
        eprintln!("usage: p4switch stf PROGRAM.json TEST.stf");
        return ExitCode::from(2);
    };
    let load = || -> anyhow::Result<(Arc<Program>, Vec<parse::Line>)> {
        use anyhow::Context;
        let program = std::fs::read(json).with_context(|| json.display().to_string())?;
        let program = Program::load(&program).with_context(|| json.display().to_string())?;
        let text = std::fs::read(stf).with_context(|| stf.display().to_string())?;
        let text = String::from_utf8_lossy(&text);
        let lines = parse(&text).with_context(|| stf.display().to_string())?;
        Ok((program, lines))
    };
    let (program, lines) = match load() {
        Ok(loaded) => loaded,
        Err(error) => {
            eprintln!("{error:#}");
            return ExitCode::from(2);
        }
    };
    let mut print = |text: &str| {
        use std::io::Write;
        // Nobody reading the output is no reason to fail the test.
        let _ = writeln!(std::io::stdout(), "{text}");
    };
    match run(program, &lines, &mut print) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", stf.display());
            ExitCode::FAILURE
        }
    }
}
