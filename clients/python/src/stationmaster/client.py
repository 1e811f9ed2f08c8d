"""The client for programs without asyncio."""

from __future__ import annotations

import time
from pathlib import Path
from types import TracebackType
from typing import Any, Callable, Iterable, Optional, Tuple, Type, TypeVar, Union

import grpc

from . import _core as core
from . import _generated as api
from . import _wire
from ._channel import Endpoint
from ._failure import error_of, pause_before_retry, socket_error
from ._progress import ProgressOption, Reporter
from ._runs import TrainRun

T = TypeVar("T")


class Client:
    """A connection to the service, over its Unix socket or mutual TLS. Threads may share it.

    Arguments that are not given come from STATIONMASTER_ADDRESS, STATIONMASTER_TLS_CA, STATIONMASTER_TLS_CERT and
    STATIONMASTER_TLS_KEY; the default is the socket /run/stationmaster/api.sock.

    Every method has a deadline (`timeout`, in seconds): 30 seconds, or four hours where whole images are read or written. Within it, a
    call is repeated if the service names a time after which it may succeed, or does not answer, and a second call does no harm; one
    that uses a key only if it was refused before that. All failures are `StationmasterError`.
    """

    def __init__(
        self,
        address: Optional[str] = None,
        *,
        tls_ca: Optional[str] = None,
        tls_cert: Optional[str] = None,
        tls_key: Optional[str] = None,
    ) -> None:
        self._endpoint = Endpoint.of(address, tls_ca, tls_cert, tls_key)
        credentials, options = self._endpoint.credentials(), self._endpoint.options()
        if credentials is None:
            self._channel = grpc.insecure_channel(self._endpoint.target(), options)
        else:
            self._channel = grpc.secure_channel(self._endpoint.target(), credentials, options)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        self._channel.close()

    @property
    def address(self) -> str:
        """The service's address."""
        return self._endpoint.address

    def status(self, *, timeout: Optional[float] = None) -> api.GetStatusResponse:
        """Returns whether the service is serving, and the state of each component."""
        return self._run(core.get_status(), timeout=timeout)

    def keys(self, *, timeout: Optional[float] = None) -> Tuple[api.Key, ...]:
        """Lists the keys that this caller may see."""
        return self._run(core.list_keys(), timeout=timeout)

    def key(self, label: str, *, timeout: Optional[float] = None) -> api.Key:
        """Returns a key by its label or PKCS#11 URI."""
        return self._run(core.get_key(label), timeout=timeout)

    def sign(
        self,
        key: str,
        scheme: api.SignatureScheme,
        digest: Optional[bytes] = None,
        *,
        message: Optional[bytes] = None,
        timeout: Optional[float] = None,
    ) -> api.SignResponse:
        """Signs a digest (32, 48 or 64 bytes); for Ed25519 a message of at most 32 KiB. Not repeated once the key may have been used."""
        return self._run(core.sign(key, scheme, digest, message), timeout=timeout)

    def unwrap_key(
        self, key: str, scheme: api.WrappingScheme, wrapped_key: bytes, *, timeout: Optional[float] = None
    ) -> bytes:
        """Unwraps a symmetric key."""
        return self._run(core.unwrap_key(key, scheme, wrapped_key), timeout=timeout)

    def hash_image(
        self, image: str, *, train_only: bool = False, progress: ProgressOption = None, timeout: Optional[float] = None
    ) -> api.HashImageResult:
        """Computes the digests of an image."""
        return self._run(core.hash_image(image, train_only), progress, timeout)

    def validate_image(
        self,
        image: str,
        master: Optional[str] = None,
        *,
        as_train_lib: bool = False,
        progress: ProgressOption = None,
        timeout: Optional[float] = None,
    ) -> api.ValidateImageResult:
        """Checks that an image is an allowed master plus a train and nothing else."""
        return self._run(core.validate_image(image, master, as_train_lib), progress, timeout)

    def inspect_train(self, image: str, *, timeout: Optional[float] = None) -> api.InspectTrainResponse:
        """Returns what a train states about itself. Nothing of it is verified, and no key is used."""
        return self._run(core.inspect_train(image), timeout=timeout)

    def verify_train(
        self, image: Optional[str] = None, *, archive: Optional[core.Archive] = None, timeout: Optional[float] = None
    ) -> api.VerifyTrainResponse:
        """Verifies a train rule by rule without a private key: an image, or an uncompressed tar archive in pieces."""
        return self._run(core.verify_train(image, archive), timeout=timeout)

    def pre_run(
        self,
        image: str,
        *,
        into: str = "image",
        idempotency_key: Optional[str] = None,
        progress: ProgressOption = None,
        timeout: Optional[float] = None,
    ) -> api.PreRunOutcome:
        """Verifies and opens a train into "image", "volume" or "directory". The same call again returns the same run."""
        return self._run(core.pre_run(image, into, idempotency_key), progress, timeout)

    def post_run(
        self,
        run_id: Optional[str] = None,
        *,
        image: Optional[str] = None,
        no_results: bool = False,
        progress: ProgressOption = None,
        timeout: Optional[float] = None,
    ) -> api.PostRunOutcome:
        """Seals and signs a train: the run, or the one prepared run of the train in `image`."""
        return self._run(core.post_run(run_id, image, no_results), progress, timeout)

    def abort_run(self, run_id: str, *, timeout: Optional[float] = None) -> api.AbortRunResponse:
        """Ends a run without results, and removes its plaintext."""
        return self._run(core.abort_run(run_id), timeout=timeout)

    def check_push(
        self, image: str, *, progress: ProgressOption = None, timeout: Optional[float] = None
    ) -> api.CheckPushResult:
        """Checks that an image may leave the station: no layer may contain plaintext."""
        return self._run(core.check_push(image), progress, timeout)

    def open_results(
        self,
        to: Union[str, Path],
        image: Optional[str] = None,
        *,
        archive: Optional[core.Archive] = None,
        paths: Iterable[str] = (),
        progress: ProgressOption = None,
        timeout: Optional[float] = None,
    ) -> api.OpenResultsOutcome:
        """Writes verified results of a train into an empty or new directory, for a caller with a grant."""
        return self._run(core.open_results(image, archive, to, paths), progress, timeout)

    def open_train(
        self,
        image: str,
        *,
        into: str = "image",
        idempotency_key: Optional[str] = None,
        no_results: bool = False,
        progress: ProgressOption = None,
    ) -> TrainRun:
        """Opens a train for a `with` statement, whose end seals it, and whose failure aborts it."""
        prepared = self.pre_run(image, into=into, idempotency_key=idempotency_key, progress=progress)
        return TrainRun(self, prepared, no_results)

    def run_train(
        self, image: str, run: Callable[[api.PreRunOutcome], Optional[str]], *, into: str = "image", no_results: bool = False
    ) -> api.PostRunOutcome:
        """Opens a train, calls `run`, and seals the train; aborts the run if `run` raises. `run` may return another image with the results."""
        with self.open_train(image, into=into, no_results=no_results) as opened:
            opened.image = run(opened.prepared)
        assert opened.outcome is not None
        return opened.outcome

    def _run(self, call: core.Call[T], progress: ProgressOption = None, timeout: Optional[float] = None) -> T:
        end = time.monotonic() + (call.timeout if timeout is None else timeout)
        unusable = socket_error(self._endpoint.target())
        if unusable is not None:
            raise unusable
        attempt = 0
        while True:
            try:
                return self._once(call, progress, max(end - time.monotonic(), 0.001))
            except grpc.RpcError as error:
                failure = error_of(error, self._endpoint.target())
            pause = pause_before_retry(failure, call.repetition, attempt, end - time.monotonic())
            if pause is None:
                raise failure
            attempt += 1
            time.sleep(pause)

    def _once(self, call: core.Call[T], progress: ProgressOption, timeout: float) -> T:
        method = call.method
        kinds = {
            (False, False): self._channel.unary_unary,
            (False, True): self._channel.unary_stream,
            (True, False): self._channel.stream_unary,
            (True, True): self._channel.stream_stream,
        }
        make: Any = kinds[method.client_streams, method.server_streams]
        start = make(
            method.path,
            request_serializer=_wire.message(method.request).SerializeToString,
            response_deserializer=_wire.message(method.response).FromString,
        )
        request = iter(call.request) if method.client_streams else call.request
        answer = start(request, timeout=timeout)
        if not method.server_streams:
            result = call.take(answer)
            assert result is not None
            return result
        reporter = Reporter(progress)
        try:
            for message in answer:
                step, result = call.event(message)
                if step is not None:
                    reporter(step)
                elif result is not None:
                    return result
        finally:
            reporter.close()
            answer.cancel()
        raise api.CancelledError("the service ended the stream without a result", code="CANCELLED")
