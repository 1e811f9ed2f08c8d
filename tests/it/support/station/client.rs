//! The service's clients: the generated ones, and one call each of the RPCs that tests need most.

use stationmaster_proto as pb;
use stationmaster_proto::{
    hash_image_response, image_service_client::ImageServiceClient, key_service_client::KeyServiceClient, post_run_response,
    pre_run_response, train_service_client::TrainServiceClient,
};
use tonic::transport::{Channel, Endpoint};

use super::{
    super::{RUNTIME, Refusal, block_on},
    Station,
};

impl Station {
    /// A connection over the Unix socket.
    pub fn unix(&self) -> Channel {
        let endpoint = Endpoint::from_shared(format!("unix:{}", self.socket().display())).expect("an address");
        let _entered = RUNTIME.enter();
        endpoint.connect_lazy()
    }

    /// The generated client of `KeyService`.
    pub fn keys_client(&self) -> KeyServiceClient<Channel> {
        KeyServiceClient::new(self.unix())
    }

    /// The generated client of `ImageService`.
    pub fn images_client(&self) -> ImageServiceClient<Channel> {
        ImageServiceClient::new(self.unix())
    }

    /// The generated client of `TrainService`.
    pub fn trains_client(&self) -> TrainServiceClient<Channel> {
        TrainServiceClient::new(self.unix())
    }

    /// What `grpc.health.v1` says of the whole: "SERVING", "NOT_SERVING".
    pub fn health(&self) -> Result<String, Refusal> {
        let mut client = tonic_health::pb::health_client::HealthClient::new(self.unix());
        let answer = block_on(client.check(tonic_health::pb::HealthCheckRequest::default()))?;
        Ok(answer.into_inner().status().as_str_name().to_owned())
    }

    /// `ListKeys`.
    pub fn keys(&self) -> Result<Vec<pb::Key>, Refusal> {
        Ok(block_on(self.keys_client().list_keys(pb::ListKeysRequest {}))?.into_inner().keys)
    }

    /// `GetKey`.
    pub fn key(&self, label: &str) -> Result<pb::Key, Refusal> {
        let answer = block_on(self.keys_client().get_key(pb::GetKeyRequest { label: label.into() }))?;
        Ok(answer.into_inner().key.expect("a key"))
    }

    /// `Sign`.
    pub fn sign(&self, label: &str, scheme: pb::SignatureScheme, digest: &[u8]) -> Result<Vec<u8>, Refusal> {
        self.sign_asked(label, scheme, digest, &[])
    }

    /// `Sign` with a digest, a message, both or none.
    pub fn sign_asked(
        &self,
        label: &str,
        scheme: pb::SignatureScheme,
        digest: &[u8],
        message: &[u8],
    ) -> Result<Vec<u8>, Refusal> {
        let request =
            pb::SignRequest { key_label: label.into(), scheme: scheme.into(), digest: digest.into(), message: message.into() };
        Ok(block_on(self.keys_client().sign(request))?.into_inner().signature)
    }

    /// `UnwrapKey`.
    pub fn unwrap_key(&self, label: &str, scheme: pb::WrappingScheme, wrapped: &[u8]) -> Result<Vec<u8>, Refusal> {
        let request = pb::UnwrapKeyRequest { key_label: label.into(), scheme: scheme.into(), wrapped_key: wrapped.into() };
        Ok(block_on(self.keys_client().unwrap_key(request))?.into_inner().key)
    }

    /// `InspectTrain`.
    pub fn inspect(&self, image: &str) -> Result<pb::InspectTrainResponse, Refusal> {
        Ok(block_on(self.trains_client().inspect_train(pb::InspectTrainRequest { image: image.into() }))?.into_inner())
    }

    /// `PreRun`, to its outcome.
    pub fn pre_run(&self, image: &str) -> Result<pb::PreRunOutcome, Refusal> {
        self.pre_run_as(image, "")
    }

    /// `PreRun` with an idempotency key.
    pub fn pre_run_as(&self, image: &str, idempotency_key: &str) -> Result<pb::PreRunOutcome, Refusal> {
        self.pre_run_into(image, idempotency_key, pb::OpenInto::Unspecified)
    }

    /// `PreRun` to a place.
    pub fn pre_run_into(&self, image: &str, idempotency_key: &str, into: pb::OpenInto) -> Result<pb::PreRunOutcome, Refusal> {
        let request = pb::PreRunRequest { image: image.into(), idempotency_key: idempotency_key.into(), into: into.into() };
        block_on(async {
            let stream = self.trains_client().pre_run(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(pre_run_response::Event::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .await
        })
    }

    /// `PostRun` of a run, on the image that pre-run wrote.
    pub fn post_run(&self, run_id: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_of(run_id, "")
    }

    /// The same of a run that left nothing, which is said to be meant.
    pub fn post_run_without_results(&self, run_id: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_with(pb::PostRunRequest { run_id: run_id.into(), no_results: true, ..Default::default() })
    }

    /// `PostRun`; either may be empty.
    pub fn post_run_of(&self, run_id: &str, image: &str) -> Result<pb::PostRunOutcome, Refusal> {
        self.post_run_with(pb::PostRunRequest { run_id: run_id.into(), image: image.into(), ..Default::default() })
    }

    /// `PostRun`, to its outcome.
    pub fn post_run_with(&self, request: pb::PostRunRequest) -> Result<pb::PostRunOutcome, Refusal> {
        block_on(async {
            let stream = self.trains_client().post_run(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(post_run_response::Event::Outcome(outcome)) => Some(outcome),
                _ => None,
            })
            .await
        })
    }

    /// `AbortRun`.
    pub fn abort(&self, run_id: &str) -> Result<pb::AbortRunResponse, Refusal> {
        Ok(block_on(self.trains_client().abort_run(pb::AbortRunRequest { run_id: run_id.into() }))?.into_inner())
    }

    /// `HashImage`, to its result.
    pub fn hash(&self, image: &str, train_only: bool) -> Result<pb::HashImageResult, Refusal> {
        let request = pb::HashImageRequest { image: image.into(), train_only };
        block_on(async {
            let stream = self.images_client().hash_image(request).await?.into_inner();
            outcome(stream, |answer| match answer.event {
                Some(hash_image_response::Event::Result(result)) => Some(result),
                _ => None,
            })
            .await
        })
    }
}

/// Reads a stream to its end: progress, then exactly one outcome, then nothing.
pub async fn outcome<T, O>(mut stream: tonic::Streaming<T>, outcome_in: impl Fn(T) -> Option<O>) -> Result<O, Refusal> {
    let mut last = None;
    while let Some(message) = stream.message().await? {
        assert!(last.is_none(), "a message came after the outcome");
        last = outcome_in(message);
    }
    Ok(last.expect("an outcome at the end of the stream"))
}
