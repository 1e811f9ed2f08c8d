//! Remedies for each reason of an error, and for errors of the operating system.

use std::{io, path::Path};

use stationmaster_system::files::input::InputError;
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
                Some("the service does not have this RPC: compare `--version` on both sides".to_owned())
            }
            _ => None,
        };
    };
    let meta = |name: &str| failure.metadata.get(name).map(String::as_str);
    if let (Reason::ImagePolicyViolation, Some(id)) = (reason, meta("refusal_id")) {
        let rule = meta("rule").unwrap_or_default();
        return Some(format!(
            "{}; an administrator finds the file in the audit log: `audit show --refusal {id}`",
            of_rule_named(rule)
        ));
    }
    if let Some(id) = meta("refusal_id") {
        return Some(format!("an administrator finds the cause in the audit log: `audit show --refusal {id}`"));
    }
    if let (Reason::RpcNotAllowed, Some(NOBODY)) = (reason, meta("principal")) {
        return Some(
            "request a certificate with a DNS name or URI as subjectAltName (docs/tls.md); then an administrator grants access to that name: \
             `access allow dns:NAME --role ROLE`"
                .to_owned(),
        );
    }
    if let (Reason::RpcNotAllowed, Some(principal)) = (reason, meta("principal")) {
        let rpc = meta("rpc").map_or_else(|| "--role ROLE".to_owned(), |rpc| format!("--rpc {rpc}"));
        return Some(format!(
            "the caller's principal is {principal}; an administrator grants access: `access allow {principal} {rpc}`; \
             `access check {principal} RPC` explains a decision"
        ));
    }
    if let (Reason::RunState, Some(state)) = (reason, meta("state")) {
        return Some(match state {
            "prepared" => "the run is prepared: `train post-run RUN_ID` closes it, `train abort RUN_ID` aborts it".to_owned(),
            "completed" => "the run is completed; its image is ready for the next stop".to_owned(),
            "aborted" => "the run was aborted; `train pre-run IMAGE` starts a new one".to_owned(),
            other => format!("the run is {other}"),
        });
    }
    if let (Reason::TrainReplayed, Some(_)) = (reason, meta("differs")) {
        return Some(
            "request the unchanged train from its sender; `run list --session HEX` at the station shows earlier runs (`train inspect IMAGE` \
             shows the session), and `run forget-session` removes the binding of the session"
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
            "supported: an uncompressed tar archive of /opt, of `docker save`, or an OCI archive. `{convert}` creates one"
        ));
    }
    if meta("images").is_some() {
        return Some("select one with --image NAME".to_owned());
    }
    if let Some(cause) = meta("engine") {
        return Some(engine(cause).to_owned());
    }
    if let (Reason::Overloaded, Some(limit)) = (reason, meta("limit")) {
        let wait = failure.retry_after.map_or_else(|| "in a moment".to_owned(), |wait| format!("in {} s", wait.as_secs_f64()));
        return Some(format!("try again {wait}; the limit is {limit} in the service's configuration"));
    }
    if let (Reason::NotReady, Some(component)) = (reason, meta("component")) {
        return Some(match component {
            "trust" => "`trust --help` shows how to create a trust file; the service's log names its path".to_owned(),
            other => format!("`health` shows the problem of {other}"),
        });
    }
    if let (Reason::LimitExceeded, Some(limit)) = (reason, meta("limit")) {
        return Some(format!("the limit is {limit}; see [limits] in the service's configuration"));
    }
    Some(text(reason).to_owned())
}

/// Hint for a service that does not respond.
pub(super) const NO_SERVICE: &str = "check that the service is running, and its address: --address, STATIONMASTER_ADDRESS, or `. DIR/env` of a development station";

/// Returns the hint for a refusal of the engine.
fn engine(cause: &str) -> &'static str {
    match cause {
        "disk-full" => "free space where the engine stores its images (`docker system df`), then repeat the call",
        "read-only" => "the engine's disk is mounted read-only; see the log of its host",
        "denied" => "the engine's authorization plugin, or its host's rules, must allow the service's calls",
        "too-many-layers" => {
            "the train's base has too many layers: rebuild it with fewer instructions, or with `docker build --squash`; \
             engines support about 125, and each stop adds one"
        }
        _ => "the message is the engine's own; the call will be refused until the cause is removed",
    }
}

/// Returns the hint for an error of a file. A missing permission is explained in the message itself.
pub(super) fn of_file(path: &Path, error: &io::Error) -> Option<String> {
    if let Some(unfit) = error.get_ref().and_then(|unfit| unfit.downcast_ref::<InputError>()) {
        return Some(match unfit {
            InputError::Kind(_) => {
                "name a regular file; the output of another program can be passed as `<(COMMAND)`, or as /dev/stdin".to_owned()
            }
            InputError::TooLong(_) => "check that it is the intended file".to_owned(),
        });
    }
    match error.kind() {
        io::ErrorKind::NotFound => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty() && !parent.exists())?;
            Some(format!("its directory does not exist: `mkdir -p {}`, or name another", parent.display()))
        }
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
            Some(format!("{}, or name a file on another one", full(parent)))
        }
        io::ErrorKind::AlreadyExists => Some("name another, or move the existing one first".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => Some("the file system is mounted read-only: name a file on another one".to_owned()),
        io::ErrorKind::IsADirectory => Some("this is a directory: name a file in it".to_owned()),
        _ => None,
    }
}

