"""Log files in S3, named and read as if they were paths."""

from __future__ import annotations

import errno
import os
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from detector.errors import EdgeError

if TYPE_CHECKING:
    from detector.aws.objects import S3Objects

SCHEME = "s3://"


class S3Path:
    """`s3://bucket/key`, with what a path has that readers ask for."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text

    __fspath__ = as_posix = __str__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, S3Path) and other._text == self._text

    def __hash__(self) -> int:
        return hash(self._text)

    def __truediv__(self, name: str) -> S3Path:
        return S3Path(f"{self._text}/{name}")

    @property
    def parent(self) -> S3Path:
        """The key without what comes after its last slash."""
        return S3Path(self._text.rpartition("/")[0])

    @property
    def name(self) -> str:
        """What comes after the last slash."""
        return self._text.rpartition("/")[2]

    def read_bytes(self) -> bytes:
        """The object. Raises OSError if this one cannot be had (gone, archived), EdgeError if others cannot either."""
        try:
            return objects().fetch(*self._place)
        except EdgeError as error:
            if error.retryable or not _of_one(error):
                raise
            raise OSError(errno.EIO, f"{error.what} ({error.remedy})") from error

    def metadata(self) -> dict[str, str]:
        """What whoever put the object there said of it. Raises EdgeError."""
        return objects().metadata(*self._place)

    @property
    def _place(self) -> tuple[str, str]:
        bucket, _, key = self._text.removeprefix(SCHEME).partition("/")
        return bucket, key


AnyPath = Path | S3Path


def path_of(text: str) -> AnyPath:
    """The path that a text is of."""
    return S3Path(text) if text.startswith(SCHEME) else Path(text)


def _of_one(error: EdgeError) -> bool:
    """Whether it is about this object: it is gone, archived, or too large (which has no code)."""
    from detector.aws.session import code_of

    return code_of(error) in ("NoSuchKey", "NoSuchVersion", "InvalidObjectState", "")


def objects() -> S3Objects:
    """One for each process: connections do not outlive a fork."""
    return _objects_of(os.getpid())


@cache
def _objects_of(_process: int) -> S3Objects:
    from detector.aws.objects import S3Objects

    return S3Objects()
