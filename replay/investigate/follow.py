"""Who else is followed beside whom the question is about: chains of sessions, and the same address. Pure.

Rules of this file
- Forward: every session that a followed one began is followed, from that moment until its credentials ended at the
  latest (`LONGEST_SESSION`). With its access key where the log names it, else by its name within that time.
- Backward: who began a followed session is told. It is followed, about that time, if it called from an address that
  followed sessions used.
- Sideways: what others did at an address that followed sessions used is followed, about that time (`ABOUT`).
- Both ways may be shared by people who have nothing to do with each other: an office's way out, a service that hands
  out sessions to everybody. So they are followed only if in that time at most `FEW` others came that way, and no more
  than are followed; otherwise they are told, and nothing of them is counted. Private addresses, VPC endpoints and AWS's
  own are never followed, nor is anything if followed sessions used more than `ADDRESSES` addresses.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from detector.core.addresses import ip_of
from detector.core.net import is_private
from detector.core.times import iso
from detector.core.watermark import FOREVER
from detector.response.action import LONGEST_SESSION
from replay.cache.indexed import EDGE
from replay.columns import Piece
from replay.investigate.reach import Reach, Why

ABOUT = 6 * 3600
"""Seconds before and after that count as the same time."""
ADDRESSES, FEW = 16, 3
SESSIONS = 1000
"""Sessions that are followed in a chain, at most."""
USE = ("session", "session_key", "role", "access_key", "source_ip", "vpc_endpoint")
"""Columns of a use."""


class Use(NamedTuple):
    """Who came from where, as `USE`."""

    session: str | None
    session_key: str | None
    role: str | None
    access_key: str | None
    source_ip: str | None
    vpc_endpoint: str | None


class Span(NamedTuple):
    """When, and how many requests. Epoch seconds."""

    first: int
    last: int
    requests: int

    def __or__(self, other: object) -> Span:
        if not isinstance(other, Span):
            return NotImplemented
        return Span(min(self.first, other.first), max(self.last, other.last), self.requests + other.requests)


Uses = Mapping[Use, Span]


class Begun(NamedTuple):
    """A call that began a session. caller: its session's key; shown, key, address: as the log names it."""

    time: int
    caller: str
    shown: str
    key: str | None
    address: str | None
    session_key: str
    arn: str
    access_key: str | None

    @classmethod
    def of(cls, edges: Piece, row: int) -> Begun:
        """The call in a row of calls with the columns `EDGE`."""
        text = {name: edges.text(name).text(row) for name in EDGE if name not in ("time", "outcome")}
        key = text["began"] or text["began_arn"] or text["began_key"] or ""
        return cls(
            int(edges.seconds("time")[row]), text["session_key"] or "", text["session"] or "", text["access_key"],
            text["source_ip"], key, text["began_arn"] or key, text["began_key"],
        )  # fmt: skip


@dataclass(slots=True)
class Followed:
    """What was found beside whom the question is about. begun: calls that began followed sessions, by row of the edges.

    callers, addresses: what was looked at for the rule, and what came of it, for people.
    """

    begun: dict[int, Begun] = field(default_factory=dict)
    callers: list[dict[str, Any]] = field(default_factory=list)
    addresses: list[dict[str, Any]] = field(default_factory=list)
    capped: bool = False


def few(others: int, followed: int) -> bool:
    """Whether a way that so many others came is followed, when so many are followed that came it."""
    return others <= min(followed, FEW)


def forward(edges: Piece, reach: Reach, found: Followed) -> bool:
    """Follow the sessions that followed ones began, and those that these began. Whether there was any more."""
    before = len(found.begun)
    good = edges.text("outcome").are("success")
    while len(found.begun) < SESSIONS:
        rows = [row for row in np.flatnonzero((reach.why(edges) > 0) & good).tolist() if row not in found.begun]
        if not rows:
            return len(found.begun) > before
        for row in rows:
            one = found.begun[row] = Begun.of(edges, row)
            _follow(one, reach)
    found.capped = True
    return len(found.begun) > before


def _follow(one: Begun, reach: Reach) -> None:
    until = one.time + LONGEST_SESSION
    names = {name for name in (one.session_key, one.arn) if name}
    if one.access_key:
        reach.add("access_key", [one.access_key], Why.chain, one.time, until)
    elif names:
        reach.add("session_key", names, Why.chain, one.time, until)
    if names:
        reach.add("session_key", names, Why.chain, one.time, until, keyless=True)


