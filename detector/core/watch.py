"""What the watches of all kinds of rules share: selecting records, telling of episodes, their checkpoint. Pure.

A kind says what it counts (`absorb`), when there is an episode (`judge`, `advance`), and how a finding reads.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Generic, Protocol, TypeVar

import msgspec
import numpy as np

from detector.core.access import Log, Mask
from detector.core.chosen import Chosen
from detector.core.curve import Curve
from detector.core.episode import CLOSED, Ledger, Tracked
from detector.core.finding import Finding, finding_id, group_key, principal_json
from detector.core.groupings import GroupKey
from detector.core.part import Spilling
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import Rule
from detector.core.sighting import Texts
from detector.core.tally import Pool
from detector.core.verdict import Verdict
from detector.core.view import BatchView
from detector.core.watermark import FOREVER

R = TypeVar("R", bound=Rule)

encoded = msgspec.msgpack.Encoder().encode
"""A group's key as bytes."""
_DECODE = msgspec.msgpack.Decoder(list[str]).decode


def decoded(keys: Texts, group: int) -> GroupKey:
    """The key of a group, of all that were remembered as `encoded`."""
    return tuple(_DECODE(keys.of(np.array([group], np.uint64))[group]))


class Stored(Protocol):
    """State that writes checkpoint parts of its own."""

    def names(self) -> set[str]: ...
    def changes(self) -> Mapping[str, bytes | None]: ...


class EpisodeWatch(ABC, Generic[R]):
    """State of one rule whose findings are episodes of a group."""

    def __init__(self, rule: R, people: People, stored: Sequence[Stored]) -> None:
        """`stored`: what of its state writes parts of its own; the rest is in `state` and `resume`."""
        self.rule, self.people = rule, people
        self.chosen = Chosen(rule)
        self.ledger = Ledger(rule.id, withdrawable=rule.withdrawable)
        self.changed = True
        self._stored = stored

    @property
    def levels(self) -> GroupKey:
        """The levels of a group, as people see them."""
        return self.rule.group_by

    @abstractmethod
    def absorb(self, view: BatchView, late: Mask) -> None:
        """Count the rows of a batch that the rule is about."""

    @abstractmethod
    def advance(self, watermark: int) -> list[Finding]:
        """Findings that event time having passed `watermark` brings: closed ones above all."""

    @abstractmethod
    def key(self, group: int) -> GroupKey:
        """One text a level."""

    @abstractmethod
    def people_of(self, group: int, tracked: Tracked) -> list[Principal]:
        """The credentials behind an episode."""

    @abstractmethod
    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """The fields of a finding that the kind fills, `explanation` among them. `shown`: level → name for people."""

    @abstractmethod
    def forget_before(self, second: int) -> None:
        """Let go of everything that only records before this second could change."""

    @abstractmethod
    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint, beside digest and ledger."""

    @abstractmethod
    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where `state` and the parts of what is stored say."""

    def share(self, pool: Pool) -> None:
        """Hold what another rule counts just so together with it: once, of all rules of an engine."""

    def judge(self) -> list[Finding]:
        """Findings that what was absorbed so far suffices for; none where only `advance` can tell."""
        return []

    def curve(self, finding: Finding) -> Curve | None:  # noqa: ARG002  for kinds that count
        """How the value behind one of its findings went; None: it is no value that goes up and down."""
        return None

    def take(self, rule: R) -> None:
        """From now on the rule is worded so; it counts what it counted."""
        self.rule = rule

    def mark(self, verdict: Verdict) -> str:  # noqa: ARG002  for kinds that learn
        """A person has said what a finding was; what that changes, for people."""
        return "nothing: this rule learns nothing from verdicts"

    def end(self) -> list[Finding]:
        """The rule is no more: close what is open, with the figures so far."""
        return self.close(FOREVER)

    def reads(self) -> tuple[Log, ...]:
        """Kinds of log the rule reads; it closes on the slowest of them."""
        return self.chosen.logs

    def learning(self) -> bool:
        """Whether it knows too little yet to find anything."""
        return False

    def names(self) -> set[str]:
        """Names of its parts in the checkpoint."""
        return {f"watch/{self.rule.id}"}.union(*(one.names() for one in self._stored))

    def changes(self) -> dict[str, bytes | None]:
        """Parts of a checkpoint that changed since the last call."""
        parts = {name: part for one in self._stored for name, part in one.changes().items()}
        if parts or self.changed:
            common = {"digest": self.rule.digest(), "ledger": self.ledger.snapshot()}
            parts[f"watch/{self.rule.id}"] = msgspec.msgpack.encode(common | self.state())
        self.changed = False
        return parts

    def restore(self, parts: Mapping[str, bytes]) -> None:
        """Go on where a checkpoint stopped; a rule that now says something else starts anew."""
        data = parts.get(f"watch/{self.rule.id}")
        state = msgspec.msgpack.decode(data) if data else {}
        if state.get("digest") != self.rule.digest():
            return
        self.changed = False
        self.ledger.restore(state["ledger"])
        self.resume(parts, state)

    def close(self, passed: int) -> list[Finding]:
        """Close the episodes that ended before this second."""
        closed = self.ledger.close(passed)
        self.changed |= bool(closed)
        return [self.finding(group, tracked, CLOSED) for group, tracked in closed]

    def settle(self, group: int, episodes: Iterable[Any], *, late: bool = False, silent: bool = False) -> list[Finding]:
        """Hold a group's episodes against what has been told about it; what there is to tell.

        silent: nothing before an episode has ended.
        """
        told = self.ledger.settle(group, group_key(self.key(group)), episodes, late=late)
        return [] if silent else [self.finding(group, tracked, state) for state, tracked in told]

    def shown(self, group: int) -> dict[str, str]:
        """Level → name for people."""
        return {level: self.people.name(level, one) for level, one in zip(self.levels, self.key(group), strict=True)}

    def finding(self, group: int, tracked: Tracked, state: str) -> Finding:
        """What there is to tell of an episode."""
        rule, episode, key, shown = self.rule, tracked.episode, self.key(group), self.shown(group)
        level = next((name for name in ("session", "access_key", "role", "session_name") if name in shown), "")
        fields: dict[str, Any] = {
            "finding_id": finding_id(rule.id, group_key(key), episode.opened_at),
            "rule_id": rule.id,
            "title": rule.title,
            "kind": rule.kind,
            "severity": rule.severity,
            "state": state,
            "opened_at": episode.opened_at,
            "last_at": episode.last_at,
            "measure": rule.measure,
            "threshold": rule.threshold,
            "peak_value": episode.peak_value,
            "peak_at": episode.peak_at,
            "group": shown,
            "group_id": group,
            "principal": principal_json(self.people_of(group, tracked), level),
            "at_least": episode.at_least,
            "late": tracked.late,
            "alert_ids": tracked.alert_ids,
        }
        return Finding(**fields | self.explain(group, shown, tracked))