/// Returns the hint for a full disk; `directory` is on it.
pub(super) fn full(directory: &Path) -> String {
    let directory = directory.display();
    format!("the disk is full: free space on the file system of {directory} (`df {directory}`)")
}

/// Returns the hint for a file that could not be replaced, if there is more than the message.
pub(super) fn of_replaced(file: &Path, error: &io::Error) -> Option<String> {
    let directory = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    match error.kind() {
        io::ErrorKind::NotFound => {
            Some(format!("its directory does not exist: `mkdir -p {}`, or name another", directory.display()))
        }
        _ if is_full(error) => Some(format!("{}, then repeat the command; the file is unchanged", full(directory))),
        _ => None,
    }
}

/// Returns whether a disk is full.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Returns the hint for a directory that cannot be created or written into.
pub(super) fn of_directory(directory: &Path, error: &io::Error) -> Option<String> {
    match error.kind() {
        io::ErrorKind::NotFound => Some(format!("`mkdir -p {}`, or name another", directory.display())),
        io::ErrorKind::NotADirectory => Some("a file has this name: move it, or name another directory".to_owned()),
        io::ErrorKind::ReadOnlyFilesystem => {
            Some("the file system is mounted read-only: name a directory on another one".to_owned())
        }
        _ if is_full(error) => Some(format!("{}, or name a directory on another one", full(directory))),
        _ => None,
    }
}

/// Returns the hint for an address that cannot be bound.
pub(super) fn of_listening(kind: io::ErrorKind) -> Option<&'static str> {
    match kind {
        io::ErrorKind::AddrInUse => Some(
            "another process listens on it: `ss -ltnp` shows which; stop it, or choose another port in `address` of [listen.tcp]",
        ),
        io::ErrorKind::AddrNotAvailable => {
            Some("no interface of this machine has that address (`ip address` lists them): correct `address` in [listen.tcp]")
        }
        _ => None,
    }
}

/// Returns the remedy for a broken rule; a generic one for a rule of another version.
fn of_rule_named(name: &str) -> &'static str {
    Rule::from_name(name).map_or("the image contains files or settings that a train may not contain", of_rule)
}

/// Returns the remedy for a broken rule.
fn of_rule(rule: Rule) -> &'static str {
    use Rule as R;
    match rule {
        R::StrictConfig => "the train_config.json is invalid: request the train again from its sender",
        R::SessionIdLength => {
            "the session id does not have 64 bytes: the creator must rebuild the train, or relax the rule in [rules]"
        }
        R::CreatorPinned | R::StationsPinned | R::WrapForTrusted => {
            "add the key with `trust add`, after its owner has confirmed the fingerprint"
        }
        R::OwnRouteKey => {
            "the route names another key for this station than its token contains: compare with `key list`, then inform the creator"
        }
        R::RouteShape | R::FirstByIndex => {
            "`train inspect IMAGE` shows the route and its signatures: request the current train from its sender"
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
        | R::UserKey => "the train differs from what was signed: fetch it again; if that does not help, inform its sender",
        R::ListedFilesPresent => "a file that the train lists is missing: restore it unchanged, or fetch the train again",
        R::UnlistedFiles => {
            "the train's directory contains files that its list does not name: remove them, or relax the rule in [rules]"
        }
        R::BothDirectories => {
            "/opt/pht_train or /opt/pht_results is missing: both must exist, even if they are empty (`mkdir -p`)"
        }
        R::PlainNames => {
            "a file's name is not UTF-8, or contains a backslash, tab or other control character: the train must rename the file"
        }
        R::UniqueNames => "a name occurs twice, or is out of order: write the image with an engine or skopeo",
        R::NoLinks => {
            "the train's files include a link, device or pipe: the train must write regular files (`cp -L` instead of `ln -s`)"
        }
        R::NoVolumes => "the image declares a VOLUME over the train's directories: remove that line from its Dockerfile",
        R::OptAllowList => {
            "/opt contains an entry that is neither the train's nor its base's: remove it, or name it in [rules] opt_allow"
        }
        R::RouteKeysUsable => {
            "a public key on the route cannot be used for wrapping: the creator must replace it and rebuild the train"
        }
        R::MasterImage => {
            "`image validate IMAGE` shows how the image differs from its master; `trust list` shows the allowed masters"
        }
        R::PastStopsExcluded => "[rules] demand enables this rule, and the train wraps its key for stations that it has passed",
        R::ConfigOfPreRun | R::ImmutableUnchanged => {
            "the run changed the train's code or query: it may write only to /opt/pht_results"
        }
        R::AtRestWhileRead => "the directory changed while it was read: stop the process that writes to it, then try again",
        R::ImageOfThisRun => "the image does not descend from the one that pre-run opened: commit the container of that image",
        R::NoPlaintextLayers => "`train check-push IMAGE` names the layers with plaintext: do not push the image",
        R::BuilderIdentity
        | R::FileNamesSigned
        | R::FileBoundaries
        | R::OlderLinks
        | R::UnsignedFields
        | R::AuthenticatedEncryption
        | R::ReplayElsewhere => "the train format provides no evidence for this rule",
    }
}

