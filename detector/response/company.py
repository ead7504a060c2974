"""From where, and with which credentials, each session was seen lately: more than a rule sees. Pure.

A session's name in use from two networks, or with credentials of two issue times, may have its owner behind it. A rule
sees what its `where` selects; the owner may do something else, or have done it before the rule's window. So this looks
at all access events, while the daemon may revoke by itself.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from detector.core.access import AccessBatch
from detector.core.net import nets

LATELY = 3600
"""Seconds of event time that count as at once."""
MOST = 200_000
"""Credentials that are remembered, at most."""


class Company:
    """Fingerprint of credentials → networks, and when each was seen last (epoch seconds of event time)."""

    def __init__(self) -> None:
        self._seen: dict[int, dict[str, int]] = {}

    def meet(self, events: AccessBatch) -> None:
        """Take note of a turn's events."""
        known = nets(events)
        rows = np.flatnonzero((events.who >= 0) & (known.codes >= 0))
        if not len(rows):
            return
        pairs = np.stack([events.who[rows], known.codes[rows]])
        places, which = np.unique(pairs, axis=1, return_inverse=True)
        last = np.zeros(places.shape[1], np.int64)
        np.maximum.at(last, which.reshape(-1), events.time[rows])
        for (who, net), second in zip(places.T.tolist(), last.tolist(), strict=True):
            seen = self._seen.setdefault(int(events.prints[who]), {})
            name = known.values[net]
            seen[name] = max(seen.get(name, 0), second)
        if len(self._seen) > MOST:
            self._forget()

    def of(self, prints: Iterable[int], at: int) -> Mapping[int, tuple[str, ...]]:
        """Of these credentials those that were in use about then, each with its networks."""
        found = {}
        for one in prints:
            near = sorted(net for net, second in self._seen.get(one, {}).items() if abs(at - second) <= LATELY)
            if near:
                found[one] = tuple(near)
        return found

    def _forget(self) -> None:
        """Let go of the half that was not seen for the longest time."""
        by_age = sorted(self._seen, key=lambda one: max(self._seen[one].values()))
        for one in by_age[: len(by_age) // 2]:
            del self._seen[one]
