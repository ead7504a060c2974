"""Laws of messages: every envelope AWS uses is understood by its keys, and nothing in a message can raise."""

import base64
import gzip
import json
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.core.builder import BatchBuilder
from detector.logs.envelope import Accept, notices
from detector.logs.limits import Limits
from detector.logs.read import read
from detector.source import Notice

KEY = "AWSLogs/111122223333/CloudTrail/us-east-1/2026/05/01/111122223333_CloudTrail_us-east-1_20260501T0905Z_a.json.gz"
ETAG = "d41d8cd98f00b204e9800998ecf8427e"


def s3_record(key=KEY, *, name="ObjectCreated:Put", version=None):
    stored = {"key": key, "size": 81234, "eTag": ETAG, "sequencer": "0055AED6DCD90281E5"}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "us-east-1",
        "eventTime": "2026-05-01T09:05:02.120Z",
        "eventName": name,
        "userIdentity": {"principalId": "AWS:AROAEXAMPLE:delivery"},
        "requestParameters": {"sourceIPAddress": "10.0.0.1"},
        "responseElements": {"x-amz-request-id": "C3D13FE58DE4C810"},
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "trail",
            "bucket": {"name": "trail-logs", "arn": "arn:aws:s3:::trail-logs"},
            "object": stored | ({"versionId": version} if version else {}),
        },
    }


def sns(message):
    return {
        "Type": "Notification",
        "MessageId": "22b80b92-fdea-4c2c-8f9d-bdfb0c7bf324",
        "TopicArn": "arn:aws:sns:us-east-1:111122223333:trail",
        "Subject": "Amazon S3 Notification",
        "Message": message if isinstance(message, str) else json.dumps(message),
        "Timestamp": "2026-05-01T09:05:02.120Z",
        "SignatureVersion": "1",
        "Signature": "x",
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/x.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe",
    }


def event_bridge(detail_type, detail):
    return {
        "version": "0",
        "id": "7f1c0000-0000-0000-0000-000000000000",
        "detail-type": detail_type,
        "source": "aws.s3",
        "account": "111122223333",
        "time": "2026-05-01T09:05:02Z",
        "region": "us-east-1",
        "resources": ["arn:aws:s3:::trail-logs"],
        "detail": detail,
    }


def object_created(key):
    return event_bridge(
        "Object Created",
        {
            "version": "0",
            "bucket": {"name": "trail-logs"},
            "object": {"key": key, "size": 5, "etag": ETAG, "version-id": "v1", "sequencer": "00"},
            "request-id": "r",
            "requester": "cloudtrail.amazonaws.com",
            "reason": "PutObject",
        },
    )


RECORD = {"eventVersion": "1.11", "eventName": "GetObject", "eventSource": "s3.amazonaws.com", "eventID": "e-1"}
SECOND = RECORD | {"eventID": "e-2"}


def log_events(*messages, kind="DATA_MESSAGE"):
    return {
        "messageType": kind,
        "owner": "111122223333",
        "logGroup": "CloudTrail/ml",
        "logStream": "111122223333_CloudTrail_us-east-1",
        "subscriptionFilters": ["detector"],
        "logEvents": [{"id": str(n), "timestamp": 1777626191000, "message": m} for n, m in enumerate(messages)],
    }


def packed(document):
    return base64.b64encode(gzip.compress(json.dumps(document).encode())).decode()


def stored(key=KEY, version=f'"{ETAG}"'):
    return Notice(f"s3://trail-logs/{key}", bucket="trail-logs", key=key, version=version)


def inline(*records):
    return Notice("sqs:m-1", data=json.dumps({"Records": list(records)}).encode())


TWO_LOGS = log_events(json.dumps(RECORD), json.dumps(SECOND))
TEST_EVENT = {"Service": "Amazon S3", "Event": "s3:TestEvent", "Time": "2026-05-01T09:00:00Z", "Bucket": "trail-logs"}
CONFIRM = {
    "Type": "SubscriptionConfirmation",
    "Token": "t",
    "TopicArn": "arn",
    "Message": "You have chosen",
    "SubscribeURL": "u",
}

