"""The laws of a Source, over a directory, a prefix in S3, and SQS with S3 behind it, on a real server."""

import time
from pathlib import Path

import pytest

from detector.aws.objects import S3Objects
from detector.aws.prefix import PrefixSource
from detector.aws.queue import SqsSource
from detector.errors import EdgeError, InputError
from detector.local.directory import DirectorySource
from detector.logs.envelope import Accept
from tests.servers import Aws

VISIBILITY = 1
"""Seconds a queue holds a message back in the tests that wait for it."""


class Listed:
    """The world of a source that lists what there is: a checkpoint has to tell it what it has read."""

    source: DirectorySource | PrefixSource | None = None
    positions = b""

    def open(self):
        """A source after a restart: it knows what was acknowledged before."""
        if self.source:
            self.positions = self.source.positions([])
        self.source = self.made()
        if self.positions:
            self.source.restore(self.positions)
        return self.source

    def hold_briefly(self):
        """Deliveries in hand end with the process anyway."""

    def let_time_pass(self):
        pass


class Directory(Listed):
    """A directory as the world of a source."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def put(self, name, content):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)

    def remove(self, name):
        (self.root / name).unlink()

    def made(self):
        return DirectorySource(self.root)

    def missing(self):
        return DirectorySource(self.root / "nowhere")


class Prefix(Listed):
    """A prefix of a bucket as the world of a source: what is beside it is not read."""

    def __init__(self, aws: Aws) -> None:
        self.bucket, self.s3 = aws.bucket("logs"), aws.client("s3")
        self.s3.put_object(Bucket=self.bucket, Key="beside.gz", Body=b"x")

    def put(self, name, content):
        self.s3.put_object(Bucket=self.bucket, Key=f"logs/{name}", Body=content)

    def remove(self, name):
        self.s3.delete_object(Bucket=self.bucket, Key=f"logs/{name}")

    def made(self):
        return PrefixSource(self.bucket, "logs/", Accept(frozenset({self.bucket})), S3Objects(), every=0)

    def missing(self):
        return PrefixSource("nowhere-at-all", "", Accept(frozenset({"nowhere-at-all"})), S3Objects())


class Queue:
    """A bucket whose notifications go to a queue."""

    def __init__(self, aws: Aws) -> None:
        self.aws, self.bucket = aws, aws.name("logs")
        self.s3, self.sqs = aws.client("s3"), aws.client("sqs")
        self.s3.create_bucket(Bucket=self.bucket)
        self.url = self.sqs.create_queue(QueueName=aws.name("queue"))["QueueUrl"]
        arn = self.sqs.get_queue_attributes(QueueUrl=self.url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
        notify = {"QueueConfigurations": [{"QueueArn": arn, "Events": ["s3:ObjectCreated:*"]}]}
        self.s3.put_bucket_notification_configuration(Bucket=self.bucket, NotificationConfiguration=notify)

    def put(self, name, content):
        self.s3.put_object(Bucket=self.bucket, Key=name, Body=content)

    def remove(self, name):
        self.s3.delete_object(Bucket=self.bucket, Key=name)

    def open(self):
        return SqsSource(self.url, Accept(frozenset({self.bucket})), S3Objects(sleep=lambda _: None), poll=64)

    def hold_briefly(self):
        self.sqs.set_queue_attributes(QueueUrl=self.url, Attributes={"VisibilityTimeout": str(VISIBILITY)})

    def let_time_pass(self):
        time.sleep(VISIBILITY + 0.2)

    def missing(self):
        return SqsSource(self.url + "-nowhere", Accept(frozenset()), S3Objects())


@pytest.fixture(params=["directory", "prefix", "sqs"])
def world(request, tmp_path):
    if request.param == "directory":
        return Directory(tmp_path)
    return (Prefix if request.param == "prefix" else Queue)(request.getfixturevalue("aws"))


def drain(source, polls=20):
    """All that comes until a poll brings no notices: name → bytes. Everything is acknowledged."""
    got = {}
    for _ in range(polls):
        delivery = source.receive(0)
        for message in delivery.messages:
            for notice in message.notices:
                got[notice.key.removeprefix("logs/")] = source.fetch(notice)
        assert source.acknowledge(delivery.messages) == []
        if not any(message.notices for message in delivery.messages) and not delivery.backlog:
            return got
    raise AssertionError("the source does not come to an end")


HOSTILE_NAMES = ("a b+c%41.json.gz", "AWSLogs/1/x=y&z/\u00fc\u202e.gz", "quo'te\"s;$(id).gz", "caf\u00e9/\U0001f4a5.gz")


def test_all_that_was_put_is_delivered_as_it_was(world):
    """Every log arrives with exactly its bytes, under exactly its name, whatever characters the name holds."""
    put = {name: f"content of {name}".encode() for name in HOSTILE_NAMES}
    for name, content in put.items():
        world.put(name, content)
    assert drain(world.open()) == put


def test_what_was_acknowledged_never_comes_again(world):
    """After acknowledging and a restart there is nothing to deliver."""
    world.hold_briefly()
    world.put("a.gz", b"a")
    assert drain(world.open()) == {"a.gz": b"a"}
    world.let_time_pass()
    assert drain(world.open()) == {}


def test_what_was_not_acknowledged_comes_again(world):
    """A crash between delivery and acknowledgement loses nothing."""
    world.hold_briefly()
    world.put("a.gz", b"a")
    delivered = [n.key.removeprefix("logs/") for m in world.open().receive(1).messages for n in m.notices]
    assert delivered == ["a.gz"]
    world.let_time_pass()
    assert drain(world.open()) == {"a.gz": b"a"}


def test_what_is_in_hand_is_not_delivered_twice(world):
    """Two polls before the first acknowledgement bring different messages: the daemon may checkpoint less often."""
    for n in range(3):
        world.put(f"{n}.gz", b"x")
    source = world.open()
    first, second = source.receive(0), source.receive(0)
    ids = [message.id for message in first.messages + second.messages]
    assert len(ids) == len(set(ids))
    assert source.acknowledge(first.messages + second.messages) == []


def test_more_than_a_poll_holds_is_a_backlog_and_all_arrives(world):
    """A full poll says that more is waiting; no file is left behind."""
    put = {f"{n:03}.gz": b"%d" % n for n in range(130)}
    for name, content in put.items():
        world.put(name, content)
    source = world.open()
    first = source.receive(0)
    assert first.backlog
    assert len(first.messages) < len(put)
    got = {n.key.removeprefix("logs/"): source.fetch(n) for m in first.messages for n in m.notices}
    source.acknowledge(first.messages)
    assert got | drain(source) == put


@pytest.mark.parametrize("elsewhere", [b"", b'{"of":"s3://another/","done":["a"],"first":99999999999}'])
def test_what_another_source_has_read_says_nothing(world, elsewhere):
    """Whoever moves from one kind of source or from one bucket to another keeps the daemon's state, and all is read."""
    world.put("a.gz", b"a")
    source = world.open()
    source.restore(elsewhere)
    assert drain(source) == {"a.gz": b"a"}


