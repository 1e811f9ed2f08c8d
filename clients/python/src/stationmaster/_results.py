"""Writes result files, each under its name only when it is whole and has the digest that the service sent."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path, PurePosixPath
from typing import Any, Optional

from ._error import StationmasterError


class ResultFiles:
    """Result files that arrive one after the other. The directory must be empty or not exist."""

    def __init__(self, directory: Path) -> None:
        if directory.exists() and any(directory.iterdir()):
            raise FileExistsError(f"{directory} is not empty")
        self._directory = directory
        self._file: Optional[Any] = None
        self._name = Path()
        self._left = 0
        self._digest = hashlib.sha256()

    def begin(self, path: str, size: int) -> None:
        parts = PurePosixPath(path).parts
        if not parts or path.startswith("/") or ".." in parts or "\\" in path or "\0" in path:
            raise StationmasterError(f"the service sent the path {path!r}, which leaves the directory", code="DATA_LOSS")
        self._name = self._directory.joinpath(*parts)
        self._name.parent.mkdir(parents=True, exist_ok=True)
        self._file = open(self._unfinished(), "xb", opener=_private)
        self._left, self._digest = size, hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        if self._file is None or len(chunk) > self._left:
            raise StationmasterError("the service sent more of a file than it announced", code="DATA_LOSS")
        self._file.write(chunk)
        self._digest.update(chunk)
        self._left -= len(chunk)

    def end(self, sha256: bytes) -> None:
        if self._file is None or self._left or self._digest.digest() != sha256:
            raise StationmasterError(f"{self._name.name} does not have the announced size and digest", code="DATA_LOSS")
        self._file.close()
        self._file = None
        os.rename(self._unfinished(), self._name)

    def finish(self) -> None:
        if self._file is not None:
            raise StationmasterError("the service sent an outcome before the end of a file", code="DATA_LOSS")
        self._directory.mkdir(parents=True, exist_ok=True)

    def _unfinished(self) -> Path:
        return self._name.with_name(self._name.name + ".unfinished")


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)
