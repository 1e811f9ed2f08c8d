//! The engine as an image store: metadata, names, users, and removal.

use std::collections::HashMap;

use bollard::{errors::Error as BollardError, query_parameters as q};
use futures_util::{FutureExt, future::BoxFuture};
use serde_json::{Map, Value, json};
use tokio_util::sync::CancellationToken;

use super::{Container, Engine, engine_error::fault, load};
use crate::{
    ImageError,
    archive::source::ImageInput,
    oci::{
        image_config::{HistoryEntry, ImageMetadata},
        reference::{ImageId, ImageName, ImageSource},
    },
    opt::files::ImageFiles,
    store::{
        ImageStore, StoreKind,
        recipe::{BuiltImage, ImageSpec, LayerSource, WriteError},
    },
};

/// Properties of engines.
const KIND: StoreKind = StoreKind { name: "engine", bound_to_repository: None };

impl ImageStore for Engine {
    fn place(&self) -> &str {
        &self.place
    }

    fn kind(&self) -> &'static StoreKind {
        &KIND
    }

    /// Checks that the engine responds and negotiates the API's version with it: for this connection and all its clones,
    /// and again after the engine was replaced by an older one.
    fn check(&self) -> BoxFuture<'_, Result<(), ImageError>> {
        async { self.docker.clone().negotiate_version().await.map(drop).map_err(|e| fault("version", e)) }.boxed()
    }

    fn resolve(&self, source: &ImageSource) -> Result<ImageId, ImageError> {
        let image = self.block(self.docker.inspect_image(&source.to_string())).map_err(|e| fault("inspect image", e))?;
        id_of("inspect image", image.id)
    }

    fn images_of(&self, repository: &str) -> Result<Vec<(ImageId, Vec<String>)>, ImageError> {
        let filters = HashMap::from([("reference".to_owned(), vec![repository.to_owned()])]);
        let options = q::ListImagesOptionsBuilder::new().filters(&filters).build();
        let list = self.block(self.docker.list_images(Some(options))).map_err(|e| fault("list images", e))?;
        list.into_iter().map(|image| Ok((id_of("list images", Some(image.id))?, image.repo_digests))).collect()
    }

    fn metadata(&self, id: &ImageId) -> Result<ImageMetadata, ImageError> {
        let id = id.to_string();
        let image = self.block(self.docker.inspect_image(&id)).map_err(|e| fault("inspect image", e))?;
        let history = self.block(self.docker.image_history(&id)).map_err(|e| fault("image history", e))?;
        let mut platform = Map::new();
        let fields = [
            ("architecture", &image.architecture),
            ("os", &image.os),
            ("variant", &image.variant),
            ("os.version", &image.os_version),
            ("author", &image.author),
        ];
        for (name, value) in fields {
            if let Some(value) = value.as_ref().filter(|value| !value.is_empty()) {
                platform.insert(name.into(), json!(value));
            }
        }
        let history = history.into_iter().rev().map(|entry| HistoryEntry {
            created: entry.created,
            created_by: entry.created_by,
            comment: entry.comment,
            size: entry.size,
        });
        Ok(ImageMetadata {
            id: id_of("inspect image", image.id)?,
            layers: image.root_fs.and_then(|root| root.layers).unwrap_or_default(),
            config: image.config.map(config_file).unwrap_or_default(),
            platform,
            size: image.size.and_then(|size| u64::try_from(size).ok()).unwrap_or(0),
            history: history.collect(),
        })
    }

    fn files(&self, id: &ImageId) -> Result<Box<dyn ImageFiles>, ImageError> {
        Ok(Box::new(Container::create(self, id, &[])?))
    }

    fn input(&self, id: &ImageId, cancel: &CancellationToken) -> Result<ImageInput<'static>, ImageError> {
        Ok(ImageInput::archive(self.save(id, cancel)?))
    }

    fn build(&self, spec: &ImageSpec<'_>, layer: &mut dyn LayerSource) -> Result<BuiltImage, WriteError> {
        load::build(self, spec, layer)
    }

    fn tag(&self, id: &ImageId, name: &ImageName) -> Result<(), ImageError> {
        let options = q::TagImageOptionsBuilder::new().repo(name.repository()).tag(name.tag()).build();
        self.block(self.docker.tag_image(&id.to_string(), Some(options))).map_err(|e| fault("tag image", e))
    }

    fn untag(&self, name: &ImageName) -> Result<(), ImageError> {
        self.remove_named(&name.to_string())
    }

    fn remove(&self, id: &ImageId) -> Result<(), ImageError> {
        self.remove_named(&id.to_string())
    }

    fn images_using(&self, id: &ImageId) -> Result<Vec<String>, ImageError> {
        let id = id.to_string();
        let filters = HashMap::from([("ancestor".to_owned(), vec![id.clone()])]);
        let mut holders = self.containers(filters)?;
        let image = self.block(self.docker.inspect_image(&id)).map_err(|e| fault("inspect image", e))?;
        holders.extend(
            image.repo_tags.unwrap_or_default().into_iter().filter(|name| !name.contains('<')).map(|name| format!("name:{name}")),
        );
        Ok(holders)
    }
}

