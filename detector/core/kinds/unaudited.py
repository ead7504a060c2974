"""Kind `unaudited`: objects were read of which the application's own audit log tells nothing. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, Field, field_validator

from detector.core.fields import UNITS, Duration, Texts
from detector.core.kinds.windowed import Limit, Window, Windowed
from detector.core.times import duration
from detector.core.where import Where

SAMPLE_ID = "{sample_id}"


def _within_a_day(value: int) -> int:
    if not 1 <= value <= UNITS["d"]:
        msg = f"expected 1s to 1d, got {value}s"
        raise ValueError(msg)
    return value


Nearby = Annotated[Duration, AfterValidator(_within_a_day)]


class Unaudited(Windowed):
    """Fires when a group reads objects without a matching record in the application's audit log."""

    withdrawable: ClassVar[bool] = True
    keyed: ClassVar[bool] = False

    kind: Literal["unaudited"]
    where: Annotated[Where, Field(validate_default=True)] = Where()
    """which reads need a record, see below; `operation` is `read` if nothing is said"""
    within: Nearby = 600
    """a duration: how far a record may lie from its read, before or after it"""
    silent_after: Nearby = 1800
    """a duration: reads in a gap of the audit log longer than this are told together, as its silence"""
    key: Texts | None = None
    """how the key of a sample is made, such as `raw/{sample_id}.wav`: for records that name no key"""
    match_requester: bool = False
    """`true`: the record has to name the reader, too: its `requester` is the session's or user's name"""
    measure: Literal["objects"] = "objects"
    """what is counted: distinct objects read without a record"""
    window: Window = 300
    """a duration, as of thresholds; always counted in seconds"""
    threshold: Limit = 1
    """fires at or above it"""

    @field_validator("where")
    @classmethod
    def _reads(cls, value: Where) -> Where:
        return value if value.operation else value.model_copy(update={"operation": ("read",)})

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """As for all that count in a window; keys without the sample, an audit log that is held against itself."""
        yield from super().contradictions(fields)
        key, where = fields.get("key"), fields.get("where")
        for pattern in (key,) if isinstance(key, str) else key or ():
            if isinstance(pattern, str) and (pattern.count(SAMPLE_ID) != 1 or pattern.count("{") != 1):
                yield "key", f"key: expected {SAMPLE_ID} once, and no other placeholder, got '{pattern}'"
        if isinstance(where, Mapping) and "access_audit" in (where.get("log") or ()):
            yield "where", "where.log: expected logs of AWS: they are held against the audit log, got access_audit"

    @property
    def ahead(self) -> int:
        """Seconds after a read that decide about it."""
        return max(self.within, self.silent_after)

    @property
    def extra_columns(self) -> frozenset[str]:
        """Further columns it looks at."""
        return frozenset({"bucket", "key", "sample_id"})

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in: always one, for the second of a read counts."""
        return 1

    @property
    def reach(self) -> int:
        """Seconds before a record that still matter to it."""
        return 2 * (self.window + self.ahead)

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"not in the audit log within {duration(self.within)}: {super().summary}"
