"""One small S3 object that several processes may want to write, and none may overwrite unseen.

Rules of this file
- It is only ever replaced: "if it is still what I read" (If-Match), or "if there is none" (If-None-Match: *).
- A reply may be lost after the write took effect, and the next attempt is then refused (412) because of ourselves. So a
  refusal is followed by a look: what lies there is our own body, byte for byte, or somebody else has been faster.
- 409 ConditionalRequestConflict (a race) decides nothing: look, and try again.
- Retries are our own (botocore's client makes one attempt): what is not decided in the end is said, never guessed.

Whoever writes puts a nonce into the body, different for every write, or the look proves nothing.
Source: S3 User Guide, "Conditional requests"; API reference of PutObject (412, 409; 404: If-Match without an object).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import TYPE_CHECKING, Any

from detector.aws.session import code_of, edge
from detector.errors import EdgeError, InputError

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

REFUSED = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "NoSuchKey", "412", "409", "404"})
"""What S3 says to a conditional write that was not carried out; bare numbers from answers without a body."""
ABSENT = frozenset({"NoSuchKey", "404"})
PAUSES = (0.05, 0.2, 0.5, 1.0, 2.0, 4.0)
"""Seconds between attempts: about eight in all."""


class OutrunError(Exception):
    """Somebody else wrote the object since we read it. `body`: what lies there now, None if nothing does."""

    def __init__(self, body: bytes | None) -> None:
        self.body = body
        super().__init__("somebody else was faster")


class Retries:
    """Tries again what may succeed later. sleep, clock: seconds to wait by. patience: seconds for all attempts."""

    def __init__(
        self,
        pauses: Sequence[float] = PAUSES,
        patience: float = 20.0,
        *,
        sleep: Callable[[float], object] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._pauses, self._patience, self._sleep, self._clock = tuple(pauses), patience, sleep, clock

    def __call__(self, attempt: Callable[[], Any]) -> Any:
        """What the first attempt that succeeds returns. Raises the last EdgeError, or the first that will not pass."""
        until = self._clock() + self._patience
        for pause in self._pauses:
            try:
                return attempt()
            except EdgeError as error:
                if not error.retryable or self._clock() + pause > until:
                    raise
            self._sleep(pause)
        return attempt()


class GuardedObject:
    """The object at a key, as last read or written by us."""

    def __init__(self, client: S3Client, bucket: str, key: str, retries: Retries) -> None:
        self._client, self._bucket, self._key, self._retries = client, bucket, key, retries
        self._etag: str | None = None

    @property
    def where(self) -> str:
        """Its address."""
        return f"s3://{self._bucket}/{self._key}"

    @property
    def seen(self) -> str | None:
        """Which version of it we know; None if there was none."""
        return self._etag

    def read(self) -> bytes | None:
        """What lies there; None if nothing does. Raises EdgeError, InputError."""
        body: bytes | None = self._retries(self._read)
        return body

    def replace(self, body: bytes) -> None:
        """Write this in place of what was read last.

        Raises OutrunError if something else lies there by now; EdgeError if it was refused, or could not be decided.
        """
        self._retries(lambda: self._replace(body))

    def _read(self) -> bytes | None:
        try:
            with edge("read an object of the state", where=self.where):
                answer = self._client.get_object(Bucket=self._bucket, Key=self._key)
                with closing(answer["Body"]) as stream:
                    body: bytes = stream.read()
                if len(body) != answer["ContentLength"]:
                    raise ConnectionError("the body broke off")
        except EdgeError as error:
            if code_of(error) in ABSENT:
                self._etag = None
                return None
            raise told_of_bucket(error, self._bucket) from error
        self._etag = answer["ETag"]
        return body

    def _replace(self, body: bytes) -> None:
        condition: dict[str, Any] = {"IfMatch": self._etag} if self._etag else {"IfNoneMatch": "*"}
        try:
            with edge("write an object of the state", where=self.where):
                answer = self._client.put_object(Bucket=self._bucket, Key=self._key, Body=body, **condition)
        except EdgeError as error:
            if code_of(error) not in REFUSED:
                raise told_of_bucket(error, self._bucket) from error
            self._look(body, error)
        else:
            self._etag = answer["ETag"]

    def _look(self, body: bytes, refusal: EdgeError) -> None:
        """After a refusal: done all the same (ours), outrun, or neither, which is to be tried again."""
        known = self._etag
        found = self._read()
        if found == body:
            return
        if self._etag != known:
            raise OutrunError(found) from refusal
        raise EdgeError(refusal.what, where=refusal.where, remedy=refusal.remedy, retryable=True) from refusal


def told_of_bucket(error: EdgeError, bucket: str) -> EdgeError | InputError:
    """A bucket that does not exist is the config's mistake; other errors stay what they are."""
    if code_of(error) != "NoSuchBucket":
        return error
    return InputError(
        "there is no such bucket", where=f"s3://{bucket}", remedy="create it, or mend state.bucket in the config"
    )
