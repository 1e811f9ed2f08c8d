//! Writes the plaintext of a verified train into an image, volumes, or a directory.

use stationmaster_image::{
    ImageError,
    oci::image_config::ImageMetadata,
    oci::reference::ImageId,
    opt::{train_dirs::TrainDir, working_dir::DirectoryWriter},
    store::recipe::{BuiltImage, ImageSpec},
    tar::{
        entry::FileAttrs,
        layer_writer::{LayerEntry, LayerPlan},
    },
};
use stationmaster_system::failpoint;
use stationmaster_train::seal::user_key_bytes;

use crate::{
    ledger::Run,
    protocol::{
        admission::{station::Station, verify::VerifiedTrain},
        checks::base_check::INSTRUCTION,
        content::{
            sealed_contents::{Content, StoredFile, plan_tree},
            train_layer::TrainLayer,
        },
        context::{call_context::CallContext, error::StepError},
        steps::working_copy,
    },
};

/// A verified train and the parameters for writing its plaintext.
pub(super) struct PlaintextWriter<'a> {
    pub station: &'a Station,
    pub run: &'a Run,
    pub train: &'a VerifiedTrain,
    pub step: &'a CallContext<'a>,
}

impl PlaintextWriter<'_> {
    /// Writes an image on top of the one that arrived: plain results and code, each directory replaced. Returns its id.
    pub(crate) fn image(&self, parent: &ImageMetadata, warnings: &mut Vec<String>) -> Result<ImageId, StepError> {
        let created = jiff::Timestamp::now().as_second();
        let mut plan = self.plan(created, true)?;
        if let Some(bytes) = user_key_bytes(&self.train.admitted().document().config) {
            let bytes = bytes.map_err(|_| StepError::untrusted("the creator's wrapped key is not hex"))?;
            let meta = FileAttrs::immutable_file(created.unsigned_abs());
            plan.file("opt/user_sym_key.key", meta, bytes.len() as u64, Content::Bytes(bytes));
        }
        let announce = |id: &ImageId| {
            self.station.ledger.announce_opened(self.run.id, id).map_err(StepError::from)?;
            failpoint::point("pre-run/announced");
            Ok(())
        };
        let cancel = &self.step.cancel;
        let spec = ImageSpec { parent, instruction: INSTRUCTION, created, is_plaintext: true, announce: &announce, cancel };
        let BuiltImage { id, warning } = self.station.images.build(&spec, &mut self.layer(&plan))?;
        warnings.extend(warning.map(str::to_owned));
        Ok(id)
    }

    /// Writes volumes of the engine. Returns the id of the image to run with them: the sealed one.
    pub(crate) fn volumes(&self) -> Result<ImageId, StepError> {
        let (containers, volumes) = (working_copy::containers(self.station)?, working_copy::volumes(self.run.id));
        for volume in &volumes {
            containers.create_volume(&volume.volume)?;
            failpoint::point("pre-run/volume");
        }
        failpoint::point("pre-run/volumes");
        let plan = self.plan(jiff::Timestamp::now().as_second(), false)?;
        let container = containers.create(&self.run.base_image, &volumes)?;
        failpoint::point("pre-run/filling");
        container.write(&mut self.layer(&plan), &self.step.cancel)?;
        // Some engines report success and write nothing. The archive's last file exists only if all of the archive was accepted.
        if let Some(LayerEntry::File { path, size, .. }) = plan.entries().iter().rfind(|e| matches!(e, LayerEntry::File { .. })) {
            match container.file_size(&format!("/{path}")) {
                Ok(there) if there == *size => {}
                Ok(_) | Err(ImageError::PathMissing) => {
                    let detail = "what was written is not there afterwards".into();
                    return Err(ImageError::Engine { call: "write archive", detail }.into());
                }
                Err(other) => return Err(other.into()),
            }
        }
        Ok(self.run.source_image.clone())
    }

    /// Completes the directory, which already holds the results. Returns the id of the image to run with it: the sealed one.
    pub(crate) fn directory(&self, mut directory: DirectoryWriter, warnings: &mut Vec<String>) -> Result<ImageId, StepError> {
        let code = &self.train.contents.train;
        let root = code.root.ok_or(StepError::Invariant("a tree without its directory"))?;
        directory.directory(TrainDir::Train, None, root)?;
        for (path, meta) in &code.directories {
            directory.directory(TrainDir::Train, Some(path), *meta)?;
        }
        for file in self.train.opened_files() {
            directory.begin(TrainDir::Train, &file.path, FileAttrs::immutable_file(0), file.extent.len)?;
            self.train.contents.open_file(&self.train.key, file.extent, |plain| {
                self.step.check_cancelled()?;
                Ok(directory.chunk(plain)?)
            })?;
            directory.end()?;
        }
        if !directory.finish()? {
            warnings.push("the service may not give files away: what the train's files were owned by was not kept".into());
        }
        Ok(self.run.source_image.clone())
    }

    /// Plans a layer of plain results and code.
    fn plan(&self, created: i64, opaque: bool) -> Result<LayerPlan<'_, Content>, StepError> {
        let mtime = created.unsigned_abs();
        let (train, contents) = (self.train, &self.train.contents);
        let opened = |file: &StoredFile| Ok((contents.opened_len(&train.key, file.extent)?, Content::Opened(file.extent)));
        let mut plan = LayerPlan::default();
        // Files in the results before the first stop have no signature: they are left out.
        let results = if train.admitted().stop().own.is_first() { &[][..] } else { &contents.results.files[..] };
        let meta = |file: &StoredFile| FileAttrs { mtime, ..file.meta };
        plan_tree(&mut plan, TrainDir::Results, opaque, &contents.results, results.iter(), meta, opened)?;
        let code = train.opened_files();
        plan_tree(&mut plan, TrainDir::Train, opaque, &contents.train, code, |_| FileAttrs::immutable_file(mtime), opened)?;
        Ok(plan)
    }

    /// Returns the layer of a plan.
    fn layer<'b>(&'b self, plan: &'b LayerPlan<'b, Content>) -> TrainLayer<'b> {
        TrainLayer::new(plan, &self.train.contents, &self.train.key, self.step)
    }
}
