"""What people see of commands that read logs: a progress bar meanwhile, and at the end what went wrong on the way."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from replay.reader import Progress, Reads

DAMAGED_SHOWN = 20
"""Damaged files that are named."""


def progress_bar(*, quiet: bool) -> _Bar:
    """To be entered; gives what `Options.progress` is."""
    return _Bar(shown=not quiet and sys.stderr.isatty())


class _Bar:
    """A progress bar on a terminal; nothing elsewhere."""

    def __init__(self, *, shown: bool) -> None:
        self._shown = shown

    def __enter__(self) -> Progress:
        if not self._shown:
            return lambda *_: None
        from rich import progress as rich
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn

        self._bar = rich.Progress(
            TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("files"),
            TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            console=Console(stderr=True), transient=True,
        )  # fmt: skip
        self._bar.start()
        task = self._bar.add_task("reading", total=None, rate="")
        began: dict[str, float] = {}

        def show(done: int, total: int, size: int, count: int, step: str) -> None:
            seconds = time.monotonic() - began.setdefault(step, time.monotonic())
            rate = _rate(size, count, seconds) if seconds > 1 else ""
            self._bar.update(task, completed=done, total=total or None, description=step, rate=rate)

        return show

    def __exit__(self, *_: object) -> None:
        if self._shown:
            self._bar.stop()


def _rate(size: int, count: int, seconds: float) -> str:
    records = f"{count / seconds:,.0f} records/s" if count else ""
    return ", ".join(filter(None, (records, f"{size / seconds / 1e6:,.1f} MB/s" if size else "")))


def complain(reads: Reads, failures: Mapping[str, str] | None = None) -> None:
    """What went wrong on the way is said last and decides the exit status; the output is complete all the same."""
    from detector.errors import BucketwatchError, InputError, UnreadablePathError

    if failures:
        raise BucketwatchError(
            "; ".join(f"rule {rule} failed: {why}" for rule, why in sorted(failures.items())),
            remedy="its findings are incomplete; please report this",
        )
    if reads.unknown:
        first = reads.unknown[0]
        raise UnreadablePathError(
            first.reason, where=first.file.name, remedy="name CloudTrail, S3 access or audit logs"
        )
    if reads.damaged:
        listed = "\n".join(f"{read.file.name}: {read.damage}" for read in reads.damaged[:DAMAGED_SHOWN])
        raise InputError(
            f"{reads.damaged_count} damaged files, read as far as possible:\n{listed}",
            remedy="fetch them again; what could be read has been counted, the rest has not",
        )
