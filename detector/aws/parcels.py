"""The objects a checkpoint in S3 is made of: several written, read or deleted at a time.

An object is written once under a name that is never given again, and holds one large part or several small ones. Reads
are checked for length here and for content by whoever knows the checksum.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, Any

from detector.aws.guarded import ABSENT, Retries, told_of_bucket
from detector.aws.manifest import Place, checksum
from detector.aws.session import code_of, edge
from detector.errors import EdgeError, StateError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

TOGETHER = 1 << 20
"""Bytes up to which parts are put together into one object; a part of more has one of its own."""
WORKERS = 8
DELETED_AT_A_TIME = 1000
"""S3's limit for one request."""


class Parcels:
    """Objects of one bucket below one prefix. Their names here are without it."""

    def __init__(self, client: S3Client, bucket: str, prefix: str, retries: Retries) -> None:
        self._client, self._bucket, self._prefix, self._retries = client, bucket, prefix, retries
        self._pool = ThreadPoolExecutor(WORKERS, "state")

    def where(self, name: str) -> str:
        """An object's address."""
        return f"s3://{self._bucket}/{self._prefix}{name}"

    def put(self, parts: Mapping[str, bytes], names: Callable[[], str], made: list[str]) -> dict[str, Place]:
        """Write these parts, and say where they lie. `made` gets the names of the objects. Raises EdgeError.

        When it returns or raises, no write of it is under way any more.
        """
        placed: dict[str, Place] = {}
        waiting: list[Future[None]] = []
        for together in _together(parts):
            name, at = names(), 0
            made.append(name)
            for part in together:
                content = parts[part]
                placed[part] = Place(name, at, len(content), checksum(part, content))
                at += len(content)
            body = b"".join(parts[part] for part in together)
            waiting.append(self._pool.submit(self._write, name, body))
        problems = [problem for one in waiting if (problem := one.exception())]
        if problems:
            raise problems[0]
        return placed

    def read(self, place: Place) -> bytes:
        """A part's bytes. Raises EdgeError, or StateError if the object is gone or too short."""
        return self.range(place.object, place.offset, place.offset + place.length)

    def range(self, name: str, first: int, end: int) -> bytes:
        """Bytes `first` to `end` (not included) of an object."""
        if end <= first:
            return b""
        content: bytes = self._retries(lambda: self._range(name, first, end))
        return content

    def ahead(self, name: str, first: int, end: int) -> Future[bytes]:
        """The same, begun already."""
        return self._pool.submit(self.range, name, first, end)

    def names(self, below: str) -> Iterator[str]:
        """Every object whose name begins so. Raises EdgeError."""
        after = ""
        while True:
            page: list[str] = self._retries(partial(self._page, below, after))
            yield from page
            if not page:
                return
            after = page[-1]

    def delete(self, names: Sequence[str], left: Callable[[list[str]], object] = lambda _: None) -> None:
        """Delete these in the background; `left` gets the names of those that are still there."""
        self._pool.submit(lambda: left(self.delete_now(list(names))))

    def later(self, work: Callable[[], object]) -> None:
        """Do this in the background; nobody asks what came of it."""
        self._pool.submit(work)

    def close(self) -> None:
        """Wait for what is under way and let go of connections."""
        self._pool.shutdown(cancel_futures=True)
        self._client.close()

    def _write(self, name: str, body: bytes) -> None:
        def attempt() -> None:
            with edge("write a part of the state", where=self.where(name)):
                self._client.put_object(Bucket=self._bucket, Key=self._prefix + name, Body=body)

        try:
            self._retries(attempt)
        except EdgeError as error:
            raise told_of_bucket(error, self._bucket) from error

    def _range(self, name: str, first: int, end: int) -> bytes:
        try:
            with edge("read a part of the state", where=self.where(name)):
                asked = f"bytes={first}-{end - 1}"
                answer = self._client.get_object(Bucket=self._bucket, Key=self._prefix + name, Range=asked)
                with closing(answer["Body"]) as body:
                    content: bytes = body.read()
                if len(content) < answer["ContentLength"]:
                    raise ConnectionError("the body broke off")
        except EdgeError as error:
            if code_of(error) in ABSENT:
                raise StateError("an object of the checkpoint is gone", where=self.where(name)) from error
            if code_of(error) == "InvalidRange":
                return b""
            raise
        return content

    def _page(self, below: str, after: str) -> list[str]:
        with edge("list the objects of the state", where=self.where(below)):
            start: dict[str, Any] = {"StartAfter": self._prefix + after} if after else {}
            answer = self._client.list_objects_v2(Bucket=self._bucket, Prefix=self._prefix + below, **start)
        return [found["Key"][len(self._prefix) :] for found in answer.get("Contents", [])]

    def delete_now(self, names: list[str]) -> list[str]:
        """The names of those that could not be deleted: they cost room, nothing else."""
        left: list[str] = []
        for start in range(0, len(names), DELETED_AT_A_TIME):
            some = names[start : start + DELETED_AT_A_TIME]
            try:
                left += self._deleted(some)
            except EdgeError:
                left += some
        return left

    def _deleted(self, names: list[str]) -> list[str]:
        asked = [{"Key": self._prefix + name} for name in names]
        with edge("delete objects of the state", where=self.where("")):
            answer = self._client.delete_objects(Bucket=self._bucket, Delete={"Objects": asked, "Quiet": True})  # type: ignore[typeddict-item]
        return [failed["Key"][len(self._prefix) :] for failed in answer.get("Errors", [])]


def _together(parts: Mapping[str, bytes]) -> Iterator[list[str]]:
    """Names of the parts of each object. The bounds: see TOGETHER."""
    small: list[str] = []
    size = 0
    for name, content in parts.items():
        if len(content) > TOGETHER:
            yield [name]
            continue
        if size + len(content) > TOGETHER:
            yield small
            small, size = [], 0
        small.append(name)
        size += len(content)
    if small:
        yield small
