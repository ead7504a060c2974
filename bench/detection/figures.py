"""Shares with their intervals, and the tables that are printed."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence

from bench.detection.trials import Of, Result

Z95 = 1.959963984540054


def wilson(caught: int, of: int) -> tuple[float, float]:
    """The 95 % interval of a share, after Wilson (1927): honest also for few and for all."""
    if not of:
        return 0.0, 1.0
    share, square = caught / of, Z95 * Z95
    middle = (share + square / (2 * of)) / (1 + square / of)
    half = Z95 / (1 + square / of) * math.sqrt(share * (1 - share) / of + square / (4 * of * of))
    return max(0.0, middle - half), min(1.0, middle + half)


def share(caught: int, of: int) -> str:
    """`54 of 75 (72 %, 61 to 81)`."""
    if not of:
        return "none"
    low, high = wilson(caught, of)
    return f"{caught} of {of} ({100 * caught / of:.0f} %, {100 * low:.0f} to {100 * high:.0f})"


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """As Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def summary(results: Sequence[Result], detectors: Sequence[str]) -> str:
    """A row a detector: recall, objects lost, false alerts."""
    rows = []
    for name in detectors:
        of = [one for result in results for one in result.thefts.get(name, [])]
        rows.append(
            [
                name,
                share(sum(one.by is not None for one in of), len(of)),
                lost(of),
                lost(of, "at once"),
                realised(results, name),
            ]
        )
    return table(["detector", "thefts caught", "objects lost, logs in S3", "at once", "false a day per 1,000"], rows)


def lost(of: Iterable[Of], way: str = "S3 files") -> str:
    """Share of all objects of all thefts that had left when the first page came."""
    of = list(of)
    total = sum(one.objects for one in of)
    return f"{100 * sum(one.lost[way] for one in of) / total:.0f} %" if total else "-"


def realised(results: Sequence[Result], name: str) -> str:
    """False pages a day and 1,000 principals after the first week; in brackets the pages of that week."""
    days = sum(result.principal_days for result in results)
    false, before = (sum(getattr(result, field).get(name, 0) for result in results) for field in ("false", "before"))
    return f"{1000 * false / days:.2f} ({false}; first week {before})" if days else "-"


def by_kind(results: Sequence[Result], name: str) -> str:
    """A row a kind of theft."""
    kinds: dict[str, list[Of]] = defaultdict(list)
    for result in results:
        for one in result.thefts.get(name, []):
            kinds[one.kind].append(one)
    rows = []
    for kind, of in kinds.items():
        found = [one for one in of if one.by is not None]
        seconds = sorted(one.seconds or 0 for one in found)
        first = max({one.by for one in found}, key=[one.by for one in found].count) if found else "-"
        rows.append([
            kind, share(len(found), len(of)), str(first), duration(seconds[len(seconds) // 2]) if seconds else "-",
            lost(of), lost(of, "EventBridge"), lost(of, "at once"),
        ])  # fmt: skip
    head = [
        "kind",
        "caught",
        "mostly by",
        "median time to page",
        "lost, logs in S3",
        "lost, EventBridge",
        "lost, at once",
    ]
    return table(head, rows)


def duration(seconds: int) -> str:
    """`7 min`, `5.2 h`."""
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
