"""Historical logs through the same engine as the daemon's.

For notebooks: `replay(paths, rules)` gives findings, `records(paths)` the access records themselves,
`scope_of_loss(who, paths)` what somebody took, `access_review(paths)` who used what, as pandas DataFrames.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Loss", "Reviewed", "access_review", "records", "replay", "scope_of_loss"]

RECORD = ("time", "operation", "api", "outcome", "session", "role", "bucket", "key", "bytes", "source_ip")
"""Columns of a record that `records` gives if no others are asked for."""


def replay(
    paths: str | Path | Sequence[str | Path],
    rules: str | Path | None = None,
    *,
    model: bool = True,
    since: str = "",
    until: str = "",
    cache: str | Path | None = None,
) -> pd.DataFrame:
    """Findings of the logs under these paths (files, folders, globs, s3://bucket/prefix), by rules (default: shipped).

    One row a finding, columns as in findings.jsonl; times are UTC timestamps; `group`, `principal` and `evidence` are
    dicts. since, until: only records of this period (ISO 8601, UTC). cache: a folder that keeps what was read. Raises
    detector.errors.InputError for what the caller should mend.
    """
    import pandas as pd

    from detector.errors import UnreadablePathError
    from detector.rules import load_rules, shipped
    from replay.arguments import admission
    from replay.options import Options
    from replay.run import run

    chosen = load_rules(Path(rules) if rules else shipped())
    options = Options(admission(since, until), model=model, cache=Path(cache) if cache else None)
    result = run(_texts(paths), chosen, options)
    if unknown := result.reads.unknown:
        raise UnreadablePathError(unknown[0].reason, where=unknown[0].file.name)
    frame = pd.DataFrame([finding.to_json() for finding in result.findings])
    for column in ("opened_at", "last_at", "peak_at"):
        if column in frame:
            frame[column] = pd.to_datetime(frame[column], utc=True)
    return frame


def records(
    paths: str | Path | Sequence[str | Path],
    columns: Sequence[str] = RECORD,
    *,
    since: str = "",
    until: str = "",
    cache: str | Path | None = None,
) -> pd.DataFrame:
    """The access records of these logs, one row each, copies left out, in the order of time.

    columns: of access-record Parquet; each costs memory. Text is categorical where many rows are alike. since, until,
    cache: as in `replay`. Raises detector.errors.InputError for what the caller should mend.
    """
    from detector.errors import InputError
    from replay.arguments import admission
    from replay.cache.kept import kept
    from replay.options import Options

    options = Options(admission(since, until))
    with kept(_texts(paths), Path(cache) if cache else None, options) as found:
        logs = found.dataset()
        unknown = [name for name in columns if name not in logs.schema.names]
        if unknown:
            raise InputError(f"no columns of a record: {', '.join(unknown)}", remedy=", ".join(logs.schema.names))
        table = logs.to_table(columns=[*dict.fromkeys(["time", *columns])]).sort_by("time")
        return table.select(list(columns)).to_pandas()


def _texts(paths: str | Path | Sequence[str | Path]) -> list[str]:
    every = [paths] if isinstance(paths, (str, Path)) else list(paths)
    return [*map(str, every)]


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

    return Loss(*scoped(who, _texts(paths), _texts(owner), kind, Path(findings), Path(cache) if cache else None))


class Reviewed(NamedTuple):
    """Who used what. access: one row an identity and place, as in access.parquet. told: review.json. policies: texts of
    policies by file name.
    """

    access: pd.DataFrame
    told: dict[str, Any]
    policies: dict[str, str]


def access_review(
    paths: str | Path | Sequence[str | Path],
    *,
    roles: str | Path | Sequence[str | Path] = (),
    scope: str | Sequence[str] = (),
    owner: str | Sequence[str] = (),
    depth: int = 2,
    cache: str | Path | None = None,
) -> Reviewed:
    """What `bucketwatch review PATH...` finds.

    roles: files that list the roles there are. scope, owner: patterns as the command takes them. cache: a folder that
    keeps what was read. Raises detector.errors.InputError for what the caller should mend.
    """
    from replay.arguments import owners_of
    from replay.cache.kept import kept
    from replay.options import Options
    from replay.review.existing import existing
    from replay.review.run import Asked, review
    from replay.review.scope import Scopes, scope_of

    scopes = Scopes(tuple(map(scope_of, _texts(scope))), owners_of(_texts(owner)))
    asked = Asked(depth, scopes, existing(map(Path, _texts(roles))))
    with kept(_texts(paths), Path(cache) if cache else None, Options()) as found:
        done = review(found, asked)
    return Reviewed(done.access.to_pandas(), done.told, done.policies)
