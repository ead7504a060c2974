"""What a check says, and what it may ask. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, Protocol

from detector.response.plain import printable

Status = Literal["ok", "warn", "problem", "skipped"]
STATUSES: tuple[Status, ...] = ("problem", "warn", "skipped", "ok")
"""The worst first."""


@dataclass(frozen=True, slots=True)
class Result:
    """One thing a check found. what: one line. where: what it is about. remedy: what to do; empty where all is well."""

    check: str
    status: Status
    what: str
    where: str = ""
    remedy: str = ""

    def shown(self) -> dict[str, str]:
        """As JSON has it: nothing in it can break a line or a terminal."""
        return {name: printable(value) for name, value in asdict(self).items()}


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of a question. `found` is None if nothing did, and `why` says of what kind the refusal was.

    denied: whoever asks may not know. absent: there is no such thing. failed: no answer, or one nobody understands.
    action: what has to be allowed for this question.
    """

    found: Mapping[str, Any] | None
    why: Literal["", "denied", "absent", "failed"] = ""
    told: str = ""
    action: str = ""
    code: str = field(default="", compare=False)

    @property
    def seen(self) -> Mapping[str, Any]:
        """What was found, or nothing."""
        return self.found or {}


class Ask(Protocol):
    """Asks a service. Never raises for what AWS refuses; the same question is put once."""

    def __call__(self, question: str, /, region: str | None = None, **arguments: Any) -> Answer:
        """question: service and operation, such as `sqs:get_queue_attributes`."""


def unseen(check: str, answer: Answer, where: str, *, absent: str = "", remedy: str = "") -> Result:
    """The result of a question that nothing came of. absent: what it means that the thing is not there."""
    if answer.why == "denied":
        return Result(check, "skipped", f"may not be looked at: {answer.told}", where, f"allow {answer.action}")
    if answer.why == "absent":
        return Result(check, "problem", absent or f"is not there: {answer.told}", where, remedy)
    return Result(check, "problem", f"no answer: {answer.told}", where, "check network, region and endpoint")
