//! Compiles the protos with protox, so that nobody needs a protoc.

use std::{env, error::Error, fs, path::PathBuf};

use prost::Message;

fn main() -> Result<(), Box<dyn Error>> {
    let protos = ["types", "keys", "images", "trains", "status"].map(|name| format!("proto/stationmaster/v1/{name}.proto"));
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(protos, ["proto"])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    let paths: Vec<String> = descriptors
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| {
            service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
        })
        .collect();
    // For the table of who may call what, which must have a row for each.
    fs::write(out.join("rpc_paths.rs"), format!("{paths:?}"))?;
    tonic_prost_build::configure()
        .extern_path(".stationmaster.v1.UnwrapKeyResponse", "crate::pb::UnwrapKeyResponse")
        .compile_fds(descriptors)?;
    Ok(())
}
