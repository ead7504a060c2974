"""The daemon's command: what it says while it runs."""

import itertools
import json
import logging
import warnings

from detector.cli import said as log
from detector.cli import watch
from detector.local.lease import FileLease
from replay.example_day import burst
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


def test_what_spark_cannot_do_is_said_before_waiting_for_another_daemon_to_end(tmp_path):
    """As every mistake of a config: who starts a second daemon learns of it now, not when the first one dies."""
    config = prepared(tmp_path) / "bucketwatch.yaml"
    held = FileLease(tmp_path / "state.db", say=lambda *_, **__: None)
    assert held.acquire(0, lambda: False)
    try:
        refused = daemon(config, "--engine", "spark")
    finally:
        held.release()
    assert refused.returncode == 2
    assert "spark.path: expected a folder" in refused.stderr


HOSTILE = 'x\n{"event": "stopped"}\r\x1b[2J\u2028\udc80' + "y" * 100_000


def lines(capsys):
    text = capsys.readouterr().err
    assert text.isascii()
    return [json.loads(line) for line in text.splitlines()]


def test_hostile_names_can_neither_break_out_of_the_log_nor_flood_it(capsys):
    """One event, one line of plain ASCII of bounded length, however long and wild the names are."""
    log.say("finding", who={HOSTILE: HOSTILE}, many=[HOSTILE] * 10_000, other=ValueError(HOSTILE))
    [line] = lines(capsys)
    assert line["event"] == "finding"
    assert len(json.dumps(line)) < 80_000
    assert len(line["many"]) == log.MOST_ITEMS + 1
    assert line["other"].startswith("x")


def test_what_libraries_say_is_a_line_of_the_log(capsys):
    """Warnings of loggers and of Python; nothing below a warning; a message that cannot be told ends nothing."""
    root = logging.getLogger()
    kept = root.handlers, root.level
    try:
        log.hear_libraries()
        logging.getLogger("botocore.x").warning("slow %s", HOSTILE)
        logging.getLogger("botocore.x").info("nothing")
        logging.getLogger("other").error("%d", "no number")
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            logging.captureWarnings(capture=True)
            warnings.warn("old", DeprecationWarning, stacklevel=1)
    finally:
        root.handlers, root.level = kept
        logging.captureWarnings(capture=False)
    first, second, third = lines(capsys)
    assert [line["event"] for line in (first, second, third)] == ["library"] * 3
    assert (first["logger"], first["level"]) == ("botocore.x", "warning")
    assert "cannot be told" in second["message"]
    assert "old" in third["message"]
