"""The access review as a whole: from kept records to what is told, and its files."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from detector.core.amounts import counted
from detector.core.redaction import Redaction, folder_redacted, hashed
from detector.core.times import iso_or_none
from replay.columns import timed
from replay.output import write_file, writing
from replay.review import judged
from replay.review.access import COLUMNS, access
from replay.review.existing import Existing
from replay.review.judged import Json, Period
from replay.review.scope import Scopes
from replay.review.suggested import Suggested, suggested
from replay.review.usage import Usage, usage
from replay.spreadsheet import sheet, sheet_rows

if TYPE_CHECKING:
    import pyarrow as pa

    from replay.cache.kept import Kept


@dataclass(frozen=True, slots=True)
class Asked:
    """What a review is to look at. depth: how many folders of a key are told apart. roles: those that there are."""

    depth: int = 2
    scopes: Scopes = field(default_factory=Scopes)
    roles: Sequence[Existing] = ()
    redact: Redaction = "none"


@dataclass(frozen=True, slots=True)
class Review:
    """told: review.json. access: the table of access. policies: text of each policy by file name."""

    told: Json
    access: pa.Table
    policies: dict[str, str]


def review(kept: Kept, asked: Asked) -> Review:
    """Review what was used, of kept records."""
    used = usage(kept, asked.depth, asked.scopes)
    if asked.redact == "hash":
        _hide(used)
    period = Period(kept.books.first_event_time, kept.books.last_event_time)
    made = suggested(used) if asked.redact != "hash" else Suggested([], {}, 0)
    found: Json = {"roles": judged.roles(used, period)}
    found |= {
        "unused": judged.unused(asked.roles, found["roles"], period),
        "only_assumed": judged.only_assumed(used, found["roles"]),
        "long_lived": judged.long_lived(used),
        "cross_scope": judged.cross_scope(used),
        "several_owners": judged.several_owners(used),
        "purposes": judged.purposes(used),
    }
    head = {
        "schema": "bucketwatch.review.v1",
        "period": {"first": iso_or_none(period.first), "last": iso_or_none(period.last), "days": period.days},
        "access_events": kept.books.access_events,
        "records": kept.books.records,
        "roles_listed": len(asked.roles),
        "remarks": list(_remarks(kept, asked, made)),
    }
    told = head | {"tighten": judged.advice(found)} | found | {"policies": made.told, "policies_left_away": made.more}
    return Review(told, access(used), made.files)


def _hide(used: Usage) -> None:
    """Hash what is made of keys: folders, and owners, who are a part of them."""
    used.places = [(bucket, folder_redacted(prefix)) for bucket, prefix in used.places]
    if (owners := used.sides.get("owners")) is not None:
        owners.keys = [(by, hashed(owner)) for by, owner in owners.keys]


def _remarks(kept: Kept, asked: Asked, made: Suggested) -> Iterator[str]:
    """What a reader has to know before believing the rest."""
    rejected, damaged = kept.books.rejected.total(), kept.reads.damaged_count
    unread = [f"{counted(rejected, 'record')} could not be read"] * bool(rejected)
    unread += [f"{counted(damaged, 'file')} could be read only in part"] * bool(damaged)
    if unread:
        yield f"{' and '.join(unread)}: what they say is not here"
    if len({log.name for log in kept.logs} & {"cloudtrail", "server_access"}) == 2:
        yield "CloudTrail and access logs were read: a request that both tell of counts twice; see --prefer"
    if not asked.roles:
        yield "without a list of the roles there are (--roles), one that was never used cannot be named"
    for rule, columns in asked.scopes.not_judged.items():
        yield f"rule {rule} looks at {', '.join(columns)} and was not judged"
    if asked.redact == "hash":
        yield "folders are hashed, so there are no policies"
    if made.more:
        yield f"{made.more:,} more policies were left away"


def write(done: Review, folder: Path) -> None:
    """Write all files of a review into a folder that is there. Policies of an earlier review are taken away.

    Raises UnreadablePathError.
    """
    with writing(folder):
        _write(done, folder)


def _write(done: Review, folder: Path) -> None:
    from pyarrow import parquet

    from replay.review.page import page

    part = folder / "access.parquet.part"
    parquet.write_table(done.access, part, compression="zstd")
    part.replace(folder / "access.parquet")
    write_file(folder / "access.csv", sheet(COLUMNS, ()).encode() + sheet_rows(timed(done.access)))
    write_file(folder / "review.json", text(done.told))
    write_file(folder / "review.html", page(done.told))
    policies = folder / "policies"
    policies.mkdir(exist_ok=True)
    for old in policies.glob("*.json"):
        if old.name not in done.policies:
            old.unlink()
    for name, policy in done.policies.items():
        write_file(policies / name, policy + "\n")


def text(told: Any) -> str:
    """JSON in ASCII: hostile text cannot break out of it."""
    return json.dumps(told, indent=1) + "\n"
