//! Inspect: returns a train's unverified statements and lists its files. Uses no key.

use stationmaster_image::{
    archive::memory_budget::Share,
    oci::reference::{ImageId, ImageSource},
    opt::{
        layered::LayeredTrainTree,
        reader::{TrainTreeSink, read_opt},
        train_dirs::TrainDir,
    },
    store::ImageFiles,
    tar::entry::FileAttrs,
};
use stationmaster_train::{
    config::TrainConfig,
    names::{FilePath, Listing},
    route::{StopIndex, position_of},
};

use crate::protocol::{
    admission::{authorize::AuthorizedTrain, station::Station},
    context::{call_context::CallContext, error::StepError},
};

/// A file of a train.
pub struct ListedFile {
    /// Path below its directory.
    pub path: String,
    /// Size in bytes as stored in the image.
    pub size: u64,
}

/// The statements of a train and its files.
pub struct Inspection {
    /// The image's id.
    pub image_id: Option<ImageId>,
    /// `train_config.json` as stored.
    pub config_bytes: Vec<u8>,
    /// The same, parsed.
    pub config: TrainConfig,
    /// The train session, raw bytes.
    pub session_id: Vec<u8>,
    /// This station's index, if the route names it.
    pub own_index: Option<StopIndex>,
    /// Files that `file_list` names, in its order.
    pub listed: Vec<ListedFile>,
    /// Files that it does not name.
    pub unlisted: Vec<ListedFile>,
    /// Names in `file_list` without a file.
    pub missing: Vec<String>,
    /// The query.
    pub query: Option<ListedFile>,
    /// Number of result files.
    pub result_files: u64,
    /// Total size of the result files in bytes.
    pub result_bytes: u64,
    /// Image id of the train's `base`, if it exists here.
    pub base_image_id: Option<ImageId>,
}

/// Reads a train's config and lists its files.
pub fn inspect_train(station: &Station, image: &ImageSource, step: &CallContext<'_>) -> Result<Inspection, StepError> {
    let image_id = station.image_id(image)?;
    step.annotate(|entry| entry.images.get_or_insert_default().input = Some(image_id.to_string()));
    let mut inspection = inspect(&*station.images.files(&image_id)?, Some(image_id), step)?;
    let route = &inspection.config.route;
    inspection.own_index = position_of(&inspection.config, &station.id).ok().and_then(|at| route[at].index.try_into().ok());
    inspection.base_image_id = match image {
        ImageSource::Name(name) => station.images.find(&ImageSource::Name(name.with_tag("base")))?,
        ImageSource::Id(_) => None,
    };
    Ok(inspection)
}

/// As [`inspect_train`], for a saved image, without a station.
///
/// # Errors
/// When it cannot be read, or has no train.
pub fn inspect_saved(files: LayeredTrainTree) -> Result<Inspection, StepError> {
    let step = CallContext::background("train inspect");
    let image_id = files.image_id(&step.cancel)?;
    inspect(&files, image_id, &step)
}

fn inspect(files: &dyn ImageFiles, image_id: Option<ImageId>, step: &CallContext<'_>) -> Result<Inspection, StepError> {
    let document = AuthorizedTrain::authorize_image(files, step)?.into_document();
    let mut names = Names { step, code: Vec::new(), share: Share::default(), result_files: 0, result_bytes: 0 };
    read_opt(files.read("/opt", &step.cancel)?, &mut names)?;
    let config = document.config;
    // With an invalid name in the list, all names are shown as missing: inspecting must not hide a defect.
    let listing = Listing::new(&config.file_list).ok();
    let mut inspection = Inspection {
        own_index: None,
        image_id,
        config_bytes: document.bytes,
        session_id: document.session_id,
        listed: Vec::new(),
        unlisted: Vec::new(),
        missing: Vec::new(),
        query: None,
        result_files: names.result_files,
        result_bytes: names.result_bytes,
        base_image_id: None,
        config,
    };
    match &listing {
        Some(listing) => {
            for path in listing.names() {
                match names.code.binary_search_by(|(name, _)| name.cmp(path)) {
                    Ok(i) => inspection.listed.push(ListedFile { path: path.as_str().to_owned(), size: names.code[i].1 }),
                    Err(_) => inspection.missing.push(path.as_str().to_owned()),
                }
            }
        }
        None => inspection.missing.clone_from(&inspection.config.file_list),
    }
    for (path, size) in names.code {
        let file = ListedFile { path: path.as_str().to_owned(), size };
        if path.is_query() {
            inspection.query = Some(file);
        } else if !listing.as_ref().is_some_and(|listing| listing.contains(&path)) {
            inspection.unlisted.push(file);
        }
    }
    Ok(inspection)
}

struct Names<'a> {
    step: &'a CallContext<'a>,
    code: Vec<(FilePath, u64)>,
    share: Share,
    result_files: u64,
    result_bytes: u64,
}

impl TrainTreeSink for Names<'_> {
    type Error = StepError;

    fn begin(&mut self, area: TrainDir, path: FilePath, _: FileAttrs, size: u64) -> Result<(), StepError> {
        match area {
            TrainDir::Train => {
                // The name is kept once more in the list, and once more in the response.
                self.share.entry::<(FilePath, [ListedFile; 2])>(3 * path.as_str().len())?;
                self.code.push((path, size));
            }
            TrainDir::Results => {
                self.result_files += 1;
                self.result_bytes += size;
            }
        }
        Ok(())
    }

    fn chunk(&mut self, _: &[u8]) -> Result<(), StepError> {
        self.step.check_cancelled()
    }
}
