//! Notifications to the service manager (systemd, `Type=notify`). Without one, nothing is sent.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sd_notify::NotifyState;

/// Maximum number of queued messages. The manager's socket may be full; the service never waits for it.
const WAITING: usize = 64;

/// The connection to the service manager; none by default. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Manager {
    queue: Option<Sender<Message>>,
}

#[derive(Debug)]
enum Message {
    Ready,
    Reloaded,
    Stopping,
    Text(String),
    Alive,
}

impl Manager {
    /// Connects to the manager that `$NOTIFY_SOCKET` names.
    pub(super) fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Self { queue: None };
        }
        let (queue, messages) = bounded(WAITING);
        let started = std::thread::Builder::new().name("manager".to_owned()).spawn(move || send(&messages));
        if let Err(error) = &started {
            tracing::warn!(%error, "the service manager cannot be notified");
        }
        Self { queue: started.is_ok().then_some(queue) }
    }

    /// Notifies that the service listens, and that all its components have been checked.
    pub(super) fn ready(&self) {
        self.send(Message::Ready);
    }

    /// Notifies that a reload was requested. It is complete at once: files are read again in parallel with the calls.
    pub(super) fn reloaded(&self) {
        self.send(Message::Reloaded);
    }

    /// Notifies that the service ends.
    pub(super) fn stopping(&self) {
        self.send(Message::Stopping);
    }

    /// Sends one line for `systemctl status`.
    pub(super) fn status(&self, text: impl Into<String>) {
        let text: String = text.into();
        // A line break would begin another message.
        self.send(Message::Text(text.replace(char::is_control, " ")));
    }

    /// Notifies the watchdog that the runtime is running, at the interval that the manager requests.
    pub(super) fn keep_alive(&self) {
        let Some(limit) = self.queue.as_ref().and_then(|_| sd_notify::watchdog_enabled()) else { return };
        let manager = self.clone();
        tokio::spawn(async move {
            loop {
                manager.send(Message::Alive);
                tokio::time::sleep((limit / 3).max(Duration::from_millis(100))).await;
            }
        });
    }

    fn send(&self, message: Message) {
        if let Some(queue) = &self.queue {
            // A full queue means that the manager does not read; it receives later states.
            let _ = queue.try_send(message);
        }
    }
}

fn send(messages: &Receiver<Message>) {
    let mut ready = false;
    for message in messages {
        let sent = match &message {
            Message::Ready => {
                ready = true;
                sd_notify::notify(&[NotifyState::Ready])
            }
            // READY ends a reload; before the first READY there is nothing to reload.
            Message::Reloaded if !ready => Ok(()),
            Message::Reloaded => NotifyState::monotonic_usec_now()
                .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
                .and_then(|()| sd_notify::notify(&[NotifyState::Ready])),
            Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Message::Text(text) => sd_notify::notify(&[NotifyState::Custom(&format!("STATUS={text}"))]),
            Message::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        };
        if let Err(error) = sent {
            tracing::debug!(%error, "the service manager was not notified");
        }
    }
}
