"""Makes exceptions of gRPC's errors, and decides which calls are repeated."""

from __future__ import annotations

import enum
import grp
import os
import random
import stat
from typing import Any, Mapping, Optional

from . import _wire
from ._error import ConnectionFailedError, NoAnswerError, StationmasterError, VersionMismatchError
from ._generated import ERRORS



class Repetition(enum.Enum):
    """Whether a call may be made again."""

    #: It changes nothing, or a repetition returns the same outcome.
    HARMLESS = enum.auto()
    #: Only after a refusal that preceded every effect: a second signature is a second act.
    BEFORE_EFFECT = enum.auto()
    #: Its request is an archive that is read once.
    NEVER = enum.auto()


_DETAILS = "grpc-status-details-bin"
_DOMAIN = "stationmaster.v1"


def error_of(error: Any, address: str) -> StationmasterError:
    """Returns the exception of a `grpc.RpcError`."""
    code, message = error.code().name, error.details() or "no message"
    reason, metadata, retry_after = _details(error)
    if reason:
        kind = ERRORS.get(reason, StationmasterError)
        return kind(message, code=code, reason=reason, metadata=metadata, retry_after=retry_after)
    if code in ("DEADLINE_EXCEEDED", "CANCELLED"):
        return ERRORS[code](message, code=code)
    if code == "UNAVAILABLE":
        found = socket_error(address)
        if found is not None:
            return found
        hint = f"check that the service runs and listens on {address}: systemctl status stationmaster, stationmaster health --wait 30"
        return NoAnswerError(f"the service does not answer: {message}", code=code, hint=hint)
    if code == "UNIMPLEMENTED":
        hint = "the client and the service are of different versions: compare stationmaster.__version__ with stationmaster --version"
        return VersionMismatchError(message, code=code, hint=hint)
    return StationmasterError(message, code=code)


def _details(error: Any) -> "tuple[str, Mapping[str, str], Optional[float]]":
    reason, metadata, retry_after = "", {}, None
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS:
            continue
        for part in _wire.message("google.rpc.Status").FromString(value).details:
            kind = part.type_url.rsplit("/", 1)[-1]
            if kind == "google.rpc.ErrorInfo":
                info = _wire.message(kind).FromString(part.value)
                if info.domain == _DOMAIN:
                    reason, metadata = info.reason, dict(info.metadata)
            elif kind == "google.rpc.RetryInfo":
                delay = _wire.message(kind).FromString(part.value).retry_delay
                retry_after = delay.seconds + delay.nanos / 1e9
    return reason, metadata, retry_after


def socket_error(address: str) -> Optional[ConnectionFailedError]:
    """Returns why a Unix socket cannot be used, if that shows in the file system."""
    if not address.startswith("unix:"):
        return None
    path = address[len("unix:") :]
    path = path[2:] if path.startswith("//") else path
    try:
        found = os.stat(path)
    except FileNotFoundError:
        hint = "start the service, or name its socket: Client('unix:///run/stationmaster/api.sock') or STATIONMASTER_ADDRESS"
        return ConnectionFailedError(f"there is no socket {path}", code="UNAVAILABLE", hint=hint)
    except PermissionError:
        hint = f"this process (user {os.geteuid()}) may not enter {os.path.dirname(path)}: add its user to the directory's group"
        return ConnectionFailedError(f"no permission to look at {path}", code="UNAVAILABLE", hint=hint)
    except OSError as error:
        return ConnectionFailedError(f"{path}: {error.strerror}", code="UNAVAILABLE", hint="check the path")
    if not stat.S_ISSOCK(found.st_mode):
        return ConnectionFailedError(f"{path} is no socket", code="UNAVAILABLE", hint="check the path")
    if not os.access(path, os.R_OK | os.W_OK):
        try:
            group = grp.getgrgid(found.st_gid).gr_name
        except KeyError:
            group = str(found.st_gid)
        hint = f"the socket is open to the group {group}: add this process's user to it (usermod -aG {group} USER), and start it again"
        return ConnectionFailedError(f"no permission to use {path}", code="UNAVAILABLE", hint=hint)
    return None


#: Reasons of refusals that precede every effect of a call.
_BEFORE_EFFECT = frozenset({"HSM_SESSIONS_EXHAUSTED", "OVERLOADED"})


def pause_before_retry(error: StationmasterError, repetition: Repetition, attempt: int, left: float) -> Optional[float]:
    """Returns the seconds before the call is made again, or nothing if it is not.

    A call whose repetition does no harm is repeated after the time that the service named, or soon if there was no answer. Another
    one is repeated only if it was refused before it had an effect.
    """
    if attempt >= 5 or repetition is Repetition.NEVER:
        return None
    if error.retry_after is not None and (repetition is Repetition.HARMLESS or error.reason in _BEFORE_EFFECT):
        pause = error.retry_after
    elif repetition is Repetition.HARMLESS and isinstance(error, NoAnswerError):
        pause = 0.1 * 2**attempt
    else:
        return None
    # So that callers who were refused together do not return together.
    pause *= 1 + random.random() / 4
    return None if pause >= left else pause
