//! Remedies for each reason of an error, and for errors of the operating system.

use std::{io, path::Path};

use stationmaster_system::files::input::Unfit;
use stationmaster_train::rule::Rule;

use crate::{
    authz::NOBODY,
    service::status::{Failure, Reason},
};

pub(super) fn hint(failure: &Failure) -> Option<String> {
    let Some(reason) = failure.reason else {
        return match failure.code {
            tonic::Code::Unavailable => Some(NO_SERVICE.to_owned()),
            tonic::Code::Unimplemented => {
                Some("the service does not know this call: compare `--version` on both sides".to_owned())
            }
            _ => None,
        };
    };
    let meta = |name: &str| failure.metadata.get(name).map(String::as_str);
    if let (Reason::ImagePolicyViolation, Some(id)) = (reason, meta("refusal_id")) {
        let rule = meta("rule").unwrap_or_default();
        return Some(format!("{}; an administrator sees which file it is: `audit show --refusal {id}`", of_rule_named(rule)));
    }
    if let Some(id) = meta("refusal_id") {
        return Some(format!("an administrator finds the cause under its refusal_id: `audit show --refusal {id}`"));
    }
    if let (Reason::RpcNotAllowed, Some(NOBODY)) = (reason, meta("principal")) {
        return Some(
            "have the certificate signed with a subjectAltName that is a DNS name or a URI (docs/tls.md), then an administrator grants that \
             name: `access allow dns:NAME --role ROLE`"
                .to_owned(),
        );
    }
    if let (Reason::RpcNotAllowed, Some(principal)) = (reason, meta("principal")) {
        let rpc = meta("rpc").map_or_else(|| "--role ROLE".to_owned(), |rpc| format!("--rpc {rpc}"));
        return Some(format!(
            "the service knows you as {principal}; an administrator grants it: `access allow {principal} {rpc}`; \
             `access check {principal} RPC` explains what is decided"
        ));
    }
    if let (Reason::RunState, Some(state)) = (reason, meta("state")) {
        return Some(match state {
            "prepared" => "the run is prepared: `train post-run RUN_ID` closes it, `train abort RUN_ID` gives it up".to_owned(),
            "completed" => "the run is closed; its image is the one to send on".to_owned(),
            "aborted" => "the run was given up; `train pre-run IMAGE` begins a new one".to_owned(),
            other => format!("the run is {other}"),
        });
    }
    if let (Reason::TrainReplayed, Some(_)) = (reason, meta("differs")) {
        return Some(
            "ask the train's sender for it as it was made; `run list --session HEX` at the station shows what ran (`train inspect IMAGE` \
             shows the session), and `run forget-session` lets it be bound anew"
                .to_owned(),
        );
    }
    if let (Reason::TrainReplayed, Some(run)) = (reason, meta("run_id")) {
        return Some(format!(
            "this station has finished the train: `run show {run}`. If it must run once more, an administrator gives \
             `run allow-again {run} --reason TEXT` at the station"
        ));
    }
    if let (Reason::KeyUntrusted, Some(who), Some(fingerprint)) = (reason, meta("who"), meta("fingerprint")) {
        let (whose, add) = if who == "creator" { (who.to_owned(), who) } else { (format!("stop {who}"), "station") };
        return Some(format!(
            "an administrator compares {fingerprint} with its owner ({whose}), then `trust add {add} ID --key FILE`; `trust --help` shows more"
        ));
    }
    if let Some(convert) = meta("convert") {
        return Some(format!(
            "what is read: a tar archive of /opt, of `docker save`, or an OCI archive, uncompressed. `{convert}` makes one"
        ));
    }
    if meta("images").is_some() {
        return Some("choose one with --image NAME".to_owned());
    }
    if let Some(why) = meta("engine") {
        return Some(engine(why).to_owned());
    }
    if let (Reason::Overloaded, Some(limit)) = (reason, meta("limit")) {
        let wait = failure.retry_after.map_or_else(|| "in a moment".to_owned(), |wait| format!("in {} s", wait.as_secs_f64()));
        return Some(format!("try again {wait}; the limit is {limit} in the service's configuration"));
    }
    if let (Reason::NotReady, Some(component)) = (reason, meta("component")) {
        return Some(match component {
            "trust" => "`trust --help` shows how a trust file is made; the service's log says where it is looked for".to_owned(),
            other => format!("`health` says what is wrong with {other}"),
        });
    }
    if let (Reason::LimitExceeded, Some(limit)) = (reason, meta("limit")) {
        return Some(format!("the limit is {limit}; [limits] in the service's configuration"));
    }
    Some(text(reason).to_owned())
}

