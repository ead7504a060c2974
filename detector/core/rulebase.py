"""What all kinds of rules share: which records count, what people read, who is told. Pure.

Models are frozen; a rule is configuration, never state. What a kind adds is in `detector.core.kinds`.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime
from ipaddress import ip_network
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, field_validator, model_validator

from detector.core.example import Example
from detector.core.fields import UNITS, Model, Number, Severity, Texts, texts
from detector.core.where import Where

NOT_COUNTED = {
    "title", "description", "runbook", "references", "blind_spot", "severity", "stage", "respond",
    "accept_withdrawable", "exceptions", "tests", "decoys", "readers", "reviewed",
}  # fmt: skip
"""Fields of a rule that change nothing about what it counts."""


WORDING = {"owner", "reason", "accept_blind"}
"""Fields of an exception that change nothing about what is counted."""


def digest(meaning: object) -> str:
    """Identity of plain data."""
    return hashlib.sha256(json.dumps(meaning, sort_keys=True).encode()).hexdigest()[:16]


def end_of(day: date) -> int:
    """Epoch seconds of the end of a day, UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) + UNITS["d"]


class Exemption(Model):
    """An exception to a rule for some identities, until a date, with owner and reason.

    Either it raises their limit (`allow_up_to`), or it is bound to keys, networks or purposes: their records that fit
    do not count.
    """

    session: Texts | None = None
    """for whom: as in `where`"""
    role: Texts | None = None
    """for whom: as in `where`"""
    account: Texts | None = None
    """for whom: as in `where`"""
    session_name: Texts | None = None
    """for whom: as in `where`"""
    allow_up_to: Annotated[Number, Field(gt=0, allow_inf_nan=False)] | None = None
    """fires only above this"""
    bucket: Texts | None = None
    """globs of buckets, with one of the others"""
    key: Texts | None = None
    """globs of keys; `bucket` may narrow them"""
    network: Texts | None = None
    """networks (`203.0.113.0/24`) and ids of VPC endpoints; a private network means nothing outside its VPC"""
    purpose: Texts | None = None
    """purposes in the application's audit log, globs allowed"""
    accept_blind: bool = False
    """`true`: that no rule about volumes is left for them is meant"""
    until: date
    """the last day it holds (a date, UTC)"""
    owner: Annotated[str, Field(min_length=1)]
    """who answers for it"""
    reason: Annotated[str, Field(min_length=1)]
    """why"""

    @field_validator("network")
    @classmethod
    def _networks(cls, value: tuple[str, ...] | None) -> tuple[str, ...] | None:
        for text in value or ():
            if not text.startswith("vpce-"):
                try:
                    ip_network(text)
                except ValueError as error:
                    msg = f"expected a network such as 203.0.113.0/24 or a VPC endpoint's id, got '{text}' ({error})"
                    raise ValueError(msg) from error
        return value

    @model_validator(mode="after")
    def _says_whom_and_what(self) -> Exemption:
        if not any((self.session, self.role, self.account, self.session_name)):
            msg = "expected session, role, account or session_name: whom the exception is for"
            raise ValueError(msg)
        if (self.allow_up_to is None) != self.is_bound or (self.bucket and not self.is_bound):
            msg = "expected either allow_up_to, or what it is bound to: key (perhaps in a bucket), network, purpose"
            raise ValueError(msg)
        return self

    @property
    def is_bound(self) -> bool:
        """Whether it takes records out of the count, rather than raise the limit."""
        return any((self.key, self.network, self.purpose))

    @property
    def columns(self) -> set[str]:
        """The columns it looks at."""
        of_network = {"source_ip", "vpc_endpoint"} if self.network else set()
        return of_network | {name for name in ("bucket", "key", "purpose") if getattr(self, name)}

    @property
    def ends_at(self) -> int:
        """Epoch seconds from which the exception no longer holds."""
        return end_of(self.until)


