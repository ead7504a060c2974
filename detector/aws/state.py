"""The checkpoint in S3: parts in objects that never change, and one manifest that says which of them count.

Rules of this file
- Writing the manifest is the commit: one small object, replaced by a conditional write. Before it there is the old
  checkpoint, after it the new one. A save takes two requests one after the other: objects (in parallel), manifest.
- Objects have names that nobody gives twice (fencing epoch, who wrote it, number), so that a daemon that was paused and
  has lost its lease cannot overwrite what a newer manifest names. Small parts lie together in one object.
- Opening claims the state: the manifest is written anew with a higher epoch. From then on every write of an earlier
  holder, also one still on its way, fails on the condition.
- Every part has its checksum in the manifest, and the manifest one of itself: what is damaged is refused.
- An object is deleted only when a manifest that does not name it has been written; what crashed daemons left without a
  manifest to name it, when the state is claimed, and only under names of earlier epochs.
- A save that could not be decided is a StateError; the store is then of no more use until it is loaded anew.

Source: S3 User Guide, "Conditional requests", "Data consistency model" (a read sees every write before it).
"""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from detector.aws.guarded import GuardedObject, OutrunError, Retries
from detector.aws.manifest import START_AGAIN, Manifest, Place, checksum, decode, encode
from detector.aws.nearby import Nearby
from detector.aws.parcels import Parcels
from detector.aws.reading import Parts
from detector.aws.session import client, of_the_state
from detector.errors import EdgeError, LeaseLostError, StateError
from detector.response.plain import printable

PARTS = "parts/"
CLAIMS = 20
"""Attempts at taking a state over from somebody who keeps writing it."""


