//! Compiles the protos with protox, so that nobody needs a protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = ["types", "keys", "images", "trains"].map(|name| format!("proto/stationmaster/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(protos, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .extern_path(".stationmaster.v1.UnwrapKeyResponse", "crate::pb::UnwrapKeyResponse")
        .compile_fds(descriptors)?;
    Ok(())
}
