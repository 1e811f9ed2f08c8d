//! What the service manager (systemd, `Type=notify`) is told. Without one, nothing is.

use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use sd_notify::NotifyState;

/// Messages that may wait. The manager's socket may be full; nothing of the service waits for it.
const WAITING: usize = 64;

/// The way to the service manager; to none by default. Cheap to clone.
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
    /// The manager that `$NOTIFY_SOCKET` names.
    pub(super) fn of_environment() -> Self {
        if std::env::var_os("NOTIFY_SOCKET").is_none_or(|socket| socket.is_empty()) {
            return Self { queue: None };
        }
        let (queue, messages) = bounded(WAITING);
        let started = std::thread::Builder::new().name("manager".to_owned()).spawn(move || tell(&messages));
        if let Err(error) = &started {
            tracing::warn!(%error, "the service manager is told nothing");
        }
        Self { queue: started.is_ok().then_some(queue) }
    }

    /// The service listens, and everything that it needs has been looked at.
    pub(super) fn ready(&self) {
        self.send(Message::Ready);
    }

    /// A reload was asked for. It is over at once: what is read again is read beside the calls.
    pub(super) fn reloaded(&self) {
        self.send(Message::Reloaded);
    }

    /// The service ends.
    pub(super) fn stopping(&self) {
        self.send(Message::Stopping);
    }

    /// One line for `systemctl status`.
    pub(super) fn status(&self, text: impl Into<String>) {
        let text: String = text.into();
        // A line of its own would be a message of its own.
        self.send(Message::Text(text.replace(char::is_control, " ")));
    }

    /// Tells the watchdog that the runtime still runs, as often as the manager asks for.
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
            // A full queue means that the manager does not read; it hears later states.
            let _ = queue.try_send(message);
        }
    }
}

fn tell(messages: &Receiver<Message>) {
    let mut ready = false;
    for message in messages {
        let told = match &message {
            Message::Ready => {
                ready = true;
                sd_notify::notify(&[NotifyState::Ready])
            }
            // Ready ends a reload; before the first there is nothing to read again.
            Message::Reloaded if !ready => Ok(()),
            Message::Reloaded => NotifyState::monotonic_usec_now()
                .and_then(|now| sd_notify::notify(&[NotifyState::Reloading, now]))
                .and_then(|()| sd_notify::notify(&[NotifyState::Ready])),
            Message::Stopping => sd_notify::notify(&[NotifyState::Stopping]),
            Message::Text(text) => sd_notify::notify(&[NotifyState::Custom(&format!("STATUS={text}"))]),
            Message::Alive => sd_notify::notify(&[NotifyState::Watchdog]),
        };
        if let Err(error) = told {
            tracing::debug!(%error, "the service manager was not told");
        }
    }
}
