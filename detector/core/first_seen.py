"""Watches one first_seen rule: sightings → what is new → counted as thresholds are. Pure.

What looked new when it came is tallied; when a group is judged, what no longer is new is left out. So an earlier record
that comes later can take a finding back: it is corrected, or withdrawn.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from detector.core.access import I64, U64, Index, Mask
from detector.core.episode import Tracked
from detector.core.evidence import listed
from detector.core.firsts import DAY, Firsts
from detector.core.groupings import GroupKey
from detector.core.part import Run, Spilling
from detector.core.people import People
from detector.core.principal import fingerprint
from detector.core.rule import FirstSeen
from detector.core.runs import concat
from detector.core.sighting import Texts
from detector.core.tally import SEGMENT
from detector.core.threshold import CountingWatch, who
from detector.core.times import duration, iso
from detector.core.view import BatchView
from detector.core.window import starts_of_runs

HOUR = 3600
FEW = 8
"""So few groups are as well looked at one by one."""
_NO_ROWS: Run = (np.zeros(0, np.intp), np.zeros(0, np.int64), np.zeros(0, np.uint64))


class FirstSeenWatch(CountingWatch[FirstSeen]):
    """State of one first_seen rule.

    A pair is a group and a value of it. Without `new_within` the new pairs of a group are counted; with it what each
    pair does while it is new. gather, once: as in CrossingWatch.
    """

    def __init__(self, rule: FirstSeen, people: People, *, gather: bool, once: bool) -> None:
        forget = rule.forget // DAY
        self._pairs = Firsts(f"firsts/{rule.id}", forget)
        self._groups = Firsts(f"since/{rule.id}", forget)
        self._names = Texts(f"values/{rule.id}")
        stored = [self._pairs.rows, self._groups.rows, self._names]
        super().__init__(rule, people, stored, gather=gather, once=once)
        self._first = self._last = 0

    @property
    def levels(self) -> GroupKey:
        """The levels of a group, as people see them."""
        return self.rule.group_by if self.rule.new_within is None else (*self.rule.group_by, self.rule.what)

    def absorb(self, view: BatchView, late: Mask) -> None:
        """Take note of the rows that the rule is about, and count what is new, or what the new does."""
        rows = self.chosen.rows(view)
        if not len(rows):
            return
        pairs, keys = view.groups(self.rule.pairs)
        rows = view.of_groups(rows, self.rule.pairs)
        if not len(rows):
            return
        groups, _ = view.groups(self.rule.group_by)
        new = self._meet(view.time[rows], pairs[rows], groups[rows], late[rows])
        if self.rule.new_within is not None:
            self.count(view, rows, self.rule.pairs, late)
        elif len(new):
            rows = rows[np.sort(new)]
            self._name_values(pairs[rows], view.time[rows], keys)
            self.count(view, rows, self.rule.group_by, late)

    def items(self, view: BatchView) -> U64:
        """What is counted of every row of a batch."""
        return super().items(view) if self.rule.new_within is not None else view.groups(self.rule.pairs)[0]

    def counted(self, group: int, first: int, last: int) -> tuple[I64, U64, U64]:
        """What was counted of a group, without what turned out not to be new."""
        seconds, credentials, items = super().counted(group, first, last)
        if self.rule.new_within is None:
            kept = self._learnt(group, seconds)
            if kept.any():
                kept[kept] = self._pairs.are_new(items[kept], seconds[kept])
        elif not self.is_named(group):  # looked at again, when others had raised the bound of its place
            kept = np.zeros(len(seconds), np.bool_)
        else:
            news = self._pairs.news(group)
            news = news[self._learnt(fingerprint(self.key(group)[:-1]), news)]
            at = np.searchsorted(news, seconds, "right")
            kept = seconds - np.append(LONG_AGO, news)[at] <= self.rule.new_within
        return seconds[kept], credentials[kept], items[kept]

    def may_cross(self, groups: U64, buckets: I64) -> Mask:
        """Which of these groups, in order, are worth a close look in a bucket: all that cross in it are among them."""
        near = super().may_cross(groups, buckets) & (not self.learning())
        if self.rule.new_within is None and np.count_nonzero(near) > FEW:
            near[near] = self._new(groups[near], buckets[near]) >= self.rule.threshold
        return near

    def learning(self) -> bool:
        """Whether no group can have been known for long enough."""
        return self._last - self._first < self.rule.learn

    def spilling(self) -> list[Spilling]:
        """What of its state may leave memory."""
        return [self._pairs.rows, self._groups.rows, self._names, *super().spilling()]

    def forget_before(self, second: int) -> None:
        """Let go of everything that only records before this second could change."""
        super().forget_before(second)
        oldest = second - self.rule.reach
        self._pairs.forget_before(oldest // DAY, thin=True)
        self._groups.forget_before(oldest // DAY, thin=False)
        self._names.forget_before(oldest // HOUR)

    def state(self) -> dict[str, Any]:
        """Plain data for the checkpoint."""
        return super().state() | {"first": self._first, "last": self._last}

    def resume(self, parts: Mapping[str, bytes], state: Mapping[str, Any]) -> None:
        """Go on where a checkpoint stopped."""
        for one in (self._pairs.rows, self._groups.rows, self._names):
            one.restore(parts)
        self._first, self._last = state["first"], state["last"]
        super().resume(parts, state)

    def explain(self, group: int, shown: Mapping[str, str], tracked: Tracked) -> dict[str, Any]:
        """As for thresholds; what was new, and since when the group is known."""
        pairs = self._pairs_of(group, tracked)
        told = self._told(group, pairs)
        return super().explain(group, shown, tracked) | {"details": {"first_seen": told}, "members": pairs}

    def sentence(self, shown: Mapping[str, str], tracked: Tracked, peak: int) -> str:
        """What happened."""
        rule, episode = self.rule, tracked.episode
        if rule.new_within is not None:
            *by, (what, value) = shown.items()
            new = f"{what} {value} is new to {who(dict(by))} since {duration(rule.new_within)} at most"
            return f"{new}; {super().sentence(shown, tracked, peak)}"
        many = f"{peak:,} within {duration(rule.window)} at the peak, threshold {rule.threshold:,}"
        when = f"from {iso(episode.opened_at)} to {iso(episode.last_at)}"
        return f"{who(shown)}: {rule.what} that was not seen in {rule.forget // DAY} days before: {many}; {when}."

    def _meet(self, seconds: I64, pairs: U64, groups: U64, late: Mask) -> Index:
        """Take note of sightings; the places of those that look new. What is no longer new is looked at again."""
        self._first = min(self._first or int(seconds.min()), int(seconds.min()))
        self._last = max(self._last, int(seconds.max()))
        met = self._pairs.meet(pairs, seconds, watch=not self.once)
        since = self._groups.meet(groups[met.fresh], seconds[met.fresh], watch=not self.once)
        self.changed |= bool(len(met.fresh))
        counted = groups if self.rule.new_within is None else pairs
        self._late.update(counted[met.changed[late[met.changed]]].tolist())
        if self.rule.new_within is None:
            self._again(groups[met.changed], met.at, 0)
            self._again(groups[met.fresh][since.changed], since.at, self.rule.learn)
        else:
            self._again(pairs[met.changed], met.at, self.rule.new_within)
            if len(since.changed):
                self.reconsider()
        return met.new

    def _again(self, groups: U64, seconds: I64, span: int) -> None:
        """Look again at what these counted from a second on, for so long."""
        for more in range(span // self.rule.window + 2 if len(groups) else 0):
            self.consider(groups, seconds // self.rule.window + more)

    def _new(self, groups: U64, buckets: I64) -> I64:
        """How much at most was new to each of these groups, in order, in its bucket and the one before."""
        starts, window = starts_of_runs(groups), self.rule.window
        least, span = int(buckets.min()) - 1, int(np.ptp(buckets)) + 3
        number = np.repeat(np.arange(len(starts)), np.diff(np.append(starts, len(groups))))
        places, found = number * span + buckets - least, np.zeros(len(groups), np.int64)
        days = (np.unique(buckets)[:, None] - 1) * window // DAY + np.arange(2 * window // DAY + 2)
        for day in np.unique(days).tolist():
            of_group, second = self._new_on(day, groups[starts])
            offset = second // window - least
            inside = (offset >= 0) & (offset < span - 1)
            place = of_group[inside] * span + offset[inside]
            for touched in (place, place + 1):
                at = np.searchsorted(places, touched)
                hit = places[np.minimum(at, len(places) - 1)] == touched
                found += np.bincount(at[hit], minlength=len(found))
        return found

    def _new_on(self, day: int, groups: U64) -> tuple[Index, I64]:
        """What was new on a day to those of these groups that may be known for long enough: which group, second."""
        rows = [_NO_ROWS]
        for part in self._counted.tallies.parts(day * DAY // SEGMENT, (day + 1) * DAY // SEGMENT - 1):
            of_group, (second, _, pair) = part.all_of(groups)
            rows.append((of_group, second, pair))
        of_group, second, pair = concat(rows)
        old = np.flatnonzero(second >= self._groups.earliest(groups)[of_group] + self.rule.learn)
        new = old[self._pairs.are_new(pair[old], second[old])]
        return of_group[new], second[new]

    def _learnt(self, group: int, seconds: I64) -> Mask:
        """At which of these seconds the group had been known for long enough."""
        known = self._groups.of(group)
        if not len(known):
            return np.zeros(len(seconds), np.bool_)
        before = np.searchsorted(known, seconds - self.rule.learn, "right") - 1
        following = np.minimum(known[np.minimum(before + 1, len(known) - 1)], seconds)  # not what came after it
        gap = following // DAY - known[before] // DAY
        learnt: Mask = (before >= 0) & (gap <= self.rule.forget // DAY)
        return learnt

    def _name_values(self, pairs: U64, seconds: I64, keys: Mapping[int, GroupKey]) -> None:
        """Remember the values of these pairs: what is new is told by name."""
        pair, of_row = np.unique(pairs, return_inverse=True)
        last = np.zeros(len(pair), np.int64)
        np.maximum.at(last, of_row, seconds // HOUR)
        values = [keys[one][-1].encode("utf-8", "surrogatepass") for one in pair.tolist()]
        self._names.put(pair, last, lambda at: [values[one] for one in at])

    def _pairs_of(self, group: int, tracked: Tracked) -> tuple[int, ...]:
        """The pairs that were new in an episode, or the one it is about."""
        if self.rule.new_within is not None:
            return (group,)
        episode = tracked.episode
        _, _, pairs = self.counted(group, episode.opened_at - self.rule.window + 1, episode.last_at)
        return tuple(np.unique(pairs).tolist())

    def _told(self, group: int, pairs: tuple[int, ...]) -> dict[str, Any]:
        """What was new, and since when the group is known."""
        rule = self.rule
        told: dict[str, Any] = {"what": rule.what}
        if rule.new_within is None:
            texts = self._names.of(np.array(pairs, np.uint64)).values()
            names = {self.people.name(rule.what, text.decode("utf-8", "surrogatepass")) for text in texts}
            told["new"] = listed(names)
        known = self._groups.of(group if rule.new_within is None else fingerprint(self.key(group)[:-1]))
        return told | ({"known_since": iso(int(known[0]))} if len(known) else {})


LONG_AGO = np.int64(-(1 << 40))
"""Second in which nothing can be new."""
