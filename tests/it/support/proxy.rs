//! A socket between service and engine that can stall, break and come back, and answer in the engine's place.

mod reply;

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
};

pub use reply::Body;
use reply::Reply;
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{UnixListener, UnixStream},
    sync::watch,
    task::JoinHandle,
};

use super::{Engine, spawn, wait_for};

/// Which way bytes go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    ToEngine,
    FromEngine,
}

/// What happens in the middle of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Do {
    /// The connection stands still until [`EngineProxy::release`].
    Stall,
    /// The engine is gone until [`EngineProxy::restore`].
    Cut,
    /// The request is taken to its end and refused; the engine hears nothing of it.
    Refuse,
}

/// The request that reads a train's `/opt`.
pub const READ: &str = "path=%2Fopt HTTP";
/// The request that writes an image.
pub const LOAD: &str = "/images/load";
/// The request that writes into volumes.
pub const WRITE: &str = "/archive?path=%2F ";
/// The request that reads a whole image.
pub const SAVE: &str = "/get HTTP";

/// What Docker 26.1.5 with the containerd image store answers to an archive that lacks layers, verbatim.
const REFUSAL: &str = concat!(
    r#"{"errorDetail":{"message":"failed to resolve layers: layer \"stationmaster/present-0.tar\" not found"},"#,
    r#""error":"failed to resolve layers: layer \"stationmaster/present-0.tar\" not found"}"#,
    "\r\n"
);

/// Once a request that holds `marker` has moved `after` bytes that way, this happens; then to the next such request, as often
/// as is left.
struct Rule {
    marker: &'static str,
    way: Way,
    after: usize,
    act: Do,
    left: usize,
}

struct Shared {
    rule: Mutex<Option<Rule>>,
    replies: Mutex<Vec<Reply>>,
    /// The first line of every request.
    requests: Mutex<Vec<String>>,
    /// Bytes from the engine.
    moved: AtomicU64,
    hits: AtomicUsize,
    /// Whether stalled connections may go on.
    released: watch::Sender<bool>,
    /// Whether the engine is there.
    there: watch::Sender<bool>,
}

/// The engine as the service reaches it.
pub struct EngineProxy {
    path: PathBuf,
    shared: Arc<Shared>,
    accepting: Mutex<Option<JoinHandle<()>>>,
}

impl EngineProxy {
    /// A way to the engine, in `directory`.
    pub fn start(directory: &Path) -> Self {
        let proxy = Self::absent(directory);
        proxy.restore();
        proxy
    }

    /// The same, with no engine there yet.
    pub fn absent(directory: &Path) -> Self {
        let (released, there) = (watch::Sender::new(true), watch::Sender::new(false));
        let shared = Shared {
            rule: Mutex::new(None),
            replies: Mutex::default(),
            requests: Mutex::default(),
            moved: AtomicU64::new(0),
            hits: AtomicUsize::new(0),
            released,
            there,
        };
        let path = directory.join("engine.sock");
        Self { path, shared: Arc::new(shared), accepting: Mutex::new(None) }
    }

    /// As `[engine] socket` wants it.
    pub fn address(&self) -> String {
        format!("unix://{}", self.path.display())
    }

    /// Arms a rule in place of the one before.
    pub fn when(&self, marker: &'static str, way: Way, after: usize, act: Do) {
        self.arm(Rule { marker, way, after, act, left: 1 });
    }

    /// Arms a rule by which the next `times` images that are written are refused, as an engine would that misses layers.
    pub fn refuse_loads(&self, times: usize) {
        self.arm(Rule { marker: LOAD, way: Way::ToEngine, after: 0, act: Do::Refuse, left: times });
    }

    /// The next `times` requests that hold `marker` get this in place of the engine's answer; a request's own body is taken to its
    /// end.
    pub fn reply(&self, marker: &'static str, times: usize, body: Body) {
        self.shared.replies.lock().expect("no panic").push(Reply { marker, left: times, body });
    }

    /// Takes all replies back; answers how many were never asked for.
    pub fn take_replies(&self) -> usize {
        std::mem::take(&mut *self.shared.replies.lock().expect("no panic")).len()
    }

    /// The first line of every request so far.
    pub fn requests(&self) -> Vec<String> {
        self.shared.requests.lock().expect("no panic").clone()
    }

    /// How many bytes have come from the engine so far.
    pub fn bytes_from_engine(&self) -> u64 {
        self.shared.moved.load(Ordering::SeqCst)
    }

    fn arm(&self, rule: Rule) {
        self.shared.hits.store(0, Ordering::SeqCst);
        self.shared.released.send_replace(false);
        *self.shared.rule.lock().expect("no panic") = Some(rule);
    }

    /// How often the rule has struck.
    pub fn hits(&self) -> usize {
        self.shared.hits.load(Ordering::SeqCst)
    }

    /// Waits until the rule has struck.
    #[track_caller]
    pub fn struck(&self) {
        wait_for("the request to come to that point", || (self.hits() > 0).then_some(()));
    }

    /// Lets what is stalled go on.
    pub fn release(&self) {
        self.shared.released.send_replace(true);
    }

