"""What a CloudTrail record accessed: bucket, key, where a copy went, which access point led there. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from urllib.parse import unquote_plus

import numpy as np

from detector.core.access import I8, Column, Mask, Operation
from detector.logs.changes import replicated_to
from detector.logs.members import Members
from detector.logs.record import Parameters, Resource

OBJECT_RESOURCES = frozenset({"AWS::S3::Object", "AWS::S3Express::Object", "AWS::S3Outposts::Object"})
BUCKET_RESOURCES = frozenset({"AWS::S3::Bucket", "AWS::S3Express::DirectoryBucket", "AWS::S3Outposts::Bucket"})
ALIASES = ("-s3alias", "--ol-s3", "--xa-s3", ".mrap")
"""How names end that stand for an access point; no bucket may be called so."""

REPLICATION = "ReplicationConfiguration"
_NO_PARAMETERS = Parameters()


Place = tuple[str | None, str | None, str | None, str | None]
"""bucket, key, destination (bucket that a copy went to, or that a replication is to go to), access point (its ARN or
alias); null where it is not shown.
"""

PLACE_COLUMNS = ("bucket", "key", "destination", "access_point")


def places(members: Members, operation: I8) -> dict[str, Column]:
    """Where each record went to, as columns. members: of a shape with resources and key.

    Usually the first of two resources is the object, under the name of the bucket that was asked for.
    """
    bucket = members.column("bucketName")
    plain = [f"arn:aws:s3:::{name}/" if bucket_name(name) and "/" not in name else "" for name in bucket.values]
    key = members.rest("resources.0.ARN", Column(bucket.codes, plain))
    usual = (key.codes >= 0) & (members.lengths("resources") == 2) & (operation != Operation.copy)
    usual &= members.column("resources.0.type").are("AWS::S3::Object")
    usual &= members.column("resources.1.type").are("AWS::S3::Bucket")
    usual[members.given("s3_arn")] = False
    nothing = Column.null(len(members))
    columns = dict(zip(PLACE_COLUMNS, (bucket, key, nothing, nothing), strict=True))
    odd = np.flatnonzero(~usual).tolist()
    if odd:
        found = zip(*(place(members.record(row), operation[row]) for row in odd), strict=True)
        columns = {name: columns[name].but(odd, texts) for name, texts in zip(PLACE_COLUMNS, found, strict=True)}
    return columns


def place(record: Any, operation: int) -> Place:
    """What a record accessed: from the resources' ARNs, else from the parameters; for a copy its source."""
    parameters: Any = record.requestParameters or _NO_PARAMETERS
    resources: list[Resource] = record.resources or []
    context = parameters.encryptionContext
    if context and (made_for := context_arn(context.s3_arn)):
        return *split_arn(made_for), None, None
    if operation == Operation.copy:
        return *copy_source(parameters.copy_source or ""), _addressed(resources, parameters)[0], None
    bucket, key, _, point = _addressed(resources, parameters)
    replication = getattr(parameters, "ReplicationConfiguration", None)
    target = replicated_to({REPLICATION: replication})[0] if replication else None
    return bucket, key, (split_arn(target)[0] or target) if target else None, point


def destination_keys(members: Members, operation: I8) -> Column:
    """The key that each copy was written under. members: of a shape with resources and key."""
    rows = np.flatnonzero(operation == Operation.copy).tolist()
    records = map(members.record, rows)
    keys = [_addressed(one.resources or [], one.requestParameters or _NO_PARAMETERS)[1] for one in records]
    return Column.null(len(members)).but(rows, keys)


