"""An investigation from kept records to what is written: who is followed, their records, what they add up to.

What cannot be known is said (`limits`): a page that tells a loss has to tell its limits, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from detector.core.access import I8
from detector.core.finding import prefix_of
from detector.core.net import net_of_ip
from detector.core.redaction import Redaction, hashed
from detector.core.times import iso, iso_or_none
from detector.errors import InputError
from replay.cache.indexed import Indexed
from replay.columns import Piece, taken, together
from replay.investigate.follow import ABOUT, FEW, Followed
from replay.investigate.limits import cannot_show
from replay.investigate.loss import (
    OF_ACT,
    OF_DENIED,
    OF_OBJECTS,
    OF_PERSON,
    OF_SOURCE,
    PART,
    Shelf,
    Strands,
    Tally,
    named,
    prepared,
    where,
)
from replay.investigate.reach import SAID, Why
from replay.investigate.select import Copied, chosen, events, known, told
from replay.investigate.who import Who, near

if TYPE_CHECKING:
    import pyarrow as pa

    from detector.core.owner import Owners

Json = dict[str, Any]
SCHEMA = "bucketwatch.loss.v1"
TWICE = ("cloudtrail", "server_access")
"""Logs that tell of the same requests, which are not merged."""
SHOWN = 100
"""Rows of a list in the summary; the files have all."""


class Out(Protocol):
    """Where records, objects and people go, as they come."""

    def events(self, table: pa.Table) -> None: ...
    def objects(self, table: pa.Table) -> None: ...
    def people(self, rows: list[Json]) -> None: ...
    def shelf(self) -> Shelf:
        """Where strands of many objects are put away."""


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked. text: WHO as it was given. since, until: epoch seconds; None: all there is."""

    who: Who
    text: str
    owners: Owners | None = None
    since: int | None = None
    until: int | None = None
    redact: Redaction = "none"


def scope(parts: Sequence[Indexed], asked: Question, out: Out) -> Json:
    """What was lost, as it is told in summary.json. Raises InputError if nobody is there whom the question is about."""
    reach, followed, uses = chosen(parts, asked.who, asked.since, asked.until)
    if not uses:
        raise _nobody(parts, asked)
    sums = _Sums(asked, sum(span.requests for span in uses.values()), out)
    copies: dict[str, Copied] = {}
    for table in events(parts, reach, copies):
        sums.take(table)
        out.events(redacted(table, asked.redact))
    summary = sums.told(sums.finish(out)) | {
        "followed": _followed(followed),
        "copied_to": told(copies),
    }
    return summary | {"cannot_show": list(cannot_show(summary))}


