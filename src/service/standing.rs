//! `StatusService`: reports the components that the station depends on. Files are checked for the call; other components are
//! reported as last checked by the server's health.

use std::time::{Duration, SystemTime};

use stationmaster_proto as pb;
use tokio::sync::{mpsc, oneshot, watch};
use tonic::{Request, Response};

use super::{call_record, status::Answer};

/// State of a component.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// It has not been checked yet.
    Starting,
    /// It can be used.
    Ready,
    /// It can be used, and something that it will need cannot be: the warning and the remedy.
    Warned(String),
    /// It cannot be used; the reason and the remedy.
    Unusable(String),
}

/// A component that the station depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Component {
    /// Its name.
    pub name: &'static str,
    /// The gRPC services that need it.
    pub services: &'static [&'static str],
    /// Whether it can be used.
    pub state: State,
    /// When the state last changed.
    pub since: SystemTime,
}

impl Component {
    /// Whether it can be used.
    #[must_use]
    pub fn is_usable(&self) -> bool {
        matches!(self.state, State::Ready | State::Warned(_))
    }

    /// Returns why it cannot be used, or the warning about one that can.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        match &self.state {
            State::Ready => None,
            State::Starting => Some("not looked at yet"),
            State::Warned(reason) | State::Unusable(reason) => Some(reason),
        }
    }
}

/// Whether a gRPC service can be served; with an empty name, whether all can.
#[must_use]
pub fn serves(components: &[Component], service: &str) -> bool {
    components.iter().filter(|component| service.is_empty() || component.services.contains(&service)).all(Component::is_usable)
}

/// Maximum time that a call waits for a check: a file system that does not respond must not delay a response about health.
const PATIENCE: Duration = Duration::from_secs(1);

/// The states of the components, and the channel that requests a check of the files among them. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Board {
    components: watch::Receiver<Vec<Component>>,
    looks: mpsc::Sender<oneshot::Sender<()>>,
}

impl Board {
    /// Makes a board. The server's health, which checks the components, keeps the other ends of the channels.
    #[must_use]
    pub fn new(components: watch::Receiver<Vec<Component>>, looks: mpsc::Sender<oneshot::Sender<()>>) -> Self {
        Self { components, looks }
    }

    /// Requests a check of the files that begins after this call, and waits for it for one second at most. Concurrent calls
    /// share a check.
    pub async fn look(&self) {
        let (looked, answer) = oneshot::channel();
        let look = async {
            if self.looks.send(looked).await.is_ok() {
                // The sender is dropped when the service ends.
                let _ = answer.await;
            }
        };
        let _ = tokio::time::timeout(PATIENCE, look).await;
    }
}

/// Implementation of `StatusService`.
#[derive(Clone)]
pub struct Standing {
    station: String,
    board: Board,
}

impl Standing {
    /// Makes the service for the components of a station.
    #[must_use]
    pub fn new(station: &str, board: Board) -> Self {
        Self { station: station.to_owned(), board }
    }
}

#[tonic::async_trait]
impl pb::status_service_server::StatusService for Standing {
    async fn get_status(&self, request: Request<pb::GetStatusRequest>) -> Answer<pb::GetStatusResponse> {
        call_record::of(request.extensions())?;
        self.board.look().await;
        let components = self.board.components.borrow().clone();
        Ok(Response::new(pb::GetStatusResponse {
            serving: serves(&components, ""),
            station: self.station.clone(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            components: components.iter().map(message).collect(),
        }))
    }
}

fn message(component: &Component) -> pb::Component {
    let state = match component.state {
        State::Starting => pb::ComponentState::Starting,
        State::Ready | State::Warned(_) => pb::ComponentState::Ready,
        State::Unusable(_) => pb::ComponentState::Unusable,
    };
    pb::Component {
        name: component.name.to_owned(),
        state: state.into(),
        reason: component.reason().unwrap_or_default().to_owned(),
        since: Some(component.since.into()),
        services: component.services.iter().map(|&name| name.to_owned()).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_needs_what_it_depends_on_and_the_whole_needs_everything() {
        let component = |name, services, state| Component { name, services, state, since: SystemTime::UNIX_EPOCH };
        let board = [
            component("token", &["keys", "trains"][..], State::Ready),
            component("trust", &["trains"][..], State::Unusable("no file".to_owned())),
        ];
        assert!(serves(&board, "keys") && !serves(&board, "trains") && !serves(&board, ""));
        assert!(serves(&[component("token", &["keys"][..], State::Warned("the PIN".to_owned()))], "keys"));
        assert!(!serves(&[component("token", &["keys"][..], State::Starting)], "keys"), "nothing serves before it was looked at");
    }
}
