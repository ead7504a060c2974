"""Sliding windows over per-second tallies: values at seconds, crossing seconds, episodes. Pure functions of arrays.

The value at second t is the measure over the records e with `t - window < e.time <= t`:

    window 300      e.time  10 ........ 309 | 310        t = 309 still sees second 10, t = 310 does not

Crossing seconds are the seconds with a record at which the value is at or above the threshold. An episode is a maximal
run of crossing seconds, neighbours at most one gap apart, cut a day (or one window, if longer) after it opened.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from detector.core.access import I64, U64, Index

F64 = npt.NDArray[np.float64]
DAY = 86_400
DIGIT = (1 << 16) - 1
FEW = 512
"""Numbers up to which numpy's own steady sort is as fast as one by digits."""
HALF = np.uint64(32)
"""Bits of a hash that are as good as all."""


class Episode(NamedTuple):
    """A run of crossing seconds. Epoch seconds; `peak_at` is the first second with the largest value.

    `at_least`: somewhere in it more than the cap was counted, and the peak is the cap.
    """

    opened_at: int
    last_at: int
    peak_value: float
    peak_at: int
    at_least: bool = False


def sums_at(seconds: I64, amounts: I64, at: I64, window: int) -> I64:
    """Sum of amounts in (t - window, t] for every t of `at`. `seconds` sorted."""
    total = np.concatenate(([0], np.cumsum(amounts)))
    return total[np.searchsorted(seconds, at, "right")] - total[np.searchsorted(seconds, at - window, "right")]


def distinct_at(seconds: I64, members: U64, at: I64, window: int) -> I64:
    """Distinct members with a sighting in (t - window, t] for every t of `at`.

    Every sighting counts from its second until the window has passed or the member's next sighting takes over, so that
    each member is counted once: a difference array of beginnings and ends.
    """
    by_time = steady_order(seconds)
    order = by_time[hash_order(members[by_time])]
    second, member = seconds[order], members[order]
    ends = second + window
    same = member[1:] == member[:-1]
    ends[:-1][same] = np.minimum(ends[:-1][same], second[1:][same])
    begun = np.searchsorted(seconds[by_time], at, "right")
    ended = np.searchsorted(np.sort(ends), at, "right")
    return begun - ended


def episodes(crossings: I64, values: F64, gap: int, longest: int, cap: float = math.inf) -> list[Episode]:
    """The episodes of sorted crossing seconds: neighbours at most `gap` apart, each shorter than `longest` seconds.

    Values past `cap` are told as the cap.
    """
    told = np.minimum(values, cap)
    past = values > cap
    out: list[Episode] = []
    start = 0
    while start < len(crossings):
        limit = int(np.searchsorted(crossings, crossings[start] + longest, "left"))
        jumps = np.flatnonzero(np.diff(crossings[start:limit]) > gap)
        end = start + int(jumps[0]) + 1 if len(jumps) else limit
        peak = start + int(np.argmax(told[start:end]))
        first, last, at = (int(crossings[place]) for place in (start, end - 1, peak))
        out.append(Episode(first, last, float(told[peak]), at, bool(past[start:end].any())))
        start = end
    return out


def longest_episode(window: int) -> int:
    """Seconds after its opening at which an episode is cut."""
    return max(DAY, window)


def unique_sorted(values: I64) -> I64:
    """Distinct values of a sorted array."""
    if not len(values):
        return values
    keep = np.ones(len(values), np.bool_)
    keep[1:] = values[1:] != values[:-1]
    return values[keep]


def starts_of_runs(*columns: np.ndarray[tuple[int], np.dtype[np.generic]]) -> Index:
    """Positions at which any of the (sorted) columns changes; the first row always is one."""
    if not len(columns[0]):
        return np.zeros(0, np.intp)
    change = np.ones(len(columns[0]), np.bool_)
    change[1:] = np.logical_or.reduce([column[1:] != column[:-1] for column in columns])
    return np.flatnonzero(change)


def by_value(values: I64) -> Iterator[tuple[int, Index | slice]]:
    """The distinct values in order, each with the rows that have it."""
    if not len(values):
        return
    least = int(values.min())
    span = int(values.max()) - least
    if not span:
        yield least, slice(None)
        return
    order = steady_order(values)
    starts = starts_of_runs(values[order])
    for first, end in pairwise([*starts.tolist(), len(values)]):
        yield int(values[order[first]]), order[first:end]


def steady_order(values: npt.NDArray[np.integer]) -> Index:
    """Order of whole numbers, alike ones as they come: 16 bits at a time, of which numpy sorts by counting."""
    if len(values) < FEW:
        return np.argsort(values, kind="stable")
    span = int(values.max()) - int(values.min())
    above = (values - values.min()).astype(np.min_scalar_type(span))
    order = np.argsort(above.astype(np.min_scalar_type(min(span, DIGIT))), kind="stable")
    for shift in range(16, span.bit_length(), 16):
        digit = (above[order] >> above.dtype.type(shift)).astype(np.uint16)
        order = order[np.argsort(digit, kind="stable")]
    return order


def hash_order(hashes: U64) -> Index:
    """Order of hashes, alike ones as they come.

    Half of a hash is nearly always enough to put it in order; if it is not, the whole is looked at.
    """
    order = steady_order(hashes >> HALF if len(hashes) >= FEW else hashes)
    ordered = hashes[order]
    if (ordered[1:] < ordered[:-1]).any():
        order = order[np.argsort(ordered, kind="stable")]  # nearly in order, which it takes advantage of
    return order


def grouped(keys: U64) -> tuple[U64, Index, Index]:
    """The distinct hashes in order, the first row of each, and the number of each row's: `np.unique`, but faster."""
    order = hash_order(keys)
    first, number = of_alike(keys, order)
    return keys[first], first, number


def of_alike(values: npt.NDArray[np.integer], order: Index) -> tuple[Index, Index]:
    """The first row of each distinct value, and the number of each row's. order: alike ones are together in it."""
    ordered = values[order]
    first = np.ones(len(order), np.bool_)
    np.not_equal(ordered[1:], ordered[:-1], out=first[1:])
    number = np.empty(len(order), np.intp)
    number[order] = np.cumsum(first) - 1
    return order[first], number
