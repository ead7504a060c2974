"""A rule's `where` as a mask over a batch. Pure. What its fields say is in `conditions.py`."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from functools import lru_cache

import numpy as np

from detector.core.access import OBJECT_MIX, U64, AccessBatch, Index, Log, Mask, text_hash
from detector.core.asked import ABSENT, columns_asked, logs_of
from detector.core.conditions import ALL, FURTHER, codes_of, keeps, kept, operation, outcomes
from detector.core.kinds.sigma import SigmaRule
from detector.core.rule import DecoyRule, Rule, Where


class Selector:
    """The compiled `where` of a rule: first what is told by codes alone, then texts, of the rows that are left.

    first, coarse: equal for two selectors whose first step, or first two, are the same.
    """

    def __init__(self, where: Where) -> None:
        self.logs = logs_of(where)
        self.first: tuple[Hashable, ...] = (where.outcome, self.logs)
        self.coarse: tuple[Hashable, ...] = (*self.first, where.operation)
        self._operations = [] if where.operation is None else [operation(where.operation)]
        self._outcomes = outcomes(where.outcome)
        self._logs = codes_of(Log, [log.name for log in self.logs])
        self._keeps = keeps(where, FURTHER)
        self._unless = keeps(where.unless, ALL) if where.unless else []
        asked_ = columns_asked(where.unless) if where.unless else set()
        silent = [log.name for log in self.logs if asked_ & ABSENT[log]]
        self._tells = ~codes_of(Log, silent)  # what a log never says, it does not deny either

    def mask(self, batch: AccessBatch) -> Mask:
        """Which rows of the batch the rule counts."""
        chosen = np.zeros(len(batch), np.bool_)
        chosen[self.narrow(batch, self.of_operation(batch, self.begin(batch)))] = True
        return chosen

    def begin(self, batch: AccessBatch) -> Index:
        """The rows of the right outcome and kind of log."""
        return np.flatnonzero(self._outcomes[batch.outcome] & self._logs[batch.log])

    def of_operation(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those of the right operation."""
        return kept(batch, rows, self._operations)

    def narrow(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those for which all else holds: principals, texts, what is dearer, and `unless`."""
        rows = kept(batch, rows, self._keeps)
        if self._unless and len(rows):
            rows = rows[self._tells[batch.log[rows]]]
            rows = np.setdiff1d(rows, kept(batch, rows, self._unless), assume_unique=True)
        return rows


@lru_cache(maxsize=1024)
def selector(where: Where) -> Selector:
    """The selector of a `where`: rules that say the same share one."""
    return Selector(where)


class DecoySelector(Selector):
    """The records that take a decoy and are no registered reader's.

    Decoys are looked up by hash, and what is found is compared: a key can be made to have the hash of another.
    """

    def __init__(self, rule: DecoyRule) -> None:
        super().__init__(rule.where)
        places = (one.removeprefix("s3://").partition("/") for one in rule.decoys)
        self._decoys = {(bucket, key) for bucket, _, key in places}
        if not self._decoys:
            self.first = self.coarse = ()
        self._hashes = _object_hashes(self._decoys)
        self._readers = [(selector(reader.where), reader.ends_at) for reader in rule.readers]

    def begin(self, batch: AccessBatch) -> Index:
        """As of others; where no decoy is registered, nothing."""
        return super().begin(batch) if self._decoys else np.zeros(0, np.intp)

    def narrow(self, batch: AccessBatch, rows: Index) -> Index:
        """Of these rows those that take a decoy, and are no reader's."""
        rows = super().narrow(batch, rows)
        if len(rows):
            objects = batch.object_hash(rows)
            near = np.minimum(np.searchsorted(self._hashes, objects), len(self._hashes) - 1)
            rows = rows[self._hashes[near] == objects]
            bucket, key = batch.text["bucket"], batch.text["key"]
            taken = [(bucket.text(row), key.text(row)) in self._decoys for row in rows.tolist()]
            rows = rows[np.array(taken, np.bool_)]
        for reader, ends_at in self._readers if len(rows) else ():
            rows = rows[~reader.mask(batch)[rows] | (batch.time[rows] >= ends_at)]
        return rows


def _object_hashes(objects: Iterable[tuple[str, str]]) -> U64:
    """Sorted hashes of these objects, as `AccessBatch.object_hash` makes them."""
    mix, whole = int(OBJECT_MIX), (1 << 64) - 1
    found = sorted((text_hash(bucket) * mix + text_hash(key)) & whole for bucket, key in objects)
    return np.array(found, np.uint64)


def selectors_of(rule: Rule) -> list[Selector]:
    """Which records a rule looks at: what any of these chooses."""
    if isinstance(rule, DecoyRule):
        return [DecoySelector(rule)]
    if isinstance(rule, SigmaRule):
        from detector.core.sigma_mask import SigmaSelector  # its engine for expressions is there only with Sigma

        return [SigmaSelector(rule)]
    return [selector(where) for where in dict.fromkeys(rule.wheres)]
