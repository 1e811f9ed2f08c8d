//! Generates `crates/proto/src/generated` from `proto/`. protox compiles the protos, so no protoc is needed.

mod made_from;

use std::{error::Error, fs, path::Path};

use prost::Message;
use prost_types::FileDescriptorSet;

fn main() -> Result<(), Box<dyn Error>> {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let to = repository.join(made_from::DIRECTORY);
    let protos = made_from::protos(&repository)?;
    let names = protos.iter().map(|file| repository.join(file));
    let descriptors = protox::compile(names, [repository.join("proto")])?;
    fs::create_dir_all(&to)?;
    fs::write(to.join("descriptors.bin"), descriptors.encode_to_vec())?;
    // `access::Rpc` asserts at compile time that it has a row for each.
    fs::write(to.join("rpc_paths.rs"), format!("{:#?}\n", rpc_paths(&descriptors)))?;
    tonic_prost_build::configure()
        .extern_path(".stationmaster.v1.UnwrapKeyResponse", "crate::UnwrapKeyResponse")
        .out_dir(&to)
        .compile_fds(descriptors)?;
    fs::write(to.join(made_from::NAME), made_from::made_from(&repository)?)?;
    Ok(())
}

fn rpc_paths(descriptors: &FileDescriptorSet) -> Vec<String> {
    descriptors
        .file
        .iter()
        .flat_map(|file| file.service.iter().map(move |service| (file.package(), service)))
        .flat_map(|(package, service)| {
            service.method.iter().map(move |method| format!("/{package}.{}/{}", service.name(), method.name()))
        })
        .collect()
}
