"""What the roles of panes counted, as values of the channels: x is log(1 + value). Pure arithmetic over all roles."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, Index
from detector.core.view import distinct
from detector.core.window import F64, starts_of_runs
from detector.model.channels import CHANNELS, COUNTERS, PANE, SLID, SUB_PANE, SUB_PANES, WINDOWS, Counter
from detector.model.rows import Counted, Rows

_SLID = {counter: at for at, counter in enumerate(SLID)}
_WINDOW = {window: at for at, window in enumerate(WINDOWS)}
_PLACE = np.array(
    [_SLID[c.counter] if c.window == PANE else len(SLID) + _WINDOW[c.window] * COUNTERS + c.counter for c in CHANNELS]
)
"""Where a channel's value lies behind the peaks of a pane and the sums of windows, one after the other."""
_CHANNEL_COUNTER = np.array([int(c.counter) for c in CHANNELS])
_STRANGE = [at for at, c in enumerate(CHANNELS) if c.counter is Counter.strange]
_NEW = [CHANNELS.index(CHANNELS[at]._replace(counter=Counter.new, family="amount")) for at in _STRANGE]


class Past(NamedTuple):
    """What was before a pane, of its roles."""

    before: I64
    """the sub-panes of the pane before: (roles, slid counters, sub-panes)"""
    sums: I64
    """what the hour, the day and the three days before held: (roles, windows, counters)"""
    mean: F64
    """what is usual of x: (roles, channels)"""
    scale: F64
    """how far from it x usually is: (roles, channels)"""

    def of(self, role: int) -> Past:
        """Of one role: without the axis of roles."""
        return Past(*(column[role] for column in self))


class Slid(NamedTuple):
    """The sub-panes of the pane from second `start` on. cells: (roles, slid counters, sub-panes)"""

    start: int
    slots: Index
    cells: I64

    def before(self, start: int, slots: Index) -> I64:
        """What of these roles' lies right before the pane from `start` on."""
        out = np.zeros((len(slots), *self.cells.shape[1:]), np.int64)
        if self.start == start - PANE and len(self.slots):
            order = np.argsort(self.slots)
            place = order[np.minimum(np.searchsorted(self.slots, slots, sorter=order), len(order) - 1)]
            hit = self.slots[place] == slots
            out[hit] = self.cells[place[hit]]
        return out


@dataclass(frozen=True)
class Pane:
    """What a pane counted: by role that has a row in it, in the order of their keys.

    start: its first second. role: which of the roles of its rows each is. totals: (roles, counters).
    """

    start: int
    role: Index
    slots: Index
    totals: I64
    slid: Slid

    def seen(self, past: Past) -> F64:
        """Every channel's x at the end of the pane: (roles, channels)."""
        peaks = _slid(self.slid.cells, past.before).max(axis=2)
        return _beyond(_values(peaks, past.sums + self.totals[:, None, :]), past)


def panes(rows: Rows, slots: Index, start: int, counted: Counted) -> list[Pane]:
    """What each pane from `start` on counted, those that have a row. slots: of the roles of the rows."""
    sub = (rows.second - start) // SUB_PANE
    pane, sub = np.divmod(sub, SUB_PANES)
    first, at = distinct(pane * len(slots) + rows.role, (int(pane.max(initial=0)) + 1) * len(slots))
    cell, many = at * SUB_PANES + sub, len(first)
    slid = np.zeros((many, len(SLID), SUB_PANES), np.int64)
    totals = np.zeros((many, COUNTERS), np.int64)
    for counter, some in counted.rows.items():
        if not len(some):
            continue
        if counter in _SLID:
            weights = rows.amount[some].astype(np.float64) if counter is Counter.bytes else None
            cells = np.bincount(cell[some], weights, many * SUB_PANES)
            slid[:, _SLID[counter]] = cells.reshape(many, SUB_PANES)
        else:
            totals[:, counter] = np.bincount(at[some], minlength=many)
    totals[:, SLID] = slid.sum(axis=2)
    return [
        _cut(start + int(pane[first[one]]) * PANE, rows.role[first[one:end]], slots, totals[one:end], slid[one:end])
        for one, end in pairwise([*starts_of_runs(pane[first]).tolist(), many])
    ]


def _cut(start: int, role: Index, slots: Index, totals: I64, slid: I64) -> Pane:
    return Pane(start, role, slots[role], totals, Slid(start, slots[role], slid))


def filling(cells: I64, past: Past) -> F64:
    """Every channel's x of one role at the end of every sub-pane, where it is fresh: (sub-panes, channels)."""
    totals = np.cumsum(cells, axis=0)
    peaks = np.maximum.accumulate(_slid(cells[:, SLID].T, past.before), axis=1).T
    return fresh(_beyond(_values(peaks, past.sums + totals[:, None, :]), past), totals)


def fresh(x: F64, totals: I64) -> F64:
    """A pane that adds nothing to a window says nothing of it. totals: (n, counters) of the pane so far."""
    return np.where(totals[:, _CHANNEL_COUNTER] > 0, x, 0.0)


def scales(x: F64, past: Past) -> F64:
    """How many scales above what is usual; 0 where it is not."""
    return np.where((x > past.mean) & (x > 0.0), (x - past.mean) / past.scale, 0.0)


def _beyond(x: F64, past: Past) -> F64:
    """From a strange network only what is more than the role's usual new keys says anything: else it just moved."""
    usual = np.expm1(past.mean[..., _NEW] + past.scale[..., _NEW])
    x[:, _STRANGE] = np.log1p(np.maximum(0.0, np.expm1(x[:, _STRANGE]) - usual))
    return x


def _slid(cells: I64, before: I64) -> I64:
    """Five-minute sums at the end of every sub-pane: (…, slid counters, sub-panes)."""
    running = np.cumsum(np.concatenate([before, cells], axis=-1), axis=-1)
    sums: I64 = running[..., SUB_PANES:] - running[..., :SUB_PANES]
    return sums


def _values(peaks: I64, held: I64) -> F64:
    """Every channel's x. peaks: (n, slid counters); held: (n, windows, counters)."""
    values: F64 = np.log1p(np.concatenate([peaks, held.reshape(len(held), -1)], axis=1)[:, _PLACE])
    return values
