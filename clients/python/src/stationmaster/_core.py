"""What both clients share: for each operation its method, its request, and how its answer is read."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Generic, Iterable, Iterator, Optional, Tuple, TypeVar, Union

from . import _generated as api
from . import _wire
from ._failure import Repetition
from ._results import ResultFiles

T = TypeVar("T")
Archive = Union[bytes, Iterable[bytes]]
ProgressCallback = Callable[[api.Progress], None]

#: Bytes of an archive per message; the service accepts requests of 64 KiB.
_PIECE = 48 * 1024


@dataclass
class Call(Generic[T]):
    """One call."""

    method: api.Method
    #: The request; for a client stream an iterable of requests.
    request: Any
    #: Takes a message of the answer, and returns the result with the last one.
    take: Callable[[Any], Optional[T]]
    #: Whether the call may be made again.
    repetition: Repetition
    #: The deadline in seconds, if the caller names none.
    timeout: float = 30.0

    def event(self, message: Any) -> "Tuple[Optional[api.Progress], Optional[T]]":
        """Reads a message of the answer: progress, or a result, or neither."""
        kinds = message.DESCRIPTOR.oneofs_by_name
        if "event" in kinds and message.WhichOneof("event") == "progress":
            return api.Progress._of(message.progress), None
        return None, self.take(message)


#: Deadline of operations that read or write whole images, in seconds.
_LONG = 4 * 3600.0


def _call(name: str, take: Callable[[Any], Optional[T]], repetition: Repetition, timeout: float = 30.0, **fields: Any) -> "Call[T]":
    method = api.METHODS[name]
    request = _wire.message(method.request)(**{key: value for key, value in fields.items() if value is not None})
    return Call(method, request, take, repetition, timeout)


def _last(kind: Any, field: str) -> Callable[[Any], Any]:
    """Reads the last message of a stream."""
    return lambda message: kind._of(getattr(message, field)) if message.WhichOneof("event") == field else None


def get_status() -> "Call[api.GetStatusResponse]":
    return _call("StatusService.GetStatus", api.GetStatusResponse._of, Repetition.HARMLESS)


def list_keys() -> "Call[Tuple[api.Key, ...]]":
    return _call("KeyService.ListKeys", lambda answer: tuple(api.Key._of(key) for key in answer.keys), Repetition.HARMLESS)


def get_key(label: str) -> "Call[api.Key]":
    return _call("KeyService.GetKey", lambda answer: api.Key._of(answer.key), Repetition.HARMLESS, label=label)


def sign(key: str, scheme: api.SignatureScheme, digest: Optional[bytes], message: Optional[bytes]) -> "Call[api.SignResponse]":
    return _call(
        "KeyService.Sign", api.SignResponse._of, Repetition.BEFORE_EFFECT, key_label=key, scheme=int(scheme), digest=digest, message=message
    )


def unwrap_key(key: str, scheme: api.WrappingScheme, wrapped_key: bytes) -> "Call[bytes]":
    return _call(
        "KeyService.UnwrapKey",
        lambda answer: bytes(answer.key),
        Repetition.BEFORE_EFFECT,
        key_label=key,
        scheme=int(scheme),
        wrapped_key=wrapped_key,
    )


def hash_image(image: str, train_only: bool) -> "Call[api.HashImageResult]":
    take = _last(api.HashImageResult, "result")
    return _call("ImageService.HashImage", take, Repetition.HARMLESS, _LONG, image=image, train_only=train_only)


def validate_image(image: str, master: Optional[str], as_train_lib: bool) -> "Call[api.ValidateImageResult]":
    take = _last(api.ValidateImageResult, "result")
    return _call("ImageService.ValidateImage", take, Repetition.HARMLESS, _LONG, image=image, master=master, as_train_lib=as_train_lib)


def inspect_train(image: str) -> "Call[api.InspectTrainResponse]":
    return _call("TrainService.InspectTrain", api.InspectTrainResponse._of, Repetition.HARMLESS, 300.0, image=image)


_INTO = {"image": 1, "volume": 2, "directory": 3}


def pre_run(image: str, into: str, idempotency_key: Optional[str]) -> "Call[api.PreRunOutcome]":
    if into not in _INTO:
        raise ValueError(f"into={into!r}: a train is opened into one of {', '.join(sorted(_INTO))}")
    take = _last(api.PreRunOutcome, "outcome")
    fields = {"image": image, "into": _INTO[into], "idempotency_key": idempotency_key}
    # Without a key the service derives one from the train: a repetition returns the same run.
    return _call("TrainService.PreRun", take, Repetition.HARMLESS, _LONG, **fields)


def post_run(run_id: Optional[str], image: Optional[str], no_results: bool) -> "Call[api.PostRunOutcome]":
    if not run_id and not image:
        raise ValueError("name the run, or the image with its results")
    take = _last(api.PostRunOutcome, "outcome")
    # A run that was sealed returns its outcome again.
    return _call("TrainService.PostRun", take, Repetition.HARMLESS, _LONG, run_id=run_id, image=image, no_results=no_results)


def abort_run(run_id: str) -> "Call[api.AbortRunResponse]":
    return _call("TrainService.AbortRun", api.AbortRunResponse._of, Repetition.HARMLESS, 600.0, run_id=run_id)


def check_push(image: str) -> "Call[api.CheckPushResult]":
    return _call("TrainService.CheckPush", _last(api.CheckPushResult, "result"), Repetition.HARMLESS, _LONG, image=image)


def verify_train(image: Optional[str], archive: Optional[Archive]) -> "Call[api.VerifyTrainResponse]":
    method = api.METHODS["TrainService.VerifyTrain"]
    parts = _parts(_wire.message(method.request), image, archive, ())
    return Call(method, parts, api.VerifyTrainResponse._of, _once(archive), _LONG)


def open_results(
    image: Optional[str], archive: Optional[Archive], to: Union[str, Path], paths: Iterable[str]
) -> "Call[api.OpenResultsOutcome]":
    method = api.METHODS["TrainService.OpenResults"]
    files = ResultFiles(Path(to))

    def take(message: Any) -> Optional[api.OpenResultsOutcome]:
        kind = message.WhichOneof("event")
        if kind == "file":
            files.begin(message.file.path, message.file.size)
        elif kind == "chunk":
            files.write(message.chunk)
        elif kind == "end":
            files.end(message.end.sha256)
        elif kind == "outcome":
            files.finish()
            return api.OpenResultsOutcome._of(message.outcome)
        return None

    return Call(method, _parts(_wire.message(method.request), image, archive, tuple(paths)), take, Repetition.NEVER, _LONG)


def _once(archive: Optional[Archive]) -> Repetition:
    """An archive that comes in pieces is used up by the first call."""
    return Repetition.HARMLESS if archive is None or isinstance(archive, (bytes, bytearray)) else Repetition.NEVER


class _Parts:
    """The requests of a client stream: an image, or the pieces of an archive."""

    def __init__(self, kind: Any, image: Optional[str], archive: Optional[Archive], paths: Tuple[str, ...]) -> None:
        if (image is None) == (archive is None):
            raise ValueError("name an image or an archive")
        self._kind, self._image, self._archive, self._paths = kind, image, archive, paths

    def __iter__(self) -> Iterator[Any]:
        more = {"paths": self._paths} if self._paths else {}
        if self._image is not None:
            yield self._kind(image=self._image, **more)
            return
        assert self._archive is not None
        pieces = (self._archive,) if isinstance(self._archive, (bytes, bytearray)) else self._archive
        for piece in pieces:
            for start in range(0, len(piece), _PIECE):
                yield self._kind(archive=bytes(piece[start : start + _PIECE]), **more)
                more = {}


def _parts(kind: Any, image: Optional[str], archive: Optional[Archive], paths: Tuple[str, ...]) -> _Parts:
    return _Parts(kind, image, archive, paths)
