"""Notices out of an SQS queue. The twin of `local.directory`.

Rules of this file
- A message is deleted only by `acknowledge`; until then SQS hands it out again when its visibility timeout has passed.
- A poll takes several batches, so that what arrives together is processed together: one call after the other as long
  as little comes, several at a time while batches are full.
- What is worked on for long is kept hidden (`visibility.py`), as long as the queue allows.
- An old message means that more is on the way: event time must not advance on it (`backlog`).

Source: SQS API reference, ReceiveMessage, DeleteMessageBatch and ChangeMessageVisibilityBatch.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from itertools import chain, islice
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from detector.aws.session import client, code_of, edge
from detector.aws.visibility import Visibility
from detector.errors import EdgeError, InputError
from detector.logs.envelope import Accept, notices
from detector.logs.limits import LIMITS, Limits
from detector.response.plain import printable
from detector.source import Delivery, Message, Notice

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

BATCH = 10
POLL = 1000
"""Messages after which a poll ends."""

POLL_BYTES = 16 << 20
"""Bytes of messages, and of what they were packed of, after which a poll ends: one may have 1 MiB."""

POLL_SECONDS = 0.5
"""Seconds after which a poll ends: where messages come one at a time, there is always one more."""

AT_ONCE = 8
"""Calls made at the same time, at most."""

CALLS = 2 * POLL // BATCH
"""Calls one poll makes at most: batches may be small, and a message may come twice."""

OLD_SECONDS = 60
"""A message that waited longer than this shows a backlog: S3 and SNS deliver within seconds."""

LONGEST_WAIT = 20
IN_FLIGHT = 120_000
"""Messages SQS lets a reader hold: more receipts than that are never needed."""

NO_QUEUE = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
HOST_REGION = re.compile(
    r"(?:(?:.*\.)?sqs(?:-fips)?\.([a-z0-9-]+)\.(?:vpce\.)?|([a-z0-9-]+)\.queue\.)(?:amazonaws\.com(?:\.cn)?|api\.aws)"
)

_log = logging.getLogger(__name__)


class Fetcher(Protocol):
    """Reads stored objects."""

    def fetch(self, bucket: str, key: str, version: str = "") -> bytes:
        """The object's bytes. Raises EdgeError."""

    def close(self) -> None:
        """Let go of connections."""


