"""Measured runs → medians, ratios, a markdown table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from bench.measure import Used
from bench.runs import Section


@dataclass(frozen=True, slots=True)
class Figures:
    """Medians of one run's repetitions. Seconds, bytes; `spread`: slowest over fastest, in CPU."""

    records: int
    cpu: float
    wall: float
    peak: float
    spread: float

    @classmethod
    def of(cls, records: int, used: Sequence[Used]) -> Figures:
        cpu = [one.cpu for one in used]
        wall, peak = median(one.wall for one in used), median(one.peak for one in used)
        return cls(records, median(cpu), wall, peak, max(cpu) / min(cpu))


HEAD = ("run", "CPU s", "µs a record", "wall s", "records/s", "peak MB", "spread")


def table(section: Section, figures: Mapping[str, Figures]) -> str:
    """The section's runs that were measured, one a line; CPU a record against each of `against`, wall against the last.

    In a section with one run to compare with, its own variants, wall time and memory are compared as well.
    """
    against = [name for name in section.against if name in figures]
    variants = len(section.against) == 1
    heads = [*HEAD, *(f"CPU / {name.partition(':')[0].partition(',')[0]}" for name in against)]
    if variants and against:
        heads += ["wall / same", "peak / same"]
    lines = [" | ".join(heads), " | ".join(["---", *["---:"] * (len(heads) - 1)])]
    measured = [run.name for run in section.runs if run.name in figures]
    lines += [" | ".join(_cells(name, figures, against, variants=variants)) for name in measured]
    return "\n".join(f"| {line} |" for line in lines)


def _cells(name: str, figures: Mapping[str, Figures], against: Sequence[str], *, variants: bool) -> list[str]:
    one = figures[name]
    cells = [
        name, f"{one.cpu:.2f}", f"{one.cpu / one.records * 1e6:.2f}", f"{one.wall:.2f}",
        f"{one.records / one.wall:,.0f}", f"{one.peak / 1e6:,.0f}", f"{one.spread:.2f}",
    ]  # fmt: skip
    for other in (figures[name] for name in against):
        cells.append(f"{one.cpu / one.records / (other.cpu / other.records):.2f}")
        if variants:
            cells += [
                f"{one.wall / one.records / (other.wall / other.records):.2f}",
                f"{one.peak / other.peak:.2f}",
            ]
    return cells
