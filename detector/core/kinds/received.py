"""Kind `received`: something is done in a bucket that got copies of protected objects. Pure.

A copy leaves the controls of its source behind. So whoever gets objects of a `source` is watched from then on, until a
person says what was made of it. A review takes nothing back: what was done before it stays found, in every replay.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator

from detector.core.fields import Level, Measure, Model, Texts, texts
from detector.core.kinds.windowed import Limit, Window, Windowed
from detector.core.rulebase import digest
from detector.core.suppression import ends_at
from detector.core.where import Where

MINUTE = 60
DONE = ("read", "list", "restore", "control")
"""What is worth telling of such a bucket, if the rule does not say: `read` is `copy`, too."""


def _to_the_minute(value: object) -> int:
    return ends_at(value) // MINUTE * MINUTE


class Review(Model):
    """Somebody has looked through what buckets had received by then: it is gone, guarded, or meant to be there."""

    bucket: Texts
    """globs of the buckets that were looked through"""
    at: Annotated[Any, BeforeValidator(_to_the_minute), WithJsonSchema({"type": "string"})]
    """a time, to the minute, or a day, then its end (UTC): what came later is watched again"""
    owner: Annotated[str, Field(min_length=1)]
    """who answers for it"""
    reason: Annotated[str, Field(min_length=1)]
    """what was found, and done"""


class Received(Windowed):
    """Fires when something is done in a bucket that received copies from a source, from the first copy on."""

    keyed: ClassVar[bool] = False

    kind: Literal["received"]
    source: Texts
    """globs of the protected buckets: a bucket that is none of them, and that a copy or a replication of theirs goes
    to, is watched from that second on"""
    where: Annotated[Where, Field(validate_default=True)] = Where()
    """what counts there, see below; `operation` is `[read, list, restore, control]` if nothing is said"""
    group_by: Annotated[tuple[Level, ...], BeforeValidator(texts), Field(min_length=1)] = ("bucket", "session")
    """a level, or a list of them, `bucket` among them"""
    measure: Measure = "requests"
    """what is counted"""
    window: Window = 3600
    """a duration, as of thresholds; always counted in seconds"""
    threshold: Limit = 1
    """fires at or above it"""
    reviewed: tuple[Review, ...] = ()
    """which buckets were looked through, and when, see below"""

    @field_validator("where")
    @classmethod
    def _done(cls, value: Where) -> Where:
        return value if value.operation else value.model_copy(update={"operation": DONE})

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all that count in a window; groups that do not tell buckets apart."""
        yield from super().contradictions(fields)
        levels = fields.get("group_by") or ("bucket",)
        by = (levels,) if isinstance(levels, str) else levels
        if isinstance(by, tuple) and "bucket" not in by:
            yield "group_by", f"group_by: expected bucket among them, got {', '.join(map(str, by))}"

    @property
    def arriving(self) -> Where:
        """The records by which a bucket receives something."""
        return Where(bucket=self.source, destination=("?*",), log=("cloudtrail",))

    @property
    def extra_columns(self) -> frozenset[str]:
        """Further columns it looks at."""
        return frozenset({"bucket", "destination"})

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in: always one, for the second of a copy counts."""
        return 1

    def exceptions_digest(self) -> str:
        """As for all groups; what was reviewed takes out of the count, too."""
        return digest([super().exceptions_digest(), [one.model_dump(mode="json") for one in self.reviewed]])

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"in a bucket that received from {', '.join(self.source)}: {super().summary}"
