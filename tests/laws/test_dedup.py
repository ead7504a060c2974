"""Laws of duplicates: a record counts once, and of differing copies the best one counts, whatever their order."""

from __future__ import annotations

from dataclasses import replace
from itertools import permutations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from detector.core.access import AccessBatch, Log, Operation, Row, Skip, text_hash
from detector.core.builder import BatchBuilder
from detector.core.dedup import Seen
from detector.core.engine import Engine
from detector.core.finding import Finding
from detector.core.principal import Principal
from detector.watches import watches
from tests.streams import NOW, principal, rule

T0 = 1_777_626_000


@given(st.lists(st.lists(st.integers(0, 60), max_size=30), max_size=8))
def test_an_id_is_new_exactly_once(batches):
    """The table of hashes agrees with a plain set, through growth and collisions of slots."""
    seen, known = Seen(), set()
    for ids in batches:
        array = np.array(ids, np.uint64) << np.uint64(58)
        verdict = seen.judge(array, np.zeros(len(ids), np.uint64), np.full(len(ids), T0))
        for one, duplicate in zip(ids, verdict.duplicate, strict=True):
            assert duplicate == (one % 64 in known)
            known.add(one % 64)


def test_the_table_survives_checkpoints_and_lets_go_of_old_hours():
    """Restored from its parts it knows the same ids; behind the horizon it forgets them."""
    seen = Seen()
    ids = np.arange(1, 5001, dtype=np.uint64)
    times = T0 + np.arange(5000) * 10
    seen.judge(ids, ids, times)
    again = Seen()
    again.restore({name: part for name, part in seen.changes().items() if part})
    assert again.contains(ids).all()
    again.forget_before(T0 + 36_000)
    assert not again.contains(ids[:3000]).any()
    assert again.contains(ids[-1000:]).all()


foreign = Principal(
    "AWSAccount", "AROAROLE:thief", "111122223333:AROAROLE:thief", "AROAROLE", "111122223333:AROAROLE", "111122223333",
    session_name="thief", principal_id="AROAROLE:thief",
)  # fmt: skip


def copy(number: int, who: Principal, *, has_arn: bool, size: int = 1) -> AccessBatch:
    builder = BatchBuilder()
    builder.add(
        Row(
            Log.cloudtrail, T0 + number, text_hash(f"id{number}"), "111122223333/us-east-1", operation=Operation.read,
            bytes=size, who=who, has_arn=has_arn, api="GetObject", bucket="b", key=f"k{number}", event_id=f"id{number}",
        )
    )  # fmt: skip
    return builder.build()


def replayed(batches: list[AccessBatch]) -> tuple[list[Finding], Engine]:
    engine = Engine([rule("bytes", 60, 2)], watches(), best_copies=True)
    for one in batches:
        engine.process(one, NOW)
    if engine.needs_second_run:
        engine = Engine([rule("bytes", 60, 2)], watches(), best_copies=True, **engine.second_run())
        for one in batches:
            engine.process(one, NOW)
    return engine.finish(), engine


def test_of_differing_copies_the_one_with_an_arn_counts_in_any_order():
    """A cross-account pair: the requester's trail names the session in full; that copy is kept, and both are booked."""
    full, bare = copy(1, principal("thief"), has_arn=True, size=7), copy(1, foreign, has_arn=False, size=5)
    answers = []
    for order in permutations([full, bare, bare]):
        findings, engine = replayed(list(order))
        assert engine.books.duplicates == 2
        assert engine.books.duplicates_differing == 2
        answers.append([f.to_json() for f in findings])
    assert all(answer == answers[0] for answer in answers)
    assert answers[0][0]["peak_value"] == 7
    assert answers[0][0]["group"]["session"].startswith("arn:")


def test_copies_with_an_arn_each_are_told_apart_by_their_columns_alone():
    """Two copies that differ in size only: the same one is kept whichever comes first."""
    one, other = (copy(1, principal("thief"), has_arn=True, size=size) for size in (6, 9))
    peaks = {replayed(order)[0][0].peak_value for order in ([one, other], [other, one])}
    assert len(peaks) == 1


def test_alike_copies_need_no_second_run():
    """Redelivered records that agree are simply duplicates."""
    one = copy(1, principal("thief"), has_arn=True)
    engine = Engine([rule("bytes", 60, 2)], watches(), best_copies=True)
    for batch in (one, one):
        engine.process(batch, NOW)
    assert (engine.books.duplicates, engine.books.duplicates_differing) == (1, 0)
    assert not engine.needs_second_run


def test_a_read_that_aws_made_for_a_copy_is_skipped_in_any_order():
    """The copy's own record counts; the internal GetObject with the same x-amz-id-2 does not, before or after it."""

    def linked(number: int, operation: Operation) -> AccessBatch:
        one = copy(number, principal("thief"), has_arn=True)
        return replace(one, link=np.array([77], np.uint64), operation=np.array([operation], np.int8))

    made, internal = linked(1, Operation.copy), linked(2, Operation.read)
    for order in ([made, internal], [internal, made]):
        _, engine = replayed(order)
        assert engine.books.skipped == {Skip.internal_read_of_copy.name: 1}
        assert engine.books.access_events == 1
    _, alone = replayed([internal])
    assert alone.books.access_events == 1
