"""Which records a rule counts: its `where`, what its kind adds to that, less what exceptions take out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from detector.core.access import AccessBatch, Index, Mask
from detector.core.addresses import Networks, network
from detector.core.conditions import FURTHER, PRINCIPAL_FIELDS, Keep, having
from detector.core.entitled import Entitlements
from detector.core.globs import glob
from detector.core.principal import Principal
from detector.core.rule import Exemption, Rule, Scope
from detector.core.select import selectors_of
from detector.core.view import BatchView

MEANT = ("session", "role", "account", "session_name")
"""Fields of an exception that say for whom it is."""
BOUND_BY = (*MEANT, "bucket", "key", "purpose")
"""Its fields that mean of a record what they mean in a `where`."""


class Chosen:
    """The records that a rule counts."""

    def __init__(self, rule: Rule) -> None:
        self._selectors = selectors_of(rule)
        self._entitlements = Entitlements(rule) if isinstance(rule, Scope) else None
        self._excepted = [Excepted(exemption) for exemption in rule.bound]
        self.logs = tuple(sorted({log for one in self._selectors for log in one.logs}))

    def rows(self, view: BatchView) -> Index:
        """Those of a batch, in order. Of a rule with several `where` all that any of them chooses."""
        every = [view.rows(one) for one in self._selectors]
        return self.left(view.batch, every[0] if len(every) == 1 else in_order(every, len(view.batch)))

    def left(self, batch: AccessBatch, rows: Index) -> Index:
        """Of rows that a `where` has chosen those that count."""
        for one in self._excepted:
            if len(rows):
                rows = rows[~one.mask(batch, rows)]
        return self._entitlements.outside(batch, rows) if self._entitlements and len(rows) else rows

    def mask(self, view: BatchView) -> Mask:
        """Which rows of a batch."""
        found = np.zeros(len(view.batch), np.bool_)
        found[self.rows(view)] = True
        return found


def in_order(every: Sequence[Index], count: int) -> Index:
    """Rows of a batch of so many that are in any of these, in order."""
    found = np.zeros(count, np.bool_)
    for rows in every:
        found[rows] = True
    return np.flatnonzero(found)


class Excepted:
    """The records that an exception takes out of the count."""

    def __init__(self, exemption: Exemption) -> None:
        self._ends_at = exemption.ends_at
        bound = ((name, getattr(exemption, name)) for name in BOUND_BY)
        self._keeps = [FURTHER[name](patterns) for name, patterns in bound if patterns is not None]
        if exemption.network:
            self._keeps.append(_from(exemption.network))

    def mask(self, batch: AccessBatch, rows: Index) -> Mask:
        """Which of these rows."""
        found: Mask = batch.time[rows] < self._ends_at
        for keep in self._keeps:
            found &= keep(batch, rows)
        return found


def _from(named: tuple[str, ...]) -> Keep:
    """Records from these networks and VPC endpoints."""
    endpoints = frozenset(one for one in named if one.startswith("vpce-"))
    networks = Networks(network(one) for one in named if one not in endpoints)

    def keep(batch: AccessBatch, rows: Index) -> Mask:
        by_address = having(batch.text["source_ip"], rows, networks.__contains__)
        return by_address | having(batch.text["vpc_endpoint"], rows, endpoints.__contains__)

    return keep


def meant(exemption: Exemption) -> Callable[[Principal], bool]:
    """Whether an exception is for a principal: all that it names of one holds."""
    wanted = [
        (PRINCIPAL_FIELDS[name], glob(patterns)) for name in MEANT if (patterns := getattr(exemption, name)) is not None
    ]

    def is_one(principal: Principal) -> bool:
        return all(any(t is not None and e.fullmatch(t) for t in texts(principal)) for texts, e in wanted)

    return is_one
