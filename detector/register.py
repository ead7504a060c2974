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

from detector.core.principal import fingerprint
from detector.core.times import epoch, iso
from detector.errors import EdgeError
from detector.source import Files

SCHEMA = "bucketwatch.case.v1"
Writer = Literal["daemon", "responder", "person"]
WRITERS: tuple[Writer, ...] = ("daemon", "responder", "person")
What = Literal["ordered", "applied", "refused", "failed", "undone", "lifted", "renewed", "changed", "effect"]
NAME = re.compile(r"(daemon|responder|person)/([0-9a-f]{16})/[0-9A-Za-z-]{1,80}\.json")
LONGEST = 1 << 20
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
    """Events of all cases, as one of the writers sees them. `known`: names that were read."""

    def __init__(self, files: Files, writer: Writer) -> None:
        self._files, self._writer = files, writer
        self.known: set[str] = set()

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
        try:
            told = json.loads(self._files.get(name, LONGEST))
        except (ValueError, RecursionError):
            return None
        right = isinstance(told, dict) and told.get("schema") == SCHEMA and told.get("case_id") == match[2]
        return told | {"writer": match[1]} if right and epoch(told.get("at")) is not None else None


def in_order(events: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """By time; of one second what orders before what answers."""
    rank = {"ordered": 0, "applied": 1}
    return sorted(events, key=lambda told: (told["at"], rank.get(told["what"], 2)))


def cases(events: Iterable[Mapping[str, Any]]) -> dict[str, dict[str, Any]]:
    """What stands, from all events: by case the last plan carried out, its state, since when, by whom, its effect."""
    found: dict[str, dict[str, Any]] = {}
    for told in events:
        case = found.setdefault(str(told["case_id"]), {"state": "", "before": {}, "events": []})
        case["events"].append(told)
        what = told["what"]
        if what == "effect":
            case |= {"effect": told["detail"], "last_denied": told.get("last_denied")}
            found[str(told["case_id"])] = case
            continue
        if what == "applied" or (what == "ordered" and case["state"] in ("", "ordered")):
            first = {name: value for name, value in (told.get("before") or {}).items() if value is not None}
            case |= {
                "state": "stands" if what == "applied" else "ordered",
                "plan": told.get("plan") or case.get("plan") or {},
                "since": told["at"],
                "by": told.get("by", ""),
                "before": first | case["before"],
            }
            found[str(told["case_id"])] = case
        elif what in ("undone", "lifted"):
            case["state"], case["ended"], case["ended_by"] = what, told["at"], told.get("by", "")
            case["before"] = {}
        elif what in ("refused", "failed") and case["state"] in ("", "ordered"):
            case["state"] = what
    return found


__all__ = ["SCHEMA", "EdgeError", "Register", "cases", "event", "in_order"]
