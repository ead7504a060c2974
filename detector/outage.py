"""Sinks that fail: since when, why, and what is told about it. Pure.

A sink that cannot be reached is an alarm when it has failed for a while; one that refuses (a missing permission, a
topic that is gone) at once, since waiting will not mend it. The alarm goes through the other sinks;
its end through all.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from detector.core.alarm import alarm
from detector.core.times import duration
from detector.response.plain import printable

RULE = "bucketwatch.sink_down"
TEXT = 1000


class Failing(msgspec.Struct):
    """since: epoch second of the first failure since the sink last worked. refused: waiting will not mend it."""

    since: int
    error: str
    refused: bool = False
    told: bool = False


class Outages:
    """The sinks that fail. `after`: seconds until one is called down. `failing`: is in the checkpoint."""

    def __init__(self, after: int) -> None:
        self._after = after
        self.failing: dict[str, Failing] = {}

    def failed(self, sink: str, error: str, now: int, *, refused: bool) -> None:
        """A sink did not take an alert."""
        known = self.failing.setdefault(sink, Failing(now, ""))
        known.error, known.refused = error[:TEXT], known.refused or refused

    def down(self) -> list[str]:
        """Sinks that are called down."""
        return [sink for sink, failing in self.failing.items() if failing.told]

    def begun(self, now: int) -> list[dict[str, Any]]:
        """Alarms about sinks that are down from now on."""
        new = {
            sink: failing
            for sink, failing in self.failing.items()
            if not failing.told and (failing.refused or now - failing.since >= self._after)
        }
        for failing in new.values():
            failing.told = True
        return [_alarm(sink, failing, "opened", now) for sink, failing in new.items()]

    def ended(self, sink: str, now: int) -> dict[str, Any] | None:
        """A sink works (again): what to tell, if it had been called down."""
        failing = self.failing.pop(sink, None)
        return _alarm(sink, failing, "closed", now) if failing is not None and failing.told else None


def _alarm(sink: str, failing: Failing, state: Literal["opened", "closed"], now: int) -> dict[str, Any]:
    name, lasted = printable(sink, 300), duration(max(1, now - failing.since))
    told: Mapping[str, str] = {
        "opened": f"Alerts have not got through to {name} for {lasted}; they are kept and sent when it works again. "
        f"The last error: {failing.error}",
        "closed": f"Alerts get through to {name} again, after {lasted}; what had waited is being sent.",
    }
    return alarm(
        RULE,
        sink,
        state,
        since=failing.since,
        now=now,
        title=f"Alerts do not get through to {name}" if state == "opened" else f"Alerts get through to {name} again",
        explanation=told[state],
        runbook="Read the error. A refusal wants a permission, a key policy or a name mended; else look at the network "
        "and the service's state. Nothing is lost meanwhile, but nobody reads these alerts.",
        group={"sink": name},
    )
