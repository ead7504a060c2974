"""What a threshold rule counts in history, whatever its threshold and window: read once, asked often.

A summary holds the rule's tallies as the engine made them (duplicates gone, of differing copies the best), a row each
(group, second, credentials, item). Nothing in it depends on the rule's threshold, window, exceptions or wording.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec
import numpy as np

from detector.core.access import I32, I64, U64, Mask
from detector.core.engine import Engine, Watch
from detector.core.finding import Finding
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import Principal
from detector.core.rule import DISTINCT_MEASURES, Rule, Threshold
from detector.core.runs import concat
from detector.core.threshold import ThresholdWatch
from detector.core.view import BatchView
from detector.core.window import starts_of_runs
from replay.files import Files
from replay.options import Options
from replay.reader import Reads
from replay.run import Count, count, not_evaluated
from replay.scratch import Scratch

HOUR, DAY = 3600, 86_400
NEVER_AGAIN = 1 << 40
"""As the second of a member's next sighting: there is none. Later than any second, and far from overflowing."""
_KEY = msgspec.msgpack.Decoder(list[str]).decode

Keys = Sequence[tuple[str, ...]]


@dataclass(frozen=True)
class Summary:
    """Rows sorted by group, then second.

    starts: first row of every group, then the number of rows. second: epoch seconds. who: credentials, as a place in
    `principals`, -1 for nobody. item: an amount, or a member's hash (0: a matching record that has no such member).
    again: of distinct measures the second at which the group's member is seen next, else empty. keys, shown: of every
    group, a text a level: what it is, and what a person is shown. first, last: event time of all access events in
    history, whether the rule counts them or not. lacking: what logs the rule could not look at lacked.
    """

    starts: I64
    second: I64
    who: I32
    item: U64
    again: I64
    keys: Keys
    shown: Keys
    principals: list[Principal]
    records: int
    events: int
    first: int
    last: int
    lacking: list[dict[str, Any]]

    def __len__(self) -> int:
        return len(self.second)

    @property
    def groups(self) -> int:
        """How many groups there are."""
        return len(self.keys)

    @property
    def days(self) -> float:
        """Length of history in days, at least one."""
        return max(1.0, (self.last - self.first + 1) / DAY)

    @cached_property
    def group(self) -> I32:
        """The group of every row, by its number."""
        return np.repeat(np.arange(self.groups, dtype=np.int32), np.diff(self.starts))

    def blocks(self, rows: int) -> Iterator[tuple[int, int]]:
        """Groups from a number to before another that have about so many rows together."""
        first = 0
        while first < self.groups:
            end = int(np.searchsorted(self.starts, self.starts[first] + rows, "right")) - 1
            end = min(max(end, first + 1), self.groups)
            yield first, end
            first = end

    def of(self, matches: Mask) -> Mask:
        """The rows of these principals."""
        return np.append(matches, False)[self.who]


class HistoryWatch(ThresholdWatch):
    """Keeps what a rule counts, second by second, and judges nothing."""

    shares = False

    def absorb(self, view: BatchView, late: Mask) -> None:  # noqa: ARG002  as all watches
        """Keep the rows of a batch that the rule is about."""
        rows = view.of_groups(self.chosen.rows(view), self.rule.grouping)
        if not len(rows):
            return
        groups, keys = view.groups(self.rule.grouping)
        view.tally(self._counted.tallies, rows, self.rule.grouping, self.items(view))
        met = np.unique(groups[rows])
        self.name_groups(met, np.full(len(met), view.time[rows].max()), keys)

    nothing: Run = (np.zeros(0, np.uint64), np.zeros(0, np.int64), np.zeros(0, np.uint64), np.zeros(0, np.uint64))

    def judge(self) -> list[Finding]:
        """Nothing is judged."""
        return []

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._counted.tallies, self._keys]

    def runs(self, first: int, last: int) -> Iterator[Run]:
        """All rows, by group and second, many groups at a time."""
        return self._counted.tallies.slices(first, last)

    def keys_of(self, groups: U64) -> list[tuple[str, ...]]:
        """The keys of these groups."""
        texts = self._keys.of(groups)
        return [tuple(_KEY(texts[group])) for group in groups.tolist()]


class History:
    """Reads history for one rule."""

    def __init__(self, rule: Threshold, options: Options, scratch: Scratch) -> None:
        self._rule = rule
        self._watch = HistoryWatch(rule, People(), once=True)
        self.counted = Count([rule], options, scratch, self._begun)

    def summary(self, lacking: Iterable[tuple[str, ...]] = ()) -> Summary:
        """What was read so far. lacking: of the Parquet files among it."""
        engine = self.counted.engine
        unseen = [
            {"log": one["log"], "missing": one["missing"]}
            for one in not_evaluated([self._rule], engine.logs_seen, lacking, model=True)
        ]
        return _summary(self._watch, engine, unseen)

    def _begun(self, _: Rule, people: People) -> Watch:
        self._watch = HistoryWatch(self._rule, people, once=True)
        return self._watch


def summarise(files: Files, rule: Threshold, options: Options) -> tuple[Summary, Reads, Mapping[str, str]]:
    """Read history. What came of each file, and why the rule failed if it did, come with it."""
    with Scratch(options.tmp) as scratch:
        history = History(rule, options, scratch)
        reads = count(files, [history.counted], options)
        return history.summary(reads.lacks), reads, history.counted.engine.failures


def _summary(watch: HistoryWatch, engine: Engine, lacking: list[dict[str, Any]]) -> Summary:
    books, people = engine.books, engine.people
    first, last = books.first_event_time or 0, books.last_event_time or 0
    runs = list(watch.runs(first, last))
    group, second, who, item = concat(runs or [watch.nothing])
    starts = starts_of_runs(group)
    keys = watch.keys_of(group[starts])
    prints, codes = np.unique(who, return_inverse=True)
    principals, place = _principals(people, prints)
    names = [people.names(level) for level in watch.rule.group_by]
    return Summary(
        np.append(starts, len(group)).astype(np.int64),
        second,
        place[codes],
        item,
        next_sightings(group, second, item) if watch.rule.measure in DISTINCT_MEASURES else np.zeros(0, np.int64),
        keys,
        [tuple(of.get(key, key) for of, key in zip(names, one, strict=True)) for one in keys],
        principals,
        books.records,
        books.access_events,
        first,
        last,
        lacking,
    )


def _principals(people: People, prints: U64) -> tuple[list[Principal], I32]:
    """The principals behind these fingerprints, and where in them each one is; -1 where there is none."""
    known = people.found(prints.tolist())
    place = {one: number for number, one in enumerate(known)}
    return list(known.values()), np.array([place.get(one, -1) for one in prints.tolist()], np.int32)


def next_sightings(group: U64, second: I64, item: U64) -> I64:
    """Of every row the second at which its member is seen next in its group."""
    order = np.lexsort((second, item, group))
    again = np.full(len(order), NEVER_AGAIN, np.int64)
    same = (group[order][1:] == group[order][:-1]) & (item[order][1:] == item[order][:-1])
    again[order[:-1][same]] = second[order[1:][same]]
    return again