UNDERSTOOD = {
    "S3": ({"Records": [s3_record()]}, [stored()]),
    "S3, versioned": ({"Records": [s3_record(version="v.1")]}, [stored(version="v.1")]),
    "S3, several": ({"Records": [s3_record("a.gz"), s3_record("b.gz")]}, [stored("a.gz"), stored("b.gz")]),
    "S3, multipart": ({"Records": [s3_record(name="ObjectCreated:CompleteMultipartUpload")]}, [stored()]),
    "S3, form-urlencoded key": (
        {"Records": [s3_record("a+b%2Bc%25/%C3%BC%0A.json.gz")]},
        [stored("a b+c%/\u00fc\n.json.gz")],
    ),
    "S3, deletion": ({"Records": [s3_record(name="ObjectRemoved:Delete")]}, []),
    "S3, digest": ({"Records": [s3_record(KEY.replace("/CloudTrail/", "/CloudTrail-Digest/"))]}, []),
    "S3, insight": ({"Records": [s3_record(KEY.replace("/CloudTrail/", "/CloudTrail-Insight/"))]}, []),
    "S3, folder marker": ({"Records": [s3_record("AWSLogs/111122223333/CloudTrail/")]}, []),
    "S3 test message": (TEST_EVENT, []),
    "SNS": (sns({"Records": [s3_record()]}), [stored()]),
    "SNS, test message": (sns(TEST_EVENT), []),
    "SNS, three deep": (sns(sns(sns({"Records": [s3_record()]}))), [stored()]),
    "SNS confirmation": (CONFIRM, []),
    "EventBridge": (object_created("a+b%20c.gz"), [stored("a+b%20c.gz", "v1")]),
    "EventBridge, digest": (object_created("AWSLogs/1/CloudTrail-Digest/x.json.gz"), []),
    "EventBridge, deletion": (event_bridge("Object Deleted", {}), []),
    "EventBridge, CloudTrail": (event_bridge("AWS API Call via CloudTrail", RECORD), [inline(RECORD)]),
    "EventBridge, service event": (event_bridge("AWS Service Event via CloudTrail", RECORD), [inline(RECORD)]),
    "EventBridge through SNS": (sns(object_created("a.gz")), [stored("a.gz", "v1")]),
    "CloudTrail's SNS": (
        sns({"s3Bucket": "trail-logs", "s3ObjectKey": ["a+b.gz", "c.gz"]}),
        [stored("a+b.gz", ""), stored("c.gz", "")],
    ),
    "CloudTrail's SNS, raw": ({"s3Bucket": "trail-logs", "s3ObjectKey": ["c.gz"]}, [stored("c.gz", "")]),
    "CloudWatch Logs": (TWO_LOGS, [inline(RECORD, SECOND)]),
    "CloudWatch Logs, packed": (packed(TWO_LOGS), [inline(RECORD, SECOND)]),
    "CloudWatch Logs, one broken record": (
        log_events(json.dumps(RECORD), '{"eventVersion": "1.1'),
        [inline(RECORD, {"messageType": "DATA_MESSAGE", "logEvents": [{"message": '{"eventVersion": "1.1'}]})],
    ),
    "CloudWatch Logs probe": (log_events("CWL CONTROL MESSAGE", kind="CONTROL_MESSAGE"), []),
    "CloudWatch Logs probe, packed": (packed(log_events("CWL CONTROL MESSAGE", kind="CONTROL_MESSAGE")), []),
}

