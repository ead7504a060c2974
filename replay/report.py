"""The report: one HTML page that opens with no network and runs no script. Everything from a log is escaped."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, select_autoescape

from detector.core.finding import SEVERITIES, Finding
from detector.response.plain import printable
from replay.run import Result

SHOWN_FINDINGS = 1000


def render(result: Result) -> str:
    """The page as text."""
    environment = Environment(
        loader=PackageLoader("replay", "templates"),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["number"] = _number
    worst_first = sorted(result.findings, key=_worst_first)
    return environment.get_template("report.html").render(
        findings=[_plain(finding.to_json()) for finding in worst_first[:SHOWN_FINDINGS]],
        hidden=max(0, len(worst_first) - SHOWN_FINDINGS),
        summary=_plain(result.summary),
        timeline=_plain(_timeline(worst_first[:SHOWN_FINDINGS])),
        version=version("bucketwatch"),
    )


def _plain(value: Any) -> Any:
    """The same with every text on one line and free of control characters: none may hide or turn round what is read."""
    if isinstance(value, str):
        return printable(value, 2000)
    if isinstance(value, dict):
        return {key: _plain(one) for key, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list) else value


def _worst_first(finding: Finding) -> tuple[int, float, int, str]:
    return (
        -SEVERITIES.index(finding.severity),
        -finding.peak_value / finding.threshold,
        finding.opened_at,
        finding.finding_id,
    )


def _number(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:,.1f}" if isinstance(value, float) else str(value)


def _timeline(findings: list[Finding]) -> list[dict[str, Any]]:
    """Each finding's stretch of the whole period, in per cent, for the bars of the page."""
    if not findings:
        return []
    first = min(f.opened_at for f in findings)
    last = max(first + 1, *(f.last_at for f in findings))
    return [
        {
            "id": f.finding_id,
            "severity": f.severity,
            "label": next(iter(f.group.values())),
            "left": round(100 * (f.opened_at - first) / (last - first), 2),
            "width": max(0.4, round(100 * (f.last_at - f.opened_at) / (last - first), 2)),
        }
        for f in findings
    ]
