"""The daemon's command: what it says while it runs."""

import itertools
import json

from detector.cli import watch
from replay.organisation import burst
from tests.e2e.test_daemon_directory import daemon, deliver, packed, prepared, said


class Turning:
    """A consumer that has a number of turns to do; each takes ten seconds of `now`."""

    def __init__(self, turns):
        self.left, self.now = turns, itertools.count(1000, 5)

    def turn(self, wait):
        self.left -= 1
        return True

    def values(self):
        return dict.fromkeys(watch.BEATING, 2.6) | {"other": 1}

    def __bool__(self):
        return self.left <= 0


def test_the_log_has_a_heartbeat_every_minute(monkeypatch, capsys):
    """The first at once, then one a minute, however often the loop turns; whole numbers, which CloudWatch can read."""
    consumer = Turning(40)
    monkeypatch.setattr(watch.time, "monotonic", lambda: next(consumer.now))
    assert not watch.run(consumer, None, consumer)
    beats = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert {beat["event"] for beat in beats} == {"heartbeat"}
    seconds = next(consumer.now) - 1000
    assert len(beats) == 1 + seconds // (watch.BEAT + 5)
    for beat in beats:
        assert {name: beat[name] for name in watch.BEATING} == dict.fromkeys(watch.BEATING, 3)


def test_a_daemons_heartbeat_says_how_it_is(tmp_path):
    """What the alarms outside read: how far behind, what waits, what failed."""
    folder = prepared(tmp_path)
    deliver(folder, [packed(burst("reader", 5, 5, 1_777_626_000))])
    first = daemon(folder / "bucketwatch.yaml", "--until-idle", "0.2")
    second = daemon(folder / "bucketwatch.yaml", "--until-idle", "0.2")
    for ended in (first, second):
        assert ended.returncode == 0, ended.stderr
    [fresh], [resumed] = said(first.stderr, "heartbeat"), said(second.stderr, "heartbeat")
    assert fresh["records"] == 0
    assert fresh["watermark_lag_seconds"] == 0
    assert resumed["records"] == 5
    assert resumed["watermark_lag_seconds"] > 0
    assert resumed["alerts_waiting"] == resumed["rules_failed"] == 0