fn text(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::MalformedRequest => "see the command's --help; compare `--version` on both sides",
        R::ImageRefInvalid => "name an image as repository:tag or sha256:…; digest references (@sha256:…) are not written to",
        R::ConfigMalformed => "check that the image is a train: `train inspect IMAGE` shows its contents",
        R::ArchiveMalformed => "the archive is not a valid train: fetch it again, or inform its sender",
        R::ImageNotFound => {
            "pull the train first (`docker images` lists the images of an engine; the service uses [engine] socket), or copy it into its layout"
        }
        R::MasterUnknown => {
            "`stationmaster trust list` shows the allowed masters, `trust add master` allows one; then pull it, or copy it into its layout"
        }
        R::BaseMissing => {
            "pull the train's base image, or copy it into its layout (`train inspect IMAGE` names the train), then try again"
        }
        R::RouteRejected => "`train inspect IMAGE` shows the route, the next stop, and whether this station is on the route",
        R::TrainAuthenticationFailed => "an administrator finds the cause in the audit log: `audit show`",
        R::KeyUntrusted => {
            "an administrator compares the fingerprint with the key's owner, then uses `trust add` or `trust import`; `train inspect IMAGE` shows all keys of the train"
        }
        R::TrainReplayed => {
            "this station has already run this state of the train; request the current one from its sender, or ask an administrator for `run allow-again`"
        }
        R::ImagePolicyViolation => {
            "the image contains files or settings that a train may not contain; an administrator finds the cause in the audit log: `audit show`"
        }
        R::UnwrapFailed => {
            "it was wrapped for another key, with another scheme, or changed afterwards: `key show LABEL` shows the key and its schemes"
        }
        R::RunUnchanged => {
            "the run stays open: run the image, commit the container under the same name (`docker commit CONTAINER IMAGE`), then post-run \
             again; --no-results seals it unchanged, `train abort RUN_ID` aborts it"
        }
        R::RunState => "`run show RUN` at the station shows the run's state",
        R::RunNotFound => "use the run_id that pre-run returned; `run list` at the station shows all runs",
        R::KeyNotFound => "`key list` shows the keys",
        R::KeyNotAllowed => {
            "use a general key that is granted (`key list`, `access check`). A train key is reserved for trains, unless [keys] raw_use names \
             it; the audit key signs only checkpoints"
        }
        R::RpcNotAllowed => "an administrator grants it: `access allow PRINCIPAL --rpc NAME`; `access check` explains a decision",
        R::PeerUnknown => "connect with a client certificate that has not expired, or through the Unix socket",
        R::KeyLabelExists => "choose another label; keys are never replaced",
        R::IdempotencyMismatch => "use a new idempotency key for another image",
        R::HsmPinLatched => {
            "an administrator corrects the PIN at its source (a changed PIN is tried once) and restarts the service"
        }
        R::NoEngine => "open the train into its image, or into a directory (--into directory)",
        R::DirectoryNotShared => {
            "set [runs] directory in the service's configuration, or open the train into a volume (--into volume)"
        }
        R::NotReady => "`health` shows which component is unusable, and why",
        R::TrainBusy => "wait for the other step of this train, then try again",
        R::ImageChanged => "the tag was moved during the call; try again",
        R::Overloaded | R::HsmSessionsExhausted | R::ShuttingDown => "try again in a moment",
        R::DiskFull => "free space on the named disk, then try again; the service's log contains the required amount",
        R::LimitExceeded => "see [limits] in the service's configuration",
        R::HsmUnavailable => "the token does not respond: check the HSM; the service reconnects automatically",
        R::EngineRefused => engine("other"),
        R::EngineUnavailable => "the container engine does not respond: check it, and [engine] socket",
        R::AuditUnavailable => {
            "calls are refused while they cannot be recorded: check the disk and the files of the audit log; the service's log contains the cause"
        }
        R::DeadlineExceeded => "the outcome is unknown; repeat the same call to learn it, with a longer --timeout",
        R::Cancelled => "the outcome is unknown; repeat the same call to learn it",
        R::MechanismUnsupported => {
            "`key show LABEL` lists the mechanisms that the token supports; `allow_raw_unwrap` or `allow_raw_sign` in [token] may help"
        }
        R::HsmFault | R::Invariant => "see the service's log",
        R::AuditChainBroken => "stop the service and inform the security officer; `audit verify` shows the place",
    }
}

#[cfg(test)]
mod tests;
