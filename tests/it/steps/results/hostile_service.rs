//! A service that means harm: whatever it names and sends, nothing is written but whole files below the directory.

use std::fs;

use stationmaster_proto as pb;
use stationmaster_proto::{
    open_results_response::Event,
    train_service_server::{TrainService, TrainServiceServer},
};
use tokio_stream::wrappers::UnixListenerStream;
use tonic::{Request, Response, Status, Streaming};

use super::answer;
use crate::support::{PROGRAM, block_on, spawn};

type Stream<T> = tokio_stream::Iter<std::vec::IntoIter<Result<T, Status>>>;

/// Sends these events to every caller.
struct Hostile(Vec<Event>);

fn no<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("not here"))
}

#[tonic::async_trait]
impl TrainService for Hostile {
    type PreRunStream = Stream<pb::PreRunResponse>;
    type PostRunStream = Stream<pb::PostRunResponse>;
    type OpenResultsStream = Stream<pb::OpenResultsResponse>;
    type CheckPushStream = Stream<pb::CheckPushResponse>;

    async fn inspect_train(&self, _: Request<pb::InspectTrainRequest>) -> Result<Response<pb::InspectTrainResponse>, Status> {
        no()
    }
    async fn pre_run(&self, _: Request<pb::PreRunRequest>) -> Result<Response<Self::PreRunStream>, Status> {
        no()
    }
    async fn post_run(&self, _: Request<pb::PostRunRequest>) -> Result<Response<Self::PostRunStream>, Status> {
        no()
    }
    async fn abort_run(&self, _: Request<pb::AbortRunRequest>) -> Result<Response<pb::AbortRunResponse>, Status> {
        no()
    }
    async fn verify_train(
        &self,
        _: Request<Streaming<pb::VerifyTrainRequest>>,
    ) -> Result<Response<pb::VerifyTrainResponse>, Status> {
        no()
    }
    async fn check_push(&self, _: Request<pb::CheckPushRequest>) -> Result<Response<Self::CheckPushStream>, Status> {
        no()
    }

    async fn open_results(
        &self,
        _: Request<tonic::Streaming<pb::OpenResultsRequest>>,
    ) -> Result<Response<Self::OpenResultsStream>, Status> {
        let message = |event: &Event| Ok(pb::OpenResultsResponse { event: Some(event.clone()) });
        Ok(Response::new(tokio_stream::iter(self.0.iter().map(message).collect::<Vec<_>>())))
    }
}

#[test]
fn names_that_lead_elsewhere_and_answers_that_break_off_leave_nothing() {
    let file = |path: &str, size| Event::File(pb::FileEntry { path: path.into(), size });
    let end = |content: &[u8]| Event::End(pb::ResultEnd { sha256: openssl::sha::sha256(content).to_vec() });
    let done = |files| Event::Outcome(pb::OpenResultsOutcome { files, ..Default::default() });
    let one = |path: &str| vec![file(path, 1), Event::Chunk(b"x".to_vec()), end(b"x"), done(1)];
    let names = ["../escaped", "/tmp/stationmaster-escaped", "a/../../escaped", "a/./b", "", ".", "..", "a\\b", "a\0b", "a//b"];
    let mut hostile: Vec<(String, Vec<Event>)> = names.map(|name| (format!("{name:?}"), one(name))).into();
    hostile.extend([
        ("no outcome".to_owned(), one("a")[..3].to_vec()),
        ("no end".to_owned(), vec![file("a", 1), Event::Chunk(b"x".to_vec()), done(0)]),
        ("another digest".to_owned(), vec![file("a", 1), Event::Chunk(b"y".to_vec()), end(b"x"), done(1)]),
        ("more than announced".to_owned(), vec![file("a", 1), Event::Chunk(b"xx".to_vec()), end(b"xx"), done(1)]),
        ("less than announced".to_owned(), vec![file("a", 2), Event::Chunk(b"x".to_vec()), end(b"x"), done(1)]),
        ("fewer files than it says".to_owned(), [&one("a")[..3], &[done(2)]].concat()),
        ("a file twice".to_owned(), [&one("a")[..3], &one("a")[..3], &[done(2)]].concat()),
        ("a file where a directory is".to_owned(), [&one("a/b")[..3], &one("a")[..3], &[done(2)]].concat()),
    ]);
    hostile.push(("an honest one".to_owned(), one("a/b")));
    for (what, events) in hostile {
        let directory = tempfile::tempdir().unwrap();
        let (socket, out) = (directory.path().join("s"), directory.path().join("out"));
        let listener = block_on(async { tokio::net::UnixListener::bind(&socket) }).unwrap();
        let service = tonic::transport::Server::builder()
            .add_service(TrainServiceServer::new(Hostile(events)))
            .serve_with_incoming(UnixListenerStream::new(listener));
        let serving = spawn(service);
        let mut command = std::process::Command::new(PROGRAM);
        command.args([
            "train",
            "results",
            "a:b",
            "-o",
            out.to_str().unwrap(),
            "--address",
            &format!("unix:{}", socket.display()),
        ]);
        if what == "an honest one" {
            answer(command, 0);
            assert_eq!(fs::read(out.join("a/b")).unwrap(), b"x");
        } else {
            let done = command.output().unwrap();
            assert!(!done.status.success(), "{what}");
            let left: Vec<_> = fs::read_dir(directory.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
            assert_eq!(left, ["s"], "{what}");
        }
        serving.abort();
    }
}
