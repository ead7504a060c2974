"""What the kinds share that count within a sliding window, group by group. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any

from pydantic import AfterValidator, BeforeValidator, Field, ValidationInfo, field_serializer, field_validator

from detector.core.fields import DISTINCT_MEASURES, UNITS, Duration, Level, Levels, Number, Texts, texts
from detector.core.rulebase import Exemption, RuleBase, digest
from detector.core.times import duration

DISTINCT_CAP = 100_000
"""Distinct measures are exact up to this many members a group and window."""
MINUTE_BUCKETS_OVER = 3600
"""Windows longer than this many seconds count in buckets of one minute."""


class Grouped(RuleBase):
    """Base of the kinds that look at what one group does within some time."""

    peer_groups: Annotated[dict[str, Texts], Field(default_factory=dict)]
    """names of groups, and the roles in each, see below; only with the level `peer_group`"""
    group_by: Annotated[tuple[Level, ...], BeforeValidator(texts), Field(min_length=1)] = ("session",)
    """a level, or a list of them: whose records are counted together"""
    exceptions: tuple[Exemption, ...] = ()
    """raise the limit for somebody, see below"""

    @field_validator("peer_groups")
    @classmethod
    def _named(cls, value: dict[str, tuple[str, ...]]) -> dict[str, tuple[str, ...]]:
        for name in value:
            if not 1 <= len(name) <= 200:
                msg = f"expected names of 1 to 200 characters, got {name[:20]!r}"
                raise ValueError(msg)
        return value

    @field_validator("group_by")
    @classmethod
    def _with_peers(cls, value: tuple[Level, ...], info: ValidationInfo) -> Levels:
        return Levels(value, tuple((info.data.get("peer_groups") or {}).items()))

    @field_serializer("peer_groups", when_used="json")
    def _in_order(self, value: dict[str, tuple[str, ...]]) -> list[tuple[str, tuple[str, ...]]]:
        """The first group that fits counts, so their order is part of what the rule says."""
        return list(value.items())

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for every rule; levels that come twice, peer groups that nobody asks for."""
        yield from super().contradictions(fields)
        levels = fields.get("group_by")
        if isinstance(levels, tuple) and len({str(level) for level in levels}) != len(levels):
            yield "group_by", f"group_by: expected each level once, got {', '.join(map(str, levels))}"
        by = (levels,) if isinstance(levels, str) else levels or ("session",)
        if fields.get("peer_groups") and isinstance(by, tuple) and "peer_group" not in by:
            yield "peer_groups", f"peer_groups: expected peer_group in group_by, got {', '.join(map(str, by))}"

    def exceptions_digest(self) -> str:
        """Identity of the exceptions: where they changed, what has been counted is held against them anew."""
        return digest([exemption.model_dump(mode="json") for exemption in self.exceptions])


def sensible_window(value: int) -> int:
    """A window that can be counted in: raises ValueError for any other."""
    if not 10 <= value <= 30 * UNITS["d"]:
        msg = f"expected 10s to 30d, got {value}s"
        raise ValueError(msg)
    if value > MINUTE_BUCKETS_OVER and value % 60:
        msg = f"expected whole minutes over one hour, got {value}s"
        raise ValueError(msg)
    return value


Window = Annotated[Duration, AfterValidator(sensible_window)]
Limit = Annotated[Number, Field(gt=0, allow_inf_nan=False)]


class Windowed(Grouped):
    """Base of the kinds that fire when a group's measure over a sliding window is at or above the threshold."""

    measure: str
    """what is counted"""
    window: Window
    """a duration, 10s to 30d; over one hour, whole minutes"""
    threshold: Limit
    """fires at or above it; for distinct measures at most 100,000"""

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all groups; a threshold above the cap."""
        yield from super().contradictions(fields)
        measure, threshold = fields.get("measure"), fields.get("threshold")
        if measure in DISTINCT_MEASURES and isinstance(threshold, int | float) and threshold > DISTINCT_CAP:
            most = f"at most {DISTINCT_CAP} for the distinct measure '{measure}'"
            yield "threshold", f"threshold: expected {most}, got {threshold}"

    @property
    def distinct(self) -> bool:
        """Whether members are counted, each once, rather than amounts added up."""
        return self.measure in DISTINCT_MEASURES

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it: its own window, and those of the records within."""
        return 2 * self.window

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in: one second, or one minute for windows over an hour."""
        return 60 if self.window > MINUTE_BUCKETS_OVER else 1

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"{self.threshold:,} {self.measure} in {duration(self.window)} by {', '.join(self.group_by)}"
