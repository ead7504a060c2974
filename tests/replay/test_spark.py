"""`replay --engine spark` finds what one process finds, byte for byte. One Spark session for all of it."""

from __future__ import annotations

import gzip
import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import pytest

from detector.cli import watch
from detector.errors import BucketwatchError, InputError
from detector.journal import verify
from detector.local.sqlite import SqliteState
from detector.model.channels import DAY
from detector.rules import RuleFiles, load_rules, shipped
from detector.settings import read_settings
from replay import java
from replay.example_day import burst
from replay.options import Options
from replay.run import Result, run
from replay.spark import history
from replay.spark.baselines import places
from replay.spark.cluster import Cluster
from replay.spark.live import Driver
from replay.spark.parts import LAYOUT
from replay.spark.remote import PART
from replay.spark.session import failing
from replay.spark.session import session as spark_session
from tests import older
from tests.parts import need
from tests.records import record
from tests.replay import test_incidents
from tests.replay.test_replay import T0, lines, put
from tests.servers import environment
from tests.spark import essence, prepared

if TYPE_CHECKING:
    from pyspark.sql import SparkSession

RULES = """
rules:
  - {id: few, title: t, severity: high, kind: threshold, where: {operation: read}, group_by: [role, bucket],
     measure: objects, window: 1m, threshold: 500}
  - {id: networks, title: t, severity: low, kind: threshold, where: {operation: read, outcome: any},
     group_by: source_ip, measure: sessions, window: 2h, threshold: 2}
"""


chained = test_incidents.logs
"""Sessions that one session began, among others."""


@pytest.fixture(scope="module", autouse=True)
def session(moto_server: str) -> Iterator[SparkSession]:
    """On two cores, as long as the tests of this module. Its executors find AWS where the tests do."""
    try:
        java.require()
    except InputError as error:
        need(False, f"Spark: {error}")
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(moto_server).items():
            patch.setenv(name, value)
        with spark_session(2) as spark:
            yield spark