impl Engine {
    /// Removes a name or an image by id; a missing one is not an error.
    fn remove_named(&self, image: &str) -> Result<(), ImageError> {
        let options = q::RemoveImageOptionsBuilder::new().force(false).noprune(false).build();
        match self.block(self.docker.remove_image(image, Some(options), None)) {
            Ok(_) => Ok(()),
            Err(BollardError::DockerResponseServerError { status_code: 404, .. }) => Ok(()),
            Err(BollardError::DockerResponseServerError { status_code: 409, .. }) => Err(ImageError::InUse),
            Err(other) => Err(fault("remove image", other)),
        }
    }
}

/// Parses the id of an image in the response to a call.
fn id_of(call: &'static str, id: Option<String>) -> Result<ImageId, ImageError> {
    let id = id.ok_or_else(|| missing(call, "Id"))?;
    id.parse().map_err(|_| ImageError::Engine { call, detail: "the Id in its answer is not the id of an image".into() })
}

/// Converts the API's configuration to the `config` part of a configuration file: the same fields, with sets as objects.
fn config_file(config: bollard::models::ImageConfig) -> Map<String, Value> {
    let set = |names: Vec<String>| Value::Object(names.into_iter().map(|name| (name, json!({}))).collect());
    let mut file = Map::new();
    let mut put = |name: &str, value: Option<Value>| {
        if let Some(value) = value {
            file.insert(name.to_owned(), value);
        }
    };
    put("User", config.user.filter(|user| !user.is_empty()).map(|v| json!(v)));
    put("ExposedPorts", config.exposed_ports.map(set));
    put("Env", config.env.map(|v| json!(v)));
    put("Cmd", config.cmd.map(|v| json!(v)));
    put("Healthcheck", config.healthcheck.map(|v| json!(v)));
    put("ArgsEscaped", config.args_escaped.filter(|set| *set).map(|v| json!(v)));
    put("Volumes", config.volumes.map(set));
    put("WorkingDir", config.working_dir.filter(|dir| !dir.is_empty()).map(|v| json!(v)));
    put("Entrypoint", config.entrypoint.map(|v| json!(v)));
    put("OnBuild", config.on_build.map(|v| json!(v)));
    put("Labels", config.labels.map(|v| json!(v)));
    put("StopSignal", config.stop_signal.filter(|signal| !signal.is_empty()).map(|v| json!(v)));
    put("Shell", config.shell.map(|v| json!(v)));
    file
}

fn missing(call: &'static str, field: &str) -> ImageError {
    ImageError::Engine { call, detail: format!("its answer has no {field}") }
}
