//! Compiles the `.proto` files under `proto/` without protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

/// Everything that is compiled, relative to `proto/`.
const FILES: &[&str] = &[
    "p4/v1/p4data.proto",
    "p4/v1/p4runtime.proto",
    "p4/config/v1/p4types.proto",
    "p4/config/v1/p4info.proto",
    "google/rpc/status.proto",
    "google/rpc/code.proto",
    "gnmi/gnmi.proto",
    "gnmi/gnmi_ext.proto",
    "p4/bm/dataplane_interface.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(FILES, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;

    let mut config = prost_build::Config::new();
    config.enable_type_names();
    // `Bytes` fields are slices of the received message: no allocation a field.
    config.bytes(["."]);
    // Maps in a fixed order make requests reproducible.
    config.btree_map(["."]);
    config.disable_comments(["."]);
    tonic_prost_build::configure()
        .build_client(true)
        .build_server(true)
        .emit_rerun_if_changed(false)
        .compile_fds_with_config(descriptors, config)?;
    Ok(())
}
