"""Findings of baselines in a replay, whose texts come from the second pass: they show what a watch with texts shows."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pyarrow import parquet

from detector.core.rule import KINDS
from detector.logs.parquet import to_table
from detector.model.channels import PANE
from replay.evidence import Behind, matches
from replay.run import run
from tests.kinds import T0, Fact, batch, replayed, shown

SHARED = ("arn:aws:iam::111122223333:role/Agency",)
HOURS = 4 * 24
THEFT = T0 + (HOURS - 3) * 3600 + 600
PLACES = ("other/", "ü" * 700 + "/", "", "other/deep/er/")
"""A folder of more bytes than are shown is among them, and the bucket's root."""


def _day_and_night(name: str, many: int) -> list[Fact]:
    return [
        Fact(T0 + hour * 3600 + i, f"{name}-{1_777_000_000 + hour}", "Agency", key=f"{name}/{hour}/{i}")
        for hour in range(HOURS)
        for i in range(many + hour % 2)
    ]


def _theft(i: int) -> Fact:
    key, address = f"{PLACES[i % 4]}{i}", f"26.1.{i % 3}.7"
    return Fact(THEFT + i, "contractor-2-1777990000", "Agency", bucket=f"b{i % 2}", key=key, address=address)


FACTS = [*_day_and_night("contractor-1", 20), *_day_and_night("contractor-2", 2), *map(_theft, range(120))]
RULE = KINDS["baseline"].model_validate(
    {
        "id": "usual", "title": "t", "severity": "high", "kind": "baseline", "where": {"operation": "read"},
        "threshold": 2, "learn_role_days": 1, "cooldown": "1h", "shared_roles": SHARED,
    }
)  # fmt: skip


@pytest.fixture(scope="module")
def watched():
    """The finding of a watch that keeps texts."""
    (finding,) = replayed(RULE, [FACTS])[1]
    return finding


def test_a_replay_names_the_places_and_networks_that_a_watch_with_texts_names(watched, tmp_path):
    """Byte for byte, and in the same order; of a person in a role that others share the evidence is this person's."""
    for number, part in enumerate((FACTS[::3], FACTS[1::3] + FACTS[::2], FACTS[2::3])):
        parquet.write_table(to_table(batch(part)), tmp_path / f"{number}.parquet")
    (found,) = run([str(tmp_path)], [RULE]).findings
    baseline = found.details["baseline"]
    assert baseline == watched.details["baseline"]
    assert {prefix for prefix, _ in baseline["new_in"]} >= {"b0/other/", "b1/other/deep/er/", f"b1/{'ü' * 510}\ufffd"}
    assert [net for net, _ in baseline["from"]] == ["26.1.0.0/24", "26.1.1.0/24", "26.1.2.0/24"]
    assert shown([replace(found, evidence={})]) == shown([watched])
    mine = [
        fact for fact in FACTS
        if fact.name.startswith("contractor-2") and found.opened_at - PANE < fact.time <= found.last_at
    ]  # fmt: skip
    assert found.evidence["requests"] == len(mine) > 100


def test_names_are_looked_for_in_whole_panes(watched):
    """Also where a finding ends within one, as one that is cut after a day may."""
    ends = replace(watched, opened_at=THEFT + 10, last_at=THEFT + 20)
    ((_, mask),) = matches(batch(FACTS), [Behind.panes(ends, RULE)])
    times = [FACTS[row].time for row in np.flatnonzero(mask).tolist()]
    assert (min(times), max(times)) == (THEFT, THEFT + 119)
    assert THEFT % PANE == 0