NOT_UNDERSTOOD = {
    "nothing": "",
    "words": "hello",
    "a number": "17",
    "a list": "[]",
    "half an object": '{"Records": [',
    "another object": {"Hello": 1},
    "another source": {"Records": [RECORD]},
    "no records": {"Records": "x"},
    "no bucket": {"Records": [s3_record() | {"s3": {"object": {"key": "a"}}}]},
    "empty key": {"Records": [s3_record("")]},
    "key is a number": {"s3Bucket": "b", "s3ObjectKey": [1]},
    "half a character in a key": {"s3Bucket": "b", "s3ObjectKey": ["a.gz", "b\ud83d.gz"]},
    "half a character in a bucket": {
        "Records": [s3_record() | {"s3": {"bucket": {"name": "\udc00"}, "object": {"key": "a"}}}]
    },
    "half a character in a version": {"Records": [s3_record(version="v\ud83d")]},
    "EventBridge, no detail": event_bridge("Object Created", None),
    "EventBridge, another type": event_bridge("Scheduled Event", {}),
    "SNS of words": sns("hello"),
    "SNS too deep": sns(sns(sns(sns({"Records": [s3_record()]})))),
    "log events are words": {"messageType": "DATA_MESSAGE", "logEvents": "x"},
    "nested without end": '{"Records":' + "[" * 100_000,
    "cut gzip": packed(TWO_LOGS)[:40],
    "a number too long": '{"Records": ' + "9" * 10_000 + "}",
}


def body_of(document):
    return document if isinstance(document, str) else json.dumps(document)


@pytest.mark.parametrize("name", UNDERSTOOD)
def test_every_envelope_yields_the_logs_it_names(name):
    """What a message is, is told by its keys; its logs are named exactly once, with the key as S3 knows it."""
    document, expected = UNDERSTOOD[name]
    parsed = notices(body_of(document), "m-1")
    assert parsed.problem == ""
    assert list(parsed.notices) == expected


@pytest.mark.parametrize("name", NOT_UNDERSTOOD)
def test_what_is_not_understood_is_a_problem_and_never_silence(name):
    """A message nobody can read has a problem's text and no notices: it is never taken for a message without logs."""
    parsed = notices(body_of(NOT_UNDERSTOOD[name]), "m-1")
    assert parsed.problem
    assert parsed.notices == ()


def test_one_bad_record_spoils_its_message_visibly():
    """A message is understood whole or not at all: half of it is never taken silently."""
    parsed = notices(json.dumps({"Records": [s3_record(), {"eventSource": "aws:s3"}]}), "m-1")
    assert parsed.notices == ()
    assert "Records[1]" in parsed.problem


def test_a_bomb_is_a_problem():
    """A small gzipped body that grows without measure is refused instead of filling the memory; the limit is named."""
    bomb = base64.b64encode(gzip.compress(b" " * (80 * 2**20))).decode()
    assert notices(bomb, "m-1").problem == "inflates to more than limits.message, 8,388,608 bytes"


def test_a_bomb_of_empty_values_is_a_problem_before_they_are_made():
    """Millions of empty objects inflate to little text and much memory."""
    text = b'{"messageType":"DATA_MESSAGE","logEvents":[' + b",".join([b"{}"] * 2_000_000) + b"]}"
    bomb = base64.b64encode(gzip.compress(text)).decode()
    tracemalloc.start()
    try:
        problem = notices(bomb, "m-1").problem
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert problem == "more than 100,000 objects and lists: no records are packed so densely"
    assert peak < 40 << 20


def test_a_message_may_inflate_to_its_limit():
    """Not to one byte more."""
    body = packed(log_events(RECORD))
    size = len(gzip.decompress(base64.b64decode(body)))
    assert notices(body, "m-1", Limits(message=size)).notices
    assert "limits.message" in notices(body, "m-1", Limits(message=size - 1)).problem
    assert "cut short" in notices(base64.b64encode(base64.b64decode(body)[:-9]).decode(), "m-1").problem


@given(st.text())
def test_no_text_raises(body):
    """Whatever stands in the queue, reading it returns."""
    notices(body, "m-1")


