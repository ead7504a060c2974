"""Kinds of log are told apart by content, and no bytes whatever stop the reader."""

from __future__ import annotations

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.builder import BatchBuilder
from detector.logs.read import ACCESS_AUDIT, CLOUDTRAIL, SERVER_ACCESS, read
from tests.records import aggregated, eventbridge, file_of, log_events, numbered, record

LINE = (
    b'owner voice [01/May/2026:12:00:00 +0000] 192.0.2.7 - 3E57427F3EXAMPLE REST.GET.OBJECT a.wav "GET /voice/a.wav '
    b'HTTP/1.1" 200 - 4096 4096 7 6 "-" "curl/8" -\n'
)
TOLD = b'{"timestamp": "2026-05-01T09:00:00Z", "sample_id": "utt-1", "requester": "dana", "purpose": "labelling"}\n'
DIGEST = {"awsAccountId": "1", "digestStartTime": "2026-05-01T09:00:00Z", "logFiles": [{"s3Object": "k"}]}
NOTIFICATION = {
    "Records": [{"eventVersion": "2.1", "eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": {}}]
}


def read_all(data):
    """What a file is, and its batch."""
    into = BatchBuilder()
    reading = read(data, "file", into)
    return reading, into.build()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b" \n\n", "empty"),
        (json.dumps(DIGEST).encode(), "digest"),
        (json.dumps(NOTIFICATION).encode(), "notification"),
        (b'{"a": 1}', "neither CloudTrail records"),
        (b'{"time": "2026-05-01T09:00:00Z", "key": "index.html", "user": "dana"}', "neither CloudTrail"),
        (b"a,b,c\n1,2,3\n", "no known log"),
        (bytes(range(256)), "no known log"),
        (b"PAR1 and then something else", "no readable Parquet"),
        (gzip.compress(b"", mtime=0), "empty"),
        (gzip.compress(b"x" * 100, mtime=0)[:15], "ends before"),
    ],
)
def test_what_is_no_log_says_what_it_is(data, reason):
    """A file that is no log adds nothing, and the reader says why."""
    reading, batch = read_all(data)
    assert reading.kind == ""
    assert reason in reading.reason
    assert len(batch) == len(batch.rejects) == 0


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (file_of(numbered(2)), CLOUDTRAIL),
        (b"\xef\xbb\xbf" + file_of(numbered(2)), CLOUDTRAIL),
        (b'{"Records": []}\n', CLOUDTRAIL),
        (b"[ ]", CLOUDTRAIL),
        (file_of([aggregated()]), CLOUDTRAIL),
        (json.dumps(eventbridge(record())).encode(), CLOUDTRAIL),
        (json.dumps(log_events([record()])).encode(), CLOUDTRAIL),
        (json.dumps(log_events([], "CONTROL_MESSAGE")).encode(), CLOUDTRAIL),
        (LINE * 3, SERVER_ACCESS),
        (TOLD * 3, ACCESS_AUDIT),
        (b"\xef\xbb\xbf" + TOLD, ACCESS_AUDIT),
        (TOLD[20:] + TOLD, ACCESS_AUDIT),
        (b'{"level": "info"}\n' + TOLD, ACCESS_AUDIT),
        (TOLD + json.dumps(record()).encode(), ACCESS_AUDIT),
        (json.dumps(record()).encode() + b"\n" + TOLD, CLOUDTRAIL),
    ],
)
def test_logs_are_told_apart_by_content(data, kind):
    """Names and endings play no part; gzipped or not is the same."""
    assert read_all(data)[0][:3] == (kind, "", "")
    assert read_all(gzip.compress(data))[0][:3] == (kind, "", "")


@pytest.mark.parametrize("tag", [{"digestStartTime": "x"}, {"eventSource": "aws:s3"}, {"messageType": "DATA_MESSAGE"}])
def test_a_requester_cannot_make_a_log_look_like_something_else(tag):
    """Names of tags are the requester's: a file with such a call in it is still a log, all of it."""
    tagged = record("TagResource", eventSource="lambda.amazonaws.com", requestParameters={"tags": tag})
    reading, batch = read_all(file_of([tagged, *numbered(3)]))
    assert reading.kind == CLOUDTRAIL
    assert len(batch) == 4


def test_damage_is_said_and_the_good_part_read():
    """A file cut in the middle is a log with damage, and its whole records count."""
    packed = gzip.compress(file_of(numbered(500)))
    reading, batch = read_all(packed[: len(packed) // 2])
    assert "ends before" in reading.damage
    assert 100 < len(batch) < 500
    assert [reject.reason for reject in batch.rejects] == ["broken_json"]


@given(st.binary(), st.sampled_from([b"", b"{", b"[", b'{"Records":[', b"PAR1", b"\x1f\x8b\x08\0", b'{"eventName":']))
def test_no_bytes_stop_the_reader(tail, head):
    """Whatever the file, reading ends, and the batch can be built."""
    read_all(head + tail)
    read_all(gzip.compress(head + tail))


FEW = file_of(numbered(3))
PACKED = gzip.compress(FEW)


@pytest.mark.parametrize("data", [FEW, PACKED], ids=["plain", "gzip"])
def test_a_cut_never_makes_records(data):
    """Cut at any byte: no more records than there were, no crash, and no cut file passes for a whole log."""
    for cut in range(len(data)):
        reading, batch = read_all(data[:cut])
        assert len(batch) + len(batch.rejects) <= 3
        assert reading.damage or not reading.kind or cut == len(data)
