"""Laws of windows and episodes: the engine against a brute-force oracle, and the edges by hand.

Drawings: a digit is the number of records in that second, `|` where a window ends.
"""

from __future__ import annotations

import random
from datetime import date

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.streams import Event, closed, figures, oracle, rule

T0 = 1_777_626_000
MEASURES = ("requests", "objects", "bytes", "source_ips")


def streams(span: int) -> st.SearchStrategy[list[Event]]:
    """Crowded streams: with many records in few seconds, every edge of every window is met."""
    one = st.builds(
        Event,
        time=st.integers(T0 + 7, T0 + 7 + span),
        who=st.sampled_from(["a", "b"]),
        key=st.sampled_from(["k1", "k2", "k3", "k4"]),
        size=st.integers(0, 3),
        id=st.uuids().map(str),
        address=st.sampled_from(["11.0.0.1", "11.0.0.2", "11.0.0.3"]),
    )
    return st.lists(one, min_size=6, max_size=30)


events_ = st.sampled_from([15, 40, 400]).flatmap(streams)


@settings(max_examples=400)
@given(
    events=events_,
    measure=st.sampled_from(MEASURES),
    window=st.sampled_from([10, 11, 13, 60]),
    threshold=st.integers(1, 6),
)
def test_engine_agrees_with_oracle(events, measure, window, threshold):
    """Every episode's opening, end and peak are those that counting by hand gives, for every measure."""
    chosen = rule(measure, window, threshold)
    assert figures(closed([chosen], [events])) == oracle(chosen, events)


@given(
    times=st.lists(st.one_of(st.integers(T0, T0 + 8_000), st.integers(T0, T0 + 200_000)), min_size=6, max_size=40),
    window=st.sampled_from([3600, 3660, 7200, 86_400, 172_800]),
    threshold=st.integers(1, 6),
)
def test_long_windows_count_in_minutes(times, window, threshold):
    """Over an hour, a record counts at the start of its minute; up to an hour, at its second."""
    chosen = rule("requests", window, threshold)
    events = [Event(t, id=str(i)) for i, t in enumerate(times)]
    assert figures(closed([chosen], [events])) == oracle(chosen, events)


@given(events=events_, seed=st.integers(0, 1000), cuts=st.integers(1, 6), copies=st.integers(0, 10))
def test_order_cuts_and_duplicates_do_not_change_findings(events, seed, cuts, copies):
    """Shuffled, cut into batches anywhere, records repeated: the CLOSED findings are the same, to the letter."""
    chosen = rule("objects", 60, 3)
    plain = [f.to_json() for f in closed([chosen], [events])]
    shuffler = random.Random(seed)
    mixed = events + shuffler.choices(events, k=copies) if events else []
    shuffler.shuffle(mixed)
    pieces = [mixed[i::cuts] for i in range(cuts)]
    assert [f.to_json() for f in closed([chosen], pieces)] == plain


def at(*seconds: int, who: str = "thief") -> list[Event]:
    return [Event(T0 + s, who, key=f"k{i}") for i, s in enumerate(seconds)]


def opened(events: list[Event], window: int = 300, threshold: int = 3, measure: str = "objects") -> list[int]:
    return [f.opened_at - T0 for f in closed([rule(measure, window, threshold)], [events])]


def test_exactly_the_threshold_fires_and_one_below_does_not():
    """A rule fires at or above its threshold.

    3 records:  1....1....1     2 records:  1....1
    """
    assert opened(at(0, 10, 20)) == [20]
    assert opened(at(0, 10)) == []


def test_a_record_leaves_the_window_after_exactly_one_window():
    """`t - window < e.time <= t`: second 0 still counts at 299, no more at 300.

    1.......1|  counted together at 299;   1........|1  not at 300
    """
    for offset in range(0, 301, 43):
        for measure in ("objects", "requests"):
            assert opened(at(offset, offset + 1, offset + 299), measure=measure) == [offset + 299]
            assert opened(at(offset, offset + 1, offset + 300), measure=measure) == []


def test_a_burst_across_a_buckets_edge_is_one_burst():
    """Where internal buckets begin makes no difference: the same burst at every offset of a window fires alike."""
    for offset in range(0, 310, 7):
        assert opened(at(offset, offset + 1, offset + 2)) == [offset + 2]


def test_two_crossings_one_window_apart_are_one_episode_and_a_second_more_are_two():
    """Neighbours at most one window apart belong together."""
    joined = closed([rule(window=100, threshold=1)], [at(0, 100)])
    parted = closed([rule(window=100, threshold=1)], [at(0, 101)])
    assert [(f.opened_at - T0, f.last_at - T0) for f in joined] == [(0, 100)]
    assert [(f.opened_at - T0, f.last_at - T0) for f in parted] == [(0, 0), (101, 101)]


