"""The daemon ends in time, whoever it waits for; what could not be sent stays in the spool."""

import os
import signal
import socket
import subprocess
import time

import pytest

from detector.drain import Drain, Hurry
from detector.journal import verify
from replay.example_day import burst
from tests.crash.test_consumer_crash import NOW, World, drain, thief
from tests.e2e.test_daemon_directory import (
    FIRST_SECOND,
    PROGRAM,
    daemon,
    deliver,
    lines_of,
    packed,
    prepared,
    running,
    said,
)


def test_only_calls_across_an_edge_are_broken_off():
    """Outside of one the end of time is noted; the next such call is not begun."""
    ending = Drain()
    with ending.edge():
        pass
    ending.end()
    assert ending.asked
    with pytest.raises(Hurry), ending.edge():
        pytest.fail("was begun")


class Slow:
    """An edge during whose call the time is up."""

    def __init__(self, inner, ending, call) -> None:
        self._inner, self._ending, self._call = inner, ending, call

    def __getattr__(self, name):
        found = getattr(self._inner, name)
        return (lambda *_: self._ending.end()) if name == self._call else found


@pytest.mark.parametrize("edge", ["receive", "fetch", "acknowledge", "send", "apply"])
def test_what_is_broken_off_is_done_after_the_next_start(tmp_path, edge):
    """Whichever edge hangs: the checkpoint is left, nothing is lost, nothing told under another id."""
    (tmp_path / "one").mkdir()
    world = World(tmp_path / "one")
    consumer = world.consumer()
    consumer.start()
    world.put("a", thief("thief-1", NOW - 300))
    edges = consumer.edges
    edges.source = Slow(edges.source, consumer.drain, edge)
    edges.sinks = [Slow(sink, consumer.drain, edge) for sink in edges.sinks]
    for sink in edges.sinks:
        sink.name = sink._inner.name
    edges.responder = Slow(edges.responder, consumer.drain, edge)
    consumer.turn(0)
    assert consumer.drain.over
    consumer.stop()
    consumer = world.consumer()
    consumer.start()
    drain(consumer)
    assert [alert["state"] for alert in world.alerts()] == ["opened"]
    assert len(world.responder.standing) == 1
    assert consumer.engine.books.access_events == 30
    assert verify(world.folder / "journal.jsonl") == []
    world.gone()


def test_sigterm_ends_a_daemon_whose_sink_hangs(tmp_path):
    """Within 30 seconds, with status 0; the alert is in the checkpoint and goes to the sink that the next start has."""
    folder = prepared(tmp_path)
    config = folder / "bucketwatch.yaml"
    usual = config.read_text()
    topic = "{kind: sns, topic_arn: 'arn:aws:sns:us-east-1:111122223333:t'}"
    config.write_text(usual.replace(f"{{kind: file, path: {folder}/alerts.jsonl}}", topic))
    deliver(folder, [packed(burst("thief", 60, 60, FIRST_SECOND))])
    with socket.create_server(("127.0.0.1", 0), backlog=50) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        known = {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_REGION": "us-east-1"}  # gitleaks:allow
        world = {**os.environ, **known, "AWS_ENDPOINT_URL_SNS": url}
        command = [str(PROGRAM), "watch", "--config", str(config)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=world) as running:
            silent.settimeout(60)
            silent.accept()
            began = time.monotonic()
            running.send_signal(signal.SIGTERM)
            _, log = running.communicate(timeout=60)
            took = time.monotonic() - began
    assert running.returncode == 0, log
    assert took < 30
    [stopping], [stopped] = said(log, "stopping"), said(log, "stopped")
    assert stopping["signal"] == "SIGTERM"
    assert stopped["left"] >= 1
    config.write_text(usual)
    ended = daemon(config, "--until-idle", "0.2")
    assert ended.returncode == 0, ended.stderr
    sent = lines_of(folder / "alerts.jsonl")
    assert len(sent) == stopped["left"]
    assert "opened" in {alert["state"] for alert in sent} <= {"opened", "updated"}


def test_sighup_and_a_changed_file_reload_the_rules(tmp_path):
    """In the running process: at once on the signal, and by themselves when they stand still."""
    folder = prepared(tmp_path)
    rules = folder / "rules.yaml"
    with running(folder) as daemon_:
        daemon_.wait_for("heartbeat")
        rules.write_text(rules.read_text().replace("threshold: 40", "threshold: 50"))
        daemon_.process.send_signal(signal.SIGHUP)
        daemon_.wait_for("reload")
        rules.write_text("rules: nothing")
        daemon_.wait_for("rules_broken")
        daemon_.process.send_signal(signal.SIGTERM)
        assert daemon_.process.wait(60) == 0
    [entry] = [e for e in lines_of(folder / "journal.jsonl") if e["kind"] == "reload"]
    assert entry["body"]["changed"] == ["many-objects"]
