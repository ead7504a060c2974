"""Thefts planted, the real engine run over it, and what came of it: who was caught, when, at what price. Pure.

Rules of this file
- The engine is fed as the daemon feeds it: batches in the order in which they are delivered, then `judge` and
  `advance`. A page is sent when the batch that opened it was there.
- Every page counts: one that no theft explains is a false one, also if it is withdrawn later.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from typing import NamedTuple

import numpy as np

from detector.core.access import COLUMNS
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.rule import Rule
from detector.core.watermark import Watermark
from detector.watches import watches
from replay.drill import habits
from replay.drill.decoys import Decoys
from replay.drill.organisation import Organisation
from replay.drill.people import DAY
from replay.drill.thefts import Scene, Theft, Victim, plant
from replay.drill.traffic import Arrival, Asked, Batches, Place

OPENED = "opened"
HOUR = 3600
KEPT = 3 * HOUR
"""Horizon of a trial's engine: nothing in it is later than that."""
DAILY = {"contractor": 220.0, "agency": 220.0, "analyst": 290.0}
"""Objects that people of a group read in a day of work, about."""
DELIVERIES = {"at once": 0, "EventBridge": 60}
"""How late a record is there by other ways than log files in S3, at worst; seconds."""


class Page(NamedTuple):
    """One alert to people. sent_at: when the engine could say it. theft: which theft explains it, if one does."""

    sent_at: int
    finding: Finding
    theft: Theft | None


@dataclass(slots=True)
class Caught:
    """What came of one theft. first: rule → the first page about it. pages: how many there were."""

    theft: Theft
    first: dict[str, Page] = field(default_factory=dict)
    pages: int = 0

    @property
    def page(self) -> Page | None:
        """The first page about it."""
        return min(self.first.values(), key=lambda page: page.sent_at, default=None)

    def lost(self, late: int | None = None) -> int:
        """Objects gone when the first page came; all of them without one.

        late: seconds by which records are; None: as delivered in files. Of rules whose pages came with one file another
        may be the first then.
        """
        told = [page.sent_at if late is None else page.finding.opened_at + late for page in self.first.values()]
        return self.theft.lost(min(told)) if told else self.theft.objects


def pages(
    arrivals: Iterable[Arrival],
    rules: Sequence[Rule],
    thefts: Sequence[Theft],
    told: Callable[[int], None] = lambda _: None,
) -> Iterator[Page]:
    """All pages, in order. told: is given the time of every batch.

    Raises RuntimeError if a rule fails: a failed rule is never "no match".
    """
    paging = {rule.id for rule in rules if rule.pages}
    engine = Engine(rules, watches(), watermark=Watermark(), horizon=KEPT)
    for at, batch in arrivals:
        engine.process(batch, at)
        told(at)
        for finding in (*engine.judge(), *engine.advance(at, backlog=False)):
            if finding.state == OPENED and finding.rule_id in paging:
                yield Page(at, finding, next((theft for theft in thefts if theft.explains(finding)), None))
        if engine.failures:
            raise RuntimeError(f"rules failed: {engine.failures}")


def caught(thefts: Sequence[Theft], sent: Iterable[Page]) -> list[Caught]:
    """What came of each theft."""
    found = [Caught(theft) for theft in thefts]
    of = {id(one.theft): one for one in found}
    for page in sent:
        if page.theft is not None:
            one = of[id(page.theft)]
            one.first.setdefault(page.finding.rule_id, page)
            one.pages += 1
    return found


def scene(organisation: Organisation, seed: int, day: int) -> Scene:
    """What a thief finds in a generated organisation."""
    company = organisation.company
    stock: dict[Place, int] = {place: company.old(organisation.start + day * DAY) for place in company.raw}
    stock |= dict.fromkeys((*company.datasets, *company.tables), 30_000) | dict.fromkeys(company.models, 4_000)
    victims = []
    for member in organisation.members:
        if member.since > organisation.start + (day - 3) * DAY or member.group == "service":
            continue
        if member.habit is habits.contractor:
            stock[member.places[0]] = 4_000
        daily = DAILY.get(member.group, 150.0) * member.activity
        victims.append(Victim(member.who, member.group, member.places, daily))
    rng = np.random.default_rng((seed, 13))
    return Scene(tuple(victims), stock, organisation.home(company.raw[0].bucket).account, rng, set())


def planted(organisation: Organisation, seed: int, kinds: Sequence[str], first_day: int) -> list[Theft]:
    """One theft of each of these kinds, at working or at night hours from a day on, spread over the days left."""
    where = scene(organisation, seed, first_day)
    last = max(first_day + 1, organisation.shape.days - 1)
    thefts = []
    for number, name in enumerate(kinds):
        day = first_day + number % (last - first_day)
        at = organisation.start + day * DAY + int(where.rng.integers(0, 20 * HOUR))
        thefts.append(plant(name, where, at))
    return thefts


def with_thefts(days: Iterable[Sequence[Asked]], thefts: Sequence[Theft], start: int) -> Iterator[list[Asked]]:
    """The days with what the thieves ask for among the rest."""
    stolen = list(chain.from_iterable(theft.asked for theft in thefts))
    for number, asked in enumerate(days):
        first = start + number * DAY
        yield [*asked, *(one.within(first, first + DAY) for one in stolen)]


def arrivals(
    organisation: Organisation,
    thefts: Sequence[Theft] = (),
    columns: frozenset[str] = COLUMNS,
    decoys: Decoys | None = None,
) -> Iterator[Arrival]:
    """The organisation's batches in order of delivery, thefts among them."""
    days: Iterator[list[Asked]] = with_thefts(organisation.days(), thefts, organisation.start)
    if decoys is not None:
        days = ([*decoys.among(asked)] for asked in days)
    return Batches(organisation.seed, organisation.home, columns).arrivals(days)