def test_an_empty_source_answers_with_nothing(world):
    """No message, no backlog, no error, within the wait."""
    source = world.open()
    drain(source)
    begun = time.monotonic()
    delivery = source.receive(1)
    assert delivery.messages == []
    assert not delivery.backlog
    assert time.monotonic() - begun < 10


def test_a_log_that_vanished_is_an_error_that_will_not_heal(world):
    """A log deleted between its notice and its reading is an EdgeError that says where and what to do."""
    world.put("gone.gz", b"x")
    source = world.open()
    notices = [n for m in source.receive(1).messages for n in m.notices]
    world.remove("gone.gz")
    with pytest.raises(EdgeError) as caught:
        source.fetch(notices[0])
    assert not caught.value.retryable
    assert caught.value.remedy
    assert "gone.gz" in caught.value.where


def test_a_source_that_does_not_exist_is_the_users_mistake(world):
    """A wrong path or queue URL is an InputError with a remedy, at `check` and at the first poll."""
    for step in (lambda source: source.check(), lambda source: source.receive(0)):
        with pytest.raises(InputError) as caught:
            step(world.missing())
        assert caught.value.remedy


def test_sent_at_is_when_it_was_put(world):
    """The time a message was sent is epoch seconds of just now, so that a delay can be told."""
    world.put("a.gz", b"a")
    messages = [m for m in world.open().receive(1).messages if m.notices]
    assert abs(messages[0].sent_at - time.time()) < 30


def test_closing_lets_it_be_closed_again(world):
    """Closing twice is harmless."""
    source = world.open()
    source.receive(0)
    source.close()
    source.close()
