"""`s3://bucket/prefix`: a replay of logs in S3 is that of the same files in a folder."""

import gzip
import json

import pytest

from detector.errors import EdgeError, InputError, UnreadablePathError
from detector.rules import load_rules
from replay.arguments import admission
from replay.files import find
from replay.options import Options
from replay.remote import S3Path
from replay.run import run
from tests.records import numbered

RULES = """
rules:
- {id: a, title: a, severity: high, kind: threshold, where: {operation: read}, group_by: session, measure: objects,
   window: 5m, threshold: 20}
"""
TRAIL = "AWSLogs/111122223333/CloudTrail/us-east-1"


def names(day: str, count: int) -> list[str]:
    stamp = day.replace("/", "")
    return [f"{TRAIL}/{day}/111122223333_CloudTrail_us-east-1_{stamp}T09{i:02}Z_AAAA.json.gz" for i in range(count)]


@pytest.fixture
def rules(tmp_path):
    (tmp_path / "rules.yaml").write_text(RULES)
    return load_rules(tmp_path / "rules.yaml")


@pytest.fixture
def logs(aws, tmp_path):
    """The same files in a bucket and in a folder: of the day of the records, of a day long before, and notes."""
    records, s3, bucket, folder = numbered(120), aws.client("s3"), aws.bucket(), tmp_path / "logs"
    day = names("2026/05/01", 12)
    contents = {n: gzip.compress(json.dumps({"Records": records[i::12]}).encode(), mtime=0) for i, n in enumerate(day)}
    contents |= dict.fromkeys(names("2025/03/01", 3), contents[day[0]]) | {f"{TRAIL}/note.txt": b"no log"}
    for name, content in contents.items():
        s3.put_object(Bucket=bucket, Key=name, Body=content)
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return s3, bucket, folder


def told(result, root):
    """Findings and books, without what is called after the place."""
    summary = json.loads(json.dumps(result.summary).replace(root, ""))
    return [finding.to_json() for finding in result.findings], summary | {"wall_seconds": 0}


@pytest.mark.parametrize("since", ["", "2026-04-30"])
@pytest.mark.parametrize("jobs", [1, 2])
def test_a_replay_out_of_a_bucket_is_that_of_the_folder(logs, rules, tmp_path, since, jobs):
    """With a cache or without, and with a period, for which other days are not even listed."""
    _, bucket, folder = logs
    chosen = Options(admission(since, "", []), jobs)
    local = told(run([str(folder)], rules, chosen), f"{folder}/")
    assert local[0]
    assert local[1]["files"] == (12 if since else 15)
    first = "2026-04-29T23:00:00Z" if since else None
    assert local[1]["files_passed_over"] == {"delivered_before": first, "delivered_from": None}
    place = f"s3://{bucket}/"
    assert told(run([place], rules, chosen), place) == local
    cached = Options(admission(since, "", []), jobs, cache=tmp_path / "cache")
    for _ in range(2):
        assert told(run([place], rules, cached), place) == local


def test_an_object_or_what_begins_so_may_be_named(logs):
    _, bucket, _ = logs
    one = names("2026/05/01", 12)[3]
    assert [str(file.path) for file in find([f"s3://{bucket}/{one}"])] == [f"s3://{bucket}/{one}"]
    assert len(find([f"s3://{bucket}/{TRAIL}/2026"])) == 12
    with pytest.raises(InputError, match="no log files in it"):
        find([f"s3://{bucket}/elsewhere/"])


def test_an_object_that_has_gone_is_listed_and_the_others_are_read(logs, rules, monkeypatch):
    """Somebody deletes it between the listing and its turn."""
    s3, bucket, _ = logs
    gone = names("2026/05/01", 12)[5]
    read = S3Path.read_bytes

    def deleting(path):
        if str(path).endswith(gone):
            s3.delete_object(Bucket=bucket, Key=gone)
        return read(path)

    monkeypatch.setattr(S3Path, "read_bytes", deleting)
    result = run([f"s3://{bucket}/"], rules)
    assert result.summary["files"] == 14
    (damaged,) = result.summary["files_damaged"]
    assert damaged["file"] == f"s3://{bucket}/{gone}"
    assert "NoSuchKey" in damaged["reason"]


def test_a_bucket_that_cannot_be_listed_is_the_users_to_mend(aws, rules):
    with pytest.raises(UnreadablePathError, match="NoSuchBucket") as caught:
        run([f"s3://{aws.name('none')}/x"], rules)
    assert "check the name" in caught.value.remedy
    assert caught.value.exit_code == 2


def test_an_archived_object_says_so(logs, rules):
    s3, bucket, _ = logs
    key = names("2026/05/01", 12)[0]
    s3.put_object(Bucket=bucket, Key=key, Body=b"x", StorageClass="GLACIER")
    (damaged,) = run([f"s3://{bucket}/"], rules).summary["files_damaged"]
    assert "restore it first" in damaged["reason"]


def test_a_server_that_is_not_there_ends_the_replay(logs, rules, monkeypatch):
    """Nothing is counted as if it were all: it is said, and can be tried again."""
    _, bucket, _ = logs

    def refused(_):
        raise EdgeError("broke off", retryable=True)

    monkeypatch.setattr(S3Path, "read_bytes", refused)
    with pytest.raises(EdgeError, match="broke off"):
        run([f"s3://{bucket}/"], rules)
