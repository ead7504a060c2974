"""Counts the rows of a pane: what is read, and what of it is read for the first time. Pure; it changes nothing.

Rows come by second, so the first row of a key is when it was first met. Whatever depends on a place (role and prefix)
only is worked out once for each place, not for each row.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.view import distinct
from detector.model.channels import DAY, PANE, RARE, SUB_PANE, YOUNG_PREFIX, Counter
from detector.model.facts import NONE, Facts
from detector.model.keymemory import KeyMemory
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
    Event,
    Learnt,
    Rows,
    Who,
    mix,
)

MANY = RARE + 2
"""Readers of a prefix are counted up to here."""
_SECONDS = 34
"""Bits of a second of the day and more, below the number of a group's prefix."""


class Known(NamedTuple):
    """What the panes before left. full: of each role, whether no more prefixes of it are remembered."""

    keys: KeyMemory
    first: Facts
    readers: Facts
    full: Mask


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
    """Each (group, prefix): its key, how many roles had read there before the pane, and how many began to in it.

    of_place: which of them a place is of. begun: when roles began, as (which, second), sorted.
    """

    key: U64
    before: I64
    more: I64
    of_place: Index
    begun: I64


class _Nets(NamedTuple):
    """Rows that count for the three counters of networks; what was first seen when; networks nobody had come from."""

    rows: tuple[Index, Index, Index]
    first: list[tuple[U64, I64]]
    strange: U64


class _Copies(NamedTuple):
    """Rows of copies to where the role (until a day ago) and to where nobody (until midnight) had copied; what was
    first copied to when; all destinations.
    """

    new: Index
    strange: Index
    first: tuple[U64, I64]
    to: U64


