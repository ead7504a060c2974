"""Which of the records that were read count at all: the period asked for, and the log preferred for a bucket. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from detector.core.access import AccessBatch, Log, Skip
from detector.core.globs import glob
from detector.core.watermark import FOREVER, NEVER


@dataclass(frozen=True, slots=True)
class Admission:
    """since, until: epoch seconds, `since <= time < until`. prefer: bucket glob → the log that counts for it."""

    since: int = NEVER
    until: int = FOREVER
    prefer: tuple[tuple[re.Pattern[str], Log], ...] = ()

    @classmethod
    def of(cls, since: int | None, until: int | None, prefer: Mapping[str, str]) -> Admission:
        """From what a user says; names of logs as in the contract."""
        chosen = tuple((glob([pattern]), Log[log]) for pattern, log in prefer.items())
        return cls(NEVER if since is None else since, FOREVER if until is None else until, chosen)

    def apply(self, batch: AccessBatch) -> AccessBatch:
        """The batch with everything that does not count marked as skipped."""
        skip = batch.skip
        outside = (skip == Skip.no) & ((batch.time < self.since) | (batch.time >= self.until))
        if outside.any():
            skip = np.where(outside, np.int8(Skip.outside_period), skip)
        if self.prefer:
            skip = np.where((skip == Skip.no) & self._other_log(batch), np.int8(Skip.other_log_preferred), skip)
        return batch if skip is batch.skip else replace(batch, skip=skip)

    def _other_log(self, batch: AccessBatch) -> np.ndarray[tuple[int], np.dtype[np.bool_]]:
        """Of AWS's two logs the one that does not count; the application's own is no view of a request."""
        buckets = batch.text["bucket"]
        counts = np.full(len(buckets.values) + 1, -1)
        for code, bucket in enumerate(buckets.values):
            counts[code] = next((log for pattern, log in self.prefer if pattern.fullmatch(bucket)), -1)
        wanted = counts[buckets.codes]
        return np.asarray((wanted >= 0) & (wanted != batch.log) & (batch.log != Log.access_audit))
