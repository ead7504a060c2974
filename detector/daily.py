"""The digest of a day: what staged rules would have paged, and what was suppressed. Pure.

Rules of this file
- A day is one of the daemon's clock, UTC. Its digest comes with the first turn after it, if there is anything to tell.
- Counted are findings when they open; the worst of a rule is told with the peak that was known until then.
- Groups are named in the order in which they came, at most `NAMED`; the others are counted.
- The state is in the checkpoint: a restart forgets nothing and tells nothing twice.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import msgspec

from detector.blindness import Sense
from detector.core.alarm import alarm
from detector.core.episode import OPENED
from detector.core.finding import Finding
from detector.core.redaction import Redaction, leaving_finding
from detector.core.rule import Rule
from detector.core.suppression import Suppression
from detector.core.times import iso

DAY = 86_400
NAMED = 10
TEXT = 300
RULE = "bucketwatch.daily"
RUNBOOK = (
    "Nothing here has paged. For each staged rule: are these findings that somebody should have been woken for? If so, "
    "`bucketwatch rules promote RULE`; if not, raise its threshold (`bucketwatch rules tune`) or add an exception. "
    "A suppression that counts nothing any more can go."
)


class Staged(msgspec.Struct):
    """What a staged rule would have paged. worst: how far past its threshold, and the finding."""

    title: str
    severity: str
    opened: int = 0
    excess: float = 0.0
    worst: dict[str, Any] = msgspec.field(default_factory=dict)
    groups: dict[str, int] = msgspec.field(default_factory=dict)
    others: int = 0


class Hushed(msgspec.Struct):
    """What a suppression kept from being sent."""

    about: dict[str, Any]
    count: int = 0
    rules: dict[str, int] = msgspec.field(default_factory=dict)


class Memory(msgspec.Struct):
    """What a checkpoint keeps. day: since the epoch. unsaid: of each rule, what was suppressed since its last alert."""

    day: int = 0
    staged: dict[str, Staged] = msgspec.field(default_factory=dict)
    hushed: dict[str, Hushed] = msgspec.field(default_factory=dict)
    unsaid: dict[str, int] = msgspec.field(default_factory=dict)


class Daily:
    """A day's digest in the making. redact: of object keys in what it names."""

    def __init__(self, redact: Redaction = "none") -> None:
        self._redact = redact
        self.memory = Memory()

    def weigh(
        self, finding: Finding, rule: Rule | Sense, suppressions: Iterable[Suppression], now: int
    ) -> tuple[bool, dict[str, Any]]:
        """Whether an alert is suppressed, and what it says of that; take note of what nobody is told."""
        if rule.stage == "staged" and rule.severity not in ("info", "low"):
            self._staged(rule, leaving_finding(finding, self._redact), now)
        if not rule.pages:
            return False, {}
        known = () if isinstance(rule, Sense) else suppressions  # blindness is never hushed
        quiet = next((one for one in known if one.holds(finding, now)), None)
        if quiet is not None:
            self._suppressed(quiet, finding, now)
            return True, {"suppressed": quiet.told()}
        unsaid = self.memory.unsaid.pop(rule.id, 0)
        return False, {"suppressed_before": unsaid} if unsaid else {}

    def _staged(self, rule: Rule | Sense, finding: Finding, now: int) -> None:
        """Take note of a finding that would have paged, were its rule live."""
        self._begin(now)
        one = self.memory.staged.setdefault(rule.id, Staged(rule.title, rule.severity))
        if finding.state == OPENED:
            one.opened += 1
            group = ", ".join(finding.group.values())[:TEXT]
            if group in one.groups or len(one.groups) < NAMED:
                one.groups[group] = one.groups.get(group, 0) + 1
            else:
                one.others += 1
        if finding.excess > one.excess:
            one.excess, one.worst = finding.excess, _named(finding)

    def _suppressed(self, suppression: Suppression, finding: Finding, now: int) -> None:
        """Take note of an alert that is not sent."""
        self._begin(now)
        about = suppression.told()
        one = self.memory.hushed.setdefault(msgspec.json.encode(about).decode(), Hushed(about))
        one.count += 1
        one.rules[finding.rule_id] = one.rules.get(finding.rule_id, 0) + 1
        self.memory.unsaid[finding.rule_id] = self.memory.unsaid.get(finding.rule_id, 0) + 1

    def due(self, now: int) -> dict[str, Any] | None:
        """The digest of the day that has ended, if one has, and there is something to tell of it."""
        memory = self.memory
        if not memory.day or now // DAY <= memory.day:
            return None
        told = _digest(memory, now) if any(one.opened for one in memory.staged.values()) or memory.hushed else None
        self.memory = Memory(unsaid=memory.unsaid)
        return told

    def _begin(self, now: int) -> None:
        self.memory.day = self.memory.day or now // DAY


def _named(finding: Finding) -> dict[str, Any]:
    group = {level: name[:TEXT] for level, name in finding.group.items()}
    return {
        "alert_id": finding.alert_ids[0] if finding.alert_ids else None,
        "opened_at": iso(finding.opened_at),
        "peak_value": finding.peak_value,
        "threshold": finding.threshold,
        "group": group,
    }


def _digest(memory: Memory, now: int) -> dict[str, Any]:
    day = iso(memory.day * DAY)[:10]
    rules = [_of_rule(name, one) for name, one in sorted(memory.staged.items()) if one.opened]
    hushed = [
        one.about | {"until": iso(one.about["until"]), "count": one.count, "rules": one.rules}
        for one in memory.hushed.values()
    ]
    body = alarm(
        RULE,
        day,
        "closed",
        since=memory.day * DAY,
        now=now,
        title=f"What staged rules and suppressions kept quiet on {day}",
        explanation=_explained(rules, hushed),
        runbook=RUNBOOK,
        group={"day": day},
        severity="info",
    )
    return body | {"daily": {"day": day, "staged": rules, "suppressed": hushed}}


def _of_rule(name: str, one: Staged) -> dict[str, Any]:
    return {
        "rule_id": name,
        "title": one.title,
        "severity": one.severity,
        "would_have_paged": one.opened,
        "worst": one.worst,
        "groups": one.groups,
        "in_other_groups": one.others,
    }


def _explained(rules: list[dict[str, Any]], hushed: Sequence[Mapping[str, Any]]) -> str:
    lines = [
        f"{one['rule_id']} would have paged {one['would_have_paged']:,} times, at worst {one['worst']['peak_value']:,} "
        f"(threshold {one['worst']['threshold']:,}) by {', '.join(one['worst']['group'].values())}"
        for one in rules
    ]
    lines += [f"{one['count']:,} alerts suppressed by {one['owner']} ({one['reason']})" for one in hushed]
    return "; ".join(lines) + "."