/// For a service that does not answer.
pub(super) const NO_SERVICE: &str =
    "is the service running? `. DIR/env` of a development station, STATIONMASTER_ADDRESS or --address name it";

/// For an engine that said no.
fn engine(why: &str) -> &'static str {
    match why {
        "disk-full" => "make room where the engine keeps its images (`docker system df`); the same call then does it",
        "read-only" => "the engine's disk is mounted read-only: its host's log says why",
        "denied" => "the engine's authorization plugin, or its host's rules, must allow the service's calls",
        "too-many-layers" => {
            "the train's base must have fewer layers: build it anew with fewer instructions, or `docker build --squash`; \
             an engine takes 125 or so, and a stop adds one"
        }
        _ => "the words are the engine's own; the same call is refused again until that is mended",
    }
}

/// For a file that the system refuses; whose it is, where it may not be used, the message has.
pub(super) fn of_file(path: &Path, error: &io::Error) -> Option<String> {
    if let Some(unfit) = error.get_ref().and_then(|unfit| unfit.downcast_ref::<Unfit>()) {
        return Some(match unfit {
            Unfit::Kind(_) => {
                "name a regular file; what another program writes is given as `<(COMMAND)`, or as /dev/stdin".to_owned()
            }
            Unfit::TooLong(_) => "is it the right file?".to_owned(),
        });
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())?;
            Some(format!("its directory is not there: `mkdir -p {}`, or name another", parent.display()))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(format!("{}, or name a file on another one", full(parent)))
        }
        io::ErrorKind::AlreadyExists => Some("name another, or move it away first".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is mounted read-only: name a file on another one".to_owned()),
        io::ErrorKind::IsADirectory => Some("this is a directory: name a file in it".to_owned()),
        _ => None,
    }
}

/// For a disk that is full, by a directory on it.
pub(super) fn full(directory: &Path) -> String {
    let directory = directory.display();
    format!("the disk is full: make room on the file system of {directory} (`df {directory}`)")
}

/// For a file that is written aside and renamed; nothing where the one before is as it was and nothing more is to say.
pub(super) fn of_replaced(file: &Path, error: &io::Error) -> Option<String> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match error.kind() {
        io::ErrorKind::NotFound => {
            Some(format!("its directory is not there: `mkdir -p {}`, or name another", directory.display()))
        }
        _ if is_full(error) => Some(format!("{}, then repeat the command; the file is unchanged", full(directory))),
        _ => None,
    }
}

/// Whether a disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// For a directory that is to be made, or written into, and that the system refuses.
pub(super) fn of_directory(directory: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::NotFound => Some(format!("`mkdir -p {}`, or name another", directory.display())),
        io::ErrorKind::NotADirectory => Some("a file has this name: move it away, or name another directory".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: name a directory on another one".to_owned())
        }
        _ if is_full(error) => Some(format!("{}, or name a directory on another one", full(directory))),
        _ => None,
    }
}

/// For an address that cannot be listened on.
pub(super) fn of_listening(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some(
            "another process listens there: `ss -ltnp` shows which; end it, or choose another port in `address` of [listen.tcp]",
        ),
        io::ErrorKind::AddrNotAvailable => Some(
            "no interface of this machine has that address: `ip address` shows those it has; `address` in [listen.tcp] names one",
        ),
        _ => None,
    }
}

