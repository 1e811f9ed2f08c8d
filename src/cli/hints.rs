//! What a person can do about each reason.

use crate::service::status::{Failure, Reason};

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
    if let (Reason::TrainAuthenticationFailed, Some(id)) = (reason, meta("refusal_id")) {
        return Some(format!("an officer finds the cause under its refusal_id: `audit show --refusal {id}`"));
    }
    if let (Reason::RpcNotAllowed, Some(principal)) = (reason, meta("principal")) {
        return Some(format!(
            "an administrator grants it: `access allow {principal} --rpc NAME`; `access check {principal} NAME` explains what is decided"
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
            "this station has finished the train: `run show {run}`. If it must run once more, an officer says \
             `run allow-again {run} --reason TEXT` at the station"
        ));
    }
    if let (Reason::KeyUntrusted, Some(who), Some(fingerprint)) = (reason, meta("who"), meta("fingerprint")) {
        let (whose, add) = if who == "creator" { (who.to_owned(), who) } else { (format!("stop {who}"), "station") };
        return Some(format!(
            "an officer compares {fingerprint} with its owner ({whose}), then `trust add {add} ID --key FILE`; `trust --help` shows more"
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

fn text(reason: Reason) -> &'static str {
    use Reason as R;
    match reason {
        R::MalformedRequest => "the command's --help tells what it takes; compare `--version` on both sides",
        R::ImageRefInvalid => "name an image as repository:tag or sha256:…; digest references (@sha256:…) are not written to",
        R::ConfigMalformed => "`train inspect IMAGE` shows what is there; is it a train at all?",
        R::ArchiveMalformed => "what was read cannot be a train as it is; fetch it again, or tell its sender",
        R::ImageNotFound => "pull the train first (`docker images` lists what an engine has), or copy it into its layout",
        R::MasterUnknown => {
            "`stationmaster trust list` shows the allowed masters, `trust add master` allows one; then pull it, or copy it into its layout"
        }
        R::BaseMissing => {
            "pull the train's base image, or copy it into its layout (`train inspect IMAGE` names the train), then try again"
        }
        R::RouteRejected => "`train inspect IMAGE` shows the route, whose turn it is, and whether this station is on it",
        R::TrainAuthenticationFailed => "an officer finds the cause in the audit: `audit show`",
        R::KeyUntrusted => {
            "an officer compares the fingerprint with the key's owner, then `trust add` or `trust import`; `train inspect IMAGE` shows all of the train's"
        }
        R::TrainReplayed => {
            "this state of the train was here before; ask its sender for the current one, or an officer for `run allow-again`"
        }
        R::UnwrapFailed => {
            "it was wrapped for another key, with another scheme, or changed since: `key show LABEL` shows the key and its schemes"
        }
        R::ImagePolicyViolation => "the image holds links, special files or names that a train may not hold",
        R::RunUnchanged => {
            "the run stays open: run the image, commit the container under the same name (`docker commit CONTAINER IMAGE`), then post-run \
             again; --no-results seals it as it is, `train abort RUN_ID` gives it up"
        }
        R::RunState => "`train inspect` and the run's id tell what was done",
        R::RunNotFound => "take the run_id that pre-run answered; `run list` at the station shows all",
        R::KeyNotFound => "`key list` shows the keys",
        R::KeyNotAllowed => {
            "use a general key that is granted (`key list`, `access check`); a train key is for trains, unless [keys] raw_use names it"
        }
        R::RpcNotAllowed => "an officer grants it: `access allow PRINCIPAL --rpc NAME`; `access check` explains what is decided",
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
        R::NotReady => {
            "`health` tells when it is; without a trust file it never is: `trust --help`, and the service's log says where"
        }
        R::TrainBusy => "wait for the other step of this train, then try again",
        R::ImageChanged => "somebody moved the tag meanwhile; try again",
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
        R::AuditChainBroken => "stop, and call the officer",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_has_a_hint() {
        for &reason in Reason::ALL {
            assert!(!text(reason).is_empty(), "{}", reason.name());
        }
    }
}