class RuleBase(Model, ABC):
    """Base of all kinds. A kind adds at least `kind`, `group_by`, `measure`, `threshold` and `reach`.

    levels, measures, wheres, extra_columns: what it looks at of records, if more than the fields of these names.
    granularity: seconds a bucket of time counts in.
    """

    withdrawable: ClassVar[bool] = False
    """Whether a finding opened on part of the data may turn out to be none."""
    has_evidence: ClassVar[bool] = True
    """Whether there are records behind its findings."""
    keyed: ClassVar[bool] = True
    """Whether its groups stand alone, each found by the records of its own that `wheres` select."""

    id: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")]
    """a-z, 0-9 and `-`, at most 64; no two rules share one; findings and alerts carry it"""
    title: Annotated[str, Field(min_length=1, max_length=200)]
    """one line for people, at most 200 characters"""
    severity: Severity
    """{words}; `info` and `low` never page"""
    where: Where = Where()
    """which records count, see below; without it all successful ones"""
    respond: Annotated[tuple[Literal["alert", "revoke"], ...], BeforeValidator(texts)] = ("alert",)
    """a list of `alert` and `revoke`; `revoke` is for threshold rules, others have to say `accept_withdrawable`"""
    accept_withdrawable: bool = False
    """`true`: revoke also for a kind of finding that may be withdrawn when all data is known"""
    stage: Literal["live", "staged"] = "live"
    """{words}: a staged rule is evaluated and journalled, never pages, never revokes"""
    description: str = ""
    """what it means and what it does not"""
    runbook: str = ""
    """what to do about it; it is in the alert"""
    references: Annotated[tuple[str, ...], BeforeValidator(texts)] = ()
    """a text or a list: techniques, tickets, pages; they are in the alert"""
    blind_spot: str = ""
    """what the rule cannot see; it is in the alert"""
    tests: tuple[Example, ...] = ()
    """what happens, and what the rule finds in it, see below"""

    @classmethod
    def contradictions(cls, fields: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        """What of a rule's fields is right by itself and wrong together: (field, what is wrong)."""
        respond = fields.get("respond")
        revokes = isinstance(respond, str | tuple) and "revoke" in respond
        if cls.withdrawable and revokes and not fields.get("accept_withdrawable"):
            kind = f"a finding of kind {fields.get('kind')} may be withdrawn, so it must not revoke"
            yield "respond", f"respond: expected alert only: {kind} (unless the rule says `accept_withdrawable: true`)"

    @model_validator(mode="after")
    def _holds_together(self) -> Self:
        for _, told in self.contradictions(self.model_dump()):
            raise ValueError(told)
        return self

    @property
    def pages(self) -> bool:
        """Whether findings are sent to people: staged rules and low severities are journalled only."""
        return self.stage == "live" and self.severity not in ("info", "low")

    @property
    def wheres(self) -> tuple[Where, ...]:
        """All that select records."""
        return (self.where,)

    @property
    def grouping(self) -> tuple[str, ...]:
        """The levels at which records are counted together."""
        levels: tuple[str, ...] = getattr(self, "group_by")  # noqa: B009  every kind has it
        return levels

    @property
    def levels(self) -> tuple[str, ...]:
        """Levels that records are told apart by."""
        return self.grouping

    @property
    def granularity(self) -> int:
        """Seconds a bucket of time counts in."""
        return 1

    @property
    def measures(self) -> tuple[str, ...]:
        """What is counted."""
        return (getattr(self, "measure"),)  # noqa: B009  every kind has it

    @property
    def extra_columns(self) -> frozenset[str]:
        """Further columns it looks at."""
        return frozenset()

    @property
    def bound(self) -> tuple[Exemption, ...]:
        """Exceptions that take records out of the count."""
        return tuple(one for one in getattr(self, "exceptions", ()) if one.is_bound)

    @property
    @abstractmethod
    def summary(self) -> str:
        """What fires it, in a line."""

    def digest(self) -> str:
        """Identity of what the rule counts: a rule whose digest is unchanged keeps its windows over a restart."""
        counted = self.model_dump(mode="json", exclude=NOT_COUNTED, exclude_none=True)
        if self.bound:
            counted["bound"] = [one.model_dump(mode="json", exclude=WORDING) for one in self.bound]
        return digest(counted)