def backward(edges: Piece, uses: Uses, reach: Reach, found: Followed) -> bool:
    """Tell who began followed sessions, and follow them by the rule. Whether any is followed now that was not."""
    mine = _public({use.source_ip for use in uses})
    keys = {use.access_key for use in uses if use.access_key}
    sessions = {use.session_key for use in uses if use.session_key}
    rows = _beginning(edges, keys, sessions, found)
    callers = edges.text("session_key")
    told, more = [], False
    for caller, some in sorted(_by_caller(edges, rows).items()):
        of_caller = np.flatnonzero(callers.are(caller)).tolist()
        begun = [Begun.of(edges, row) for row in some]
        first, last = min(one.time for one in begun) - ABOUT, max(one.time for one in begun) + ABOUT
        others = {
            one.session_key
            for one in (Begun.of(edges, row) for row in of_caller)
            if first <= one.time <= last and not (one.access_key in keys or one.session_key in sessions)
        }
        ours = {one.session_key for one in begun}
        same = sorted(_public({one.address for one in begun}) & mine)
        follow = bool(same) and few(len(others), len(ours))
        if follow:
            key = {one.key for one in begun if one.key}
            column, texts = ("access_key", key) if key else ("session_key", {caller})
            reach.add(column, texts, Why.caller, first, last)
            more = True
        told.append(_caller(begun, others, same, follow=follow))
    found.callers = told
    return more


def _beginning(edges: Piece, keys: set[str], sessions: set[str], found: Followed) -> list[int]:
    """Rows of the calls that began these sessions; what followed ones began is told as their chain."""
    named = edges.text("began_key")
    of_key = named.fit(keys.__contains__)
    began = edges.text("began")
    of_name = began.fit(sessions.__contains__) & (named.codes < 0)
    return [row for row in np.flatnonzero(of_key | of_name).tolist() if row not in found.begun]


def _by_caller(edges: Piece, rows: Iterable[int]) -> dict[str, list[int]]:
    column = edges.text("session_key")
    found: dict[str, list[int]] = defaultdict(list)
    for row in rows:
        found[column.text(row) or ""].append(row)
    return found


def _caller(begun: list[Begun], others: set[str], same: list[str], *, follow: bool) -> dict[str, Any]:
    began = sorted({one.arn for one in begun})
    return {
        "caller": begun[0].shown,
        "began": began[:20],
        "began_count": len(began),
        "first": iso(min(one.time for one in begun)),
        "last": iso(max(one.time for one in begun)),
        "same_addresses": same,
        "others_begun": len(others),
        "followed": follow,
    }


def spans(uses: Uses) -> dict[str, Span]:
    """The public addresses that these uses came from, with their time; none if they are too many to follow."""
    found: dict[str, Span] = {}
    for use, span in uses.items():
        for address in _public({use.source_ip}) if use.vpc_endpoint is None else ():
            found[address] = found[address] | span if address in found else span
    return found if len(found) <= ADDRESSES else {}


def sideways(mine: Uses, there: Uses, reach: Reach, found: Followed) -> bool:
    """Tell who else came from the same addresses, and follow what came from there by the rule.

    there: uses from these addresses, about the time of ours. Whether anything is followed now that was not.
    """
    more = False
    for address, span in sorted(spans(mine).items()):
        ours = {use.session_key for use in mine if use.source_ip == address}
        met = {use: one for use, one in there.items() if use.source_ip == address}
        others = {use.session_key for use in met} - ours
        follow = bool(others) and few(len(others), len(ours))
        if follow:
            reach.add("source_ip", [address], Why.same_source, span.first - ABOUT, span.last + ABOUT)
            more = True
        sessions = sorted({use.session or "" for use in met if use.session_key in others})
        found.addresses.append(
            {
                "address": address, "first": iso(span.first), "last": iso(span.last), "followed_sessions": len(ours),
                "others": len(others), "other_sessions": sessions[:20], "followed": follow,
            }
        )  # fmt: skip
    return more


def about(addresses: Mapping[str, Span], since: int | None, until: int | None) -> Reach:
    """Whatever came from these addresses about that time."""
    reach = Reach(since, until)
    for address, span in addresses.items():
        reach.add("source_ip", [address], Why.same_source, span.first - ABOUT, min(span.last + ABOUT, FOREVER))
    return reach


def _public(addresses: Iterable[str | None]) -> set[str]:
    return {one for one in addresses if one and ip_of(one) is not None and not is_private(one)}
