//! What is asked of the engine without stationmaster: the floor, the keeping of a run's outcome, and tidying up.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io::{self, Write},
    path::Path,
    time::{Duration, Instant},
};

use bollard::{
    Docker, body_try_stream,
    models::{ContainerConfig, ContainerCreateBody},
    query_parameters as q,
};
use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt};

use crate::{payload::Payload, process::Cpu, record::Cost, support};

/// What a station's software takes from the finished container, and where it puts each (as `tests/peer/station.py` does).
const CARRIED: [(&str, &str); 3] = [("/opt/pht_train", "/opt"), ("/opt/pht_results", "/opt"), ("/opt/train_config.json", "/opt")];

/// The engine.
#[derive(Clone)]
pub struct Engine {
    docker: Docker,
    pid: Option<u32>,
}

impl Engine {
    /// At `DOCKER_HOST`, or at its usual socket.
    pub fn connect() -> Self {
        let docker = support::block_on(async {
            Docker::connect_with_defaults()?.with_timeout(Duration::from_hours(1)).negotiate_version().await
        });
        Self { docker: docker.expect("a Docker engine"), pid: daemon() }
    }

    /// Processor seconds of the daemon so far, when it can be seen.
    pub fn cpu(&self) -> Option<f64> {
        Some(Cpu::of_process(self.pid?)?.all())
    }

    /// Does something of the engine, on a task of its own (a stream that is read by the waiting thread costs twice the
    /// processor time), and says what it cost.
    fn timed<T: Send + 'static>(
        &self,
        what: impl Future<Output = Result<T, bollard::errors::Error>> + Send + 'static,
    ) -> (T, Cost) {
        let (engine, begun) = (self.cpu(), Instant::now());
        let done = support::block_on(support::spawn(what)).expect("no panic").expect("the engine");
        let wall = begun.elapsed().as_secs_f64();
        (done, Cost { wall, engine: self.cpu().zip(engine).map(|(after, before)| after - before), ..Cost::default() })
    }

    /// The floor: two containers, the archive of `/opt` out of one and into the other, a commit, both removed.
    pub fn floor(&self, image: &str, base: &str, repository: &str) -> Cost {
        let (docker, image, base, repository) = (self.docker.clone(), image.to_owned(), base.to_owned(), repository.to_owned());
        let work = async move {
            let from = create(&docker, &image).await?;
            let to = create(&docker, &base).await?;
            carry(&docker, &from, "/opt", &to, "/").await?;
            commit(&docker, &to, &repository, "floor").await?;
            for container in [from, to] {
                remove_container(&docker, &container).await?;
            }
            Ok(())
        };
        self.timed(work).1
    }

    /// A container of an image, as if it had run: a fresh one holds what the run would leave.
    pub fn ran(&self, image: &str) -> String {
        let (docker, image) = (self.docker.clone(), image.to_owned());
        self.timed(async move { create(&docker, &image).await }).0
    }

    /// Keeps a run's outcome by committing its container under `repository:latest`.
    pub fn keep_committed(&self, ran: &str, repository: &str) -> Cost {
        let (docker, ran, repository) = (self.docker.clone(), ran.to_owned(), repository.to_owned());
        self.timed(async move { commit(&docker, &ran, &repository, "latest").await }).1
    }

    /// Keeps a run's outcome as a station's workflow does: three paths carried onto the train's base, and that committed.
    pub fn keep_carried(&self, ran: &str, base: &str, repository: &str) -> Cost {
        let (docker, ran) = (self.docker.clone(), ran.to_owned());
        let (base, repository) = (base.to_owned(), repository.to_owned());
        let work = async move {
            let to = create(&docker, &base).await?;
            for (source, target) in CARRIED {
                carry(&docker, &ran, source, &to, target).await?;
            }
            commit(&docker, &to, &repository, "latest").await?;
            remove_container(&docker, &to).await
        };
        self.timed(work).1
    }

    /// `docker save IMAGE >/dev/null`.
    pub fn save(&self, image: &str) -> Cost {
        let (docker, image) = (self.docker.clone(), image.to_owned());
        let work = async move {
            let mut archive = std::pin::pin!(docker.export_image(&image));
            while archive.next().await.transpose()?.is_some() {}
            Ok(())
        };
        self.timed(work).1
    }

    /// The same, into a file.
    pub fn save_to(&self, image: &str, file: &Path) {
        let (docker, image) = (self.docker.clone(), image.to_owned());
        let mut file = File::create(file).expect("a file");
        let work = async move {
            let mut archive = std::pin::pin!(docker.export_image(&image));
            while let Some(piece) = archive.next().await.transpose()? {
                file.write_all(&piece)?;
            }
            Ok(())
        };
        self.timed(work);
    }

    /// Puts results into an image that is open, in place of a run.
    pub fn place(&self, image: &str, repository: &str, payload: Payload) {
        self.lay(image, "/opt", payload.archive(), [repository, "latest"]);
    }

    /// Makes a new image of another and an archive that is unpacked in a directory of it: one layer more. `name` is its repository and tag.
    pub fn lay(
        &self,
        image: &str,
        directory: &str,
        archive: impl Iterator<Item = io::Result<Bytes>> + Send + 'static,
        [repository, tag]: [&str; 2],
    ) {
        let (docker, image, directory) = (self.docker.clone(), image.to_owned(), directory.to_owned());
        let (repository, tag) = (repository.to_owned(), tag.to_owned());
        let work = async move {
            let container = create(&docker, &image).await?;
            let options = q::UploadToContainerOptionsBuilder::new().path(&directory).build();
            let archive = body_try_stream(futures_util::stream::iter(archive));
            docker.upload_to_container(&container, Some(options), archive).await?;
            commit(&docker, &container, &repository, &tag).await?;
            remove_container(&docker, &container).await
        };
        self.timed(work);
    }

    /// Removes a container.
    pub fn remove_container(&self, id: &str) {
        let (docker, id) = (self.docker.clone(), id.to_owned());
        self.timed(async move { remove_container(&docker, &id).await });
    }

    /// Removes images, whatever their names. Children go first, and the order is not known: several times over.
    pub fn remove_images(&self, mut ids: BTreeSet<String>) {
        for _ in 0..10 {
            ids.retain(|id| {
                let options = q::RemoveImageOptionsBuilder::new().force(true).noprune(true).build();
                support::block_on(self.docker.remove_image(id, Some(options), None)).is_err()
                    && support::block_on(self.docker.inspect_image(id)).is_ok()
            });
            if ids.is_empty() {
                return;
            }
        }
        panic!("images cannot be removed: {ids:?}");
    }
}

