//! Requests in the state directory: one file for each, and an empty file for each that was used.

use std::io::{self, Read};

use serde_json::Value;
use stationmaster_system::files::{Directory, lock, make_directory};
use uuid::Uuid;

use super::{
    CommandUser, DIRECTORY, FourEyesArgs, OfficerKey, Proposal,
    document::{Decision, Request, Signed, State, Stored, Verdict},
    in_force,
    officers::{Officer, Officers},
    refused,
};
use crate::{
    audit::Event,
    cli::{
        admin_audit::{self, Permit},
        error::{CliError, Exit},
    },
    config::{Config, GuardedAct},
    ledger::ReasonText,
};

/// Maximum number of requests that are kept.
const MOST: usize = 200;
/// Maximum size of a request's file, in bytes.
const LIMIT: u64 = 256 << 10;
/// How long a request is kept after it expired, in seconds: 30 days.
const KEPT_S: i64 = 30 * 24 * 3600;

/// The requests of a station; locked until it is dropped.
pub(in crate::cli) struct Store<'a> {
    config: &'a Config,
    directory: Directory,
    requests: Directory,
    used: Directory,
    officers: Officers,
}

/// A request with its decision, both verified.
pub(in crate::cli) struct Found {
    pub request: Request,
    pub decision: Option<Decision>,
    pub state: State,
    pub digest: String,
}

impl<'a> Store<'a> {
    /// Opens and locks the requests, and reads the file of officers.
    ///
    /// # Errors
    /// When the officers cannot be used, or their file was changed without approval.
    pub(in crate::cli) fn open(config: &'a Config, act: GuardedAct) -> Result<Self, CliError> {
        let path = config.state.directory.join(DIRECTORY);
        let trouble = |error| CliError::directory("use", &path, &error);
        let open = |name: &str| {
            make_directory(&path.join(name))?;
            Directory::open(&path.join(name))
        };
        let (requests, used) = (open("requests").map_err(trouble)?, open("used").map_err(trouble)?);
        let directory = Directory::open(&path).map_err(trouble)?;
        lock(&directory).map_err(trouble)?;
        let officers = in_force::officers(config, &directory, act)?;
        Ok(Self { config, directory, requests, used, officers })
    }

    /// Writes a request, and returns the failure that says how it goes on.
    pub(super) fn request(&self, proposal: &Proposal, args: &FourEyesArgs) -> Result<CliError, CliError> {
        let key = OfficerKey::read(args.officer_key.as_deref())?;
        let officer = self.officer(&key)?;
        self.clean()?;
        let now = jiff::Timestamp::now();
        let request = Request {
            version: 1,
            id: Uuid::now_v7().to_string(),
            station: self.config.station.clone(),
            act: proposal.act,
            command: proposal.command.to_owned(),
            parameters: proposal.parameters.clone(),
            reason: proposal.reason.map(|reason| reason.as_str().to_owned()),
            officer: officer.name.clone(),
            fingerprint: officer.fingerprint.clone(),
            person: CommandUser::of_this_process(),
            requested: now.to_string(),
            expires: super::in_hours(self.config.four_eyes.expires_hours).to_string(),
        };
        let stored = Stored { request: Signed::new(&request, &key)?, decision: None };
        let entry = admin_audit::entry(Event::ApprovalRequested, proposal.command)
            .with("request", request.id.clone())
            .with("digest", stored.request.digest())
            .with("act", proposal.act.name())
            .with("officer", request.officer.clone())
            .with("fingerprint", request.fingerprint.clone())
            .with("parameters", request.parameters.clone())
            .with("reason", request.reason.clone());
        let bytes = bytes_of(&stored)?;
        admin_audit::record(&self.config.audit_directory(), entry)?;
        self.write(&request.id, &bytes)?;
        let mut pending = CliError::new(
            Exit::Pending,
            format!("nothing was changed: a second officer must approve request {} until {}", request.id, request.expires),
        )
        .with_hint(format!(
            "the second officer runs `stationmaster approval approve {0} --officer-key PEM`; then repeat this command with --request {0}",
            request.id
        ));
        pending.metadata = [("request", request.id), ("act", proposal.act.name().to_owned()), ("expires", request.expires)]
            .map(|(name, value)| (name.to_owned(), value))
            .into();
        Ok(pending)
    }

