"""Writes an investigation into a folder: events and objects as they come, beside their places and then moved there.

Rules of this file
- Parquet is for programs: every text as the log has it. CSV is for people, and safe in a spreadsheet (`spreadsheet`).
- Nothing is held but what is being written; strands of many objects lie in a temporary folder.
- What the disk refuses is told with the folder (`replay.output.writing`), whichever file it was.
"""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from detector.logs.parquet import without_dictionaries
from replay.columns import THREADS, timed
from replay.investigate.loss import Shelf
from replay.output import writing
from replay.spreadsheet import sheet, sheet_rows

if TYPE_CHECKING:
    import pyarrow as pa

Json = dict[str, Any]
OBJECT = (
    "bucket", "key", "prefix", "owner", "reads", "copies", "decrypts", "denied", "bytes", "first", "last", "versions",
    "nameless", "whole", "ranges", "source_ips", "vpc_endpoints", "how", "sessions", "because",
)  # fmt: skip
"""Columns of objects.parquet and objects.csv."""
PERSON = (
    "because", "session", "role", "account", "principal_type", "objects", "requests", "bytes", "refused", "first",
    "last", "access_keys",
)  # fmt: skip
"""Columns of people.csv."""
MORE_ROOM = "name a folder with more room with --tmp"


class Folder:
    """The output folder, which is there. tmp: for what has no room in memory; None: the system's temporary folder."""

    def __init__(self, folder: Path, tmp: Path | None = None) -> None:
        self._folder, self._tmp = folder, tmp
        self._done: list[Path] = []
        self._written: dict[str, Future[None]] = {}

    def __enter__(self) -> Self:
        with writing(self._folder), ExitStack() as stack:
            with writing(self._tmp or Path(tempfile.gettempdir()), MORE_ROOM):
                held = tempfile.TemporaryDirectory(prefix="bucketwatch-", dir=self._tmp)
            self._put_away = Path(stack.enter_context(held))
            self._events = stack.enter_context(_Parquet(self._part("events.parquet")))
            self._objects = stack.enter_context(_Parquet(self._part("objects.parquet")))
            self._sheet = stack.enter_context(self._part("objects.csv").open("wb"))
            self._sheet.write(sheet(OBJECT, ()).encode())
            self._threads = stack.enter_context(ThreadPoolExecutor(THREADS))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with writing(self._folder):
                with self._stack:
                    for written in self._written.values():
                        written.result()
                for path in self._done if kind is None else ():
                    _beside(path).replace(path)
        finally:
            for path in self._done:
                _beside(path).unlink(missing_ok=True)

    def events(self, table: pa.Table) -> None:
        """Write records."""
        self._later("events", lambda: self._events.write(without_dictionaries(table)))

    def objects(self, table: pa.Table) -> None:
        """Write objects."""
        table = table.select(list(OBJECT))
        self._later("objects", lambda: self._objects.write(table))
        self._later("sheet", lambda: self._sheet.write(sheet_rows(timed(table))))

    def _later(self, file: str, write: Callable[[], Any]) -> None:
        """Write on another thread, once what was handed over before for the same file is written."""
        with writing(self._folder):
            if file in self._written:
                self._written[file].result()
            self._written[file] = self._threads.submit(write)

    def people(self, rows: list[Json]) -> None:
        """Write who is in it."""
        self.text("people.csv", sheet(PERSON, rows))

    def shelf(self) -> Shelf:
        """A place for strands of many objects."""
        return Shelf(self._put, self._taken)

    def text(self, name: str, text: str) -> None:
        """Write a file."""
        with writing(self._folder):
            self._part(name).write_text(text, "utf-8", newline="\n")

    def json(self, name: str, value: Json) -> None:
        """Write a file of ASCII JSON: hostile text cannot break out of it."""
        self.text(name, json.dumps(value, indent=2) + "\n")

    def _part(self, name: str) -> Path:
        self._done.append(self._folder / name)
        return _beside(self._folder / name)

    def _put(self, part: int, table: pa.Table) -> None:
        from pyarrow import parquet

        number = sum(1 for _ in self._put_away.iterdir())
        with writing(self._put_away, MORE_ROOM):
            parquet.write_table(table, self._put_away / f"{part}-{number}.parquet")

    def _taken(self, part: int) -> list[pa.Table]:
        from pyarrow import parquet

        return [parquet.read_table(path) for path in sorted(self._put_away.glob(f"{part}-*.parquet"))]


def _beside(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


class _Parquet:
    """A Parquet file that is written piece by piece; without any piece it has no columns."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._writer: Any = None

    def __enter__(self) -> Self:
        return self

    def write(self, table: pa.Table) -> None:
        """Add rows."""
        from pyarrow import parquet

        if self._writer is None:
            self._writer = parquet.ParquetWriter(self._path, table.schema, compression="zstd")
        self._writer.write_table(table.cast(self._writer.schema))

    def __exit__(self, *_: object) -> None:
        import pyarrow as pa

        if self._writer is None:
            self.write(pa.table({}))
        self._writer.close()
