"""Counts the rows of panes: what is read, and what of it is read for the first time. Pure.

Rows come by second, so the first row of a key is when it was first met, and panes can be counted together: what is
first met in one of them is known to those after it. Whatever depends on a place (role and prefix) only is worked out
once for each place, not for each row.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.view import distinct
from detector.core.window import grouped, starts_of_runs, steady_order
from detector.model.channels import DAY, PANE, RARE, YOUNG_PREFIX, Counter
from detector.model.facts import NONE, Facts
from detector.model.rows import (
    ALL_NET,
    ALL_READERS,
    ALL_TO,
    COPY,
    ERROR,
    GROUP_NET,
    KEY,
    NET,
    PREFIX,
    READ,
    READERS,
    TO,
    Counted,
    Learnt,
    Rows,
    Who,
    mix,
)

MANY = RARE + 2
"""Readers of a prefix are counted up to here."""
_SECONDS = 34
"""Bits of a second and more, below the number of a group's prefix."""


class Known(NamedTuple):
    """What the panes before left. keys: as `KeyMemory.ask` or `meet`; room: prefixes each role may yet touch first."""

    keys: Callable[[U64, Index, Mask, I64], Mask]
    first: Facts
    readers: Facts
    room: I64


class _Places(NamedTuple):
    """Each (role, prefix): its key, first row, when it was first touched, whether it is new; and the place of each
    keyed row.
    """

    key: U64
    row: Index
    touched: I64
    new: Mask
    of_row: Index


class _Peers(NamedTuple):
    """Each (group, prefix): its key, how many roles had read there before the panes, and how many began to in them.

    of_place: which of them a place is of.
    """

    key: U64
    before: I64
    more: I64
    of_place: Index


class _Nets(NamedTuple):
    """Rows that count for the three counters of networks; what was first seen when; networks nobody had come from, and
    each of them once a pane.
    """

    rows: tuple[Index, Index, Index]
    first: list[tuple[U64, I64]]
    strange: U64
    today: U64


class _Copies(NamedTuple):
    """Rows of copies to where the role (until a day ago) and to where nobody (until midnight) had copied; what was
    first copied to when; all destinations, each once a pane.
    """

    new: Index
    strange: Index
    first: tuple[U64, I64]
    today: U64


def counted(rows: Rows, who: Who, start: int, known: Known, *, apart: bool) -> Counted:
    """Count the rows of panes. start: second the first begins at.

    apart: each as if it were sealed alone, so that a network counts in every pane, and what has no room left in memory
    in the first pane only. Else they are as one to all but the windows.
    """
    midnight, number = start // DAY * DAY, (rows.second - start) // PANE
    pane = number if apart else np.zeros_like(number)
    failed, plain = np.flatnonzero(rows.what == ERROR), np.flatnonzero(rows.what == READ)
    reads = np.flatnonzero(rows.what != ERROR)
    keyed = reads[rows.object[reads] != 0]
    places = _places(rows, who, keyed, known, pane)
    at = _new_keys(rows, who, keyed, places, known, pane)
    peers = _peers(rows, who, places, known)
    new, near = keyed[at], places.of_row[at]
    young = rows.second[new] - places.touched[near] < YOUNG_PREFIX
    there = near[young]
    rare = _rare(rows, places, peers, there, new[young])
    foreign = _foreign(rows, places, there, known, midnight)
    nets, copies = _nets(rows, who, known, pane), _copies(rows, who, known, pane)
    begun = places.row[places.new]
    chosen = {
        Counter.reads: reads,
        Counter.bytes: plain,
        Counter.errors: failed,
        Counter.active: reads[_once(number[reads], rows.role[reads])],
        Counter.new: new,
        Counter.prefixes: begun,
        Counter.young: new[young],
        Counter.rare: new[young][rare],
        Counter.foreign: new[young][foreign],
        Counter.nets: nets.rows[0],
        Counter.new_nets: nets.rows[1],
        Counter.group_nets: nets.rows[2],
        Counter.strange: new[_among(nets.strange, rows.net[new])],
        Counter.new_copies: copies.new,
        Counter.strange_copies: copies.strange,
    }
    today = [mix(ALL_READERS, rows.prefix[begun]), mix(ALL_NET, nets.today), mix(ALL_TO, copies.today)]
    learnt = Learnt(
        [(places.key[places.new], rows.second[begun]), *nets.first, copies.first],
        _readers(peers),
        who.slot[rows.role[begun]],
        np.sort(np.concatenate(today)),
    )
    return Counted(chosen, learnt)


def _once(pane: I64, what: I64) -> Index:
    """The first row of each of these small numbers in each pane."""
    many = int(what.max(initial=0)) + 1
    return distinct(pane * many + what, (int(pane.max(initial=0)) + 1) * many)[0]


def _places(rows: Rows, who: Who, keyed: Index, known: Known, pane: I64) -> _Places:
    role = rows.role[keyed]
    key, at, of_row = grouped(mix(PREFIX, who.role[role], rows.prefix[keyed]))
    row, before = keyed[at], known.first.get(key)
    unknown = before == NONE
    full = np.zeros(len(key), np.bool_)
    full[unknown] = _full(role[at[unknown]], pane[row[unknown]], known.room)
    touched = np.where(unknown, np.where(full, 0, rows.second[row]), before)
    return _Places(key, row, touched, unknown & ~full, of_row)