@pytest.fixture(scope="module")
def logs(tmp_path_factory) -> Path:
    """A theft, its neighbours, a broken record, a file that is no log, a damaged one."""
    folder = tmp_path_factory.mktemp("logs")
    records = burst("contractor-42", 10_500, 240, T0) + burst("contractor-07", 900, 900, T0, prefix="raw/7/")
    records += [record(eventTime="when"), record(eventSource="ec2.amazonaws.com")]
    random.Random(1).shuffle(records)
    for number in range(9):
        put(folder / f"{number}.json.gz", records[number::9])
    (folder / "notes.txt").write_text("nothing\n")
    whole = (folder / "8.json.gz").read_bytes()
    (folder / "8.json.gz").write_bytes(whole[: len(whole) * 3 // 4])
    return folder


def written(result: Result) -> str:
    """findings.jsonl."""
    return "".join(json.dumps(finding.to_json()) + "\n" for finding in result.findings)


def books_of(result: Result) -> dict[str, object]:
    """summary.json, but for how long it took."""
    return result.summary | {"wall_seconds": None}


MODEL = """
rules:
  - {id: unusual, title: t, severity: high, kind: baseline, where: {operation: read}, learn_role_days: 8,
     alert_budget: 1 per day per 10 principals, cooldown: 1h, peer_groups: {etl: [job-*]}}
  - {id: silent, title: t, severity: low, kind: silence, where: {bucket: [lake, gone]}, group_by: bucket, every: 26h}
"""
"""One is cut by peer group, the other is not keyed."""
FOREIGN = "AROAJOB1"
"""The id of a role that some logs show by its ARN and others, of another account, do not."""


@pytest.fixture(scope="module")
def habits(tmp_path_factory) -> Path:
    """Eight groups for five days; a theft over the midnight to the fifth, and one by a role of two names."""
    folder, draw, start = tmp_path_factory.mktemp("habits"), random.Random(3), (T0 // DAY - 6) * DAY
    read = []
    for number, group in enumerate(("app", "web", "job", "lab", "ops", "dev", "qa", "ci")):
        for name in (f"{group}-{one}" for one in range(1 + number % 3)):
            read += [
                (name, day * DAY + 9 * 3600 + draw.randrange(2 * 3600), f"p{number % 5}/{draw.randrange(60)}", number)
                for day in range(5)
                for _ in range(30)
            ]
    read += [("web-1", 4 * DAY - 300 + n, f"all/{n % 7}/{n}", 99) for n in range(600)]
    read += [("job-1", 4 * DAY + 9 * 3600 + n, f"every/{n % 7}/{n}", 98) for n in range(600)]
    draw.shuffle(read)
    for part in range(4):
        put(folder / f"habits-{part}.json.gz", [reading(start, *one) for one in read[part::4]])
    return folder


def reading(start: int, name: str, second: int, key: str, net: int) -> dict[str, Any]:
    """One object read by a role; of one role every second record names no ARN."""
    role = "AROA" + name.upper().replace("-", "")
    at = datetime.fromtimestamp(start + second, UTC).isoformat().replace("+00:00", "Z")
    arn = f"arn:aws:sts::111122223333:assumed-role/{name}/s"
    issuer = {"type": "Role", "principalId": role, "arn": f"arn:aws:iam::111122223333:role/{name}"}
    who = {"type": "AssumedRole", "principalId": f"{role}:s", "arn": arn, "accountId": "111122223333"}
    who |= {"accessKeyId": f"ASIA{role}", "sessionContext": {"sessionIssuer": issuer}}
    if role == FOREIGN and second % 2:
        who = {"type": "AWSAccount", "principalId": f"{role}:s", "accountId": "111122223333"}
    asked = {"bucketName": "lake", "key": key}
    unique = f"{name}/{second}/{key}"
    return record(
        userIdentity=who, eventTime=at, sourceIPAddress=f"11.0.{net}.7", requestParameters=asked, eventID=unique,
        requestID=unique,
    )  # fmt: skip


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_parity_with_one_process(logs, habits, shards, tmp_path):
    """Findings, evidence, books, rejects, files that are no logs: with the shipped rules, and a model that pages.

    Its groups are in several shards; all records of a role are in one, whatever they call it.
    """
    for name, text in (("rules", RULES), ("model", MODEL)):
        (tmp_path / f"{name}.yaml").write_text(text)
    rules = [rule for rule in load_rules(shipped()) if rule.kind != "baseline"]
    rules += [*load_rules(tmp_path / "rules.yaml"), *load_rules(tmp_path / "model.yaml")]
    paths, told, on_spark, said = [str(logs), str(habits)], [], [], []
    alone = run(paths, rules, Options(rejects=told.append))
    result = history.run(paths, rules, Options(jobs=shards, rejects=on_spark.append, tell=said.append))
    assert [one.partition("what is not keyed: ")[2] for one in said] == ["silent (docs/spark.md)"]
    assert written(result) == written(alone)
    assert {f.rule_id for f in result.findings} >= {"bulk-object-read-session", "few"}
    unusual = {f.group["role"].rpartition("/")[2] for f in result.findings if f.rule_id == "unusual"}
    assert unusual >= {"web-1", "job-1"}
    assert books_of(result) == books_of(alone)
    assert [r for some in on_spark for r in some] == [r for some in told for r in some]
    assert [read.file for read in result.reads.damaged] == [read.file for read in alone.reads.damaged]


def test_incidents_of_chains_are_those_of_one_process(chained):
    """Who began whose session is in records that no rule looks at: it comes to the driver all the same."""
    rules = load_rules(chained / "rules.yaml")
    alone, result = run([str(chained)], rules), history.run([str(chained)], rules, Options(jobs=2))
    told = [one.to_json() for one in result.incidents]
    assert json.dumps(told) == json.dumps([one.to_json() for one in alone.incidents])
    assert "chain" in {link["kind"] for one in told for link in one["links"]}


@pytest.mark.parametrize("shards", [1, 3, 8])
def test_files_listed_several_times_count_once(logs, shards, tmp_path):
    """Copied under other names, in another order: more duplicates, the same findings."""
    for number, name in enumerate(["c", "a", "b"]):
        for file in logs.glob("*.gz"):
            shutil.copy(file, tmp_path / f"{name}{(int(file.name[0]) * 7 + number) % 9}-{file.name}")
    rules, seen = load_rules(shipped()), list[tuple[int | str, ...]]()
    alone = run([str(logs)], rules)
    options = Options(jobs=shards, progress=lambda *seen_now: seen.append(seen_now))
    result = history.run([str(tmp_path)], rules, options)
    assert written(result) == written(alone)
    assert result.summary["access_events"] == alone.summary["access_events"]
    assert result.summary["duplicates"] >= 2 * alone.summary["access_events"]
    read = [one for one in seen if one[-1] == "reading"]
    size = sum(file.stat().st_size for file in tmp_path.iterdir())
    assert read == sorted(read)
    assert read[-1] == (27, 27, size, result.summary["records"], "reading")


class Daemon:
    """`watch --engine spark` in this process, on the session there is, one life after the other."""

    def __init__(self, folder: Path, source: dict[str, Any] | None = None) -> None:
        self.folder = folder
        self.config = prepared(folder, RULES, source)

    def begin(self) -> Driver:
        """Another life."""
        settings = read_settings(self.config, {})
        spark = watch.machine("spark")
        watch.check(settings, spark)
        driver = watch.build(settings, spark, say=lambda *_, **__: None)
        driver.start()
        return driver

    def put(self, files: Iterable[Path], name: str = "") -> None:
        """Deliver log files."""
        for file in files:
            shutil.copy(file, self.folder / "in" / (name + file.name))

    def layout(self) -> int:
        """Which version its checkpoint says Spark's state is laid out in."""
        state = SqliteState(self.folder / "state.db")
        layout, _ = msgspec.msgpack.decode(state.load()[PART])["version"]
        state.close()
        return int(layout)

    def told(self) -> list[dict[str, Any]]:
        """Bodies of the findings in the journal; no alert was sent twice."""
        alerts = [(one["alert_id"], one["state"]) for one in lines(self.folder / "alerts.jsonl")]
        assert len(set(alerts)) == len(alerts)
        return [one["body"] for one in lines(self.folder / "journal.jsonl") if one["kind"] == "finding"]


def crash(driver: Driver, monkeypatch: pytest.MonkeyPatch, step: tuple[type, str], act: Callable[[], object]) -> None:
    """An act that comes no further than this step; all that is in memory is lost."""

    def gone(_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as broken:
        broken.setattr(*step, gone)
        with pytest.raises(KeyboardInterrupt):
            act()
    driver.engine.cluster.end()
    driver.edges.store.close()


def test_live_it_closes_what_replay_closes(logs, tmp_path, monkeypatch):
    """Over a crash after the daemon's checkpoint and before Spark's, which runs the batch again, and a file twice.

    And after a crash between Spark and the checkpoint, of rules that are as before when the daemon starts again. Both
    lives that crash are of an older version: the third finds its state, its manifest and the batch that runs again.
    """
    daemon, files, rules = Daemon(tmp_path), sorted(logs.iterdir()), tmp_path / "rules.yaml"
    alone = run([str(logs)], load_rules(rules))
    with pytest.MonkeyPatch.context() as before:
        older.write(before)
        driver = daemon.begin()
        rules.write_text(RULES.replace("id: few", "id: other"))
        other = RuleFiles(rules).read()
        crash(driver, monkeypatch, (Driver, "_checkpoint"), lambda: driver.reload(other))
        rules.write_text(RULES)
        driver = daemon.begin()
        daemon.put(files[:6])
        crash(driver, monkeypatch, (Cluster, "saved"), lambda driver=driver: driver.turn(0.1))
    assert daemon.layout() == 1
    driver = daemon.begin()
    daemon.put(files[6:])
    daemon.put(files[:1], "again-")
    watch.run(driver, 0.5, [])
    driver.close_all()
    books = driver.engine.books
    assert driver.stop() == 0
    assert daemon.layout() == LAYOUT
    closed = [one for one in daemon.told() if one["state"] == "closed"]
    assert sorted(map(essence, closed)) == sorted(essence(one.to_json()) for one in alone.findings)
    assert {one["rule_id"] for one in closed} == {"few", "networks"}
    twice = len(json.loads(gzip.decompress(files[0].read_bytes()))["Records"])
    assert books.records == alone.summary["records"] + twice
    assert books.duplicates == alone.summary["duplicates"] + twice
    assert books.access_events == alone.summary["access_events"]
    assert dict(books.rejected) == alone.summary["rejected"]["by_reason"]
    assert books.balance()
    assert list(verify(tmp_path / "journal.jsonl")) == []
    noted = [(entry["kind"], entry["body"].get("file", "")) for entry in lines(tmp_path / "journal.jsonl")]
    of_files = [(kind, Path(file).name) for kind, file in noted if kind in ("ignored", "damaged")]
    assert sorted(of_files) == [("damaged", "8.json.gz"), ("ignored", "notes.txt")]


def test_live_over_a_prefix_of_a_bucket_it_closes_what_replay_closes(aws, logs, tmp_path):
    """Executors fetch from S3; keys turn up before those already read; the second life reads what the first did not.

    History on Spark out of the same prefix is that of one process, too.
    """
    s3, bucket, files = aws.client("s3"), aws.bucket("logs"), sorted(logs.glob("*.gz"))
    daemon = Daemon(tmp_path, {"kind": "s3", "bucket": bucket, "prefix": "trail/", "every": "1s"})
    for some in (files[5:], files[:5]):
        for file in some:
            s3.upload_file(str(file), bucket, f"trail/{file.name}")
        driver = daemon.begin()
        watch.run(driver, 0.5, [])
        if some[0] is files[0]:
            driver.close_all()
        books = driver.engine.books
        assert driver.stop() == 0
    paths, rules = [f"s3://{bucket}/trail/"], load_rules(tmp_path / "rules.yaml")
    alone, history_on_spark = run(paths, rules), history.run(paths, rules, Options(jobs=2))
    assert written(history_on_spark) == written(alone)
    assert books_of(history_on_spark) == books_of(alone)
    closed = [one for one in daemon.told() if one["state"] == "closed"]
    assert sorted(map(essence, closed)) == sorted(essence(one.to_json()) for one in alone.findings) != []
    assert (books.records, books.duplicates) == (alone.summary["records"], alone.summary["duplicates"])
    assert {one["body"]["file"] for one in lines(tmp_path / "journal.jsonl") if one["kind"] == "damaged"} == {
        f"s3://{bucket}/trail/8.json.gz"
    }


def test_a_task_that_fails_is_an_error_that_says_so(logs, tmp_path, monkeypatch):
    """Never a result with something missing."""
    unwritable = tmp_path / "no" / "such" / "folder"
    with pytest.raises(BucketwatchError, match="on Spark"):
        history.run([str(logs)], load_rules(shipped()), Options(memory=1, tmp=unwritable))


def test_no_more_tasks_are_to_meet_than_can_run_at_the_same_time(session):
    """Whatever parallelism is set: Spark would wait ten minutes for cores that are not there."""
    settings = session.sparkContext._jsc.sc().conf()
    settings.set("spark.default.parallelism", "8")
    try:
        assert session.sparkContext.defaultParallelism == 8
        assert [places(session, shards) for shards in (1, 2, 8)] == [1, 2, 2]
    finally:
        settings.remove("spark.default.parallelism")


def test_what_fails_in_java_is_an_error_that_says_so(session):
    """Not all of it is one of pyspark's own exceptions; none is a traceback."""
    with pytest.raises(BucketwatchError, match="on Spark failed: "), failing():
        session.sparkContext._jvm.java.util.Objects.requireNonNull(None, "no such stage")


def test_the_command_writes_what_replay_writes(logs, tmp_path):
    """A session of its own, in a process of its own."""
    command = [
        str(Path(sys.executable).with_name("bucketwatch")),
        "replay",
        str(logs / "0.json.gz"),
        "--quiet",
        "--out",
    ]
    subprocess.run([*command, str(tmp_path / "a")], check=True, capture_output=True)
    subprocess.run([*command, str(tmp_path / "b"), "--engine", "spark"], check=True, capture_output=True, text=True)
    assert (tmp_path / "a/findings.jsonl").read_bytes() == (tmp_path / "b/findings.jsonl").read_bytes()
    assert lines(tmp_path / "a/rejected.jsonl") == lines(tmp_path / "b/rejected.jsonl")


def test_what_is_missing_is_said(tmp_path, monkeypatch):
    """No Java, an old Java: what to install, and exit status 2."""
    old = tmp_path / "bin" / "java"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'openjdk version \"1.8.0_402\"' >&2\n")
    old.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    with pytest.raises(InputError, match="Java 8"):
        java.require()
    monkeypatch.setenv("JAVA_HOME", "")
    monkeypatch.setenv("PATH", "")
    with pytest.raises(InputError, match="there is none"):
        java.require()
