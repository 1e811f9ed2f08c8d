//! `ImageService`: reads images without changing them.

use tonic::Request;

use super::{
    status::{Answer, AnswerStream, Refusal},
    steps::Steps,
};
use crate::{
    image::reference::ImageSource,
    pb::{self, hash_image_response::Event},
    protocol::{self, ImageDigests, TrainAbsent},
};

/// The service.
#[derive(Clone)]
pub struct Images {
    steps: Steps,
}

impl Images {
    /// Serves with these steps.
    #[must_use]
    pub fn new(steps: Steps) -> Self {
        Self { steps }
    }
}

#[tonic::async_trait]
impl pb::image_service_server::ImageService for Images {
    type HashImageStream = AnswerStream<pb::HashImageResponse>;

    async fn hash_image(&self, request: Request<pb::HashImageRequest>) -> Answer<Self::HashImageStream> {
        let (_, extensions, request) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let image: ImageSource = self.steps.checked(&caller, request.image.parse().map_err(Refusal::from)).await?;
        let answer = self.steps.stream(
            caller,
            &extensions,
            |progress| pb::HashImageResponse { event: Some(Event::Progress(progress)) },
            move |station, step| {
                let digests = protocol::hash_image(station, &image, request.train_only, step)?;
                Ok(pb::HashImageResponse { event: Some(Event::Result(result_message(digests))) })
            },
        );
        answer.await
    }
}

fn result_message(digests: ImageDigests) -> pb::HashImageResult {
    let absent = match &digests.train {
        Ok(_) => "",
        Err(TrainAbsent::NotATrain) => "not-a-train",
        Err(TrainAbsent::NotOnRoute) => "not-on-route",
        Err(TrainAbsent::NotOurTurn) => "not-our-turn",
        Err(TrainAbsent::NoKey) => "no-key",
    };
    pb::HashImageResult {
        image_id: digests.image_id,
        tree_digest: digests.tree.map(|tree| tree.digest.to_vec()).unwrap_or_default(),
        tree_entries: digests.tree.map_or(0, |tree| tree.entries),
        tree_bytes: digests.tree.map_or(0, |tree| tree.bytes),
        train: digests.train.ok().map(|train| pb::TrainDigests {
            immutable_digest: train.immutable.as_bytes().to_vec(),
            results_digest: train.results.as_bytes().to_vec(),
            immutable_matches: train.immutable_matches,
            sealed: train.sealed,
        }),
        train_absent: absent.to_owned(),
    }
}
