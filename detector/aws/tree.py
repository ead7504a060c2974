"""A bucket as a tree of names, listed folder by folder. The twin of `local.tree`.

Source: S3 API reference, ListObjectsV2: keys come in the order of their bytes, at most 1,000 a page, what lies below a
delimiter as one prefix; `StartAfter` passes over what comes before.
"""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

from detector.aws.session import client, edge
from detector.errors import EdgeError
from detector.source import Leaf

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

AHEAD = 8
"""Folders that are listed side by side."""


class S3Tree:
    """Names are keys. The client is made at the first use."""

    def __init__(self, bucket: str) -> None:
        self._bucket = bucket
        self._client: S3Client | None = None
        self._pool = ThreadPoolExecutor(AHEAD)
        self._begun: dict[str, Future[Any]] = {}

    def begin(self, folder: str) -> None:
        """A folder will be asked for soon: its first page is fetched meanwhile."""
        if len(self._begun) < AHEAD and folder not in self._begun:
            self._begun[folder] = self._pool.submit(self._page, self._made(), folder, {})

    def level(self, folder: str, after: str = "") -> Iterator[Leaf]:
        """What lies in a folder, by key; also what begins so, if it is no folder's name. Raises EdgeError."""
        begun = self._begun.pop(folder, None)
        first = {"StartAfter": after} if after else {}
        try:
            page = begun.result() if begun and not after else self._page(self._made(), folder, first)
            while True:
                yield from sorted(_leaves(page))
                if not page.get("IsTruncated"):
                    return
                page = self._page(self._made(), folder, {"ContinuationToken": page["NextContinuationToken"]})
        except EdgeError:
            self._begun.clear()  # whoever tries again begins anew: these have failed as well, or are old by then
            raise

    def _page(self, s3: S3Client, folder: str, more: dict[str, Any]) -> Any:
        with edge("list log files", where=f"s3://{self._bucket}/{folder}"):
            return s3.list_objects_v2(Bucket=self._bucket, Prefix=folder, Delimiter="/", **more)

    def _made(self) -> S3Client:
        if self._client is None:
            self._client = client("s3")
        return self._client


def _leaves(page: Any) -> Iterator[Leaf]:
    for one in page.get("CommonPrefixes", []):
        yield Leaf(one["Prefix"])
    for one in page.get("Contents", []):
        if not one["Key"].endswith("/"):  # such objects are somebody's idea of a folder
            yield Leaf(one["Key"], int(one["Size"]), one["ETag"], one["LastModified"].timestamp())
