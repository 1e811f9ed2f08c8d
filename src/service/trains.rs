//! `TrainService`: opens and closes trains at this station.

mod convert;

use futures_util::StreamExt;
use stationmaster_image::oci::reference::{ImageName, ImageSource};
use stationmaster_proto as pb;
use stationmaster_proto::{
    check_push_response, open_results_request::Part as Results, open_results_response, post_run_response, pre_run_response,
    verify_train_request::Part,
};
use stationmaster_train::selection::Selection;
use tonic::{Extensions, Request, Response, Streaming};

pub use self::convert::inspection;
pub(super) use self::convert::outcome;
use super::{
    status::{Answer, AnswerStream, Reason, Refusal, RpcError},
    steps::Steps,
    uploads::Archive,
};
use crate::{
    protocol,
    protocol::{CallContext, Caller, PostRunOrder, PreRunOrder, ResultsOf, ResultsOrder, Station},
};

/// Maximum length of an idempotency key, in characters.
const KEY_LIMIT: usize = 256;

/// Implementation of `TrainService`.
#[derive(Clone)]
pub struct Trains {
    steps: Steps,
}

impl Trains {
    /// Makes the service from the station's steps.
    #[must_use]
    pub fn new(steps: Steps) -> Self {
        Self { steps }
    }

    /// Returns the stream of a train's results.
    async fn results(
        &self,
        caller: Caller,
        extensions: &Extensions,
        order: ResultsOrder<Archive>,
    ) -> Answer<AnswerStream<pb::OpenResultsResponse>> {
        let message = |event| pb::OpenResultsResponse { event: Some(event) };
        let answer = self.steps.stream_parts(
            caller,
            extensions,
            move |progress| message(open_results_response::Event::Progress(progress)),
            move |station, step, parts| {
                let mut give = |part: protocol::ResultsPart<'_>| parts.send(station, step, message(convert::results_part(part)));
                let ResultsOrder { train, paths } = order;
                let train = match train {
                    ResultsOf::Image(image) => ResultsOf::Image(image),
                    ResultsOf::Archive(archive) => ResultsOf::Archive(archive.until(step.cancel.clone())),
                };
                let answer = protocol::open_results(station, ResultsOrder { train, paths }, step, &mut give)?;
                Ok(message(open_results_response::Event::Outcome(convert::results(answer))))
            },
        );
        answer.await
    }
}

/// Returns a stream that begins with awaiting a future, and ends when it is dropped.
fn later<T: Send + 'static>(stream: impl Future<Output = Result<AnswerStream<T>, RpcError>> + Send + 'static) -> AnswerStream<T> {
    let one = |refusal| -> AnswerStream<T> { Box::pin(tokio_stream::once(Err(refusal))) };
    Box::pin(futures_util::stream::once(stream).flat_map(move |begun| begun.unwrap_or_else(one)))
}

#[tonic::async_trait]
impl pb::train_service_server::TrainService for Trains {
    type PreRunStream = AnswerStream<pb::PreRunResponse>;
    type PostRunStream = AnswerStream<pb::PostRunResponse>;
    type CheckPushStream = AnswerStream<pb::CheckPushResponse>;
    type OpenResultsStream = AnswerStream<pb::OpenResultsResponse>;

    async fn inspect_train(&self, request: Request<pb::InspectTrainRequest>) -> Answer<pb::InspectTrainResponse> {
        let (_, extensions, request) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let image: ImageSource = self.steps.checked(&caller, request.image.parse().map_err(Refusal::from)).await?;
        let inspect = move |station: &Station, step: &CallContext<'_>| protocol::inspect_train(station, &image, step);
        let inspection = self.steps.unary(caller.clone(), &extensions, inspect).await?;
        Ok(Response::new(self.steps.checked(&caller, convert::inspection(inspection)).await?))
    }

    async fn pre_run(&self, request: Request<pb::PreRunRequest>) -> Answer<Self::PreRunStream> {
        let (_, extensions, request) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let order = self.steps.checked(&caller, PreRunOrder::try_from(request)).await?;
        let answer = self.steps.stream(
            caller,
            &extensions,
            |progress| pb::PreRunResponse { event: Some(pre_run_response::Event::Progress(progress)) },
            move |station, step| {
                let answer = protocol::pre_run(station, &order, step)?;
                Ok(pb::PreRunResponse { event: Some(pre_run_response::Event::Outcome(convert::pre_run(answer))) })
            },
        );
        answer.await
    }

    async fn post_run(&self, request: Request<pb::PostRunRequest>) -> Answer<Self::PostRunStream> {
        let (_, extensions, request) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let order = self.steps.checked(&caller, PostRunOrder::try_from(request)).await?;
        let answer = self.steps.stream(
            caller,
            &extensions,
            |progress| pb::PostRunResponse { event: Some(post_run_response::Event::Progress(progress)) },
            move |station, step| {
                let answer = protocol::post_run(station, &order, step)?;
                Ok(pb::PostRunResponse { event: Some(post_run_response::Event::Outcome(convert::post_run(answer))) })
            },
        );
        answer.await
    }

    async fn abort_run(&self, request: Request<pb::AbortRunRequest>) -> Answer<pb::AbortRunResponse> {
        let (_, extensions, request) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let abort = move |station: &Station, step: &CallContext<'_>| protocol::abort_run(station, &request.run_id, step);
        let answer = self.steps.unary(caller, &extensions, abort).await?;
        Ok(Response::new(pb::AbortRunResponse {
            run_id: answer.run_id.to_string(),
            image: answer.image,
            plaintext_held_by: answer.plaintext_held_by,
        }))
    }

