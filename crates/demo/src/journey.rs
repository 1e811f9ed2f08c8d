//! The route of the train: from the creator through all stations and back.

use std::io::Write as _;

use stationmaster_image::oci::reference::ImageName;
use stationmaster_proto as pb;
use stationmaster_train::{digest::Digest, names::FilePath};

use super::{
    DemoError,
    algorithm::{Algorithm, WANTED, mark},
    attacks,
    builder::{Archive, BuiltTrain},
    creator::{Creator, Proposal},
    creator_opens::{Files, Returned},
    engine::{DockerClient, TrainRun},
    expect::require,
    prerequisites::Prerequisites,
    records::Records,
    report::DemoReport,
    scan::Scan,
    stations::{DemoStation, Stations},
    trust_files,
    workspace::Workspace,
};

/// The stations and the sizes of their keys.
const ROUTE: [(&str, u32); 3] = [("clinic-north", 2048), ("clinic-east", 3072), ("clinic-south", 4096)];

/// The environment of all steps.
#[derive(Clone, Copy)]
pub(super) struct DemoContext<'a> {
    /// The requirements on this machine.
    pub needs: &'a Prerequisites,
    /// The engine.
    pub engine: &'a DockerClient,
    /// The directory of files.
    pub workspace: &'a Workspace,
}

/// A train in transit.
struct Journey<'a> {
    context: DemoContext<'a>,
    image: ImageName,
    sent: Proposal,
    route: Vec<DemoStation>,
    records: Vec<Records>,
    digests: Vec<Digest>,
    scanned: u64,
}

/// Runs the demonstration.
pub(super) async fn run(context: DemoContext<'_>, stations: &mut Stations, report: &mut DemoReport) -> Result<(), DemoError> {
    let route = start_stations(stations, report).await?;
    trust_files::pin_stations(context.workspace.root(), &route, report)?;

    report.part("A train is created");
    let creator = Creator::new()?;
    if context.workspace.is_kept() {
        store_creator_key(context.workspace, &creator)?;
    }
    let sent = creator.propose(Algorithm::new()?)?;
    let (files, digest) = (sent.algorithm.files.len(), sent.digest.to_hex());
    report.step("creator", format!("signed {files} files of code and a query; digest {}…", &digest.as_str()[..16]));
    let train = BuiltTrain::seal(&sent, &route, &context.engine.repository("train"))?;
    let image = context.engine.import(&context.engine.repository("train"), train.root_file_system(context.needs)?).await?;
    report.step("builder", format!("sealed {} files for {} alone; image {image}", train.sealed_files(), route[0].id));

    trust_files::pin_creator(context.workspace.root(), &sent, &image, &route[0], context.engine, report).await?;
    attacks::forged_train(context.needs, context.engine, report, &train, &route[0]).await?;
    attacks::direct_use_of_train_key(report, &train, &route[0]).await?;

    let records = records(&route)?;
    let mut journey = Journey { context, image, sent, route, records, digests: Vec::new(), scanned: 0 };
    for index in 0..journey.route.len() {
        journey.stop(index, report).await?;
    }
    journey.check_remains(report).await?;
    journey.open_results(&creator, report).await
}

async fn start_stations(stations: &mut Stations, report: &mut DemoReport) -> Result<Vec<DemoStation>, DemoError> {
    report.part("Three stations start");
    for (id, bits) in ROUTE {
        stations.start(id, bits)?;
    }
    let route = stations.serving().await?;
    report.step("stations", "serve, each a process with its own SoftHSM token");
    for DemoStation { id, key, .. } in &route {
        let kept = key.sensitive && key.never_extractable && key.generated_in_token && !key.extractable;
        require(kept, format!("the key of {id} was generated in its token and cannot leave it"))?;
        report.step(id, format!("RSA-{} {}", key.bits, key.fingerprint));
        report.detail("generated in the token, sensitive, never extractable");
    }
    report.proven(
        "Each station's key was generated in its token, is sensitive, and was never extractable (the token's attributes)",
    );
    Ok(route)
}

fn records(route: &[DemoStation]) -> Result<Vec<Records>, DemoError> {
    let mark = mark(16)?;
    Ok((0..).zip(route).map(|(index, _)| Records::of_stop(index, &mark)).collect())
}

