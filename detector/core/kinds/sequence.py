"""Kind `sequence`: steps in order, by one group, within a time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from detector.core.fields import DISTINCT_MEASURES, Measure, Model
from detector.core.kinds.windowed import DISTINCT_CAP, Grouped, Limit, Window
from detector.core.times import duration
from detector.core.where import Where

MOST_STEPS = 8


class Step(Model):
    """One step: so much of `measure`, over the records that `where` selects."""

    where: Where
    """which records count for the step"""
    measure: Measure = "requests"
    """what is counted of them: {words}"""
    count: Limit = 1
    """how much of it completes the step"""


class Sequence(Grouped):
    """Fires when a group has done all steps, one after the other, within a time."""

    kind: Literal["sequence"]
    steps: Annotated[tuple[Step, ...], Field(min_length=2, max_length=MOST_STEPS)]
    """2 to 8 steps, in order; each has a `where` of its own, and the rule has none"""
    within: Window
    """a duration, as `window`: all steps in so short a time"""
    measure: ClassVar[str] = "steps"

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all groups; a `where` for all steps, a count above the cap, an exception with nothing to raise."""
        yield from super().contradictions(fields)
        if fields.get("where") not in (None, Where().model_dump()):
            yield "where", "where: expected it in the steps, each its own"
        for step in _mappings(fields.get("steps")):
            count = step.get("count")
            if step.get("measure") in DISTINCT_MEASURES and isinstance(count, int | float) and count > DISTINCT_CAP:
                yield "steps", f"steps.count: expected at most {DISTINCT_CAP} for '{step['measure']}', got {count}"
        if any(one.get("allow_up_to") is not None for one in _mappings(fields.get("exceptions"))):
            yield "exceptions", "exceptions: expected key, network or purpose: a sequence has no limit to raise"

    @property
    def wheres(self) -> tuple[Where, ...]:
        """All that select records."""
        return tuple(step.where for step in self.steps)

    @property
    def measures(self) -> tuple[str, ...]:
        """What is counted."""
        return tuple(step.measure for step in self.steps)

    @property
    def window(self) -> int:
        """Seconds within which all steps are done."""
        return self.within

    @property
    def threshold(self) -> int:
        """Steps that there are."""
        return len(self.steps)

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it."""
        return 2 * self.within

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"{', then '.join(map(told, self.steps))} within {duration(self.within)} by {', '.join(self.group_by)}"


def told(step: Step) -> str:
    """A step, in words."""
    return f"{step.count:,} {step.measure} of {' or '.join(step.where.operation or ('any operation',))}"


def _mappings(value: object) -> list[Mapping[str, Any]]:
    return [one for one in value if isinstance(one, Mapping)] if isinstance(value, tuple) else []
