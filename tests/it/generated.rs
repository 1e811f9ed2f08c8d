//! Generated files that are checked in are current.

#[path = "../../tools/proto/src/made_from.rs"]
mod made_from;

use std::{fs, path::Path};

#[test]
fn the_checked_in_protobuf_code_is_generated_from_the_protos() {
    let repository = Path::new(env!("CARGO_MANIFEST_DIR"));
    let kept = repository.join(made_from::DIRECTORY).join(made_from::NAME);
    let kept = fs::read_to_string(&kept).unwrap_or_else(|error| panic!("{}: {error}: run `make proto`", kept.display()));
    let now = made_from::made_from(repository).expect("the protos, and what was made from them");
    assert_eq!(
        now, kept,
        "proto/ or its generator has changed, or generated code was edited: run `make proto` and commit its output"
    );
}