    /// Records that an approved request is used, and returns what the act's records say about it.
    pub(super) fn use_approved(&self, id: &Uuid, proposal: &Proposal) -> Result<Value, CliError> {
        let found = self.find(id)?;
        let request = &found.request;
        let decision = match (found.state, &found.decision) {
            (State::Approved, Some(decision)) => decision,
            (State::Open, _) => {
                return Err(CliError::new(Exit::Pending, format!("no second officer has approved request {id} yet"))
                    .with_hint(format!("the second officer runs `stationmaster approval approve {id} --officer-key PEM`")));
            }
            (state, _) => {
                return Err(CliError::new(Exit::State, format!("request {id} cannot be used: it is {}", state.name()))
                    .with_hint("run the command without --request to make another request"));
            }
        };
        if (request.act, request.command.as_str()) != (proposal.act, proposal.command)
            || request.parameters != proposal.parameters
        {
            return Err(refused(format!(
                "request {id} was approved for `{}` with {}, and this is `{}` with {}",
                request.command, request.parameters, proposal.command, proposal.parameters
            ))
            .with_hint(format!(
                "`approval show {id}` shows what was approved; run the command without --request to request this"
            )));
        }
        // Never again, also if the act fails: what remains of a failed act is not what was approved.
        self.used
            .create_new(id.to_string(), 0o600)
            .and_then(|_| self.used.sync())
            .map_err(|error| CliError::directory("write to", self.used.path(), &error))?;
        Ok(super::approval(request, decision, &found.digest))
    }

    /// Writes the decision of a second officer.
    ///
    /// # Errors
    /// When it is the requester's own, or the request is not open.
    pub(in crate::cli) fn decide(
        &self,
        id: &Uuid,
        key: &OfficerKey,
        verdict: Verdict,
        reason: Option<&ReasonText>,
    ) -> Result<Found, CliError> {
        let mut stored = self.read(id)?;
        let found = self.found(id, &stored)?;
        let officer = self.officer(key)?;
        let person = CommandUser::of_this_process();
        if found.state != State::Open {
            return Err(CliError::new(Exit::State, format!("request {id} is {}", found.state.name()))
                .with_hint("`approval list` shows the requests that are open"));
        }
        if verdict == Verdict::Approve {
            check_second(&found.request, &officer.name, &officer.fingerprint, person)?;
        }
        let decision = Decision {
            version: 1,
            request: id.to_string(),
            digest: found.digest.clone(),
            verdict,
            reason: reason.map(|reason| reason.as_str().to_owned()),
            officer: officer.name.clone(),
            fingerprint: officer.fingerprint.clone(),
            person,
            decided: jiff::Timestamp::now().to_string(),
        };
        stored.decision = Some(Signed::new(&decision, key)?);
        let entry = admin_audit::entry(Event::ApprovalDecided, "approval")
            .with("request", id.to_string())
            .with("digest", found.digest.clone())
            .with("verdict", if verdict == Verdict::Approve { "approve" } else { "reject" })
            .with("officer", decision.officer.clone())
            .with("fingerprint", decision.fingerprint.clone())
            .with("reason", decision.reason.clone());
        let bytes = bytes_of(&stored)?;
        admin_audit::record(&self.config.audit_directory(), entry)?;
        self.write(&id.to_string(), &bytes)?;
        self.found(id, &stored)
    }

    /// Returns a request with its decision.
    ///
    /// # Errors
    /// When there is none, or one of their signatures is not an officer's.
    pub(in crate::cli) fn find(&self, id: &Uuid) -> Result<Found, CliError> {
        self.found(id, &self.read(id)?)
    }

    /// Returns the ids of all requests, oldest first.
    ///
    /// # Errors
    /// When the directory cannot be read.
    pub(in crate::cli) fn ids(&self) -> Result<Vec<Uuid>, CliError> {
        let names = std::fs::read_dir(self.requests.by_descriptor())
            .and_then(|entries| entries.map(|entry| Ok(entry?.file_name())).collect::<io::Result<Vec<_>>>())
            .map_err(|error| CliError::directory("read", self.requests.path(), &error))?;
        let id = |name: &std::ffi::OsString| name.to_str()?.strip_suffix(".json")?.parse().ok();
        let mut ids: Vec<Uuid> = names.iter().filter_map(id).collect();
        ids.sort();
        Ok(ids)
    }

    /// See [`in_force::accept`].
    ///
    /// # Errors
    /// When the file was changed since, or cannot be written.
    pub(in crate::cli) fn accept_officers(&self, permit: Permit, approved: &Value) -> Result<Value, CliError> {
        in_force::accept(self.config, &self.directory, permit, approved)
    }

    fn officer(&self, key: &OfficerKey) -> Result<&Officer, CliError> {
        self.officers.by_key(key.fingerprint()).ok_or_else(|| {
            refused(format!("no officer has the key {}", key.fingerprint()))
                .with_hint("the file that [four_eyes] officers names must contain its public half (`openssl pkey -pubout`)")
        })
    }

