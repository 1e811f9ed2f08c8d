"""The exception that every refusal and failure is."""

from __future__ import annotations

from typing import Dict, Mapping, Optional


class StationmasterError(Exception):
    """A call that the service refused, or that failed. Subclasses are named after the reasons in docs/errors.md."""

    _reason = ""
    _meaning = ""
    _retry = ""

    def __init__(
        self,
        message: str,
        *,
        code: str = "UNKNOWN",
        reason: Optional[str] = None,
        metadata: Optional[Mapping[str, str]] = None,
        hint: Optional[str] = None,
        retry_after: Optional[float] = None,
    ) -> None:
        super().__init__(message)
        #: What the service said.
        self.message = message
        #: The canonical gRPC code, such as "FAILED_PRECONDITION".
        self.code = code
        #: The reason (docs/errors.md), or an empty string.
        self.reason = self._reason if reason is None else reason
        #: Facts about the failure: see "Metadata of ErrorInfo" in docs/errors.md.
        self.metadata: Dict[str, str] = dict(metadata or {})
        #: What to do about it.
        self.hint = hint if hint is not None else _hint(self)
        #: Seconds after which the same call may succeed, where the service said so.
        self.retry_after = retry_after

    def __str__(self) -> str:
        named = f"{self.message} [{self.reason}]" if self.reason else f"{self.message} [{self.code}]"
        return f"{named}; {self.hint}" if self.hint else named


class ConnectionFailedError(StationmasterError):
    """The service cannot be reached."""


class NoAnswerError(ConnectionFailedError):
    """The connection failed during a call: whether the service carried it out is not known."""


class VersionMismatchError(StationmasterError):
    """The service does not have a method of this client, or the other way round."""


def _hint(error: StationmasterError) -> str:
    metadata = error.metadata
    if "refusal_id" in metadata:
        return f"an administrator finds the cause in the audit log: stationmaster audit show --refusal {metadata['refusal_id']}"
    if error.reason in ("RPC_NOT_ALLOWED", "KEY_NOT_ALLOWED") and "principal" in metadata:
        who = metadata["principal"]
        return f"the caller's principal is {who}; an administrator grants access: stationmaster access allow {who} --role ROLE"
    if error.reason == "RUN_STATE" and metadata.get("run_id"):
        return f"stationmaster run show {metadata['run_id']} shows the run"
    return error._meaning
