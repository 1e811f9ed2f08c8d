//! Operations of the container engine that builder and station software use.
//!
//! Separate from [`stationmaster_image::store::docker`], which serves the protocol and never starts a container: here images are imported,
//! containers run, and their output is committed on top of the train's base. The service does not use this. Everything created here, or
//! by a station from it, carries this demonstration's label, because an image passes its labels on.

use std::{
    collections::{BTreeSet, HashMap},
    time::Duration,
};

use bollard::{
    Docker, body_full,
    errors::Error as BollardError,
    models::{ContainerConfig, ContainerCreateBody},
    query_parameters as q,
};
use bytes::Bytes;
use futures_util::{Stream, StreamExt, TryStreamExt};
use stationmaster_image::{oci::reference::ImageName, store::docker};
use tokio_util::task::TaskTracker;

use super::{DemoError, algorithm::COMMAND, scan::Scan};

const LABEL: &str = "org.stationmaster.demo";
const TIMEOUT: Duration = Duration::from_mins(2);
/// Maximum time that the sweep waits for running calls.
const CALLS_TIMEOUT: Duration = Duration::from_secs(30);
/// Number of rounds: images are removed children first, and the engine does not list them in that order.
const SWEEPS: usize = 20;
/// Paths that station software copies from the finished container.
const COPIED: [&str; 3] = ["/opt/pht_train", "/opt/pht_results", "/opt/train_config.json"];

/// The engine, and the label of this demonstration's objects.
pub(super) struct DockerClient {
    docker: Docker,
    id: String,
    version: String,
    making: TaskTracker,
}

/// A run of the train's algorithm.
pub(super) struct TrainRun<'a> {
    /// The opened train; its name is moved to the committed image.
    pub image: &'a ImageName,
    /// `NAME=value` for the algorithm.
    pub environment: Vec<String>,
    /// Archive of the station's data for `/opt`.
    pub data: Vec<u8>,
    /// The station, for errors.
    pub station: &'a str,
}

impl DockerClient {
    pub(crate) async fn connect(host: &str, id: &str) -> Result<Self, DemoError> {
        let path = host.strip_prefix("unix://").unwrap_or(host);
        let unreachable = |error: BollardError| DemoError::NoEngine { host: host.to_owned(), detail: error.to_string() };
        let docker = docker::client(path, TIMEOUT).map_err(unreachable)?;
        let docker = docker.negotiate_version().await.map_err(unreachable)?;
        let version = docker.version().await.map_err(unreachable)?.version.unwrap_or_default();
        Ok(Self { docker, id: id.to_owned(), version, making: TaskTracker::new() })
    }

    pub(crate) fn version(&self) -> &str {
        &self.version
    }

    /// `name=value` of the label.
    pub(crate) fn label(&self) -> String {
        format!("{LABEL}={}", self.id)
    }

    /// A repository of this demonstration.
    pub(crate) fn repository(&self, what: &str) -> String {
        format!("stationmaster-demo-{}/{what}", self.id)
    }

    /// Creates an image from an archive, with both names of a train.
    pub(crate) async fn import(&self, repository: &str, archive: Vec<u8>) -> Result<ImageName, DemoError> {
        let command = serde_json::json!(COMMAND);
        let changes = vec![format!("CMD {command}"), format!("LABEL {}", self.label())];
        let options = q::CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag("base").changes(changes).build();
        let docker = self.docker.clone();
        let import = async move {
            docker.create_image(Some(options), Some(body_full(archive.into())), None).try_collect::<Vec<_>>().await
        };
        self.make("import an image", import).await?;
        let base: ImageName = format!("{repository}:base").parse().map_err(DemoError::crypto)?;
        let latest = base.with_tag("latest");
        let options = q::TagImageOptionsBuilder::new().repo(repository).tag(latest.tag()).build();
        let docker = self.docker.clone();
        self.make("tag an image", async move { docker.tag_image(&base.to_string(), Some(options)).await }).await?;
        Ok(latest)
    }

