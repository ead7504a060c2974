"""`python -m bench.tune`: how long `rules tune` takes once history is summarised: 10 million records, six windows.

Summaries are made here, not read from logs: what a rule on reads keeps of the bench's traffic (`bench.traffic`), every
record in it a row. Measured is what the command does with a cached one: take it from its file, checksum included, and
count every threshold of every window. Each is a process of its own; medians are shown, of CPU, too: that is what to
compare where other work shares the machine.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from bench import cloudtrail, traffic
from bench.measure import measure
from bench.traffic import Traffic
from detector.core.principal import Principal
from detector.core.rule import Threshold
from detector.core.window import starts_of_runs
from replay.whatif.shelf import Shelf
from replay.whatif.suggest import suggest
from replay.whatif.summary import Summary, next_sightings
from replay.whatif.tune import tables, windows_of

RATE = 14.0
OBJECTS = 4_000_000
"""So many objects there are: some are read again and again."""
ASKED = (("objects", 2_000), ("objects", 200_000), ("requests", 2_000))


def rule(measure: str) -> Threshold:
    """What is tuned."""
    fields = {"id": "r", "title": "r", "severity": "high", "kind": "threshold", "window": "5m", "threshold": 10_000}
    return Threshold.model_validate(fields | {"measure": measure, "where": {"operation": "read"}})


def made(records: int, principals: int, measure: str) -> Summary:
    """A summary of so many records."""
    asked = traffic.requests(Traffic(records, principals, RATE))
    order = np.lexsort((asked.time, asked.principal))
    group, second = asked.principal[order], asked.time[order]
    starts = starts_of_runs(group)
    hashes = traffic.noise(asked.number[order] % OBJECTS, 1, salt=3).view(np.uint64).ravel()
    item = hashes if measure == "objects" else np.ones(records, np.uint64)
    again = next_sightings(group.astype(np.uint64), second, item) if measure == "objects" else np.zeros(0, np.int64)
    people = [_principal(who) for who in group[starts].tolist()]
    sizes = np.diff(np.append(starts, records))
    return Summary(
        np.append(starts, records), second, np.repeat(np.arange(len(starts), dtype=np.int32), sizes), item, again,
        [(one.session,) for one in people], [(one.session_shown,) for one in people], people,
        records, records, int(second.min()), int(second.max()), [],
    )  # fmt: skip


def _principal(number: int) -> Principal:
    arn, role = cloudtrail.session(number), f"AROA{number // 8:017d}"
    named = "arn:aws:iam::111122223333:role/bench"
    return Principal("AssumedRole", f"{role}:{number}", arn, role, named, "111122223333", str(number))


def answer(folder: Path, name: str, measured: str) -> dict[str, float]:
    """Take a summary from its file and count: seconds of both."""
    began = time.perf_counter()
    summary = Shelf(folder).get(name)
    if summary is None:
        raise SystemExit("the summary is not there")
    taken = time.perf_counter()
    chosen = rule(measured)
    found = tables(summary, chosen, windows_of(chosen), ())
    suggest(summary, chosen, found, 1.0)
    thresholds = sum(len(table.steps) for table in found)
    return {"taken": taken - began, "counted": time.perf_counter() - taken, "thresholds": thresholds}


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser("python -m bench.tune")
    options.add_argument("--records", type=int, default=10_000_000, help="records (10000000)")
    options.add_argument("--repeat", type=int, default=3, help="repetitions; medians are shown (3)")
    options.add_argument("--answer", nargs=3, help=argparse.SUPPRESS)
    chosen = options.parse_args()
    if chosen.answer:
        folder, name, measured = chosen.answer
        print(json.dumps(answer(Path(folder), name, measured)))
        return 0
    print("| summary of | file MB | take it, s | count, s | windows x thresholds | CPU of all, s | peak MB |")
    print("|---|---:|---:|---:|---:|---:|---:|")
    with tempfile.TemporaryDirectory() as folder:
        for measured, principals in ASKED:
            Shelf(Path(folder)).put("x", made(chosen.records, principals, measured))
            print(_line(Path(folder), measured, principals, chosen))
    return 0


def _line(folder: Path, measured: str, principals: int, chosen: argparse.Namespace) -> str:
    used = [measure("bench.tune", ["--answer", str(folder), "x", measured]) for _ in range(chosen.repeat)]
    if used[0].failed:
        sys.exit(used[0].failed)
    said = [json.loads(one.output) for one in used]
    taken, counted = (statistics.median(one[name] for one in said) for name in ("taken", "counted"))
    cpu, peak = statistics.median(one.cpu for one in used), statistics.median(one.peak for one in used)
    size = (folder / "x.history").stat().st_size
    return (
        f"| {chosen.records:,} records, {measured}, {principals:,} sessions | {size / 1e6:,.0f} | {taken:.2f} | "
        f"{counted:.2f} | {said[0]['thresholds']:.0f} | {cpu:.2f} | {peak / 1e6:,.0f} |"
    )


if __name__ == "__main__":
    raise SystemExit(main())
