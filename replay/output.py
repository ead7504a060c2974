"""Writes what a replay found: findings.jsonl, summary.json, rejected.jsonl and report.html into one folder.

Every file is written beside its place and then moved there, so that no reader ever sees half of one.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from detector.errors import UnreadablePathError
from replay.run import Result


def prepare(folder: Path) -> None:
    """Make the output folder, or say why it cannot be written to."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".bucketwatch"
        probe.write_text("")
        probe.unlink()
    except OSError as error:
        raise UnreadablePathError(
            f"cannot write here: {error.strerror}", where=str(folder), remedy="name another folder with --out"
        ) from error


def write(result: Result, folder: Path, *, report: bool) -> None:
    """Write all output files. Lines are ASCII JSON: hostile text cannot break out of one."""
    _write(folder / "findings.jsonl", _lines(finding.to_json() for finding in result.findings))
    rejected = (
        {"file": r.file, "position": r.position, "reason": r.reason, "detail": r.detail} for r in result.rejects
    )
    _write(folder / "rejected.jsonl", _lines(rejected))
    _write(folder / "summary.json", json.dumps(result.summary, indent=2) + "\n")
    if report:
        from replay.report import render

        _write(folder / "report.html", render(result))


def _lines(rows: Iterable[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    part.write_text(text, "utf-8", newline="\n")
    part.replace(path)
