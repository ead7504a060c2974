"""Decoys from end to end: planned from a listing and logs, planted, and found when somebody takes one."""

import gzip
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from threading import Timer

import pytest

from detector.decoy.registry import decode
from tests.records import assumed_role, file_of, record
from tests.servers import environment

PROGRAM = Path(sys.executable).with_name("bucketwatch")
CONFIG = """
source: {{kind: directory, path: {folder}/logs}}
decoys: {{path: {folder}/registry}}
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]
journal: {{path: {folder}/journal.jsonl}}
http: {{port: 0}}
"""


def bucketwatch(*arguments, code=0, **more):
    done = subprocess.run(
        [PROGRAM, *map(str, arguments)], capture_output=True, text=True, timeout=120, check=False, **more
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def read_of(bucket, keys, who="contractor-42", role="ContractorDataReader"):
    """A log file of one role's reads, a second apart."""
    session = f"arn:aws:sts::111122223333:assumed-role/{role}/{who}"
    issuer = {"type": "Role", "principalId": f"AROA{role}", "arn": f"arn:aws:iam::111122223333:role/{role}"}
    context = assumed_role()["sessionContext"] | {"sessionIssuer": issuer | {"accountId": "111122223333"}}
    identity = assumed_role(arn=session, principalId=f"AROA{role}:{who}", sessionContext=context)
    return gzip.compress(
        file_of(
            [
                record(
                    eventID=f"{who}-{number}-{key}",
                    eventTime=f"2026-05-01T09:{number // 60:02d}:{number % 60:02d}Z",
                    userIdentity=identity,
                    requestParameters={"bucketName": bucket, "key": key},
                    resources=[{"type": "AWS::S3::Object", "ARN": f"arn:aws:s3:::{bucket}/{key}"}],
                )
                for number, key in enumerate(keys)
            ]
        )
    )


def heard(daemon, event):
    """What the daemon says of an event, some time within a minute."""
    watchdog = Timer(60, daemon.kill)
    watchdog.start()
    try:
        return next(told for told in map(json.loads, daemon.stderr) if told["event"] == event)
    finally:
        watchdog.cancel()


KEYS = {folder: [f"raw/{folder}/utt_{n:06d}.wav" for n in range(0, 300, 3)] for folder in ("de", "fr")}


@pytest.fixture
def ground(tmp_path):
    """Two folders of recordings; a training run reads one of them whole, and a person some of both."""
    for key in (key for keys in KEYS.values() for key in keys):
        path = tmp_path / "buckets/ml-voice" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x" * 500)
    history = tmp_path / "history"
    history.mkdir()
    (history / "a.json.gz").write_bytes(read_of("ml-voice", KEYS["de"], "epoch-1", "Trainer"))
    (history / "b.json.gz").write_bytes(read_of("ml-voice", KEYS["fr"][:20] + KEYS["de"][:5], "dana", "Analyst"))
    return tmp_path


def planted(ground):
    """Decoys planted in the folder; their keys."""
    local, plan = ("--root", ground / "buckets"), ground / "plan.json"
    said = bucketwatch(
        "decoy",
        "plan",
        "s3://ml-voice/raw/",
        "--logs",
        ground / "history",
        "--out",
        plan,
        "--seed",
        ground / "seed",
        *local,
    ).stdout
    assert "ml-voice/raw/de/: none: read whole by arn:aws:iam::111122223333:role/Trainer (100 of 100 objects)" in said
    assert plan.stat().st_mode & 0o077 == (ground / "seed").stat().st_mode & 0o077 == 0
    bucketwatch("decoy", "plant", plan, "--registry", ground / "registry", "--yes", *local)
    looked = bucketwatch("decoy", "list", "--registry", ground / "registry", "--look", *local).stdout
    assert looked.count("there") == 4  # three, and how many
    keys = [one.key for one in decode(plan.read_bytes(), "plan").decoys]
    assert all(key.startswith("raw/fr/utt_") for key in keys)
    return keys


def test_replay_finds_who_took_one_and_nobody_else(ground):
    keys = planted(ground)
    (ground / "history/c.json.gz").write_bytes(read_of("ml-voice", [*KEYS["fr"][50:], keys[1]], "thief"))
    bucketwatch("replay", ground / "history", "--decoys", ground / "registry", "--out", ground / "out")
    found = [json.loads(line) for line in (ground / "out/findings.jsonl").read_text().splitlines()]
    [finding] = [one for one in found if one["kind"] == "decoy"]
    assert (finding["severity"], finding["principal"]["session_name"]) == ("critical", "thief")
    assert (finding["evidence"]["requests"], finding["evidence"]["sample_keys"]) == (1, [keys[1]])
    bucketwatch("replay", ground / "history", "--out", ground / "without")
    assert "decoy" not in (ground / "without/findings.jsonl").read_text()
    removed = bucketwatch("decoy", "remove", "--registry", ground / "registry", "--yes", "--root", ground / "buckets")
    assert "3 removed" in removed.stdout
    assert not any((ground / "buckets/ml-voice" / key).exists() for key in keys)


def test_the_daemon_takes_up_decoys_that_were_planted_while_it_runs(ground):
    """The registry is empty at the start; after a hang-up (or a minute) it counts, and a restart keeps it."""
    (ground / "logs").mkdir()
    config = ground / "config.yaml"
    config.write_text(CONFIG.format(folder=ground))
    daemon = subprocess.Popen([PROGRAM, "watch", "--config", config], stderr=subprocess.PIPE, text=True)
    try:
        heard(daemon, "journal_head")
        keys = planted(ground)
        daemon.send_signal(signal.SIGHUP)
        assert heard(daemon, "reload")["reworded"] == ["decoy-taken"]
        now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
        theft = gzip.decompress(read_of("ml-voice", [keys[0]], "thief")).replace(b"2026-05-01T09:00:00Z", now.encode())
        (ground / "logs/a.part").write_bytes(gzip.compress(theft))
        (ground / "logs/a.part").rename(ground / "logs/a.json.gz")
        until = time.monotonic() + 60
        while not (ground / "alerts.jsonl").exists() and time.monotonic() < until:
            time.sleep(0.1)
        [alert] = [json.loads(line) for line in (ground / "alerts.jsonl").read_text().splitlines()]
        assert (alert["rule_id"], alert["state"], alert["principal"]["session_name"]) == (
            "decoy-taken",
            "opened",
            "thief",
        )
    finally:
        daemon.terminate()
        daemon.communicate(timeout=60)


def test_in_s3_decoys_and_registry_are_objects(aws, ground):
    """The same commands with credentials of whoever runs them, against a real server."""
    s3, data, registry = aws.client("s3"), aws.bucket("voice"), aws.bucket("registry")
    for key in KEYS["fr"]:
        s3.put_object(Bucket=data, Key=key, Body=b"x" * 500, StorageClass="STANDARD_IA")
    there = {"env": os.environ | environment(aws.url)}
    plan, place = ground / "plan.json", f"s3://{registry}/decoys"
    bucketwatch("decoy", "plan", f"s3://{data}/raw/", "--out", plan, "--seed", ground / "seed", **there)
    bucketwatch("decoy", "plant", plan, "--registry", place, "--yes", **there)
    keys = [one.key for one in decode(plan.read_bytes(), "plan").decoys]
    assert {s3.head_object(Bucket=data, Key=key)["StorageClass"] for key in keys} == {"STANDARD_IA"}
    (ground / "history/c.json.gz").write_bytes(read_of(data, [keys[2]], "thief"))
    bucketwatch("replay", ground / "history", "--decoys", place, "--out", ground / "out", **there)
    assert "decoy-taken" in (ground / "out/findings.jsonl").read_text()
    s3.put_object(Bucket=data, Key=keys[0], Body=b"real")
    said = bucketwatch("decoy", "remove", "--registry", place, "--yes", code=3, **there).stdout
    assert "left: something else lies there now" in said
    left = {one["Key"] for one in s3.list_objects_v2(Bucket=data)["Contents"]}
    assert left & set(keys) == {keys[0]}
