"""Storm control: when very many findings open at once, most of their alerts go out together. Pure.

A kind is a rule and a severity. Rules of this file
- The first opening of a kind in a window goes out by itself, always. So do the next ones, up to `single` of the kind
  and `total` of all kinds in the window (critical ones do not count and are not bound by `total`). While a kind is
  still storming, and while a sink is so far behind that alerts are piling up (`crowded`), it is the first only.
- What does not go out by itself is held for its kind's digest, which goes out `every` so many seconds, for critical
  findings after `critical_within`.
- What becomes of a finding later goes out the way its opening did: a finding whose opening nobody saw by itself is not
  closed by itself.
- A digest counts what it stands for by state, and names the first and the largest groups, the alert ids (bounded) and
  the journal's entries, in which every finding stands by itself.
- Everything depends on what was offered, in which order and when; nothing on chance. The state is in the checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from detector.core.access import text_hash
from detector.core.dedup import Seen
from detector.core.finding import alert_id
from detector.core.times import duration, iso

DIGEST = "bucketwatch.digest.v1"
REMEMBERED = 15 * 86_400
"""Seconds for which a held finding is known as such; after that its alerts go out by themselves again."""
RECENT = 50_000
"""Of these, ids that are known without a look at the checkpoint's parts, at most so many and the last save's."""
TEXT = 300
STATES = ("opened", "updated", "closed", "withdrawn")


@dataclass(frozen=True, slots=True)
class Limits:
    """What goes out one by one. Times in seconds. named: groups named in a digest. ids: alert ids in it, at most."""

    window: int = 300
    single: int = 10
    total: int = 100
    every: int = 300
    critical_within: int = 60
    named: int = 10
    ids: int = 100


STORM = Limits()


class Kind(msgspec.Struct):
    """A kind's window: since when, how many went out by themselves, how many were held, and whether the last held."""

    since: int
    sent: int = 0
    held: int = 0
    storming: bool = False


class Held(msgspec.Struct):
    """A digest in the making. entries: the first and the last of the journal's entries it stands for."""

    about: dict[str, Any]
    since: int
    until: int
    entries: tuple[int, int]
    states: dict[str, int] = msgspec.field(default_factory=dict)
    first: list[dict[str, Any]] = msgspec.field(default_factory=list)
    largest: list[dict[str, Any]] = msgspec.field(default_factory=list)
    alert_ids: list[str] = msgspec.field(default_factory=list)


class Memory(msgspec.Struct):
    """What a checkpoint keeps beside the parts of `Storm.changes`. since, sent: the window of all kinds together."""

    since: int = 0
    sent: int = 0
    kinds: dict[str, Kind] = msgspec.field(default_factory=dict)
    held: dict[str, Held] = msgspec.field(default_factory=dict)


