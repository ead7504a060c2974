"""Writes into one folder what a replay found: findings, incidents, summary, rejected records, files read, report.

Every file is written beside its place and then moved there, so that no reader ever sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Generic, Self, TypeVar

from detector.core.access import Reject
from detector.errors import UnreadablePathError
from replay.reader import FileRead

if TYPE_CHECKING:
    from detector.learnt import Learnt
    from replay.run import Result

T = TypeVar("T")

Json = dict[str, Any]


@contextmanager
def writing(place: Path, remedy: str = "name another folder with --out") -> Iterator[None]:
    """For what is written there. Raises UnreadablePathError for what the disk refuses (it is full, or not ours)."""
    try:
        yield
    except OSError as error:
        raise UnreadablePathError(
            f"cannot write here: {error.strerror or error}", where=str(place), remedy=remedy
        ) from error


def prepare(folder: Path) -> None:
    """Make the output folder, or say why it cannot be written to."""
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".bucketwatch"
        probe.write_text("")
        probe.unlink()


def write(result: Result, folder: Path, *, report: bool) -> None:
    """Write all output files. Lines are ASCII JSON: hostile text cannot break out of one."""
    write_file(folder / "findings.jsonl", _lines(finding.to_json() for finding in result.findings))
    write_file(folder / "incidents.jsonl", _lines(incident.to_json() for incident in result.incidents))
    write_file(folder / "summary.json", json.dumps(result.summary, indent=2) + "\n")
    if report:
        from replay.report import render

        write_file(folder / "report.html", render(result))


def write_learnt(learnt: Learnt, path: Path) -> None:
    """Write what baselines have learned. Raises UnreadablePathError."""
    from detector.learnt import encode

    with writing(path, "name another file with --learn"):
        part = _part(path)
        part.write_bytes(encode(learnt))
        part.replace(path)


QUOTED = frozenset({"bad_event_time"})
"""Reasons whose detail is a text of the record."""


class Lines(Generic[T]):
    """A file of lines, written as what they tell of comes: there may be any amount of it. sha256: of all of it."""

    def __init__(self, path: Path, line: Callable[[T], str]) -> None:
        self._path, self._line = path, line
        self.sha256 = sha256()
        self._part = _part(path)

    def __enter__(self) -> Self:
        with writing(self._path):
            self._file = self._part.open("w", encoding="utf-8", newline="\n")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with writing(self._path):
            self._file.close()
            if kind is None:
                self._part.replace(self._path)
            else:
                self._part.unlink()

    def take(self, some: Iterable[T] | None) -> None:
        """Write these; None: start anew."""
        with writing(self._path):
            if some is None:
                self._file.seek(0)
                self._file.truncate()
                self.sha256 = sha256()
            else:
                text = "".join(map(self._line, some))
                self.sha256.update(text.encode())
                self._file.write(text)


def rejected(folder: Path, *, hide: bool = False) -> Lines[Reject]:
    """rejected.jsonl.

    hide: where keys are redacted, no text of the records themselves is shown: a broken one may have a key anywhere.
    """

    def line(one: Reject) -> str:
        detail = "" if hide and one.reason in QUOTED else one.detail
        return _lines([{"file": one.file, "position": one.position, "reason": one.reason, "detail": detail}])

    return Lines(folder / "rejected.jsonl", line)


def inputs(folder: Path) -> Lines[FileRead]:
    """inputs.jsonl: the files that were read, each with its checksum."""
    return Lines(folder / "inputs.jsonl", lambda read: read.line)


def _lines(rows: Iterable[Json]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file whole, beside its place first. Raises UnreadablePathError."""
    with writing(path):
        part = _part(path)
        part.write_bytes(content.encode() if isinstance(content, str) else content)
        part.replace(path)


def _part(path: Path) -> Path:
    return path.with_name(path.name + ".part")
