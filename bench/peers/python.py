"""Plain Python's standard library: what one would write in an afternoon, made exact by sorting first."""

from __future__ import annotations

import gzip
import json
from collections import defaultdict, deque
from pathlib import Path

from bench.question import Question, asked, tell


def requests(folder: str) -> list[tuple[str, str]]:
    """(time as written, principal) of every GetObject, each eventID once, in order of time."""
    seen: set[str] = set()
    found = []
    for path in Path(folder).iterdir():
        for record in json.loads(gzip.decompress(path.read_bytes()))["Records"]:
            if record["eventName"] == "GetObject" and record["eventID"] not in seen:
                seen.add(record["eventID"])
                found.append((record["eventTime"], record["userIdentity"]["arn"]))
    found.sort()
    return found


def answer(question: Question) -> dict[str, int]:
    """Principal → the second it first reached the threshold."""
    windows: defaultdict[str, deque[int]] = defaultdict(deque)
    seconds: dict[str, int] = {}
    reached: dict[str, int] = {}
    for text, principal in requests(question.folder):
        second = seconds.get(text)
        if second is None:
            second = seconds[text] = _epoch(text) // question.grain * question.grain
        times = windows[principal]
        times.append(second)
        while times[0] <= second - question.window:
            times.popleft()
        if len(times) >= question.threshold:
            reached.setdefault(principal, second)
    return reached


def _epoch(text: str) -> int:
    from datetime import datetime

    return int(datetime.fromisoformat(text).timestamp())


if __name__ == "__main__":
    tell(answer(asked()).items())
