"""What the roles of a pane counted, as values of the channels: x is log(1 + value). Pure arithmetic over all roles."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from detector.core.access import I64, Index
from detector.core.window import F64
from detector.model.channels import CHANNELS, COUNTERS, PANE, SLID, SUB_PANES, WINDOWS, Counter
from detector.model.rows import Counted

_SLID = {counter: at for at, counter in enumerate(SLID)}
_WINDOW = {window: at for at, window in enumerate(WINDOWS)}
_CHANNEL_SLID = np.array([_SLID.get(c.counter, 0) if c.window == PANE else -1 for c in CHANNELS])
_CHANNEL_WINDOW = np.array([_WINDOW.get(c.window, 0) for c in CHANNELS])
_CHANNEL_COUNTER = np.array([int(c.counter) for c in CHANNELS])
_STRANGE = [at for at, c in enumerate(CHANNELS) if c.counter is Counter.strange]
_NEW = [CHANNELS.index(CHANNELS[at]._replace(counter=Counter.new, family="amount")) for at in _STRANGE]
_IS_SLID = np.array([c.window == PANE for c in CHANNELS])


class Past(NamedTuple):
    """What was before a pane, of its roles."""

    before: I64
    """the sub-panes of the pane before: (roles, sub-panes, slid counters)"""
    sums: I64
    """what the hour, the day and the three days before held: (roles, windows, counters)"""
    mean: F64
    """what is usual of x: (roles, channels)"""
    scale: F64
    """how far from it x usually is: (roles, channels)"""

    def of(self, role: int) -> Past:
        """Of one role: without the axis of roles."""
        return Past(*(column[role] for column in self))


@dataclass(frozen=True)
class Pane:
    """What a pane (or the open panes so far) counted: by role, in the order of their keys."""

    slots: Index
    cells: I64
    """(roles, sub-panes, counters)"""
    counted: Counted

    @classmethod
    def of(cls, slots: Index, subs: int, counted: Counted) -> Pane:
        """The cells of these roles: of so many sub-panes."""
        plain = [
            (one.role * subs + one.sub) * COUNTERS + counter
            for counter, one in counted.events.items()
            if one.weight is None
        ]
        cells = np.bincount(np.concatenate(plain), minlength=len(slots) * subs * COUNTERS)
        cells = cells.reshape(len(slots), subs, COUNTERS)
        for counter, one in counted.events.items():
            if one.weight is not None:
                sums = np.bincount(one.role * subs + one.sub, one.weight.astype(np.float64), len(slots) * subs)
                cells[:, :, counter] = sums.reshape(len(slots), subs)
        return cls(slots, cells, counted)

    @cached_property
    def totals(self) -> I64:
        """(roles, counters)"""
        totals: I64 = self.cells.sum(axis=1)
        return totals

    def part(self, first: int, end: int) -> Pane:
        """Of some of the sub-panes."""
        return Pane(self.slots, self.cells[:, first:end], self.counted)

    def seen(self, past: Past) -> F64:
        """Every channel's x at the end of the pane: (roles, channels)."""
        x = _values(_slid(self.cells, past.before).max(axis=1), past.sums + self.totals[:, None, :])
        return _beyond(x, past)


def filling(cells: I64, past: Past) -> F64:
    """Every channel's x of one role at the end of every sub-pane, where it is fresh: (sub-panes, channels)."""
    totals = np.cumsum(cells, axis=0)
    peaks = np.maximum.accumulate(_slid(cells[None], past.before[None])[0], axis=0)
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
    """Five-minute sums at the end of every sub-pane: (roles, sub-panes, slid counters)."""
    running = np.cumsum(np.concatenate([before, cells[:, :, SLID]], axis=1), axis=1)
    sums: I64 = running[:, SUB_PANES:] - running[:, :SUB_PANES]
    return sums


def _values(peaks: I64, held: I64) -> F64:
    """Every channel's x. peaks: (n, slid counters); held: (n, windows, counters)."""
    values = np.where(_IS_SLID, peaks[:, np.maximum(_CHANNEL_SLID, 0)], held[:, _CHANNEL_WINDOW, _CHANNEL_COUNTER])
    return np.log1p(values)
