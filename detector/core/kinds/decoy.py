"""Kind `decoy`: somebody took an object that nobody has reason to read. Pure: which objects those are is given.

Whatever is done to get at the bytes counts, whether or not S3 gave them: a refusal, an archived object and a condition
that did not hold are attempts. Listing a folder shows a decoy's name to everybody, and is none.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import date
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from detector.core.fields import UNITS, Duration, Measure, Model, Number, Texts
from detector.core.kinds.windowed import Windowed
from detector.core.rulebase import end_of
from detector.core.where import Where

TOUCHES = ("read", "restore")
"""What takes a decoy, if the rule does not say: `read` is `copy`, too."""


class Reader(Model):
    """Somebody who reads whole buckets by right: a backup, an inventory, a scanner. With owner, reason and expiry.

    All given fields must hold. The narrower, the less it helps whoever steals the reader's credentials.
    """

    session: Texts | None = None
    role: Texts | None = None
    account: Texts | None = None
    session_name: Texts | None = None
    operation: Texts | None = None
    bucket: Texts | None = None
    key: Texts | None = None
    source_ip: Texts | None = None
    user_agent: Texts | None = None
    vpc_endpoint: Texts | None = None
    until: date
    owner: Annotated[str, Field(min_length=1)]
    reason: Annotated[str, Field(min_length=1)]

    @model_validator(mode="after")
    def _names_somebody(self) -> Reader:
        if not any((self.session, self.role, self.account, self.session_name)):
            msg = "expected session, role, account or session_name: who the reader is"
            raise ValueError(msg)
        return self

    @property
    def where(self) -> Where:
        """The records that are this reader's."""
        given = self.model_dump(exclude={"until", "owner", "reason"}, exclude_none=True)
        return Where(outcome=("any",), log=("cloudtrail", "server_access", "access_audit"), **given)

    @property
    def ends_at(self) -> int:
        """Epoch seconds from which this is a reader no longer."""
        return end_of(self.until)


class DecoyRule(Windowed):
    """Fires when a group takes a decoy. Touches at most one window apart are one finding."""

    kind: Literal["decoy"]
    where: Annotated[Where, Field(validate_default=True)] = Where()
    """which records count, see below"""
    measure: Measure = "objects"
    """as for `threshold`"""
    window: Duration = UNITS["h"]
    """touches at most so far apart are one finding"""
    threshold: Annotated[Number, Field(gt=0, allow_inf_nan=False)] = 1
    """fires at or above it"""
    decoys: tuple[Annotated[str, Field(pattern=r"^s3://[a-z0-9.-]{3,63}/[\s\S]{1,1024}$")], ...] = ()
    """further decoys, `s3://bucket/key` each, beside those of the registry"""
    readers: tuple[Reader, ...] = ()
    """who may take them, see below"""

    @field_validator("where")
    @classmethod
    def _touches(cls, value: Where) -> Where:
        """What is not said about operation and outcome means more here than in other kinds."""
        told = {"operation": TOUCHES, "outcome": ("any",)}
        return value.model_copy(update={name: told[name] for name in told.keys() - value.model_fields_set})

    def knowing(self, decoys: Iterable[tuple[str, str]]) -> DecoyRule:
        """The same rule with these decoys (bucket, key) beside its own."""
        every = {*self.decoys, *(f"s3://{bucket}/{key}" for bucket, key in decoys)}
        return self.model_copy(update={"decoys": tuple(sorted(every))})

    @property
    def summary(self) -> str:
        """What fires it, in a line."""
        return f"any of {len(self.decoys):,} decoys taken, by {', '.join(self.group_by)}"
