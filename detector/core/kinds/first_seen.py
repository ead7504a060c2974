"""Kind `first_seen`: something new to a group that has been known for a while. Pure.

Seen is counted by UTC days: a value is new in the second it is seen first on a day, if it was seen on none of the
`forget` days before. This depends on the set of records only, and takes one row a value and day to know.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal

from detector.core.fields import UNITS, Duration, Levels, Measure
from detector.core.kinds.windowed import DISTINCT_CAP, Limit, Window, Windowed

What = Literal[
    "session", "role", "account", "access_key", "session_name", "person", "peer_group", "source_ip", "source_net",
    "vpc_endpoint", "bucket", "prefix", "user_agent", "destination", "region",
]  # fmt: skip
VALUES = "values"
PUBLIC = {"source_ip": "public_ip", "source_net": "public_net"}
"""What may be new → the level at which its values are told apart: private addresses mean nothing, and are never new."""


class FirstSeen(Windowed):
    """Fires when something is seen in a group for the first time, or when something new does much.

    Without `new_within` the new values of a group are counted; with it, by `measure`, what each value does while it is
    new.
    """

    withdrawable: ClassVar[bool] = True

    kind: Literal["first_seen"]
    what: What
    """what may be new to a group: a level, or `prefix` (bucket and key up to its last `/`), `user_agent`,
    `destination`, `region`"""
    learn: Duration = 7 * UNITS["d"]
    """a duration: silent until the group itself has been seen for so long"""
    forget: Duration = 90 * UNITS["d"]
    """whole days: what was not seen on so many days is new again; at least `learn`"""
    new_within: Duration | None = None
    """a duration: count what each value does while it has been new for no longer"""
    measure: Literal["values"] | Measure = "values"
    """with `new_within`, what is counted of a value; without, `values`: the new values of a group"""
    window: Window = 3600
    """a duration, as of thresholds; always counted in seconds"""
    threshold: Limit = 1
    """fires at or above it"""

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all that count in a window; new to itself, forgotten before it is learnt, half of the second form."""
        yield from super().contradictions(fields)
        what, by, learn, forget = (fields.get(name) for name in ("what", "group_by", "learn", "forget"))
        if what in ((by,) if isinstance(by, str) else by or ("session",)):
            yield "what", f"what: expected something that is not in group_by, got {what}"
        if isinstance(forget, int) and (forget % UNITS["d"] or not forget):
            yield "forget", f"forget: expected whole days, got {forget}s"
        if isinstance(forget, int) and isinstance(learn, int) and learn > forget:
            yield "learn", f"learn: expected no more than forget, got {learn}s and {forget}s"
        measure, threshold = fields.get("measure") or VALUES, fields.get("threshold")
        if (measure == VALUES) != (fields.get("new_within") is None):
            yield "measure", "measure: expected it together with new_within: what a new value does is counted"
        if measure == VALUES and isinstance(threshold, int | float) and threshold > DISTINCT_CAP:
            yield "threshold", f"threshold: expected at most {DISTINCT_CAP}, got {threshold}"

    @property
    def pairs(self) -> Levels:
        """The levels at which a group and a value of it are one."""
        level: Any = PUBLIC.get(self.what, self.what)
        return Levels((*self.group_by, level), tuple(self.peer_groups.items()))

    @property
    def grouping(self) -> tuple[str, ...]:
        """The levels at which records are counted together."""
        return self.group_by if self.new_within is None else self.pairs

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that records are told apart by."""
        return self.pairs

    @property
    def measures(self) -> tuple[str, ...]:
        """What is counted."""
        return () if self.measure == VALUES else (self.measure,)

    @property
    def distinct(self) -> bool:
        """Whether members are counted, each once, rather than amounts added up."""
        return self.measure == VALUES or super().distinct

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in: always one, for the second in which something is new counts."""
        return 1

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it."""
        return 2 * self.window + (self.new_within or 0)

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        if self.new_within is None:
            return f"a new {self.what}: {super().summary}"
        return f"a {self.what} new to its {', '.join(self.group_by)}: {super().summary}"
