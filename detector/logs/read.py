"""Tells the kinds of log apart by content and reads them. Pure: the bytes of one file in, rows and rejects out."""

from __future__ import annotations

import re
from typing import NamedTuple

from detector.core.builder import BatchBuilder
from detector.errors import InputError
from detector.logs import access_audit, cloudtrail, parquet, server_access
from detector.logs.inflate import inflate
from detector.logs.limits import LIMITS, Limits

CLOUDTRAIL, SERVER_ACCESS, ACCESS_AUDIT, PARQUET = "cloudtrail", "server_access", "access_audit", "parquet"
HEAD = 1 << 16
FIRST_LINES = 20
"""So many lines tell what a file of lines is: the first may be the rest of one that was cut."""
_PLAIN = rb'(?:\s*+"\w++"\s*+:\s*+(?:"[^"\\]*+"|[\w.+-]++)\s*+,)*?\s*+'
"""Members of a JSON object that hold no object. What a requester may shape (tags, keys of a table) lies in objects."""
_RECORD = re.compile(rb'"(eventName|eventSource|userIdentity|eventCategory)"\s*:')
_WRAPPED = re.compile(rb'"messageType"\s*:\s*"(DATA|CONTROL)_MESSAGE"')
_EMPTY = re.compile(rb'\s*(\{\s*"Records"\s*:\s*\[\s*\]\s*\}|\[\s*\])\s*')
_NOTIFICATION = re.compile(rb'\s*\{\s*"Records"\s*:\s*\[\s*\{' + _PLAIN + rb'"eventSource"\s*:\s*"aws:s3"')
_DIGEST = re.compile(rb"\s*\{" + _PLAIN + rb'"digestStartTime"\s*:')
_OF_CLOUDTRAIL = re.compile(rb'\s*(?:\[|\{\s*"(?:Records|eventVersion|messageType|detail-type)")')
"""How nearly all CloudTrail files begin: spares a look at their first line, which may be all of the file."""
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
        elif kind == ACCESS_AUDIT:
            access_audit.parse(content.removeprefix(_BOM), name, into, limits)
        else:
            lacks = parquet.parse(content, name, into)
    except InputError as error:
        return Reading("", error.what, damage)
    return Reading(kind, "", damage, tuple(lacks))


def fallible(data: bytes, name: str, into: BatchBuilder, limits: Limits) -> dict[str, str]:
    """Read one file; what people are to know of it, with why: `quarantine`, `ignored`, `damaged`.

    A file that is more than a parser can bear must not stop the others: nothing of it stays, and it is `quarantine`.
    """
    mark = into.mark()
    try:
        reading = read(data, name, into, limits)
        into.settle()
    except Exception as error:  # noqa: BLE001  whatever it is, people are told
        into.undo(mark)
        return {"quarantine": f"{type(error).__name__}: {error}"}
    told = {} if reading.kind else {"ignored": reading.reason}
    return told | ({"damaged": reading.damage} if reading.damage else {})


def identify(content: bytes) -> tuple[str, str]:
    """Kind of log, or an empty text and why it is none."""
    if not content or content.isspace():
        return "", "empty"
    if content.startswith(b"PAR1"):
        return PARQUET, ""
    head = content[:HEAD]
    text = head.removeprefix(_BOM).lstrip(b" \t\r\n\x1e")
    lines = _whole_lines(text, cut=len(content) > HEAD)
    if text.startswith((b"{", b"[")):
        return _identify_json(content.removeprefix(_BOM), text, lines)
    if server_access.looks_like(head):
        return SERVER_ACCESS, ""
    if access_audit.looks_like(lines):
        return ACCESS_AUDIT, ""
    return "", (
        "no known log: neither CloudTrail JSON, nor S3 server access log lines, nor an application's audit log (JSON "
        "lines), nor access-record Parquet"
    )


def _identify_json(content: bytes, head: bytes, lines: list[bytes]) -> tuple[str, str]:
    if _DIGEST.match(head):
        return "", "a CloudTrail digest file, not a log"
    if _NOTIFICATION.match(head):
        return "", "an S3 event notification, not a log"
    if not _OF_CLOUDTRAIL.match(head) and access_audit.looks_like(lines[:1]):
        return ACCESS_AUDIT, ""
    if _RECORD.search(head) or _WRAPPED.search(head) or _EMPTY.fullmatch(content):
        return CLOUDTRAIL, ""
    if access_audit.looks_like(lines):
        return ACCESS_AUDIT, ""
    return "", "JSON, but neither CloudTrail records nor an application's audit log"


def _whole_lines(head: bytes, *, cut: bool) -> list[bytes]:
    """The first lines of the beginning of a file; `cut`: there is more of it, and the last of them may be half one."""
    lines = head.split(b"\n", FIRST_LINES)
    return lines[:FIRST_LINES] if len(lines) > FIRST_LINES or not cut else lines[:-1]
