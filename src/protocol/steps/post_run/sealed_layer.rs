//! The layer of a sealed train.

use stationmaster_image::{
    opt::train_dirs::TrainDir,
    tar::{entry::FileAttrs, layer_writer::LayerPlan},
};
use stationmaster_train::{config::TrainConfig, seal::user_key_bytes};

use crate::protocol::{
    content::{
        seal::SealedRun,
        sealed_contents::{Content, StoredFile, plan_tree},
    },
    context::error::StepError,
};

/// Plans the layer of a sealed train: config, wrapped key, sealed results and code, each directory replaced.
pub(super) fn sealed_layer<'a>(
    sealed: &'a SealedRun,
    next: &TrainConfig,
    created: i64,
) -> Result<LayerPlan<'a, Content>, StepError> {
    let mtime = created.unsigned_abs();
    let contents = &sealed.contents;
    let as_stored = |file: &StoredFile| Ok((file.extent.len, Content::Sealed(file.extent)));
    let mut plan = LayerPlan::default();
    plan_tree(
        &mut plan,
        TrainDir::Results,
        true,
        &contents.results,
        contents.results.files.iter(),
        |file| FileAttrs { mtime, ..file.meta },
        as_stored,
    )?;
    plan_tree(
        &mut plan,
        TrainDir::Train,
        true,
        &contents.train,
        contents.train.files.iter(),
        |_| FileAttrs::immutable_file(mtime),
        as_stored,
    )?;
    let user_key = user_key_bytes(next).ok_or(StepError::Invariant("no key for the creator"))?;
    let user_key = user_key.map_err(|_| StepError::Invariant("our own hex cannot be read"))?;
    for (path, bytes) in [("opt/train_config.json", next.to_bytes()), ("opt/user_sym_key.key", user_key)] {
        plan.file(path, FileAttrs::immutable_file(mtime), bytes.len() as u64, Content::Bytes(bytes));
    }
    Ok(plan)
}
