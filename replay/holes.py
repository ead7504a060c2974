"""Where the logs of one source have seen nothing, and whether that is a hole or a quiet time. Pure.

A gap is an hour or more in which no record lies. What is a hole is judged by the same time of day on other days, up to
four weeks before and after: how many of these slots usually hold a record, as a lower quartile. That of the same
weekdays counts, if there are three of them; else the least of both. So nights and weekends are quiet, and so is a
source of few records.

- likely: 12 slots (of five minutes) or more are usually seen, no file was delivered meanwhile, and there is the same
  weekday to compare with; or another day, and the source has no other gap of an eighth of the length.
- possible: 3 slots or more, and files were delivered meanwhile (the log was alive), or the gap is not common: fewer
  than three others here are half as long. Where there is no other day to compare with, by the hours around, of which
  as many have to be known: 12 slots, and one an hour.
- quiet: all else.

If slots were independent, a chance of `exp(-usually)` would be left that a quiet stretch looks so.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from detector.core.access import I64, Mask
from detector.core.coverage import DAY

SHORTEST = 12
"""Slots of a gap that is looked at."""
SURE, DOUBTFUL = 12, 3
"""So many slots usually seen make a hole likely, or possible."""
COMPARED = 28
"""Days before and after."""
COMMON = 3
"""So many other gaps of half the length make a gap nothing special."""
SAME_WEEKDAYS = 3
STEADY = 8
"""A source without another gap of this part of the length is steady: any other day will do to compare with."""
LATE = 6
"""Slots by which a file comes after its records, at most as a rule."""
_SHIFTS = np.array([day for day in range(-COMPARED, COMPARED + 1) if day]) * DAY


class Hole(NamedTuple):
    """A stretch `[first, end)` of slots. usually: of these slots so many hold records on other days.

    alive: files were delivered in it. compared: there were other days to compare with.
    """

    first: int
    end: int
    sure: str
    usually: int
    alive: bool
    compared: bool


def gaps(seen: I64, start: int, end: int) -> tuple[I64, I64]:
    """First slots and ends of the stretches of `SHORTEST` slots or more of `[start, end)` in which none was seen."""
    edges = np.concatenate([[start - 1], seen, [end]])
    long = np.flatnonzero(np.diff(edges) > SHORTEST)
    return edges[long] + 1, edges[long + 1]


def judge(seen: I64, delivered: I64, start: int, end: int) -> tuple[list[Hole], int]:
    """The holes of one source between these slots, and how many gaps are but quiet. seen, delivered: slots, sorted."""
    first, until = gaps(seen, start, end)
    if not len(first) or not len(seen):
        return [], 0
    usually, compared, weekly = _usually(seen, first, until)
    alive = _within(delivered, first + LATE, until) > 0
    lengths = until - first
    known = weekly | (compared & (_as_long(lengths, STEADY) == 0))
    likely = (usually >= SURE) & known & ~alive
    enough = usually >= np.where(compared, DOUBTFUL, SURE)
    possible = enough & ~likely & (alive | (_as_long(lengths, 2) < COMMON))
    chosen = np.flatnonzero(likely | possible)
    columns = (first, until, usually, alive, compared, likely)
    holes = [
        Hole(one, end, "likely" if sure else "possible", *rest)
        for one, end, *rest, sure in zip(*(column[chosen].tolist() for column in columns), strict=True)
    ]
    return holes, len(first) - len(holes)


def _as_long(lengths: I64, part: int) -> I64:
    """How many other gaps have at least this part of each one's length."""
    others: I64 = len(lengths) - 1 - np.searchsorted(np.sort(lengths), lengths / part)
    return others


def _usually(seen: I64, first: I64, until: I64) -> tuple[I64, Mask, Mask]:
    """How many slots of each gap are seen on other days, whether there are such days, and of the same weekday.

    Where there is no other day, by the hours around.
    """
    lengths = (until - first)[:, None]
    starts = first[:, None] + _SHIFTS
    whole = (starts >= seen[0]) & (starts + lengths <= seen[-1] + 1) & (np.abs(_SHIFTS) >= lengths)
    counts = _within(seen, starts, starts + lengths)
    weekly = whole & (_SHIFTS % (7 * DAY) == 0)
    by_day, by_week = _lower_quartile(counts, whole), _lower_quartile(counts, weekly)
    compared, same_weekday = whole.any(axis=1), weekly.any(axis=1)
    least = np.where(same_weekday, np.minimum(by_day, by_week), by_day)
    usual = np.where(weekly.sum(axis=1) >= SAME_WEEKDAYS, by_week, least)
    return np.where(compared, usual, _around(seen, first, until)), compared, same_weekday


def _around(seen: I64, first: I64, until: I64) -> I64:
    """How many slots of each gap were seen if it were as the stretches of its length before and after it.

    None where these are shorter together than the gap (an hour tells nothing of a year), or have less than one an hour.
    """
    length = until - first
    before = np.maximum(first - np.maximum(first - length, seen[0]), 0)
    after = np.maximum(np.minimum(until + length, seen[-1] + 1) - until, 0)
    there = _within(seen, first - length, until + length)
    known = before + after
    return np.where((known >= length) & (there * SHORTEST >= known), length * there // np.maximum(known, 1), 0)


def _lower_quartile(counts: I64, counted: Mask) -> I64:
    """Of the counted numbers of each row the one that a quarter of them do not exceed; 0 where none counts."""
    ordered = np.sort(np.where(counted, counts, np.iinfo(np.int64).max), axis=1)
    number = counted.sum(axis=1)
    chosen = ordered[np.arange(len(ordered)), np.maximum(number - 1, 0) // 4]
    return np.where(number > 0, chosen, 0)


def _within(seen: I64, first: I64, until: I64) -> I64:
    """How many of the slots seen lie in each `[first, until)`."""
    found: I64 = np.searchsorted(seen, until) - np.searchsorted(seen, first)
    return found.clip(0)
