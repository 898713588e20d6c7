//! The compiled program: what a session pushes to a switch.

/// The BMv2 JSON that p4c made of `p4/fabric/src/fabric.p4`.
pub const JSON: &[u8] = include_bytes!("../../fabric/fabric.json");

/// Its P4Info, in text format.
pub const P4INFO: &str = include_str!("../../fabric/fabric.p4info.txtpb");