    /// Takes the engine away: connections break, new ones are refused. Its socket's file stays, as that of a dead engine does.
    pub fn cut(&self) {
        if let Some(accepting) = self.accepting.lock().expect("no panic").take() {
            accepting.abort();
        }
        self.shared.there.send_replace(false);
    }

    /// Brings it back.
    pub fn restore(&self) {
        self.cut();
        self.shared.there.send_replace(true);
        let (path, shared) = (self.path.clone(), Arc::clone(&self.shared));
        let engine = Engine::host().unwrap_or_else(|| "unix:///var/run/docker.sock".into());
        let engine = engine.strip_prefix("unix://").expect("an engine at a Unix socket").to_owned();
        // After a cut there is a dead socket; before the first start there is none.
        let _ = std::fs::remove_file(&path);
        let listener = super::block_on(async { UnixListener::bind(&path) }).expect("a socket");
        *self.accepting.lock().expect("no panic") = Some(spawn(async move {
            while let Ok((service, _)) = listener.accept().await {
                let (shared, engine) = (Arc::clone(&shared), engine.clone());
                spawn(async move {
                    // One that is dead hangs up on the service.
                    let Ok(engine) = UnixStream::connect(engine).await else { return };
                    connection(service, engine, shared).await;
                });
            }
        }));
    }
}

impl Drop for EngineProxy {
    fn drop(&mut self) {
        self.release();
        self.cut();
    }
}

async fn connection(service: UnixStream, engine: UnixStream, shared: Arc<Shared>) {
    let marked = AtomicBool::new(false);
    let (from_service, mut to_service) = service.into_split();
    let (from_engine, to_engine) = engine.into_split();
    let mut there = shared.there.subscribe();
    // The first end that closes ends both directions, also of an idle connection.
    let mut from_service = from_service;
    let reply = tokio::select! {
        reply = pump(&mut from_service, to_engine, Way::ToEngine, &marked, &shared) => reply,
        _ = pump(from_engine, &mut to_service, Way::FromEngine, &marked, &shared) => None,
        _ = there.wait_for(|there| !there) => None,
    };
    if let Some(body) = reply {
        let hung_up = async {
            let mut byte = [0];
            while let Ok(1..) = from_service.read(&mut byte).await {}
        };
        tokio::select! {
            _ = body.write(&mut to_service) => {}
            () = hung_up => {}
        }
        let _ = to_service.shutdown().await;
    }
}

/// Answers what the request gets in place of the engine's answer, if anything.
async fn pump(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    way: Way,
    marked: &AtomicBool,
    shared: &Shared,
) -> Option<Body> {
    let mut buffer = vec![0; 64 * 1024];
    let mut moved = 0;
    while let Ok(count @ 1..) = from.read(&mut buffer).await {
        if way == Way::FromEngine {
            shared.moved.fetch_add(count as u64, Ordering::SeqCst);
        } else if let Some(line) = reply::request_line(&buffer[..count]) {
            shared.requests.lock().expect("no panic").push(line);
            let due = reply::due(&buffer[..count], &mut shared.replies.lock().expect("no panic"));
            if let Some(body) = due {
                let chunked = buffer[..count].windows(17).any(|window| window.eq_ignore_ascii_case(b"encoding: chunked"));
                return (!chunked || swallow(&buffer[..count], from).await).then_some(body);
            }
        }
        if let Some(act) = struck(&buffer[..count], way, &mut moved, marked, shared) {
            shared.hits.fetch_add(1, Ordering::SeqCst);
            match act {
                Do::Cut => drop(shared.there.send_replace(false)),
                Do::Stall => drop(shared.released.subscribe().wait_for(|released| *released).await),
                Do::Refuse => return swallow(&buffer[..count], from).await.then(|| Body::json(REFUSAL)),
            }
        }
        if to.write_all(&buffer[..count]).await.is_err() {
            break;
        }
    }
    let _ = to.shutdown().await;
    None
}

/// Takes a chunked request to its end.
async fn swallow(begun: &[u8], mut from: impl AsyncRead + Unpin) -> bool {
    const END: &[u8] = b"\r\n0\r\n\r\n";
    let mut last = begun.to_vec();
    let mut buffer = vec![0; 64 * 1024];
    while !last.ends_with(END) {
        let Ok(count @ 1..) = from.read(&mut buffer).await else { return false };
        last.drain(..last.len().saturating_sub(END.len()));
        last.extend_from_slice(&buffer[..count]);
    }
    true
}

/// Whether the rule strikes with these bytes.
fn struck(bytes: &[u8], way: Way, moved: &mut usize, marked: &AtomicBool, shared: &Shared) -> Option<Do> {
    let mut rule = shared.rule.lock().expect("no panic");
    let is_marker = |rule: &Rule| bytes.windows(rule.marker.len()).any(|window| window == rule.marker.as_bytes());
    if way == Way::ToEngine && rule.as_ref().is_some_and(is_marker) {
        marked.store(true, Ordering::SeqCst);
    }
    let armed = rule.as_mut().filter(|rule| rule.way == way)?;
    if !marked.load(Ordering::SeqCst) {
        return None;
    }
    *moved += bytes.len();
    if *moved < armed.after {
        return None;
    }
    let act = armed.act;
    armed.left -= 1;
    if armed.left == 0 {
        *rule = None;
    }
    Some(act)
}