def _full(role: Index, pane: I64, room: I64) -> Mask:
    """Which places that roles touch for the first time they have no room for: the panes before took it."""
    full = np.zeros(len(role), np.bool_)
    short = np.flatnonzero((np.bincount(role, minlength=len(room)) > room)[role])
    if not len(short):
        return full
    order = short[np.lexsort((pane[short], role[short]))]
    role, pane = role[order], pane[order]
    of_role, of_pane = (_begins(starts_of_runs(*by), len(order)) for by in ((role,), (role, pane)))
    full[order] = of_pane - of_role >= room[role]
    return full


def _begins(starts: Index, rows: int) -> Index:
    """Where the run of each row begins."""
    return np.repeat(starts, np.diff(starts, append=rows))


def _new_keys(rows: Rows, who: Who, keyed: Index, places: _Places, known: Known, pane: I64) -> Index:
    """Which keyed rows read a key the role had never read, by time."""
    role = rows.role[keyed]
    unique, at, _ = grouped(mix(KEY, who.role[role], rows.object[keyed]))
    by_time = steady_order(at)
    pairs, at = unique[by_time], at[by_time]
    row, place = keyed[at], places.of_row[at]
    elsewhere = places.new[place] & (pane[row] == pane[places.row[place]])
    new = known.keys(pairs, who.slot[role[at]], elsewhere, pane[row])
    return at[new]


def _peers(rows: Rows, who: Who, places: _Places, known: Known) -> _Peers:
    key, _, of_place = grouped(mix(READERS, who.group[rows.role[places.row]], rows.prefix[places.row]))
    more = np.bincount(of_place[places.new], minlength=len(key))
    return _Peers(key, np.maximum(known.readers.get(key), 0), more, of_place)


def _readers(peers: _Peers) -> tuple[U64, I64]:
    """Of the prefixes that a role touched first: (group, prefix), and how many roles have."""
    some = peers.more > 0
    return peers.key[some], np.minimum(peers.before[some] + peers.more[some], MANY)


def _rare(rows: Rows, places: _Places, peers: _Peers, asked: Index, row: Index) -> Mask:
    """At which of these places hardly a peer reads by the time of these rows."""
    which = peers.of_place[asked]
    rare: Mask = (peers.before + peers.more)[which] <= RARE
    unsure = np.flatnonzero(~rare & (peers.before[which] <= RARE))  # it depends on who came first
    which = which[unsure]
    doubted = np.bincount(which, minlength=len(peers.key)) > 0
    begun = places.new & doubted[peers.of_place]
    when = np.sort(peers.of_place[begun] << _SECONDS | rows.second[places.row[begun]])
    until = np.searchsorted(when, which << _SECONDS | rows.second[row[unsure]], "right")
    rare[unsure] = peers.before[which] + until - np.searchsorted(when, which << _SECONDS) <= RARE
    return rare


def _foreign(rows: Rows, places: _Places, asked: Index, known: Known, midnight: int) -> Mask:
    """Which of these places were one or two others' by the last midnight."""
    foreign = np.zeros(len(places.key), np.bool_)
    some = np.flatnonzero(np.bincount(asked, minlength=len(foreign)))
    readers = np.maximum(known.readers.get(mix(ALL_READERS, rows.prefix[places.row[some]])), 0)
    others = readers - (places.touched[some] < midnight)
    foreign[some] = (others >= 1) & (others <= RARE)
    return foreign[asked]


def _nets(rows: Rows, who: Who, known: Known, pane: I64) -> _Nets:
    there = np.flatnonzero(rows.net != 0)
    mine, at, of_row = grouped(mix(NET, who.role[rows.role[there]], rows.net[there]))
    row, each = there[at], there[_once(pane[there], of_row)]
    by_time = np.sort(row)
    ours, at, _ = grouped(mix(GROUP_NET, who.group[rows.role[by_time]], rows.net[by_time]))
    new, new_ours = np.split(known.first.get(np.concatenate([mine, ours])) == NONE, [len(mine)])
    begun, begun_ours = row[new], by_time[at[new_ours]]
    nets = np.unique(rows.net[by_time])
    strange = nets[known.readers.get(mix(ALL_NET, nets)) == NONE]
    first = [(mine[new], rows.second[begun]), (ours[new_ours], rows.second[begun_ours])]
    today = each[_among(strange, rows.net[each])]
    return _Nets((each, begun, begun_ours), first, strange, _by_pane(pane[today], rows.net[today]))


def _copies(rows: Rows, who: Who, known: Known, pane: I64) -> _Copies:
    copies = np.flatnonzero(rows.what == COPY)
    to = rows.amount[copies]
    if not len(copies):
        return _Copies(copies, copies, (to, rows.second[copies]), to)
    unique, at, of_row = grouped(mix(TO, who.role[rows.role[copies]], to))
    before = known.first.get(unique)
    touched = np.where(before != NONE, before, rows.second[copies[at]])
    new = rows.second[copies] - touched[of_row] < DAY
    strange = known.readers.get(mix(ALL_TO, to)) == NONE
    fresh = before == NONE
    first = unique[fresh], rows.second[copies[at[fresh]]]
    return _Copies(copies[new], copies[strange], first, _by_pane(pane[copies], to))


def _by_pane(pane: I64, hashes: U64) -> U64:
    """These hashes, each once in a pane."""
    return hashes[_once(pane, np.unique(hashes, return_inverse=True)[1])] if len(hashes) else hashes


def _among(some: U64, values: U64) -> Mask:
    """Which of these values are among some, which are sorted."""
    if not len(some):
        return np.zeros(len(values), np.bool_)
    found: Mask = some[np.minimum(np.searchsorted(some, values), len(some) - 1)] == values
    return found
