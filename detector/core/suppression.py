"""Suppressions: findings that page nobody until a time, with owner and reason. Part of rule files. Pure.

What is suppressed is counted, journalled and told in numbers all the same; it is only not sent, and not answered.
An announced job is one by whom (`group`) and where (`bucket`, `prefix`): it holds only while everything that a finding
shows lies there, and not for more than a finding can show. A decoy is no part of any job, unless `rule` names its rule.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from detector.core.fields import UNITS, Model, Texts
from detector.core.finding import LIST_LIMIT, Finding
from detector.core.times import epoch


def ends_at(value: object) -> int:
    """Epoch seconds from which something no longer holds: a time, or the end of a day (UTC)."""
    if isinstance(value, datetime):
        return int((value if value.tzinfo else value.replace(tzinfo=UTC)).timestamp())
    if isinstance(value, date):
        return int(datetime(value.year, value.month, value.day, tzinfo=UTC).timestamp()) + UNITS["d"]
    if isinstance(value, str) and (second := epoch(value)) is not None:
        return second + (UNITS["d"] if len(value) == len("2026-05-01") else 0)
    msg = f"expected a day such as 2026-05-01 or a time such as 2026-05-01T09:00:00Z, got {value!r}"
    raise ValueError(msg)


Until = Annotated[Any, BeforeValidator(ends_at), WithJsonSchema({"type": "string"})]


NAMES = ("rule", "group", "alert", "bucket", "prefix")
CHOSEN = frozenset({"user_agent", "prefix"})
"""What a group may be told by that its user writes as he likes: it names nobody, and may look like any name."""


class Suppression(Model):
    """Findings that page nobody. All given fields must hold; a list means "any of"; globs are allowed."""

    rule: Texts | None = None
    """ids of rules"""
    group: Texts | None = None
    """names in the finding's group; not its user agent or prefix, which may say anything"""
    alert: Texts | None = None
    """ids of alerts or findings"""
    bucket: Texts | None = None
    """narrows it: holds only while all buckets that the finding shows are such; not for one that shows 20 or none"""
    prefix: Texts | None = None
    """narrows it: holds only while all folders of keys that it shows are such; not for one that shows 20 or none"""
    until: Until
    """a time, or the last day it holds (UTC)"""
    owner: Annotated[str, Field(min_length=1, max_length=200)]
    """who answers for it"""
    reason: Annotated[str, Field(min_length=1, max_length=1000)]
    """why"""

    @model_validator(mode="after")
    def _names_something(self) -> Self:
        if not any((self.rule, self.group, self.alert)):
            raise ValueError("expected rule, group or alert: what is suppressed; bucket and prefix only narrow it")
        return self

    def holds(self, finding: Finding, now: int) -> bool:
        """Whether a finding pages nobody now (epoch seconds)."""
        from detector.core.globs import glob

        ids = (finding.finding_id, *finding.alert_ids)
        group = [name for level, name in finding.group.items() if level not in CHOSEN]
        named = ((self.rule, (finding.rule_id,)), (self.group, group), (self.alert, ids))
        within = ((self.bucket, "buckets"), (self.prefix, "prefixes"))
        if now >= self.until or (finding.kind == "decoy" and self.rule is None):
            return False
        return all(
            patterns is None or any(glob(patterns).fullmatch(text) for text in texts) for patterns, texts in named
        ) and all(patterns is None or _all_within(patterns, finding.evidence.get(name)) for patterns, name in within)

    def told(self) -> dict[str, Any]:
        """As the journal says it."""
        given = {name: list(texts) for name in NAMES if (texts := getattr(self, name))}
        return given | {"owner": self.owner, "reason": self.reason, "until": self.until}


def _all_within(patterns: tuple[str, ...], shown: Sequence[str] | None) -> bool:
    """Whether all that a finding shows fits. A full list may have left something out: then nobody knows."""
    from detector.core.globs import glob

    expression = glob(patterns)
    return bool(shown) and len(shown or ()) < LIST_LIMIT and all(expression.fullmatch(text) for text in shown or ())
