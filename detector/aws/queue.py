"""Notices out of an SQS queue. The twin of `local.directory`.

Rules of this file
- A message is deleted only by `acknowledge`; until then SQS hands it out again when its visibility timeout has passed.
- A poll takes several batches, so that what arrives together is processed together.
- An old message means that more is on the way: event time must not advance on it (`backlog`).

Source: SQS API reference, ReceiveMessage and DeleteMessageBatch.
"""

from __future__ import annotations

import logging
import math
import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError, InputError
from detector.logs.envelope import Accept, notices
from detector.logs.limits import LIMITS, Limits
from detector.response.plain import printable
from detector.source import Delivery, Message, Notice

if TYPE_CHECKING:
    from mypy_boto3_sqs import SQSClient
    from mypy_boto3_sqs.type_defs import MessageTypeDef

BATCH = 10
POLL = 100
"""Messages one poll gathers at most."""

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
    """A queue of notifications as a Source. accept: what may be read. limits: of messages. now: epoch seconds."""

    def __init__(
        self,
        queue_url: str,
        accept: Accept,
        objects: Fetcher,
        *,
        limits: Limits = LIMITS,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._url, self._accept, self._objects, self._now = queue_url, accept, objects, now
        self._limits = limits
        self._receipts: dict[str, str] = {}
        self._client: SQSClient | None = None

    def check(self) -> None:
        """Whether the queue can be reached and read. Raises InputError if there is no such queue, else EdgeError."""
        with self._queue("read the queue's attributes") as sqs:
            sqs.get_queue_attributes(QueueUrl=self._url, AttributeNames=["ApproximateNumberOfMessages"])

    def receive(self, wait_seconds: float) -> Delivery:
        """The next messages; up to about 100, waiting for the first only. Raises InputError and EdgeError."""
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
        for batch in _batches(held):
            failed += self._delete(batch)
        for id_ in set(held) - set(failed):
            self._receipts.pop(id_, None)
        return failed

    def close(self) -> None:
        """Let go of connections."""
        self._objects.close()
        if self._client is not None:
            self._client.close()
            self._client = None

    def _gather(self, found: dict[str, Message], wait: int) -> bool:
        """Batch after batch into `found`; whether it stopped with more waiting (full, or an error on the way)."""
        for _ in range(CALLS):
            try:
                batch = self._batch(wait if not found else 0)
            except EdgeError:
                if not found:
                    raise
                return True  # what is in hand is not held back by a later call's error, which the next poll meets again
            if not batch:
                return False
            for raw in batch:
                self._remember(raw["MessageId"], raw["ReceiptHandle"])
                found[raw["MessageId"]] = self._message(raw)
            if len(found) >= POLL:
                break
        return True

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
            return Message(id_, sent_at=sent_at, problem="; ".join(sorted(refusals)))
        return Message(id_, parsed.notices, sent_at, parsed.problem)

    def _remember(self, id_: str, receipt: str) -> None:
        # a receipt is new on every receive and only the newest is sure to delete; the oldest id is dropped at the bound
        self._receipts.pop(id_, None)
        self._receipts[id_] = receipt
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

    @contextmanager
    def _queue(self, doing: str) -> Iterator[SQSClient]:
        """`edge` for the queue: a queue that does not exist is the config's mistake, not the network's."""
        if self._client is None:
            self._client = client("sqs", region=region_of(self._url))
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
