"""The daemon as a process over a directory and SQLite: the findings of replay, through restarts, kills and signals."""

import gzip
import json
import random
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest
from prometheus_client.parser import text_string_to_metric_families

from detector.audit import AuditLog
from detector.journal import verify
from detector.local.sqlite import SqliteState
from replay.example_day import burst

PROGRAM = Path(sys.executable).with_name("bucketwatch")
FIRST_SECOND = 1_777_626_000
SECONDS = 60
"""How long anything may take before a test gives up on it."""

RULES = """
rules:
  - id: many-objects
    title: One session read 40 objects in a minute
    severity: high
    kind: threshold
    where: {operation: read}
    group_by: session
    measure: objects
    window: 1m
    threshold: 40
  - id: much-data
    title: One role read 8 MB in two minutes
    severity: medium
    kind: threshold
    where: {operation: read}
    group_by: role
    measure: bytes
    window: 2m
    threshold: 8000000
"""
CONFIG = """
source: {{kind: directory, path: {folder}/logs}}
rules: {folder}/rules.yaml
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]
journal: {{path: {folder}/journal.jsonl}}
lateness: {{cloudtrail: 6h}}
http: {{port: 0}}
"""
FIGURES = (
    "finding_id",
    "rule_id",
    "opened_at",
    "last_at",
    "peak_value",
    "peak_at",
    "group",
    "principal",
    "explanation",
)


def daemon(config, *options, **environment):
    """The daemon, run to its end."""
    command = [str(PROGRAM), "watch", "--config", str(config), *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False, **environment)


def said(text, event):
    """What the program said about an event, from its own log; a line that is still being written does not count."""
    whole = text[: text.rfind("\n") + 1]
    lines = [json.loads(line) for line in whole.splitlines() if line.startswith("{")]
    return [line for line in lines if line["event"] == event]


def lines_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def books(folder):
    """The engine's books as the checkpoint has them."""
    store = SqliteState(folder / "state.db")
    try:
        return msgspec.msgpack.decode(store.load()["engine"])["books"]
    finally:
        store.close()


def packed(records):
    return gzip.compress(json.dumps({"Records": records}).encode(), mtime=0)


@pytest.fixture
def folder(tmp_path):
    return prepared(tmp_path)


def prepared(folder):
    (folder / "logs").mkdir(parents=True)
    (folder / "rules.yaml").write_text(RULES)
    (folder / "bucketwatch.yaml").write_text(CONFIG.format(folder=folder))
    return folder


