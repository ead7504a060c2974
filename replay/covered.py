"""What the logs cover, for people and programs: `coverage` in summary.json, from the ledger. Pure.

Every list is cut to `LISTED`, and its whole number stands beside it. Texts are as the logs have them: escape them where
they are shown.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from detector.core.access import I64, Log
from detector.core.admit import Admission
from detector.core.coverage import DAY, SLOT, Coverage, Kind, OfBucket
from detector.core.globs import glob
from detector.core.rule import Rule
from detector.core.times import iso
from detector.core.watermark import FOREVER, NEVER
from replay.holes import Hole, judge

LISTED = 1000
DAYS_SHOWN = 400
"""Newest days of a source that are shown hour by hour."""
HOUR = 3600 // SLOT
_NOTHING = np.zeros(0, np.int64)
_DIGITS = np.array(list("0123456789abc"))

Json = dict[str, Any]


class _Source(NamedTuple):
    """One kind of log of one partition: the slots seen, and those in which files were delivered."""

    log: str
    place: str
    seen: I64
    delivered: I64

    @property
    def named(self) -> Json:
        account, _, region = self.place.rpartition("/")
        return {"log": self.log, "account": account or None, "region": region or None}


def covered(ledger: Coverage, rules: Sequence[Rule] = (), admission: Admission | None = None) -> Json:
    """`coverage` of summary.json, of the period that counts."""
    first, end = _period(admission or Admission())
    sources = list(_sources(ledger, first, end))
    holes, quiet = _holes(sources, first, end)
    buckets = _buckets(ledger, first, end)
    accounts, regions = ({s.named[name] for s in sources} - {None} for name in ("account", "region"))
    seen = np.concatenate([_NOTHING, *(source.seen for source in sources)])
    return {
        "from": _at(int(seen.min())) if len(seen) else None,
        "until": _at(int(seen.max()) + 1) if len(seen) else None,
        "accounts": sorted(accounts)[:LISTED],
        "accounts_count": len(accounts),
        "regions": sorted(regions)[:LISTED],
        "regions_count": len(regions),
        "sources": [_source(source) for source in sources[:LISTED]],
        "sources_count": len(sources),
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
    counts = f"{_number(coverage['accounts_count'], 'account')}, {_number(coverage['regions_count'], 'region')}"
    told = [f"covers {coverage['from']} to {coverage['until']}, {counts}"]
    if coverage["holes_count"]:
        worst = max(coverage["holes"], key=lambda hole: (hole["sure"] == "likely", hole["minutes"]))
        told.append(f"{_number(coverage['holes_count'], 'hole')}: {hole_line(worst)}")
    else:
        told.append("no hole seen")
    blind = [one["bucket"] for one in coverage["buckets"] or () if "blind" in one]
    if blind:
        told.append(f"{_number(len(blind), 'bucket')} whose reads seem not to be logged: {blind[0]}")
    return "; ".join(told)


def hole_line(hole: Mapping[str, Any]) -> str:
    """Where and when a hole is, for people."""
    place = "/".join(filter(None, (hole["account"], hole["region"])))
    return f"{hole['log']} {place} {hole['from']} to {hole['until']} ({hole['sure']})"


def _number(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _period(admission: Admission) -> tuple[int | None, int | None]:
    """The slots asked for, `[first, end)`; None: no limit."""
    first = None if admission.since == NEVER else admission.since // SLOT
    return first, None if admission.until == FOREVER else -(-admission.until // SLOT)


def _clipped(slots: I64, first: int | None, end: int | None) -> I64:
    begin = 0 if first is None else int(np.searchsorted(slots, first))
    return slots[begin : None if end is None else int(np.searchsorted(slots, end))]


def _sources(ledger: Coverage, first: int | None, end: int | None) -> Iterator[_Source]:
    delivered = dict(ledger.deliveries.slots())
    for subject, slots in ledger.sources.slots():
        seen = _clipped(slots, first, end)
        if len(seen):
            log, place = subject
            yield _Source(log, place, seen, delivered.get(subject, _NOTHING))


def _source(source: _Source) -> Json:
    """hours_by_day: a digit an hour, the number of its slots that were seen (c: all twelve)."""
    days, place = np.unique(source.seen // DAY, return_inverse=True)
    hours = np.zeros((len(days), DAY // HOUR), np.int64)
    np.add.at(hours, (place, source.seen % DAY // HOUR), 1)
    shown = zip(days.tolist()[-DAYS_SHOWN:], _DIGITS[hours[-DAYS_SHOWN:]].tolist(), strict=True)
    return {
        **source.named,
        "from": _at(int(source.seen[0])),
        "until": _at(int(source.seen[-1]) + 1),
        "hours": int(np.count_nonzero(hours)),
        "files_named": len(source.delivered) > 0,
        "hours_by_day": {_at(day * DAY)[:10]: "".join(digits) for day, digits in shown},
    }


def _holes(sources: Sequence[_Source], first: int | None, end: int | None) -> tuple[list[Json], int]:
    """The holes of all sources, by time, and how many gaps are but quiet."""
    spans: dict[str, list[int]] = defaultdict(list)
    for source in sources:
        spans[source.log] += [int(source.seen[0]), int(source.seen[-1]) + 1]
    found, quiet = list[Json](), 0
    for source in sources:
        span = spans[source.log]
        start = min(span) if first is None else first
        until = max(span) if end is None else end
        holes, still = judge(source.seen, source.delivered, start, until)
        quiet += still
        found += [_hole(source, hole) for hole in holes]
    return sorted(found, key=lambda one: (one["from"], one["log"], one["account"] or "", one["region"] or "")), quiet


def _hole(source: _Source, hole: Hole) -> Json:
    at = "start" if hole.end <= source.seen[0] else "end" if hole.first > source.seen[-1] else "inside"
    return {
        **source.named,
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


def _buckets(ledger: Coverage, first: int | None, end: int | None) -> list[Json]:
    """What each bucket was seen in, by its name."""
    found: dict[str, dict[str, dict[str, I64]]] = defaultdict(lambda: defaultdict(dict))
    for subject, slots in ledger.buckets.slots():
        bucket, log, kind = OfBucket(*subject)
        seen = _clipped(slots, first, end)
        if len(seen):
            found[bucket][log][kind] = seen
    both = {Log.cloudtrail.name, Log.server_access.name} <= {log for logs in found.values() for log in logs}
    return [_bucket(bucket, found[bucket], both=both) for bucket in sorted(found)]


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
