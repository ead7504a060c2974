"""A drill from beginning to end: a stage (generated, or the user's logs), thefts planted there, the rules over it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import chain
from typing import Any, Protocol

from detector.core.projection import columns
from detector.core.rule import Rule
from detector.core.times import iso
from replay.drill.calls import Partition
from replay.drill.decoys import Decoys
from replay.drill.organisation import Organisation, Shape
from replay.drill.people import DAY
from replay.drill.thefts import Scene, Theft, plant
from replay.drill.traffic import Arrival, Asked, Batches
from replay.drill.trial import DELIVERIES, Caught, Page, caught, pages, scene

DAYS, ROLES = 10, 40
"""Of the generated organisation: enough for a model to learn from, a minute to judge."""
QUIET = 0.6
"""The share of the stage's time that passes before the first theft."""


class Stage(Protocol):
    """Where thefts are planted."""

    first: int
    last: int

    def home(self, bucket: str) -> Partition: ...
    def scene(self, seed: int) -> Scene:
        """What a thief finds."""

    def arrivals(self, columns: frozenset[str], decoys: Decoys) -> Iterator[Arrival]:
        """What happens without a thief."""


class Generated:
    """A generated organisation as a stage."""

    def __init__(self, seed: int, shape: Shape | None = None) -> None:
        self.organisation = Organisation(seed, shape or Shape(ROLES, DAYS))
        self.first, self.last = self.organisation.start, self.organisation.end
        self.home = self.organisation.home

    def scene(self, seed: int) -> Scene:
        """What a thief finds."""
        return scene(self.organisation, seed, int(self.organisation.shape.days * QUIET))

    def arrivals(self, columns: frozenset[str], decoys: Decoys) -> Iterator[Arrival]:
        """What happens without a thief."""
        days = ([*decoys.among(asked)] for asked in self.organisation.days())
        return Batches(self.organisation.seed, self.home, columns).arrivals(days)


@dataclass(frozen=True, slots=True)
class Drilled:
    """What came of a drill. calm: pages that no theft explains: what the logs give by themselves."""

    caught: list[Caught]
    calm: list[Page]
    pages: int


def drill(
    stage: Stage, rules: Sequence[Rule], kinds: Sequence[str], seed: int, told: Callable[[int], None] = lambda _: None
) -> Drilled:
    """Plant each of these kinds and run the rules. Where too few identities are there to rob, each kind runs alone."""
    crowd = len(stage.scene(seed).victims)
    runs = [list(kinds)] if crowd >= 2 * len(kinds) + 16 else [[kind] for kind in kinds]
    found: list[Caught] = []
    calm: dict[tuple[str, int, str], Page] = {}
    sent = 0
    for together in runs:
        thefts = planted(stage, together, seed)
        every = list(pages(_with(stage, thefts, rules, seed), rules, thefts, told))
        found += caught(thefts, every)
        sent += sum(page.theft is not None for page in every)
        calm |= {
            (page.finding.rule_id, page.finding.opened_at, repr(page.finding.group)): page
            for page in every
            if page.theft is None
        }
    return Drilled(found, list(calm.values()), sent + len(calm))


def planted(stage: Stage, kinds: Iterable[str], seed: int) -> list[Theft]:
    """A theft of each kind, in the last part of the stage's time."""
    where = stage.scene(seed)
    begin = stage.first + int((stage.last - stage.first) * QUIET)
    span = max(1, (stage.last - begin) * 2 // 3)
    return [plant(kind, where, begin + int(where.rng.integers(0, span))) for kind in kinds]


def _with(stage: Stage, thefts: Sequence[Theft], rules: Sequence[Rule], seed: int) -> Iterator[Arrival]:
    """The stage's records and the thieves', in the order in which they come."""
    wanted = columns(rules) | {"partition"}
    decoys = Decoys(rules, stage.scene(seed).stock)
    days = by_day([*decoys.among(chain.from_iterable(theft.asked for theft in thefts))])
    stolen = Batches(seed + 1, stage.home, wanted).arrivals(days)
    return merge(stage.arrivals(wanted, decoys), stolen, key=lambda arrival: arrival.at)


def by_day(asked: Sequence[Asked]) -> Iterator[list[Asked]]:
    """Requests cut into the days they are of."""
    first = min((int(one.times.min()) for one in asked if len(one.times)), default=0) // DAY
    last = max((int(one.times.max()) for one in asked if len(one.times)), default=-1) // DAY
    for day in range(first, last + 1):
        yield [one.within(day * DAY, day * DAY + DAY) for one in asked]


def as_json(drilled: Drilled, rules: Sequence[Rule]) -> dict[str, Any]:
    """All of it, for programs."""
    return {
        "thefts": [_theft_json(one) for one in drilled.caught],
        "pages": drilled.pages,
        "pages_without_a_theft": [
            {"rule_id": page.finding.rule_id, "opened_at": iso(page.finding.opened_at), "group": page.finding.group}
            for page in drilled.calm
        ],
        "rules": [{"rule_id": rule.id, "kind": rule.kind, "pages": rule.pages} for rule in rules],
    }


def _theft_json(one: Caught) -> dict[str, Any]:
    theft, page = one.theft, one.page
    started = theft.started_at
    return {
        "kind": theft.kind,
        "started_at": iso(started),
        "ended_at": iso(theft.ended_at),
        "objects": theft.objects,
        "roles": sorted(theft.roles),
        "caught_by": page and page.finding.rule_id,
        "seconds_to_alert": page and page.sent_at - started,
        "objects_lost": {"S3": one.lost()} | {way: one.lost(late) for way, late in DELIVERIES.items()},
        "rules": {rule: page.sent_at - started for rule, page in sorted(one.first.items())},
        "pages": one.pages,
    }
