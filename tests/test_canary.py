"""Canaries: read on a schedule, expected in the logs, missed when no log tells of them."""

from detector.canary import SLACK, Canaries, Place, place_of
from detector.core.builder import BatchBuilder
from detector.core.times import iso
from detector.logs.read import read
from tests.records import file_of, record

NOW = 1_777_626_000
BIRD = Place("ml-voice", "canary/bird")


def canaries(**changes):
    return Canaries([BIRD], **{"every": 900, "within": 2700} | changes)


def events(*times, key="canary/bird", api="GetObject", bucket="ml-voice"):
    parameters = {"bucketName": bucket, "key": key}
    builder = BatchBuilder()
    records = [
        record(api, eventTime=iso(time), requestParameters=parameters, resources=None, eventID=f"{n}")
        for n, time in enumerate(times)
    ]
    read(file_of(records), "f.json", builder)
    return builder.build()


def test_it_is_read_when_it_is_due():
    birds = canaries()
    assert birds.due(NOW) == [BIRD]
    birds.was_read(BIRD, NOW)
    assert birds.due(NOW + 899) == []
    assert birds.due(NOW + 900) == [BIRD]


def test_its_event_tells_the_delay():
    birds = canaries()
    birds.was_read(BIRD, NOW)
    assert birds.delay() == -1
    birds.meet(events(NOW + 1), NOW + 400)
    assert birds.delay() == 399
    assert list(birds.signs(NOW + 10**6)) == []


def test_what_no_log_tells_of_is_a_sign():
    birds = canaries()
    birds.was_read(BIRD, NOW)
    assert list(birds.signs(NOW + 2700)) == []
    (sign,) = birds.signs(NOW + 2701)
    assert (sign.sense, sign.where, sign.value) == ("blind-canary", "ml-voice", 2701)


def test_other_reads_are_not_its_own():
    others = [
        events(NOW, key="canary/other"),
        events(NOW, bucket="elsewhere"),
        events(NOW, api="HeadObject"),
        events(NOW - SLACK - 1, NOW + SLACK + 1),
    ]
    for batch in others:
        birds = canaries()
        birds.was_read(BIRD, NOW)
        birds.meet(batch, NOW + 60)
        assert len(list(birds.signs(NOW + 2701))) == 1


def test_every_read_wants_an_event_of_its_own():
    birds = canaries()
    for at in (NOW, NOW + 900, NOW + 1800):
        birds.was_read(BIRD, at)
    birds.meet(events(NOW, NOW + 1800), NOW + 1900)
    (sign,) = birds.signs(NOW + 900 + 2701)
    assert sign.value == 2701


def test_one_that_cannot_be_read_is_a_sign_until_it_can():
    birds = canaries()
    birds.was_read(BIRD, NOW, "AccessDenied")
    assert [sign.sense for sign in birds.signs(NOW)] == ["blind-canary-read"]
    birds.was_read(BIRD, NOW + 900)
    assert list(birds.signs(NOW + 900)) == []


def test_a_restart_goes_on_and_a_long_one_begins_anew():
    birds = canaries()
    birds.was_read(BIRD, NOW)
    for asleep, signs in ((60, 1), (2700, 0)):
        again = canaries()
        again.restore(birds.snapshot())
        again.asleep(asleep)
        assert len(list(again.signs(NOW + 2701))) == signs


def test_one_that_is_no_longer_configured_is_let_go():
    birds = canaries()
    birds.was_read(BIRD, NOW)
    other = Canaries([Place("ml-face", "x")], 900, 2700)
    other.restore(birds.snapshot())
    assert list(other.signs(NOW + 10**6)) == []


def test_names_of_objects():
    assert place_of("s3://ml-voice/a/b c") == Place("ml-voice", "a/b c")
