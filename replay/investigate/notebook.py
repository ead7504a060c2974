"""An investigation as DataFrames. The files of the command are written to a temporary folder, and read from there."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from replay.arguments import owners_of
from replay.cache.kept import kept
from replay.investigate.asking import logs_of, who_of
from replay.investigate.scope import Question, scope
from replay.investigate.written import PERSON, Folder
from replay.options import Options

if TYPE_CHECKING:
    import pyarrow as pa


class _Held(Folder):
    """The output folder, and the people as they were handed over."""

    people_rows: list[dict[str, Any]]

    def people(self, rows: list[dict[str, Any]]) -> None:
        """Keep who is in it."""
        self.people_rows = rows


def scope_of_loss(
    who: str, paths: Sequence[str], owner: Sequence[str], kind: str, findings: Path, cache: Path | None
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, dict[str, Any]]:
    """Objects, events, people and the summary. Raises InputError."""
    asked = Question(who_of(who, kind, findings), who, owners_of(owner))
    with tempfile.TemporaryDirectory(prefix="bucketwatch-") as name:
        folder = Path(name)
        with kept(paths, cache, Options()) as records, _Held(folder) as out:
            summary = scope(records.indexed, asked, out) | {"logs": logs_of(records)}
        objects, events = (_frame(folder / f"{table}.parquet") for table in ("objects", "events"))
    people = pd.DataFrame(out.people_rows, columns=list(PERSON))
    for column in ("first", "last"):
        people[column] = pd.to_datetime(people[column], utc=True)
    return objects, events, people, summary


def _frame(path: Path) -> pd.DataFrame:
    from pyarrow import parquet

    table: pa.Table = parquet.read_table(path)
    frame: pd.DataFrame = table.to_pandas()
    return frame
