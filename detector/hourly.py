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
    """taken: whom the last hour's revocations were about, and when (epoch seconds). since: of the first one that was
    refused; 0: none was.
    """

    taken: dict[str, int] = msgspec.field(default_factory=dict)
    since: int = 0
    refused: int = 0


class Hourly:
    """Counts sessions, not attempts: what failed may stand all the same. `limit`: an hour's. `memory`: is saved."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.memory = Memory()

    def room(self, who: str, now: int) -> bool:
        """Whether this session may be revoked: there is room, or it has been counted."""
        self._forget(now)
        return who in self.memory.taken or len(self.memory.taken) < self.limit

    def take(self, who: str, now: int) -> bool:
        """Count it, before anything is done; whether it had not been."""
        new = who not in self.memory.taken
        self.memory.taken.setdefault(who, now)
        return new

    def give_back(self, who: str) -> None:
        """Nothing was done: it does not count."""
        self.memory.taken.pop(who, None)

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
        """The alarm's end, once half of an hour's are free again: it must not come and go with each of them."""
        self._forget(now)
        if not self.memory.since or len(self.memory.taken) > self.limit // 2:
            return None
        told = f"There is room again. {self.memory.refused:,} plans were not carried out: they are left to people."
        ended = self._alarm("closed", now, "Revocations are carried out again", told)
        self.memory.since = self.memory.refused = 0
        return ended

    def _forget(self, now: int) -> None:
        self.memory.taken = {who: at for who, at in self.memory.taken.items() if now - at < HOUR}

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
