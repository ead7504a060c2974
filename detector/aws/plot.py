"""Buckets to put decoys into. The twin of `local.plot`.

Rules of this file
- `If-None-Match: *`: an object that is there is never overwritten.
- Objects are told by the SHA-256 that S3 keeps with them, never by reading them: a read of a decoy is a finding.
- What is deleted is the version that was looked at; in a bucket without versions, the object with the tag looked at.

Source: S3 API reference, PutObject, HeadObject (ChecksumMode), DeleteObject (VersionId, If-Match); S3 User Guide,
"Conditional requests", "Checking object integrity".
"""

from __future__ import annotations

import base64
from itertools import islice
from typing import TYPE_CHECKING, Any

from detector.aws.session import client, code_of, edge
from detector.errors import EdgeError
from detector.response.plain import printable
from detector.source import Found, Lying

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

THERE = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
ABSENT = frozenset({"NoSuchKey", "NotFound", "404"})


class S3Plot:
    """Buckets as Plot. The client is made at the first use, with the credentials of whoever runs this."""

    def __init__(self) -> None:
        self._client: S3Client | None = None

    def listed(self, bucket: str, prefix: str, most: int) -> list[Found]:
        """The objects whose keys begin so, in the order of keys, the first `most` of them. Raises EdgeError."""
        with edge("list objects", where=_where(bucket, prefix)):
            pages = self._s3.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=prefix)
            every = (one for page in pages for one in page.get("Contents", []))
            return [Found(o["Key"], o["Size"], o.get("StorageClass", "STANDARD")) for o in islice(every, most)]

    def look(self, bucket: str, key: str) -> Lying | None:
        """What lies there; None if nothing does. Raises EdgeError."""
        try:
            with edge("look at an object", where=_where(bucket, key)):
                answer = self._s3.head_object(Bucket=bucket, Key=key, ChecksumMode="ENABLED")
        except EdgeError as error:
            if code_of(error) in ABSENT:
                return None
            raise
        return _lying(answer)

    def put(self, bucket: str, key: str, data: bytes, storage_class: str) -> Lying | None:
        """Put an object where none is; None if there is one. Raises EdgeError."""
        chosen: dict[str, Any] = {"StorageClass": storage_class} if storage_class != "STANDARD" else {}
        try:
            with edge("put a decoy", where=_where(bucket, key)):
                answer = self._s3.put_object(
                    Bucket=bucket, Key=key, Body=data, IfNoneMatch="*", ChecksumAlgorithm="SHA256", **chosen
                )
        except EdgeError as error:
            if code_of(error) in THERE:
                return None
            raise
        return _lying(answer)

    def delete(self, bucket: str, key: str, lying: Lying) -> None:
        """Delete the very object that was looked at, and no other that came since. Raises EdgeError."""
        chosen: dict[str, Any] = {"VersionId": lying.version} if lying.version else {"IfMatch": lying.tag}
        with edge("delete a decoy", where=_where(bucket, key)):
            self._s3.delete_object(Bucket=bucket, Key=key, **chosen)

    @property
    def _s3(self) -> S3Client:
        if self._client is None:
            self._client = client("s3")
        return self._client


def _lying(answer: Any) -> Lying:
    """Without a checksum of the whole object (one in parts, or an older one) nobody can say what it is."""
    told = str(answer.get("ChecksumSHA256", ""))
    whole = told if "-" not in told else ""
    version = str(answer.get("VersionId", ""))
    return Lying(base64.b64decode(whole).hex(), "" if version == "null" else version, str(answer.get("ETag", "")))


def _where(bucket: str, key: str) -> str:
    return printable(f"s3://{bucket}/{key}")
