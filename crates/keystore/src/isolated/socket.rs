//! A connection of whole messages between the service and a worker process: a Unix socket that keeps their borders.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    sync::Arc,
    time::Duration,
};

use rustix::net::{
    AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, send, socketpair,
    sockopt::{Timeout, set_socket_recv_buffer_size, set_socket_send_buffer_size, set_socket_timeout},
};
use serde::{Serialize, de::DeserializeOwned};
use zeroize::Zeroizing;

/// Maximum size of a message, in bytes: some hundred descriptions of keys.
const LONGEST: usize = 160 << 10;

/// One end of the connection. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Socket(Arc<OwnedFd>);

impl Socket {
    /// Returns both ends.
    pub(super) fn pair() -> io::Result<(Self, OwnedFd)> {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        for end in [&ours, &theirs] {
            // The default may be less than some messages; a smaller one than asked for is no error.
            set_socket_send_buffer_size(end, 4 * LONGEST)?;
            set_socket_recv_buffer_size(end, 4 * LONGEST)?;
        }
        Ok((Self::new(ours), theirs))
    }

    pub(super) fn new(end: OwnedFd) -> Self {
        Self(Arc::new(end))
    }

    /// Sends a message. Does not wait: a peer that does not read gives [`io::ErrorKind::WouldBlock`].
    pub(super) fn send(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL | SendFlags::DONTWAIT)
    }

    /// Sends a message, and waits while the peer does not read.
    pub(super) fn send_waiting(&self, message: &impl Serialize) -> io::Result<()> {
        self.send_with(message, SendFlags::NOSIGNAL)
    }

    fn send_with(&self, message: &impl Serialize, flags: SendFlags) -> io::Result<()> {
        let text = Zeroizing::new(serde_json::to_vec(message)?);
        if text.len() > LONGEST {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"));
        }
        send(self.0.as_fd(), &text, flags)?;
        Ok(())
    }

    /// Sets how long [`Socket::receive`] waits: afterwards it gives [`io::ErrorKind::WouldBlock`]. Without a limit, it waits for ever.
    pub(super) fn give_up_receiving_after(&self, limit: Option<Duration>) -> io::Result<()> {
        Ok(set_socket_timeout(self.0.as_fd(), Timeout::Recv, limit)?)
    }

    /// Waits for the next message; `None` when the peer has closed its end.
    pub(super) fn receive<T: DeserializeOwned>(&self) -> io::Result<Option<T>> {
        let mut text = Zeroizing::new(vec![0; LONGEST]);
        let size = loop {
            match recv(self.0.as_fd(), &mut text[..], RecvFlags::empty()) {
                Ok((size, _)) => break size,
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(error.into()),
            }
        };
        if size == 0 { Ok(None) } else { Ok(Some(serde_json::from_slice(&text[..size])?)) }
    }
}
