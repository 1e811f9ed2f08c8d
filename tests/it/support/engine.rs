//! The engine as another client sees it, and an adversary's changes to images.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use bollard::{Docker, body_full, errors::Error, models::ContainerCreateBody, query_parameters as q};
use futures_util::TryStreamExt;

use super::block_on;

/// The label that the test peer gives a train's images; containers and children inherit it.
const REPOSITORY_LABEL: &str = "stationmaster.peer";
/// The label that the service gives its containers.
const INSTANCE_LABEL: &str = "org.stationmaster.instance";

/// The engine at `DOCKER_HOST`, or at its usual socket.
#[derive(Clone)]
pub struct Engine(Docker);

/// What there is of one train in the engine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// Every name of an image of the train, private ones included, and the image id it stands for.
    pub tags: BTreeMap<String, String>,
    /// Every container of an image of the train, with its instance label (empty when it is not of a service).
    pub containers: BTreeMap<String, String>,
}

impl Snapshot {
    /// The image id that a name stands for.
    #[track_caller]
    pub fn id(&self, name: &str) -> &str {
        self.tags.get(name).unwrap_or_else(|| panic!("no image is named {name}: {:?}", self.tags))
    }
}

impl Engine {
    /// Fails the test when no engine answers.
    pub fn connect() -> Self {
        let found = block_on(async { Docker::connect_with_defaults()?.negotiate_version().await });
        Self(found.unwrap_or_else(|error| panic!("no Docker engine answers ({error}): run `make test`, which starts one")))
    }

    /// Where it is, as the service's `--engine` wants it; `None` for the usual socket.
    pub fn host() -> Option<String> {
        std::env::var("DOCKER_HOST").ok().filter(|host| !host.is_empty())
    }

    /// The first number of its version.
    pub fn major(&self) -> u32 {
        let version = block_on(self.0.version()).expect("the engine tells its version").version.unwrap_or_default();
        version.split('.').next().and_then(|major| major.parse().ok()).unwrap_or_else(|| panic!("a version: {version}"))
    }

    /// Whether it takes archives that lack the layers it has: the containerd image store does not.
    pub fn takes_partial_archives(&self) -> bool {
        let status = block_on(self.0.info()).expect("the engine tells of itself").driver_status.unwrap_or_default();
        !status.iter().flatten().any(|word| word.starts_with("io.containerd.snapshotter"))
    }

    /// Names and containers of the train in `repository`.
    pub fn snapshot(&self, repository: &str) -> Snapshot {
        let tags = self.images(repository).into_iter().flat_map(|image| {
            let id = image.id;
            image.repo_tags.into_iter().filter(|name| name != "<none>:<none>").map(move |name| (name, id.clone()))
        });
        Snapshot { tags: tags.collect(), containers: self.containers(&format!("{REPOSITORY_LABEL}={repository}")) }
    }

    /// Ids of all images of the train in `repository`, nameless ones included.
    pub fn image_ids(&self, repository: &str) -> BTreeSet<String> {
        self.images(repository).into_iter().map(|image| image.id).collect()
    }

    /// Containers of services: of one instance, or of all.
    pub fn service_containers(&self, instance: Option<&str>) -> BTreeMap<String, String> {
        self.containers(&instance.map_or(INSTANCE_LABEL.to_owned(), |id| format!("{INSTANCE_LABEL}={id}")))
    }

    fn images(&self, repository: &str) -> Vec<bollard::models::ImageSummary> {
        let filters = HashMap::from([("label".to_owned(), vec![format!("{REPOSITORY_LABEL}={repository}")])]);
        let options = q::ListImagesOptionsBuilder::new().all(true).filters(&filters).build();
        block_on(self.0.list_images(Some(options))).expect("the engine lists images")
    }

    fn containers(&self, label: &str) -> BTreeMap<String, String> {
        let filters = HashMap::from([("label".to_owned(), vec![label.to_owned()])]);
        let options = q::ListContainersOptionsBuilder::new().all(true).filters(&filters).build();
        let listed = block_on(self.0.list_containers(Some(options))).expect("the engine lists containers");
        let instance = |labels: HashMap<String, String>| labels.get(INSTANCE_LABEL).cloned().unwrap_or_default();
        listed.into_iter().filter_map(|one| Some((one.id?, one.labels.map(instance).unwrap_or_default()))).collect()
    }

    /// The id a name stands for.
    pub fn find(&self, image: &str) -> Option<String> {
        match block_on(self.0.inspect_image(image)) {
            Ok(image) => image.id,
            Err(Error::DockerResponseServerError { status_code: 404, .. }) => None,
            Err(error) => panic!("inspect {image}: {error}"),
        }
    }

    /// Lets `repository:tag` stand for an image.
    pub fn tag(&self, image: &str, repository: &str, tag: &str) {
        let options = q::TagImageOptionsBuilder::new().repo(repository).tag(tag).build();
        block_on(self.0.tag_image(image, Some(options))).expect("the engine tags");
    }

    /// Takes a name away (and the image, when it was its last).
    pub fn untag(&self, name: &str) {
        let options = q::RemoveImageOptionsBuilder::new().force(false).noprune(true).build();
        block_on(self.0.remove_image(name, Some(options), None)).expect("the engine untags");
    }

    /// A container of `image` that is not started: it holds the image. With `labels`, as another program makes it.
    pub fn hold(&self, image: &str, labels: &[(&str, &str)]) -> Held {
        let body = ContainerCreateBody {
            image: Some(image.to_owned()),
            cmd: Some(vec!["/never-started".to_owned()]),
            labels: Some(labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()),
            ..Default::default()
        };
        let options = q::CreateContainerOptionsBuilder::new().build();
        let id = block_on(self.0.create_container(Some(options), body)).expect("the engine creates a container").id;
        Held { engine: self.clone(), id }
    }

    /// An image from nothing, of one layer; it carries the label by which [`Engine::remove_all`] finds it. Answers its id.
    pub fn import(&self, tar: Vec<u8>, repository: &str, tag: &str) -> String {
        let label = format!("LABEL {REPOSITORY_LABEL}={repository}");
        let options = q::CreateImageOptionsBuilder::new().from_src("-").repo(repository).tag(tag).changes(vec![label]).build();
        let answers = self.0.create_image(Some(options), Some(body_full(tar.into())), None);
        block_on(answers.try_collect::<Vec<_>>()).expect("the engine imports");
        self.find(&format!("{repository}:{tag}")).expect("what was imported")
    }

    /// Removes every container and every image of the train in `repository`, whatever their names.
    pub fn remove_all(&self, repository: &str) {
        for id in self.containers(&format!("{REPOSITORY_LABEL}={repository}")).into_keys() {
            self.remove_container(&id);
        }
        // Children go first, and the engine does not list them in that order.
        for _ in 0..20 {
            let images = self.image_ids(repository);
            if images.is_empty() {
                return;
            }
            for id in images {
                let options = q::RemoveImageOptionsBuilder::new().force(true).noprune(false).build();
                let _ = block_on(self.0.remove_image(&id, Some(options), None));
            }
        }
    }

    /// Removes a container, and nothing else.
    pub fn remove_container(&self, id: &str) {
        let options = q::RemoveContainerOptionsBuilder::new().force(true).v(true).build();
        let _ = block_on(self.0.remove_container(id, Some(options)));
    }
}

/// A container that goes when this is dropped.
pub struct Held {
    engine: Engine,
    /// Its id.
    pub id: String,
}

impl Drop for Held {
    fn drop(&mut self) {
        self.engine.remove_container(&self.id);
    }
}
