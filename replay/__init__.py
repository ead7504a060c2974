"""Historical logs through the same engine as the daemon's.

For notebooks: `replay(paths, rules)` gives findings, `scope_of_loss(who, paths)` what somebody took, as pandas
DataFrames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Loss", "replay", "scope_of_loss"]


def replay(
    paths: str | Path | Sequence[str | Path], rules: str | Path | None = None, *, model: bool = True
) -> pd.DataFrame:
    """Findings of the logs under these paths (files, folders, globs), by these rules (default: the shipped ones).

    One row a finding, columns as in findings.jsonl; times are UTC timestamps; `group`, `principal` and `evidence` are
    dicts. Raises detector.errors.InputError for what the caller should mend.
    """
    import pandas as pd

    from detector.errors import UnreadablePathError
    from detector.rules import load_rules, shipped
    from replay.run import Options, run

    every = [paths] if isinstance(paths, (str, Path)) else list(paths)
    result = run([str(p) for p in every], load_rules(Path(rules) if rules else shipped()), Options(model=model))
    if result.unknown:
        raise UnreadablePathError(result.unknown[0].reason, where=result.unknown[0].file.name)
    frame = pd.DataFrame([finding.to_json() for finding in result.findings])
    for column in ("opened_at", "last_at", "peak_at"):
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


class Loss(NamedTuple):
    """What somebody took. objects: one row an object; events: the records behind it; people: who; summary: all sums.

    Columns as in objects.parquet, events.parquet and people.csv; times are UTC timestamps. `because` says why a record
    or a person is in it.
    """

    objects: pd.DataFrame
    events: pd.DataFrame
    people: pd.DataFrame
    summary: dict[str, Any]


def scope_of_loss(
    who: str,
    paths: str | Path | Sequence[str | Path],
    *,
    owner: str | Sequence[str] = (),
    kind: str = "",
    findings: str | Path = "out/findings.jsonl",
    cache: str | Path | None = None,
) -> Loss:
    """What `bucketwatch investigate WHO PATH...` finds: session, role, address, access key or finding.

    owner: patterns such as `{contractor}/**`. kind: what WHO is, if its shape does not tell. findings: where a finding
    is looked up. cache: a folder that keeps what was read. Raises detector.errors.InputError for what to mend.
    """
    from replay.investigate.notebook import scope_of_loss as scoped

    every = [paths] if isinstance(paths, (str, Path)) else list(paths)
    patterns = [owner] if isinstance(owner, str) else list(owner)
    return Loss(*scoped(who, [*map(str, every)], patterns, kind, Path(findings), Path(cache) if cache else None))
