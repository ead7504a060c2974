"""`python -m bench.desk`: how long `investigate` and `review` take over a cache of 10 million records.

The archive is a day of the bench's CloudTrail records, again and again on other days, of other sessions of the same
roles, with other objects and ids; the cache is what the first `review` makes of it. Both are made once and kept (about
4 GB). Measured are whole processes, all their files included: medians of CPU, wall time and peak memory. Wall time is
what a user waits for, and says nothing where other work shares the cores.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from bench import cloudtrail, traffic
from bench.generate import RATE, write_logs
from bench.measure import ROOT, Used, measure
from bench.traffic import Delivery, Requests, Traffic

RECORDS, DAY_OF, PRINCIPALS, DAY = 10_200_000, 600_000, 2_000, 86_400
ROLE = f"arn:aws:iam::{cloudtrail.ACCOUNT}:role/ml/"
QUESTIONS = {
    "`investigate` a session": ["investigate", cloudtrail.session(672)],
    "`investigate` a quiet role": ["investigate", ROLE + cloudtrail.role(8 * 30)],
    "`investigate` a busy role": ["investigate", ROLE + cloudtrail.role(8 * 6)],
    "`review`": ["review"],
}


def made(folder: Path, records: int) -> None:
    """The archive and its cache, if they are not there."""
    logs, label = folder / "logs", folder / "label.json"
    if label.exists():
        return
    logs.mkdir(parents=True, exist_ok=True)
    asked = traffic.requests(Traffic(DAY_OF, PRINCIPALS, RATE["cloudtrail"]))
    delivery = traffic.deliver(asked)
    for day in range(records // DAY_OF):
        write_logs(logs, "cloudtrail", on(day, asked), Delivery(delivery.due + day * DAY, delivery.row))
    asked_once(folder, ["review"])
    label.write_text(json.dumps({"records": records}) + "\n")


def on(day: int, asked: Requests) -> Requests:
    """The same on another day: other sessions of the same roles, other objects, other ids."""
    first, count = day * cloudtrail.NEXT_SESSIONS, day * len(asked.number)
    return Requests(asked.time + day * DAY, asked.principal + first, asked.number + count)


def asked_once(folder: Path, question: list[str]) -> tuple[Used, Any]:
    """Ask; what it took, and what the answer says of itself."""
    with TemporaryDirectory(dir=folder) as out:
        command = [*question, str(folder / "logs"), "--cache", str(folder / "cache"), "--out", out, "--quiet"]
        used = measure("bench.command", command)
        if used.failed:
            raise SystemExit(used.failed)
        told = Path(out) / ("summary.json" if question[0] == "investigate" else "review.json")
        return used, json.loads(told.read_text())


def main() -> int:
    """Print the table."""
    options = argparse.ArgumentParser("python -m bench.desk")
    options.add_argument("--records", type=int, default=RECORDS, help=f"in whole days of {DAY_OF:,} ({RECORDS})")
    options.add_argument("--repeat", type=int, default=3, help="repetitions; medians are shown (3)")
    options.add_argument("--cache", type=Path, default=ROOT / ".bench", help="where logs and cache are kept (.bench)")
    chosen = options.parse_args()
    folder = chosen.cache.resolve() / f"desk-{chosen.records}"
    made(folder, chosen.records)
    print("| question | objects | CPU s | wall s | peak MB |")
    print("|---|---:|---:|---:|---:|")
    for name, question in QUESTIONS.items():
        turns = [asked_once(folder, question) for _ in range(chosen.repeat)]
        print(f"| {name} | {_objects(turns[0][1]):,} | {_figures([used for used, _ in turns])} |", flush=True)
    return 0


def _objects(told: Any) -> int:
    """Objects of a loss, or of all roles together."""
    return told["objects"] if "objects" in told else sum(one["objects"] for one in told["roles"])


def _figures(used: list[Used]) -> str:
    cpu, wall, peak = (median(getattr(one, name) for one in used) for name in ("cpu", "wall", "peak"))
    return f"{cpu:.2f} | {wall:.2f} | {peak / 1e6:,.0f}"


if __name__ == "__main__":
    sys.exit(main())
