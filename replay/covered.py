"""What the logs cover, for people and programs: `coverage` in summary.json, from the ledger. Pure.

Every list is cut to `LISTED`, and its whole number stands beside it. Sources and buckets are looked at one by one, so
that memory holds the slots of one only. Texts are as the logs have them: escape them where they are shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from detector.core.access import I64, Log
from detector.core.admit import Admission
from detector.core.amounts import counted
from detector.core.coverage import DAY, SLOT, Coverage, Kind, OfBucket
from detector.core.globs import glob
from detector.core.times import iso
from detector.core.watermark import FOREVER, NEVER
from replay.holes import Hole, judge

if TYPE_CHECKING:
    from detector.core.rule import Rule

LISTED = 1000
DAYS_SHOWN, DAYS_SHOWN_IN_ALL = 400, 20_000
"""Newest days of a source, and of all together, that are shown hour by hour."""
HOUR = 3600 // SLOT
_DIGITS = np.array(list("0123456789abc"))

Json = dict[str, Any]


class _Source(NamedTuple):
    """One kind of log of one partition: the slots seen, and those in which files were delivered."""

    log: str
    place: str
    seen: I64
    delivered: I64


class _Span(NamedTuple):
    """A source and the slots `[first, end)` it reaches from and to."""

    log: str
    place: str
    first: int
    end: int


def covered(ledger: Coverage, rules: Sequence[Rule] = (), admission: Admission | None = None) -> Json:
    """`coverage` of summary.json, of the period that counts."""
    first, end = _period(admission or Admission())
    spans = [_Span(s.log, s.place, int(s.seen[0]), int(s.seen[-1]) + 1) for s in _sources(ledger, first, end)]
    sources, holes, quiet = _looked_at(_sources(ledger, first, end), spans, first, end)
    buckets = list(_buckets(ledger, first, end))
    accounts, regions = ({_named(*span[:2])[name] for span in spans} - {None} for name in ("account", "region"))
    return {
        "from": _at(min(span.first for span in spans)) if spans else None,
        "until": _at(max(span.end for span in spans)) if spans else None,
        "accounts": sorted(accounts)[:LISTED],
        "accounts_count": len(accounts),
        "regions": sorted(regions)[:LISTED],
        "regions_count": len(regions),
        "sources": sources,
        "sources_count": len(spans),
        "holes": holes[:LISTED],
        "holes_count": len(holes),
        "quiet_count": quiet,
        "buckets": buckets[:LISTED] if ledger.buckets_asked else None,
        "buckets_count": len(buckets) if ledger.buckets_asked else None,
        "never_seen": _never_seen(rules, [one["bucket"] for one in buckets]) if ledger.buckets_asked else [],
        "capped": ledger.capped,
    }


def line(coverage: Mapping[str, Any]) -> str:
    """The same as one line, for a terminal; texts are not escaped."""
    if coverage["from"] is None:
        return "covers nothing: no record with a time"
    counts = f"{counted(coverage['accounts_count'], 'account')}, {counted(coverage['regions_count'], 'region')}"
    told = [f"covers {coverage['from']} to {coverage['until']}, {counts}"]
    if coverage["holes_count"]:
        worst = max(coverage["holes"], key=lambda hole: (hole["sure"] == "likely", hole["minutes"]))
        told.append(f"{counted(coverage['holes_count'], 'hole')}: {hole_line(worst)}")
    else:
        told.append("no hole seen")
    blind = [one["bucket"] for one in coverage["buckets"] or () if "blind" in one]
    if blind:
        told.append(f"{counted(len(blind), 'bucket')} whose reads seem not to be logged: {blind[0]}")
    return "; ".join(told)


def hole_line(hole: Mapping[str, Any]) -> str:
    """Where and when a hole is, for people."""
    place = "/".join(filter(None, (hole["account"], hole["region"])))
    return f"{hole['log']} {place} {hole['from']} to {hole['until']} ({hole['sure']})"


def _period(admission: Admission) -> tuple[int | None, int | None]:
    """The slots asked for, `[first, end)`; None: no limit."""
    first = None if admission.since == NEVER else admission.since // SLOT
    return first, None if admission.until == FOREVER else -(-admission.until // SLOT)


def _clipped(slots: I64, first: int | None, end: int | None) -> I64:
    begin = 0 if first is None else int(np.searchsorted(slots, first))
    return slots[begin : None if end is None else int(np.searchsorted(slots, end))]


def _named(log: str, place: str) -> Json:
    account, _, region = place.rpartition("/")
    return {"log": log, "account": account or None, "region": region or None}


def _sources(ledger: Coverage, first: int | None, end: int | None) -> Iterator[_Source]:
    for subject, slots in ledger.sources.slots():
        seen = _clipped(slots, first, end)
        if len(seen):
            log, place = subject
            yield _Source(log, place, seen, ledger.deliveries.of(subject))


def _source(source: _Source, most: int) -> Json:
    """hours_by_day: a digit an hour, the number of its slots that were seen (c: all twelve)."""
    days, place = np.unique(source.seen // DAY, return_inverse=True)
    hours = np.zeros((len(days), DAY // HOUR), np.int64)
    np.add.at(hours, (place, source.seen % DAY // HOUR), 1)
    shown = zip(days.tolist()[-most:], _DIGITS[hours[-most:]].tolist(), strict=True)
    return {
        **_named(source.log, source.place),
        "from": _at(int(source.seen[0])),
        "until": _at(int(source.seen[-1]) + 1),
        "hours": int(np.count_nonzero(hours)),
        "files_named": len(source.delivered) > 0,
        "hours_by_day": {_at(day * DAY)[:10]: "".join(digits) for day, digits in shown},
    }


def _looked_at(
    sources: Iterable[_Source], spans: Sequence[_Span], first: int | None, end: int | None
) -> tuple[list[Json], list[Json], int]:
    """The first sources, the holes of all by time, and how many gaps are but quiet."""
    reach: dict[str, list[int]] = defaultdict(list)
    for span in spans:
        reach[span.log] += [span.first, span.end]
    ends = {log: (min(edges), max(edges)) for log, edges in reach.items()}
    days = min(DAYS_SHOWN, max(1, DAYS_SHOWN_IN_ALL // max(1, len(spans))))
    shown, found, quiet = list[Json](), list[Json](), 0
    for source in sources:
        if len(shown) < LISTED:
            shown.append(_source(source, days))
        start, until = ends[source.log]
        start, until = (start if first is None else first), (until if end is None else end)
        holes, still = judge(source.seen, source.delivered, start, until)
        found += [_hole(source, hole) for hole in holes]
        quiet += still
    found.sort(key=lambda one: (one["from"], one["log"], one["account"] or "", one["region"] or ""))
    return shown, found, quiet


def _hole(source: _Source, hole: Hole) -> Json:
    at = "start" if hole.end <= source.seen[0] else "end" if hole.first > source.seen[-1] else "inside"
    return {
        **_named(source.log, source.place),
        "from": _at(hole.first),
        "until": _at(hole.end),
        "minutes": (hole.end - hole.first) * SLOT // 60,
        "at": at,
        "sure": hole.sure,
        "why": _why(source, hole),
    }


def _why(source: _Source, hole: Hole) -> str:
    slots = hole.end - hole.first
    when = "on other days at this time" if hole.compared else "in the hours around (there is no other day to compare)"
    told = f"no record in {slots} stretches of 5 minutes, of which {hole.usually} usually have one {when}"
    if not len(source.delivered):
        return told
    if hole.alive:
        return f"{told}; but files were delivered meanwhile, so the log was alive"
    return f"{told}; no file was delivered either"


def _buckets(ledger: Coverage, first: int | None, end: int | None) -> Iterator[Json]:
    """What each bucket was seen in, by its name."""
    both = {Log.cloudtrail.name, Log.server_access.name} <= {OfBucket(*one).log for one in ledger.buckets.subjects()}
    for bucket, rows in groupby(ledger.buckets.slots(), key=lambda row: row[0][0]):
        logs: dict[str, dict[str, I64]] = defaultdict(dict)
        for subject, slots in rows:
            _, log, kind = OfBucket(*subject)
            if len(seen := _clipped(slots, first, end)):
                logs[log][kind] = seen
        if logs:
            yield _bucket(bucket, logs, both=both)


def _bucket(bucket: str, logs: Mapping[str, Mapping[str, I64]], *, both: bool) -> Json:
    seen = [slots for kinds in logs.values() for slots in kinds.values()]
    row: Json = {
        "bucket": bucket,
        "from": _at(min(int(slots[0]) for slots in seen)),
        "until": _at(max(int(slots[-1]) for slots in seen) + 1),
        "hours": len(np.unique(np.concatenate(seen) // HOUR)),
        "logs": {log: {"hours": _hours(kinds.values()), "reads": Kind.reads.name in kinds}
                 for log, kinds in sorted(logs.items())},
    }  # fmt: skip
    of_aws = [log for log in logs if log != Log.access_audit.name]
    if both and len(of_aws) == 1:
        row["only"] = of_aws[0]
    if blind := _blind(logs):
        row["blind"] = blind
    return row


def _hours(slots: Iterable[I64]) -> int:
    return len(np.unique(np.concatenate(list(slots)) // HOUR))


def _blind(logs: Mapping[str, Mapping[str, I64]]) -> str:
    """Why it seems that a bucket's reads are not logged; empty if they are. An access log has them all."""
    trail = logs.get(Log.cloudtrail.name, {})
    if Log.server_access.name in logs or not trail or Kind.reads.name in trail:
        return ""
    if Kind.decrypts.name in trail:
        return "KMS decrypted its objects, but no read of one was logged: CloudTrail does not log its data events"
    return "seen in settings and writes alone: either nobody read it, or CloudTrail does not log its data events"


def _never_seen(rules: Sequence[Rule], buckets: Sequence[str]) -> list[Json]:
    """What rules name of buckets, and no record does."""
    unseen = [
        {"rule_id": rule.id, "bucket": pattern}
        for rule in rules
        for pattern in dict.fromkeys(name for where in rule.wheres for name in where.bucket or ())
        if not any(map(glob([pattern]).fullmatch, buckets))
    ]
    return unseen[:LISTED]


def _at(slot: int) -> str:
    return iso(slot * SLOT)
