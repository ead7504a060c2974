"""The report of a replay: one page to show to people, written by `replay.page`."""

from __future__ import annotations

from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from itertools import accumulate, groupby, pairwise
from typing import Any

from detector.core.amounts import counted
from detector.core.curve import Curve, halved
from detector.core.finding import SEVERITIES, Finding
from detector.core.incident import LEVELS, Incident
from detector.core.times import duration, iso
from replay.covered import line
from replay.digests import lines
from replay.options import CURVES
from replay.page import render as page
from replay.run import Result

Json = dict[str, Any]

SHOWN_FINDINGS = CURVES
SHOWN_INCIDENTS = 30
SHOWN_OF_INCIDENT = 50
"""Findings of an incident that are named."""
SHORT = 200
"""Characters of a name in an incident."""
SHOWN_OPEN = 10
"""Findings up to which the evidence of all of them is unfolded."""
LANES = 15
"""Principals whose stretches are drawn where no script runs."""
ROWS = 200
"""Of a chart."""
LISTS = (
    "sessions", "roles", "source_ips", "vpc_endpoints", "user_agents", "regions", "buckets", "prefixes", "destinations",
    "sample_keys", "logs",
)  # fmt: skip
"""Lists of the evidence, in the order in which they are shown."""
TEXTS = 600_000
"""Characters of evidence that a page shows in all; every finding has an equal share."""
LEAST = 100
"""Characters of a text that are shown at least."""
MANY = 250
"""Findings from which on each curve has half its points."""


