//! An accepted connection over any transport.

use std::{
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::{TcpStream, UnixStream},
};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::server::Connected;

use super::{
    authority::Authority,
    connections::Slot,
    idle_timeout::{IdleTimeouts, IdleWatch},
    peer_layer::ConnectionPeer,
    tls::Admitted,
};
/// The transport of a connection.
pub(super) enum Transport {
    Unix(UnixStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// A connection that holds its place in the connection cap while it lives. It breaks when work must stop or its peer exceeds an
/// idle timeout.
pub(super) struct Connection {
    transport: Transport,
    peer: ConnectionPeer,
    watch: IdleWatch,
    authority: Authority,
    _slot: Slot,
    _admitted: Option<Admitted>,
}

impl Connection {
    pub(super) fn new(
        transport: Transport,
        peer: ConnectionPeer,
        timeout: IdleTimeouts,
        (cancel, slot): (CancellationToken, Slot),
        admitted: Option<Admitted>,
    ) -> Self {
        let watch = IdleWatch::new(Arc::clone(&peer.activity), timeout, cancel);
        Self { transport, peer, watch, authority: Authority::default(), _slot: slot, _admitted: admitted }
    }

    /// Fails when the connection must break.
    fn go_on(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        let watched = self.watch.poll(context);
        if let (Err(error), Transport::Tls(stream)) = (&watched, &self.transport)
            && error.kind() == io::ErrorKind::TimedOut
        {
            // Otherwise the kernel would keep unread data, and the connection with it, for minutes after the close.
            let _ = rustix::net::sockopt::set_socket_linger(stream.get_ref().0, Some(Duration::ZERO));
        }
        watched
    }

    /// Writes to the transport with `write`, unless the connection must break.
    fn write<T>(
        &mut self,
        context: &mut Context<'_>,
        write: impl FnOnce(Pin<&mut (dyn AsyncWrite + Unpin)>, &mut Context<'_>) -> Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        self.go_on(context)?;
        let outcome = match &mut self.transport {
            Transport::Unix(stream) => write(Pin::new(stream), context),
            Transport::Tls(stream) => write(Pin::new(stream), context),
        };
        self.watch.wrote(outcome)
    }
}

impl Connected for Connection {
    type ConnectInfo = ConnectionPeer;

    fn connect_info(&self) -> ConnectionPeer {
        self.peer.clone()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.go_on(context)?;
        let this = &mut *self;
        match &mut this.transport {
            Transport::Unix(stream) => {
                let before = buffer.filled().len();
                let outcome = Pin::new(stream).poll_read(context, buffer);
                this.authority.sanitise(&mut buffer.filled_mut()[before..]);
                outcome
            }
            Transport::Tls(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

// Each write also polls the idle watch: HTTP/2 does not read while it cannot write.
impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.write(context, |transport, context| transport.poll_write(context, bytes))
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.write(context, |transport, context| transport.poll_write_vectored(context, slices))
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Unix(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |transport, context| transport.poll_flush(context))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.write(context, |transport, context| transport.poll_shutdown(context))
    }
}
