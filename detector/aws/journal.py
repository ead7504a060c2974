"""The journal as objects below a prefix of a bucket. The twin of `detector.journal`; the chain: `detector.chain`.

Rules of this file
- An object holds the entries of one append, as lines; all objects one after the other are what the file would be.
- Its name is the number after the last one before it, written so that the order of names is the order of entries. It is
  written only if there is none of that name (If-None-Match), so that two writers can never both go on from one head.
- A refused write is looked at: what lies there is our own body (its reply was lost), or somebody else writes here.
- The end is looked for from a `mark` the checkpoint keeps; without one by halving, never by reading everything.
- Where the bucket has object lock every object is retained: by the bucket's own rule, or as the config says.

Source: S3 User Guide, "Conditional writes", "Object Lock"; API reference of PutObject (412, 409) and ListObjectsV2.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from detector.aws.session import client, code_of, edge, of_the_state
from detector.chain import EMPTY, Checking, Head, Verdict, agree, foreign, head_of, linked, parsed
from detector.errors import EdgeError, StateError, UnreadablePathError
from detector.response.plain import printable

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

NAME = re.compile(r"(\d{20})\.jsonl", re.ASCII)
REFUSED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
NO_LOCK = frozenset({"ObjectLockConfigurationNotFoundError", "404"})
PAUSES = (0.1, 0.5, 2.0)
"""Seconds between attempts, each of which botocore has made several times."""
ENTRIES = 1000
"""Entries of one object at most: an entry's object is found by a name no further back than this."""
BYTES = 4 << 20
RETENTION = 365 * 86_400
"""Seconds objects are retained where neither the bucket nor the config has a rule of its own."""


class Lock(NamedTuple):
    """Object lock as the config wants it. seconds: None leaves it to the bucket's own rule, or else `RETENTION`."""

    seconds: int | None = None
    mode: str = "GOVERNANCE"


