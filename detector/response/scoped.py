"""The least policy that allows what a session was seen doing: to be passed when its role is assumed. Pure.

Rules of this file
- It only allows, and only what is named here: prefixes of buckets, what was done below them, the keys of KMS it needed.
- A key is anybody's text: what means something to IAM in it (`*`, `?`, `$`) is written so that it means itself, and a
  prefix ends before the first character that no policy may hold.
- It fits into what STS takes. If it does not, prefixes are shortened, the deepest first, down to whole buckets.
- What was done and cannot be allowed for a prefix alone is not allowed, and is told.

Source: IAM user guide, "Policies and permissions in IAM" (session policies), "IAM policy elements: Variables and tags"
(special characters), "IAM and AWS STS quotas" (2,048 characters), STS API reference, AssumeRole (DurationSeconds;
characters of a policy); service authorization reference, "Actions, resources, and condition keys for Amazon S3".
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from detector.response.documents import VERSION, policy_text

LIMIT = 2048
"""Characters of a session policy."""
SHORTEST, LONGEST = 900, 43_200
"""Seconds for which credentials of a role can be had."""
OF_OBJECTS = {
    "read": {
        "GetObject": "s3:GetObject", "CopyObject": "s3:GetObject", "UploadPartCopy": "s3:GetObject",
        "SelectObjectContent": "s3:GetObject", "HeadObject": "s3:GetObject",
        "GetObjectTagging": "s3:GetObjectTagging",
        "GetObjectAcl": "s3:GetObjectAcl",
    },
    "write": {
        "PutObject": "s3:PutObject", "CreateMultipartUpload": "s3:PutObject", "UploadPart": "s3:PutObject",
        "CompleteMultipartUpload": "s3:PutObject", "AbortMultipartUpload": "s3:AbortMultipartUpload",
        "PutObjectTagging": "s3:PutObjectTagging",
    },
    "delete": {
        "DeleteObject": "s3:DeleteObject", "DeleteObjects": "s3:DeleteObject",
        "DeleteObjectVersion": "s3:DeleteObjectVersion",
    },
    "restore": {"RestoreObject": "s3:RestoreObject"},
}  # fmt: skip
"""What is done below a prefix → API → the actions it needs."""
OF_LISTS = {
    "ListObjects": "s3:ListBucket", "ListObjectsV2": "s3:ListBucket", "ListObjectVersions": "s3:ListBucketVersions",
}  # fmt: skip
"""What is done to a bucket and can be held to a prefix."""
SIDS = {"read": "Read", "write": "Write", "delete": "Delete", "restore": "Restore"}
KNOWN = frozenset({*OF_LISTS, *(api for apis in OF_OBJECTS.values() for api in apis)})
SPECIAL = {char: f"${{{char}}}" for char in "*?$"}


class Place(NamedTuple):
    """Below what: a bucket and a prefix of keys, empty for all of the bucket."""

    bucket: str
    prefix: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a session did. places: of each of `OF_OBJECTS` and of `list`, where. apis: every API that it called with
    success. kms_keys: ARNs of keys that its objects are encrypted with.
    """

    places: Mapping[str, frozenset[Place]]
    apis: frozenset[str]
    kms_keys: frozenset[str] = frozenset()
    partition: str = "aws"


@dataclass(frozen=True, slots=True)
class Scoped:
    """A policy. document: None if there is nothing it could allow. widened: places that had to be made wider than was
    seen. left_out: APIs that it does not allow.
    """

    document: dict[str, Any] | None
    places: tuple[Place, ...]
    widened: tuple[Place, ...]
    left_out: tuple[str, ...]

    @property
    def text(self) -> str:
        """As STS takes it."""
        return policy_text(self.document or {})


def scoped(seen: Seen) -> Scoped:
    """The policy that allows what was seen, as narrow as fits."""
    every = {place for places in seen.places.values() for place in places}
    standing = {place: _sayable(place) for place in every}
    document = _document(seen, standing)
    while document and len(policy_text(document)) > LIMIT:
        deepest = max(map(_depth, standing.values()))
        if not deepest:
            return Scoped(None, (), tuple(sorted(every)), tuple(sorted(seen.apis)))
        standing = {place: _above(now) if _depth(now) == deepest else now for place, now in standing.items()}
        document = _document(seen, standing)
    widened = sorted({standing[place] for place in every if standing[place] != place})
    left_out = sorted(seen.apis - KNOWN)
    return Scoped(document, tuple(sorted(set(standing.values()))), tuple(widened), tuple(left_out))