def render(result: Result) -> str:
    """The page as text."""
    worst_first = sorted(result.findings, key=Finding.badness)
    shown = worst_first[:SHOWN_FINDINGS]
    curves = {name: halved(one) if len(shown) > MANY else one for name, one in result.curves.items()}
    coverage = result.summary["coverage"]
    who = _named(map(_who, shown))
    rules = _named(finding.rule_id for finding in shown)
    return page(
        "report.html",
        styles=("report.css",),
        scripts=("report.js",) if shown else (),
        data=_data(shown, curves, who, rules),
        headline=_headline(result),
        by_severity=_by_severity(result.findings),
        caveats=list(_caveats(result.summary)),
        findings=[_shown(finding, curves, TEXTS // len(shown)) for finding in shown],
        incidents=[_incident(one, {f.finding_id for f in shown}) for one in result.incidents[:SHOWN_INCIDENTS]],
        incidents_hidden=max(0, len(result.incidents) - SHOWN_INCIDENTS),
        hidden=len(worst_first) - len(shown),
        lanes=_lanes(shown)[:LANES],
        open=len(shown) <= SHOWN_OPEN,
        books=_books(result.summary),
        summary=result.summary | {"coverage": coverage | {"line": line(coverage)}},
        digests=lines(result.summary["digests"]) if "digests" in result.summary else (),
    )


def _headline(result: Result) -> str:
    events = f"{result.summary['access_events']:,} access events"
    if not result.findings:
        return f"No findings in {events}"
    told = [counted(len(some), what) for some, what in ((result.incidents, "incident"), (result.findings, "finding"))]
    return f"{', '.join(told if result.incidents else told[1:])} in {events}"


def _incident(incident: Incident, shown: Container[str]) -> Json:
    """An incident as the page shows it. shown: ids of the findings that the page has."""
    told = incident.to_json()
    for moment in told["timeline"]:
        moment["here"] = moment["finding_id"] in shown
    for level in LEVELS:
        told[level]["shown"] = [text[:SHORT] for text in told[level]["shown"]]
    return told | {
        "sums": incident.sums,
        "moments": told["timeline"][:SHOWN_OF_INCIDENT],
        "more": max(0, len(incident.findings) - SHOWN_OF_INCIDENT),
        "read": f"{incident.objects} objects in {incident.amount('requests')} requests",
    }


def _by_severity(findings: Sequence[Finding]) -> list[tuple[str, int]]:
    severities = [finding.severity for finding in findings]
    return [(one, severities.count(one)) for one in reversed(SEVERITIES) if one in severities]


def _caveats(summary: Json) -> Iterator[tuple[str, str]]:
    """What the findings do not rest on, and where the page tells more."""
    told = [
        (summary["rejected"]["count"], "Records that could not be read", "books"),
        (summary["files_damaged_count"], "Damaged files, read up to the damage", "files"),
        (summary["files_ignored_count"], "Files passed over, since they are no known logs", "files"),
        (
            summary.get("digests", {"problems_count": 0})["problems_count"],
            "Log files and digests that are not as CloudTrail signed them",
            "files",
        ),
        (summary["coverage"]["holes_count"], "Stretches of time without the records that should be there", "coverage"),
        (
            sum("blind" in bucket for bucket in summary["coverage"]["buckets"] or ()),
            "Buckets whose reads seem not to be logged",
            "coverage",
        ),
        (summary["unresolved_bucket"], "Records that do not tell which bucket they are about", "books"),
        (len(summary["rules_failed"]), "Rules that failed, whose findings are incomplete", "rules"),
        (
            len({one["rule_id"] for one in summary["rules_not_evaluated"]}),
            "Rules that could not look at some of the records",
            "rules",
        ),
    ]
    return ((f"{text}: {count:,}.", anchor) for count, text, anchor in told if count)


def _books(summary: Json) -> list[tuple[str, int]]:
    """Every record once: what it was counted as."""
    reasons = [
        (f"{name}: {reason}", count)
        for name in ("skipped", "rejected")
        for reason, count in summary[name]["by_reason"].items()
    ]
    return [("access events", summary["access_events"]), ("duplicates", summary["duplicates"]), *reasons]


def _shown(finding: Finding, curves: Mapping[str, Curve], room: int) -> Json:
    """A finding as the page shows it. room: characters that its lists may take."""
    curve = curves.get(finding.finding_id)
    return finding.to_json() | {
        "window": duration(finding.window_seconds),
        "lists": list(_lists(finding, room)),
        "chart": _chart(finding, curve) if curve else None,
    }


def _chart(finding: Finding, curve: Curve) -> Json:
    """A finding's curve as a path, a column a point and `ROWS` rows; where the rest lies, in per cent."""
    top = _top(finding, curve)
    rows = [round(ROWS * (1 - value / top)) for value in curve.values]
    seconds = curve.step * len(curve.values)
    left, right = (100 * (at - curve.begin) / seconds for at in (finding.opened_at, finding.last_at + 1))
    return {
        "path": _path(rows),
        "points": len(rows),
        "rows": ROWS,
        "limit": round(100 * (1 - finding.threshold / top), 1),
        "left": round(left, 1),
        "width": round(max(0.5, right - left), 1),
        "begin": iso(curve.begin),
        "end": iso(curve.begin + seconds),
    }


def _path(rows: list[int]) -> str:
    """A stair: each of these rows is one column long."""
    runs = [(row, len(list(same))) for row, same in groupby(rows)]
    steps = [f"v{row - before}h{long}" for (before, _), (row, long) in pairwise(runs)]
    return f"M0 {rows[0]}h{runs[0][1]}{''.join(steps)}"


def _top(finding: Finding, curve: Curve) -> float:
    """The value at the upper edge of a finding's chart."""
    return 1.08 * max(finding.threshold, *curve.values)


FIELDS = (
    "id", "severity", "rule", "who", "opened", "last", "peak", "threshold", "measure", "begin", "end", "points", "top",
)  # fmt: skip


def _data(
    findings: Sequence[Finding], curves: Mapping[str, Curve], who: Mapping[str, int], rules: Mapping[str, int]
) -> Json:
    """What the script has to know: the rest it finds in the page. A row a finding; the last four are of its chart."""
    rows = [
        (
            f.finding_id, SEVERITIES.index(f.severity), rules[f.rule_id], who[_who(f)], f.opened_at, f.last_at,
            f.peak_value, f.threshold, f.measure, *_placed(f, curves.get(f.finding_id)),
        )
        for f in findings
    ]  # fmt: skip
    return {"severities": SEVERITIES, "who": list(who), "rules": list(rules), "fields": FIELDS, "rows": rows}


def _placed(finding: Finding, curve: Curve | None) -> tuple[float, ...]:
    """When the path of a chart begins and ends, its columns, and the value at its upper edge."""
    if curve is None:
        return ()
    points = len(curve.values)
    return curve.begin, curve.begin + curve.step * points, points, round(_top(finding, curve), 3)


def _named(names: Iterable[str]) -> dict[str, int]:
    """Each name once, with its number."""
    return {name: number for number, name in enumerate(dict.fromkeys(names))}


def _lists(finding: Finding, room: int) -> Iterator[tuple[str, list[str], int]]:
    """Name, texts and how many more, of the lists that tell something: of the longest only as much as there is room."""
    told = {*finding.group.values(), *((finding.principal or {}).get(name) for name in ("session", "role"))}
    lists = {name: texts for name in LISTS if (texts := finding.evidence.get(name)) and not told.issuperset(texts)}
    shares = {}
    for left, name in zip(
        range(len(lists), 0, -1), sorted(lists, key=lambda one: len("".join(lists[one]))), strict=True
    ):
        shares[name] = min(len("".join(lists[name])), room // left)
        room -= shares[name]
    for name, texts in lists.items():
        fitting = sum(length <= shares[name] for length in accumulate(map(len, texts))) or 1
        yield name, [text[: max(shares[name], LEAST)] for text in texts[:fitting]], len(texts) - fitting


def _who(finding: Finding) -> str:
    return ", ".join(finding.group.values())


def _lanes(findings: Sequence[Finding]) -> list[Json]:
    """Whoever has findings, in order of the worst of them, with their stretches of the whole period in thousandths."""
    if not findings:
        return []
    first = min(f.opened_at for f in findings)
    last = max(first + 1, *(f.last_at for f in findings))
    lanes: dict[str, list[Json]] = {}
    for f in findings:
        left, right = (1000 * (at - first) / (last - first) for at in (f.opened_at, f.last_at))
        bar = {"id": f.finding_id, "severity": f.severity, "left": round(min(left, 996), 1)}
        lanes.setdefault(_who(f), []).append(bar | {"width": round(max(4, right - left), 1)})
    return [{"who": who, "bars": bars} for who, bars in lanes.items()]
