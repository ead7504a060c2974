"""The writer of the audit log: first the line, then the read; durable, whole lines from any number of threads."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from botocore.exceptions import ClientError

from detector import audit
from detector.audit import AuditedReads, AuditLog
from detector.core.builder import BatchBuilder
from detector.logs.read import ACCESS_AUDIT, read

PURPOSES = ("labelling", "training")


def lines(folder, pattern="*.jsonl"):
    return [json.loads(line) for path in sorted(folder.glob(pattern)) for line in path.read_bytes().splitlines()]


@pytest.fixture
def voice(aws):
    """A real client, and a bucket with one object."""
    s3 = aws.client("s3")
    bucket = aws.name("voice")
    s3.create_bucket(Bucket=bucket)
    s3.put_object(Bucket=bucket, Key="raw/a.wav", Body=b"sound")
    return s3, bucket


def test_a_read_has_a_line_that_the_detector_reads(tmp_path, voice):
    """The same day: what the helper writes is an audit log, with all that a rule asks for."""
    s3, bucket = voice
    with_purpose = AuditedReads(s3, AuditLog(tmp_path), purposes=PURPOSES)
    given = {"purpose": "labelling", "requester": "dana", "sample_id": "utt-1", "source_ip": "192.0.2.7"}
    assert with_purpose.get_object(**given, Bucket=bucket, Key="raw/a.wav")["Body"].read() == b"sound"
    with_purpose._log.close()
    (path,) = tmp_path.glob("*.jsonl")
    into = BatchBuilder()
    assert read(path.read_bytes(), path.name, into).kind == ACCESS_AUDIT
    batch = into.build()
    names = ("bucket", "key", "purpose", "sample_id", "source_ip")
    assert [batch.text[name].text(0) for name in names] == [bucket, "raw/a.wav", "labelling", "utt-1", "192.0.2.7"]
    assert abs(batch.time[0] - time.time()) < 60
    assert len(batch) == 1
    assert not batch.rejects


def test_the_line_stands_on_the_disk_before_s3_is_asked(tmp_path, voice, monkeypatch):
    """Synced, then read; and a read that S3 refuses has its line all the same."""
    s3, bucket = voice
    steps = []
    sync = os.fsync
    monkeypatch.setattr(audit.os, "fsync", lambda fd: (steps.append("sync"), sync(fd)))
    s3.meta.events.register("before-send.s3.*", lambda **_: steps.append("ask"))
    with_purpose = AuditedReads(s3, AuditLog(tmp_path), purposes=PURPOSES)
    with pytest.raises(ClientError):
        with_purpose.get_object(purpose="training", requester="dana", Bucket=bucket, Key="none")
    assert steps.index("ask") > steps.index("sync")
    assert [line["key"] for line in lines(tmp_path, "*.part")] == ["none"]


def test_a_purpose_that_is_not_in_the_list_reads_nothing(tmp_path, voice):
    """The list is the policy: a typing mistake must not become a purpose."""
    s3, bucket = voice
    with_purpose = AuditedReads(s3, AuditLog(tmp_path), purposes=PURPOSES)
    with pytest.raises(ValueError, match="labelling, training"):
        with_purpose.get_object(purpose="curiosity", requester="dana", Bucket=bucket, Key="raw/a.wav")
    assert list(tmp_path.iterdir()) == []
    for nothing in ((), "labelling"):
        with pytest.raises(ValueError, match="purposes"):
            AuditedReads(s3, AuditLog(tmp_path), purposes=nothing)


def test_what_cannot_be_written_is_not_read_unless_that_is_wanted(tmp_path, voice):
    """A full disk: the error is the caller's, or the application's to take."""
    s3, bucket = voice
    log = AuditLog(tmp_path / "log")
    for path in (tmp_path / "log").iterdir():
        path.unlink()
    (tmp_path / "log").rmdir()
    asked = []
    s3.meta.events.register("before-send.s3.*", lambda **_: asked.append(1))
    wanted = {"purpose": "training", "requester": "dana", "Bucket": bucket, "Key": "raw/a.wav"}
    with pytest.raises(OSError, match="No such file"):
        AuditedReads(s3, log, purposes=PURPOSES).get_object(**wanted)
    assert asked == []
    errors = []
    going_on = AuditedReads(s3, log, purposes=PURPOSES, unwritten=errors.append)
    assert going_on.get_object(**wanted)["Body"].read() == b"sound"
    assert len(errors) == 1


def test_half_a_line_costs_only_itself(tmp_path, monkeypatch):
    """A disk that is full in the middle of a line: the next one stands on a line of its own."""
    log, write = AuditLog(tmp_path), os.write
    log.write({"key": "a"})
    monkeypatch.setattr(audit.os, "write", lambda fd, data: write(fd, data[:5]))
    with pytest.raises(OSError, match="part of a line"):
        log.write({"key": "b"})
    monkeypatch.setattr(audit.os, "write", write)
    log.write({"key": "c"})
    log.close()
    (path,) = tmp_path.glob("*.jsonl")
    assert path.read_text().splitlines() == ['{"key": "a"}', '{"key', '{"key": "c"}']


def test_threads_write_whole_lines_and_share_syncs(tmp_path, monkeypatch):
    """Every line once, in files that are done; a slow disk does not make each thread wait for all others in turn."""
    log, sync, syncs = AuditLog(tmp_path, period=0.05), os.fsync, []

    def slowly(fd):
        syncs.append(fd)
        time.sleep(0.01)
        sync(fd)

    monkeypatch.setattr(audit.os, "fsync", slowly)
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda n: log.write({"n": n, "text": "\n\u2028é"}), range(400)))
    log.close()
    assert sorted(line["n"] for line in lines(tmp_path)) == list(range(400))
    assert len(list(tmp_path.glob("*.jsonl"))) > 1
    assert list(tmp_path.glob("*.part")) == []
    assert len(syncs) < 300


def test_a_file_is_done_after_its_period_without_another_line(tmp_path):
    """An application that falls silent holds nothing back."""
    done = threading.Event()
    log = AuditLog(tmp_path, period=0.05)
    log.write({"key": "a"})
    for _ in range(200):
        if list(tmp_path.glob("*.jsonl")):
            done.set()
            break
        time.sleep(0.02)
    assert done.is_set()
    assert lines(tmp_path) == [{"key": "a"}]


KILLED = """
import os, signal, sys
from detector.audit import AuditLog
log = AuditLog(sys.argv[1])
log.write({"key": "a"})
os.kill(os.getpid(), signal.SIGKILL)
"""


def test_what_a_killed_writer_left_is_finished_by_the_next(tmp_path):
    """Its lines are on the disk; a file that is still somebody's is left alone."""
    done = subprocess.run([sys.executable, "-c", KILLED, tmp_path], check=False)
    assert done.returncode == -signal.SIGKILL
    AuditLog(tmp_path)
    (part,) = tmp_path.glob("*.part")
    os.utime(part, (1, 1))
    AuditLog(tmp_path)
    assert lines(tmp_path) == [{"key": "a"}]


def test_it_needs_nothing_but_the_standard_library():
    """An application imports it without numpy, and without boto3 of ours."""
    code = (
        "import sys, detector.audit; "
        "sys.exit(bool({'numpy', 'boto3', 'pydantic', 'msgspec', 'detector.core'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
