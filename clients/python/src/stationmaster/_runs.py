"""A run of a train as a context: sealed at its end, aborted when it fails."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Optional, Type

from ._error import StationmasterError
from ._generated import PostRunOutcome, PreRunOutcome, RunUnchangedError

if TYPE_CHECKING:
    from .aio import AsyncClient
    from .client import Client


class TrainRun:
    """An opened train. Leaving the context seals it; an exception in the context aborts it.

    A train that cannot be sealed now, because the engine or a disk is not available or a key is not trusted, keeps its results: the
    run stays prepared, and `Client.post_run(run.prepared.run_id)` seals it later. A run that changed nothing is aborted.
    """

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
            except RunUnchangedError:
                self._abort()
                raise
        self._abort()

    def _abort(self) -> None:
        try:
            self._client.abort_run(self.prepared.run_id)
        except StationmasterError:
            # The error that led here is the one to report.
            pass


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
            except RunUnchangedError:
                await self._abort()
                raise
        await self._abort()

    async def _abort(self) -> None:
        try:
            await self._client.abort_run(self.prepared.run_id)
        except StationmasterError:
            # The error that led here is the one to report.
            pass
