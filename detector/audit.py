"""Writes the application's audit log: who read which object, and why. For the application, not for the daemon.

    import boto3
    from detector.audit import AuditedReads, AuditLog

    log = AuditLog("/var/log/access-audit")
    reads = AuditedReads(boto3.client("s3"), log, purposes=("labelling", "training", "quality"))
    body = reads.get_object(purpose="labelling", requester="dana", Bucket="ml-voice", Key="raw/a.wav")["Body"]

Rules of this file
- First the line, then the read. A line stands on the disk before S3 is asked, so that no crash leaves a read without
  its line. A read that S3 then refuses leaves a line without a read, which misleads nobody: a line is no evidence that
  somebody read, only that the application said why.
- What cannot be written down is not read: the error of the disk is the caller's. Where reading matters more,
  `unwritten` takes the error instead, and the read goes on; the rule `unaudited` will tell of it.
- Lines of several threads share one fsync. Nothing else is waited for: no network, no other process.
- A file is `*.part` while it is written, and `*.jsonl` once nothing more comes, after `period` seconds at the latest.
  So whatever ships files (or the daemon's directory source) takes whole ones only.
- What `detector.logs.access_audit` reads of a line is what stands in it. No other dependency, and no boto3: the client
  is the application's own.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections.abc import Callable, Collection
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

PERIOD = 300.0
PART, DONE = ".part", ".jsonl"


class AuditLog:
    """Lines in the files of a folder, each on the disk when `write` returns. Any number of threads may write.

    period: seconds after which a file is done and another begins. Raises OSError if there can be no such folder.
    """

    def __init__(self, folder: str | Path, period: float = PERIOD) -> None:
        self._folder, self._period = Path(folder), period
        self._folder.mkdir(parents=True, exist_ok=True)
        self._writing, self._syncing = threading.Lock(), threading.Lock()
        self._file: _File | None = None
        self._finish_left_over()

    def write(self, line: dict[str, Any]) -> None:
        """Append a line; it is on the disk once this returns. Raises OSError if it cannot be."""
        data = json.dumps(line, ensure_ascii=True).encode() + b"\n"
        with self._writing:
            file = self._file = self._file or self._begun()
            mine = file.append(data)
        with self._syncing:  # whoever is first syncs the lines of all who wrote meanwhile
            file.sync(mine)

    def close(self) -> None:
        """The file that is being written is done: whoever ships files may take it. A later line begins another."""
        self._finish(self._file)

    def _begun(self) -> _File:
        stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
        file = _File(self._folder / f"audit-{stamp}-{uuid.uuid4().hex[:12]}{PART}")
        timer = threading.Timer(self._period, self._finish, [file])
        timer.daemon = True
        timer.start()
        return file

    def _finish(self, file: _File | None) -> None:
        with self._syncing, self._writing:
            if file is not None and file is self._file:
                self._file = None
                file.finish()

    def _finish_left_over(self) -> None:
        """Files of writers that were killed: nobody has written to them for two periods, and nobody will."""
        for path in self._folder.glob(f"audit-*{PART}"):
            if time.time() - path.stat().st_mtime > 2 * self._period:
                path.rename(path.with_suffix(DONE))


class _File:
    """One file of lines. `append` and `finish` under one lock, `sync` under another."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_EXCL, 0o640)
        self._written = self._synced = 0
        self._whole = True
        sync_folder(path.parent)

    def append(self, data: bytes) -> int:
        """The number of bytes that have to be synced for this line to be durable."""
        if not self._whole:  # half a line is left of a full disk: it costs itself only
            data = b"\n" + data
        self._whole = False
        if os.write(self._fd, data) != len(data):
            raise OSError(f"only part of a line could be written to {self._path}")
        self._whole = True
        self._written += len(data)
        return self._written

    def sync(self, needed: int) -> None:
        """All that is written up to here is on the disk."""
        if self._synced < needed:
            upto = self._written
            os.fsync(self._fd)
            self._synced = upto

    def finish(self) -> None:
        """Nothing more is written; the file takes its final name."""
        self.sync(self._written)
        os.close(self._fd)
        self._path.rename(self._path.with_suffix(DONE))
        sync_folder(self._path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder as durable as the files are."""
    fd = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class AuditedReads:
    """`get_object` of a client, with a line in the audit log for each.

    client: of boto3, or anything with its `get_object`. purposes: all there are; a read for any other is refused.
    unwritten: is given the OSError of a line that could not be written, and the read goes on; without it, it is raised.
    """

    def __init__(
        self,
        client: Any,
        log: AuditLog,
        *,
        purposes: Collection[str],
        unwritten: Callable[[OSError], None] | None = None,
    ) -> None:
        if isinstance(purposes, str) or not purposes:
            msg = f"purposes: expected a list of names, got {purposes!r}"
            raise ValueError(msg)
        self._client, self._log, self._unwritten = client, log, unwritten
        self._purposes = frozenset(purposes)

    def get_object(
        self,
        *,
        purpose: str,
        requester: str,
        sample_id: str | None = None,
        source_ip: str | None = None,
        **request: Any,
    ) -> Any:
        """What the client's `get_object` gives. `requester`: who asked the application. The rest is the client's.

        Raises ValueError for a purpose that is not in the list, OSError for a line that cannot be written, and what the
        client raises.
        """
        if purpose not in self._purposes:
            msg = f"purpose: expected one of {', '.join(sorted(self._purposes))}, got {purpose!r}"
            raise ValueError(msg)
        line = {
            "timestamp": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "event_id": str(uuid.uuid4()),
            "sample_id": sample_id,
            "bucket": request.get("Bucket"),
            "key": request.get("Key"),
            "requester": requester,
            "purpose": purpose,
            "source_ip": source_ip,
        }
        try:
            self._log.write({name: value for name, value in line.items() if value is not None})
        except OSError as error:
            if self._unwritten is None:
                raise
            self._unwritten(error)
        return self._client.get_object(**request)
