"""How many revocations are carried out without a person, at most, in any hour. Pure.

A rule that is wrong, or a flood of thefts that are none, must not lock out an organisation: past the limit plans are
only made, and that is an alarm. What was revoked is in the checkpoint: a restart gives no new hour.
"""

from __future__ import annotations

from typing import Any

import msgspec

from detector.core.alarm import alarm

HOUR = 3600
RULE = "bucketwatch.revocation_limit"


class Memory(msgspec.Struct):
    """times: epoch seconds of the last hour's revocations. since: of the first one that was refused; 0: none was."""

    times: list[int] = msgspec.field(default_factory=list)
    since: int = 0
    refused: int = 0


class Hourly:
    """Counts. `limit`: an hour's. `memory`: for the checkpoint."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.memory = Memory()

    def room(self, now: int) -> bool:
        """Whether one more may be carried out."""
        self.memory.times = [at for at in self.memory.times if now - at < HOUR]
        return len(self.memory.times) < self.limit

    def took(self, now: int) -> None:
        """One was carried out."""
        self.memory.times.append(now)

    def refused(self, now: int) -> dict[str, Any] | None:
        """One was not, because of the limit; the alarm to raise, if it is the first."""
        self.memory.refused += 1
        if self.memory.since:
            return None
        self.memory.since = now
        told = (
            f"{self.limit:,} revocations were carried out within an hour, which is the limit (response.hourly). "
            "Further plans of this hour are in alerts and journal, and are not carried out."
        )
        return self._alarm("opened", now, "No more revocations are carried out this hour", told)

    def over(self, now: int) -> dict[str, Any] | None:
        """The alarm's end, once there is room again."""
        if not self.memory.since or not self.room(now):
            return None
        told = f"There is room again. {self.memory.refused:,} plans were not carried out: they are left to people."
        ended = self._alarm("closed", now, "Revocations are carried out again", told)
        self.memory.since = self.memory.refused = 0
        return ended

    def _alarm(self, state: Any, now: int, title: str, told: str) -> dict[str, Any]:
        return alarm(
            RULE,
            "hour",
            state,
            since=self.memory.since,
            now=now,
            title=title,
            explanation=told,
            runbook="Are these thefts? If so, carry the plans out by hand: each alert has its command. If not, a rule "
            "is wrong, or somebody makes logs: set response.mode to plan, and take back what was revoked (the second "
            "command of each plan).",
            group={"limit": f"{self.limit} an hour"},
        )