def counted(rows: Rows, who: Who, start: int, known: Known) -> Counted:
    """Count the rows of panes. `start`: second the first pane begins at."""
    sub, midnight = (rows.second - start) // SUB_PANE, start // DAY * DAY
    failed, plain = np.flatnonzero(rows.what == ERROR), np.flatnonzero(rows.what == READ)
    reads = np.flatnonzero(rows.what != ERROR)
    keyed = reads[rows.object[reads] != 0]
    places = _places(rows, who, keyed, known)
    at, pairs = _new_keys(rows, who, keyed, places, known)
    peers = _peers(rows, who, places, known, midnight)
    new, near = keyed[at], places.of_row[at]
    young = rows.second[new] - places.touched[near] < YOUNG_PREFIX
    there = near[young]
    rare = _rare(peers, there, rows.second[new[young]] - midnight)
    foreign = _foreign(rows, places, known, midnight)[there]
    nets, copies = _nets(rows, who, known), _copies(rows, who, known)
    begun = places.row[places.new]
    chosen = {
        Counter.reads: reads,
        Counter.errors: failed,
        Counter.active: _active(rows, sub, reads),
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
    events = {counter: Event(rows.role[some], sub[some]) for counter, some in chosen.items()}
    events[Counter.bytes] = Event(rows.role[plain], sub[plain], rows.amount[plain].astype(np.int64))
    today = [mix(ALL_READERS, rows.prefix[begun]), mix(ALL_NET, nets.strange), mix(ALL_TO, copies.to)]
    learnt = Learnt(
        pairs,
        who.slot[rows.role[new]],
        [(places.key[places.new], rows.second[begun]), *nets.first, copies.first],
        _readers(peers),
        who.slot[rows.role[begun]],
        np.sort(np.concatenate(today)),
    )
    return Counted(events, new, learnt)


def _active(rows: Rows, sub: I64, reads: Index) -> Index:
    """The first read of each role and pane."""
    pane, roles = sub[reads] // (PANE // SUB_PANE), int(rows.role.max(initial=0)) + 1
    return reads[distinct(pane * roles + rows.role[reads], (int(pane.max(initial=0)) + 1) * roles)[0]]


def _places(rows: Rows, who: Who, keyed: Index, known: Known) -> _Places:
    role = rows.role[keyed]
    key, at, of_row = np.unique(mix(PREFIX, who.role[role], rows.prefix[keyed]), return_index=True, return_inverse=True)
    row, before, full = keyed[at], known.first.get(key), known.full[role[at]]
    touched = np.where(before != NONE, before, np.where(full, 0, rows.second[row]))
    return _Places(key, row, touched, (before == NONE) & ~full, of_row)


def _new_keys(rows: Rows, who: Who, keyed: Index, places: _Places, known: Known) -> tuple[Index, U64]:
    """Which keyed rows read a key the role had never read; and these (role, key) pairs."""
    role = rows.role[keyed]
    pairs = mix(KEY, who.role[role], rows.object[keyed])
    unique, at = np.unique(pairs, return_index=True)
    new = ~known.keys.known(unique, who.slot[role[at]])
    if known.keys.nbytes:
        full = known.keys.saturated(who.slot)[role[at]]
        new &= ~full | places.new[places.of_row[at]]
    first = np.zeros(len(keyed), np.bool_)
    first[at[new]] = True
    chosen = np.flatnonzero(first)
    return chosen, pairs[chosen]


def _peers(rows: Rows, who: Who, places: _Places, known: Known, midnight: int) -> _Peers:
    key, of_place = np.unique(
        mix(READERS, who.group[rows.role[places.row]], rows.prefix[places.row]), return_inverse=True
    )
    began = of_place[places.new]
    more = np.bincount(began, minlength=len(key))
    begun = np.sort(began << _SECONDS | rows.second[places.row[places.new]] - midnight)
    return _Peers(key, np.maximum(known.readers.get(key), 0), more, of_place, begun)


def _readers(peers: _Peers) -> tuple[U64, I64]:
    """Of the prefixes that a role touched first: (group, prefix), and how many roles have."""
    some = peers.more > 0
    return peers.key[some], np.minimum(peers.before[some] + peers.more[some], MANY)


def _rare(peers: _Peers, places: Index, second: I64) -> Mask:
    """At which of these places hardly a peer reads, at these seconds of the day."""
    which = peers.of_place[places]
    rare: Mask = (peers.before + peers.more)[which] <= RARE
    unsure = np.flatnonzero(~rare & (peers.before[which] <= RARE))  # it depends on who came first
    which = which[unsure]
    starts = np.cumsum(peers.more) - peers.more
    by_then = np.searchsorted(peers.begun, which << _SECONDS | second[unsure], "right") - starts[which]
    rare[unsure] = peers.before[which] + by_then <= RARE
    return rare


def _foreign(rows: Rows, places: _Places, known: Known, midnight: int) -> Mask:
    """Which places were one or two others' by the last midnight."""
    readers = np.maximum(known.readers.get(mix(ALL_READERS, rows.prefix[places.row])), 0)
    others = readers - (places.touched < midnight)
    return (others >= 1) & (others <= RARE)


def _nets(rows: Rows, who: Who, known: Known) -> _Nets:
    there = np.flatnonzero(rows.net != 0)
    mine, at = np.unique(mix(NET, who.role[rows.role[there]], rows.net[there]), return_index=True)
    new, row = known.first.get(mine) == NONE, there[at]
    by_time = np.sort(row)
    ours, at = np.unique(mix(GROUP_NET, who.group[rows.role[by_time]], rows.net[by_time]), return_index=True)
    new_ours, row_ours = known.first.get(ours) == NONE, by_time[at]
    nets = np.unique(rows.net[by_time])
    first = [(mine[new], rows.second[row[new]]), (ours[new_ours], rows.second[row_ours[new_ours]])]
    strange = nets[known.readers.get(mix(ALL_NET, nets)) == NONE]
    return _Nets((row, row[new], row_ours[new_ours]), first, strange)


def _copies(rows: Rows, who: Who, known: Known) -> _Copies:
    copies = np.flatnonzero(rows.what == COPY)
    to = rows.amount[copies]
    unique, at, of_row = np.unique(mix(TO, who.role[rows.role[copies]], to), return_index=True, return_inverse=True)
    before = known.first.get(unique)
    touched = np.where(before != NONE, before, rows.second[copies[at]])
    new = rows.second[copies] - touched[of_row] < DAY
    strange = known.readers.get(mix(ALL_TO, to)) == NONE
    fresh = before == NONE
    return _Copies(copies[new], copies[strange], (unique[fresh], rows.second[copies[at[fresh]]]), np.unique(to))


def _among(some: U64, values: U64) -> Mask:
    """Which of these values are among some, which are sorted."""
    if not len(some):
        return np.zeros(len(values), np.bool_)
    found: Mask = some[np.minimum(np.searchsorted(some, values), len(some) - 1)] == values
    return found
