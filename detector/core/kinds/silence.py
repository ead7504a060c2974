"""Kind `silence`: something that used to be heard is heard no more. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from detector.core.fields import UNITS, Duration, Level, texts
from detector.core.rulebase import RuleBase
from detector.core.times import duration


def _sensible(value: int) -> int:
    if not 60 <= value <= 366 * UNITS["d"]:
        msg = f"expected 1m to 366d, got {value}s"
        raise ValueError(msg)
    return value


Span = Annotated[Duration, AfterValidator(_sensible)]
BucketName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{1,254}$")]


class Silence(RuleBase):
    """Fires when no record of a group came for longer than `every`."""

    withdrawable: ClassVar[bool] = True
    keyed: ClassVar[bool] = False
    has_evidence: ClassVar[bool] = False
    measure: ClassVar[str] = "seconds"

    kind: Literal["silence"]
    every: Span
    """a duration, 1m to 366d: a group is silent when no record came for longer"""
    group_by: Annotated[tuple[Level, ...], BeforeValidator(texts)] = ()
    """a level, or a list of them: what may fall silent, each by itself; without it all records together"""
    expect: Annotated[tuple[BucketName, ...], BeforeValidator(texts), Field(max_length=1000)] = ()
    """names of buckets, with `group_by: bucket`: these are missed even if they were never heard"""
    forget: Span = 90 * UNITS["d"]
    """a duration, longer than `every`: what was silent for so long is no longer missed, and its finding closes"""

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for every rule; buckets that are expected of something else, what is forgotten before it is missed."""
        yield from super().contradictions(fields)
        by, every, forget = (fields.get(name) for name in ("group_by", "every", "forget"))
        levels = (by,) if isinstance(by, str) else by or ()
        if fields.get("expect") and levels != ("bucket",):
            yield "expect", f"expect: expected it with `group_by: bucket`, got {', '.join(levels) or 'no group_by'}"
        if len(set(levels)) != len(levels):
            yield "group_by", f"group_by: expected each level once, got {', '.join(levels)}"
        if isinstance(every, int) and isinstance(forget, int) and forget <= every:
            yield "forget", f"forget: expected more than every, got {duration(forget)} and {duration(every)}"

    @property
    def threshold(self) -> int:
        """Seconds without a record that are still in order."""
        return self.every

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it."""
        return self.every

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        of = f" of a {', '.join(self.group_by)}" if self.group_by else ""
        return f"no such record{of} for {duration(self.every)}"
