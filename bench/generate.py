"""Writes the logs that are measured, once: `python -m bench.generate FOLDER KIND REQUESTS PRINCIPALS`.

Beside the logs lies `label.json`: how many records there are, and the true answers. It is written last: a folder
without it is half made, and made anew. The same arguments give the same bytes.
"""

from __future__ import annotations

import json
import shutil
import sys
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from bench import access_log, cloudtrail, traffic
from bench.traffic import Delivery, Requests, Traffic

RATE = {"cloudtrail": 14.0, "access": 24.0}
"""Ordinary requests a second: 1.2 million records, or 2 million lines, are a day."""
WINDOWS = (300, 86_400)
DOCUMENTS = {"cloudtrail": cloudtrail.document, "access": access_log.document}


def generate(folder: Path, kind: str, requests: int, principals: int, *, jobs: int = 2) -> dict[str, Any]:
    """Make the folder if it is not there; its label."""
    label = folder / "label.json"
    if not label.exists():
        shutil.rmtree(folder, ignore_errors=True)
        logs = folder / "logs"
        logs.mkdir(parents=True)
        asked = traffic.requests(Traffic(requests, principals, RATE[kind]))
        delivery = traffic.deliver(asked)
        write_logs(logs, kind, asked, delivery, jobs=jobs)
        label.write_text(json.dumps(_label(logs, asked, len(delivery.row)), indent=1) + "\n")
    return json.loads(label.read_text())


def write_logs(logs: Path, kind: str, asked: Requests, delivery: Delivery, *, jobs: int = 2) -> None:
    """Write requests into the files in which they are delivered."""
    write = partial(_write, logs, kind)
    starts = np.flatnonzero(np.diff(delivery.due, prepend=0))
    due = delivery.due[starts].tolist()
    # Each process gets the requests of its own file only.
    parts = (Requests(asked.time[r], asked.principal[r], asked.number[r]) for r in np.split(delivery.row, starts[1:]))
    if jobs == 1:
        list(map(write, due, parts))
        return
    with ProcessPoolExecutor(jobs) as pool:
        list(pool.map(write, due, parts, chunksize=16))


def _write(logs: Path, kind: str, due: int, asked: Requests) -> None:
    (logs / _name(kind, due)).write_bytes(DOCUMENTS[kind](asked, np.arange(len(asked.time))))


def _name(kind: str, due: int) -> str:
    at = str(np.datetime64(due, "s"))
    unique = traffic.noise(np.array([due]), 2, salt=7).tobytes().hex().upper()
    if kind == "access":
        return f"{at.replace('T', '-').replace(':', '-')}-{unique[:16]}"
    stamp = at.replace("-", "").replace(":", "")
    return f"{cloudtrail.ACCOUNT}_CloudTrail_{cloudtrail.REGION}_{stamp[:13]}Z_{unique[:16]}.json.gz"


def _label(logs: Path, asked: Requests, records: int) -> dict[str, Any]:
    """`records`: delivered, copies included. `answers`: window in seconds → the answer, as peers print it."""
    answers = {str(window): answer(traffic.crossed(asked, window)) for window in WINDOWS}
    size = sum(path.stat().st_size for path in logs.iterdir())
    return {"records": records, "distinct": len(asked.time), "bytes": size, "answers": answers}


def answer(crossed: dict[int, int]) -> list[dict[str, Any]]:
    """Principals by name, each with the second it crossed at."""
    found = [{"principal": cloudtrail.session(who), "first": at} for who, at in crossed.items()]
    return sorted(found, key=lambda one: one["principal"])


if __name__ == "__main__":
    generate(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
