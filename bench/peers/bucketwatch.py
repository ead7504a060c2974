"""bucketwatch itself: `bucketwatch replay` as its user runs it, and the findings of one rule as the answer.

Extra arguments: `shipped` takes the shipped rules and the model in place of the one rule (they ask for distinct
objects, of which the thief takes one a request, so the answer is the same); `jobs=2` reads with two processes.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.question import Question, asked, tell

RULE = """\
rules:
  - id: bench
    title: The question of the bench
    severity: high
    kind: threshold
    where: {{operation: read}}
    group_by: session
    measure: requests
    window: {window}
    threshold: {threshold}
"""


def arguments(question: Question, folder: Path) -> list[str]:
    """The command line; rule file and output lie in `folder`."""
    command = ["replay", question.folder, "--out", str(folder / "out"), "--no-report", "--quiet"]
    command += [f"--{extra}" for extra in question.extra if extra.startswith("jobs=")]
    if "shipped" in question.extra:
        return command
    rule = folder / "rule.yaml"
    rule.write_text(RULE.format(window=_duration(question.window), threshold=question.threshold))
    return [*command, "--rules", str(rule), "--no-model"]


def _duration(seconds: int) -> str:
    return f"{seconds // 60}m" if seconds % 60 == 0 else f"{seconds}s"


def findings(path: Path, rule: str) -> dict[str, int]:
    """Session → when its first finding of the rule opened."""
    first: dict[str, int] = {}
    for line in path.read_text().splitlines():
        finding = json.loads(line)
        if finding["rule_id"] == rule:
            opened = int(datetime.fromisoformat(finding["opened_at"]).timestamp())
            session = finding["group"]["session"]
            first[session] = min(opened, first.get(session, opened))
    return first


def answer(question: Question) -> dict[str, int]:
    """Runs the command in this process."""
    from detector.cli import main

    with TemporaryDirectory() as name:
        folder = Path(name)
        sys.argv = ["bucketwatch", *arguments(question, folder)]
        try:
            main()
        except SystemExit as left:
            if left.code:
                raise
        rule = "bulk-object-read-session" if "shipped" in question.extra else "bench"
        return findings(folder / "out" / "findings.jsonl", rule)


if __name__ == "__main__":
    tell(answer(asked()).items())
