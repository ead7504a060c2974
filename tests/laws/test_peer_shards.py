"""A baseline cut by peer group says what one that is not cut says, bit for bit."""

from __future__ import annotations

import random

import numpy as np
import pytest

from detector.core.view import BatchView
from detector.model import baseline, keymemory
from detector.model.channels import DAY, HOUR
from detector.model.shards import ShardError, through
from detector.model.watch import BaselineWatch
from tests.model.test_baseline_model import T0, event, role_batch, watch
from tests.streams import Event

SETTLED, DRIFT, THEFT, NEWCOMERS, CUT, AFTER_A_GAP = 3, 5, 6, 4, 7, 14
DAYS = [*range(9), *range(AFTER_A_GAP, AFTER_A_GAP + 3)]
GROUPS = "abcdefghij"


def stream() -> list[Event]:
    """An organisation with habits, in common prefixes; one day all of it reads anew, and there are thefts."""
    draw, events = random.Random(1), []
    for number, group in enumerate(GROUPS):
        for role in (f"{group}-{one}" for one in range(1 + number % 3)):
            for day in DAYS:
                if (day < NEWCOMERS and group == "c") or (day > CUT and group == "b"):
                    continue
                moved = day == DRIFT and number % 2
                for n in range(400 if moved else 25):
                    at = day * DAY + 9 * HOUR + draw.randrange(HOUR)
                    key = (
                        f"moved{n % 5}/{role}/{n}"
                        if moved
                        else f"p{(number + n % 3) % 8}/{draw.randrange(30 + 9 * day)}"
                    )
                    net = f"17.0.{n % 40}.1" if moved else f"11.0.{number}.{draw.randrange(1 + day % 3)}"
                    events.append(event(at, role, key, net))
    for day, role in ((THEFT, "a-0"), (DAYS[-1], "h-1")):
        begin = day * DAY + 9 * HOUR
        events += [event(begin + n, role, f"all/{n % 9}/{n}", "19.0.0.9") for n in range(700)]
    return events


class Cut:
    """A baseline in so many shards, by the letter of the peer group; what it judges is kept."""

    def __init__(self, count: int) -> None:
        self.judged: list = []
        self.findings: list = []
        self.shards = [self._shard() for _ in range(count)]

    def _shard(self) -> BaselineWatch:
        made = watch(memory="2K", alert_budget="1 per day per 10 principals", learn_role_days=40)
        seal = made.model.seal

        def noted(*pane):
            judged = seal(*pane)
            self.judged += judged
            return judged

        made.model.seal = noted
        return made

    def take(self, events: list[Event], *, last: bool = False) -> None:
        """Judge these days."""
        for number, shard in enumerate(self.shards):
            mine = [one for one in events if GROUPS.index(one.who[0]) % len(self.shards) == number]
            random.Random(number).shuffle(mine)
            shard.absorb(BatchView(role_batch(mine)), np.zeros(len(mine), np.bool_))
        self.findings += through(self.shards, lambda said: [said], last=last)

    def restart(self) -> None:
        """Nothing is left but checkpoints."""
        before, self.shards = self.shards, [self._shard() for _ in self.shards]
        for old, new in zip(before, self.shards, strict=True):
            new.restore({name: part for name, part in old.changes().items() if part is not None})

    def told(self) -> dict[str, object]:
        """All it said, and what it knows now."""
        roles = [(one.who.key, shard.model, one) for shard in self.shards for one in shard.model.roles.values()]
        return {
            "judged": sorted(self.judged, key=lambda one: (one.pane, one.key)),
            "closed": sorted(str(one.to_json()) for one in self.findings if one.state == "closed"),
            "roles": sorted(
                (key, one.score, one.alerted, model.levels.maxima[one.slot].tolist(), *model.levels.state(one.slot))
                for key, model, one in roles
            ),
            "organisation": self.shards[0].model.organisation.state(self.shards[0].model.novelty.keys.most),
        }


def story(count: int) -> tuple[Cut, list[int]]:
    """All days, with a verdict and a restart before one; how many filters a role might have then and at the end."""
    cut, events = Cut(count), stream()
    cut.take([one for one in events if one.time < T0 + CUT * DAY])
    filters = [cut.shards[0].model.novelty.keys.most]
    theft = max(cut.judged, key=lambda one: one.score)
    for shard in cut.shards:
        shard.model.mark(
            theft.role, theft.pane // DAY, theft.score, benign=True, prefixes=["ml-voice-raw/all/"], nets=[]
        )
    cut.restart()
    cut.take([one for one in events if one.time >= T0 + CUT * DAY], last=True)
    return cut, [*filters, cut.shards[0].model.novelty.keys.most]


def test_sharding_changes_no_score(monkeypatch):
    """Over drift, newcomers, who is forgotten, full memory, a verdict and a restart: 1, 2, 3 and 8 shards say the same.

    Whatever a role was, scored, learned and remembered, and what all have in common, to the last bit.
    """
    monkeypatch.setattr(baseline, "FORGET_AFTER", 5 * DAY)
    monkeypatch.setattr(keymemory, "EXACT", 16)
    monkeypatch.setattr(keymemory, "FIRST_LAYER", 8)
    whole, filters = story(1)
    said = whole.told()
    alerted = {(one.key[0], one.pane // DAY - T0 // DAY) for one in whole.judged if one.crossings}
    assert ("AROAa-0", THEFT) in alerted
    assert ("AROAh-1", DAYS[-1]) in alerted
    assert len({role for role, day in alerted if day == DRIFT}) > 3
    assert filters == [1, keymemory.LAYERS]
    assert len(said["roles"]) < len({one.who for one in stream()})
    for count in (2, 3, 8):
        assert story(count)[0].told() == said, f"{count} shards"


def test_where_one_shard_fails_all_stop():
    """A baseline without some of its roles would find other things: it is no "no match"."""
    cut = Cut(3)

    def fails(*_):
        raise ValueError("broken")

    cut.shards[1].model.seal = fails
    with pytest.raises(ShardError, match="ValueError: broken"):
        cut.take(stream())