/// What to do about a broken rule. Whoever knows the rule's name only in part (another version's) gets what is always true.
fn of_rule_named(name: &str) -> &'static str {
    Rule::from_name(name).map_or("the image holds what a train may not hold", of_rule)
}

/// What to do about a broken rule.
fn of_rule(rule: Rule) -> &'static str {
    use Rule as R;
    match rule {
        R::StrictConfig => "the train's train_config.json is not one: ask its sender for the train again",
        R::SessionIdLength => {
            "the session id has not 64 bytes: the creator builds the train anew, or [rules] relax names the rule"
        }
        R::CreatorPinned | R::StationsPinned | R::WrapForTrusted => {
            "`trust add` the key, once its owner has confirmed the fingerprint"
        }
        R::OwnRouteKey => "the route names another key for this station than its token holds: `key list`, then tell the creator",
        R::RouteShape | R::FirstByIndex => {
            "`train inspect IMAGE` shows the route and who has signed: ask the sender for the current train"
        }
        R::CreatorSignature
        | R::BuilderSignature
        | R::ImmutableDigest
        | R::ChainSignatures
        | R::NewestLink
        | R::SignaturesApart
        | R::ResultsSignature
        | R::ResultsDigest
        | R::SealedLengths
        | R::UserKey => "the train is not what was signed: fetch it again, and tell its sender if that does not help",
        R::ListedFilesPresent => "a file that the train lists is missing: put it back as it was, or fetch the train again",
        R::UnlistedFiles => {
            "files are in the train's directory that its list does not name: remove them, or [rules] relax names the rule"
        }
        R::BothDirectories => {
            "/opt/pht_train or /opt/pht_results is missing: the train must keep both, also when they are empty (`mkdir -p`)"
        }
        R::PlainNames => {
            "a file's name is not plain UTF-8, or has a backslash, tab or other control character in it: let the train rename the file"
        }
        R::UniqueNames => "a name is there twice, or out of order: let the image be written by an engine or skopeo",
        R::NoLinks => {
            "a link, device or pipe is among the train's files: let the train write the file itself (`cp -L` in place of `ln -s`)"
        }
        R::NoVolumes => {
            "the image declares a VOLUME over the train's directories: its builder takes that line out of the Dockerfile"
        }
        R::OptAllowList => "something in /opt is neither the train's nor its base's: remove it, or [rules] allow names it",
        R::RouteKeysUsable => "a key on the route cannot be used to wrap for: the creator replaces it and builds the train anew",
        R::MasterImage => {
            "`image validate IMAGE` shows how the image differs from its master; `trust list` shows the allowed masters"
        }
        R::PastStopsExcluded => "[rules] demand asks for it, and this train wraps for stations that it has passed",
        R::ConfigOfPreRun | R::ImmutableUnchanged => {
            "the run changed the train's own code or query: it may only write to /opt/pht_results"
        }
        R::AtRestWhileRead => "the directory changed while it was read: end what still writes there, then try again",
        R::ImageOfThisRun => "the image does not descend from the one that pre-run opened: commit the container of that image",
        R::NoPlaintextLayers => "`train check-push IMAGE` names the layers that show plaintext: do not push the image",
        R::BuilderIdentity
        | R::FileNamesSigned
        | R::FileBoundaries
        | R::OlderLinks
        | R::UnsignedFields
        | R::AuthenticatedEncryption
        | R::ReplayElsewhere => "nothing on this wire could show it",
    }
}