    /// Runs the algorithm without a network and copies its results onto the train's base, as station software does. The opened train's
    /// name then belongs to the committed image.
    pub(crate) async fn run_train(&self, run: TrainRun<'_>) -> Result<(), DemoError> {
        let body = ContainerCreateBody { env: Some(run.environment.clone()), ..container(run.image) };
        let ran = self.create(body).await?;
        let outcome = self.run_and_copy(&run, &ran).await;
        self.remove_container(&ran).await.and(outcome)
    }

    async fn run_and_copy(&self, run: &TrainRun<'_>, ran: &str) -> Result<(), DemoError> {
        self.put(ran, run.data.clone().into()).await?;
        self.docker.start_container(ran, None).await.map_err(fault("start a container"))?;
        match self.docker.wait_container(ran, None).next().await {
            Some(Ok(_)) => {}
            Some(Err(BollardError::DockerContainerWaitError { code, .. })) => {
                let output = self.output(ran).await;
                let detail = format!("it ended with {code}: {output}");
                return Err(DemoError::Algorithm { station: run.station.to_owned(), detail });
            }
            Some(Err(error)) => return Err(fault("wait for a container")(error)),
            None => return Err(DemoError::Engine { what: "wait for a container", detail: "it does not respond".into() }),
        }
        let rebased = self.create(container(&run.image.with_tag("base"))).await?;
        let outcome = self.copy_and_commit(run.image, ran, &rebased).await;
        self.remove_container(&rebased).await.and(outcome)
    }

    async fn copy_and_commit(&self, image: &ImageName, ran: &str, rebased: &str) -> Result<(), DemoError> {
        for path in COPIED {
            let archive = self.fetch(ran, path).await?;
            self.put(rebased, archive.into()).await?;
        }
        let options =
            q::CommitContainerOptionsBuilder::new().container(rebased).repo(image.repository()).tag(image.tag()).build();
        let docker = self.docker.clone();
        let commit = async move { docker.commit_container(options, ContainerConfig::default()).await };
        self.make("commit a container", commit).await.map(drop)
    }

    /// Returns the archive of an image's `/opt`. The container for it is never started.
    pub(crate) async fn read_opt(&self, image: &ImageName) -> Result<Vec<u8>, DemoError> {
        let made = self.create(container(image)).await?;
        let archive = self.fetch(&made, "/opt").await;
        self.remove_container(&made).await?;
        archive
    }

    /// Scans everything that would be sent of an image: all layers, and the image's config.
    pub(crate) async fn scan(&self, image: &ImageName, mut scan: Scan) -> Result<Scan, DemoError> {
        let name = image.to_string();
        let mut pieces = std::pin::pin!(self.docker.export_image(&name));
        while let Some(piece) = pieces.next().await {
            scan.update(&piece.map_err(fault("save an image"))?);
        }
        Ok(scan)
    }

    /// The layers of an image.
    pub(crate) async fn layers(&self, image: &ImageName) -> Result<Vec<String>, DemoError> {
        let image = self.docker.inspect_image(&image.to_string()).await.map_err(fault("inspect an image"))?;
        Ok(image.root_fs.and_then(|root| root.layers).unwrap_or_default())
    }

    /// Returns the id of a named image.
    pub(crate) async fn image_id(&self, image: &ImageName) -> Result<String, DemoError> {
        let image = self.docker.inspect_image(&image.to_string()).await.map_err(fault("inspect an image"))?;
        Ok(image.id.unwrap_or_default())
    }

    /// Returns all images of this demonstration, including those without names.
    pub(crate) async fn images(&self) -> Result<BTreeSet<(String, Vec<String>)>, DemoError> {
        let options = q::ListImagesOptionsBuilder::new().all(true).filters(&self.filters()).build();
        let images = self.docker.list_images(Some(options)).await.map_err(fault("list images"))?;
        let sorted = |mut names: Vec<String>| {
            names.sort();
            names
        };
        Ok(images.into_iter().map(|image| (image.id, sorted(image.repo_tags))).collect())
    }

    /// Returns all containers of this demonstration, including those of the stations.
    pub(crate) async fn containers(&self) -> Result<BTreeSet<String>, DemoError> {
        let options = q::ListContainersOptionsBuilder::new().all(true).filters(&self.filters()).build();
        let containers = self.docker.list_containers(Some(options)).await.map_err(fault("list containers"))?;
        Ok(containers.into_iter().filter_map(|container| container.id).collect())
    }

