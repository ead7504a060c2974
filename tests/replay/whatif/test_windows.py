"""Laws of `rules tune`: for any threshold and window it counts exactly what a replay with them would find."""

from __future__ import annotations

import random
from datetime import date
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from detector.core.window import DAY
from replay.options import Options
from replay.scratch import Scratch
from replay.whatif.shelf import decode, encode
from replay.whatif.summary import History, Summary
from replay.whatif.windows import day_maxima, episodes, values, with_window
from tests.streams import Event, batch, closed, oracle, principal, rule

T0 = 1_777_626_000
MEASURES = ("requests", "objects", "bytes", "source_ips", "sessions")


def streams(span: int) -> st.SearchStrategy[list[Event]]:
    """Crowded streams: with many records in few seconds, every edge of every window is met."""
    one = st.builds(
        Event,
        time=st.integers(T0 + 7, T0 + 7 + span),
        who=st.sampled_from(["a", "b", "c"]),
        key=st.sampled_from(["k1", "k2", "k3", "k4"]),
        size=st.integers(0, 3),
        id=st.uuids().map(str),
        address=st.sampled_from(["11.0.0.1", "11.0.0.2", None]),
    )
    return st.lists(one, min_size=1, max_size=30)


events_ = st.sampled_from([15, 40, 400, 9_000, 200_000]).flatmap(streams)


def summarised(chosen: Any, batches: list[list[Event]], *, memory: int = 1 << 28) -> Summary:
    with Scratch() as scratch:
        history = History(chosen, Options(memory=memory), scratch)
        for events in batches:
            history.counted.take(batch(events))
        return history.summary()


def counted(summary: Summary, chosen: Any) -> list[tuple[str, int, int, int]]:
    """Who, opening, end and peak of every episode."""
    found = episodes([v.reaching(chosen.threshold) for v in values(summary, chosen)], chosen.window)
    rows = zip(found.group.tolist(), found.opened_at.tolist(), found.last_at.tolist(), found.peak.tolist(), strict=True)
    return sorted((*summary.shown[g], opened, last, int(peak)) for g, opened, last, peak in rows)


def replayed(chosen: Any, events: list[Event]) -> list[tuple[str, int, int, int]]:
    found = closed([chosen], [events])
    return sorted((*f.group.values(), f.opened_at, f.last_at, int(f.peak_value)) for f in found)


@settings(max_examples=300)
@given(
    events=events_,
    measure=st.sampled_from(MEASURES),
    by=st.sampled_from([("session",), ("role",), ("source_ip",), ("role", "source_ip")]),
    asked=st.lists(
        st.tuples(st.sampled_from([10, 13, 60, 3600, 3660, 86_400, 172_800]), st.integers(1, 6)), min_size=1, max_size=4
    ),
    seed=st.integers(0, 99),
)
def test_any_threshold_and_window_gives_what_a_replay_finds(events, measure, by, asked, seed):
    """One summary, made with some other threshold and window from shuffled and repeated records, answers them all."""
    mixed = events + events[: seed % 7]
    random.Random(seed).shuffle(mixed)
    summary = summarised(rule(measure, 300, 3, group_by=by), [mixed[i::3] for i in range(3)])
    for window, threshold in asked:
        chosen = rule(measure, window, threshold, group_by=by)
        assert counted(summary, chosen) == replayed(chosen, events)


@settings(max_examples=200)
@given(
    events=events_,
    measure=st.sampled_from(MEASURES),
    window=st.sampled_from([10, 60, 3660]),
    threshold=st.integers(1, 4),
    allowed=st.lists(st.tuples(st.sampled_from(["a", "b", "[ab]", "*"]), st.integers(1, 5)), min_size=1, max_size=2),
    by=st.sampled_from(["session", "role"]),
)
def test_exceptions_count_as_in_a_replay(events, measure, window, threshold, allowed, by):
    """Also where a group has several sessions, of which an exception names some, and after its last day."""
    until = date(2026, 5, 1)
    exceptions = tuple(
        {"session_name": name, "allow_up_to": limit, "until": until, "owner": "o", "reason": "r"}
        for name, limit in allowed
    )
    chosen = rule(measure, window, threshold, group_by=by, exceptions=exceptions)
    summary = summarised(rule(measure, 300, 3, group_by=by), [events])
    assert counted(summary, chosen) == replayed(chosen, events)


@given(events=events_, window=st.sampled_from([10, 60, 3660]))
def test_the_maxima_of_days_are_the_highest_threshold_that_fires_on_that_day(events, window):
    """By the oracle: no value of a group's day is larger, and one is as large."""
    chosen = rule("objects", window, 1)
    found = day_maxima(values(summarised(chosen, [events]), chosen))
    for day, value in zip(found.day.tolist(), found.value.tolist(), strict=True):
        of_day = [e for e in events if e.time // DAY == day]
        assert of_day
        at_least = oracle(rule("objects", window, int(value)), events)
        assert any(opened // DAY <= day <= last // DAY for opened, last, *_ in at_least)
    highest = int(max(found.value))
    assert not oracle(rule("objects", window, highest + 1), events)


def test_a_group_is_cut_into_episodes_of_a_day_as_in_a_replay():
    """Two days without a pause are two findings or three, whatever the window."""
    events = [Event(T0 + at, key=f"k{at}") for at in range(0, 3 * DAY, 120)]
    summary = summarised(rule("requests", 300, 1), [events])
    for window in (300, 3600, 86_400, 172_800):
        chosen = rule("requests", window, 2)
        assert counted(summary, chosen) == replayed(chosen, events)
        assert len(counted(summary, chosen)) > 1


@given(events=events_, measure=st.sampled_from(MEASURES))
def test_a_summary_comes_back_from_bytes_as_it_was(events, measure):
    """All columns and all names."""
    summary = summarised(rule(measure), [events])
    back = decode(memoryview(b"".join(encode(summary))))
    chosen = with_window(rule(measure, threshold=2), 60)
    assert counted(back, chosen) == counted(summary, chosen)
    assert (back.keys, back.shown, back.principals) == (summary.keys, summary.shown, summary.principals)
    assert [p for p in back.principals if p == principal("a")] == [p for p in summary.principals if p == principal("a")]


@given(events=events_)
def test_memory_makes_no_difference(events):
    """A summary of rows that had to leave memory is the same."""
    chosen = rule("objects", 60, 2)
    roomy, tight = (summarised(chosen, [events[i::4] for i in range(4)], memory=m) for m in (1 << 28, 1))
    assert counted(roomy, chosen) == counted(tight, chosen)


@given(
    events=events_, window=st.sampled_from([10, 3660]), threshold=st.integers(1, 4), key=st.sampled_from(["k1", "k*"])
)
def test_exceptions_that_are_bound_to_keys_count_as_in_a_replay(events, window, threshold, key):
    """What they take out of the count is taken out of the summary."""
    bound = {"session_name": "a", "key": key, "until": date(2026, 5, 1), "owner": "o", "reason": "r"}
    chosen = rule("requests", window, threshold, exceptions=(bound,))
    assert counted(summarised(chosen, [events]), chosen) == replayed(chosen, events)
