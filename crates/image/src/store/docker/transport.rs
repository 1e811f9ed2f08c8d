//! HTTP transport to the engine: one connection per request, driven by the task that waits for the response.
//!
//! A client with a pool drives connections in separate tasks. A request can then be handed over at the very moment in which
//! its connection ends. Neither side has the request any more, and its caller waits until the timeout (hyper 1.12 on tokio 1.54:
//! 5 of 3.5 million requests to a socket that closes connections, as an engine does that is killed). Here one task has both, so
//! this moment does not exist.

use std::{pin::pin, sync::Arc, time::Duration};

use bollard::{BollardRequest, Docker, errors::Error};
use hyper::{
    Response, Uri,
    body::Incoming,
    client::conn::http1,
    header::{HOST, HeaderValue},
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Returns a client of the engine at a Unix socket, which need not exist yet. `timeout` bounds the wait for the start of a
/// response.
///
/// # Errors
/// When bollard cannot create the client.
pub fn client(socket: &str, timeout: Duration) -> Result<Docker, Error> {
    let socket: Arc<str> = socket.into();
    let exchange = move |request| exchange(Arc::clone(&socket), request);
    Docker::connect_with_custom_transport(exchange, Some("http://engine"), timeout.as_secs(), bollard::API_DEFAULT_VERSION)
}

/// Sends a request and returns when the response begins. A task receives the body. If it is dropped before, the connection breaks.
async fn exchange(socket: Arc<str>, mut request: BollardRequest) -> Result<Response<Incoming>, Error> {
    *request.uri_mut() = origin(request.uri())?;
    request.headers_mut().insert(HOST, HeaderValue::from_static("engine"));
    let stream = UnixStream::connect(&*socket).await?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let mut answer = pin!(sender.send_request(request));
    let mut connection = Box::pin(connection);
    tokio::select! {
        biased;
        answer = &mut answer => {
            let answer = answer?;
            tokio::spawn(connection);
            Ok(answer)
        }
        ended = &mut connection => {
            // The connection returns the unsent request, and the result is then an error.
            drop(connection);
            ended?;
            Ok(answer.await?)
        }
    }
}

/// Returns path and query alone, as HTTP/1.1 requires (RFC 9112, 3.2.1).
fn origin(uri: &Uri) -> Result<Uri, hyper::http::Error> {
    let path = uri.path_and_query().map_or("/", |path| path.as_str());
    Uri::builder().path_and_query(path).build()
}

#[cfg(test)]
mod tests {
    use std::{
        io::{Read, Write},
        os::unix::net::{UnixListener, UnixStream},
        thread,
    };

    use tokio::runtime::Runtime;

    use crate::store::docker::transport::*;

    /// Returns an engine that runs `each` for every connection, and a client of it.
    fn engine(each: impl Fn(UnixStream) + Send + 'static) -> (tempfile::TempDir, Docker) {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("engine.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        thread::spawn(move || listener.incoming().for_each(|stream| each(stream.unwrap())));
        let docker = client(socket.to_str().unwrap(), Duration::from_hours(1)).unwrap();
        (directory, docker)
    }

    /// Reads a client's request up to the end of the header.
    fn header(stream: &mut UnixStream) -> String {
        let mut header = Vec::new();
        while !header.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a header");
            header.push(byte[0]);
        }
        String::from_utf8(header).unwrap()
    }

    #[test]
    fn a_request_names_its_path_and_a_host_and_gets_the_answer() {
        let (_directory, docker) = engine(|mut stream| {
            let asked = header(&mut stream);
            assert!(asked.starts_with("GET /_ping HTTP/1.1\r\n"), "{asked}");
            assert!(asked.to_ascii_lowercase().contains("\r\nhost: engine\r\n"), "{asked}");
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nOK").unwrap();
        });
        let runtime = Runtime::new().unwrap();
        assert_eq!(runtime.block_on(docker.ping()).unwrap(), "OK");
    }

    #[test]
    fn no_request_to_an_engine_that_hangs_up_waits_for_ever() {
        let (_directory, docker) = engine(drop);
        let runtime = Runtime::new().unwrap();
        for _ in 0..20_000 {
            runtime.block_on(docker.ping()).unwrap_err();
        }
    }

    #[test]
    fn an_engine_that_hangs_up_within_its_answer_is_an_error() {
        for answer in ["HTTP/1.1 200 O", "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nO"] {
            let (_directory, docker) = engine(move |mut stream| {
                header(&mut stream);
                stream.write_all(answer.as_bytes()).unwrap();
            });
            Runtime::new().unwrap().block_on(docker.ping()).unwrap_err();
        }
    }

    #[test]
    fn an_engine_that_is_not_there_is_an_error() {
        let docker = client("/nowhere/engine.sock", Duration::from_hours(1)).unwrap();
        let error = Runtime::new().unwrap().block_on(docker.ping()).unwrap_err();
        assert!(error.to_string().contains("No such file"), "{error}");
    }

    #[test]
    fn a_request_that_is_given_up_breaks_its_connection() {
        let (ended, end) = std::sync::mpsc::channel();
        let (_directory, docker) = engine(move |mut stream| {
            header(&mut stream);
            ended.send("asked").unwrap();
            assert_eq!(stream.read(&mut [0]).unwrap(), 0);
            ended.send("broken").unwrap();
        });
        let runtime = Runtime::new().unwrap();
        let call = runtime.spawn(async move { docker.ping().await });
        assert_eq!(end.recv(), Ok("asked"));
        call.abort();
        assert_eq!(end.recv(), Ok("broken"));
    }
}
