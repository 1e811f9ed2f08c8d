//! Open results: returns the plaintext results of a train to a caller with a grant. Runs nothing and changes nothing.
//!
//! Sealed content stays in the spool until every check of a pre-run has succeeded; only then is it opened from the spool, piece
//! by piece. The ledger is not involved: reading a train again is no replay.

use std::io::Read;

use stationmaster_image::{
    disk::spool::Spool,
    oci::reference::{ImageId, ImageSource},
    opt::uploaded::UploadedTrain,
    store::ImageFiles,
};
use stationmaster_train::{
    digest::{Digest, FileHasher, Sha256Digest},
    names::FilePath,
    route::StopIndex,
    rule::Report,
    selection::Selection,
};

use crate::{
    audit::{Event, ImageIds},
    ledger::RuleNote,
    protocol::{
        admission::{
            admit::{AdmittedTrain, StopOnRoute},
            authorize::AuthorizedTrain,
            station::Station,
            trust_check::{TrustCheck, TrustPhase},
            verify::VerifiedTrain,
        },
        checks::rule_report,
        content::{read_sealed::Destination, sealed_contents::StoredFile, train_document::TrainDocument},
        context::{call_context::CallContext, error::StepError},
    },
};

/// Maximum size of a piece, in bytes.
const PIECE: usize = 64 * 1024;

/// The train whose results are requested.
pub enum ResultsOf<R> {
    /// An image of this station.
    Image(ImageSource),
    /// An archive of `/opt` that the caller sends.
    Archive(R),
}

/// Parameters of the step.
pub struct ResultsOrder<R> {
    /// The train.
    pub train: ResultsOf<R>,
    /// The files to return.
    pub paths: Selection,
}

/// Output of the step, in this order for each file.
pub enum ResultsPart<'a> {
    /// Beginning of a file.
    File {
        /// Path below `pht_results`.
        path: &'a FilePath,
        /// Size of the plaintext in bytes.
        size: u64,
    },
    /// The next piece of plaintext, at most 64 KiB.
    Piece(&'a [u8]),
    /// End of the file; SHA-256 of its plaintext.
    End(Sha256Digest),
}

/// Summary of the returned results.
pub struct ResultsAnswer {
    /// The image's id; `None` for an archive.
    pub image_id: Option<ImageId>,
    /// `@id`.
    pub train_id: String,
    /// The train session, raw bytes.
    pub session_id: Vec<u8>,
    /// This station's position on the route.
    pub stop_index: StopIndex,
    /// Number of stops that have signed.
    pub stops_signed: usize,
    /// Number of stops on the route.
    pub stops: usize,
    /// Digest of all results; `None` before the first stop.
    pub results_digest: Option<Digest>,
    /// Number of result files in the train.
    pub result_files: u64,
    /// Number of files returned, and their bytes.
    pub given: Sent,
    /// Warnings for the administrator.
    pub warnings: Vec<String>,
    /// The outcome of each rule.
    pub report: Report,
}

/// Amount that was sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Number of complete files.
    pub files: u64,
    /// Bytes of plaintext, including those of an incomplete file.
    pub bytes: u64,
}

