"""`python -m bench.spark`: what Spark costs beside one process, how it scales on this machine, and a plan from it.

The same files and one rule by `replay` in one process and on Spark with one and two cores; the findings have to be the
same bytes. CPU is that of all processes of a run, Java's and its workers' among them, looked at ten times a second. Two
sizes of archive tell what starting costs from what a GB costs. The plan is arithmetic, and is marked as that.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.generate import generate
from bench.peers.bucketwatch import RULE

ROOT = Path(__file__).resolve().parents[1]
PROGRAM = Path(sys.executable).with_name("bucketwatch")
TICK = os.sysconf("SC_CLK_TCK")
WAYS = {
    "one process": ("--engine", "local", "--jobs", "1"),
    "Spark, 1 core": ("--engine", "spark", "--jobs", "1"),
    "Spark, 2 cores": ("--engine", "spark", "--jobs", "2"),
}
PLANNED = (1, 10, 100)
"""TB of gzipped logs."""
CORES = 64


@dataclass(frozen=True, slots=True)
class Cost:
    """Seconds of a run."""

    cpu: float
    wall: float


def main() -> int:
    """Measure and print; exit status 1 if Spark found anything else."""
    options = argparse.ArgumentParser("python -m bench.spark", description="Spark beside one process")
    options.add_argument("--records", type=int, default=1_200_000, help="CloudTrail records of the larger archive")
    options.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where logs are kept (.bench)")
    chosen = options.parse_args()
    small, large = (_made(chosen.cache, records) for records in (chosen.records // 10, chosen.records))
    costs, same = {}, True
    load = os.getloadavg()[0]
    for name, how in WAYS.items():
        first, found = run(small[0], how)
        second, found_more = run(large[0], how)
        costs[name] = first, second
        if name == "one process":
            expected = found, found_more
        same &= (found, found_more) == expected
    sizes = small[1] / 1e9, large[1] / 1e9
    print(f"Load of the machine before: {load:.1f}, after: {os.getloadavg()[0]:.1f}; {os.cpu_count()} cores.\n")
    print(table(costs, sizes))
    print(plan(costs, sizes))
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
        child = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.DEVNULL, start_new_session=True)
        used: dict[int, float] = {}
        while child.poll() is None:
            used |= _cpu(child.pid)
            time.sleep(0.1)
        wall = time.monotonic() - began
        _end(child.pid)
        if child.returncode:
            raise SystemExit(f"replay {' '.join(how)} ended with {child.returncode}")
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


def _made(cache: Path, records: int) -> tuple[Path, int]:
    """Generated logs, and their bytes as they lie there, gzipped."""
    folder = cache / f"spark-{records}"
    generate(folder, "cloudtrail", records, 2_000)
    return folder, sum(file.stat().st_size for file in (folder / "logs").iterdir())


def table(costs: dict[str, tuple[Cost, Cost]], sizes: tuple[float, float]) -> str:
    """Both archives, and what follows for starting and for a GB."""
    small_, large_ = (f"{size * 1000:.0f} MB: CPU s, wall s" for size in sizes)
    lines = [
        f"| counted by | {small_} | {large_} | start: CPU s | a GB: CPU s | a GB: wall s |",
        "|---|---|---|---|---|---|",
    ]
    for name, (small, large) in costs.items():
        start, slope = _line(small.cpu, large.cpu, sizes)
        wall = _line(small.wall, large.wall, sizes)[1]
        lines.append(
            f"| {name} | {small.cpu:.1f}, {small.wall:.1f} | {large.cpu:.1f}, {large.wall:.1f} | {start:.1f} | "
            f"{slope:.0f} | {wall:.0f} |"
        )
    one, spark, two = (_line(a.cpu, b.cpu, sizes)[1] for a, b in costs.values())
    walls = [_line(a.wall, b.wall, sizes)[1] for a, b in costs.values()]
    overhead = f"Overhead of Spark: {spark / one:.1f} times the CPU of one process for a GB."
    scaling = f"From 1 to 2 cores: {walls[1] / walls[2]:.2f} times as fast for a GB, with {two / spark:.2f} of the CPU."
    return "\n".join([*lines, "", f"{overhead} {scaling}", ""])


def plan(costs: dict[str, tuple[Cost, Cost]], sizes: tuple[float, float]) -> str:
    """From a GB on this machine to archives nobody has measured."""
    a_gb = _line(costs["Spark, 2 cores"][0].cpu, costs["Spark, 2 cores"][1].cpu, sizes)[1]
    lines = [
        f"**A plan, not a measurement**: CPU of a GB times GB, on {CORES} cores like these, all busy, one rule.",
        "",
        "| gzipped logs | core hours | hours |",
        "|---|---|---|",
    ]
    for terabytes in PLANNED:
        hours = a_gb * terabytes * 1000 / 3600
        lines.append(f"| {terabytes} TB | {hours:,.0f} | {hours / CORES:,.1f} |")
    return "\n".join(lines)


def _line(small: float, large: float, sizes: tuple[float, float]) -> tuple[float, float]:
    """What nothing costs, and what a GB costs, by the two."""
    slope = (large - small) / (sizes[1] - sizes[0])
    return small - slope * sizes[0], slope


if __name__ == "__main__":
    sys.exit(main())
