"""A progress bar on a terminal, with tqdm if it is installed."""

from __future__ import annotations

import sys
from typing import Any, Callable, Optional, Union

from ._generated import Progress

ProgressOption = Union[None, bool, Callable[[Progress], None]]


class Reporter:
    """Passes progress to a callback; `True` is a bar, which is drawn on a terminal only."""

    def __init__(self, option: ProgressOption) -> None:
        self._callback = option if callable(option) else None
        self._bar: Optional[Any] = None
        self._step = ""
        self._tqdm: Optional[Any] = None
        if option is True and sys.stderr.isatty():
            try:
                from tqdm import tqdm
            except ImportError:
                pass
            else:
                self._tqdm = tqdm

    def __call__(self, progress: Progress) -> None:
        if self._callback is not None:
            self._callback(progress)
        if self._tqdm is None:
            return
        if self._bar is None or progress.step != self._step:
            self.close()
            self._step = progress.step
            self._bar = self._tqdm(total=progress.bytes_total or None, desc=progress.step, unit="B", unit_scale=True)
        self._bar.update(progress.bytes_done - self._bar.n)

    def close(self) -> None:
        if self._bar is not None:
            self._bar.close()
            self._bar = None