def test_distinct_members_that_return_count_once_in_every_window():
    """A at 10, B at 20, A again at 400, window 300, threshold 2: crosses at 20 and only there."""
    events = [Event(T0 + 10, key="A"), Event(T0 + 20, key="B"), Event(T0 + 400, key="A")]
    findings = closed([rule(window=300, threshold=2)], [events])
    assert [(f.opened_at - T0, f.last_at - T0, f.peak_value) for f in findings] == [(20, 20, 2)]


def test_an_episode_is_cut_a_day_after_it_opened():
    """A theft that never stops is one finding a day, not one for ever."""
    events = at(*range(0, 200_000, 250))
    findings = closed([rule(window=300, threshold=1)], [events])
    assert [f.opened_at - T0 for f in findings] == [0, 86_500, 173_000]
    on_the_edge = closed([rule(window=300, threshold=1)], [at(*range(0, 86_401, 300))])
    assert [(f.opened_at - T0, f.last_at - T0) for f in on_the_edge] == [(0, 86_100), (86_400, 86_400)]


def test_the_peak_is_at_the_first_second_with_the_largest_value():
    """Of several seconds with the same peak the first is named."""
    (finding,) = closed([rule("requests", 60, 2)], [at(0, 1, 2, 200, 201, 202, 203, 262, 263)])[1:]
    assert (finding.peak_value, finding.peak_at - T0) == (4, 203)


def test_twenty_thousand_objects_in_fifteen_minutes_stay_quiet_and_12500_in_240_seconds_fire_once():
    """The shipped rule: 10,000 distinct objects in five minutes, exactly."""
    chosen = rule(window=300, threshold=10_000)
    slow = [Event(T0 + i * 900 // 20_000, key=f"s{i}") for i in range(20_000)]
    fast = [Event(T0 + i * 240 // 12_500, key=f"f{i}") for i in range(12_500)]
    assert closed([chosen], [slow]) == []
    (finding,) = closed([chosen], [fast])
    assert figures([finding]) == [(T0 + 191, T0 + 239, 12_500, T0 + 239)] == oracle_of_even_pace(fast)


def oracle_of_even_pace(events: list[Event]) -> list[tuple[int, int, int, int]]:
    seen = sorted(e.time for e in events)
    first = seen[9_999]
    return [(first, seen[-1], len(seen), seen[-1])]


@pytest.mark.parametrize(
    ("members", "value", "at_least"),
    [(99_999, 99_999, None), (100_000, 100_000, None), (100_001, 100_000, True)],
)
def test_past_the_cap_the_value_is_the_cap_and_says_at_least(members, value, at_least):
    """A distinct measure is exact up to 100,000 members; past that it is that number, marked `at_least`."""
    events = [Event(T0 + i % 60, key=f"k{i}") for i in range(members)]
    (finding,) = closed([rule(window=300, threshold=99_999)], [events])
    assert finding.peak_value == value
    assert finding.to_json().get("at_least") is at_least


def test_more_than_the_cap_anywhere_in_an_episode_is_said_and_the_peak_is_where_the_cap_was_reached():
    """Exactly the cap at 1, one more at 2: the peak is at 1. Amounts know no cap."""
    events = [Event(T0, key=f"k{i}") for i in range(99_999)]
    events += [Event(T0 + 1, key="one"), Event(T0 + 2, key="more")]
    (finding,) = closed([rule(window=300, threshold=99_999)], [events])
    assert (finding.peak_value, finding.peak_at, finding.at_least) == (100_000, T0 + 1, True)
    (finding,) = closed([rule("bytes", window=300, threshold=99_999)], [[Event(T0, size=100_001)]])
    assert (finding.peak_value, finding.at_least) == (100_001, False)


@pytest.mark.parametrize(("until", "fires"), [("2026-04-30", True), ("2026-05-31", False)])
def test_an_exception_raises_the_limit_until_its_day_ends(until, fires):
    """`allow_up_to` holds through the day `until` and not a second longer; it never silences what exceeds it."""
    exception = {"role": "arn:aws:iam::*:role/Role", "allow_up_to": 5, "until": until, "owner": "o", "reason": "r"}
    exception["until"] = date.fromisoformat(until)
    chosen = rule(window=60, threshold=3, exceptions=(exception,))
    assert bool(closed([chosen], [at(0, 1, 2, 3, 4)])) is fires
    assert closed([chosen], [at(0, 1, 2, 3, 4, 5)])