class Storm:
    """Which alerts go out by themselves. Times in epoch seconds, never going back."""

    def __init__(self, limits: Limits = STORM) -> None:
        self.limits, self.memory = limits, Memory()
        self._grouped = Seen("grouped")
        self._fresh: dict[int, int] = {}
        self._recent: set[int] = set()

    def restore(self, memory: Memory, parts: Mapping[str, bytes]) -> None:
        """Go on from a checkpoint."""
        self.memory = memory
        self._grouped.restore(parts)

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that came or went since the last call."""
        if self._fresh:
            ids, times = np.array([*self._fresh], np.uint64), np.array([*self._fresh.values()], np.int64)
            self._grouped.forget_before(max(self._fresh.values()) - REMEMBERED)
            self._grouped.remember(ids, times)
            self._recent = set(self._fresh) | (self._recent if len(self._recent) < RECENT else set())
            self._fresh = {}
        return self._grouped.changes()

    def offer(self, alert: Mapping[str, Any], seq: int, now: int, *, crowded: bool = False) -> bool:
        """Whether this alert goes out by itself. seq: of its journal entry. crowded: alerts are piling up."""
        key = msgspec.json.encode((alert["rule_id"], alert["severity"])).decode()
        ids = {text_hash(str(one)) for one in (alert["alert_id"], *alert.get("alert_ids", ()))}
        if alert["state"] == "opened":
            alone = self._alone(key, alert["severity"] == "critical", now, crowded=crowded)
            if not alone:
                self._fresh |= dict.fromkeys(ids, now)
        else:
            alone = not all(self._held(one) for one in ids)
        if not alone:
            self._hold(key, alert, seq, now)
        return alone

    def due(self, now: int, *, everything: bool = False) -> list[dict[str, Any]]:
        """The digests to send now, as alerts."""
        self._forget(now)
        out = []
        for key, held in sorted(self.memory.held.items()):
            wait = self.limits.critical_within if held.about["severity"] == "critical" else self.limits.every
            if everything or now - held.since >= wait:
                out.append(_digest(held, now))
                del self.memory.held[key]
        return out

    def _alone(self, key: str, critical: bool, now: int, *, crowded: bool) -> bool:
        window, kind = self.limits.window, self.memory.kinds.get(key)
        if kind is None or now - kind.since >= window:
            storming = kind is not None and kind.held > 0 and now - kind.since < 2 * window
            kind = self.memory.kinds[key] = Kind(now, storming=storming)
        if now - self.memory.since >= window:
            self.memory.since, self.memory.sent = now, 0
        room = critical or self.memory.sent < self.limits.total
        more = not (kind.storming or crowded) and kind.sent < self.limits.single and room
        if kind.sent and not more:
            kind.held += 1
            return False
        kind.sent += 1
        self.memory.sent += not critical
        return True

    def _held(self, one: int) -> bool:
        """Whether the opening with this id went into a digest."""
        known = one in self._fresh or one in self._recent
        return known or bool(self._grouped.contains(np.array([one], np.uint64))[0])

    def _hold(self, key: str, alert: Mapping[str, Any], seq: int, now: int) -> None:
        held = self.memory.held.get(key)
        if held is None:
            about = {name: alert.get(name) for name in ABOUT}
            held = self.memory.held[key] = Held(about, now, now, (seq, seq))
        held.until, held.entries = now, (held.entries[0], seq)
        state, named = str(alert["state"]), _named(alert)
        held.states[state] = held.states.get(state, 0) + 1
        if len(held.first) < self.limits.named:
            held.first.append(named)
        others = [one for one in held.largest if one["alert_id"] != named["alert_id"]]
        held.largest = sorted([*others, named], key=_excess, reverse=True)[: self.limits.named]
        if named["alert_id"] not in held.alert_ids and len(held.alert_ids) < self.limits.ids:
            held.alert_ids.append(named["alert_id"])

    def _forget(self, now: int) -> None:
        """Kinds of which nothing was heard for two windows."""
        kinds, old = self.memory.kinds, now - 2 * self.limits.window
        self.memory.kinds = {key: kind for key, kind in kinds.items() if kind.since > old}


ABOUT = ("rule_id", "severity", "title", "kind", "measure", "threshold", "window_seconds", "runbook", "stage")


def _named(alert: Mapping[str, Any]) -> dict[str, Any]:
    """What a digest says of one finding."""
    group = {str(level): str(name)[:TEXT] for level, name in (alert.get("group") or {}).items()}
    names = ("alert_id", "state", "opened_at", "last_at", "peak_value", "threshold")
    return {name: alert.get(name) for name in names} | {"group": group}


def _excess(named: Mapping[str, Any]) -> float:
    """How far past its threshold."""
    peak, threshold = named.get("peak_value"), named.get("threshold")
    if not isinstance(peak, int | float) or not isinstance(threshold, int | float):
        return 0.0
    return peak / threshold if threshold > 0 else float(peak)


def _digest(held: Held, now: int) -> dict[str, Any]:
    """The alert that stands for many. Its state is the most urgent of theirs, so that filters on `opened` see it."""
    rule, count = str(held.about["rule_id"]), sum(held.states.values())
    states = {state: held.states[state] for state in STATES if state in held.states}
    largest = held.largest[0]
    seen = held.first + held.largest
    return held.about | {
        "schema": DIGEST,
        "alert_id": "d" + alert_id(rule, f"{held.about['severity']}", held.entries[0])[1:],
        "state": next(iter(states), "updated"),
        "opened_at": min(str(one["opened_at"]) for one in seen),
        "last_at": max(str(one["last_at"]) for one in seen),
        "sent_at": iso(now),
        "peak_value": largest["peak_value"],
        "group": {},
        "principal": None,
        "explanation": _explained(held, count, states),
        "digest": {
            "count": count,
            "states": states,
            "since": iso(held.since),
            "until": iso(held.until),
            "first": held.first,
            "largest": held.largest,
            "alert_ids": held.alert_ids,
            "journal": {"first": held.entries[0], "last": held.entries[1]},
        },
    }


def _explained(held: Held, count: int, states: Mapping[str, int]) -> str:
    told = ", ".join(f"{n:,} {state}" for state, n in states.items())
    span = duration(max(1, held.until - held.since))
    return (
        f"{count:,} alerts of this rule within {span} ({told}), beside those sent by themselves: told together, "
        f"because there are so many. Each is in the journal under its own alert_id, in entries {held.entries[0]} to "
        f"{held.entries[1]}. If most are harmless, the rule is wrong; if they are not, begin with the largest."
    )
