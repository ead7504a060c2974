"""Laws of what is told of an episode: opened once, again when it is worth it, corrected when late, always closed."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.episode import CLOSED, OPENED, UPDATED, WITHDRAWN, Ledger, Tracked
from detector.core.finding import alert_id
from detector.core.window import DAY, Episode

GROUP, KEY = 7, "group"


def episode(opened=100, last=110, peak=4.0, peak_at=None):
    return Episode(opened, last, peak, last if peak_at is None else peak_at)


def ledger(*told, late=False):
    """A ledger that was told these episodes of one group at once."""
    made = Ledger("rule")
    made.settle(GROUP, KEY, told, late=late)
    return made


def settled(made, *now, late=False):
    """What there is to tell: (state, episode, alert ids, late)."""
    news = made.settle(GROUP, KEY, now, late=late)
    return [(state, one.episode, one.alert_ids, one.late) for state, one in news]


def id_of(opened):
    return alert_id("rule", KEY, opened)


@pytest.mark.parametrize("late", [False, True])
def test_a_new_episode_is_opened_under_an_id_of_its_own(late):
    """The id is that of its opening; it says late if it came late."""
    assert settled(Ledger("rule"), episode(), late=late) == [(OPENED, episode(), (id_of(100),), late)]


def test_an_episode_that_did_not_change_is_no_news():
    """Not even if what came in between was late."""
    made = ledger(episode())
    assert settled(made, episode(), late=True) == []
    assert [one.late for one in made.groups[GROUP]] == [False]


@pytest.mark.parametrize(
    ("now", "told"),
    [
        (episode(peak=7.9), False),
        (episode(peak=8.0), True),
        (episode(last=110 + DAY - 1), False),
        (episode(last=110 + DAY), True),
    ],
)
def test_a_growing_episode_is_told_again_when_its_peak_has_doubled_or_a_day_has_passed(now, told):
    """Against what was told last, to the second; what is not told is kept all the same."""
    made = ledger(episode())
    assert settled(made, now) == ([(UPDATED, now, (id_of(100),), False)] if told else [])
    (kept,) = made.groups[GROUP]
    assert (kept.episode, kept.told) == (now, now if told else episode())


def test_small_steps_add_up_to_a_doubling():
    """A peak is held against the one that was told, not against the one before."""
    made = ledger(episode(peak=4.0))
    assert [bool(settled(made, episode(peak=peak))) for peak in (5.0, 7.0, 8.0, 15.0, 16.0)] == [
        False, False, True, False, True,
    ]  # fmt: skip


def test_a_late_record_marks_the_episode_it_changes():
    """Once late, late for ever."""
    made = ledger(episode())
    assert settled(made, episode(last=111), late=True) == []
    assert settled(made, episode(last=112, peak=9.0)) == [(UPDATED, episode(last=112, peak=9.0), (id_of(100),), True)]


def test_a_closed_episode_that_changes_is_open_again_and_late():
    """However small the change; it will be closed once more."""
    made = ledger(episode())
    made.close(200)
    assert settled(made, episode(last=111)) == [(UPDATED, episode(last=111), (id_of(100),), True)]
    assert made.is_open(GROUP)
    assert [one.episode for _, one in made.close(200)] == [episode(last=111)]


def test_episodes_that_turn_out_to_be_one_are_one_with_both_ids():
    """In the order of their openings; the first's word is what was told. If one was closed, it is a correction."""
    first, second, joined = episode(100, 110), episode(200, 210, 6.0), episode(100, 210, 6.0)
    made = ledger(first, second)
    assert settled(made, joined) == []
    (one,) = made.groups[GROUP]
    assert (one.alert_ids, one.told, one.late) == ((id_of(100), id_of(200)), first, False)
    made = ledger(first, second)
    made.close(150)
    assert settled(made, joined) == [(UPDATED, joined, (id_of(100), id_of(200)), True)]
    made = ledger(first, second)
    made.groups[GROUP][1].closed = True
    assert settled(made, joined) == [(UPDATED, joined, (id_of(100), id_of(200)), True)]
    made = ledger(first, second)
    made.groups[GROUP][1].late = True
    assert settled(made, joined) == []
    assert made.groups[GROUP][0].late


