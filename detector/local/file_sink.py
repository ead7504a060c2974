"""Alerts to a file, and to the terminal. The twins of `aws.topic`."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TextIO

from detector.errors import EdgeError
from detector.ocsf import detection_finding
from detector.response.plain import headline, printable


class FileSink:
    """Appends one JSON line an alert, on the disk before `send` returns. Opened for each: logrotate may move it.

    ocsf: OCSF Detection Findings instead of the contract's JSON.
    """

    keeps = True

    def __init__(self, path: str | Path, *, ocsf: bool = False) -> None:
        self._path, self._ocsf = Path(path), ocsf
        self.name = f"file:{path}"

    def send(self, alert: Mapping[str, Any]) -> None:
        """Append the alert. Raises EdgeError."""
        line = json.dumps(detection_finding(alert) if self._ocsf else alert).encode("ascii") + b"\n"
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            with self._path.open("a+b") as file:
                file.write(_after_torn_line(file.fileno()) + line)
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            raise EdgeError(
                f"could not write an alert: {error.strerror}",
                where=printable(self._path),
                remedy="make room on the disk, let bucketwatch's user write there; the alert is kept and sent again",
                retryable=True,
            ) from error


class StdoutSink:
    """Prints alerts: one line a person reads, or one line of JSON (ocsf: an OCSF Detection Finding)."""

    name = "stdout"
    keeps = True

    def __init__(self, *, as_json: bool = False, ocsf: bool = False, stream: TextIO | None = None) -> None:
        self._as_json, self._ocsf, self._stream = as_json, ocsf, stream

    def send(self, alert: Mapping[str, Any]) -> None:
        """Print the alert. Raises EdgeError, if the reader has gone."""
        stream = self._stream or sys.stdout
        body = detection_finding(alert) if self._ocsf else alert
        try:
            stream.write((json.dumps(body) if self._as_json else _line(alert)) + "\n")
            stream.flush()
        except OSError as error:
            raise EdgeError(
                f"could not print an alert: {error.strerror}",
                where="stdout",
                remedy="keep the reader of stdout running",
            ) from error


def _line(alert: Mapping[str, Any]) -> str:
    when = printable(alert.get("sent_at") or alert.get("last_at") or "", 40)
    return f"{when} {headline(alert)}: {printable(alert.get('explanation', ''), 400)}".strip()


def _after_torn_line(descriptor: int) -> bytes:
    """A newline first, if a crash has left half a line: this alert must not become part of it."""
    size = os.fstat(descriptor).st_size
    return b"\n" if size and os.pread(descriptor, 1, size - 1) != b"\n" else b""
