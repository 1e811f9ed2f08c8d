//! Answers in the engine's place.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use tokio::io::{AsyncWrite, AsyncWriteExt};

/// What a request gets in place of the engine's answer, and how often still.
pub(super) struct Reply {
    pub marker: &'static str,
    pub left: usize,
    pub body: Body,
}

/// The body of a good answer.
#[derive(Clone)]
pub enum Body {
    /// As a whole, with its length said.
    Json(Bytes),
    /// The same, of a call that is refused with this status.
    Refusal(u16, Bytes),
    /// To the end of the connection.
    Tar(Bytes),
    /// Piece by piece until there is none, with a pause before each, to the end of the connection.
    Made(Arc<dyn Fn(u64) -> Option<Bytes> + Send + Sync>, Duration),
}

impl Body {
    /// JSON.
    pub fn json(text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self::Json(text.into())
    }

    /// JSON under a status that is no good one.
    pub fn refusal(status: u16, text: impl Into<String>) -> Self {
        let text: String = text.into();
        Self::Refusal(status, text.into())
    }

    /// An archive.
    pub fn tar(bytes: impl Into<Bytes>) -> Self {
        Self::Tar(bytes.into())
    }

    /// A body that is made while it is sent.
    pub fn made(piece: impl Fn(u64) -> Option<Bytes> + Send + Sync + 'static) -> Self {
        Self::Made(Arc::new(piece), Duration::ZERO)
    }

    /// Writes the whole answer.
    pub(super) async fn write(self, out: &mut (impl AsyncWrite + Unpin)) -> std::io::Result<()> {
        let (kind, length) = match &self {
            Self::Json(bytes) | Self::Refusal(_, bytes) => ("json", format!("Content-Length: {}\r\n", bytes.len())),
            Self::Tar(_) | Self::Made(..) => ("x-tar", String::new()),
        };
        let status = if let Self::Refusal(status, _) = &self { format!("{status} Refused") } else { "200 OK".to_owned() };
        let head = format!("HTTP/1.1 {status}\r\nContent-Type: application/{kind}\r\n{length}Connection: close\r\n\r\n");
        out.write_all(head.as_bytes()).await?;
        match self {
            Self::Json(bytes) | Self::Refusal(_, bytes) | Self::Tar(bytes) => out.write_all(&bytes).await,
            Self::Made(piece, pause) => {
                for number in 0.. {
                    let Some(bytes) = piece(number) else { break };
                    if !pause.is_zero() {
                        tokio::time::sleep(pause).await;
                    }
                    out.write_all(&bytes).await?;
                }
                Ok(())
            }
        }
    }
}

/// The first line of a request, if these bytes begin one.
pub(super) fn request_line(bytes: &[u8]) -> Option<String> {
    let line = &bytes[..bytes.iter().position(|byte| *byte == b'\r')?];
    let line = std::str::from_utf8(line).ok()?;
    (line.ends_with(" HTTP/1.1") && line.split(' ').count() == 3).then(|| line.to_owned())
}

/// The answer that this request is to get.
pub(super) fn due(bytes: &[u8], replies: &mut Vec<Reply>) -> Option<Body> {
    let is_in = |marker: &str| bytes.windows(marker.len()).any(|window| window == marker.as_bytes());
    let at = replies.iter().position(|reply| is_in(reply.marker))?;
    replies[at].left -= 1;
    Some(if replies[at].left == 0 { replies.remove(at).body } else { replies[at].body.clone() })
}
