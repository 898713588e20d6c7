//! `p4switch`: `p4switch stf PROGRAM.json TEST.stf`, or a switch with the flags of simple_switch_grpc.

use std::process::ExitCode;

fn main() -> ExitCode {
    let mut args = std::env::args_os().skip(1);
    if args.next().is_some_and(|arg| arg == "stf") {
        return p4switch::stf::main(args);
    }
    p4switch::cli::main()
}
