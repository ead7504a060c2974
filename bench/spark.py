"""`python -m bench.spark`: what Spark costs beside one process, how it scales on this machine, and a plan from it.

The same files and one rule by `replay` in one process and on Spark with one and two cores; the findings have to be the
same bytes. CPU is that of all processes of a run, Java's and its workers' among them, looked at ten times a second. Two
sizes of archive, the one twice the other, each counted some times (medians), tell what starting costs from what a GB
costs. Where the larger did not cost more than the smaller every time, in CPU or by the clock, starting or the machine's
other work drowns the records, and nothing follows from it. The plan is arithmetic, and is marked as that. What is
printed goes into docs/spark.md, between its marks.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from bench.generate import generate
from bench.measure import ROOT, SAID
from bench.peers.bucketwatch import RULE

PROGRAM = Path(sys.executable).with_name("bucketwatch")
TICK = os.sysconf("SC_CLK_TCK")
WAYS = {
    "one process": ("--engine", "local", "--jobs", "1"),
    "Spark, 1 core": ("--engine", "spark", "--jobs", "1"),
    "Spark, 2 cores": ("--engine", "spark", "--jobs", "2"),
}
PRINCIPALS = 2_000
PLANNED = (1, 10, 100)
"""TB of gzipped logs."""
CORES = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a run."""

    cpu: float
    wall: float

    @classmethod
    def median(cls, runs: Sequence[Cost]) -> Cost:
        """Of some runs."""
        return cls(median(one.cpu for one in runs), median(one.wall for one in runs))


@dataclass(frozen=True, slots=True)
class Line:
    """What it costs to start, and a GB, by runs over archives of two sizes."""

    small: Sequence[Cost]
    large: Sequence[Cost]
    sizes: tuple[float, float]

    def clear(self, what: str) -> bool:
        """Whether each run over the larger archive cost more than each over the smaller: `cpu`, or `wall`."""
        return max(getattr(one, what) for one in self.small) < min(getattr(one, what) for one in self.large)

    @property
    def a_gb(self) -> Cost:
        """Of a GB more."""
        small, large, more = Cost.median(self.small), Cost.median(self.large), self.sizes[1] - self.sizes[0]
        return Cost((large.cpu - small.cpu) / more, (large.wall - small.wall) / more)

    @property
    def start(self) -> float:
        """CPU seconds of counting nothing."""
        return Cost.median(self.small).cpu - self.a_gb.cpu * self.sizes[0]


