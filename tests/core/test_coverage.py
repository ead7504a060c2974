"""The coverage ledger holds what a plain loop over the records holds, whatever their order, batches and copies."""

from __future__ import annotations

import json
from collections import defaultdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import Log, Operation, Row, Skip
from detector.core.builder import BatchBuilder
from detector.core.coverage import Calendar, Coverage
from detector.errors import StateError

MAY = 1_777_593_600  # 2026-05-01T00:00:00Z
NAME = "111122223333_CloudTrail_us-east-1_20260501T0905Z"
READS = {"read", "copy", "restore", "list", "head"}
times = st.one_of(
    st.integers(MAY, MAY + 7200),
    st.integers(MAY, MAY + 40 * 86_400),
    st.sampled_from([0, -5, 1, (1 << 33) - 1, 1 << 40]),
)
rows = st.lists(
    st.tuples(
        st.sampled_from(Log),
        times,
        st.sampled_from(["111122223333/us-east-1", "111122223333/eu-west-1", "", "owner/"]),
        st.sampled_from([Skip.no, Skip.not_s3]),
        st.sampled_from(Operation),
        st.sampled_from([None, "ml-voice", "ml-text", "x" * 300]),
    ).map(lambda r: Row(r[0], r[1], 1, r[2], r[3], operation=r[4], bucket=r[5])),
    max_size=40,
)


def batch(made, columns=frozenset({"partition", "bucket"})):
    builder = BatchBuilder(columns)
    for row in made:
        builder.add(row)
    return builder.build()


def ledger(*parts):
    whole = Coverage()
    for part in parts:
        whole.add(batch(part))
    return whole


def plain(made):
    """By an own loop: (kind of log, partition) and (bucket, kind of log, kind) → the starts of their five minutes."""
    sources, buckets = defaultdict(set), defaultdict(set)
    for row in made:
        if 0 < row.time < 1 << 33:
            start = row.time - row.time % 300
            sources[row.log.name, row.partition].add(start)
            if row.bucket is not None:
                name = row.operation.name
                kind = "reads" if name in READS else "decrypts" if name == "decrypt" else "other"
                buckets[row.bucket[:200], row.log.name, kind].add(start)
    return dict(sources), dict(buckets)


def held(calendar):
    return {subject: set((slots * 300).tolist()) for subject, slots in calendar.slots()}


@given(rows)
def test_the_ledger_is_what_a_loop_over_the_records_says(made):
    """Times of no year, buckets of no name and very long ones among them."""
    whole = ledger(made)
    assert (held(whole.sources), held(whole.buckets)) == plain(made)


@given(st.lists(rows, min_size=1, max_size=4), st.randoms(use_true_random=False))
def test_order_batches_and_copies_change_nothing(parts, random):
    """Nor does it whether parts are counted by one ledger or by several that are then merged, through JSON."""
    every = [row for part in parts for row in part]
    shuffled = random.sample(every, len(every)) + every[:5]
    merged = Coverage()
    for part in random.sample(parts, len(parts)):
        merged.merge(Coverage.from_json(json.loads(json.dumps(ledger(part).to_json()))))
    whole = ledger(every).to_json()
    assert whole == ledger(shuffled).to_json() == ledger(*parts, parts[0]).to_json() == merged.to_json()


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 30), st.integers(1, 3)), max_size=80), st.data())
def test_what_a_full_calendar_keeps_does_not_depend_on_the_order(put, data):
    """And it says that it is not all."""

    def calendar(some):
        made = Calendar(most=9)
        made_slack = [made.put((name,), day, bits) for name, day, bits in some]
        assert len(made_slack) == len(some)
        return made

    cut = data.draw(st.integers(0, len(put)))
    half = calendar(put[cut:])
    half._cut()
    half.merge(calendar(put[:cut]))
    whole = calendar(put)
    assert half.to_json() == whole.to_json()
    assert whole.capped == (len({(name, day) for name, day, _ in put}) > 9)
    assert sum(len(days) for _, days in whole.to_json()["seen"]) <= 9


def test_a_calendar_stays_small_while_it_fills(monkeypatch):
    """Not only once it is read: what is over the limit is let go of on the way."""
    monkeypatch.setattr("detector.core.coverage._SLACK", 5)
    calendar = Calendar(most=20)
    for number in range(500):
        calendar.put((f"bucket-{number}",), number, 1)
        assert calendar._count <= 25
    assert calendar.capped


def test_a_batch_that_spans_centuries_costs_no_more_memory():
    """A clock that went mad: the ledger has two days, not all between."""
    made = [Row(Log.cloudtrail, time, 1, "a/b") for time in (1, (1 << 33) - 1)]
    assert [len(slots) for _, slots in ledger(made).sources.slots()] == [2]


def test_without_buckets_in_the_batch_there_are_none_in_the_ledger():
    whole = Coverage()
    whole.add(batch([Row(Log.cloudtrail, MAY, 1, "a/b", bucket="ml-voice")], frozenset({"partition"})))
    assert not whole.buckets_asked
    assert held(whole.buckets) == {}


@pytest.mark.parametrize(
    ("name", "told"),
    [
        (f"AWSLogs/111122223333/CloudTrail/us-east-1/2026/05/01/{NAME}_AbCdEfGh12345678.json.gz", MAY + 9 * 3600 + 300),
        ("111122223333_CloudTrail_us-east-1_20260501T0909Z_x.json", MAY + 9 * 3600 + 300),
        ("111122223333_CloudTrail-Digest_us-east-1_trail_us-east-1_20260501T090500Z.json.gz", None),
        ("111122223333_CloudTrail_us-east-1_20261301T0905Z_x.json.gz", None),
        ("1111_CloudTrail_us-east-1_20260501T0905Z_x.json.gz", None),
        ("2026-05-01-09-05-00-0123456789ABCDEF", None),
    ],
)  # fmt: skip
def test_the_name_of_a_file_tells_when_it_was_delivered(name, told):
    whole = Coverage()
    whole.deliver(name)
    assert held(whole.deliveries) == ({("cloudtrail", "111122223333/us-east-1"): {told}} if told else {})


@pytest.mark.parametrize(
    "spoiled",
    [
        {},
        {"version": 2},
        {"version": 1, "buckets_asked": True},
        {"version": 1, "buckets_asked": True, "sources": 3, "deliveries": 3, "buckets": 3},
        {"version": 1, "buckets_asked": True, "sources": {"capped": False, "seen": [["a", {"x": "1"}]]}},
        [],
    ],
)
def test_a_damaged_ledger_is_refused(spoiled):
    with pytest.raises(StateError, match="ledger"):
        Coverage.from_json(spoiled)


def test_the_time_of_a_ledger_is_in_utc_days():
    """The first slot of a day is midnight in UTC, bit 0."""
    whole = ledger([Row(Log.cloudtrail, MAY, 1, "a/b"), Row(Log.cloudtrail, MAY + 86_399, 1, "a/b")])
    assert whole.to_json()["sources"]["seen"] == [["cloudtrail", "a/b", {str(MAY // 86_400): f"{1 << 287 | 1:x}"}]]
    assert np.array_equal(next(whole.sources.slots())[1] * 300, [MAY, MAY + 86_100])