class SqsSource:
    """A queue of notifications as a Source.

    accept: what may be read. limits: of messages. poll: messages after which a poll ends. now: epoch seconds.
    """

    def __init__(
        self,
        queue_url: str,
        accept: Accept,
        objects: Fetcher,
        *,
        limits: Limits = LIMITS,
        poll: int = POLL,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._accept, self._objects, self._now = queue_url, accept, objects, now
        self._limits, self._poll = limits, poll
        self._receipts: dict[str, str] = {}
        self._client: SQSClient | None = None
        self._threads = ThreadPoolExecutor(AT_ONCE, "sqs")
        self._hidden = Visibility(self._extend)
        self._redrives = False

    @property
    def redrives(self) -> bool:
        """Whether the queue has a dead-letter queue, as `check` found it."""
        return self._redrives

    def check(self) -> None:
        """Whether the queue can be reached, and how it is made. Raises InputError if there is no such queue, EdgeError.

        Without this, nothing is known of a dead-letter queue, and messages are not kept hidden.
        """
        with self._queue("read the queue's attributes") as sqs:
            answer = sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["VisibilityTimeout", "RedrivePolicy"])
        found: Mapping[Any, str] = answer.get("Attributes", {})
        self._redrives = "deadLetterTargetArn" in found.get("RedrivePolicy", "")
        self._hidden.timeout = int(found.get("VisibilityTimeout", 0))

    def receive(self, wait_seconds: float) -> Delivery:
        """The next messages; up to about `poll`, waiting for the first only. Raises InputError and EdgeError."""
        found: dict[str, Message] = {}
        full = self._gather(found, min(LONGEST_WAIT, math.ceil(wait_seconds)))
        old = any(message.sent_at < self._now() - OLD_SECONDS for message in found.values())
        return Delivery(list(found.values()), backlog=full or old)

    def fetch(self, notice: Notice) -> bytes:
        """The notice's bytes: from the message itself, else from S3."""
        if notice.data is not None:
            return notice.data
        return self._objects.fetch(notice.bucket, notice.key, notice.version)

    def positions(self, done: Sequence[Message]) -> bytes:
        """Nothing: the queue itself knows what has been deleted."""
        del done
        return b""

    def restore(self, positions: bytes) -> None:
        """Nothing to go on from."""

    def acknowledge(self, messages: Sequence[Message]) -> list[str]:
        """Delete the messages. Returns the ids of those that will come again; why is in the log."""
        held = [message.id for message in messages if message.id in self._receipts]
        failed = [message.id for message in messages if message.id not in self._receipts]
        self._hidden.let_go(message.id for message in messages)
        batches = list(_batches(held))
        for refused in self._threads.map(self._delete, batches) if len(batches) > 1 else map(self._delete, batches):
            failed += refused
        for id_ in set(held) - set(failed):
            self._receipts.pop(id_, None)
        return failed

    def let_go(self, messages: Sequence[Message]) -> None:
        """Hide these no longer: they come again when their time is over."""
        self._hidden.let_go(message.id for message in messages)

    def close(self) -> None:
        """Let go of connections. What is in hand comes again at once: whoever reads on must not wait for it."""
        held = self._hidden.close()
        try:
            self._extend(held, 0)
        except (EdgeError, InputError) as error:
            _log.warning("%d messages come again when their time is over, not at once: %s", len(held), error)
        self._threads.shutdown(wait=False, cancel_futures=True)
        self._objects.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _gather(self, found: dict[str, Message], wait: int) -> bool:
        """Batch after batch into `found`; whether more is waiting: full batches to the end, or an error on the way."""
        width, calls, size, until = 1, 0, 0, 0.0
        while True:
            try:
                batches = self._at_once(width, wait if not calls else 0)
            except EdgeError:
                if not found:
                    raise
                return True  # what is in hand is not held back by a later call's error, which the next poll meets again
            calls += width
            for raw in chain(*batches):
                self._remember(raw["MessageId"], raw["ReceiptHandle"])
                message = found[raw["MessageId"]] = self._message(raw)
                size += len(raw.get("Body", "")) + sum(len(notice.data or b"") for notice in message.notices)
            if not all(batches):
                return False
            full = all(len(batch) == BATCH for batch in batches)
            until = until or time.monotonic() + POLL_SECONDS
            if len(found) >= self._poll or calls >= CALLS or size > POLL_BYTES or time.monotonic() > until:
                return full or calls >= CALLS
            width = min(2 * width, AT_ONCE) if full and calls > 1 else 1

    def _at_once(self, width: int, wait: int) -> list[list[MessageTypeDef]]:
        """So many calls at once. An error of one is raised only if none of them brought anything."""
        if width == 1:
            return [self._batch(wait)]
        coming = [self._threads.submit(self._batch, wait) for _ in range(width)]
        failed = [error for one in coming if (error := one.exception())]
        batches = [one.result() for one in coming if not one.exception()]
        if failed and not any(batches):
            raise failed[0]
        return batches

    def _batch(self, wait: int) -> list[MessageTypeDef]:
        with self._queue("receive messages") as sqs:
            answer = sqs.receive_message(
                QueueUrl=self._url,
                MaxNumberOfMessages=BATCH,
                WaitTimeSeconds=wait,
                MessageSystemAttributeNames=["SentTimestamp", "ApproximateReceiveCount"],
            )
        return answer.get("Messages", [])

    def _message(self, raw: MessageTypeDef) -> Message:
        id_ = raw["MessageId"]
        sent = raw.get("Attributes", {}).get("SentTimestamp")
        sent_at = int(sent) / 1000 if sent else self._now()
        parsed = notices(raw.get("Body", ""), id_, self._limits)
        refusals = {self._accept.refusal(notice) for notice in parsed.notices} - {""}
        if refusals:
            return self._unusable(raw, sent_at, "; ".join(sorted(refusals)))
        if parsed.problem:
            return self._unusable(raw, sent_at, parsed.problem)
        return Message(id_, parsed.notices, sent_at)

    def _unusable(self, raw: MessageTypeDef, sent_at: float, problem: str) -> Message:
        body = raw.get("Body", "").encode("utf-8", "surrogatepass")
        return Message(raw["MessageId"], sent_at=sent_at, problem=problem, body=body)

    def _remember(self, id_: str, receipt: str) -> None:
        # a receipt is new on every receive and only the newest is sure to delete; the oldest id is dropped at the bound
        self._receipts.pop(id_, None)
        self._receipts[id_] = receipt
        self._hidden.hold(id_)
        if len(self._receipts) > IN_FLIGHT:
            del self._receipts[next(iter(self._receipts))]

    def _delete(self, ids: list[str]) -> list[str]:
        """Delete up to ten. The answer may be HTTP 200 and still say that some failed."""
        entries: Any = [{"Id": str(n), "ReceiptHandle": self._receipts[id_]} for n, id_ in enumerate(ids)]
        try:
            with self._queue("delete messages") as sqs:
                answer = sqs.delete_message_batch(QueueUrl=self._url, Entries=entries)
        except (EdgeError, InputError) as error:
            _log.warning("%d messages were not deleted: %s", len(ids), error)
            return ids
        failures = answer.get("Failed", [])
        if failures:
            reason = printable(f"{failures[0]['Code']}: {failures[0].get('Message', '')}", 400)
            _log.warning("%d messages were not deleted: %s", len(failures), reason)
        return [ids[int(failure["Id"])] for failure in failures]

    def _extend(self, ids: Sequence[str], seconds: int) -> list[str]:
        """Hide messages for so long from now; those that can be hidden no more. Raises EdgeError, InputError."""
        over = []
        for batch in _batches(ids):
            receipts = [(str(n), self._receipts.get(id_, "gone")) for n, id_ in enumerate(batch)]
            entries: Any = [
                {"Id": n, "ReceiptHandle": receipt, "VisibilityTimeout": seconds} for n, receipt in receipts
            ]
            with self._queue("keep messages hidden") as sqs:
                answer = sqs.change_message_visibility_batch(QueueUrl=self._url, Entries=entries)
            for failure in answer.get("Failed", []):
                reason = printable(f"{failure['Code']}: {failure.get('Message', '')}", 400)
                _log.warning("a message is not kept hidden and may come again: %s", reason)
                over += [batch[int(failure["Id"])]] if failure.get("SenderFault", True) else []
        return over

    @contextmanager
    def _queue(self, doing: str) -> Iterator[SQSClient]:
        """`edge` for the queue: a queue that does not exist is the config's mistake, not the network's."""
        if self._client is None:
            self._client = client("sqs", region=region_of(self._url), attempts=2)  # the loop tries again by itself
        try:
            with edge(doing, where=self._url):
                yield self._client
        except EdgeError as error:
            if code_of(error) not in NO_QUEUE:
                raise
            raise InputError(
                "there is no such queue",
                where=printable(self._url),
                remedy="check source.queue_url: its region, account and name (aws sqs list-queues)",
            ) from error


def region_of(queue_url: str) -> str | None:
    """The region an AWS queue URL names; None for any other host (a local stand-in), where the environment says it."""
    match = HOST_REGION.fullmatch(urlsplit(queue_url).hostname or "")
    return (match[1] or match[2]) if match else None


def _batches(ids: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(ids)
    while batch := list(islice(rest, BATCH)):
        yield batch