impl Journey<'_> {
    /// Pre-run, run, post-run.
    async fn stop(&mut self, index: usize, report: &mut DemoReport) -> Result<(), DemoError> {
        let station = &self.route[index];
        let records = &self.records[index];
        report.part(format!("Stop {} of {}: {}", index + 1, self.route.len(), station.id));
        let opened = station.pre_run(&self.image.to_string()).await.map_err(DemoError::call(&station.id, "PreRun"))?;
        require(
            opened.image == self.image.to_string() && opened.stop_index as usize == index,
            "PreRun opened this stop's train",
        )?;
        require(opened.immutable_digest == self.sent.digest.as_bytes(), "PreRun returns the digest that the creator signed")?;
        let found = self.digests.last().map(|digest| digest.as_bytes().to_vec()).unwrap_or_default();
        require(opened.results_digest == found, "PreRun returns the results digest of the previous stop")?;
        let seen = if index == 0 { "no results yet" } else { "results of the previous stops" };
        report.step("pre-run", format!("code, query, {seen}: verified and opened"));

        let (data, environment) = data_for(station, &opened, records)?;
        let run = TrainRun { image: &self.image, environment, data, station: &station.id };
        self.context.engine.run_train(run).await?;
        let plain = self.context.engine.image_id(&self.image).await?;
        report.step("run", format!("sh run.sh on {} records, without a network; results committed on the base", records.len()));

        let closed = station.post_run(&opened.run_id).await.map_err(DemoError::call(&station.id, "PostRun"))?;
        require(closed.image == self.image.to_string(), "PostRun wrote the train's own name")?;
        require(
            closed.image_id == self.context.engine.image_id(&self.image).await?,
            "the train's name belongs to the sealed image",
        )?;
        require(closed.plaintext_held_by.is_empty(), format!("no container uses a plaintext image of {}", station.id))?;
        let images = self.context.engine.images().await?;
        for plain in [&plain, &opened.image_id] {
            require(!images.iter().any(|(id, _)| id == plain), format!("the plaintext images of {} were removed", station.id))?;
        }
        self.digests.push(Digest::from_bytes(&closed.results_digest).map_err(DemoError::crypto)?);
        let short = closed.image_id.get(..19).unwrap_or(&closed.image_id).to_owned();
        report.step("post-run", format!("{} result files sealed and signed; image {short}", closed.result_files));
        self.scan_for_plaintext(index, report).await
    }

    /// Checks that the image that leaves a station contains no plaintext.
    async fn scan_for_plaintext(&mut self, index: usize, report: &mut DemoReport) -> Result<(), DemoError> {
        let [code, query, result] = self.sent.algorithm.needles();
        let record = self.records[index].needle().to_owned();
        // Public in the config: a scan that does not find it proves nothing.
        let public = const_hex::encode(&self.sent.session_id);
        let scan = Scan::new([&code, &query, &result, &record, &public]);
        let scan = self.context.engine.scan(&self.image, scan).await?;
        self.scanned += scan.bytes();
        let id = &self.route[index].id;
        require(scan.seen().last() == Some(&true), "the scan finds public contents")?;
        for (what, seen) in ["code", "query", "results", "patients"].iter().zip(scan.seen()) {
            require(!seen, format!("no plaintext of the {what} leaves {id}"))?;
        }
        report.step("scan", format!("{} KiB of layers: no plaintext of code, query, results or patients", scan.bytes() / 1024));
        Ok(())
    }

    /// Checks what remains in the engine after the last stop.
    async fn check_remains(&self, report: &mut DemoReport) -> Result<(), DemoError> {
        let engine = self.context.engine;
        require(engine.containers().await?.is_empty(), "no containers remain")?;
        let mut names: Vec<String> = engine.images().await?.into_iter().flat_map(|(_, names)| names).collect();
        names.sort();
        let forged = engine.repository("forged");
        let train = self.image.repository();
        let expected = [format!("{forged}:base"), format!("{forged}:latest"), format!("{train}:base"), format!("{train}:latest")];
        require(names == expected, format!("no other image names remain (there are {names:?})"))?;
        let base = engine.layers(&self.image.with_tag("base")).await?;
        let layers = engine.layers(&self.image).await?;
        require(layers.len() == base.len() + 1 && layers.starts_with(&base), "the train is its base and one layer")?;
        let scanned = self.scanned / 1024;
        report.proven(format!(
            "What left the stations ({scanned} KiB in 3 images, every layer) contains no plaintext of code, query, results or patients;\n\
             the scan does find public contents"
        ));
        report.proven("Plaintext images and all containers were removed; the returned train is its base and one layer");
        Ok(())
    }

    /// Opens the results as the creator.
    async fn open_results(&self, creator: &Creator, report: &mut DemoReport) -> Result<(), DemoError> {
        report.part("The creator opens the results");
        let returned = Returned::read(&self.context.engine.read_opt(&self.image).await?)?;
        let results = returned.open(creator, &self.sent, &self.route, &self.digests)?;
        report.step(
            "creator",
            format!("unwrapped the key, opened {} result files, verified every digest and signature", results.len()),
        );
        report.proven("Code and query returned unchanged, still signed by creator and builder");
        report.proven(
            "Results and every link of the chain have the recomputed digests, signed by the stations' own keys\n\
             (as returned by the services before, not as the train states them)",
        );
        let rows = self.checked_counts(&results)?;
        report.part(format!("Results: patients for whom gender is {WANTED}"));
        report.table(&["station", "records", "matching"], rows);
        report.proven(
            "The counts match the stations' records, counted independently; each stop saw the results of the previous one",
        );
        Ok(())
    }

    /// Returns the train's result table, compared with an independent count.
    fn checked_counts(&self, results: &Files) -> Result<Vec<Vec<String>>, DemoError> {
        let text = |path: &str| {
            let content = FilePath::new(path).ok().and_then(|path| results.get(&path));
            content.map(|content| String::from_utf8_lossy(content).into_owned()).unwrap_or_default()
        };
        let counts = text("counts.csv");
        let mut rows: Vec<Vec<String>> =
            counts.lines().skip(1).map(|line| line.split(',').map(str::to_owned).collect()).collect();
        let (mut records, mut matching) = (0, 0);
        let mut expected = Vec::new();
        for (station, held) in self.route.iter().zip(&self.records) {
            let found = held.matching(WANTED);
            expected.push(vec![station.id.clone(), held.len().to_string(), found.to_string()]);
            let by_age = text(&format!("stations/{}/ages.csv", station.id));
            let sum: usize = by_age.lines().filter_map(|line| line.split_once(',')?.1.parse::<usize>().ok()).sum();
            require(sum == found, format!("the nested result of {} contains its count", station.id))?;
            records += held.len();
            matching += found;
        }
        require(rows == expected, "the counts are those of the stations' records")?;
        rows.push(vec!["all".to_owned(), records.to_string(), matching.to_string()]);
        Ok(rows)
    }
}