fn text(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::MalformedRequest => "the command's --help tells what it takes; compare `--version` on both sides",
        R::ImageRefInvalid => "name an image as repository:tag or sha256:…; digest references (@sha256:…) are not written to",
        R::ConfigMalformed => "`train inspect IMAGE` shows what is there; is it a train at all?",
        R::ArchiveMalformed => "what was read cannot be a train as it is; fetch it again, or tell its sender",
        R::ImageNotFound => {
            "pull the train first (`docker images` lists what an engine has; the service's is that of [engine] socket), or copy it into its layout"
        }
        R::MasterUnknown => {
            "`stationmaster trust list` shows the allowed masters, `trust add master` allows one; then pull it, or copy it into its layout"
        }
        R::BaseMissing => {
            "pull the train's base image, or copy it into its layout (`train inspect IMAGE` names the train), then try again"
        }
        R::RouteRejected => "`train inspect IMAGE` shows the route, whose turn it is, and whether this station is on it",
        R::TrainAuthenticationFailed => "an administrator finds the cause in the audit: `audit show`",
        R::KeyUntrusted => {
            "an administrator compares the fingerprint with the key's owner, then `trust add` or `trust import`; `train inspect IMAGE` shows all of the train's"
        }
        R::TrainReplayed => {
            "this state of the train was here before; ask its sender for the current one, or an administrator for `run allow-again`"
        }
        R::ImagePolicyViolation => {
            "the image holds what a train may not hold; an administrator finds the cause in the audit: `audit show`"
        }
        R::UnwrapFailed => {
            "it was wrapped for another key, with another scheme, or changed since: `key show LABEL` shows the key and its schemes"
        }
        R::RunUnchanged => {
            "the run stays open: run the image, commit the container under the same name (`docker commit CONTAINER IMAGE`), then post-run \
             again; --no-results seals it as it is, `train abort RUN_ID` gives it up"
        }
        R::RunState => "`train inspect` and the run's id tell what was done",
        R::RunNotFound => "take the run_id that pre-run answered; `run list` at the station shows all",
        R::KeyNotFound => "`key list` shows the keys",
        R::KeyNotAllowed => {
            "use a general key that is granted (`key list`, `access check`). A train key is for trains, unless [keys] raw_use names it; \
             the audit's key signs checkpoints and nothing else"
        }
        R::RpcNotAllowed => {
            "an administrator grants it: `access allow PRINCIPAL --rpc NAME`; `access check` explains what is decided"
        }
        R::PeerUnknown => "connect with a client certificate that has not ended, or through the Unix socket",
        R::KeyLabelExists => "choose another label; a key is never replaced",
        R::IdempotencyMismatch => "use a fresh idempotency key for another image",
        R::HsmPinLatched => {
            "an administrator corrects the PIN at its source, where a changed one is tried once, and restarts the service"
        }
        R::NoEngine => "open the train into its image, or into a directory (--into directory)",
        R::DirectoryNotShared => {
            "set [runs] directory in the service's configuration, or open the train into a volume (--into volume)"
        }
        R::NotReady => "`health` says which component cannot be used, and why",
        R::TrainBusy => "wait for the other step of this train, then try again",
        R::ImageChanged => "the tag was moved meanwhile; try again",
        R::Overloaded | R::HsmSessionsExhausted | R::ShuttingDown => "try again in a moment",
        R::DiskFull => "make room on the disk that is named, then try again; the service's log says how much is needed",
        R::LimitExceeded => "[limits] in the service's configuration",
        R::HsmUnavailable => "the token does not answer: check the HSM; the service reconnects by itself",
        R::EngineRefused => engine("other"),
        R::EngineUnavailable => "the container engine does not answer: check it, and [engine] socket",
        R::AuditUnavailable => {
            "nothing is done unrecorded: check the disk and the files of the audit; the service's log says what is wrong"
        }
        R::DeadlineExceeded => "it may have been done: the same call again tells; --timeout gives it longer",
        R::Cancelled => "it may have been done: the same call again tells",
        R::MechanismUnsupported => "`key show LABEL` lists what the token can do; allow_raw_unwrap in [token] may help",
        R::HsmFault | R::Invariant => "the service's log tells more",
        R::AuditChainBroken => "stop, and call the security officer: `audit verify` shows where",
    }
}

#[cfg(test)]
mod tests;