class _Sums:
    """Everything that is added up of the records."""

    def __init__(self, asked: Question, requests: int, out: Out) -> None:
        self._asked = asked
        self._strands = Strands(1 + requests // PART, out.shelf())
        self._people, self._acts = Tally(OF_PERSON), Tally(OF_ACT)
        self._denied, self._sources = Tally(OF_DENIED), Tally(OF_SOURCE)
        self._how = Tally(("how", "because"))
        self._keys: dict[tuple[str | None, str | None], set[str]] = {}
        self._logs: dict[str | None, set[str | None]] = {}
        self._of_bucket, self._of_prefix = Tally(("bucket",), OF_OBJECTS), Tally(("bucket", "prefix"), OF_OBJECTS)
        self._of_owner = Tally(("owner",), OF_OBJECTS)
        self._objects: dict[tuple[str | None, str | None], int] = {}
        self._by_why = np.zeros(len(Why), np.int64)
        self._said: list[Json] = []

    def take(self, table: pa.Table) -> None:
        """Add records."""
        some = prepared(table)
        strands = where(some, "strand")
        self._strands.take(some, strands)
        for tally in (self._people, self._acts, self._sources):
            tally.take(some)
        self._denied.take(some, where(some, "refused"))
        self._how.take(some, strands)
        self._credentials(some)
        for bucket, log in together([some.text(name).take(strands) for name in ("bucket", "log")])[1]:
            self._logs.setdefault(bucket, set()).add(log)

    def _credentials(self, piece: Piece) -> None:
        """Which access keys each session used."""
        for session, because, key in together([piece.text(name) for name in ("session", "because", "access_key")])[1]:
            if key is not None:
                self._keys.setdefault((session, because), set()).add(key)

    def finish(self, out: Out) -> list[Json]:
        """Add up the objects and hand them over, then the people: these."""
        import pyarrow as pa

        for part in self._strands.finish():
            table = named(part.objects.filter(part.objects["left"]).drop_columns(["left"]), self._asked.owners)
            strongest = _strongest(table)
            lost = taken(table, np.flatnonzero(strongest > Why.copy))
            counted = Piece(lost.append_column("objects", pa.array(np.ones(len(lost), np.int64))))
            for tally in (self._of_bucket, self._of_prefix, self._of_owner):
                tally.take(counted)
            for row in part.by_session.to_pylist():
                pair = (row["session"], row["because"])
                self._objects[pair] = self._objects.get(pair, 0) + row["objects"]
            self._said.append(
                _sums_of(lost)
                | {"copies_read": len(table) - len(lost), "only_asked_for": part.objects.num_rows - len(table)}
            )
            self._by_why += np.bincount(strongest, minlength=len(Why))
            out.objects(redacted(table, self._asked.redact))
        people = self._everybody()
        out.people(people)
        return people

    def _everybody(self) -> list[Json]:
        rows = []
        for row in self._people.rows():
            pair = (row["session"], row["because"])
            keys = sorted(self._keys.get(pair, ()))
            rows.append(row | {"objects": self._objects.get(pair, 0), "access_keys": keys})
        order = {why.name: -why for why in Why}
        return sorted(rows, key=lambda row: (order[row["because"]], -row["objects"], row["session"] or ""))

    def told(self, people: list[Json]) -> Json:
        """The sums, for summary.json."""
        total = {name: sum(one[name] for one in self._said) for name in _SUMMED}
        buckets, owners = _by_objects(self._of_bucket.rows()), self._of_owner.rows()
        owned = _by_objects([row for row in owners if row["owner"] is not None])
        return {
            "schema": SCHEMA,
            "who": _asked(self._asked),
            "period": {"since": iso_or_none(self._asked.since), "until": iso_or_none(self._asked.until)},
            **_span(self._acts.rows()),
            **total,
            "bytes_at_least": total["copies"] > 0 or total["decrypts_only"] > 0,
            "loss": _span(buckets),
            "logged_twice": sorted(one or "" for one, logs in self._logs.items() if {*TWICE} <= logs),
            "buckets": buckets[:SHOWN],
            "buckets_count": len(buckets),
            **_prefixes(self._of_prefix, self._asked.redact),
            "owners": {
                "pattern": list(self._asked.owners.patterns) if self._asked.owners else None,
                "count": len(owned) if self._asked.owners else None,
                "objects_without": sum(row["objects"] for row in owners if row["owner"] is None),
                "shown": owned[:SHOWN],
            },
            "people": people[:SHOWN],
            "people_count": len({row["session"] for row in people}),
            "by_reason": self._by_reason(people),
            **_sources(self._sources.rows()),
            "how": sorted(self._how.rows(), key=lambda row: -row["requests"]),
            "acts": self._acts.rows()[:SHOWN],
            "denied": sorted(self._denied.rows(), key=_most)[:SHOWN],
        }

    def _by_reason(self, people: list[Json]) -> list[Json]:
        found = []
        for why in reversed(Why):
            some = [row for row in people if row["because"] == why.name]
            if some:
                found.append(
                    {"because": why.name, "means": SAID[why], "sessions": len(some), "objects": int(self._by_why[why])}
                    | {name: sum(row[name] for row in some) for name in ("requests", "bytes", "refused")}
                )
        return found


_SUMMED = (
    "objects", "reads", "copies", "decrypts", "decrypts_only", "bytes", "versions", "version_unknown", "ranges_only",
    "whole_unknown", "copies_read", "only_asked_for",
)  # fmt: skip
"""Sums over objects. copies_read: copies that others read; only_asked_for: objects that were refused. Both are beside
`objects`, the others among them.
"""


def _strongest(objects: pa.Table) -> I8:
    """Of each object the strongest reason for which it was reached."""
    lists: Any = objects["because"].combine_chunks()
    texts = lists.flatten().dictionary_encode()
    codes = np.array([Why[text] for text in texts.dictionary.to_pylist()], np.int8)[texts.indices.to_numpy()]
    return np.maximum.reduceat(codes, lists.offsets.to_numpy()[:-1]) if len(lists) else codes


def _sums_of(objects: pa.Table) -> Json:
    """Sums over a part's objects."""
    import pyarrow.compute as pc

    def total(name: str) -> int:
        return int(pc.sum(objects[name]).as_py() or 0)

    reads, copies, whole, ranges = (objects[name].to_numpy() for name in ("reads", "copies", "whole", "ranges"))
    return {name: total(name) for name in ("reads", "copies", "decrypts", "bytes")} | {
        "objects": objects.num_rows,
        "decrypts_only": int(((reads == 0) & (copies == 0)).sum()),
        "versions": int(pc.sum(pc.list_value_length(objects["versions"])).as_py() or 0),
        "version_unknown": int((objects["nameless"].to_numpy() > 0).sum()),
        "ranges_only": int(((reads > 0) & (copies == 0) & (ranges == reads)).sum()),
        "whole_unknown": int(((reads > 0) & (copies == 0) & (whole == 0) & (ranges < reads)).sum()),
    }


def redacted(table: pa.Table, redact: Redaction) -> pa.Table:
    """The same, with of keys only what may leave."""
    import pyarrow as pa

    change: Callable[[str], str] = prefix_of if redact == "prefix" else hashed
    names = ["key", "destination_key", *(["prefix"] if redact == "hash" else [])] if redact != "none" else []
    for name in names:
        if name in table.column_names:
            texts = [None if text is None else change(text) for text in table[name].to_pylist()]
            table = table.set_column(table.column_names.index(name), name, pa.array(texts, pa.string()))
    return table


def _nobody(parts: Sequence[Indexed], asked: Question) -> InputError:
    """Nobody is there: names that are like the one asked for help on."""
    alike = near(asked.who.texts[0], known(parts, asked.who.columns))
    shown = "".join(f"\n    {ascii(name)[1:-1]}" for name in alike)
    within = " in that time" if asked.since is not None or asked.until is not None else ""
    return InputError(
        f"no record{within} of {asked.who.kind} '{ascii(asked.who.texts[0])[1:-1][:200]}'",
        where="WHO",
        remedy=f"nearest in these logs:{shown}" if alike else "check the name, the period, and that these are the logs",
    )


def _asked(asked: Question) -> Json:
    who = asked.who
    told: Json = {"asked": asked.text, "kind": "incident" if who.also else who.kind, "names": list(who.names)}
    if who.finding:
        told |= {name: who.finding.get(name) for name in ("finding_id", "rule_id", "title")}
    if who.lost:
        told["findings_lost"] = list(who.lost)
    return told


def _followed(found: Followed) -> Json:
    chain = sorted(found.begun.values())
    return {
        "rule": f"others are followed only if at most {FEW} came the same way within {ABOUT // 3600} hours, and no "
        "more than are followed",
        "chain": [
            {
                "at": iso(one.time),
                "caller": one.shown,
                "began": one.arn,
                "access_key": one.access_key,
                "from": one.address,
            }
            for one in chain[:SHOWN]
        ],
        "chain_count": len(chain),
        "callers": found.callers[:SHOWN],
        "addresses": found.addresses,
        "capped": found.capped,
    }


def _sources(rows: list[Json]) -> Json:
    rows = sorted(rows, key=_most)
    return {
        "sources": [
            row | {"network": net_of_ip(row["source_ip"]) if row["source_ip"] else None} for row in rows[:SHOWN]
        ],
        "sources_count": len({(row["source_ip"], row["vpc_endpoint"]) for row in rows}),
    }


def _prefixes(tally: Tally, redact: Redaction) -> Json:
    shown = _by_objects(tally.most(("objects", "bytes"), SHOWN))[:SHOWN]
    return {
        "prefixes": [row | {"prefix": hashed(row["prefix"])} for row in shown] if redact == "hash" else shown,
        "prefixes_count": len(tally),
    }


def _by_objects(rows: list[Json]) -> list[Json]:
    return sorted(rows, key=lambda row: (-row["objects"], -row["bytes"], str([*row.values()][:2])))


def _most(row: Json) -> tuple[int, str]:
    return -row["requests"], str([*row.values()][:3])


def _span(rows: Sequence[Json]) -> Json:
    """The first and the last time of all."""
    return {
        "first": min((row["first"] for row in rows), default=None),
        "last": max((row["last"] for row in rows), default=None),
    }
