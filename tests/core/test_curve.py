"""A curve tells the largest value of every stretch, held against counting second by second."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.curve import POINTS, around
from tests.kinds import KIND, T0, Fact, Kind, replayed

NO_VALUE = ("sequence", "silence", "baseline")
"""Kinds whose findings are not of a count that goes up and down."""
WINDOW = 60


def curves(rule, facts):
    """Each finding with its curve."""
    engine, found = replayed(rule, [sorted(facts)])
    for one in found:
        yield one, engine.curve(one)
    assert engine.failures == {}


@pytest.mark.parametrize("kind", sorted(KIND.keys() - set(NO_VALUE)))
def test_the_peak_and_the_crossing_are_in_the_curve(kind):
    some = 0
    for finding, curve in curves(KIND[kind].rule(kind), KIND[kind].facts):
        told = {curve.begin + number * curve.step: value for number, value in enumerate(curve.values)}
        assert len(told) <= POINTS
        during = [v for at, v in told.items() if finding.opened_at <= at and at + curve.step - 1 <= finding.last_at]
        assert max(during, default=0) <= finding.peak_value
        assert told[max(at for at in told if at <= finding.peak_at)] >= finding.peak_value
        assert told[max(at for at in told if at <= finding.opened_at)] >= finding.threshold
        some += 1
    assert some


def test_kinds_that_count_nothing_have_none():
    for kind in NO_VALUE:
        told = list(curves(KIND[kind].rule(kind), KIND[kind].facts))
        assert told
        assert [curve for _, curve in told if curve] == []


READS = st.lists(st.tuples(st.integers(0, 900), st.integers(0, 6)), min_size=3, max_size=60)


@given(READS, st.sampled_from(["objects", "requests"]), st.integers(1, 4))
def test_every_point_is_the_largest_value_of_its_stretch(reads, measure, threshold):
    facts = {Fact(T0 + 1000 + at, key=f"k{key}") for at, key in reads}
    fields = {"where": {"operation": "read"}, "measure": measure, "window": f"{WINDOW}s", "threshold": threshold}
    rule = Kind(fields, []).rule("threshold")

    def value(second):
        inside = [fact.key for fact in facts if second - WINDOW < fact.time <= second]
        return len(set(inside)) if measure == "objects" else len(inside)

    for finding, curve in curves(rule, facts):
        first, last = around(finding.opened_at, finding.last_at, WINDOW)
        assert curve.begin == first
        ends = [min(curve.begin + (n + 1) * curve.step, last + 1) for n in range(len(curve.values))]
        assert ends[-1] == last + 1
        assert curve.values == [max(map(value, range(curve.begin + n * curve.step, end))) for n, end in enumerate(ends)]
