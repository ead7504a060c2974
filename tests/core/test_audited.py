"""What was met near which second is what looking at every sighting finds; what a record may mean, and for how long."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.access import Log
from detector.core.audited import ALL, DAY, Audited, Marks, called
from detector.core.engine import Engine
from detector.core.principal import Principal
from detector.core.rule import Unaudited
from detector.core.watermark import Watermark
from detector.watches import watches
from tests.kinds import NOW, T0, Fact, batch

MIDNIGHT = 20_000 * DAY
near_midnight = st.builds(lambda day, second: MIDNIGHT + day * DAY + second, st.integers(-1, 0), st.integers(-30, 30))
met_ = st.lists(st.tuples(st.integers(1, 2), near_midnight), min_size=3, max_size=12)
within_ = st.sampled_from([1, 7, 20, 3601, DAY])


def columns(rows):
    return np.array([one for one, _ in rows], np.uint64), np.array([second for _, second in rows], np.int64)


@given(st.lists(met_, max_size=4), met_, within_)
@example([[(1, MIDNIGHT), (1, MIDNIGHT + 19)]], [(1, MIDNIGHT - 20), (1, MIDNIGHT + 35), (1, MIDNIGHT + 40)], 20)
def test_a_mark_is_near_up_to_so_many_seconds_before_or_after(cuts, asked, within):
    marks = Marks("marks", within)
    for rows in cuts:
        marks.add(*columns(rows))
    met = [one for rows in cuts for one in rows]
    near = marks.near(*columns(asked)).tolist()
    assert near == [any(h == one and abs(s - second) <= within for h, s in met) for one, second in asked]


@given(met_, within_, near_midnight)
@example([(1, MIDNIGHT + 5), (2, MIDNIGHT - DAY - 40)], 3601, MIDNIGHT + 5)
def test_whole_days_are_let_go_of_and_nothing_from_that_second_on(rows, within, oldest):
    """A slot of time may begin the day before: what was met in it stays."""
    marks = Marks("marks", within)
    marks.add(*columns(rows))
    marks.forget_before(oldest)
    for row in rows:
        assert marks.near(*columns([row])).all() or row[1] < oldest
        assert not marks.near(*columns([row])).all() or row[1] >= oldest - within - DAY


RULE = Unaudited.model_validate(
    {"id": "r", "title": "t", "severity": "high", "kind": "unaudited", "key": "raw/{sample_id}", "window": "1m"}
)


def test_a_batch_without_records_says_nothing():
    assert len(Audited(RULE).absorb(batch([Fact(T0), Fact(T0 + 1)]))) == 0


def test_a_record_means_the_key_it_names_and_else_its_sample():
    """In its bucket; in any, if it names none."""
    both = Fact(T0, op="audit", key="raw/9").row()._replace(sample_id="1")
    records = [Fact(T0, op="audit", extra="2"), both, Fact(T0, op="audit", key="raw/3", bucket="")]
    audited = Audited(RULE)
    assert audited.absorb(batch(records)).tolist() == [T0] * 3
    reads = batch([Fact(T0, bucket=name, key=f"raw/{n}") for n in (9, 1, 2, 3) for name in ("voice", "other")])
    audited.buckets.update(reads.text["bucket"].hashes().tolist())
    told = audited.tells(reads.object_hash(np.arange(8)), np.zeros(8, np.uint64), reads.time)
    assert told.tolist() == [True, False, False, False, True, False, True, True]


def test_an_application_knows_people_by_the_end_of_their_name():
    user = "arn:aws:iam::111122223333:user/team/ann"
    assert called(Fact(T0, "bob").who) == "bob"
    assert called(Principal("IAMUser", user, user, user, user, "111122223333")) == "ann"
    assert called(Principal("Application", *["app:eve"] * 4, "application")) == "eve"


def test_what_the_audit_log_said_is_let_go_of_with_the_reads():
    """Its days, and the stretches in which it was heard: what lies before the horizon by far is gone."""
    engine = Engine([RULE], watches(), watermark=Watermark(dict.fromkeys(Log, 0)), horizon=DAY)
    for hour in range(0, 9 * 24, 3):
        now = T0 + hour * 3600
        records = [Fact(now, op="audit", key="k", bucket=bucket) for bucket in ("voice", "")]
        engine.process(batch([*records, Fact(now, key="k")]), NOW)
        assert engine.judge() + engine.advance(NOW, backlog=False) == []
    assert engine.failures == {}
    [watch] = engine._watches
    audited = watch._audited  # type: ignore[attr-defined]
    oldest = now - 2 * DAY
    assert audited.objects.segments() == audited.keys.segments() == [oldest // DAY + 1, oldest // DAY + 2]
    first, last = audited.heard.of(ALL)
    assert oldest < first[0] <= last[-1] == now


def test_it_is_silent_but_in_stretches_without_a_long_gap():
    """Also where it was never heard, and after what lies before has been let go of."""
    seconds = np.array([T0 - 1, T0, T0 + 1800, T0 + 1801, T0 + 3600, T0 + 3601, T0 + 3602])
    audited = Audited(RULE)
    assert audited.silent(seconds).all()
    audited.absorb(batch([Fact(T0 + at, op="audit") for at in (0, 1800, 3601)]))
    silent = [True, False, False, True, True, False, True]
    assert audited.silent(seconds).tolist() == silent
    audited.forget_before(T0 + 1800 + RULE.ahead)
    assert audited.silent(seconds).tolist() == silent