def test_one_id_is_named_once():
    """Where two that join have ids in common."""
    made = ledger(episode(100, 110), episode(200, 210))
    made.groups[GROUP][1].alert_ids = (id_of(200), id_of(100))
    settled(made, episode(100, 210))
    assert made.groups[GROUP][0].alert_ids == (id_of(100), id_of(200))


@pytest.mark.parametrize(
    ("now", "same"),
    [(episode(90, 110), True), (episode(90, 100), True), (episode(100, 105), True),
     (episode(90, 99), False), (episode(101, 110), False)],
)  # fmt: skip
def test_an_episode_is_the_one_whose_opening_lies_in_it(now, same):
    """Its opening may move to an earlier second; both ends of the new one count."""
    made = ledger(episode())
    news = settled(made, now)
    assert news == [] if same else [state for state, *_ in news] == [OPENED]
    assert len(made.groups[GROUP]) == (1 if same else 2)
    assert made.groups[GROUP] == sorted(made.groups[GROUP], key=lambda one: one.episode)


def test_each_tracked_episode_goes_into_one():
    """What the first has taken in, the second does not; the others of the group stay."""
    made = ledger(episode(100, 110), episode(200, 210), episode(300, 310))
    settled(made, episode(100, 205), episode(200, 210))
    assert [(one.episode, one.alert_ids) for one in made.groups[GROUP]] == [
        (episode(100, 205), (id_of(100), id_of(200))),
        (episode(200, 210), (id_of(200),)),
        (episode(300, 310), (id_of(300),)),
    ]


def test_what_ended_before_a_second_is_closed_by_opening_and_group():
    """Strictly before; once; the earliest opening first, of like ones the smaller group. Its last word is told."""
    made = Ledger("rule")
    for group in (3, 1, 2):
        made.settle(group, KEY, [episode(100 + group % 2, 110), episode(120, 130)], late=False)
    made.groups[3][0].told = episode(1, 2)
    assert made.close(110) == []
    closed = made.close(111)
    assert [(group, one.episode.opened_at) for group, one in closed] == [(2, 100), (1, 101), (3, 101)]
    assert all(one.closed and one.told == one.episode for _, one in closed)
    assert made.close(111) == []
    assert [made.is_open(group) for group in (1, 2, 3, 4)] == [True, True, True, False]
    assert len(made.close(1000)) == 3
    assert not made.is_open(1)


def test_only_what_is_closed_and_old_is_forgotten():
    """An open episode is never forgotten, a closed one not before the second it ended; an empty group goes."""
    made = Ledger("rule")
    made.settle(1, KEY, [episode(100, 110), episode(200, 210)], late=False)
    made.settle(2, KEY, [episode(100, 110)], late=False)
    made.forget_before(1000)
    assert [len(made.groups[group]) for group in (1, 2)] == [2, 1]
    made.close(150)
    made.forget_before(110)
    assert [len(made.groups[group]) for group in (1, 2)] == [2, 1]
    made.forget_before(111)
    assert {group: [one.episode for one in all_] for group, all_ in made.groups.items()} == {1: [episode(200, 210)]}


def unsure(*told):
    """A ledger of a kind that may take back, told these episodes."""
    made = Ledger("rule", withdrawable=True)
    made.settle(GROUP, KEY, told, late=False)
    return made


def test_an_episode_of_which_nothing_is_left_is_withdrawn_once_with_its_ids():
    """Open or closed; after that it is neither open nor closed any more, and forgotten as closed ones are."""
    for passed in (0, 200):
        made = unsure(episode(), episode(300, 310))
        made.close(passed)
        assert settled(made, episode(300, 310)) == [(WITHDRAWN, episode(), (id_of(100),), False)]
        assert settled(made, episode(300, 310)) == []
        assert [one.episode for _, one in made.close(1000)] == [episode(300, 310)]
        made.forget_before(111)
        assert [one.episode for one in made.groups[GROUP]] == [episode(300, 310)]


