"""What is made of principals is the same whether or not it is remembered, and made once for as long as it is."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import made
from detector.core.made import Made, one_by_one
from tests.kinds import T0, Fact, batch

NAMES = [f"p{n}" for n in range(9)]
NOBODY = 77
some_ = st.lists(st.sampled_from([*NAMES, None]), min_size=1, max_size=12)


def number(who):
    return 1000 + NAMES.index(who.session_name)


def rows_of(names):
    """A record of each; None: of nobody."""
    facts = [Fact(T0 + at, name or "").row() for at, name in enumerate(names)]
    return batch([row if name else row._replace(who=None) for row, name in zip(facts, names, strict=True)])


@pytest.fixture(params=[4, len(NAMES)])
def room(request, monkeypatch):
    """So many are remembered; many more than these, if nothing is said."""
    if request.param < len(NAMES):
        monkeypatch.setattr(made, "REMEMBERED", request.param)
    return request.param


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(some_, st.integers(1, 12)), min_size=1, max_size=5))
def test_every_principal_of_the_rows_has_its_number_made_once_while_it_is_remembered(room, batches):
    asked = []
    numbers = Made(one_by_one(lambda who: asked.append(who.session_name) or number(who)), NOBODY)
    remembered = set()
    for names, many in batches:
        rows, chosen = rows_of(names), np.arange(min(many, len(names)))
        asked.clear()
        by_code = numbers.by_code(rows, chosen)
        mine = names[: len(chosen)]
        assert len(by_code) == len(rows.principals) + 1
        assert by_code[rows.who[chosen]].tolist() == [1000 + NAMES.index(name) if name else NOBODY for name in mine]
        looked_at = set(mine) - {None} if len(rows.principals) > len(chosen) else {one for one in names if one}
        assert sorted(asked) == sorted(looked_at - remembered)
        if asked:
            remembered = looked_at | remembered if len(remembered) + len(asked) <= room else set(asked)


def test_nobody_is_0_if_nothing_is_said():
    assert Made(one_by_one(number)).by_code(rows_of([None]), np.arange(1)).tolist() == [0]