class S3State:
    """Objects below a prefix of a bucket, as a StateStore. epoch: of the lease, if there is one."""

    def __init__(
        self,
        bucket: str,
        prefix: str,
        *,
        epoch: Callable[[], int] = lambda: 0,
        nearby: Nearby | None = None,
        sleep: Callable[[float], object] = time.sleep,
    ) -> None:
        below = "".join(f"{step}/" for step in prefix.split("/") if step)
        s3 = client("s3", attempts=1, connect_timeout=3, read_timeout=10)
        retries = Retries(sleep=sleep)
        self._pointer = GuardedObject(s3, bucket, below + "manifest", retries)
        self._parcels = Parcels(s3, bucket, below, retries)
        self._epoch, self._nearby = epoch, nearby or Nearby()
        self._manifest: Manifest | None = None
        self._named: Counter[str] = Counter()
        self._garbage: list[str] = []
        self._writer, self._count = "", 0
        self._unusable = ""

    def load(self) -> Mapping[str, bytes]:
        """The last checkpoint's parts, each read and checked when asked for. Raises StateError, InputError."""
        with of_the_state():
            if self._manifest is None:
                self._unusable = ""
                self._claim()
            return Parts(self._open().parts, self._parcels, self._refused)

    def get(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of a part. Raises StateError."""
        with of_the_state():
            place = self._open().parts.get(name)
            if place is None:
                raise self._refused(name, "is missing")
            if end > place.length:
                raise self._refused(name, "is cut short")
            return self._nearby.range((place.object, place.offset), first, end, lambda: self._part(name, place))

    def save(self, parts: Mapping[str, bytes | None]) -> None:
        """Replace these parts, all or none; None deletes one. Raises StateError, LeaseLostError."""
        with of_the_state():
            old = self._open()
            fresh = {name: bytes(_of_bytes(content)) for name, content in parts.items() if content is not None}
            made: list[str] = []
            try:
                placed = self._parcels.put(fresh, self._next_name, made)
            except BaseException:
                self._garbage += made
                raise
            kept = {name: place for name, place in old.parts.items() if name not in parts}
            self._commit(Manifest(old.epoch, old.seq + 1, uuid.uuid4().hex, kept | placed))
            self._sweep(place.object for name in parts if (place := old.parts.get(name)))

    def close(self) -> None:
        """Let go of connections and local copies. The state stays claimed until somebody else claims it."""
        self._manifest, self._unusable = None, self._unusable or "it was closed"
        self._parcels.close()
        self._nearby.close()

    def _open(self) -> Manifest:
        if self._manifest is None:
            if self._unusable:
                raise StateError(
                    f"the state has to be opened anew: {self._unusable}",
                    where=printable(self._pointer.where),
                    remedy="start the program again: it goes on from the last checkpoint that was saved",
                )
            self._claim()
        assert self._manifest is not None  # noqa: S101  _claim raises or sets it
        return self._manifest

    def _claim(self) -> None:
        """Write the manifest as ours, with a higher epoch: earlier holders are out from here on."""
        for _ in range(CLAIMS):
            body = self._pointer.read()
            found = Manifest(0, 0, "", {}) if body is None else decode(body, self._pointer.where)
            epoch = max(found.epoch + 1, self._epoch())
            claimed = Manifest(epoch, found.seq, uuid.uuid4().hex, found.parts)
            try:
                self._pointer.replace(encode(claimed))
            except OutrunError:
                continue
            self._take_up(claimed)
            return
        raise LeaseLostError(
            "somebody else keeps writing this state",
            where=printable(self._pointer.where),
            remedy="give every daemon a state.prefix of its own",
        )

    def _take_up(self, claimed: Manifest) -> None:
        self._manifest = claimed
        self._named = Counter(place.object for place in claimed.parts.values())
        self._writer, self._count, self._garbage = f"{claimed.epoch:08d}-{uuid.uuid4().hex[:8]}", 0, []
        named = frozenset(self._named)
        self._parcels.later(lambda: self._collect(claimed.epoch, named))

    def _commit(self, manifest: Manifest) -> None:
        """Replace the manifest. What is not decided leaves the store unusable: memory may know more than the state."""
        known, self._manifest = self._manifest, None
        self._unusable = "its last save could not be decided"
        try:
            self._pointer.replace(encode(manifest))
        except OutrunError as outrun:
            self._unusable = "another daemon has taken it over"
            raise self._lost(outrun.body) from outrun
        except EdgeError as error:
            if not error.retryable:  # S3 answered, and said no
                self._manifest, self._unusable = known, ""
                self._garbage += {p.object for p in manifest.parts.values()} - self._named.keys()
            raise
        self._manifest, self._unusable = manifest, ""

    def _lost(self, body: bytes | None) -> StateError:
        by = "" if body is None else f", by epoch {decode(body, self._pointer.where).epoch}"
        return LeaseLostError(
            "the state was taken over or removed" + by + ": nothing was saved",
            where=printable(self._pointer.where),
            remedy="start the program again: it waits for its turn and goes on from what is there",
        )

    def _sweep(self, replaced: Iterable[str]) -> None:
        """After a commit: delete the objects of which no part counts any more."""
        assert self._manifest is not None  # noqa: S101
        self._named = Counter(place.object for place in self._manifest.parts.values())
        self._garbage += {name for name in replaced if name not in self._named}
        if self._garbage:
            self._nearby.forget(set(self._garbage))
            names, self._garbage = self._garbage, []
            self._parcels.delete(names, left=self._garbage.extend)

    def _collect(self, epoch: int, named: frozenset[str]) -> None:
        """Delete what earlier holders left that no manifest names: none that comes later will name it either."""
        try:
            orphans = [n for n in self._parcels.names(PARTS) if n not in named and -1 < _epoch_of(n) < epoch]
        except EdgeError:
            return  # the next one to claim the state tries again
        if orphans:
            self._parcels.delete_now(orphans)

    def _next_name(self) -> str:
        self._count += 1
        return f"{PARTS}{self._writer}-{self._count:08d}"

    def _part(self, name: str, place: Place) -> bytes:
        content = self._parcels.read(place)
        if len(content) != place.length or checksum(name, content) != place.sum:
            raise self._refused(name, "is damaged")
        return content

    def _refused(self, name: str, how: str) -> StateError:
        return StateError(
            f"part {printable(name)!r} of the checkpoint {how}",
            where=printable(self._pointer.where),
            remedy=START_AGAIN,
        )


def _of_bytes(content: object) -> bytes:
    if not isinstance(content, bytes):
        raise StateError(f"a part of a checkpoint is bytes, not {type(content).__name__}", remedy="please report this")
    return content


def _epoch_of(name: str) -> int:
    """The epoch in an object's name; -1 if it is none of ours."""
    number = name[len(PARTS) :].partition("-")[0]
    return int(number) if number.isdigit() else -1
