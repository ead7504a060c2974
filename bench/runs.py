"""What is measured: data sets, and the runs over each. A run is one process that is asked one question.

Rules of this file
- Runs of one section answer about the same requests, so their CPU may be compared; `base` is what a section's ratios
  refer to.
- A run's module is `bench.peers.<peer>`; `needs` is the distribution it cannot run without.
"""

from __future__ import annotations

from dataclasses import dataclass

THRESHOLD = 10_000
FIVE_MINUTES, A_DAY = 300, 86_400
FEW, MANY = 2_000, 200_000


@dataclass(frozen=True, slots=True)
class Data:
    """A generated data set. `kind`: cloudtrail or access."""

    kind: str
    principals: int


@dataclass(frozen=True, slots=True)
class Run:
    """One line of a table. `answers` is false for what only reads."""

    name: str
    peer: str
    data: Data
    window: int = FIVE_MINUTES
    extra: tuple[str, ...] = ()
    needs: str = ""
    answers: bool = True


@dataclass(frozen=True, slots=True)
class Section:
    """One table. `against`: names of the runs that the others are divided by."""

    name: str
    title: str
    runs: tuple[Run, ...]
    against: tuple[str, ...]


TRAIL, MANY_PEOPLE, LINES = Data("cloudtrail", FEW), Data("cloudtrail", MANY), Data("access", FEW)
ONE_RULE = "bucketwatch, one rule"
FLOOR = "floor: read and inflate"
PRODUCT = Run(ONE_RULE, "bucketwatch", TRAIL)

SECTIONS = (
    Section(
        "peers",
        "CloudTrail: bucketwatch and its peers",
        (
            PRODUCT,
            Run("chdb", "chdb", TRAIL, needs="chdb"),
            Run("duckdb", "duckdb", TRAIL, needs="duckdb"),
            Run("polars", "polars", TRAIL, needs="polars"),
            Run("plain Python", "python", TRAIL),
            Run(FLOOR, "floor", TRAIL, answers=False),
        ),
        ("chdb", FLOOR),
    ),
    Section(
        "variants",
        "CloudTrail: what else costs",
        (
            PRODUCT,
            Run("all shipped rules and the model", "bucketwatch", TRAIL, extra=("shipped",)),
            Run("one rule, --jobs 2", "bucketwatch", TRAIL, extra=("jobs=2",)),
            Run("one rule, window 24 h", "bucketwatch", TRAIL, window=A_DAY),
            Run("one rule, 200,000 principals", "bucketwatch", MANY_PEOPLE),
        ),
        (ONE_RULE,),
    ),
    Section(
        "access",
        "Server access logs",
        (
            Run(ONE_RULE, "bucketwatch", LINES),
            Run("duckdb read_csv", "duckdb_csv", LINES, needs="duckdb"),
            Run("floor: read", "floor", LINES, answers=False),
        ),
        ("duckdb read_csv", "floor: read"),
    ),
)