/// Returns the data for the query and the environment of the algorithm, as station software provides them.
fn data_for(station: &DemoStation, opened: &pb::PreRunOutcome, records: &Records) -> Result<(Vec<u8>, Vec<String>), DemoError> {
    let query: serde_json::Value = serde_json::from_slice(&opened.query).map_err(DemoError::crypto)?;
    let file = query["data"]["filename"].as_str().unwrap_or_default();
    require(FilePath::new(file).is_ok_and(|path| path.components().count() == 1), "the query names a file")?;
    let archive = || {
        let mut archive = Archive::new();
        archive.directory("train_data")?;
        archive.file(&format!("train_data/{file}"), 0o644, records.to_csv().as_bytes())?;
        archive.finish()
    };
    let data = archive().map_err(DemoError::io("write the records' archive"))?;
    Ok((data, vec![format!("STATION_ID={}", station.id), format!("TRAIN_DATA_PATH=/opt/train_data/{file}")]))
}

/// With `--keep`, stores the creator's private key in the workspace, so that the train can be opened later.
fn store_creator_key(workspace: &Workspace, creator: &Creator) -> Result<(), DemoError> {
    use std::os::unix::fs::OpenOptionsExt as _;
    let path = workspace.root().join("creator.pem");
    let failed = DemoError::io(format!("write {}", path.display()));
    let pem = creator.key.private_pem()?;
    let mut options = std::fs::OpenOptions::new();
    let file = options.write(true).create_new(true).mode(0o600).open(&path);
    file.and_then(|mut file| file.write_all(&pem)).map_err(failed)
}
