"""Signs of blindness: when they open, are told again and close; what is quiet by nature; what a restart keeps."""

from hypothesis import given
from hypothesis import strategies as st

from detector.blindness import AGAIN, ARRIVALS, HOUR, MOST, SENSES, Blindness, Limits, Look, Sign
from detector.sight import Sight

NOW = 1_777_626_000
DAY = 86_400


def started(limits=None):
    blind = Blindness(limits or Limits())
    blind.start(NOW, 0)
    return blind


def told(findings):
    return [(f.rule_id, *f.group.values(), f.state) for f in findings]


def test_a_sign_opens_once_is_told_every_day_and_closes():
    blind = started()
    failing = {"failures": {"bulk": "KeyError: 'x'"}}
    (opened,) = blind.look(Look(NOW + 60, delivered=True, **failing))
    assert told([opened]) == [("blind-rule", "bulk", "opened")]
    assert blind.look(Look(NOW + 120, delivered=True, **failing)) == []
    (again,) = blind.look(Look(NOW + 60 + AGAIN, delivered=True, **failing))
    (closed,) = blind.look(Look(NOW + 61 + AGAIN, delivered=True))
    assert [f.state for f in (again, closed)] == ["updated", "closed"]
    assert len({f.alert_ids for f in (opened, again, closed)}) == 1
    assert {f.opened_at for f in (opened, again, closed)} == {NOW + 60}
    assert blind.look(Look(NOW + 62 + AGAIN, delivered=True)) == []


def test_a_silent_source_is_a_sign_after_its_limit_and_not_before():
    blind = started(Limits(source=3600))
    assert blind.look(Look(NOW + 3600)) == []
    assert told(blind.look(Look(NOW + 3601))) == [("blind-source", "source", "opened")]
    assert told(blind.look(Look(NOW + 3700, delivered=True))) == [("blind-source", "source", "closed")]


def test_time_asleep_is_no_silence():
    blind = started(Limits(source=3600))
    blind.look(Look(NOW, delivered=True))
    kept = blind.snapshot()
    for asleep, signs in ((10 * DAY, []), (0, [("blind-source", "source", "opened")])):
        again = Blindness(Limits(source=3600))
        again.restore(kept)
        again.start(NOW + 10 * DAY, asleep)
        assert told(again.look(Look(NOW + 10 * DAY))) == signs


def hear(blind, name, times):
    return [f for now in times for f in blind.look(Look(now, delivered=True, partitions={name: now}))]


def test_a_partition_that_was_always_busy_is_missed_and_one_that_was_heard_seldom_is_not():
    blind = started(Limits(partition=HOUR))
    assert hear(blind, "cloudtrail 1/eu", range(NOW, NOW + 600, 60)) == []
    assert hear(blind, "cloudtrail 1/us", range(NOW, NOW + 60 * (ARRIVALS - 1), 60)) == []
    heard = {"cloudtrail 1/eu": NOW + 540, "cloudtrail 1/us": NOW + 60 * (ARRIVALS - 2)}
    later = blind.look(Look(NOW + 540 + HOUR + 1, delivered=True, partitions=heard))
    assert told(later) == [("blind-partition", "cloudtrail 1/eu", "opened")]


