"""Canaries: objects that are read on a schedule, so that the logs must tell of it. Pure; who reads is in `aws`.

Each read is expected as an event within a while. When it comes, the true delivery delay is known; when it does not,
reads of that bucket go unseen.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import msgspec
import numpy as np

from detector.blindness import Sign
from detector.core.access import AccessBatch, Operation

SLACK = 60
"""Seconds by which our clock and S3's may differ, or a read may take."""
WAITING = 1_000
"""Reads of an object that are waited for at most."""


class Place(NamedTuple):
    """An object that is read."""

    bucket: str
    key: str


class _Of(msgspec.Struct):
    """One canary. sent: seconds of reads that no log has told of yet."""

    read_at: int = 0
    sent: list[int] = msgspec.field(default_factory=list)
    delay: int = -1
    error: str = ""


class Canaries:
    """What is known of each canary. every, within: seconds between reads, and until a read is told of at the latest."""

    def __init__(self, places: Sequence[Place], every: int, within: int) -> None:
        self.places, self._every, self._within = tuple(places), every, within
        self._of = {place: _Of() for place in self.places}

    def due(self, now: int) -> list[Place]:
        """Which are to be read now."""
        return [place for place, one in self._of.items() if now - one.read_at >= self._every]

    def was_read(self, place: Place, now: int, error: str = "") -> None:
        """A canary was read, or could not be."""
        one = self._of[place]
        one.read_at, one.error = now, error
        if not error:
            one.sent = [*one.sent[-WAITING:], now]

    def meet(self, events: AccessBatch, now: int) -> None:
        """Look for the canaries' reads among the events of a turn."""
        waiting = {place: one for place, one in self._of.items() if one.sent}
        if not waiting or not len(events):
            return
        reads = events.operation == Operation.read
        buckets, keys = events.text["bucket"], events.text["key"]
        for place, one in waiting.items():
            rows = np.flatnonzero(reads & buckets.are(place.bucket))
            times = [int(events.time[row]) for row in rows.tolist() if keys.text(row) == place.key]
            for time in sorted(times):
                left = [sent for sent in one.sent if not sent - SLACK <= time <= sent + SLACK]
                if len(left) < len(one.sent):
                    one.sent, one.delay = left, max(0, now - time)

    def signs(self, now: int) -> Iterator[Sign]:
        """What is wrong with them."""
        for place, one in self._of.items():
            if one.error:
                yield Sign(
                    "blind-canary-read", place.bucket, 1, 1, f"s3://{place.bucket}/{place.key}: {one.error[:200]}"
                )
            overdue = [sent for sent in one.sent if now - sent > self._within]
            if overdue:
                waited = now - overdue[0]
                told = f"s3://{place.bucket}/{place.key} was read {waited // 60} minutes ago and no log tells of it"
                yield Sign("blind-canary", place.bucket, waited, self._within, told)

    def delay(self) -> int:
        """Seconds the slowest canary's last event took to come; -1 if none has come yet."""
        return max((one.delay for one in self._of.values()), default=-1)

    def asleep(self, seconds: int) -> None:
        """Nobody listened for so long: where that is too long to tell, the next read will."""
        for one in self._of.values() if seconds >= self._within else ():
            one.sent = []

    def snapshot(self) -> bytes:
        """For the checkpoint."""
        return msgspec.msgpack.encode([(*place, one) for place, one in self._of.items()])

    def restore(self, state: bytes) -> None:
        """Go on from a checkpoint; canaries that are no longer configured are let go."""
        known: list[tuple[str, str, _Of]] = msgspec.msgpack.decode(state, type=list[tuple[str, str, _Of]])
        self._of |= {Place(bucket, key): one for bucket, key, one in known if Place(bucket, key) in self._of}


def place_of(uri: str) -> Place:
    """`s3://bucket/key` as a place."""
    bucket, _, key = uri.removeprefix("s3://").partition("/")
    return Place(bucket, key)