KEYS = [
    *("Records", "Type", "Message", "s3", "bucket", "object", "name", "key", "detail", "detail-type", "eventSource"),
    *("eventName", "s3Bucket", "s3ObjectKey", "messageType", "logEvents", "message", "Event", "source", "versionId"),
]

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(KEYS),
            inner | st.sampled_from(["aws:s3", "ObjectCreated:Put", "Object Created", "aws.s3", "DATA_MESSAGE"]),
            max_size=6,
        )
    ),
    max_leaves=20,
)


@given(JSON)
def test_no_object_raises(document):
    """Objects with the right keys and the wrong contents return too, and problems show no raw log content."""
    parsed = notices(json.dumps(document), "m-1")
    assert parsed.problem.isascii()
    assert not (parsed.problem and parsed.notices)


@pytest.mark.parametrize("most", [50, 1000, 20_000])
@pytest.mark.parametrize("frames", [0, 300])
def test_a_message_may_be_nested_to_its_limit(most, frames):
    """Whoever calls: one level more is refused, and the limit is named. Neither it nor the question who may raises."""

    def nested(levels, frames):
        if frames:
            return nested(levels, frames - 1)
        event = json.dumps(event_bridge("AWS API Call via CloudTrail", RECORD))
        return notices(event.replace('"e-1"', "[" * (levels - 2) + "]" * (levels - 2)), "m-1", Limits(nesting=most))

    (notice,) = nested(most, frames).notices
    assert Accept(frozenset(), frozenset({"1"})).refusal(notice) == ""
    assert nested(most + 1, frames).problem == f"{most + 1:,} levels; limits.nesting is {most:,}"


def test_a_log_event_nested_too_deeply_costs_only_itself():
    """It is left to the parser, which rejects it for what it is."""
    document = log_events(RECORD)
    document["logEvents"][0]["message"] = '{"x":' + "[" * 29 + "]" * 29 + "}"
    limits, into = Limits(nesting=20), BatchBuilder()
    (notice,) = notices(json.dumps(document), "m-1", limits).notices
    read(notice.data, notice.name, into, limits)
    assert [(r.position, r.reason, r.detail) for r in into.rejects] == [
        (1, "too_deep", "30 levels; limits.nesting is 20")
    ]


@pytest.mark.parametrize("text", ["broken {", "5", "null", "", None])
def test_a_payload_of_nothing_but_broken_events_is_rejected_and_not_passed_over(text):
    """Every event of it is in the books, though none of them looks like a record."""
    document, into = log_events(RECORD), BatchBuilder()
    document["logEvents"][0]["message"] = text
    (notice,) = notices(json.dumps(document), "m-1").notices
    assert read(notice.data, notice.name, into).kind == "cloudtrail"
    assert len(into.rejects) == 1


def test_problems_hold_no_control_characters():
    """A problem is shown on a terminal: what a stranger wrote into the message is escaped."""
    parsed = notices(json.dumps({"\x1b[2J\n": 1}), "m-1")
    assert parsed.problem.isprintable()


def test_only_accepted_buckets_are_read():
    """A notice of a bucket outside `accept` is refused; a record inside the message needs no bucket."""
    assert Accept(frozenset({"trail-logs"})).refusal(stored()) == ""
    assert "accept.buckets" in Accept(frozenset({"other"})).refusal(stored())
    assert "accept.buckets" in Accept(frozenset()).refusal(stored())
    assert Accept(frozenset()).refusal(inline(RECORD)) == ""


def test_what_another_account_logged_is_refused():
    """The account of a file stands in its key, that of an inline record in the record; none listed means any."""
    buckets = frozenset({"trail-logs"})
    for account, refused in (("111122223333", False), ("999999999999", True)):
        key = f"AWSLogs/o-abc/{account}/CloudTrail/us-east-1/2026/05/01/f.json.gz"
        file = Notice("n", bucket="trail-logs", key=key)
        record = inline(RECORD | {"recipientAccountId": account})
        accept = Accept(buckets, frozenset({"111122223333"}))
        assert bool(accept.refusal(file)) is refused
        assert bool(accept.refusal(record)) is refused
        assert Accept(buckets).refusal(file) == Accept(buckets).refusal(record) == ""