def lifetime(longest: int) -> int:
    """Seconds of `DurationSeconds` for credentials that were used at this age: in quarters of an hour."""
    return min(max(SHORTEST, -(-longest // SHORTEST) * SHORTEST), LONGEST)


def literal(text: str) -> str:
    """Text as a policy has it where patterns are allowed."""
    return "".join(SPECIAL.get(char, char) for char in text)


def _document(seen: Seen, standing: Mapping[Place, Place]) -> dict[str, Any] | None:
    made = [_of_objects(seen, standing, kind) for kind in OF_OBJECTS]
    made += _of_lists(seen, standing)
    statements = [one for one in made if one]
    if not statements:
        return None
    return {"Version": VERSION, "Statement": [*statements, *_of_keys(seen)]}


def _of_objects(seen: Seen, standing: Mapping[Place, Place], kind: str) -> dict[str, Any] | None:
    actions = _actions(OF_OBJECTS[kind], seen.apis)
    places = _fewest(standing[place] for place in seen.places.get(kind, ()))
    if not actions or not places:
        return None
    resources = [f"arn:{seen.partition}:s3:::{bucket}/{literal(prefix)}*" for bucket, prefix in places]
    return {"Sid": SIDS[kind], "Effect": "Allow", "Action": actions, "Resource": resources}


def _of_lists(seen: Seen, standing: Mapping[Place, Place]) -> list[dict[str, Any]]:
    """No log says below which prefix was listed: below those that objects were used of, else the whole bucket."""
    actions = _actions(OF_LISTS, seen.apis)
    used = [standing[place] for kind in OF_OBJECTS for place in seen.places.get(kind, ())]
    out: list[dict[str, Any]] = []
    for bucket in sorted({place.bucket for place in seen.places.get("list", ())} if actions else ()):
        places = _fewest(place for place in used if place.bucket == bucket)
        of_bucket: dict[str, Any] = {"Sid": f"List{len(out) + 1}", "Effect": "Allow", "Action": actions}
        of_bucket["Resource"] = f"arn:{seen.partition}:s3:::{bucket}"
        if places and all(place.prefix for place in places):
            of_bucket["Condition"] = {"StringLike": {"s3:prefix": [f"{literal(place.prefix)}*" for place in places]}}
        out.append(of_bucket)
    return out


def _of_keys(seen: Seen) -> list[dict[str, Any]]:
    keys = sorted(key for key in seen.kms_keys if key.startswith(f"arn:{seen.partition}:kms:") and _is_sayable(key))
    if not keys:
        return []
    actions = ["kms:Decrypt", *(["kms:GenerateDataKey"] if seen.places.get("write") else [])]
    return [{"Sid": "Keys", "Effect": "Allow", "Action": actions, "Resource": [literal(key) for key in keys]}]


def _actions(table: Mapping[str, str], apis: Iterable[str]) -> list[str]:
    return sorted({action for api in apis for action in table.get(api, "").split()})


def _fewest(places: Iterable[Place]) -> list[Place]:
    """Without those that lie within another."""
    kept: list[Place] = []
    for place in sorted(set(places)):
        if not (kept and _within(place, kept[-1])):
            kept.append(place)
    return kept


def _within(place: Place, other: Place) -> bool:
    return place.bucket == other.bucket and place.prefix.startswith(other.prefix)


def _depth(place: Place) -> int:
    """How many folders it names, the begun one too."""
    return place.prefix.count("/") + (not place.prefix.endswith("/") and place.prefix != "")


def _above(place: Place) -> Place:
    shorter = place.prefix[:-1]
    return Place(place.bucket, shorter[: shorter.rfind("/") + 1])


def _sayable(place: Place) -> Place:
    """The prefix up to the first character that no policy may hold."""
    end = next((at for at, char in enumerate(place.prefix) if not _is_sayable(char)), len(place.prefix))
    return Place(place.bucket, place.prefix[:end])


def _is_sayable(text: str) -> bool:
    return all(" " <= char <= "\xff" and char != "\x7f" for char in text)


def subjects(places: Sequence[Place]) -> str:
    """Places as a person reads them."""
    return ", ".join(f"{bucket}/{prefix}*" for bucket, prefix in places)
