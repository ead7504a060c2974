"""Tells the kinds of log apart by content and reads them. Pure: the bytes of one file in, rows and rejects out."""

from __future__ import annotations

import re
from typing import NamedTuple

from detector.core.builder import BatchBuilder
from detector.errors import InputError
from detector.logs import cloudtrail, parquet, server_access
from detector.logs.inflate import inflate
from detector.logs.limits import LIMITS, Limits

CLOUDTRAIL, SERVER_ACCESS, PARQUET = "cloudtrail", "server_access", "parquet"
HEAD = 1 << 16
_PLAIN = rb'(?:\s*+"\w++"\s*+:\s*+(?:"[^"\\]*+"|[\w.+-]++)\s*+,)*?\s*+'
"""Members of a JSON object that hold no object. What a requester may shape (tags, keys of a table) lies in objects."""
_RECORD = re.compile(rb'"(eventName|eventSource|userIdentity|eventCategory)"\s*:')
_WRAPPED = re.compile(rb'"messageType"\s*:\s*"(DATA|CONTROL)_MESSAGE"')
_EMPTY = re.compile(rb'\s*(\{\s*"Records"\s*:\s*\[\s*\]\s*\}|\[\s*\])\s*')
_NOTIFICATION = re.compile(rb'\s*\{\s*"Records"\s*:\s*\[\s*\{' + _PLAIN + rb'"eventSource"\s*:\s*"aws:s3"')
_DIGEST = re.compile(rb"\s*\{" + _PLAIN + rb'"digestStartTime"\s*:')
_BOM = b"\xef\xbb\xbf"


class Reading(NamedTuple):
    """What a file was. `kind` is empty if it is no known log, and `reason` says why.

    `damage`: why not all of the file could be read; what could be, was. `lacks`: columns that a Parquet file has not.
    """

    kind: str
    reason: str = ""
    damage: str = ""
    lacks: tuple[str, ...] = ()


def read(data: bytes, name: str, into: BatchBuilder, limits: Limits = LIMITS) -> Reading:
    """Read one file as delivered (gzipped or not) into the builder."""
    into.begin()
    content, damage = inflate(data, limits.inflated)
    kind, reason = identify(content)
    lacks: list[str] = []
    if not kind:
        return Reading("", damage or reason, damage)
    try:
        if kind == CLOUDTRAIL:
            whole = cloudtrail.parse(content, name, into, limits)
            damage = damage or ("" if whole else "broken JSON")
        elif kind == SERVER_ACCESS:
            server_access.parse(content, name, into, limits.line)
        else:
            lacks = parquet.parse(content, name, into)
    except InputError as error:
        return Reading("", error.what, damage)
    return Reading(kind, "", damage, tuple(lacks))


def identify(content: bytes) -> tuple[str, str]:
    """Kind of log, or an empty text and why it is none."""
    if not content or content.isspace():
        return "", "empty"
    if content.startswith(b"PAR1"):
        return PARQUET, ""
    head = content[:HEAD]
    text = head.removeprefix(_BOM).lstrip(b" \t\r\n\x1e")
    if text.startswith((b"{", b"[")):
        return _identify_json(content.removeprefix(_BOM), text)
    if server_access.looks_like(head):
        return SERVER_ACCESS, ""
    return "", "no known log: neither CloudTrail JSON, nor S3 server access log lines, nor access-record Parquet"


def _identify_json(content: bytes, head: bytes) -> tuple[str, str]:
    if _DIGEST.match(head):
        return "", "a CloudTrail digest file, not a log"
    if _NOTIFICATION.match(head):
        return "", "an S3 event notification, not a log"
    if _RECORD.search(head) or _WRAPPED.search(head) or _EMPTY.fullmatch(content):
        return CLOUDTRAIL, ""
    return "", "JSON, but no CloudTrail records"
