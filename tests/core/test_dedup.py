"""Which records are copies, which of them differ, and which one counts: against a dict, row by row."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from detector.core import ids as ids_module
from detector.core import runs
from detector.core.access import Log, Operation, Outcome, Row
from detector.core.builder import BatchBuilder
from detector.core.dedup import SEEN_BY_RULES, Seen, ranks
from detector.core.engine import KEPT
from tests.streams import principal

T0 = 1_777_626_000
PLAIN = Row(Log.cloudtrail, T0, 1, "111122223333/us-east-1", operation=Operation.read, who=principal("a"), bytes=5)


def ranked(*rows, columns=None):
    builder = BatchBuilder()
    for row in rows:
        builder.add(row)
    return ranks(builder.build() if columns is None else builder.build().cut(columns)).tolist()


CHANGES = {
    "time": T0 + 1,
    "operation": Operation.list,
    "outcome": Outcome.denied,
    "bytes": 6,
    "who": principal("b"),
    **dict.fromkeys(SEEN_BY_RULES, "x"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_copies_that_differ_in_what_rules_see_have_other_ranks(name):
    """In each of these columns, and whoever else is null; alike in all of them, the rank is the same."""
    changed = PLAIN._replace(**{name: CHANGES[name]})
    first, again, other = ranked(PLAIN, PLAIN._replace(event_id="e", request_id="r"), changed)
    assert first == again != other
    nobody = PLAIN._replace(who=None)
    assert len(set(ranked(nobody, nobody._replace(**{name: CHANGES[name]}), PLAIN))) == 3


def test_ranks_are_as_good_as_hashes():
    """Rows that differ in one number by a little all have ranks of their own."""
    rows = [PLAIN._replace(time=T0 + n % 100, bytes=n // 100) for n in range(10_000)]
    assert len(set(ranked(*rows))) == len(rows)


def test_any_copy_with_an_arn_is_better_than_any_without():
    """Whatever else is in them."""
    rows = [PLAIN._replace(time=T0 + n, has_arn=n % 2 == 0) for n in range(200)]
    made = ranked(*rows)
    assert max(made[::2]) < min(made[1::2])


def test_ranks_stay_what_they_are():
    """Checkpoints hold them: a copy that comes after an upgrade is held against a rank from before."""
    full = PLAIN._replace(has_arn=True, outcome=Outcome.denied, **dict.fromkeys(SEEN_BY_RULES, "x"))
    rows = PLAIN, full, PLAIN._replace(who=None), full._replace(bytes=4)
    wanted = [0xB691_5F8A_A02A_6185, 0x636B_76F9_030C_7977, 0xFD48_F60A_54C4_E7B7, 0x3B53_4175_D0A9_689C]
    assert ranked(*rows) == wanted


def test_ranks_are_told_from_the_columns_that_are_there():
    """A batch read without some column ranks its rows by the others."""
    one, other = PLAIN._replace(bucket="b", key="k"), PLAIN._replace(bucket="b", key="l")
    assert len(set(ranked(one, other, columns=frozenset({"bucket", "key"})))) == 2
    assert len(set(ranked(one, other, columns=frozenset({"bucket"})))) == 1


@dataclass
class ByHand:
    """What `Seen` says, row by row. An id is a number, so is a rank."""

    preferred: dict[int, int]
    kept: dict[int, int] = field(default_factory=dict)
    contested: dict[int, int] = field(default_factory=dict)
    miscounted: bool = False

    def judge(self, rows, *, best_of_batch):
        duplicate, differing = [False] * len(rows), [False] * len(rows)
        for number, (one, rank) in enumerate(rows):
            if self.preferred.get(one, rank) != rank:
                duplicate[number] = differing[number] = True
        left = [number for number in range(len(rows)) if not duplicate[number]]
        before = dict(self.kept)
        for number in sorted(left, key=lambda number: rows[number][1]) if best_of_batch else left:
            one, rank = rows[number]
            duplicate[number] = one in self.kept
            reference = self.kept.setdefault(one, rank)
            differing[number] = rank != reference
            self.miscounted |= rank < before.get(one, rank)
            if best_of_batch and rank != reference:
                self.contested[one] = min(rank, reference, self.contested.get(one, rank))
        return duplicate, differing


rows_ = st.lists(st.tuples(st.integers(0, 5), st.integers(0, 4)), max_size=12)
copies_ = st.dictionaries(st.integers(0, 5), st.integers(0, 4), max_size=3)


def hashed(numbers):
    return np.array(numbers, np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)


def holding(copies):
    """`Seen` of a first run, of which these are the contested copies."""
    first = Seen()
    for one, rank in copies.items():
        rows = hashed([one] * 2), np.array([rank, rank + 1], np.uint64), np.full(2, T0)
        first.judge(*rows, best_of_batch=True)
    return first.contested


@pytest.fixture
def soon_cut(monkeypatch):
    """Two ids are many already, and are cut into partitions."""
    monkeypatch.setattr(runs, "LARGE", 2)
    monkeypatch.setattr(ids_module, "LARGE", 2)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@example(batches=[[(1, 3)], [(1, 1), (1, 2)]], best=True, preferred=None)
@example(batches=[[(1, 0), (1, 1), (2, 0), (2, 1)], [(1, 3)]], best=True, preferred=None)
@example(batches=[[(1, 2), (2, 2)], [(1, 1), (2, 1)], [(1, 4)]], best=True, preferred=None)
@given(batches=st.lists(rows_, min_size=1, max_size=5), best=st.booleans(), preferred=st.none() | copies_)
def test_copies_are_told_as_by_hand(batches, best, preferred, soon_cut):
    """New or copy, alike or not, miscounted, contested and refused: in one run, and in one that knows the best."""
    seen = Seen(preferred=None if preferred is None else holding(preferred))
    by_hand = ByHand(preferred or {})
    for rows in batches:
        ids, rank = hashed([one for one, _ in rows]), np.array([rank for _, rank in rows], np.uint64)
        verdict = seen.judge(ids, rank, np.full(len(rows), T0), best_of_batch=best)
        told = verdict.duplicate.tolist(), verdict.differing.tolist()
        assert told == by_hand.judge(rows, best_of_batch=best)
    assert (len(seen), seen.miscounted) == (len(by_hand.kept), by_hand.miscounted)
    everybody = hashed(range(7))
    assert seen.contains(everybody).tolist() == [one in by_hand.kept for one in range(7)]
    counts = by_hand.contested if preferred is None else preferred
    for rank in range(5):
        refused = seen.refuses(everybody, np.full(7, rank, np.uint64))
        assert refused.tolist() == [counts.get(one, rank) != rank for one in range(7)]


def test_of_copies_in_one_batch_the_first_is_kept_unless_told_otherwise():
    """The daemon keeps what came first."""
    seen = Seen()
    verdict = seen.judge(hashed([1, 1]), np.array([2, 1], np.uint64), np.full(2, T0))
    assert verdict.duplicate.tolist() == [False, True]


def test_an_id_is_forgotten_with_the_hour_of_its_event():
    """Whole hours: the last second of an hour goes with it, the next one stays."""
    hour = 400_000 * 3600
    for put in (
        lambda seen, ids, time: seen.judge(ids, ids, time),
        lambda seen, ids, time: seen.remember(ids, time),
    ):
        seen = Seen()
        put(seen, hashed([1, 2, 3, 4]), np.array([hour - 1, hour, hour + 3599, hour + 3600]))
        for second, known in (
            (hour - 1, [True] * 4),
            (hour, [False, True, True, True]),
            (hour + 3599, [False, True, True, True]),
            (hour + 3600, [False, False, False, True]),
        ):
            seen.forget_before(second)
            assert seen.contains(hashed([1, 2, 3, 4])).tolist() == known


def test_what_was_seen_is_seen_after_a_restart():
    """With its rank: a copy that differs is told from one that does not. What was given out is no change any more."""
    seen, again, rank, time = Seen(), Seen(), np.array([5, 6], np.uint64), np.full(2, T0)
    seen.judge(hashed([1, 2]), rank, time)
    again.restore(seen.changes())
    assert seen.changes() == again.changes() == {}
    verdict = again.judge(hashed([1, 2]), rank[::-1], time)
    assert (verdict.duplicate.tolist(), verdict.differing.tolist()) == ([True] * 2, [True] * 2)
    assert again.miscounted
    verdict = again.judge(hashed([1, 2, 3]), np.array([5, 6, 7], np.uint64), np.full(3, T0))
    assert (verdict.duplicate.tolist(), verdict.differing.tolist()) == ([True, True, False], [False] * 3)


def test_what_is_remembered_once_more_is_no_news():
    """Links come again and again, also in one batch."""
    seen = Seen()
    for numbers in ([1, 2, 1], [2, 3]):
        seen.remember(hashed(numbers), np.full(len(numbers), T0))
    assert len(seen) == 3
    assert seen.contains(hashed([3, 1, 9, 2])).tolist() == [True, True, False, True]


def test_the_second_run_takes_nothing_of_the_first_ones_place():
    """What the first run found contested stays on the shelf while the second writes its own; all of it may leave."""
    first = Seen()
    second = Seen(preferred=first.contested)
    assert f"{first.contested.name}/" in KEPT
    assert f"{second.contested.name}/" not in KEPT
    assert len(first.spilling()) == 2
    assert second.spilling() == [*second.spilling()[:2], first.contested]
    assert len({held.name for held in second.spilling()}) == 3


def test_it_tells_whether_copies_differ():
    """In the first run as soon as one does, and in the second from its beginning: then who refuses copies is asked."""
    first, ids, time = Seen(), np.array([7, 7], np.uint64), np.zeros(2, np.int64)
    first.judge(ids, np.array([1, 1], np.uint64), time, best_of_batch=True)
    assert not first.contests
    assert not Seen(preferred=first.contested).contests
    first.judge(ids, np.array([1, 2], np.uint64), time, best_of_batch=True)
    assert first.contests
    assert Seen(preferred=first.contested).contests
