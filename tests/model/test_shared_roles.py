"""A role that people share: each has habits of their own, once the rule says so; the finding names the one."""

from __future__ import annotations

import random

import pytest

from detector.core.rule import KINDS
from tests.kinds import DAY, T0, Daemon, Fact, replayed, shown

HOURS = 4 * 24
THEFT = HOURS - 3
SHARED = ("arn:aws:iam::111122223333:role/Agency",)


def _day_and_night(name: str, many: int) -> list[Fact]:
    return [
        Fact(T0 + hour * 3600 + i, f"{name}-{1_777_000_000 + hour}", "Agency", key=f"{name}/{hour}/{i}")
        for hour in range(HOURS)
        for i in range(many + hour % 2)
    ]


FACTS = [
    *_day_and_night("contractor-1", 90),
    *_day_and_night("contractor-2", 2),
    *(Fact(T0 + THEFT * 3600 + 600 + i, "contractor-2-1777990000", "Agency", key=f"other/0/{i}") for i in range(90)),
]


def _rule(**fields):
    common = {"id": "usual", "title": "t", "severity": "high", "kind": "baseline", "where": {"operation": "read"}}
    return KINDS["baseline"].model_validate(common | {"threshold": 2, "learn_role_days": 1, "cooldown": "1h"} | fields)


@pytest.fixture(scope="module")
def found():
    return replayed(_rule(shared_roles=SHARED), [FACTS])[1]


def test_one_of_many_is_found_that_the_role_hides(found):
    """Ninety objects are nothing for the role, and forty times what this person reads; the finding names whose."""
    assert replayed(_rule(), [FACTS])[1] == []
    (finding,) = found
    assert finding.group == {"role": SHARED[0], "session_name": "contractor-2"}
    assert finding.explanation.startswith(f"role {SHARED[0]}, session_name contractor-2 ")
    assert finding.principal["role"] == SHARED[0]
    assert T0 + THEFT * 3600 <= finding.opened_at < T0 + THEFT * 3600 + DAY // 24


def test_order_and_restarts_change_nothing(found):
    """Also what was learned of each person comes back from a checkpoint."""
    shuffled = random.Random(7).sample(FACTS, len(FACTS))
    assert shown(replayed(_rule(shared_roles=SHARED), [shuffled[:4000], shuffled[4000:]])[1]) == shown(found)
    daemon = Daemon(_rule(shared_roles=SHARED))
    ordered = sorted(FACTS)
    for start in range(0, len(ordered), 3000):
        daemon.poll(ordered[start : start + 3000])
        daemon.restart()
    assert shown(daemon.end()) == shown(found)