class S3Journal:
    """See `chain.Journal`. Nothing is asked of S3 before the first use."""

    recovered: str | None = None

    def __init__(
        self,
        bucket: str,
        prefix: str,
        lock: Lock = Lock(),  # noqa: B008  immutable
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._objects = Objects(client("s3", read_timeout=10), bucket, prefix)
        self._lock, self._sleep, self._clock = lock, sleep, clock
        self._head: Head | None = None
        self._retained: timedelta | None = None
        self._mark = 0

    @property
    def mark(self) -> int:
        """The number in the name of the last object."""
        return self._mark

    @property
    def head(self) -> Head:
        """Number and hash of the last entry; (-1, zeros) if there is none. Raises StateError."""
        if self._head is None:
            with of_the_state():
                self._retained = self._retention()
                self._head = self._located()
        return self._head

    def seek(self, mark: int) -> None:
        """Begin to look for the end here."""
        if self._head is None:
            self._mark = max(0, mark)

    def append(self, entries: Sequence[Mapping[str, Any]]) -> None:
        """Add entries, durable on return. Those it has already are skipped. Raises StateError."""
        fresh = [entry for entry in entries if entry["seq"] > self.head.seq]
        if len(fresh) < len(entries) and not self.agrees(entries):
            raise foreign(self._objects.where(), entries[0]["seq"])
        with of_the_state():
            for body, head in _bodies(fresh, self.head):
                number = self.head.seq + 1
                self._write(number, body)
                self._head, self._mark = head, number

    def agrees(self, entries: Sequence[Mapping[str, Any]]) -> bool:
        """Whether none of these numbers is another entry's. Raises StateError."""
        old = [entry for entry in entries if entry["seq"] <= self.head.seq]
        if not old:
            return True
        first = min(entry["seq"] for entry in old)
        with of_the_state():
            names = list(self._objects.after(first - ENTRIES - 1))
            start = max((n for n, number in enumerate(names) if number <= first), default=0)
            lines = [line for number in names[start:] for line in self._objects.read(number).splitlines()]
        there = {found["seq"]: found for line in lines if (found := parsed(line)) and isinstance(found.get("seq"), int)}
        return agree(old, there)

    def _write(self, number: int, body: bytes) -> None:
        """Write an object that must not be there yet. What cannot be decided is tried again, then said."""
        for pause in (*PAUSES, None):
            try:
                return self._objects.put(number, body, self._terms())
            except EdgeError as error:
                if code_of(error) in REFUSED and (found := self._objects.find(number)) is not None:
                    if found == body:
                        return None
                    raise foreign(self._objects.where(number), number) from error
                if pause is None or not (error.retryable or code_of(error) in REFUSED):
                    raise
                self._sleep(pause)
        return None

    def _terms(self) -> dict[str, Any]:
        if self._retained is None:
            return {}
        until = datetime.fromtimestamp(self._clock(), UTC) + self._retained
        return {"ObjectLockMode": self._lock.mode, "ObjectLockRetainUntilDate": until}

    def _retention(self) -> timedelta | None:
        """How long we have to ask for each object to be kept; None if the bucket sees to it, or has no object lock."""
        bucket_rule = self._objects.lock_rule()
        if bucket_rule is None and self._lock.seconds is not None:
            raise StateError(
                "journal.retention is set, but the bucket has no object lock",
                where=self._objects.where(),
                remedy="enable object lock for the bucket, or leave journal.retention out",
            )
        if bucket_rule is None or (bucket_rule and self._lock.seconds is None):
            return None
        return timedelta(seconds=self._lock.seconds or RETENTION)

    def _located(self) -> Head:
        last = self._objects.last(self._mark)
        if last is None:
            return EMPTY
        self._mark = last
        lines = self._objects.read(last).splitlines(keepends=True)
        head = head_of(parsed(lines[-1])) if lines and lines[-1].endswith(b"\n") else None
        if head is None:
            raise StateError(
                "the journal's last object holds no entry that can be read",
                where=self._objects.where(last),
                remedy="keep it as evidence, run `bucketwatch journal verify`, and start with a new journal.prefix",
            )
        return head


class Objects:
    """The journal's objects by number. Raises EdgeError."""

    def __init__(self, s3: S3Client, bucket: str, prefix: str) -> None:
        self._client, self._bucket = s3, bucket
        self.below = "".join(f"{step}/" for step in prefix.split("/") if step)

    def where(self, number: int | None = None) -> str:
        """An object's address; the journal's without a number."""
        return printable(f"s3://{self._bucket}/{self.below if number is None else self.key(number)}")

    def key(self, number: int) -> str:
        """The key of the object with this number. No object's number is negative: those come before all others."""
        return f"{self.below}{number:020d}.jsonl" if number >= 0 else self.below

    def number(self, key: str) -> int | None:
        """The number in a key; None if the object is none of a journal's."""
        match = NAME.fullmatch(key[len(self.below) :])
        return int(match[1]) if match else None

    def put(self, number: int, body: bytes, terms: Mapping[str, Any]) -> None:
        """Write an object, if there is none of its name."""
        with edge("write the journal", where=self.where(number)):
            self._client.put_object(Bucket=self._bucket, Key=self.key(number), Body=body, IfNoneMatch="*", **terms)

    def read(self, number: int) -> bytes:
        """An object's content."""
        with edge("read the journal", where=self.where(number)):
            answer = self._client.get_object(Bucket=self._bucket, Key=self.key(number))
            with closing(answer["Body"]) as stream:
                body: bytes = stream.read()
            if len(body) != answer["ContentLength"]:
                raise ConnectionError("the body broke off")
            return body

    def find(self, number: int) -> bytes | None:
        """An object's content, None if there is no such object."""
        try:
            return self.read(number)
        except EdgeError as error:
            if code_of(error) in ("NoSuchKey", "404"):
                return None
            raise

    def listed(self, after: str = "", most: int = 1000) -> Iterator[str]:
        """Every key below the prefix that comes after this one."""
        while True:
            with edge("list the journal", where=self.where()):
                start: Any = {"StartAfter": after} if after else {}
                answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self.below, MaxKeys=most, **start)
            page = [found["Key"] for found in answer.get("Contents", [])]
            yield from page
            if not answer.get("IsTruncated") or not page:
                return
            after = page[-1]

    def after(self, number: int) -> Iterator[int]:
        """The numbers above this one, in order."""
        return (found for key in self.listed(self.key(number)) if (found := self.number(key)) is not None)

    def last(self, mark: int) -> int | None:
        """The highest number; None if there is no object. `mark`: a number that it was once."""
        if mark:
            *_, found = (None, *self.after(mark - 1))
            if found is not None:
                return found
        if not self._any(-1):
            return None
        low, high = -1, 1
        while self._any(high):
            low, high = high, high * 2
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if self._any(middle) else (low, middle)
        return next(self.after(low), None)

    def _any(self, number: int) -> bool:
        """Whether there is an object above this number."""
        with edge("list the journal", where=self.where()):
            answer = self._client.list_objects_v2(
                Bucket=self._bucket, Prefix=self.below, MaxKeys=10, StartAfter=self.key(number)
            )
        return any(self.number(found["Key"]) is not None for found in answer.get("Contents", []))

    def lock_rule(self) -> Mapping[str, Any] | None:
        """The bucket's own rule of retention: empty if it has object lock without one, None if it has no lock."""
        try:
            with edge("read the bucket's object lock", where=f"s3://{self._bucket}"):
                answer = self._client.get_object_lock_configuration(Bucket=self._bucket)
        except EdgeError as error:
            if code_of(error) in NO_LOCK:
                return None
            raise
        found = answer.get("ObjectLockConfiguration", {})
        if found.get("ObjectLockEnabled") != "Enabled":
            return None
        return dict(found.get("Rule", {}).get("DefaultRetention", {}))

    def versions(self) -> Mapping[str, int]:
        """How many versions, deletions among them, each key has."""
        counts: dict[str, int] = {}
        with edge("list the versions of the journal", where=self.where()):
            for page in self._client.get_paginator("list_object_versions").paginate(
                Bucket=self._bucket, Prefix=self.below
            ):
                for found in (*page.get("Versions", []), *page.get("DeleteMarkers", [])):
                    counts[found["Key"]] = counts.get(found["Key"], 0) + 1
        return counts