@pytest.fixture(scope="module")
def files():
    """Forty log files: three thefts, one of two episodes, among quiet readers; copies within and across files."""
    records = []
    for name, start, objects in (
        ("thief-1", 100, 120),
        ("thief-2", 400, 70),
        ("thief-2", 1500, 90),
        ("thief-3", 900, 41),
    ):
        records += burst(name, objects, objects * 4 // 3, FIRST_SECOND + start, prefix=f"raw/{name}/")
    for n in range(30):
        records += burst(f"reader-{n:02d}", 12, 900, FIRST_SECOND + 37 * n, prefix=f"raw/reader-{n:02d}/")
    random.Random(7).shuffle(records)
    records += records[::25]
    return [packed(records[n::40]) for n in range(40)]


@pytest.fixture(scope="module")
def replayed(files, tmp_path_factory):
    """What `bucketwatch replay` finds in the same files: (figures by finding, its summary)."""
    folder = prepared(tmp_path_factory.mktemp("replay"))
    deliver(folder, files)
    command = [PROGRAM, "replay", folder / "logs", "--rules", folder / "rules.yaml", "--out", folder / "out", "--quiet"]
    subprocess.run([str(word) for word in [*command, "--no-report"]], timeout=SECONDS, check=True)
    figures = {line["finding_id"]: only_figures(line) for line in lines_of(folder / "out/findings.jsonl")}
    assert len(figures) >= 5
    assert {f["rule_id"] for f in figures.values()} == {"many-objects", "much-data"}
    return figures, json.loads((folder / "out/summary.json").read_text())


def only_figures(finding):
    return {name: finding[name] for name in FIGURES}


def closed(folder):
    return {a["finding_id"]: only_figures(a) for a in lines_of(folder / "alerts.jsonl") if "finding_id" in a}


def deliver(folder, contents, names=None):
    """Move files into the directory as somebody would who knows its rules: whole, under their final name at once."""
    for n, content in enumerate(contents):
        name = names[n] if names else f"{n:03d}.json.gz"
        part = folder / "logs" / f"{name}.part"
        part.write_bytes(content)
        part.rename(folder / "logs" / name)


def balanced(kept):
    return kept["records"] == kept["access_events"] + kept["duplicates"] + sum(
        n for counts in (kept["skipped"], kept["rejected"]) for n in counts.values()
    )


def same_books(kept, summary):
    """The daemon's books say what replay's summary says."""
    assert balanced(kept)
    names = ("records", "access_events", "duplicates")
    assert {name: kept[name] for name in names} == {name: summary[name] for name in names}


@pytest.mark.parametrize("seed", [1, 2])
def test_the_daemon_finds_what_replay_finds_whatever_the_files_are_called(files, replayed, folder, seed):
    """Closed alerts have replay's figures for files in any order; the books are the same; the journal holds."""
    figures, summary = replayed
    names = [f"{n:03d}.json.gz" for n in range(len(files))]
    random.Random(seed).shuffle(names)
    deliver(folder, files, names)
    ended = daemon(folder / "bucketwatch.yaml", "--until-idle", "0.3", "--close")
    assert ended.returncode == 0, ended.stderr
    assert closed(folder) == figures
    same_books(books(folder), summary)
    assert verify(folder / "journal.jsonl") == []


def test_replay_of_the_archive_finds_what_replay_of_the_logs_finds(files, folder, tmp_path):
    """The same findings, line by line, from the events that a daemon archived in two runs, each of them once."""
    config = folder / "bucketwatch.yaml"
    config.write_text(f"{config.read_text()}archive: {{path: {folder}/archive}}\n")
    for run, half in enumerate((files[:20], files[20:])):
        deliver(folder, half, [f"{run}-{n:03d}.json.gz" for n in range(len(half))])
        ended = daemon(config, "--until-idle", "0.3")
        assert ended.returncode == 0, ended.stderr
    found = {}
    for name in ("logs", "archive"):
        out = tmp_path / f"of-{name}"
        command = [PROGRAM, "replay", folder / name, "--rules", folder / "rules.yaml", "--out", out, "--quiet"]
        subprocess.run([str(word) for word in [*command, "--no-report"]], timeout=SECONDS, check=True)
        found[name] = (out / "findings.jsonl").read_text(), json.loads((out / "summary.json").read_text())
    assert found["archive"][0] == found["logs"][0] != ""
    assert found["archive"][1]["records"] == found["logs"][1]["access_events"]
    assert found["archive"][1]["duplicates"] == 0


def test_files_that_arrive_over_several_runs_make_the_same_findings(files, replayed, folder):
    """Each run takes up where the last one stopped; nothing closes until the data is said to have ended."""
    figures, summary = replayed
    parts = [files[n::2] for n in range(2)]
    for n, part in enumerate(parts):
        deliver(folder, part, [f"{n}-{i:03d}.json.gz" for i in range(len(part))])
        last = [] if n < 1 else ["--close"]
        ended = daemon(folder / "bucketwatch.yaml", "--until-idle", "0.3", *last)
        assert ended.returncode == 0, ended.stderr
        assert bool(closed(folder)) == (n == 1)
    assert closed(folder) == figures
    same_books(books(folder), summary)
    ids = {a["alert_id"] for a in lines_of(folder / "alerts.jsonl") if a["state"] == "opened"}
    ended_ids = [a["alert_ids"] for a in lines_of(folder / "alerts.jsonl") if "finding_id" in a]
    assert {i for alert_ids in ended_ids for i in alert_ids} == ids


# --- kills and signals


class Running:
    """A daemon that is running, and the address it listens at."""

    def __init__(self, folder, *options) -> None:
        self.log = folder / "daemon.log"
        self.log.write_text("")
        command = [str(PROGRAM), "watch", "--config", str(folder / "bucketwatch.yaml"), *options]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(command, stderr=log, stdout=subprocess.DEVNULL)

    def wait_for(self, event):
        until = time.monotonic() + SECONDS
        while not (found := said(self.log.read_text(), event)):
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, f"no {event}"
            time.sleep(0.02)
        return found[0]

    def get(self, path):
        address = self.wait_for("listening")["address"]
        try:
            with urllib.request.urlopen(address + path, timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def metrics(self):
        status, text = self.get("/metrics")
        assert status == 200
        return {s.name: s.value for family in text_string_to_metric_families(text) for s in family.samples}

    def wait_until(self, holds):
        until = time.monotonic() + SECONDS
        while not holds():
            assert time.monotonic() < until
            time.sleep(0.02)


@contextmanager
def running(folder, *options):
    daemon = Running(folder, *options)
    try:
        yield daemon
    finally:
        daemon.process.kill()
        daemon.process.wait()


def test_a_daemon_that_is_killed_again_and_again_loses_and_doubles_nothing(files, replayed, folder):
    """SIGKILL at random moments while files arrive: replay's findings, the same books, every alert, a whole chain."""
    figures, summary = replayed
    chance, waiting = random.Random(), list(enumerate(files))
    while waiting:
        with running(folder) as daemon_:
            daemon_.wait_for("listening")
            for _ in range(chance.randint(7, 14)):
                if waiting:
                    n, content = waiting.pop(0)
                    deliver(folder, [content], [f"{n:03d}.json.gz"])
                    time.sleep(chance.random() / 20)  # a random moment is meant
            daemon_.process.send_signal(signal.SIGKILL)
            assert daemon_.process.wait(SECONDS) == -signal.SIGKILL
    ended = daemon(folder / "bucketwatch.yaml", "--until-idle", "0.3", "--close")
    assert ended.returncode == 0, ended.stderr
    assert closed(folder) == figures
    same_books(books(folder), summary)
    assert verify(folder / "journal.jsonl") == []
    journalled = Counter(told(e["body"]) for e in lines_of(folder / "journal.jsonl") if e["kind"] == "finding")
    assert set(journalled.values()) == {1}
    assert {told(alert) for alert in lines_of(folder / "alerts.jsonl") if alert["kind"] != "incident"} == set(
        journalled
    )


def told(alert):
    return alert["alert_id"], alert["state"], alert["peak_value"], alert["last_at"]


def test_sigterm_ends_the_daemon_soon_and_closes_nothing(files, folder):
    """Exit 0 within seconds and a checkpoint of everything; --close is for the end of the data, not for a signal."""
    deliver(folder, files)
    with running(folder, "--until-idle", "600", "--close") as daemon_:
        daemon_.wait_for("finding")
        daemon_.wait_until(lambda: daemon_.metrics()["bucketwatch_records_total"] > 0)
        began = time.monotonic()
        daemon_.process.send_signal(signal.SIGTERM)
        assert daemon_.process.wait(SECONDS) == 0
        assert time.monotonic() - began < 5
    kept = books(folder)
    assert balanced(kept)
    assert kept["access_events"] == 120 + 70 + 90 + 41 + 30 * 12
    states = {alert["state"] for alert in lines_of(folder / "alerts.jsonl")}
    assert "opened" in states
    assert "closed" not in states
    assert [e["kind"] for e in lines_of(folder / "journal.jsonl")][-1] == "stop"


def test_metrics_and_health_can_be_asked_for(files, replayed, folder):
    """/metrics is Prometheus text with the books' numbers; /healthz and /readyz say yes; other paths are 404."""
    _, summary = replayed
    deliver(folder, files)
    with running(folder) as daemon_:
        daemon_.wait_until(lambda: daemon_.metrics()["bucketwatch_records_total"] == summary["records"])
        daemon_.wait_until(lambda: daemon_.get("/readyz")[0] == 200)
        assert daemon_.get("/healthz")[0] == 200
        assert daemon_.get("/nothing")[0] == 404
        daemon_.wait_until(lambda: daemon_.metrics()["bucketwatch_alerts_sent_total"] > 0)
        metrics = daemon_.metrics()
        assert metrics["bucketwatch_access_events_total"] == summary["access_events"]
        assert metrics["bucketwatch_duplicates_total"] == summary["duplicates"]
        assert metrics["bucketwatch_files_total"] == len(files)
        assert metrics["bucketwatch_rules_failed"] == 0


def test_a_second_daemon_on_the_same_state_waits_for_the_first(folder):
    """Two at once do no harm: the second says who holds the state, and goes to work when the first has ended."""
    with running(folder) as first:
        first.wait_until(lambda: first.get("/readyz")[0] == 200)
        command = [str(PROGRAM), "watch", "--config", str(folder / "bucketwatch.yaml"), "--until-idle", "0"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as second:
            while not (waiting := said(second.stderr.readline(), "waiting_for_lease")):
                pass
            assert str(first.process.pid) in waiting[0]["holder"]
            time.sleep(0.5)  # idle, but not counted
            assert second.poll() is None
            assert first.process.poll() is None
            first.process.send_signal(signal.SIGTERM)
            assert first.process.wait(SECONDS) == 0
            assert second.wait(SECONDS) == 0
    assert [e["kind"] for e in lines_of(folder / "journal.jsonl")] == ["start", "stop", "start", "stop"]


# --- mistakes


def test_mistakes_are_the_users_and_say_where(folder):
    """Exit 2, what and where: unknown keys by file, line and column; a missing config; a missing folder."""
    config = folder / "bucketwatch.yaml"
    good = config.read_text()
    config.write_text(good + "jurnal: {path: x}\nalarts: []\n")
    ended = refused(config)
    lines = good.count("\n")
    assert re.search(rf"{re.escape(str(config))}:{lines + 1}:1: .*jurnal", ended.stderr)
    assert re.search(rf"{re.escape(str(config))}:{lines + 2}:1: .*alarts", ended.stderr)
    assert str(folder / "other.yaml") in refused(folder / "other.yaml").stderr
    config.write_text(good)
    (folder / "logs").rmdir()
    missing = refused(config)
    assert str(folder / "logs") in missing.stderr
    assert "source.path" in missing.stderr
    assert not (folder / "state.db").exists()


def refused(config):
    ended = daemon(config, "--until-idle", "0")
    assert ended.returncode == 2, ended.stderr
    assert "Traceback" not in ended.stderr
    return ended


def test_close_needs_until_idle(folder):
    """A daemon without an end cannot close at its end: refused, with what to add."""
    ended = daemon(folder / "bucketwatch.yaml", "--close")
    assert ended.returncode == 2
    assert "--until-idle" in ended.stderr


BESIDE_THE_APPLICATION = """
rules:
  - id: unaudited
    title: Objects were read that the application's audit log does not tell of
    severity: high
    kind: unaudited
    where: {bucket: "*voice*"}
    threshold: 20
  - id: for-labelling
    title: A person was given 30 objects for labelling in an hour
    severity: medium
    kind: threshold
    where: {log: access_audit, purpose: labelling}
    measure: objects
    window: 1h
    threshold: 30
"""


def test_the_daemon_holds_the_audit_log_of_the_application_against_the_reads(folder):
    """The helper's own files beside CloudTrail's, in two runs, the audit log after the reads: what replay finds."""
    (folder / "rules.yaml").write_text(BESIDE_THE_APPLICATION)
    honest = burst("honest", 60, 600, FIRST_SECOND, prefix="raw/a/")
    thief = burst("thief", 40, 60, FIRST_SECOND + 120, prefix="raw/b/")
    deliver(folder, [packed(honest[::2] + thief), packed(honest[1::2])])
    assert daemon(folder / "bucketwatch.yaml", "--until-idle", "0.3").returncode == 0
    written = AuditLog(folder / "written")
    for record in honest:
        asked = record["requestParameters"]
        told = {"timestamp": record["eventTime"], "bucket": asked["bucketName"], "key": asked["key"]}
        written.write(told | {"requester": "dana", "purpose": "labelling"})
    written.close()
    (file,) = (folder / "written").glob("*.jsonl")
    deliver(folder, [file.read_bytes()], [file.name])
    assert daemon(folder / "bucketwatch.yaml", "--until-idle", "0.3", "--close").returncode == 0
    command = [PROGRAM, "replay", folder / "logs", "--rules", folder / "rules.yaml", "--out", folder / "out", "--quiet"]
    subprocess.run([str(word) for word in [*command, "--no-report"]], timeout=SECONDS, check=True)
    found = {line["finding_id"]: only_figures(line) for line in lines_of(folder / "out/findings.jsonl")}
    assert closed(folder) == found
    groups = {one["rule_id"]: next(iter(one["group"].values())) for one in found.values()}
    assert len(found) == len(groups) == 2
    assert groups["unaudited"].endswith("/thief")
    assert groups["for-labelling"] == "app:dana"
    assert {one["severity"] for one in lines_of(folder / "alerts.jsonl")} == {"high", "medium"}
    assert books(folder)["access_events"] == 60 + 40 + 60