    async fn verify_train(&self, request: Request<Streaming<pb::VerifyTrainRequest>>) -> Answer<pb::VerifyTrainResponse> {
        let (_, extensions, mut parts) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let verification = match parts.message().await?.and_then(|message| message.part) {
            None => {
                let refusal = Reason::MalformedRequest.status("name an image, or send an archive");
                return Err(self.steps.refuse(&caller, refusal).await);
            }
            Some(Part::Image(image)) => {
                let image: ImageSource = self.steps.checked(&caller, image.parse().map_err(Refusal::from)).await?;
                if parts.message().await?.is_some() {
                    let refusal = Reason::MalformedRequest.status("nothing follows the name of an image");
                    return Err(self.steps.refuse(&caller, refusal).await);
                }
                let verify = move |station: &Station, step: &CallContext<'_>| protocol::verify_image(station, &image, step);
                self.steps.unary(caller, &extensions, verify).await?
            }
            Some(Part::Archive(first)) => {
                let received = self.steps.uploads.receive(&self.steps.station, &caller, (parts, first)).await;
                let archive = self.steps.checked(&caller, received).await?;
                let verify = move |station: &Station, step: &CallContext<'_>| {
                    protocol::verify_for_station(station, archive.until(step.cancel.clone()), step)
                };
                self.steps.unary(caller, &extensions, verify).await?
            }
        };
        Ok(Response::new(convert::verification(verification)))
    }

    async fn open_results(&self, request: Request<Streaming<pb::OpenResultsRequest>>) -> Answer<Self::OpenResultsStream> {
        let (_, extensions, mut parts) = request.into_parts();
        let caller = self.steps.caller(&extensions)?;
        let first = parts.message().await?.unwrap_or_default();
        let (paths, part) = self.steps.checked(&caller, results_wanted(first)).await?;
        match part {
            Results::Image(image) => {
                let image: ImageSource = self.steps.checked(&caller, image.parse().map_err(Refusal::from)).await?;
                if parts.message().await?.is_some() {
                    let refusal = Reason::MalformedRequest.status("nothing follows the name of an image");
                    return Err(self.steps.refuse(&caller, refusal).await);
                }
                self.results(caller, &extensions, ResultsOrder { train: ResultsOf::Image(image), paths }).await
            }
            Results::Archive(first) => {
                let this = self.clone();
                // The response begins at once: an upload has a time limit of its own.
                Ok(Response::new(later(async move {
                    let received = this.steps.uploads.receive(&this.steps.station, &caller, (parts, first)).await;
                    let archive = this.steps.checked(&caller, received).await?;
                    let order = ResultsOrder { train: ResultsOf::Archive(archive), paths };
                    let answer = this.results(caller, &extensions, order).await?;
                    Ok(answer.into_inner())
                })))
            }
        }
    }

    async fn check_push(&self, request: Request<pb::CheckPushRequest>) -> Answer<Self::CheckPushStream> {
        let (_, extensions, request) = request.into_parts();
        let message = |event| pb::CheckPushResponse { event: Some(event) };
        let progress = move |progress| message(check_push_response::Event::Progress(progress));
        let answer = self.steps.stream_on_image(&extensions, &request.image, progress, move |station, image, step| {
            let verdict = protocol::check_push(station, image, step)?;
            Ok(message(check_push_response::Event::Result(convert::push_verdict(verdict))))
        });
        answer.await
    }
}

impl TryFrom<pb::PreRunRequest> for PreRunOrder {
    type Error = Refusal;

    fn try_from(request: pb::PreRunRequest) -> Result<Self, Refusal> {
        let image: ImageName = request.image.parse()?;
        if image.tag() == "base" {
            return Err(Reason::ImageRefInvalid
                .status("the tag `base` is the train's base, not the train")
                .with_field("image", "give the train's own tag"));
        }
        if request.idempotency_key.chars().count() > KEY_LIMIT {
            let text = format!("at most {KEY_LIMIT} characters");
            return Err(Reason::MalformedRequest.status("the idempotency key is too long").with_field("idempotency_key", text));
        }
        let idempotency_key = Some(request.idempotency_key).filter(|key| !key.is_empty());
        Ok(Self { image, idempotency_key, into: convert::into(request.into)? })
    }
}

impl TryFrom<pb::PostRunRequest> for PostRunOrder {
    type Error = Refusal;

    fn try_from(request: pb::PostRunRequest) -> Result<Self, Refusal> {
        let image = match request.image.as_str() {
            "" => None,
            image => Some(image.parse::<ImageName>()?),
        };
        let run_id = Some(request.run_id).filter(|id| !id.is_empty());
        if run_id.is_none() && image.is_none() {
            return Err(Reason::MalformedRequest.status("name a run_id or an image").with_field("run_id", "missing"));
        }
        Ok(Self { run_id, image, no_results: request.no_results })
    }
}

fn results_wanted(request: pb::OpenResultsRequest) -> Result<(Selection, Results), Refusal> {
    let paths = Selection::new(&request.paths)
        .map_err(|error| Reason::MalformedRequest.status("a path cannot be used").with_field("paths", error.to_string()))?;
    let part = request.part.ok_or_else(|| Reason::MalformedRequest.status("name an image, or send an archive"))?;
    Ok((paths, part))
}
