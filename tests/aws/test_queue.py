"""Laws of the queue beyond the contract of every source: refusals, backlog, partial failures, regions."""

import json
import time

import pytest

from detector.aws import queue
from detector.aws.queue import OLD_SECONDS, SqsSource, region_of
from detector.errors import EdgeError
from detector.logs.envelope import Accept
from detector.source import Message
from tests.aws.test_session import answer


class Scripted:
    """SQS whose answers are written down; what it was asked is kept."""

    def __init__(self, batches=(), failed=()) -> None:
        self.batches, self.failed, self.asked = list(batches), list(failed), []

    def receive_message(self, **request):
        self.asked.append(request)
        batch = self.batches.pop(0) if self.batches else []
        if isinstance(batch, Exception):
            raise batch
        return {"Messages": batch} if batch else {}

    def delete_message_batch(self, **request):
        self.asked.append(request)
        if self.failed and isinstance(self.failed[0], Exception):
            raise self.failed[0]
        return {"Failed": [{"Id": id_, "Code": "ReceiptHandleIsInvalid", "SenderFault": True} for id_ in self.failed]}

    def close(self):
        pass


class NoObjects:
    def fetch(self, bucket, key, version=""):
        return f"{bucket}/{key}/{version}".encode()

    def close(self):
        pass


def raw(id_, *, bucket="logs", age=0.0, receipt="r", body=None):
    text = json.dumps({"s3Bucket": bucket, "s3ObjectKey": ["k"]}) if body is None else body
    sent = str(int((time.time() - age) * 1000))
    return {"MessageId": id_, "ReceiptHandle": receipt, "Body": text, "Attributes": {"SentTimestamp": sent}}


@pytest.fixture
def source(monkeypatch):
    def make(server):
        monkeypatch.setattr(queue, "client", lambda *_, **__: server)
        return SqsSource("http://127.0.0.1/q", Accept(frozenset({"logs"})), NoObjects())

    return make


def test_a_bucket_outside_accept_is_refused_and_never_read(source):
    """A forged notice cannot make the daemon read another bucket: the message has a problem and no notices."""
    both = json.dumps({"s3Bucket": "other\x1b", "s3ObjectKey": ["k"]})
    first, second = source(Scripted([[raw("a"), raw("b", body=both)]])).receive(0).messages
    assert first.problem == ""
    assert first.notices[0].bucket == "logs"
    assert second.notices == ()
    assert "accept" in second.problem
    assert second.problem.isprintable()


def test_only_the_first_call_waits(source):
    """Long polling waits for the first message; what is there already is gathered without waiting, in tens."""
    server = Scripted([[raw(f"{n}{i}") for i in range(10)] for n in range(3)])
    delivery = source(server).receive(7.2)
    assert len(delivery.messages) == 30
    assert not delivery.backlog
    assert [r["WaitTimeSeconds"] for r in server.asked] == [8, 0, 0, 0]
    assert {r["MaxNumberOfMessages"] for r in server.asked} == {10}


def test_the_wait_is_what_sqs_allows(source):
    """SQS refuses more than twenty seconds."""
    server = Scripted()
    source(server).receive(300)
    assert server.asked[0]["WaitTimeSeconds"] == 20


def test_old_messages_are_a_backlog(source):
    """After an outage event time must not run ahead of what is still in the queue."""
    assert source(Scripted([[raw("a", age=OLD_SECONDS + 5)]])).receive(0).backlog
    assert not source(Scripted([[raw("a", age=OLD_SECONDS - 5)]])).receive(0).backlog


def test_a_message_that_comes_twice_in_a_poll_is_one(source):
    """At least once means twice at times: one message, deleted by its newest receipt; the poll still ends."""
    server = Scripted([[raw("a", receipt="old")], [raw("a", receipt="new")]])
    made = source(server)
    delivery = made.receive(0)
    assert [m.id for m in delivery.messages] == ["a"]
    assert made.acknowledge(delivery.messages) == []
    assert server.asked[-1]["Entries"][0]["ReceiptHandle"] == "new"


def test_a_queue_that_repeats_itself_does_not_hold_the_poll(source):
    """However often the same message comes, a poll makes a bounded number of calls."""
    server = Scripted([[raw("a")]] * 1000)
    source(server).receive(0)
    assert len(server.asked) <= queue.CALLS


def test_a_failure_on_the_way_keeps_what_is_in_hand(source):
    """A later batch that fails does not lose the earlier ones; the next poll says what is wrong."""
    server = Scripted([[raw("a")], answer("AccessDenied", 403), answer("AccessDenied", 403)])
    made = source(server)
    delivery = made.receive(0)
    assert [m.id for m in delivery.messages] == ["a"]
    assert delivery.backlog
    with pytest.raises(EdgeError):
        made.receive(0)


def test_partial_failures_are_returned(source):
    """HTTP 200 may hide failures: exactly the ids that were not deleted come back, and can be tried again."""
    server = Scripted([[raw(f"m{i}") for i in range(10)], [raw(f"n{i}") for i in range(3)]], failed=["1"])
    made = source(server)
    delivery = made.receive(0)
    assert made.acknowledge(delivery.messages) == ["m1", "n1"]
    server.failed = []
    assert made.acknowledge([m for m in delivery.messages if m.id in ("m1", "n1")]) == []


def test_a_delete_that_fails_as_a_whole_loses_nothing(source):
    """When SQS refuses, all ids are returned and nothing is raised after a checkpoint."""
    server = Scripted([[raw("a"), raw("b")]], failed=[answer("AccessDenied", 403)])
    made = source(server)
    delivery = made.receive(0)
    assert made.acknowledge(delivery.messages) == ["a", "b"]


def test_what_was_never_received_cannot_be_acknowledged(source):
    """A message of an earlier life of the process comes again: its id is returned as not deleted."""
    assert source(Scripted()).acknowledge([Message("a")]) == ["a"]


def test_a_message_without_a_time_is_new(source):
    """A stand-in that gives no SentTimestamp causes no false backlog."""
    bare = raw("a")
    del bare["Attributes"]
    assert not source(Scripted([[bare]])).receive(0).backlog


def test_inline_records_need_no_fetch(source):
    """A record in the message itself is its bytes; a named log is fetched with its version."""
    event = {"detail-type": "AWS API Call via CloudTrail", "detail": {"eventID": "e"}}
    made = source(Scripted([[raw("a", body=json.dumps(event)), raw("b")]]))
    first, second = (m.notices[0] for m in made.receive(0).messages)
    assert json.loads(made.fetch(first)) == {"Records": [{"eventID": "e"}]}
    assert made.fetch(second) == b"logs/k/"


@pytest.mark.parametrize(
    ("url", "region"),
    [
        ("https://sqs.eu-west-1.amazonaws.com/111122223333/q", "eu-west-1"),
        ("https://sqs-fips.us-gov-west-1.amazonaws.com/1/q", "us-gov-west-1"),
        ("https://sqs.cn-north-1.amazonaws.com.cn/1/q", "cn-north-1"),
        ("https://eu-west-1.queue.amazonaws.com/1/q", "eu-west-1"),
        ("https://vpce-1-2.sqs.eu-west-1.vpce.amazonaws.com/1/q", "eu-west-1"),
        ("https://sqs.eu-west-1.api.aws/1/q", "eu-west-1"),
        ("http://127.0.0.1:5000/1/q", None),
        ("https://sqs.eu-west-1.amazonaws.com.example.org/1/q", None),
        ("nonsense", None),
    ],
)
def test_the_region_is_the_queues(url, region):
    """The region stands in the URL of an AWS queue; for any other host the environment says it."""
    assert region_of(url) == region
