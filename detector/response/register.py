"""The register of cases: what was revoked, found of it, and taken back, as files that are only ever added. No I/O here.

Daemon, responder and people each write below a name of their own, and read what the others wrote; so nobody has to
wait for anybody, and rights can be given by prefix. Whoever reads puts the events in the order of their times.

An event is JSON: `schema`, `case_id`, `at`, `what`, `by`, `detail`; with `plan`, `before` and `finding` where one was
ordered or carried out. The daemon journals what others wrote.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Literal

import msgspec

from detector.core.principal import fingerprint
from detector.core.times import epoch, iso
from detector.response.action import action_of
from detector.source import Files

SCHEMA = "bucketwatch.case.v1"
Writer = Literal["daemon", "responder", "person"]
WRITERS: tuple[Writer, ...] = ("daemon", "responder", "person")
What = Literal["ordered", "begun", "applied", "refused", "failed", "undone", "lifted", "changed", "effect"]
"""begun: what was there has been read, and is being written."""
NAME = re.compile(r"(daemon|responder|person)/([0-9a-f]{16})/[0-9A-Za-z-]{1,80}\.json")
LONGEST = 4 << 20
"""Bytes of an event: what is longer is none."""


def event(case_id: str, what: What, *, at: float, by: str, detail: str = "", **more: Any) -> dict[str, Any]:
    """One thing that happened. at: epoch seconds."""
    return {
        "schema": SCHEMA,
        "case_id": case_id,
        "at": iso(int(at)),
        "what": what,
        "by": by,
        "detail": detail,
        **{name: value for name, value in more.items() if value},
    }


class Register:
    """Events of all cases, as one of the writers sees them. `known`: names that were read; `unread`: files that are no
    event, though they are called like one.
    """

    def __init__(self, files: Files, writer: Writer) -> None:
        self._files, self._writer = files, writer
        self.known: set[str] = set()
        self.unread: list[str] = []

    def add(self, told: Mapping[str, Any]) -> str:
        """Keep an event; where it is. Raises EdgeError. An `effect` takes the place of the one before."""
        what, text = str(told["what"]), json.dumps(told, indent=1)
        when = re.sub(r"[-:]", "", str(told["at"]))
        known_by = "effect" if what == "effect" else f"{when}-{what}-{fingerprint((text,)) & 0xFFFFFFFF:08x}"
        name = f"{self._writer}/{told['case_id']}/{known_by}.json"
        where = self._files.put(name, text.encode())
        self.known.add(name)
        return where

    def new(self, *writers: Writer) -> list[dict[str, Any]]:
        """What others (or these of them) wrote since the last call, by time.

        Raises EdgeError; what it had read is then read again.
        """
        others = writers or tuple(one for one in WRITERS if one != self._writer)
        names = [name for writer in others for name in self._files.names(f"{writer}/") if name not in self.known]
        found = [(name, self._read(name)) for name in names if not name.endswith("/effect.json")]
        self.known.update(name for name, _ in found)
        return in_order(one for _, one in found if one is not None)

    def all(self) -> list[dict[str, Any]]:
        """Everything there is, by time. Raises EdgeError."""
        names = self._files.names()
        self.known.update(names)
        return in_order(one for one in map(self._read, names) if one is not None)

    def _read(self, name: str) -> dict[str, Any] | None:
        """An event; None for a file that is none, or does not lie where its own words say."""
        match = NAME.fullmatch(name)
        if match is None:
            return None
        told = sound(self._files.get(name, LONGEST))
        if told is None or told["case_id"] != match[2]:
            self.unread.append(name)
            return None
        return told | {"writer": match[1]}

    def last_denied(self, case_id: str) -> int:
        """Epoch second of the last refusal that the daemon has told of; 0 if it told of none. Raises EdgeError."""
        name = f"daemon/{case_id}/effect.json"
        told = self._read(name) if name in self._files.names(f"daemon/{case_id}/") else None
        return epoch((told or {}).get("last_denied")) or 0


class _Finding(msgspec.Struct):
    """What is kept of a finding: nothing else is read of it."""

    alert_id: str = ""
    rule_id: str = ""
    title: str = ""
    severity: str = ""
    kind: str = ""
    opened_at: str = ""
    last_at: str = ""
    window_seconds: int = 0
    group: dict[str, str] | None = None
    principal: dict[str, str | int | float | bool | list[str] | None] | None = None
    respond: list[str] = msgspec.field(default_factory=list)


class _Event(msgspec.Struct):
    schema: Literal["bucketwatch.case.v1"]
    case_id: str
    at: str
    what: What
    by: str = ""
    detail: str = ""
    reason: str = ""
    last_denied: str = ""
    plan: dict[str, Any] | None = None
    before: dict[str, str | None] = msgspec.field(default_factory=dict)
    finding: _Finding | None = None
    logs: list[str] = msgspec.field(default_factory=list)


_EVENT = msgspec.json.Decoder(_Event)


def sound(data: bytes) -> dict[str, Any] | None:
    """An event as `event` makes it, from bytes that anybody may have written; None for anything else.

    A plan in it has only actions that bucketwatch itself would write for its case.
    """
    try:
        told = _EVENT.decode(data)
        if epoch(told.at) is None or any(not name or "\0" in name for name in told.logs):
            return None
        if told.plan is not None:
            actions = [action_of(action, told.case_id).to_json() for action in told.plan["actions"]]
            if told.plan["case_id"] != told.case_id or not actions:
                return None
        found: dict[str, Any] = msgspec.to_builtins(told)
        msgspec.msgpack.encode(found)
    except (msgspec.MsgspecError, ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError):
        return None
    return {name: value for name, value in found.items() if value not in (None, "", {}, [])}


def in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By time; of one second what orders before what answers."""
    rank = {"ordered": 0, "begun": 1, "applied": 2}
    return sorted(events, key=lambda told: (told["at"], rank.get(told["what"], 3)))


STATES = {"applied": "stands", "ordered": "ordered"}


def cases(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What stands, from all events: by case the last plan carried out, its state, since when, by whom, its effect."""
    found: dict[str, dict[str, Any]] = {}
    for told in events:
        case = found.setdefault(str(told["case_id"]), {"state": "", "before": {}, "events": []})
        case["events"].append(told)
        what = told["what"]
        if what == "effect":
            case["effect"] = told.get("detail", "")
            continue
        if what in ("applied", "begun") or (what == "ordered" and case["state"] in ("", "ordered")):
            first = {name: value for name, value in (told.get("before") or {}).items() if value is not None}
            case |= {
                "state": STATES.get(what, "stands" if case["state"] == "stands" else "begun"),
                "plan": told.get("plan") or case.get("plan") or {},
                "since": told["at"],
                "by": told.get("by", ""),
                "writer": told.get("writer", ""),
                "before": first | case["before"],
            }
        elif what in ("undone", "lifted"):
            case["state"], case["ended"], case["ended_by"] = what, told["at"], told.get("by", "")
            case["before"] = {}
        elif what in ("refused", "failed") and case["state"] in ("", "ordered", "begun"):
            case["state"] = what
    return found