def test_weekends_page_once():
    """Busy from Monday to Friday, silent at weekends: the first weekend is told, those after it are as usual."""
    blind = started(Limits(partition=12 * HOUR))
    opened, last = [], NOW
    for hour in range(5 * 7 * 24):
        now = NOW + hour * HOUR
        if hour // 24 % 7 < 5:
            last = now
        opened += [
            (hour // 24 // 7, f.state)
            for f in blind.look(Look(now, delivered=True, partitions={"cloudtrail 1/eu": last}))
        ]
    assert opened == [(0, "opened"), (0, "updated"), (1, "closed")]


def test_a_protected_bucket_that_no_log_names():
    blind = started(Limits(bucket=DAY))
    for hour in range(ARRIVALS):
        assert blind.look(Look(NOW + hour * HOUR, delivered=True, buckets=["ml-voice"])) == []
    silent = NOW + ARRIVALS * HOUR + DAY
    later = blind.look(Look(silent, delivered=True, unmatched=["ml-face-*"]))
    assert told(later) == [("blind-bucket", "ml-voice", "opened"), ("blind-bucket", "ml-face-*", "opened")]
    back = blind.look(Look(silent + 1, delivered=True, buckets=["ml-voice"], unmatched=["ml-face-*"]))
    assert told(back) == [("blind-bucket", "ml-voice", "closed")]


def test_a_canary_needs_no_guess():
    blind = started(Limits(bucket=DAY, canaries=frozenset({"ml-voice"})))
    for hour in range(ARRIVALS):
        blind.look(Look(NOW + hour * HOUR, delivered=True, buckets=["ml-voice"]))
    assert blind.look(Look(NOW + 30 * DAY, delivered=True)) == []


def test_a_flood_of_rejects_needs_both_share_and_number():
    for records, rejected, signs in ((100, 99, 0), (2000, 100, 0), (1999, 100, 1), (100, 100, 1), (10_000, 499, 0)):
        found = started().look(Look(NOW, delivered=True, records=records, rejected=rejected))
        assert len(found) == signs, (records, rejected)


def test_rejects_are_forgotten_after_an_hour():
    blind = started()
    assert told(blind.look(Look(NOW, delivered=True, records=200, rejected=200)))[0][2] == "opened"
    assert blind.look(Look(NOW + HOUR - 301, delivered=True)) == []
    assert told(blind.look(Look(NOW + HOUR, delivered=True))) == [("blind-rejects", "source", "closed")]


def test_lag_is_a_sign_for_what_was_current_once():
    blind = started(Limits(lag=1800))
    assert blind.look(Look(NOW, delivered=True, lag={"cloudtrail": 10**7})) == []  # old logs, read now
    assert blind.look(Look(NOW + 1, delivered=True, lag={"cloudtrail": 1800})) == []
    assert told(blind.look(Look(NOW + 2, delivered=True, lag={"cloudtrail": 1801}))) == [
        ("blind-lag", "cloudtrail", "opened")
    ]


def test_an_attacker_cannot_make_more_signs_than_are_told():
    blind = started()
    flood = [Sign("blind-canary", f"b{n}", 1, 1, "x") for n in range(3 * MOST)]
    assert len(blind.look(Look(NOW, delivered=True, further=flood))) == MOST


def test_names_that_are_watched_are_bounded():
    blind = started()
    blind.look(Look(NOW, delivered=True, partitions={f"p{n}": NOW for n in range(5 * MOST)}))
    assert len(blind.snapshot()) < 100_000


SIGNS = st.builds(
    Look,
    now=st.just(0),
    delivered=st.booleans(),
    lag=st.dictionaries(st.sampled_from(["cloudtrail", "server_access"]), st.sampled_from([0, 10_000]), max_size=2),
    partitions=st.just({}),
    buckets=st.lists(st.sampled_from(["a", "b"]), max_size=2),
    records=st.sampled_from([0, 300]),
    rejected=st.sampled_from([0, 300]),
    refused=st.sampled_from([0, 1]),
    failures=st.sampled_from([{}, {"bulk": "x"}]),
)


@given(st.lists(st.tuples(SIGNS, st.integers(1, 8 * HOUR)), max_size=20), st.integers(0, 20))
def test_every_sign_opens_and_closes_once_and_a_restart_changes_nothing(turns, restart):
    """By alert id: opened, perhaps updated, closed; in this order, wherever a snapshot is taken up."""
    plain, restarted, now = started(), started(), NOW
    stories = {}
    for at, (look, pause) in enumerate(turns):
        now += pause
        if at == restart:
            kept, restarted = restarted.snapshot(), Blindness()
            restarted.restore(kept)
            restarted.start(now, 0)
        seen = Look(**{name: getattr(look, name) for name in Look.__slots__} | {"now": now})
        news = plain.look(seen)
        assert news == restarted.look(seen)
        for finding in news:
            stories.setdefault(finding.alert_ids, []).append(finding.state)
    for finding in plain.close(now):
        stories.setdefault(finding.alert_ids, []).append(finding.state)
    for story in stories.values():
        assert [story[0], story[-1]] == ["opened", "closed"]
        assert set(story[1:-1]) <= {"updated"}


def test_every_kind_says_what_to_do():
    for sense in SENSES.values():
        assert sense.runbook.rstrip().endswith((".", "?"))
        assert sense.pages


def test_memory_that_runs_out_is_a_sign_until_there_is_room_again():
    """Between the two bounds nothing changes, so that it does not page at every turn; unknown bounds are none."""
    seen = {899: [], 901: [901], 850: [850], 801: [801], 799: [], 898: [], 950: [950]}
    memory = [(0, 1000)]
    sight = Sight(Limits(), memory=lambda: memory[0])
    for have, told_of in seen.items():
        memory[0] = have, 1000
        assert [(sign.sense, sign.value) for sign in sight._of_memory()] == [("low-memory", at) for at in told_of]
    memory[0] = 950, 0
    assert list(sight._of_memory()) == []