def main() -> int:
    """Measure and print; exit status 1 if Spark found anything else."""
    options = argparse.ArgumentParser("python -m bench.spark", description="Spark beside one process")
    options.add_argument("--records", type=int, default=1_200_000, help="CloudTrail records of the larger archive")
    options.add_argument("--rounds", type=int, default=3, help="times that each is counted (3)")
    options.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where logs are kept (.bench)")
    chosen = options.parse_args()
    (small, small_size), (large, large_size) = (_made(chosen.cache, n) for n in (chosen.records // 2, chosen.records))
    lines: dict[str, Line] = {}
    found: dict[Path, set[bytes]] = {small: set(), large: set()}
    load = os.getloadavg()[0]
    for name, how in WAYS.items():
        costs: dict[Path, list[Cost]] = {small: [], large: []}
        for folder in (small, large) * chosen.rounds:
            cost, findings = run(folder, how)
            costs[folder].append(cost)
            found[folder].add(findings)
        lines[name] = Line(costs[small], costs[large], (small_size, large_size))
    print(f"Load of the machine before: {load:.1f}, after: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores.\n")
    print(table(lines))
    print(follows(lines))
    same = all(len(findings) == 1 for findings in found.values())
    if not same:
        print("Spark did not find what one process finds", file=sys.stderr)
    return 0 if same else 1


def run(folder: Path, how: tuple[str, ...]) -> tuple[Cost, bytes]:
    """One replay in processes of its own: what it costs, and its findings."""
    with TemporaryDirectory() as out:
        rule = Path(out, "rule.yaml")
        rule.write_text(RULE.format(window="5m", threshold=10_000))
        command = [str(PROGRAM), "replay", str(folder / "logs"), "--rules", str(rule), *how]
        command += ["--out", out, "--no-report", "--quiet", "--no-model"]
        began = time.monotonic()
        used: dict[int, float] = {}
        with Path(out, "said").open("w+b") as said:
            child = subprocess.Popen(command, cwd=ROOT, stderr=said, start_new_session=True)
            try:
                while child.poll() is None:
                    used |= _cpu(child.pid)
                    time.sleep(0.1)
            finally:
                _end(child.pid)
        wall = time.monotonic() - began
        if child.returncode:
            why = Path(out, "said").read_text("utf-8", "replace")[-SAID:]
            raise SystemExit(f"replay {' '.join(how)} ended with {child.returncode}: {why}")
        return Cost(sum(used.values()), wall), Path(out, "findings.jsonl").read_bytes()


def _cpu(session: int) -> dict[int, float]:
    """CPU seconds so far of every process of a session."""
    out = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            fields = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue  # gone
        if int(fields[3]) == session:
            out[int(process.name)] = (int(fields[11]) + int(fields[12])) / TICK
    return out


def _end(group: int) -> None:
    with suppress(ProcessLookupError):
        os.killpg(group, signal.SIGKILL)  # what Java left behind


def _made(cache: Path, records: int) -> tuple[Path, float]:
    """Generated logs, and how many GB they are as they lie there, gzipped."""
    folder = cache / f"cloudtrail-{records}-{PRINCIPALS}"
    label = generate(folder, "cloudtrail", records, PRINCIPALS)
    return folder, label["bytes"] / 1e9


def table(lines: Mapping[str, Line]) -> str:
    """Both archives, and what follows for starting and for a GB, where it does."""
    (any_line, *_) = lines.values()
    small_, large_ = (f"{size * 1000:.0f} MB: CPU s, wall s" for size in any_line.sizes)
    rows = [
        f"| counted by | {small_} | {large_} | start: CPU s | a GB: CPU s | a GB: wall s |",
        "|---|---|---|---|---|---|",
    ]
    for name, line in lines.items():
        both = (Cost.median(runs) for runs in (line.small, line.large))
        cells = [name, *(f"{cost.cpu:.1f}, {cost.wall:.1f}" for cost in both)]
        a_gb = line.a_gb
        cells += [f"{line.start:.1f}", f"{a_gb.cpu:.0f}"] if line.clear("cpu") else ["not clear"] * 2
        cells.append(f"{a_gb.wall:.0f}" if line.clear("wall") else "not clear")
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join([*rows, ""])


def follows(lines: Mapping[str, Line]) -> str:
    """What a GB costs on Spark beside one process, and a plan from that for archives nobody has measured."""
    unclear = [name for name, line in lines.items() if not line.clear("cpu")]
    if unclear:
        return (
            f"Starting drowns what the records cost ({'; '.join(unclear)}): take more --records on a quieter machine."
        )
    alone, spark, two = (line.a_gb for line in lines.values())
    walls = all(line.clear("wall") for line in lines.values())
    faster = f"{spark.wall / two.wall:.2f} times as fast" if walls else "how much faster is not clear"
    overhead = f"Overhead of Spark: {spark.cpu / alone.cpu:.1f} times the CPU of one process for a GB."
    rows = [
        f"{overhead} From 1 to 2 cores: {two.cpu / spark.cpu:.2f} of the CPU for a GB; {faster}.",
        "",
        f"**A plan, not a measurement**: CPU of a GB times GB, on {CORES} cores like these, all busy, one rule; files",
        "lie on a disk: fetching them from S3 comes on top.",
        "",
        "| gzipped logs | core hours | hours |",
        "|---|---|---|",
    ]
    for terabytes in PLANNED:
        hours = two.cpu * terabytes * 1000 / 3600
        rows.append(f"| {terabytes} TB | {hours:,.0f} | {hours / CORES:,.1f} |")
    return "\n".join(rows)


if __name__ == "__main__":
    sys.exit(main())
