"""Which records a rule counts: its `where`, what its kind adds to that, less what exceptions take out. Pure."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_address, ip_network
from typing import Any

import numpy as np

from detector.core.access import AccessBatch, Column, Index, Mask
from detector.core.conditions import PRINCIPAL_FIELDS, matching, of_principals
from detector.core.entitled import Entitlements
from detector.core.globs import glob
from detector.core.principal import Principal
from detector.core.rule import Exemption, Rule, Scope
from detector.core.select import selectors_of
from detector.core.view import BatchView


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
        self._exemption = exemption
        self._is_one, self._known = meant(exemption), dict[int, bool]()
        self._texts = {
            name: glob(patterns, path=name == "key")
            for name in ("bucket", "key", "purpose")
            if (patterns := getattr(exemption, name)) is not None
        }
        self._networks = Networks(exemption.network) if exemption.network else None

    def mask(self, batch: AccessBatch, rows: Index) -> Mask:
        """Which of these rows."""
        found = of_principals(batch, rows, self._is_one, self._known) & (batch.time[rows] < self._exemption.ends_at)
        for name, wanted in self._texts.items():
            found &= matching(batch.text[name], rows, wanted)
        return found & self._networks.mask(batch, rows) if self._networks else found


class Networks:
    """Networks and VPC endpoints that a rule names."""

    def __init__(self, named: tuple[str, ...]) -> None:
        self._endpoints = frozenset(one for one in named if one.startswith("vpce-"))
        self._networks = [ip_network(one) for one in named if one not in self._endpoints]
        self._holds = lru_cache(maxsize=1 << 16)(self._has)

    def mask(self, batch: AccessBatch, rows: Index) -> Mask:
        """Which of these rows come from there."""
        by_address = _by_text(batch.text["source_ip"], rows, self._holds)
        return by_address | _by_text(batch.text["vpc_endpoint"], rows, self._endpoints.__contains__)

    def _has(self, address: str) -> bool:
        ip = _address(address)
        return ip is not None and any(ip in network for network in self._networks)


def _address(text: str) -> Any:
    """An IP address, of IPv4 even if written as IPv6; None for anything else."""
    try:
        ip = ip_address(text)
    except ValueError:
        return None
    return getattr(ip, "ipv4_mapped", None) or ip


def _by_text(column: Column, rows: Index, holds: Callable[[str], bool]) -> Mask:
    """Which of these rows have a text of which this holds; each distinct text is asked about once."""
    codes, of_row = np.unique(column.codes[rows], return_inverse=True)
    return np.array([code >= 0 and holds(column.values[code]) for code in codes.tolist()], np.bool_)[of_row]


def meant(exemption: Exemption) -> Callable[[Principal], bool]:
    """Whether an exception is for a principal: all that it names of one holds."""
    wanted = [
        (PRINCIPAL_FIELDS[name], glob(patterns))
        for name in ("session", "role", "account", "session_name")
        if (patterns := getattr(exemption, name)) is not None
    ]

    def is_one(principal: Principal) -> bool:
        return all(any(t is not None and e.fullmatch(t) for t in texts(principal)) for texts, e in wanted)

    return is_one