def lines(bucket: str, prefix: str) -> Iterator[bytes]:
    """Every line of a journal, in order. Raises EdgeError."""
    objects = Objects(client("s3"), bucket, prefix)
    for number in objects.after(-1):
        yield from objects.read(number).splitlines(keepends=True)


def examine(bucket: str, prefix: str, wanted: str = "") -> Verdict:
    """Everything wrong with a journal in S3, where its chain ends, and whether `wanted` is a hash in it.

    Raises UnreadablePathError, EdgeError.
    """
    objects, checking = Objects(client("s3"), bucket, prefix), Checking(wanted)
    problems = [problem for key in objects.listed() for problem in _wrong(objects, key, checking)]
    notes: tuple[str, ...] = ()
    versions: Mapping[str, int] = {}
    try:
        versions = objects.versions()
    except EdgeError as error:
        notes = (f"whether objects were overwritten or deleted was not looked at: {error.what}",)
    problems += [
        f"{printable(key)}: has {n} versions: it was written or deleted again after the journal wrote it"
        for key, n in versions.items()
        if n > 1
    ]
    if not checking.begun and not problems and not versions:
        raise UnreadablePathError("there is no journal", where=objects.where(), remedy="name its bucket and prefix")
    return Verdict(problems, checking.head, checking.seen, notes)


def _wrong(objects: Objects, key: str, checking: Checking) -> Iterator[str]:
    name = printable(key)
    number, expected = objects.number(key), checking.head.seq + 1 if checking.begun else 0
    if number is None:
        yield f"{name}: no object of a journal"
        return
    if number != expected:
        yield f"{name}: expected object {expected:020d}: objects are missing, or there twice"
    lines = objects.read(number).splitlines(keepends=True)
    if not lines:
        yield f"{name}: is empty"
    for at, line in enumerate(lines, 1):
        yield from (f"{name}, line {at}: {what}" for what in checking.problems(line))


def _bodies(entries: Sequence[Mapping[str, Any]], head: Head) -> Iterator[tuple[bytes, Head]]:
    """The entries' lines, put together into objects, each with the head it makes."""
    lines: list[bytes] = []
    size, before = 0, head
    for line, after in linked(entries, head):
        if lines and (len(lines) == ENTRIES or size + len(line) > BYTES):
            yield b"".join(lines), before
            lines, size = [], 0
        lines.append(line)
        size, before = size + len(line), after
    if lines:
        yield b"".join(lines), before
