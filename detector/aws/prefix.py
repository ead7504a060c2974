"""Log files below a prefix of a bucket, listed again and again. The twin of `local.directory`; no queue is needed.

Rules of this file
- A listing is in the order of keys, not of time: a file may turn up anywhere. So each is known by its key and ETag
  (`detector/listed.py`; by a hash of both, since the checkpoint of every turn has all of them), and only folders and
  names that tell by their date that they are older than `lookback` are not listed (`detector/core/dated.py`). A file
  written anew is another one.
- From where on is listed moves by S3's clock (the newest file of the listing before), not ours: what came while the
  daemon was down is read, however long that was. It passes over nothing that is not acknowledged, and never moves back.
- What CloudTrail puts beside its logs, signatures above all, is not listed: no date in its name would ever end that.
- What was listed is handed out before anything is listed anew.

Source: S3 API reference, ListObjectsV2 (a list is complete as soon as a put has been answered).
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from detector.aws.session import code_of
from detector.aws.tree import S3Tree
from detector.core.access import text_hash
from detector.core.dated import Period
from detector.errors import EdgeError, InputError
from detector.listed import POLL, Listed, damaged, until_there
from detector.logs.envelope import NOT_LOGS, Accept
from detector.response.plain import printable
from detector.source import Delivery, Message, Notice
from detector.walk import comes_to, walk

if TYPE_CHECKING:
    from detector.aws.queue import Fetcher
    from detector.source import Leaf

EVERY, LOOKBACK = 60.0, 3 * 86_400
BESIDE_LOGS = tuple(f"/{folder}/" for folder in NOT_LOGS)


class PrefixSource:
    """A prefix of a bucket as a Source.

    accept: what may be read. every: seconds between listings. lookback: seconds that a file may come later than its
    name says. now: epoch seconds; monotonic, sleep: the clock to wait by.
    """

    def __init__(
        self,
        bucket: str,
        prefix: str,
        accept: Accept,
        objects: Fetcher,
        *,
        limit: int = POLL,
        every: float = EVERY,
        lookback: int = LOOKBACK,
        now: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._bucket, self._prefix, self._accept, self._objects = bucket, prefix, accept, objects
        self._limit, self._every, self._lookback = limit, every, lookback
        self._now, self._monotonic, self._sleep = now, monotonic, sleep
        self._tree, self._listed = S3Tree(bucket), Listed(self._where)
        self._waiting: deque[Message] = deque()
        self._first: int | None = None
        self._newest = self._again_at = 0.0

    @property
    def redrives(self) -> bool:
        """A bucket has no dead letters."""
        return False

    def check(self) -> None:
        """Whether it can be listed. Raises InputError if there is no such bucket, EdgeError."""
        try:
            next(iter(self._tree.level(self._prefix)), None)
        except EdgeError as error:
            raise self._told(error) from error

    def receive(self, wait_seconds: float) -> Delivery:
        """The next files, waiting up to so long for the first. Raises InputError and EdgeError."""
        until_there(self._there, wait_seconds, self._monotonic, self._sleep)
        chosen = [self._waiting.popleft() for _ in range(min(self._limit, len(self._waiting)))]
        self._listed.hand_out(chosen, self._monotonic())
        return Delivery(chosen, backlog=bool(self._waiting))

    def fetch(self, notice: Notice) -> bytes:
        """The object's bytes. Raises EdgeError."""
        return self._objects.fetch(notice.bucket, notice.key, notice.version)

    def acknowledge(self, messages: Sequence[Message]) -> list[str]:
        """Never deliver these again."""
        return self._listed.acknowledge(messages)

    def let_go(self, messages: Sequence[Message]) -> None:
        """They come again when their time is over."""

    def positions(self, done: Sequence[Message]) -> bytes:
        """From where on is listed, and what of that has been read, these included."""
        return self._listed.positions(done, first=self._first)

    def restore(self, positions: bytes) -> None:
        """Take up what `positions` wrote. Raises StateError."""
        first = self._listed.restore(positions).get("first")
        if not isinstance(first, int | None):
            raise damaged()
        self._first = first

    def close(self) -> None:
        """Let go of connections."""
        self._objects.close()

    @property
    def _where(self) -> str:
        return f"s3://{self._bucket}/{self._prefix}"

    def _there(self) -> bool:
        """Whether something is to be delivered, after a look if it is time for one."""
        if not self._waiting and self._monotonic() >= self._again_at:
            self._look()
        return bool(self._waiting)

    def _look(self) -> None:
        """List what may hold new files."""
        first = self._from()
        try:
            leaves = list(walk(self._tree, self._prefix, Period(first), but=BESIDE_LOGS))
        except EdgeError as error:
            raise self._told(error) from error
        there = {message.id: message for message in map(self._message, leaves)}
        self._waiting.extend(self._listed.waiting(there, self._monotonic()))
        self._first, self._newest = first, max((leaf.at for leaf in leaves), default=0.0)
        self._again_at = self._monotonic() + self._every

    def _from(self) -> int:
        """From when on files are listed, by the dates in their names: epoch seconds."""
        if self._first is None:
            return int(self._now()) - self._lookback
        moved = max(self._first, int(self._newest) - self._lookback)
        held = (notice.key for message in self._listed.in_hand for notice in message.notices)
        return moved if all(comes_to(key, Period(moved)) for key in held) else self._first

    def _message(self, leaf: Leaf) -> Message:
        name = f"s3://{self._bucket}/{leaf.name}"
        notice = Notice(name, bucket=self._bucket, key=leaf.name, version=leaf.stamp, size=leaf.size)
        identity = f"{text_hash(f'{leaf.name}|{leaf.stamp}'):016x}"
        if refused := self._accept.refusal(notice):
            return Message(identity, (), leaf.at, f"{refused}: {printable(name)}", name.encode())
        return Message(identity, (notice,), leaf.at)

    def _told(self, error: EdgeError) -> EdgeError | InputError:
        if code_of(error) != "NoSuchBucket":
            return error
        return InputError("there is no such bucket", where=self._where, remedy="mend source.bucket in the config")