def accounts(members: Members, operation: I8) -> dict[str, Column]:
    """The accounts that own the bucket and the destination of each record. members: of a shape with resources.

    Of a copy the record names the owner of the destination only.
    """
    owner = _owners(members)
    copies = operation == Operation.copy
    destination = Column(np.where(copies, owner.codes, np.int32(-1)), owner.values)
    if rows := members.given(REPLICATION):
        texts = destination.texts()
        for row in rows:
            parameters = members.record(row).requestParameters
            texts[row] = replicated_to({REPLICATION: parameters.ReplicationConfiguration})[1]
        destination = Column.of(texts)
    owner = Column(np.where(copies, np.int32(-1), owner.codes), owner.values)
    return {"bucket_account": owner, "destination_account": destination}


def _owners(members: Members) -> Column:
    """The account of the bucket among the resources: nearly always the last of one or two."""
    second, first = members.column("resources.1.accountId"), members.column("resources.0.accountId")
    in_second, in_first = (_buckets(members.column(f"resources.{at}.type")) for at in (1, 0))
    codes = np.where(
        in_second, second.codes, np.where(in_first & (first.codes >= 0), first.codes + len(second.values), -1)
    )
    owner = Column(codes.astype(np.int32), [*second.values, *first.values])
    odd = np.flatnonzero(members.lengths("resources") > 2).tolist()
    if odd:
        texts = owner.texts()
        for row in odd:
            resources = members.record(row).resources
            texts[row] = next((one.accountId for one in resources if one.type in BUCKET_RESOURCES), None)
        owner = Column.of(texts)
    return owner


def _buckets(types: Column) -> Mask:
    return types.fit(BUCKET_RESOURCES.__contains__)


def _addressed(resources: Iterable[Resource], parameters: Any) -> Place:
    bucket = key = point = None
    for resource in resources:
        if resource.ARN is None:
            continue
        if resource.type in OBJECT_RESOURCES:
            bucket, key = split_arn(resource.ARN)
        elif bucket is None and resource.type in BUCKET_RESOURCES:
            bucket = split_arn(resource.ARN)[0]
        elif resource.type == "AWS::S3::AccessPoint":
            point = resource.ARN
    named = parameters.bucketName
    if named and named != bucket and bucket_name(named) is None:
        point, named = point or named, None
    return bucket or named or None, key or parameters.key or None, None, point


def bucket_name(text: str) -> str | None:
    """The bucket that a request names: None if it names an access point, by ARN or by alias."""
    return split_arn(text)[0] if text.startswith("arn:") else None if text.endswith(ALIASES) else text or None


def split_arn(arn: str) -> tuple[str | None, str | None]:
    """`arn:aws:s3:::bucket/key` → (bucket, key). Access points name no bucket: (None, key).

    A bucket's ARN has no account, but for directory buckets (S3 Express) and Outposts, where the word `bucket` says so.
    """
    parts = arn.split(":", 5)
    if len(parts) < 6 or parts[0] != "arn":
        return None, None
    if parts[4]:
        found = _BUCKET_OF_ACCOUNT.fullmatch(parts[5])
        if not found:
            return None, parts[5].partition("/object/")[2] or None
        return found[1] or found[3], found[2] or found[4] or None
    bucket, _, key = parts[5].partition("/")
    return bucket or None, key or None


_BUCKET_OF_ACCOUNT = re.compile(r"outpost/[^/]+/bucket/([^/]+)(?:/object/(.*))?|bucket/([^/]+)(?:/(.*))?", re.DOTALL)


def copy_source(text: str) -> tuple[str | None, str | None]:
    """`x-amz-copy-source`: `bucket/key`, perhaps with a leading slash, URL-encoded, with `?versionId=`, or an ARN.

    S3 reads a bare `+` in it as a space.
    """
    path = unquote_plus(text.partition("?versionId=")[0]).removeprefix("/")
    if path.startswith("arn:"):
        return split_arn(path)
    bucket, _, key = path.partition("/")
    return bucket_name(bucket), key or None


def context_arn(given: str | list[str] | None) -> str | None:
    """ARN of the object or bucket that a KMS call was made for, from its encryption context."""
    return (given[0] if given else None) if isinstance(given, list) else given