    fn read(&self, id: &Uuid) -> Result<Stored, CliError> {
        let path = self.requests.path().join(format!("{id}.json"));
        let mut bytes = Vec::new();
        self.requests.open_file(format!("{id}.json")).and_then(|file| file.take(LIMIT + 1).read_to_end(&mut bytes)).map_err(
            |error| match error.kind() {
                io::ErrorKind::NotFound => CliError::new(Exit::NotFound, format!("there is no request {id}"))
                    .with_hint("`approval list` shows the requests; they are removed 30 days after they expire"),
                _ => CliError::file("read", &path, &error),
            },
        )?;
        if bytes.len() as u64 > LIMIT {
            return Err(refused(format!("{} is longer than a request", path.display())));
        }
        serde_json::from_slice(&bytes)
            .map_err(|_| refused(format!("{} is no request: it was edited, or damaged", path.display())))
    }

    /// Verifies a request and its decision.
    fn found(&self, id: &Uuid, stored: &Stored) -> Result<Found, CliError> {
        let flaw = |what: &str, why: &str| {
            refused(format!("the {what} {id} is refused: {why}"))
                .with_hint("run the command without --request to make another request")
        };
        let (request, _) = stored.request.verify::<Request>(&self.officers).map_err(|why| flaw("request", why))?;
        if request.id != id.to_string() || request.station != self.config.station {
            return Err(flaw("request", "it has another id, or is another station's"));
        }
        let expires: jiff::Timestamp = request.expires.parse().map_err(|_| flaw("request", "it has no end"))?;
        let digest = stored.request.digest();
        let decision = match &stored.decision {
            None => None,
            Some(signed) => {
                let (decision, _) = signed.verify::<Decision>(&self.officers).map_err(|why| flaw("decision on", why))?;
                if decision.request != request.id || decision.digest != digest {
                    return Err(flaw("decision on", "it is about another request"));
                }
                if decision.verdict == Verdict::Approve {
                    check_second(&request, &decision.officer, &decision.fingerprint, decision.person)?;
                }
                Some(decision)
            }
        };
        let is_used = self.used.has(id.to_string()).map_err(|error| CliError::directory("read", self.used.path(), &error))?;
        let state = match decision.as_ref().map(|decision| decision.verdict) {
            _ if is_used => State::Used,
            Some(Verdict::Reject) => State::Rejected,
            _ if jiff::Timestamp::now() >= expires => State::Expired,
            Some(Verdict::Approve) => State::Approved,
            None => State::Open,
        };
        Ok(Found { request, decision, state, digest })
    }

    fn write(&self, id: &str, bytes: &[u8]) -> Result<(), CliError> {
        self.requests
            .replace(format!("{id}.json"), 0o600, bytes)
            .map_err(|error| CliError::directory("write to", self.requests.path(), &error))
    }

    /// Removes requests that expired long ago, with the marks of their use; refuses when too many are left.
    fn clean(&self) -> Result<(), CliError> {
        let trouble = |error| CliError::directory("clean", self.requests.path(), &error);
        // An id tells when it was made, and no request is valid for longer than a week.
        let before = jiff::Timestamp::now().as_second() - KEPT_S - 7 * 24 * 3600;
        let mut left = 0;
        for id in self.ids()? {
            let made = id.get_timestamp().map_or(0, |time| time.to_unix().0);
            if i64::try_from(made).unwrap_or(0) < before {
                self.requests.remove(format!("{id}.json")).map_err(trouble)?;
                self.used.remove(id.to_string()).map_err(trouble)?;
            } else {
                left += 1;
            }
        }
        if left >= MOST {
            return Err(CliError::new(Exit::State, format!("{left} requests are kept, and {MOST} at most are possible"))
                .with_hint("requests are removed 37 days after they were made"));
        }
        Ok(())
    }
}

/// Refuses an approval by the requester: the same name, key or person.
fn check_second(request: &Request, officer: &str, fingerprint: &str, person: CommandUser) -> Result<(), CliError> {
    let same = if request.officer == officer || request.fingerprint == fingerprint {
        format!("{:?} requested it", request.officer)
    } else if request.person.person() == person.person() {
        format!("uid {} requested it", person.person())
    } else {
        return Ok(());
    };
    Err(refused(format!("request {} cannot be approved by its requester: {same}", request.id))
        .with_hint("another officer approves it, with another key and logged in as another user"))
}

fn bytes_of(stored: &Stored) -> Result<Vec<u8>, CliError> {
    let bytes = serde_json::to_vec(stored).map_err(CliError::other)?;
    if bytes.len() as u64 > LIMIT {
        return Err(
            CliError::usage(format!("the request would be longer than {LIMIT} bytes")).with_hint("change fewer entries at once")
        );
    }
    Ok(bytes)
}