    /// Removes everything of this demonstration.
    pub(crate) async fn sweep(&self) -> Result<(), DemoError> {
        self.making.close();
        // After a timeout the sweep reports the engine's error.
        let _ = tokio::time::timeout(CALLS_TIMEOUT, self.making.wait()).await;
        for _ in 0..SWEEPS {
            for id in self.containers().await? {
                self.remove_container(&id).await?;
            }
            let images = self.images().await?;
            if images.is_empty() {
                return Ok(());
            }
            for (id, _) in images {
                let options = q::RemoveImageOptionsBuilder::new().force(true).build();
                // Refused while it has children; the next round removes it.
                let _ = self.docker.remove_image(&id, Some(options), None).await;
            }
        }
        let left = self.images().await?.len();
        Err(DemoError::Engine { what: "remove the demonstration's images", detail: format!("{left} remain: {}", self.label()) })
    }

    fn filters(&self) -> HashMap<String, Vec<String>> {
        HashMap::from([("label".to_owned(), vec![self.label()])])
    }

    async fn create(&self, mut body: ContainerCreateBody) -> Result<String, DemoError> {
        let (name, value) = (LABEL.to_owned(), self.id.clone());
        body.labels = Some(HashMap::from([(name, value)]));
        let docker = self.docker.clone();
        let create = async move { docker.create_container(None::<q::CreateContainerOptions>, body).await };
        Ok(self.make("create a container", create).await?.id)
    }

    /// Makes a call that creates an object. It continues when its caller is cancelled, so that [`DockerClient::sweep`] sees the object.
    async fn make<T: Send + 'static>(
        &self,
        what: &'static str,
        call: impl Future<Output = Result<T, BollardError>> + Send + 'static,
    ) -> Result<T, DemoError> {
        match self.making.spawn(call).await {
            Ok(answer) => answer.map_err(fault(what)),
            Err(broken) => Err(DemoError::Engine { what, detail: broken.to_string() }),
        }
    }

    async fn remove_container(&self, id: &str) -> Result<(), DemoError> {
        let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        match self.docker.remove_container(id, Some(options)).await {
            // Removed, or being removed.
            Err(BollardError::DockerResponseServerError { status_code: 404 | 409, .. }) => Ok(()),
            other => other.map_err(fault("remove a container")),
        }
    }

    async fn put(&self, id: &str, archive: Bytes) -> Result<(), DemoError> {
        let options = q::UploadToContainerOptionsBuilder::new().path("/opt").build();
        self.docker.upload_to_container(id, Some(options), body_full(archive)).await.map_err(fault("write into a container"))
    }

    async fn fetch(&self, id: &str, path: &str) -> Result<Vec<u8>, DemoError> {
        let options = q::DownloadFromContainerOptionsBuilder::new().path(path).build();
        collect(self.docker.download_from_container(id, Some(options))).await.map_err(fault("read from a container"))
    }

    async fn output(&self, id: &str) -> String {
        let options = q::LogsOptionsBuilder::new().stdout(true).stderr(true).tail("20").build();
        let lines: Vec<_> = self.docker.logs(id, Some(options)).filter_map(async |line| line.ok()).collect().await;
        lines.iter().map(ToString::to_string).collect()
    }
}

fn container(image: &ImageName) -> ContainerCreateBody {
    ContainerCreateBody { image: Some(image.to_string()), network_disabled: Some(true), ..Default::default() }
}

async fn collect(pieces: impl Stream<Item = Result<Bytes, BollardError>>) -> Result<Vec<u8>, BollardError> {
    pieces
        .try_fold(Vec::new(), async |mut all, piece| {
            all.extend_from_slice(&piece);
            Ok(all)
        })
        .await
}

fn fault(what: &'static str) -> impl Fn(BollardError) -> DemoError {
    move |error| DemoError::Engine {
        what,
        detail: match error {
            BollardError::DockerResponseServerError { message, .. } => message,
            other => other.to_string(),
        },
    }
}
