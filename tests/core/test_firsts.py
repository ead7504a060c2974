"""Laws of first seconds by day, against all sightings and the sentences at the top of the module."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from detector.core import firsts
from detector.core.firsts import DAY, Firsts, _places
from tests.kinds import T0

FORGET = 3
TODAY = T0 // DAY
KEYS = (5, 7, (1 << 64) - 2)
STRANGER = 6

Sighting = tuple[int, int]
"""Key, second."""

sightings_ = st.lists(
    st.tuples(
        st.sampled_from(KEYS),
        st.builds(lambda day, second: T0 + day * DAY + second, st.integers(0, 8), st.sampled_from([0, 1, DAY - 1])),
    ),
    min_size=1,
    max_size=8,
)
polls_ = st.lists(sightings_, min_size=1, max_size=8)


def first_of_days(seen: Iterable[Sighting]) -> set[Sighting]:
    """Of each key and day the earliest."""
    first: dict[tuple[int, int], int] = {}
    for key, second in seen:
        first[key, second // DAY] = min(second, first.get((key, second // DAY), second))
    return {(key, second) for (key, _), second in first.items()}


def news(seen: Iterable[Sighting]) -> set[Sighting]:
    """Those that are new: the first of their day, and none on the days before that count."""
    first = first_of_days(seen)
    return {
        (key, second)
        for key, second in first
        if not any(other == key and 1 <= second // DAY - at // DAY <= FORGET for other, at in first)
    }


def columns(rows: Iterable[Sighting]) -> tuple[np.ndarray, np.ndarray]:
    rows = list(rows)
    return np.array([key for key, _ in rows], np.uint64), np.array([second for _, second in rows], np.int64)


def held(them: Firsts) -> set[Sighting]:
    """All rows; none is held twice."""
    parts = [(day, [part.whole() for part in them.rows.parts(day, day)]) for day in them.rows.segments()]
    merged = [(day, firsts.earliest(runs)) for day, runs in parts]
    rows = [row for _, (key, second) in merged for row in zip(key.tolist(), second.tolist(), strict=True)]
    assert all((second // DAY == day).all() for day, (_, second) in merged)
    assert len(set(rows)) == len(rows)
    return set(rows)


@pytest.fixture(autouse=True)
def _small(monkeypatch):
    monkeypatch.setattr(firsts, "LATELY", 4)
    monkeypatch.setattr(firsts, "ASKED", 2)


small = settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])


@small
@given(polls_, st.booleans())
def test_what_is_new_is_the_first_of_its_day_after_days_without_it(polls, watch):
    """Poll by poll, in any order of time: what is met, what it takes back, and every way to ask afterwards."""
    them, seen = Firsts("f", FORGET), set[Sighting]()
    for poll in polls:
        met = them.meet(*columns(poll), watch=watch)
        before, seen = seen, seen | set(poll)
        fresh, new = ({poll[at] for at in some.tolist()} for some in (met.fresh, met.new))
        assert fresh >= set(poll) & first_of_days(seen)
        assert sorted(met.new.tolist()) == [at for at, one in enumerate(poll) if one in news(seen)]
        assert new <= fresh
        taken = {(poll[at], later) for at, later in zip(met.changed.tolist(), met.at.tolist(), strict=True)}
        assert taken == (_taken(before, poll) if watch else set())
        assert {(key, at) for (key, _), at in taken} >= (news(before) - news(seen) if watch else set())
        assert len(them._lately) <= max(firsts.LATELY, len({(key, second // DAY) for key, second in poll}))
        assert held(them) == first_of_days(seen)
        _agrees(them, seen, range(TODAY - 1, TODAY + 10))


def _taken(before: set[Sighting], poll: list[Sighting]) -> set[tuple[Sighting, int]]:
    """(row, from what later second): the first of its day if the day had one, else that of the next day that counts."""
    known = first_of_days(before)
    out = set()
    for key, second in first_of_days(poll):
        later = [at for other, at in known if other == key and at // DAY >= second // DAY]
        after = min(later, default=second)
        if second < after and after // DAY - second // DAY <= FORGET:
            out.add(((key, second), after))
    return out


def _agrees(them: Firsts, seen: set[Sighting], days: range) -> None:
    """Whatever is asked about these days."""
    new = {(key, at) for key, at in news(seen) if at // DAY in days}
    first, rows = first_of_days(seen), held(them)
    asked = sorted({*KEYS, STRANGER})
    keys = np.array(asked, np.uint64)
    every = [(key, day * DAY + second) for key in asked for day in days for second in (0, 1, DAY - 1)]
    assert {one for one, is_new in zip(every, them.are_new(*columns(every)).tolist(), strict=True) if is_new} == new
    for day in days:
        on = [min((at for key, at in first if key == one and at // DAY == day), default=firsts.NEVER) for one in asked]
        assert them.first_on(day, keys).tolist() == on
        just = [any(key == one and day - FORGET <= at // DAY < day for key, at in first) for one in asked]
        assert them.before(day, keys).tolist() == just
    for one in asked:
        assert {(one, at) for at in them.news(one).tolist() if at // DAY in days} == {n for n in new if n[0] == one}
        assert them.of(one).tolist() == sorted(at for key, at in rows if key == one)
        assert len(them._asked) <= firsts.ASKED
    least = [min((at for key, at in rows if key == one), default=firsts.NEVER) for one in asked]
    assert them.earliest(keys).tolist() == least


@small
@given(polls_, st.booleans())
def test_what_is_let_go_matters_to_no_day_from_then_on(polls, thin):
    """Of the days before, those that count are kept, if thinned of each key the last; what is asked is the same."""
    them, seen, passed = Firsts("f", FORGET), set[Sighting](), TODAY
    for poll in polls:
        lately = [(key, at) for key, at in poll if at // DAY >= passed]
        them.meet(*columns(lately), watch=True)
        seen |= set(lately)
        for one in KEYS[:2]:
            them.of(one)
        passed = min(passed + 1, TODAY + 6)
        them.forget_before(passed, thin=thin)
        assert not len(them._lately) or passed == TODAY + 6  # where nothing new is passed
        assert held(them) == _kept(seen, passed, thin=thin)
        _agrees(them, seen, range(passed, TODAY + 10))


def _kept(seen: set[Sighting], passed: int, *, thin: bool) -> set[Sighting]:
    first = first_of_days(seen)
    lasting = {(key, at) for key, at in first if at // DAY >= passed - FORGET}
    if not thin:
        return lasting
    last = {one: max((at for key, at in lasting if key == one and at // DAY < passed), default=0) for one in KEYS}
    return {(key, at) for key, at in lasting if at // DAY >= passed or at == last[key]}


def test_every_key_and_day_has_a_place_of_its_own():
    """Never 0, which would be nobody's."""
    keys = np.random.default_rng(3).integers(1, 1 << 64, 20_000, np.uint64)
    places = np.concatenate([_places(keys, np.full(len(keys), TODAY + day)) for day in range(3)])
    assert len(np.unique(places)) == len(places)
    assert places.all()
