"""Where a replay's CPU goes: `python -m bench.stages FOLDER WINDOW THRESHOLD …` (as bench.peers.bucketwatch).

A sampling profiler: a timer on CPU time interrupts the run, and the CPU used since the last interrupt is booked on the
stage that was running: the innermost frame that the table below knows. So long calls into C weigh what they take.
"""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from types import FrameType

from bench.peers import bucketwatch
from bench.question import asked

STAGES = (
    ("inflate.py", "", "inflate"),
    ("members.py", "sliced", "walk (JSON → places of members)"),
    ("members.py", "", "columns: texts of members"),
    ("documents.py", "", "decode (JSON → structs)"),
    ("read.py", "identify", "tell the kind of log"),
    ("read.py", "_identify_json", "tell the kind of log"),
    ("cloudtrail.py", "parse", "free decoded records"),
    ("cloudtrail.py", "", "columns: records → columns"),
    ("server_access.py", "", "columns: lines → columns"),
    ("usual_lines.py", "", "columns: find usual lines"),
    ("usual_lines.py", "texts", "columns: lines → columns"),
    ("usual_lines.py", "column", "columns: lines → columns"),
    ("usual_columns.py", "", "columns: lines → columns"),
    ("access_line.py", "", "columns: lines → columns"),
    ("identity.py", "", "columns: who"),
    ("place.py", "", "columns: bucket and key"),
    ("times.py", "", "columns: time"),
    ("operation.py", "", "columns: operation"),
    ("access.py", "text_hash", "hash texts"),
    ("access.py", "text_hashes", "hash texts"),
    ("access.py", "intern", "columns: intern texts"),
    ("builder.py", "", "batch: pieces → batch"),
    ("dedup.py", "", "dedup and ranks"),
    ("ids.py", "", "dedup and ranks"),
    ("bloom.py", "", "dedup and ranks"),
    ("tally.py", "", "tallies"),
    ("screen.py", "", "tallies"),
    ("threshold.py", "", "tallies"),
    ("view.py", "", "tallies"),
    ("select.py", "", "tallies"),
    ("conditions.py", "", "tallies"),
    ("people.py", "", "people"),
    ("evidence.py", "", "evidence"),
    ("watch.py", "", "model"),
    ("baseline.py", "", "model"),
    ("engine.py", "", "engine, rest"),
    ("reader.py", "_read_file", "read files, free content"),
    ("pathlib.py", "read_bytes", "read files, free content"),
    ("<frozen importlib._bootstrap>", "", "start: imports"),
)
"""File, function (empty: any), stage."""
BY_PLACE = {(file, function): stage for file, function, stage in STAGES}
SECOND_PASS = "with_evidence"
EVERY = 0.001


class Sampler:
    """CPU seconds by stage. What the second pass for evidence does is booked apart, as a whole."""

    def __init__(self) -> None:
        self.spent: Counter[str] = Counter()
        self._last = time.process_time()

    def __call__(self, _signal: int, frame: FrameType | None) -> None:
        now = time.process_time()
        self.spent[stage(frame)] += now - self._last
        self._last = now


def stage(frame: FrameType | None) -> str:
    """The stage of a stack."""
    found = ""
    while frame is not None:
        code = frame.f_code
        if code.co_name == SECOND_PASS:
            return "second pass for evidence (all of the above again)"
        file = code.co_filename.rpartition("/")[2]
        found = found or BY_PLACE.get((file, code.co_name)) or BY_PLACE.get((file, "")) or ""
        frame = frame.f_back
    return found or "other"


def main() -> None:
    """Run and print a table."""
    sampler = Sampler()
    signal.signal(signal.SIGPROF, sampler)  # type: ignore[arg-type]
    signal.setitimer(signal.ITIMER_PROF, EVERY, EVERY)
    bucketwatch.answer(asked())
    signal.setitimer(signal.ITIMER_PROF, 0)
    total = sampler.spent.total()
    sys.stdout.write(f"| stage | CPU s | share |\n|---|---|---|\n| all | {total:.2f} | 100 % |\n")
    for name, spent in sampler.spent.most_common():
        sys.stdout.write(f"| {name} | {spent:.2f} | {spent / total:.1%} |\n")


if __name__ == "__main__":
    main()