def test_what_a_late_record_takes_back_is_late_and_what_was_late_stays_so():
    made = unsure(episode(), episode(300, 310))
    made.groups[GROUP][0].late = True
    assert settled(made, episode(300, 310)) == [(WITHDRAWN, episode(), (id_of(100),), True)]
    assert settled(made, late=True) == [(WITHDRAWN, episode(300, 310), (id_of(300),), True)]
    assert [one.late for one in made.groups[GROUP]] == [True, True]


def test_a_threshold_never_withdraws():
    """Its crossings only become more; what is not named again stands."""
    made = ledger(episode())
    assert settled(made) == []
    assert made.is_open(GROUP)


def test_what_is_left_of_an_episode_keeps_its_ids():
    """Its opening was taken back, its end was not: corrected, not withdrawn."""
    made = unsure(episode(100, 200))
    assert settled(made, episode(150, 200)) == []
    assert [(one.episode, one.alert_ids, one.over) for one in made.groups[GROUP]] == [
        (episode(150, 200), (id_of(100),), False)
    ]
    assert settled(made, episode(200, 210)) == []
    assert [state for state, *_ in settled(made, episode(211, 220))] == [OPENED, WITHDRAWN]


def test_what_was_withdrawn_and_comes_back_is_corrected_under_its_ids():
    """Word for word the same or not; and closed once more."""
    for back in (episode(), episode(90, 110)):
        made = unsure(episode())
        assert [state for state, *_ in settled(made)] == [WITHDRAWN]
        assert settled(made, back) == [(UPDATED, back, (id_of(100),), False)]
        assert [one.alert_ids for _, one in made.close(1000)] == [(id_of(100),)]


def test_a_snapshot_holds_everything():
    """Through the checkpoint's encoding and back: the same ledger."""
    made = ledger(episode(100, 110, 4.5), episode(200, 210), late=True)
    settled(made, episode(100, 112, 5.0), episode(200, 210))
    made.close(150)
    made.groups[GROUP][1].withdrawn = True
    again = Ledger("rule")
    again.restore(msgspec.msgpack.decode(msgspec.msgpack.encode(made.snapshot())))
    assert again == made
    assert [type(one) for one in again.groups[GROUP]] == [Tracked, Tracked]
    assert isinstance(again.groups[GROUP][0].episode, Episode)


def test_a_snapshot_from_before_episodes_said_at_least_is_understood():
    """Four figures: nothing past the cap is known of it."""
    again = Ledger("rule")
    again.restore([[GROUP, [[(100, 110, 4.5, 105), ["a"], (100, 110, 4.5, 105), False, False]]]])
    (tracked,) = again.groups[GROUP]
    assert tracked.episode == tracked.told == Episode(100, 110, 4.5, 105, at_least=False)


episodes_ = st.sets(st.integers(0, 30), max_size=8).map(
    lambda edges: [Episode(a, b, 1.0, a) for a, b in zip(*[iter(sorted(edges))] * 2, strict=False)]
)


@given(st.lists(st.tuples(episodes_, st.booleans(), st.integers(0, 32)), max_size=6))
def test_what_is_opened_is_closed_under_its_id(rounds):
    """Whatever episodes come and go: every id that was opened is in the last word of some closed episode."""
    made, opened = Ledger("rule"), set()
    for found, late, passed in rounds:
        news = made.settle(GROUP, KEY, found, late=late)
        opened |= {i for state, one in news if state == OPENED for i in one.alert_ids}
        made.close(passed)
    made.close(1000)
    assert {i for one in made.groups.get(GROUP, ()) if one.closed for i in one.alert_ids} >= opened
    assert {OPENED, UPDATED, CLOSED} == {"opened", "updated", "closed"}
