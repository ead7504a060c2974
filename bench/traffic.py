"""Who asked when, and in which file it was delivered: the arrays both kinds of log are written from. Pure.

- Everything is a function of the sizes in `Traffic` and a fixed seed; ids are a hash of the request's number, so that a
  copy of a record has the ids of the original.
- Ordinary principals ask at a steady rate, the k-th most active 1/k as often as the first (Zipf). One thief reads
  `THEFT` objects in `THEFT_SECONDS`. Where there are enough requests, an innocent stays just under the threshold: an
  answer that counts copies of records would accuse it.
- A file is delivered every `SLOT` seconds; a request lies in a file that comes 60 to 420 s after it, in no order.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
U8 = npt.NDArray[np.uint8]

START = 1_777_593_600  # 2026-05-01T00:00:00Z
SEED = 20_260_501
SLOT = 60
DELAY = (60, 420)
DUPLICATE_SHARE = 0.005
THRESHOLD = 10_000
THEFT, NEAR_MISS, THEFT_SECONDS = 10_500, 9_990, 240
ENOUGH_FOR_NEAR_MISS = 100_000
THIEF, INNOCENT = 0, 1
"""Numbers of the two principals that are no ordinary ones; those are numbered from 2."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """What to make. `rate`: ordinary requests a second."""

    requests: int
    principals: int
    rate: float


@dataclass(frozen=True, slots=True)
class Requests:
    """Requests in order of time: epoch seconds, principal, and a number that is never used twice."""

    time: I64
    principal: I64
    number: I64


@dataclass(frozen=True, slots=True)
class Delivery:
    """Rows of `Requests` in order of delivery, copies included: when delivered (epoch seconds), which row."""

    due: I64
    row: I64


def requests(traffic: Traffic) -> Requests:
    """All requests, the thief's in the middle."""
    rng = np.random.default_rng(SEED)
    near = NEAR_MISS if traffic.requests >= ENOUGH_FOR_NEAR_MISS else 0
    ordinary = traffic.requests - THEFT - near
    if ordinary < 0:
        raise SystemExit(f"expected at least {THEFT} records, got {traffic.requests}")
    span = max(2 * THEFT_SECONDS, int(ordinary / traffic.rate))
    begin = START + span // 2 - THEFT_SECONDS // 2
    time = np.concatenate(
        [
            rng.integers(START, START + span, ordinary),
            rng.integers(begin, begin + THEFT_SECONDS, THEFT),
            rng.integers(begin, begin + THEFT_SECONDS, near),
        ]
    )
    who = np.concatenate([2 + _zipf(rng, ordinary, traffic.principals), np.full(THEFT, THIEF), np.full(near, INNOCENT)])
    order = np.argsort(time, kind="stable")
    return Requests(time[order], who[order].astype(np.int64), np.arange(len(order)))


def deliver(asked: Requests) -> Delivery:
    """Which file every request, and the copy of some, is delivered in."""
    rng = np.random.default_rng(SEED + 1)
    latest = DELAY[1] - SLOT + 1
    due = -(-(asked.time + rng.integers(DELAY[0], latest, len(asked.time))) // SLOT) * SLOT
    copies = np.flatnonzero(rng.random(len(due)) < DUPLICATE_SHARE)
    again = due[copies] + SLOT * (rng.random(len(copies)) < 0.5)
    again = np.minimum(again, (asked.time[copies] + DELAY[1]) // SLOT * SLOT)
    due, row = np.concatenate([due, again]), np.concatenate([asked.number, copies])
    order = np.lexsort((rng.random(len(due)), due))
    return Delivery(due[order], row[order])


def crossed(asked: Requests, window: int) -> dict[int, int]:
    """The true answer: principal → first second at which it reached the threshold (windows over 1 h: minute)."""
    grain = 60 if window > 3600 else 1
    found = {}
    busy = np.flatnonzero(np.bincount(asked.principal) >= THRESHOLD)
    for who in busy.tolist():
        times = asked.time[asked.principal == who] // grain * grain
        hit = np.flatnonzero(times[THRESHOLD - 1 :] - times[: len(times) - THRESHOLD + 1] < window)
        if len(hit):
            found[who] = int(times[THRESHOLD - 1 + hit[0]])
    return found


def noise(numbers: I64, words: int, salt: int) -> U8:
    """`8 * words` bytes for every number, as good as random (splitmix64), the same whenever it is asked."""
    step = np.arange(1, words + 1, dtype=np.uint64) * np.uint64(0x9E37_79B9_7F4A_7C15)
    x = (numbers.astype(np.uint64)[:, None] + np.uint64(1 + salt)) * np.uint64(0xD1B5_4A32_D192_ED03) + step
    for shift, factor in ((30, 0xBF58_476D_1CE4_E5B9), (27, 0x94D0_49BB_1331_11EB)):
        x = (x ^ (x >> np.uint64(shift))) * np.uint64(factor)
    x ^= x >> np.uint64(31)
    return x.view(np.uint8).reshape(len(numbers), 8 * words)


def _zipf(rng: np.random.Generator, count: int, principals: int) -> I64:
    share = np.cumsum(1 / np.arange(1, principals + 1))
    return np.searchsorted(share, rng.random(count) * share[-1]).astype(np.int64)
