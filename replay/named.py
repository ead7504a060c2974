"""What a replay's baseline findings show of places, from a second look at the records behind them.

To keep what every prefix of a log is called, for the few that findings show, would cost more than all else about them.
So the watch holds hashes, and its findings do until here. Panes are looked at from beginning to end: what they had is
in their counts also where the finding ends before they do.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from itertools import count

import numpy as np

from detector.core.access import U64, Index
from detector.core.finding import Finding
from detector.core.view import BatchView, folders_of
from detector.model.feed import as_kept
from detector.model.judgement import PLACES, named


class Names:
    """Texts of the hashes that some findings hold. numbers: of the findings that hold any, among all."""

    def __init__(self, findings: Iterable[Finding]) -> None:
        hashes = [_hashes(finding) for finding in findings]
        self.numbers = [number for number, some in zip(count(), hashes) if len(some)]
        self._wanted = [hashes[number] for number in self.numbers]
        self._texts: list[dict[int, str]] = [{} for _ in self.numbers]

    def add(self, at: int, view: BatchView, rows: Index) -> None:
        """Look for those of the finding `numbers[at]` in these rows, which are behind it."""
        wanted, texts = self._wanted[at], self._texts[at]
        if len(texts) == len(wanted):
            return
        for column in (folders_of(view.batch, rows), view.nets().take(rows)):
            each = column.each()
            hashes = each.hashes()
            found = np.flatnonzero(np.isin(hashes, wanted))
            kept = as_kept([column.values[code] for code in each.codes[found].tolist()])
            texts.update(zip(hashes[found].tolist(), (text.decode("utf-8", "replace") for text in kept), strict=True))

    def told(self, findings: Sequence[Finding]) -> list[Finding]:
        """The findings with texts in place of hashes."""
        out = list(findings)
        for number, texts in zip(self.numbers, self._texts, strict=True):
            details = out[number].details
            out[number] = replace(out[number], details=details | {"baseline": named(details["baseline"], texts)})
        return out


def _hashes(finding: Finding) -> U64:
    baseline = finding.details.get("baseline", {})
    held = {one for name in PLACES for one, _ in baseline.get(name, ()) if isinstance(one, int)}
    return np.array(sorted(held), np.uint64)
