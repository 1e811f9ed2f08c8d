"""A run of a train as a context: sealed at its end, aborted when it fails."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, Optional, Type

from ._error import StationmasterError
from ._generated import PostRunOutcome, PreRunOutcome

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .client import Client


class TrainRun:
    """An opened train. Leaving the context seals it; an exception in the context aborts it."""

    def __init__(self, client: Client, prepared: PreRunOutcome, no_results: bool) -> None:
        self._client, self._no_results = client, no_results
        #: What PreRun returned: image, mounts, query.
        self.prepared = prepared
        #: The image with the results, if it is another one than the image that was opened.
        self.image: Optional[str] = None
        #: What PostRun returned, after the end of the context.
        self.outcome: Optional[PostRunOutcome] = None

    def __enter__(self) -> TrainRun:
        return self

    def __exit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            try:
                self.outcome = self._client.post_run(self.prepared.run_id, image=self.image, no_results=self._no_results)
                return
            except StationmasterError:
                _quietly(self._client.abort_run, self.prepared.run_id)
                raise
        _quietly(self._client.abort_run, self.prepared.run_id)


class AsyncTrainRun:
    """As `TrainRun`, for asyncio."""

    def __init__(self, client: AsyncClient, prepared: PreRunOutcome, no_results: bool) -> None:
        self._client, self._no_results = client, no_results
        self.prepared = prepared
        self.image: Optional[str] = None
        self.outcome: Optional[PostRunOutcome] = None

    async def __aenter__(self) -> AsyncTrainRun:
        return self

    async def __aexit__(
        self, kind: Optional[Type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        if error is None:
            try:
                self.outcome = await self._client.post_run(self.prepared.run_id, image=self.image, no_results=self._no_results)
                return
            except StationmasterError:
                await self._abort()
                raise
        await self._abort()

    async def _abort(self) -> None:
        try:
            await self._client.abort_run(self.prepared.run_id)
        except StationmasterError:
            # The error that led here is the one to report; the service ends open runs of its own accord when they expire.
            pass


def _quietly(abort: Any, run_id: str) -> None:
    try:
        abort(run_id)
    except StationmasterError:
        pass
