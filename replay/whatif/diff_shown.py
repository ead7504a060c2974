"""What `rules diff` says: as JSON, and as tables for a terminal. Texts from logs are escaped."""

from __future__ import annotations

from collections import Counter
from typing import Any

from rich.console import Console
from rich.table import Table as Grid
from rich.text import Text

from detector.core.finding import Finding
from detector.core.times import iso
from detector.response.plain import printable
from replay.whatif.diff import CHANGES, Change, Difference

SHOWN = 50


def to_json(found: Difference) -> dict[str, Any]:
    """Everything, for scripts."""
    told = Counter(what for change in found.changes for what in change.what)
    pages = {rule: _pages_a_day(found, rule) for rule in found.rules()}
    return {
        "schema": "bucketwatch.rules_diff.v1",
        "days": round(found.days, 3),
        "findings": {"old": len(found.old.findings), "new": len(found.new.findings), "unchanged": found.same},
        "pages_a_day": {side: sum(one[side] for one in pages.values()) for side in ("old", "new")},
        "counts": {what: told[what] for what in CHANGES},
        "rules": [{"rule_id": rule} | _rule_json(found, rule, pages[rule]) for rule in pages],
        "changes": [change.to_json() for change in found.changes],
    }


def _pages_a_day(found: Difference, rule: str) -> dict[str, float]:
    """Pages a day of a rule, by either set."""
    return {name: side.pages(rule) / found.days for name, side in (("old", found.old), ("new", found.new))}


def _rule_json(found: Difference, rule: str, pages_a_day: dict[str, float]) -> dict[str, Any]:
    told = Counter(what for change in found.changes if change.about.rule_id == rule for what in change.what)
    return {
        "findings": {"old": len(found.old.of(rule)), "new": len(found.new.of(rule))},
        "pages_a_day": {side: round(pages, 4) for side, pages in pages_a_day.items()},
        "counts": {what: told[what] for what in CHANGES if told[what]},
    }


def show(found: Difference, console: Console) -> None:
    """For a person."""
    said = to_json(found)
    before, after = (said["pages_a_day"][side] for side in ("old", "new"))
    head = (
        f"{said['findings']['old']:,} findings before, {said['findings']['new']:,} after, {found.same:,} unchanged; "
        f"{before:,.2f} pages a day before, {after:,.2f} after, over {found.days:,.1f} days"
    )
    console.print(Text(head), soft_wrap=True)
    if said["rules"]:
        console.print(_by_rule(said))
    for change in found.changes[:SHOWN]:
        console.print(Text(_line(change)), soft_wrap=True)
    if len(found.changes) > SHOWN:
        console.print(Text(f"… and {len(found.changes) - SHOWN:,} more; --json has all"))


def _by_rule(said: dict[str, Any]) -> Grid:
    grid = Grid(box=None, pad_edge=False)
    grid.add_column("rule", overflow="ellipsis", no_wrap=True)
    for name in ("findings", "after", "pages/day", "after"):
        grid.add_column(name, justify="right", no_wrap=True)
    grid.add_column("changes")
    for rule in said["rules"]:
        changes = ", ".join(f"{count:,} {what}" for what, count in rule["counts"].items())
        findings, pages = rule["findings"], rule["pages_a_day"]
        grid.add_row(
            rule["rule_id"], f"{findings['old']:,}", f"{findings['new']:,}", f"{pages['old']:,.2f}",
            f"{pages['new']:,.2f}", changes or "none",
        )  # fmt: skip
    return grid


def _line(change: Change) -> str:
    about = change.about
    who = ", ".join(f"{level} {name}" for level, name in about.group.items())
    told = " -> ".join(_told(one) for one in (change.old, change.new) if one)
    return printable(f"{' and '.join(change.what)}: {about.rule_id}: {who}: {told}", 1000)


def _told(finding: Finding) -> str:
    return f"{finding.severity}, peak {finding.peak_value:,.0f} of {finding.threshold:,}, from {iso(finding.opened_at)}"
