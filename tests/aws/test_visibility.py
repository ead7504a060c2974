"""Laws of keeping messages hidden, by a clock of ours; and on a real queue, as the loop does it."""

import json
import time

import pytest

from detector.aws.objects import S3Objects
from detector.aws.queue import SqsSource
from detector.aws.visibility import LONGEST, Visibility
from detector.errors import EdgeError
from detector.logs.envelope import Accept
from tests.test_intake import Desk


class Queue:
    """What is asked of a queue, and a clock."""

    def __init__(self) -> None:
        self.now, self.asked, self.refused, self.down = 0.0, [], [], False

    def extend(self, ids, seconds):
        if self.down:
            raise EdgeError("down", retryable=True)
        self.asked.append((self.now, list(ids), seconds))
        return self.refused

    def hidden(self, timeout=300):
        made = Visibility(self.extend, monotonic=lambda: self.now)
        made._thread = NoThread()
        made.timeout = timeout
        return made

    def at(self, now, visibility):
        self.now = now
        visibility.look()


class NoThread:
    def join(self, _):
        pass


def test_only_what_is_in_hand_for_long_is_hidden_anew():
    """A short turn makes no call; a long one hides each message every third of the timeout, before it comes again."""
    queue = Queue()
    hidden = queue.hidden()
    hidden.hold("a")
    hidden.hold("b")
    queue.at(99, hidden)
    assert queue.asked == []
    hidden.let_go(["a"])
    for now in range(100, 400, 10):
        queue.at(now, hidden)
    assert queue.asked == [(100, ["b"], 300), (200, ["b"], 300), (300, ["b"], 300)]


def test_a_call_that_fails_is_made_again_and_a_message_that_is_refused_is_given_up():
    """SQS that is away for a moment loses nothing; a stale receipt is not tried for ever."""
    queue = Queue()
    hidden = queue.hidden()
    hidden.hold("a")
    queue.down = True
    queue.at(100, hidden)
    queue.down, queue.refused = False, ["a"]
    queue.at(125, hidden)
    queue.at(1000, hidden)
    assert [now for now, _, _ in queue.asked] == [125]


def test_nothing_is_hidden_past_what_sqs_allows():
    """Twelve hours in all: what would be refused is not asked."""
    queue = Queue()
    hidden = queue.hidden()
    hidden.hold("a")
    for now in range(0, LONGEST + 3600, 50):
        queue.at(now, hidden)
    assert LONGEST - 600 <= queue.asked[-1][0] + 300 <= LONGEST


@pytest.fixture
def queue(aws):
    """A queue with a short timeout and a dead-letter queue; its URL and the other's."""
    sqs = aws.client("sqs")
    dead = sqs.create_queue(QueueName=aws.name("dead"))["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=dead, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    redrive = json.dumps({"deadLetterTargetArn": arn, "maxReceiveCount": 2})
    attributes = {"VisibilityTimeout": "1", "RedrivePolicy": redrive}
    return sqs, sqs.create_queue(QueueName=aws.name("queue"), Attributes=attributes)["QueueUrl"], dead


def test_on_a_real_queue_work_in_hand_stays_hidden_and_what_is_let_go_becomes_a_dead_letter(queue):
    """Three timeouts long nobody else gets the message; left alone it comes again, and then lies among dead letters."""
    sqs, url, dead = queue
    sqs.send_message(QueueUrl=url, MessageBody="odd")
    source = SqsSource(url, Accept(frozenset()), S3Objects())
    source.check()
    assert source.redrives
    delivery = source.receive(0)
    assert [message.body for message in delivery.messages] == [b"odd"]
    until = time.monotonic() + 3
    while time.monotonic() < until:
        assert "Messages" not in sqs.receive_message(QueueUrl=url)
        time.sleep(0.2)
    source.let_go(delivery.messages)
    until = time.monotonic() + 20
    while not (found := sqs.receive_message(QueueUrl=dead).get("Messages")) and time.monotonic() < until:
        source.let_go(source.receive(0).messages)
        time.sleep(0.3)
    assert [message["Body"] for message in found] == ["odd"]
    source.close()


def test_what_is_in_hand_comes_again_at_once_when_the_reader_ends(aws):
    """The daemon that takes over need not wait for the queue's timeout; what was let go of keeps its own."""
    sqs = aws.client("sqs")
    url = sqs.create_queue(QueueName=aws.name("queue"), Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    for n in range(15):
        sqs.send_message(QueueUrl=url, MessageBody=f"odd {n}")
    source = SqsSource(url, Accept(frozenset()), S3Objects())
    source.check()
    held = source.receive(0).messages
    assert len(held) == 15
    source.let_go(held[:1])
    source.close()
    after = SqsSource(url, Accept(frozenset()), S3Objects())
    assert {message.id for message in after.receive(1).messages} == {message.id for message in held[1:]}
    after.close()


def test_at_a_signal_to_end_what_is_in_hand_comes_again_at_once(aws, tmp_path):
    """In the middle of a poll: the file being read counts; the others are the next daemon's, without delay."""
    sqs, s3, bucket = aws.client("sqs"), aws.client("s3"), aws.bucket("logs")
    url = sqs.create_queue(QueueName=aws.name("queue"), Attributes={"VisibilityTimeout": "600"})["QueueUrl"]
    for n in range(12):
        s3.put_object(Bucket=bucket, Key=f"{n}", Body=b"no log")
        stored = {"bucket": {"name": bucket}, "object": {"key": f"{n}", "size": 6, "eTag": "x"}}
        record = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put", "s3": stored}
        sqs.send_message(QueueUrl=url, MessageBody=json.dumps({"Records": [record]}))
    source = SqsSource(url, Accept(frozenset({bucket})), S3Objects())
    source.check()
    desk = Desk(source, tmp_path, threads=1)
    fetch = source.fetch

    def asking(notice):
        desk.drain.ask()
        return fetch(notice)

    source.fetch = asking
    taken = desk.intake.read(source.receive(1).messages)
    assert (len(taken.done), taken.left) == (1, [])
    source.acknowledge(taken.done)
    source.let_go(taken.left)
    source.close()
    after = SqsSource(url, Accept(frozenset({bucket})), S3Objects())
    assert len(after.receive(1).messages) == 11
    after.close()