/// Verifies a train as a pre-run does, and passes its results to `give`; the contract is documented at the proto's
/// `OpenResults`.
pub fn open_results(
    station: &Station,
    order: ResultsOrder<impl Read>,
    step: &CallContext<'_>,
    give: &mut dyn FnMut(ResultsPart<'_>) -> Result<(), StepError>,
) -> Result<ResultsAnswer, StepError> {
    let ResultsOrder { train, paths } = order;
    step.annotate(|entry| drop(entry.about.insert("paths".into(), paths.patterns().into())));
    let trusted = station.trusted_keys()?;
    let (image_id, files) = files_of(station, train, step)?;
    let train = AuthorizedTrain::authorize_image(&*files, step)?;
    let stop = StopOnRoute::to_read(&train.document().config, &station.id)?;
    let (stop_index, signed) = (stop.index(), stop.signed);
    step.annotate_stop(stop_index);
    let admitted = train.admit(station, stop, TrustCheck { trusted: &trusted, phase: TrustPhase::ToRead }, step)?;
    let train = verified(station, files, admitted, step)?;

    let report = train.admitted().rules().report();
    step.annotate(|entry| {
        let digests = entry.digests.get_or_insert_default();
        digests.immutable = Some(train.immutable_digest.to_hex().as_str().to_owned());
        digests.results_in = train.results_digest.as_ref().map(|digest| digest.to_hex().as_str().to_owned());
        entry.rules = rule_report::recorded(&RuleNote::of(&report));
    });
    // Files that exist before the first stop are not results.
    let results = if signed == 0 { &[][..] } else { train.contents.results.files.as_slice() };
    let chosen: Vec<&StoredFile> = results.iter().filter(|file| paths.contains(&file.path)).collect();
    let TrainDocument { config, session_id, .. } = train.admitted().document();
    let given = give_recorded(station, &train, &chosen, step, give)?;
    Ok(ResultsAnswer {
        image_id,
        train_id: config.id.clone(),
        session_id: session_id.clone(),
        stop_index,
        stops_signed: signed,
        stops: config.route.len(),
        results_digest: train.results_digest,
        result_files: results.len() as u64,
        given,
        warnings: what_is_not_there(signed, results.len(), chosen.len())
            .into_iter()
            .chain(rule_report::warnings(station, &report))
            .collect(),
        report,
    })
}

/// Returns the image's id, unless it is an archive, and its files.
fn files_of(
    station: &Station,
    train: ResultsOf<impl Read>,
    step: &CallContext<'_>,
) -> Result<(Option<ImageId>, Box<dyn ImageFiles>), StepError> {
    match train {
        ResultsOf::Image(image) => {
            let id = station.image_id(&image)?;
            step.annotate(|entry| {
                entry.images = Some(ImageIds { name: Some(image.to_string()), input: Some(id.to_string()), output: None });
            });
            let files = station.images.files(&id)?;
            Ok((Some(id), files))
        }
        ResultsOf::Archive(archive) => {
            // The archive is the caller's own.
            step.may_tell();
            let spool = Spool::create(&station.spool_directory, 0, station.spool_reserve)?;
            let sent = UploadedTrain::receive(archive, spool, &|| step.check_reading())?;
            step.annotate(|entry| drop(entry.about.insert("archive_sha256".into(), sent.sha256().to_hex().into())));
            Ok((None, Box::new(sent)))
        }
    }
}

/// Returns the reason why no file is returned.
fn what_is_not_there(signed: usize, results: usize, chosen: usize) -> Option<String> {
    match (signed, results, chosen) {
        (0, ..) => Some("no stop of the train's route has run yet: there are no results".to_owned()),
        (_, 0, _) => Some("the train has no result files: the stops that ran left none".to_owned()),
        (_, _, 0) => Some(format!("none of the train's {results} result files has a name that was asked for")),
        _ => None,
    }
}

/// Reads the sealed train into a spool, and verifies all of it.
fn verified(
    station: &Station,
    files: Box<dyn ImageFiles>,
    train: AdmittedTrain,
    step: &CallContext<'_>,
) -> Result<VerifiedTrain, StepError> {
    let train = train.unwrap_key(station, step)?;
    let spool = Spool::create(&station.spool_directory, 0, station.spool_reserve)?;
    let train = train.read(&*files, Destination { spool, working_dir: None, expected: 0 }, step)?;
    let _removal = files.remove_in_background();
    train.verify(&station.policy, step)
}

/// Returns the files after the intent is in the audit. The amount sent is noted on every exit path.
fn give_recorded(
    station: &Station,
    train: &VerifiedTrain,
    chosen: &[&StoredFile],
    step: &CallContext<'_>,
    give: &mut dyn FnMut(ResultsPart<'_>) -> Result<(), StepError>,
) -> Result<Sent, StepError> {
    let mut sizes = Vec::with_capacity(chosen.len());
    for file in chosen {
        sizes.push(train.contents.opened_len(&train.key, file.extent)?);
    }
    let all = Sent { files: chosen.len() as u64, bytes: sizes.iter().sum() };
    let announced = step.audit_entry(Event::ResultsGiven).with("files", all.files).with("bytes", all.bytes);
    station.keys.audit().record(announced)?;
    let mut given = Sent::default();
    let outcome = chosen.iter().zip(sizes).try_for_each(|(file, size)| {
        give(ResultsPart::File { path: &file.path, size })?;
        let mut hasher = FileHasher::new();
        train.contents.open_file(&train.key, file.extent, |plain| {
            step.check_cancelled()?;
            hasher.update(plain);
            for piece in plain.chunks(PIECE) {
                give(ResultsPart::Piece(piece))?;
                given.bytes += piece.len() as u64;
            }
            Ok(())
        })?;
        give(ResultsPart::End(hasher.finish()))?;
        given.files += 1;
        Ok(())
    });
    step.annotate(|entry| {
        entry.about.insert("files".into(), given.files.into());
        entry.about.insert("bytes".into(), given.bytes.into());
    });
    outcome.map(|()| given)
}