/// The process behind the engine's socket, when it is a daemon that we can see.
fn daemon() -> Option<u32> {
    let host = std::env::var("DOCKER_HOST").unwrap_or_else(|_| "unix:///var/run/docker.sock".into());
    let socket = std::os::unix::net::UnixStream::connect(host.strip_prefix("unix://")?).ok()?;
    let pid = rustix::net::sockopt::socket_peercred(&socket).ok()?.pid.as_raw_nonzero().get().cast_unsigned();
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    (name.trim() == "dockerd").then_some(pid)
}

async fn create(docker: &Docker, image: &str) -> Result<String, bollard::errors::Error> {
    let body = ContainerCreateBody {
        image: Some(image.to_owned()),
        cmd: Some(vec!["/never-started".to_owned()]),
        labels: Some(HashMap::new()),
        network_disabled: Some(true),
        ..Default::default()
    };
    Ok(docker.create_container(Some(q::CreateContainerOptionsBuilder::new().build()), body).await?.id)
}

/// Pipes an archive out of one container and into another.
async fn carry(docker: &Docker, from: &str, source: &str, to: &str, target: &str) -> Result<(), bollard::errors::Error> {
    let out = q::DownloadFromContainerOptionsBuilder::new().path(source).build();
    let archive = {
        let (docker, from) = (docker.clone(), from.to_owned());
        // A stream of its own that borrows nothing, for a body that wants that.
        let (sender, pieces) = tokio::sync::mpsc::channel(4);
        tokio::spawn(async move {
            let mut archive = std::pin::pin!(docker.download_from_container(&from, Some(out)).map_err(std::io::Error::other));
            while let Some(piece) = archive.next().await {
                if sender.send(piece).await.is_err() {
                    return;
                }
            }
        });
        tokio_stream::wrappers::ReceiverStream::new(pieces)
    };
    let options = q::UploadToContainerOptionsBuilder::new().path(target).build();
    docker.upload_to_container(to, Some(options), body_try_stream(archive)).await
}

async fn commit(docker: &Docker, container: &str, repository: &str, tag: &str) -> Result<(), bollard::errors::Error> {
    let options = q::CommitContainerOptionsBuilder::new().container(container).repo(repository).tag(tag).pause(false).build();
    docker.commit_container(options, ContainerConfig::default()).await.map(drop)
}

async fn remove_container(docker: &Docker, id: &str) -> Result<(), bollard::errors::Error> {
    let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
    docker.remove_container(id, Some(options)).await
}
