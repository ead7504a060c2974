"""A drill through a living daemon: alerted, timed, and revoked by nobody."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_daemon_directory import lines_of

PROGRAM = Path(sys.executable).with_name("bucketwatch")
RULES = """
rules:
  - id: bulk
    title: One session read 10,000 objects in five minutes
    severity: high
    kind: threshold
    where: {operation: read, bucket: ["ml-voice-*"]}
    group_by: session
    measure: objects
    window: 5m
    threshold: 10000
    respond: [revoke]
"""
CONFIG = """
source: {source}
accept: {{buckets: ["trail-logs"], accounts: ["111122223333"]}}
rules: {folder}/rules.yaml
state: {{kind: sqlite, path: {folder}/state.db}}
alerts: [{{kind: file, path: {folder}/alerts.jsonl}}]
journal: {{path: {folder}/journal.jsonl}}
protected_buckets: ["ml-voice-*"]
response: {{mode: plan, armed: true, accounts: ["111122223333", "000000000000"]}}
"""


def config(folder, source):
    (folder / "rules.yaml").write_text(RULES)
    (folder / "config.yaml").write_text(CONFIG.format(folder=folder, source=source))
    return folder / "config.yaml"


@contextmanager
def watching(path):
    process = subprocess.Popen(
        [PROGRAM, "watch", "--config", path], stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(30)


def drill(path, *options):
    command = [PROGRAM, "drill", "--live", "--config", path, "--json", *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def check(folder, result):
    assert result.returncode == 0, result.stdout + result.stderr
    told = json.loads(result.stdout)
    assert told["alert"] == "bulk"
    assert 0 < told["seconds_sent_to_alert"] < 60
    assert told["seconds_read_to_alert"] < 360
    (alert,) = [line for line in lines_of(folder / "alerts.jsonl") if line["state"] == "opened"]
    assert alert["group"]["session"].startswith("arn:aws:sts::000000000000:assumed-role/bucketwatch-drill/drill-")
    assert any("drill" in one for one in alert["plan"]["forbidden"])


def test_through_a_directory(tmp_path):
    (tmp_path / "logs").mkdir()
    path = config(tmp_path, f"{{kind: directory, path: {tmp_path}/logs}}")
    with watching(path):
        check(tmp_path, drill(path))


def test_through_a_queue(aws, tmp_path):
    """Packed as CloudWatch Logs packs records; the queue is empty afterwards."""
    queue = aws.client("sqs").create_queue(QueueName=aws.name("drill"))["QueueUrl"]
    path = config(tmp_path, f'{{kind: sqs, queue_url: "{queue}"}}')
    with watching(path):
        check(tmp_path, drill(path))
        time.sleep(2)
    answer = aws.client("sqs").get_queue_attributes(QueueUrl=queue, AttributeNames=["ApproximateNumberOfMessages"])
    assert answer["Attributes"]["ApproximateNumberOfMessages"] == "0"


def test_where_nobody_watches_no_alert_comes(tmp_path):
    """Exit status 3, and where to look."""
    (tmp_path / "logs").mkdir()
    path = config(tmp_path, f"{{kind: directory, path: {tmp_path}/logs}}")
    result = drill(path, "--wait", "1")
    assert result.returncode == 3
    assert json.loads(result.stdout)["alert"] is None


def test_into_a_log_bucket_nothing_is_written(aws, tmp_path):
    bucket = aws.bucket("logs")
    result = drill(config(tmp_path, f"{{kind: s3, bucket: {bucket}}}"))
    assert result.returncode == 2
    assert "writes nothing into a log bucket" in result.stderr
    assert "Contents" not in aws.client("s3").list_objects_v2(Bucket=bucket)


@pytest.mark.parametrize("options", [(), ("--config", "missing.yaml")])
def test_without_a_config_it_is_the_users_mistake(options):
    result = subprocess.run([PROGRAM, "drill", "--live", *options], capture_output=True, text=True, check=False)
    assert result.returncode == 2
